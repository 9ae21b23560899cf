"""The port is opened to other machines only when somebody means it, and reservations leave something to the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from api_service import template_of

from poller.errors import ConfigError
from poller.exposure import exposure_problems, is_loopback
from poller.settings import Settings

ECHO = {"echo": {"Handler": "basic.echo"}}


def problems(folder: Path, functions: Any = None, **settings: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        template_of(folder, functions or ECHO, **settings)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "192.0.2.7", "host.example"])
def test_an_address_that_others_reach_is_refused_unless_it_is_meant(tmp_path: Path, address: str) -> None:
    [told] = problems(tmp_path, Bind=address)
    assert told.startswith(f"Metadata.Poller.Bind: {address} can be reached from other machines")
    assert "--require-signature" in told
    assert "--insecure-bind" in told
    assert template_of(tmp_path, ECHO, Bind=address, InsecureBind=True).settings.Bind == address
    signed = template_of(tmp_path, ECHO, Bind=address, RequireSignature=True, SignatureKeys={"AKIDEXAMPLE": "secret"})
    assert signed.settings.SignatureKeys["AKIDEXAMPLE"].get_secret_value() == "secret"
    assert "secret" not in repr(signed.settings)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.9.1", "::1", "localhost"])
def test_loopback_needs_no_saying(tmp_path: Path, address: str) -> None:
    assert is_loopback(address)
    assert template_of(tmp_path, ECHO, Bind=address).settings.Bind == address


def test_signatures_need_keys_and_their_secrets_come_from_elsewhere(tmp_path: Path) -> None:
    [told] = problems(tmp_path, RequireSignature=True)
    assert told.startswith("Metadata.Poller.RequireSignature: there is no key in SignatureKeys")
    [told] = problems(tmp_path, RequireSignature=True, SignatureKeys={"AKIDEXAMPLE": {"Env": "NOT_SET"}})
    assert told == "Metadata.Poller.SignatureKeys.AKIDEXAMPLE: the environment variable NOT_SET is not set"


def test_signatures_need_botocore() -> None:
    settings = Settings.model_validate({"RequireSignature": True, "SignatureKeys": {"AKIDEXAMPLE": "secret"}})
    [told] = exposure_problems(settings, lambda name: name, signer=False)
    assert str(told) == "RequireSignature: botocore is not installed (pip install 'poller[aws]')"


def test_reservations_leave_something_to_functions_that_reserve_nothing(tmp_path: Path) -> None:  # A.2
    two = {**ECHO, "reserved": {"Handler": "basic.echo", "ReservedConcurrentExecutions": 3}}
    [told] = problems(tmp_path, two, AccountConcurrency=3)
    assert told.startswith("AccountConcurrency: functions reserve 3 of 3, which leaves too little for all")
    template_of(tmp_path, two, AccountConcurrency=4)
    alone = {"reserved": {"Handler": "basic.echo", "ReservedConcurrentExecutions": 3}}
    template_of(tmp_path, alone, AccountConcurrency=3)
    problems(tmp_path, alone, AccountConcurrency=2)
