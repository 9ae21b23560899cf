"""Sends the payments of functions/payments as asynchronous events, and shows what their second attempt did.

`poller run functions/payments/template.yaml --time-scale 60` beside it; then `python -m producers.payments`. Each event
fails once after its work was done, so Lambda tries it again (B.1 of its behaviour: after a minute, here a second).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from producers.command import CommandError, ExitCode, Stop, environment, main, number

AMOUNT, BALANCE = 10, 30
LOOK_AGAIN = 0.2
"""Seconds between two looks."""
STARTING = 5.0
"""Seconds that a service which was started just before may take until it listens."""

WAYS = (
    ("SetBalance", f"the balance is {BALANCE}", BALANCE),
    ("Add", f"add {AMOUNT}", AMOUNT),
    ("AddOnce", f"add {AMOUNT}, payment p-1", AMOUNT),
)
"""Function, what its event says, and the balance of an empty account once that is done."""


@dataclass(frozen=True, slots=True)
class Booked:
    """What became of one event."""

    function: str
    says: str
    attempts: int
    balance: int
    right: int


class Functions:
    """Functions of a service at an endpoint of Lambda's API."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint.rstrip("/")

    def wait_for_start(self, stop: Stop) -> None:
        """Wait while nobody listens, for some seconds. What else is wrong, or stays so, `invoke` says."""
        deadline = time.monotonic() + STARTING
        while not stop and time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"{self._endpoint}/healthz", timeout=STARTING).close()  # noqa: S310  # nosec B310
            except urllib.error.URLError as error:
                if isinstance(error.reason, ConnectionRefusedError):
                    stop.wait(LOOK_AGAIN)
                    continue
            except (OSError, ValueError):
                pass
            return

    def invoke(self, name: str, event: Mapping[str, Any], *, kind: str = "RequestResponse") -> tuple[str, Any]:
        """Request id and answer. Raises CommandError, with what was refused."""
        url = f"{self._endpoint}/2015-03-31/functions/{name}/invocations"
        headers = {"X-Amz-Invocation-Type": kind, "Content-Type": "application/json"}
        try:
            request = urllib.request.Request(url, json.dumps(event).encode(), headers)  # noqa: S310 - http, from an option
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310  # nosec B310
                body = answer.read()
                return answer.headers["x-amzn-RequestId"], json.loads(body) if body else None
        except urllib.error.HTTPError as error:
            text = error.read().decode(errors="replace")
            raise CommandError(ExitCode.REFUSED, f"{name}: {text}") from None
        except (OSError, ValueError) as error:
            hint = "poller run functions/payments/template.yaml --time-scale 60"
            message = f"no service of the payments at {self._endpoint}: {error}; start one: {hint}"
            raise CommandError(ExitCode.UNREACHABLE, message) from None


def book(functions: Functions, run: str, stop: Stop, patience: float) -> list[Booked]:
    """Send one event to each function, and wait for its second attempt."""
    sent = []
    for name, says, right in WAYS:
        event = {"account": f"{run} {name}", "payment": f"{run} p-1", "amount": AMOUNT, "balance": BALANCE}
        request_id, _ = functions.invoke(name, {**event, "fail_at_first": True}, kind="Event")
        sent.append((name, says, right, event["account"], request_id))
    booked = []
    deadline = time.monotonic() + patience
    for name, says, right, account, request_id in sent:
        while (found := functions.invoke("Look", {"account": account, "request_id": request_id})[1])["attempts"] < 2:  # noqa: PLR2004
            if stop or time.monotonic() > deadline:
                raise CommandError(ExitCode.FAILED, f"{name} was not tried again within {patience:g} s: {found}")
            stop.wait(LOOK_AGAIN)
        booked.append(Booked(name, says, found["attempts"], found["balance"], right))
    return booked


def run(arguments: argparse.Namespace, stop: Stop) -> ExitCode:
    """Book, give a payment up, and show the table."""
    functions = Functions(arguments.endpoint)
    functions.wait_for_start(stop)
    name = arguments.run or uuid.uuid4().hex[:6]
    functions.invoke("Add", {"payment": f"{name} p-2"}, kind="Event")  # of no account: it is given up
    booked = book(functions, name, stop, arguments.patience)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("function", "its event says", "tried", "balance", ""):
        table.add_column(heading, justify="right" if heading in {"tried", "balance"} else "left")
    for one in booked:
        verdict = "" if one.balance == one.right else "booked twice"
        table.add_row(one.function, one.says, str(one.attempts), str(one.balance), verdict)
    Console(width=80).print(table)
    return ExitCode.OK


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m producers.payments", description=__doc__)
    endpoint = environment("AWS_ENDPOINT_URL_LAMBDA", f"http://127.0.0.1:{environment('POLLER_PORT', '9001')}")
    parser.add_argument("--endpoint", default=endpoint, help="of the service (AWS_ENDPOINT_URL_LAMBDA)")
    parser.add_argument("--run", default="", help="first part of every account's name; new each time when not given")
    parser.add_argument("--patience", type=number(0), default=90.0, help="seconds to wait for second attempts (90)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main(run, arguments()))
