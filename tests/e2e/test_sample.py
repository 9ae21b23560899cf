"""The sample as a user runs it: `make up`'s script, scaling, stopping. In a project and on ports of its own."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from waiting import eventually

from producers import facts

pytestmark = pytest.mark.compose

ROOT = Path(__file__).parents[2]
PORTS = ("POLLER_KAFKA_PORT", "POLLER_RABBITMQ_PORT", "POLLER_RABBITMQ_MANAGEMENT_PORT", "POLLER_PORT")
GROUP = "telemetry"
RESULTS = "compose:poller:/results"
PATIENCE = 90.0


def command(*arguments: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, cwd=ROOT, text=True, capture_output=True, timeout=timeout, check=False)


def compose(*arguments: str) -> str:
    done = command("docker", "compose", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_sample(*arguments: str) -> dict[str, dict]:
    done = command(sys.executable, "-m", "producers.run_sample", "--json", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def comes_true(what: str, holds: Callable[[], bool]) -> None:
    """Each look costs a connection, or a process."""
    eventually(holds, timeout=PATIENCE, pause=0.3, what=what)


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


@pytest.fixture(scope="module")
def stack() -> Iterator[dict[str, dict]]:
    """The whole sample, up, with the figures of its first run; down again with its volumes afterwards."""
    if not shutil.which("docker") or command("docker", "compose", "version").returncode:
        message = "docker compose does not answer; make e2e sees to it"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("COMPOSE_PROJECT_NAME", "poller-e2e")
        for variable, port in zip(PORTS, free_ports(len(PORTS)), strict=True):
            environment.setenv(variable, str(port))
        try:
            up = command("containers/up.sh", "--json", "--telemetry", "2000", "--tasks", "400", timeout=900)
            assert up.returncode == 0, up.stdout + up.stderr
            yield json.loads(up.stdout[up.stdout.index("{") :])
        finally:
            command("docker", "compose", "--profile", "*", "down", "--volumes", "--remove-orphans", "--timeout", "5")


def kafka_address() -> str:
    return f"127.0.0.1:{os.environ['POLLER_KAFKA_PORT']}"


def rabbitmq_address() -> str:
    return f"amqp://guest:guest@127.0.0.1:{os.environ['POLLER_RABBITMQ_PORT']}"


def members_with_partitions() -> int:
    """Members of the consumer group that have partitions of the topic."""
    with facts.kafka_admin(kafka_address()) as admin:
        members = admin.describe_groups([GROUP])[GROUP]["members"]
    # While the group rebalances a member's assignment is empty, and then of no structure.
    assignments = [member["member_assignment"] for member in members if member["member_assignment"]]
    return sum(bool(assignment["assigned_partitions"]) for assignment in assignments)


def consumers() -> int:
    with facts.rabbitmq_channel(rabbitmq_address()) as channel:
        return channel.queue_declare("tasks", passive=True).method.consumer_count


@pytest.mark.parametrize(("mapping", "produced"), [("telemetry", 2000), ("tasks", 400)])
def test_the_sample_handles_the_good_dead_letters_the_poison_and_loses_nothing(stack, mapping, produced):
    # C.6, D.1.4, F.3
    figures = stack[mapping]
    assert figures["good"], figures
    assert figures["produced"] == produced
    assert figures["dead_lettered"] > 0
    assert figures["handled"] == produced - figures["dead_lettered"]
    assert figures["lost"] == figures["waiting"] == 0


@pytest.mark.parametrize("path", ["healthz", "readyz", "metrics"])
def test_the_poller_answers_on_its_address_on_the_host(stack, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{os.environ['POLLER_PORT']}/{path}", timeout=10) as answer:
        assert answer.status == 200
        assert answer.read()


def test_a_second_run_counts_only_its_own_messages(stack):
    figures = run_sample("--telemetry", "300", "--tasks", "100", "--seed", "2", "--poison", "0.05")
    assert (figures["telemetry"]["produced"], figures["tasks"]["produced"]) == (300, 100)


def test_a_poller_that_is_stopped_while_it_works_exits_0_and_what_it_left_is_handled_afterwards(stack):
    arguments = ["--run", "stopped", "--rate", "300", "--count", "0", "--poison", "0"]
    producer = subprocess.Popen(
        [sys.executable, "-m", "producers.telemetry", *arguments], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    try:
        comes_true("readings are handled", lambda: bool(facts.handled(RESULTS, "stopped")["telemetry"]))
        compose("stop", "poller")
        exited = compose("ps", "--all", "--format", "{{.ExitCode}}", "poller").split()
        assert exited == ["0"]
    finally:
        producer.send_signal(signal.SIGINT)
        told = producer.communicate(timeout=60)[1]
    assert producer.returncode == 0, told
    confirmed = int(re.search(r"telemetry: ([\d,]+) confirmed", told)[1].replace(",", ""))
    compose("up", "--detach", "--wait", "poller")
    comes_true("all are handled", lambda: len(facts.handled(RESULTS, "stopped")["telemetry"]) == confirmed)


def test_the_producers_of_the_profile_write_steadily_and_stop_with_exit_0(stack):
    producers = ("telemetry-producer", "tasks-producer")
    before = sum(facts.committed(kafka_address(), GROUP).values())
    compose("--profile", "producers", "up", "--detach", *producers)
    comes_true("more is handled", lambda: sum(facts.committed(kafka_address(), GROUP).values()) > before + 100)
    compose("--profile", "producers", "stop", *producers)
    exited = compose("--profile", "producers", "ps", "--all", "--format", "{{.ExitCode}}", *producers).split()
    assert exited == ["0", "0"]


def test_three_pollers_share_the_work_and_lose_nothing(stack):
    compose("up", "--detach", "--wait", "--scale", "poller=3")
    # Lanes are partitions (D.1.2): the group spreads four of them over three members.
    comes_true("three members have partitions", lambda: members_with_partitions() == 3)
    comes_true("three consumers read the queue", lambda: consumers() == 3)
    figures = run_sample("--telemetry", "3000", "--tasks", "600", "--seed", "3")
    assert all(found["good"] for found in figures.values()), figures
