"""`kill -9` of a service at random moments while it accepts and works off asynchronous events (B.1): nothing is lost.

Every accepted event is attempted at least once, and ends in exactly one of success, failure and still waiting.
"""

from __future__ import annotations

import json
import logging
import os
import random
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from async_rig import depths, lines
from faults.tally import Tally, either
from handlers.rig import HANDLERS
from integration.harness.service import Service
from waiting import eventually

from poller.async_invoke.waiting import WaitingEvents

TESTS = Path(__file__).parents[1]
KILLS = either(6, 20)
KILLS_WITH_BROKER = either(4, 20)
SENDERS = 4
MOST = either(150, 400)
"""Events of one sender at most, so that the load is bounded."""
SEED = 20_251_125
FOLDER, BROKER = "state folder", "AsyncQueue"
"""Where events wait."""


class Run:
    """One folder, and the services that use it one after the other; with `queue` events wait on that broker instead."""

    def __init__(
        self, folder: Path, config: dict[str, Any], time_scale: float, queue: str = "", account: str = ""
    ) -> None:
        self.folder = folder
        self.queue = queue
        self.account = account or f"{random.randrange(10**12):012}"
        self.time_scale = time_scale
        self.socket = folder / "socket"
        self.accepted: set[str] = set()
        self.process: subprocess.Popen[bytes] | None = None
        code = {"Code": str(HANDLERS), "Handler": "noted.handler", "Runtime": "python3.13"}
        variables = {"Variables": {"NOTES": str(folder / "notes")}}
        function = {"Type": "AWS::Lambda::Function", "Properties": {**code, "Timeout": 10, "Environment": variables}}
        template = {
            "Resources": {
                "Work": function,
                "Config": {"Type": "AWS::Lambda::EventInvokeConfig", "Properties": {"FunctionName": "Work", **config}},
            },
            "Metadata": {
                "Poller": {
                    "TimeScale": time_scale,
                    "StateFolder": "state",
                    "AccountId": self.account,
                    **({"AsyncQueue": queue} if queue else {}),
                }
            },
        }
        (folder / "template.yaml").write_text(yaml.safe_dump(template))

    def start(self) -> None:
        self.socket.unlink(missing_ok=True)
        command = [sys.executable, TESTS / "faults" / "async_service.py", self.folder / "template.yaml", self.socket]
        with (self.folder / "log").open("ab") as log:
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS)])}
            self.process = subprocess.Popen(command, env=environment, stderr=log)
        eventually(self._listens)

    def _listens(self) -> bool:
        """A socket is there a moment before it takes connections."""
        with socket.socket(socket.AF_UNIX) as connection:
            return connection.connect_ex(str(self.socket)) == 0

    def end(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)
        self.process.wait(60)

    def send(self, events: Iterator[dict[str, Any]]) -> None:
        """Hand over events one by one until the service is gone; what it answers for is accepted."""
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(str(self.socket))
                with connection.makefile("rwb") as file:
                    for event in events:
                        file.write(b"Work " + json.dumps(event).encode() + b"\n")
                        file.flush()
                        answer = file.readline().decode()
                        if not answer.endswith("\n"):
                            return
                        assert not answer.startswith("refused"), answer
                        self.accepted.add(answer.strip())
        except OSError:
            return

    def ids(self, name: str) -> list[str]:
        return [line["requestContext"]["requestId"] for line in lines(self.folder / name)]

    def is_worked_off(self) -> bool:
        """Nothing waits. Of a broker's queue it is only known what is in nobody's hands, so records have to agree."""
        if not self.queue:
            return not self.waiting()
        if sum(depths(self.queue, self.account, ["Work"], self.time_scale).values()):
            return False
        return self.accepted <= {*self.ids("done"), *self.ids("failed")}

    def waiting(self) -> list[str]:
        return [line.request_id for line in WaitingEvents(self.folder / "state").lines(None, 1_000_000)]


def events(chance: random.Random) -> Iterator[dict[str, Any]]:
    """Some succeed, some fail, some end their process."""
    for number in range(MOST):
        kind = chance.choices(({}, {"fail": "boom"}, {"exit": True}), (8, 3, 1))[0]
        yield {"number": number, "padding": "x" * chance.randrange(2000), **kind}


DESTINATIONS = {
    "OnSuccess": {"Destination": "file:done"},
    "OnFailure": {"Destination": "file:failed"},
}
CONFIG = {"MaximumRetryAttempts": 1, "DestinationConfig": DESTINATIONS}


