"""The soak: hours in small. Steady load, half a percent of poison, a fault a minute; memory and descriptors stay flat.

`make soak`; SOAK_MINUTES shortens it. One service is never killed and is measured; another one beside it comes and
goes. Its name keeps it out of ordinary runs.
"""

from __future__ import annotations

import json
import math
import os
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import NamedTuple

import pytest
from brokers import KafkaBroker, RabbitMQBroker
from faults.tally import REPORT, Tally
from integration.harness import stack
from integration.harness.ledger import Ledger, ends, letters_in_topic
from integration.harness.runs import PARTITIONS, Run, assert_balanced, assert_queue_balanced, container_of, finish_queue
from integration.harness.service import Service, handler_processes
from waiting import eventually

pytestmark = [
    pytest.mark.broker,
    pytest.mark.usefixtures("refused_connections"),
]

SECONDS = float(os.environ.get("SOAK_MINUTES", "30")) * 60
BETWEEN_FAULTS = min(60.0, SECONDS / 10)
WORK, LOAD, POISON = 0.008, 0.6, 0.005
"""Seconds of a record; share of what the handlers can do; share of the records."""
FROM_KAFKA, FROM_RABBITMQ = round(LOAD * PARTITIONS / WORK), round(LOAD / WORK)
"""Records a second: a topic has a handler per partition, a queue has one."""
EVERY = 2.0
"""Seconds between two portions of records."""
BACKLOG = 10 * (FROM_KAFKA + FROM_RABBITMQ)
"""Records that may wait. Beyond that the machine is too busy for this load, and a portion is left out."""
WARM_UP = 0.25
"""Share of the run that is not compared."""
STILL = 120.0
"""Seconds without any handling that are a standstill."""


class Sample(NamedTuple):
    """The steady service at a moment."""

    second: float
    resident: float
    """MB."""
    descriptors: int
    threads: int


def sample(pid: int, second: float) -> Sample:
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    descriptors = sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    return Sample(round(second, 1), int(status["VmRSS"].split()[0]) / 1024, descriptors, int(status["Threads"]))


class Soak:
    """The service that is measured, the one beside it, and the faults."""

    def __init__(self, kafka: KafkaBroker, rabbitmq: RabbitMQBroker, run: Run, services: ExitStack) -> None:
        self._kafka, self._rabbitmq = container_of(kafka), container_of(rabbitmq)
        self._wait_for_kafka = kafka.wait_until_ready
        self._run, self._services = run, services
        self.steady = self._start()
        self.other = self._start()
        self.faults: dict[str, Callable[[], None]] = {
            "kill -9 of a poller beside": self._kill_other,
            "Kafka hangs for 3 s": lambda: self._hang(self._kafka.paused),
            "RabbitMQ closes the connections": self._close_connections,
            "kill -9 of a handler": self._kill_handler,
            "a poller leaves and another joins": self._replace_other,
            "RabbitMQ hangs for 3 s": lambda: self._hang(self._rabbitmq.paused),
            "Kafka is killed and started": self._restart_kafka,
        }

    def _start(self) -> Service:
        return self._services.enter_context(self._run.service())

    def _kill_other(self) -> None:
        self.other.kill()
        self.other = self._start()

    def _replace_other(self) -> None:
        self.other.wait_for_log("^polling")
        assert self.other.stop() == 0
        assert self.other.problems() == []
        self.other = self._start()

    @staticmethod
    def _hang(paused: Callable[[], object]) -> None:
        with paused():  # type: ignore[attr-defined]
            time.sleep(3)  # the fault itself

    def _close_connections(self) -> None:
        self._rabbitmq.run("rabbitmqctl", "close_all_connections", "the soak asks for it")

    def _kill_handler(self) -> None:
        own = [pid for pid in handler_processes(stack.mark(self._run.ledger)) if _parent(pid) == self.steady.pid]
        os.kill(own[0], signal.SIGKILL)

    def _restart_kafka(self) -> None:
        self._kafka.kill()
        self._kafka.start()
        self._wait_for_kafka()


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_memory_and_descriptors_stay_flat_and_the_books_balance(
    kafka: KafkaBroker, rabbitmq: RabbitMQBroker, ledgers: Callable[[str], Ledger], tmp_path: Path, tally: Tally
) -> None:
    topic, dead = kafka.create_topic(PARTITIONS), kafka.create_topic()
    queue = rabbitmq.declare_queue(dead_letters=True, x_delivery_limit=1000)
    orders, tasks = ledgers("orders"), ledgers("tasks")
    # A killed handler is a failed attempt of good records, too: attempts enough that only poison uses them up.
    report = {"MaximumRetryAttempts": 8, "FunctionResponseTypes": ["ReportBatchItemFailures"]}
    event = stack.kafka_event(kafka, topic, dead_letters=dead, **report)
    template = stack.template(
        {"Orders": stack.function(orders, event), "Tasks": stack.function(tasks, stack.mq_event(queue))},
        extensions={"Tasks": report},
        endpoints={stack.RABBITMQ_ARN: rabbitmq.url},
        TimeScale=60,
    )
    samples: list[Sample] = []
    with ExitStack() as services:
        soak = Soak(kafka, rabbitmq, Run(tmp_path, orders, template), services)
        soak.steady.wait_until_ready()
        faults = cycle(soak.faults.items())
        started = time.monotonic()
        next_fault = started + BETWEEN_FAULTS
        while (now := time.monotonic()) < started + SECONDS:
            behind = sum(ends(kafka, topic).values()) - sum(kafka.committed(topic, topic).values())
            if behind + rabbitmq.depth(queue) < BACKLOG:
                orders.produce(kafka, topic, round(FROM_KAFKA * EVERY), partitions=PARTITIONS, poison=POISON, work=WORK)
                tasks.publish(rabbitmq, queue, round(FROM_RABBITMQ * EVERY), poison=POISON, work=WORK)
            samples.append(sample(soak.steady.pid, now - started))
            if now >= next_fault:
                kind, inject = next(faults)
                inject()
                tally.fault(f"soak: {kind}")
                next_fault += BETWEEN_FAULTS
            time.sleep(max(0.0, now + EVERY - time.monotonic()))  # the load's own rhythm
        write(samples)
        wait_while_it_goes_on(lambda: kafka.committed(topic, topic) == ends(kafka, topic), orders, soak.steady)
        assert soak.other.stop() == 0
        finish_queue(tasks, rabbitmq, queue, soak.steady)
    letters = letters_in_topic(kafka, dead)
    tally.dead_letters += len(letters)
    assert_balanced(orders, letters)
    tally.dead_letters += assert_queue_balanced(tasks, rabbitmq, queue).total()
    assert orders.out_of_order() == []
    assert_flat(samples)


