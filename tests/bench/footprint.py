"""What it costs while nothing happens: time to start, memory, processor."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.bench import load
from tests.bench.full_topic import CLIENT_VARIABLE, clients
from tests.bench.processes import START_TIMEOUT, Floor, Measured, Service, kafka_event, rabbitmq_event, template
from tests.bench.report import Goal, Row, progress, row
from tests.brokers import KafkaBroker, RabbitMQBroker, unique

SETTLE = 2.0
"""Seconds after the first poll that still belong to the start: joining the group takes about one."""


@dataclass(slots=True)
class Run:
    polling: float
    """Seconds from the start of the process to its first poll, of all mappings."""
    ready: float
    """Seconds to /readyz answering 200."""
    memory: float = 0.0
    """MB."""
    processor: float = 0.0
    """Share of one core in percent."""
    threads: int = 0


def idle(kafka: KafkaBroker, rabbitmq: RabbitMQBroker, folder: Path, *, runs: int, quick: bool) -> Iterator[Row]:
    """A service with a mapping of an empty topic and one of an empty queue; the floor reads the topic only."""
    seconds = 3.0 if quick else 10.0
    with load.topic(kafka) as topic, load.queues(rabbitmq, 1) as (_, (queue,)):
        for client in clients():
            ours, floor = [], []
            for number in range(runs):
                progress(f"start and idle, {client}, run {number + 1} of {runs}")
                group, place = unique("bench-idle"), folder / f"{client}-{number}"
                arguments = [client, "--address", kafka.address, "--topic", topic, "--group", f"{group}-floor"]
                with Floor([*arguments, "--batch-size", "0"], place / "floor", handler="count") as bare:
                    floor.append(Run(bare.wait_for_log("polling"), 0.0))
                    # Started after the other one was up, so neither start is in the way of the other.
                    events = {"Records": kafka_event(kafka.address, topic, group), "Messages": rabbitmq_event(queue)}
                    content = template(events, rabbitmq=rabbitmq.url)
                    with Service(content, place / "ours", environment={CLIENT_VARIABLE: client}) as service:
                        ours.append(started(service, len(events)))
                        time.sleep(SETTLE)  # nothing tells when a process has come to rest
                        watch(seconds, (service, ours[-1]), (bare, floor[-1]))
            yield from _rows(client, ours, floor, seconds)


def _rows(client: str, ours: list[Run], floor: list[Run], seconds: float) -> Iterator[Row]:
    yield row(
        "start to first poll, 2 mappings",
        "s",
        [run.polling for run in ours],
        [run.polling for run in floor],
        client=client,
        goals=[Goal("<", 1.5)],
        details={"ready_s": [run.ready for run in ours]},
        note="/readyz answers 200 after {ready_s:.2f} s",
    )
    yield row(
        "memory when idle, 2 mappings",
        "MB",
        [run.memory for run in ours],
        [run.memory for run in floor],
        client=client,
        goals=[Goal("<", 90.0)],
        details={"threads": [float(run.threads) for run in ours]},
        note="{threads:.0f} threads",
    )
    yield row(
        f"processor when idle over {seconds:g} s, 2 mappings",
        "% of a core",
        [run.processor for run in ours],
        [run.processor for run in floor],
        client=client,
        goals=[Goal("<", 2.0)],
    )


def started(service: Service, mappings: int, timeout: float = START_TIMEOUT) -> Run:
    """Wait until all its mappings poll."""
    polling = service.wait_for_log('"message": "polling"', times=mappings, timeout=timeout)
    return Run(polling, _ready(service, timeout))  # asking pauses for long, and would hold the first figure up


def _ready(service: Service, timeout: float) -> float:
    """Seconds from the start of the process to the first 200 of /readyz."""
    while True:
        asked = time.monotonic()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{service.port}/readyz", timeout=5):
                return time.monotonic() - service.started
        except OSError as error:  # not listening yet, not ready yet, or too busy to answer
            service.require_alive()
            if time.monotonic() - service.started > timeout:
                raise TimeoutError(f"the service is not ready after {timeout:g} s: {error}") from None
            # An answer about hundreds of mappings is work, too: it must not be what they wait for.
            time.sleep(max(0.005, 10 * (time.monotonic() - asked)))


def watch(seconds: float, *watched: tuple[Measured, Run]) -> None:
    """All at once: they do next to nothing, so none disturbs the others."""
    before = [process.processor_seconds() for process, _ in watched]
    began = time.monotonic()
    time.sleep(seconds)  # what is measured: a time in which they have nothing to do
    elapsed = time.monotonic() - began
    for (process, run), spent in zip(watched, before, strict=True):
        run.processor = (process.processor_seconds() - spent) / elapsed * 100
        run.memory = process.memory() / 1e6
        run.threads = process.threads()