@pytest.fixture
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Run]:
    queue = ""
    if getattr(request, "param", FOLDER) != FOLDER:
        logging.getLogger("pika").setLevel(logging.CRITICAL)  # it tells of every queue that is not there
        queue = request.getfixturevalue("rabbitmq").url
    one = Run(tmp_path, CONFIG, 100, queue)  # an age of 216 s
    yield one
    if one.process is not None and one.process.poll() is None:
        one.process.kill()
        one.process.wait()


@pytest.mark.parametrize("run", [FOLDER, pytest.param(BROKER, marks=pytest.mark.broker)], indirect=True)
def test_kill_9_at_random_moments_loses_no_accepted_event(run: Run, tally: Tally) -> None:
    chance = random.Random(SEED)
    kills = KILLS_WITH_BROKER if run.queue else KILLS
    for _ in range(kills):
        run.start()
        senders = [
            threading.Thread(target=run.send, args=(events(random.Random(chance.random())),)) for _ in range(SENDERS)
        ]
        before, wanted = len(run.accepted), chance.randrange(20, 200)
        for sender in senders:
            sender.start()
        eventually(lambda before=before, wanted=wanted: len(run.accepted) >= before + wanted)
        run.end(signal.SIGKILL)
        tally.fault("service killed with asynchronous events")
        for sender in senders:
            sender.join()
    run.start()
    eventually(run.is_worked_off)
    run.end(signal.SIGTERM)
    assert run.process is not None
    assert run.process.returncode == 0

    attempted = {line["id"] for line in lines(run.folder / "notes")}
    done, failed = set(run.ids("done")), set(run.ids("failed"))
    assert len(run.accepted) >= kills * 20
    assert run.accepted <= attempted
    assert run.accepted <= done | failed
    assert not done & failed
    outcome = {line["id"]: line["event"] for line in lines(run.folder / "notes")}
    assert all(("fail" in outcome[id_] or "exit" in outcome[id_]) == (id_ in failed) for id_ in run.accepted)


@pytest.mark.broker
@pytest.mark.parametrize("run", [BROKER], indirect=True)
def test_what_a_killed_program_had_in_hand_is_taken_by_one_that_shares_its_queue(
    run: Run, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = Run(tmp_path_factory.mktemp("other"), CONFIG, 100, run.queue, run.account)
    run.start()
    run.send(iter([{"wait_for": str(run.folder / "gate")}] * 30))
    eventually(lambda: len(lines(run.folder / "notes")) == 10)
    other.start()
    run.end(signal.SIGKILL)
    (run.folder / "gate").touch()
    eventually(lambda: run.accepted <= set(other.ids("done")))
    other.end(signal.SIGTERM)
    assert {line["id"] for line in lines(other.folder / "notes")} == run.accepted


def test_what_waits_for_its_retry_still_waits_after_kill_9(tmp_path: Path) -> None:
    run = Run(tmp_path, {"MaximumRetryAttempts": 2}, 1)
    run.start()
    run.send(iter([{"fail": "boom"}] * 20))
    assert len(run.accepted) == 20
    eventually(lambda: len(lines(run.folder / "notes")) >= 10)
    run.end(signal.SIGKILL)
    assert set(run.waiting()) == run.accepted
    run.start()
    eventually(lambda: {line["id"] for line in lines(run.folder / "notes")} == run.accepted)
    run.end(signal.SIGTERM)
    assert set(run.waiting()) == run.accepted


def test_a_second_service_on_the_folder_says_so_and_ends(run: Run) -> None:
    run.start()
    poller = Path(sys.executable).with_name("poller")
    command = [poller, "run", run.folder / "template.yaml", "--port", "0"]
    second = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert second.returncode == 1
    assert f"in use by another poller (process {run.process.pid if run.process else ''})" in second.stderr
    assert "Traceback" not in second.stderr
    run.end(signal.SIGTERM)


def test_poller_run_works_off_what_another_service_accepted_and_ends_well(run: Run) -> None:
    run.start()
    run.send(iter([{"number": number} for number in range(50)]))
    run.end(signal.SIGKILL)
    with Service(run.folder, yaml.safe_load((run.folder / "template.yaml").read_text())) as service:
        eventually(lambda: not run.waiting())
        status, metrics = service.get("metrics")
        assert service.get("healthz")[0] == status == 200
        assert service.stop() == 0
        assert service.problems() == []
    assert 'poller_async_events_dropped_total{function="Work"} 0.0' in metrics
    assert set(run.ids("done")) >= run.accepted