def wait_while_it_goes_on(done: Callable[[], bool], ledger: Ledger, service: Service) -> None:
    """However long it takes on a busy machine, but not through a standstill."""
    count, since = -1, time.monotonic()

    def done_or_going_on() -> bool:
        nonlocal count, since
        if count != (count := len(ledger.handlings())):
            since = time.monotonic()
        assert time.monotonic() - since < STILL, f"it stands still:\n{service.tail()}"
        return done()

    eventually(done_or_going_on, timeout=math.inf, pause=1, what="the end of the backlog")


def windows(samples: list[Sample]) -> tuple[list[Sample], list[Sample]]:
    """After the warm-up: the first third of what is left, and the last one."""
    left = samples[int(len(samples) * WARM_UP) :]
    return left[: len(left) // 3], left[-(len(left) // 3) :]


def assert_flat(samples: list[Sample]) -> None:
    early, late = windows(samples)
    # An environment that load adds stays for its idle time, with its thread: a leak lifts the least.
    for name, of, slack in (("resident", median, 5 + 0.1 * early[0].resident), ("threads", min, 3)):
        before, after = (of(getattr(one, name) for one in window) for window in (early, late))
        assert after <= before + slack, f"{name} grew from {before} to {after}"
    # Its descriptors go with its thread, so as many threads have as many descriptors, whenever that was.
    least = [least_descriptors(window) for window in (early, late)]
    both = least[0].keys() & least[1].keys()
    assert both, "no number of threads was there early and late"
    grown = {threads: tuple(window[threads] for window in least) for threads in both}
    assert all(after <= before + 5 for before, after in grown.values()), f"descriptors grew: {grown}"


def least_descriptors(samples: list[Sample]) -> dict[int, int]:
    """By the number of threads at that time."""
    least: dict[int, int] = {}
    for one in samples:
        least[one.threads] = min(one.descriptors, least.get(one.threads, one.descriptors))
    return least


def write(samples: list[Sample]) -> None:
    """`build/soak.json`, and a line for whoever reads the run."""
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.with_name("soak.json").write_text(json.dumps([one._asdict() for one in samples]) + "\n")
    for one in samples[:: max(1, len(samples) // 10)]:
        print(
            f"after {one.second:6,.0f} s: {one.resident:6.1f} MB, {one.descriptors} descriptors, {one.threads} threads"
        )
