"""What this machine cannot run is refused with what it can; what the nearest version runs is warned of."""

import logging
from pathlib import Path

import pytest
from api_service import template_of
from packages import request
from scripted import FakeClock
from templates import document, load, problems

from poller.account.documents import ForgettingDocuments
from poller.account.setup import AccountFunctions
from poller.api_errors import ApiError
from poller.runtime.toolchains import Found, Tool
from poller.runtime_support import unsupported, warn_of_substitutions
from poller.shares import shares_of


@pytest.fixture
def has(monkeypatch):
    """Let the machine have this for every runtime."""

    def set_it(found):
        monkeypatch.setattr("poller.runtime_support.find", lambda _runtime: found)
        monkeypatch.setattr("poller.runtime_support.machine", lambda: "python3.11, provided.al2023")

    return set_it


def test_a_runtime_that_nothing_runs_is_refused_with_what_the_machine_has(has, tmp_path):
    has(None)
    assert problems(tmp_path, document()) == [
        f"Resources.{name}.Properties.Runtime: there is nothing for python3.13 on this machine "
        "(it has python3.11, provided.al2023)"
        for name in ("Telemetry", "Tasks")
    ]


def test_another_version_is_warned_of_and_refused_when_that_is_wanted(has, tmp_path, caplog):
    has(Found(Tool("/usr/bin/python3.11", "3.11"), exact=False))
    loaded = load(tmp_path, document())
    with caplog.at_level(logging.WARNING):
        warn_of_substitutions((item.FunctionName, item.Runtime) for item in loaded.functions)
    assert [(record.function, record.getMessage()) for record in caplog.records] == [
        (name, "there is no python3.13 on this machine: python 3.11 (/usr/bin/python3.11) runs it")
        for name in ("Telemetry", "Tasks")
    ]
    assert problems(tmp_path, document(settings={"StrictRuntime": True})) == [
        f"Resources.{name}.Properties.Runtime: there is no python3.13 on this machine, and StrictRuntime is true "
        "(it has python3.11, provided.al2023)"
        for name in ("Telemetry", "Tasks")
    ]


def test_the_very_version_is_nothing_to_speak_of(has, tmp_path, caplog):
    has(Found(Tool("/usr/bin/python3.13", "3.13"), exact=True))
    loaded = load(tmp_path, document(settings={"StrictRuntime": True}))
    warn_of_substitutions((item.FunctionName, item.Runtime) for item in loaded.functions)
    assert not caplog.records
    assert loaded.warnings == ()


def test_aws_s_clients_have_to_be_where_the_function_finds_them(has, tmp_path, monkeypatch):
    monkeypatch.setattr("poller.runtime_support._has_client", lambda *_: False)
    has(Found(Tool("/usr/bin/python3.13", "3.13"), exact=True))
    assert problems(tmp_path, document(settings={"RuntimeClient": "aws"}))[0] == (
        "Resources.Telemetry.Properties.Runtime: RuntimeClient is aws, and /usr/bin/python3.13 finds no awslambdaric, "
        "neither its own nor one in FOLDER/code (pip install awslambdaric)"
    )
    has(Found(Tool("/usr/bin/node", "22"), exact=True))
    problem = unsupported("nodejs22.x", tmp_path, client="aws", strict=False)
    assert problem == (
        f"RuntimeClient is aws, and there is no aws-lambda-ric in {tmp_path}/node_modules",
        "npm install aws-lambda-ric",
    )
    (tmp_path / "node_modules" / "aws-lambda-ric").mkdir(parents=True)
    assert unsupported("nodejs22.x", tmp_path, client="aws", strict=False) is None
    assert unsupported("provided.al2023", tmp_path, client="aws", strict=False) is None


def test_an_interpreter_without_aws_s_client_is_seen(tmp_path: Path):
    (tmp_path / "awslambdaric").mkdir()
    (tmp_path / "awslambdaric" / "__init__.py").touch()
    assert unsupported("python3.11", tmp_path, client="aws", strict=False) is None


def test_the_setting_reaches_the_function(tmp_path, monkeypatch):
    monkeypatch.setattr("poller.runtime_support._has_client", lambda *_: True)
    loaded = load(tmp_path, document(settings={"RuntimeClient": "aws"}))
    assert {item.configuration().runtime_client for item in loaded.functions} == {"aws"}
    assert {item.configuration().runtime_client for item in load(tmp_path, document()).functions} == {"poller"}


def test_a_function_that_a_call_makes_is_held_to_the_same(has, tmp_path, monkeypatch, caplog):
    template = template_of(tmp_path, {"declared": {"Handler": "basic.echo"}}, StrictRuntime=False)
    account = AccountFunctions(template, shares_of(template, 1)[0], FakeClock(), ForgettingDocuments())
    monkeypatch.setattr("poller.runtime_support.find", lambda _runtime: None)
    monkeypatch.setattr("poller.runtime_support.machine", lambda: "python3.11")
    with pytest.raises(ApiError) as caught:
        account.functions.create_function(request(Runtime="nodejs22.x"))
    has(Found(Tool("/usr/bin/node", "20"), exact=False))
    account.functions.create_function(request(FunctionName="older", Runtime="nodejs22.x"))
    account.environments.stop(0)
    assert [(record.function, record.getMessage()) for record in caplog.records] == [
        ("older", "there is no nodejs22.x on this machine: nodejs 20 (/usr/bin/node) runs it")
    ]
    assert ("older", "nodejs22.x") in list(account.runtimes())
    assert (caught.value.status, caught.value.type) == (400, "InvalidParameterValueException")
    assert caught.value.text == "there is nothing for nodejs22.x on this machine"
