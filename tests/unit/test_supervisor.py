"""Several workers answer as one service. Real processes, on a broker that is not there."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from handlers.rig import is_running, wait_until_gone
from templates import PROVISIONED, _transform_in_process, document, load, write  # noqa: F401 - a fixture
from waiting import eventually

from poller.cli_options import ExitCode
from poller.policy.retrying import BackOff
from poller.shares import shares_of
from poller.template import Template
from poller.workers.supervisor import NO_CALLS, NO_INVOCATIONS, Workers

NOWHERE = {"KafkaBootstrapServers": ["127.0.0.1:1"]}
NO_QUEUE = {"Endpoints": {"arn:aws:mq:us-east-1:000000000000:broker:tasks:b-1": "amqp://127.0.0.1:1"}}


@pytest.fixture
def template(tmp_path: Path) -> Template:
    return load(tmp_path, document(readings=NOWHERE, settings=NO_QUEUE))


@pytest.fixture
def workers(template: Template) -> Iterator[Workers]:
    made = Workers(template, shares_of(template, 2))
    yield made
    for keeper in made.keepers:
        if keeper.is_alive():
            keeper.stop()
            keeper.kill()
            keeper.join(10)


def states(workers: Workers) -> dict[str, Any]:
    workers.refresh()
    return {str(state["Mapping"]): state for state in workers.mapping_states()}


def test_before_they_have_reported_every_mapping_is_creating(workers: Workers) -> None:  # C.2
    assert {name: state["State"] for name, state in states(workers).items()} == {
        "Telemetry.Readings": "Creating",
        "Tasks.Queue": "Creating",
    }
    assert not workers.alive()
    assert [one["pid"] for one in workers.worker_states()] == [None, None]


def test_they_answer_as_one_and_end_together(workers: Workers) -> None:
    workers.start()
    eventually(lambda: all(state["State"] == "Enabled" for state in states(workers).values()))
    assert workers.alive()
    told = states(workers)
    assert told["Telemetry.Readings"]["Problem"].count("127.0.0.1:1") == 1, "both say the same"
    pollers = {mapping.labels.mapping: mapping.pollers for mapping in workers.reports.mappings()}
    assert pollers == {"Telemetry.Readings": 2, "Tasks.Queue": 1}  # C.8
    pids = [one["pid"] for one in workers.worker_states()]
    assert all(isinstance(pid, int) and is_running(pid) for pid in pids)
    assert workers.stop(grace=20)
    assert not any(isinstance(pid, int) and is_running(pid) for pid in pids)
    totals = workers.reports.totals()["poller_polling_error_count"]
    assert sum(totals.values()) >= 3, "what they had counted is still known"


def test_one_that_dies_is_told_by_its_mappings_and_the_rest_goes_on(workers: Workers) -> None:
    workers.keepers[1]._back_off = BackOff(first=3.0)  # longer than an answer may wait for reports
    workers.start()
    eventually(lambda: len(workers.reports.last()) == 2 or workers.refresh())
    second = workers.worker_states()[1]["pid"]
    assert isinstance(second, int)
    os.kill(second, signal.SIGKILL)
    eventually(lambda: "worker 2 has ended (signal SIGKILL)" in str(states(workers)["Telemetry.Readings"]["Problem"]))
    assert workers.alive()
    eventually(lambda: workers.worker_states()[1]["starts"] == 2)
    eventually(lambda: "worker 2" not in str(states(workers)["Telemetry.Readings"]["Problem"]))
    assert workers.stop(grace=20)


def test_one_that_does_not_end_is_killed_and_that_is_no_good_end(workers: Workers) -> None:
    workers.start()
    eventually(lambda: len(workers.reports.last()) == 2 or workers.refresh())
    stuck = workers.worker_states()[0]["pid"]
    assert isinstance(stuck, int)
    os.kill(stuck, signal.SIGSTOP)
    assert not workers.stop(grace=0.5)
    assert not is_running(stuck)


def test_workers_without_a_poller_are_not_started(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    template = load(tmp_path, document(readings={"ProvisionedPollerConfig": PROVISIONED}))
    made = Workers(template, shares_of(template, 4))
    assert [keeper.share.worker for keeper in made.keepers] == [1, 2]
    assert caplog.messages[-1].startswith("only 2 of 4 workers are started: ")


def test_where_everything_is_disabled_one_worker_waits(tmp_path: Path) -> None:  # C.2
    template = load(tmp_path, document(readings={"Enabled": False}, queue={"Enabled": False}))
    made = Workers(template, shares_of(template, 2))
    assert len(made.keepers) == 1
    assert {state["State"] for state in made.mapping_states()} == {"Disabled"}


# --- the command ---------------------------------------------------------------------------------------------------


@pytest.fixture
def service(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """`poller run --workers 2` on a broker that is not there."""
    path = write(tmp_path, document(readings=NOWHERE, settings=NO_QUEUE))
    with subprocess.Popen(
        [sys.executable, "-m", "poller.cli", "run", str(path), "--port", "0", "--workers", "2"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        process.kill()


def started(process: subprocess.Popen[str]) -> tuple[str, list[int]]:
    """The line that says it serves, and its workers, which may still be starting."""
    assert process.stderr is not None
    line = process.stderr.readline()
    # A child belongs to the thread that started it.
    threads = Path(f"/proc/{process.pid}/task")
    eventually(lambda: sum(len(file.read_text().split()) for file in threads.glob("*/children")) == 2)
    return line, [int(pid) for file in threads.glob("*/children") for pid in file.read_text().split()]


def test_sigterm_ends_all_with_status_0_also_while_they_start(service: subprocess.Popen[str]) -> None:
    line, workers = started(service)
    assert "with 2 workers; http://127.0.0.1:" in line
    service.send_signal(signal.SIGTERM)
    assert service.wait(30) == 0
    assert not any(map(is_running, workers))


def test_a_call_to_several_workers_is_told_why_it_cannot_be_made(service: subprocess.Popen[str]) -> None:
    address = re.search(r"http://127\.0\.0\.1:\d+", started(service)[0])
    assert address
    answer = httpx.post(f"{address[0]}/2015-03-31/functions/Telemetry/invocations", content=b"{}")
    assert (answer.status_code, answer.headers["x-amzn-ErrorType"]) == (400, "InvalidParameterValueException")
    assert answer.json()["message"] == NO_INVOCATIONS
    assert httpx.delete(f"{address[0]}/2015-03-31/event-source-mappings/u").json()["message"] == NO_CALLS
    origin = {"Origin": "https://elsewhere.example"}
    assert httpx.delete(f"{address[0]}/2015-03-31/event-source-mappings/u", headers=origin).status_code == 403


def test_kill_9_leaves_no_worker_also_while_they_start(service: subprocess.Popen[str]) -> None:
    _, workers = started(service)
    service.kill()
    for worker in workers:
        wait_until_gone(worker)


def test_a_taken_port_ends_it_before_a_worker_starts(tmp_path: Path) -> None:
    path = write(tmp_path, document(readings=NOWHERE, settings=NO_QUEUE))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-m", "poller.cli", "run", str(path), "--port", port, "--workers", "2"],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == ExitCode.PORT_IN_USE
    [line] = done.stderr.splitlines()
    assert line.startswith(f"poller: port {port} on 127.0.0.1 is in use by another program: ")
