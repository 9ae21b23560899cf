"""Who may reach the calls, and how many may run: settings that contradict each other or the template. Pure.

Invoking a function is running code on this machine, so the port is not opened to other machines by oversight.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from poller.errors import Problem

if TYPE_CHECKING:
    from poller.settings import Settings


def exposure_problems(settings: Settings, where: Callable[[str], str], *, signer: bool) -> Iterator[Problem]:
    """What is wrong with how the port is opened.

    Args:
        settings: all of them.
        where: turns a setting's name into the place it was read from.
        signer: whether botocore is there, which computes signatures.
    """
    if not (is_loopback(settings.Bind) or settings.RequireSignature or settings.InsecureBind):
        yield Problem(
            where("Bind"),
            f"{settings.Bind} can be reached from other machines, and who reaches it can run the functions",
            "let RequireSignature (--require-signature) check who calls, or say that it is meant: InsecureBind "
            "(--insecure-bind)",
        )
    if settings.RequireSignature and not settings.SignatureKeys:
        hint = "SignatureKeys: {AKIDEXAMPLE: {Env: VARIABLE}}"
        yield Problem(where("RequireSignature"), "there is no key in SignatureKeys to check signatures with", hint)
    if settings.RequireSignature and not signer:
        yield Problem(where("RequireSignature"), "botocore is not installed", "pip install 'poller[aws]'")


def concurrency_problems(reserved: Mapping[str, int | None], settings: Settings) -> Iterator[Problem]:
    """What is wrong with the functions' reservations beside the account's concurrency; functions by name."""
    total = sum(count or 0 for count in reserved.values())
    some_need_more = any(count is None for count in reserved.values())
    if total + some_need_more > settings.AccountConcurrency:
        yield Problem(
            "AccountConcurrency",
            f"functions reserve {total} of {settings.AccountConcurrency}, which leaves too little for all",
            "raise AccountConcurrency or lower ReservedConcurrentExecutions",
        )


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches a port on that address."""
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
