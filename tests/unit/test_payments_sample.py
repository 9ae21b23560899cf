"""The lesson of functions/payments: what a retry that is forced after the work was done does to an account (B.1)."""

from __future__ import annotations

import os
import re
import socket
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from async_rig import Rig, in_file, lines
from waiting import eventually

from poller.async_invoke.configuration import AsyncConfiguration
from producers.command import Stop
from producers.payments import Functions

PAYMENTS = Path(__file__).parents[2] / "functions" / "payments"
PAYMENT = {"account": "a", "payment": "p-1", "amount": 10, "balance": 30, "fail_at_first": True}


@pytest.mark.parametrize(
    ("handler", "balance"), [("set_balance", 30), ("add", 50), ("add_once", 40)], ids=["set", "add", "add once"]
)
def test_a_payment_is_tried_twice_and_booked_as_its_handler_has_it(tmp_path: Path, handler: str, balance: int) -> None:
    """Of an account that holds 30, after two attempts to set it to 30 or to add 10."""
    rig = Rig(tmp_path)
    values: dict[str, Any] = {
        "handler": f"handler.{handler}",
        "runtime": f"python{sys.version_info[0]}.{sys.version_info[1]}",
        "environment": {"ACCOUNTS": str(tmp_path / "accounts"), "POWERTOOLS_SERVICE_NAME": "payments"},
        "timeout": 30.0,
    }
    rig.add("payments", AsyncConfiguration(on_success=in_file(tmp_path / "done")), code=PAYMENTS, **values)
    with closing(sqlite3.connect(tmp_path / "accounts")) as connection:
        connection.execute("CREATE TABLE balances (account TEXT PRIMARY KEY, balance INTEGER NOT NULL)")
        connection.execute("INSERT INTO balances VALUES ('a', 30)")
        connection.commit()
    rig.start()
    rig.accept("payments", PAYMENT)
    [record] = eventually(lambda: lines(tmp_path / "done"))
    rig.stop()
    assert record["requestContext"]["approximateInvokeCount"] == 2
    assert record["responsePayload"] == {"balance": balance}
    with closing(sqlite3.connect(tmp_path / "accounts")) as connection:
        assert connection.execute("SELECT balance FROM balances").fetchall() == [(balance,)]


def produced(endpoint: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "producers.payments", "--endpoint", endpoint]
    return subprocess.run(command, cwd=PAYMENTS.parents[1], capture_output=True, text=True, timeout=120, check=False)


def test_the_sample_s_template_and_producer_show_it_and_what_is_given_up_stands_where_the_queue_s_address_says(
    tmp_path: Path,
) -> None:
    """B.1, B.3; the ARN of an SQS queue is backed by a file."""
    environment = {**os.environ, "POLLER_STATE_FOLDER": str(tmp_path / "state"), "POLLER_LOG_FORMAT": "text"}
    parameters = {"Accounts": tmp_path / "accounts", "FailedEndpoint": f"file:{tmp_path}/failed"}
    given = [part for name, value in parameters.items() for part in ("--parameter", f"{name}={value}")]
    command = [sys.executable, "-m", "poller.cli", "run", str(PAYMENTS / "template.yaml"), *given]
    with (tmp_path / "log").open("w") as log:
        service = subprocess.Popen([*command, "--port", "0", "--time-scale", "120"], env=environment, stderr=log)
    try:
        [address] = eventually(lambda: re.findall(r"http://[0-9.:]+(?=/metrics)", (tmp_path / "log").read_text()))
        shown = produced(address)
        assert shown.returncode == 0, shown.stderr
        rows = [re.split(r"\s{2,}", line.strip()) for line in shown.stdout.splitlines() if " 2 " in line]
        assert rows == [
            ["SetBalance", "the balance is 30", "2", "30"],
            ["Add", "add 10", "2", "20", "booked twice"],
            ["AddOnce", "add 10, payment p-1", "2", "10"],
        ]
        [record] = eventually(lambda: lines(tmp_path / "failed"))
        assert record["requestContext"]["condition"] == "RetriesExhausted"
        assert record["requestContext"]["approximateInvokeCount"] == 3
        assert record["responsePayload"]["errorType"] == "KeyError"
    finally:
        service.terminate()
        assert service.wait(40) == 0


def test_the_producer_waits_for_a_service_that_was_started_just_before_it() -> None:
    class Listening(Stop):
        """Somebody listens from the first pause on."""

        def wait(self, seconds: float) -> None:
            if self.server is None:
                self.server = socket.create_server(("127.0.0.1", port))
                threading.Thread(target=self.answer, daemon=True).start()

        server: socket.socket | None = None

        def answer(self) -> None:
            assert self.server is not None
            connection, _ = self.server.accept()
            connection.recv(1000)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            connection.close()

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    stop = Listening()
    Functions(f"http://127.0.0.1:{port}").wait_for_start(stop)
    assert stop.server is not None
    stop.server.close()


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:1", "foo", "http://"])
def test_without_a_service_the_producer_says_how_to_start_one(endpoint: str) -> None:
    told = produced(endpoint)
    assert told.returncode == 3
    assert told.stderr.startswith(f"error: no service of the payments at {endpoint.rstrip('/')}")
    assert "poller run functions/payments/template.yaml" in told.stderr
    assert "Traceback" not in told.stderr
