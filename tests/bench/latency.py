"""From the moment before a record is produced to the moment its handler begins, at 1, 100 and 1,000 records a second.

Nothing is subtracted: a window of 500 ms is inside its figures.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import Producer

from tests.bench import load
from tests.bench.full_topic import CLIENT_VARIABLE, clients
from tests.bench.ledger import Ledger
from tests.bench.processes import Floor, Measured, Service, kafka_event, template
from tests.bench.report import Goal, Row, progress, row
from tests.brokers import KafkaBroker, unique

GOAL = Goal("<", 20.0)
SECONDS = {1: (15, 5), 100: (8, 2), 1000: (4, 1)}
"""How long records are produced for, and how long with --quick, by records a second."""
TOGETHER = 100
"""Up to this rate all readers read the same records at the same time, so a broker or a machine that is slow is so for
all of them. Beyond it they would be in one another's way, and take turns."""
WARM_UP_RATE, WARM_UP = 100, 200
"""The broker and its clients need some records to get used to a topic; these do not count."""

Ages = dict[int, float]
"""Milliseconds, by the nanosecond of production."""


@dataclass(frozen=True, slots=True)
class Reader:
    """`poller run` with a window, or, without one, a bare loop that hands over what it gets."""

    client: str
    window: int | None
    """Milliseconds."""

    @property
    def label(self) -> str:
        return f"{self.client}, " + ("floor" if self.window is None else f"window {self.window} ms")

    def start(self, broker: KafkaBroker, topic: str, folder: Path, ledger: Ledger) -> Measured:
        group = unique("bench-latency")
        if self.window is None:
            arguments = [self.client, "--address", broker.address, "--topic", topic, "--group", group]
            return Floor([*arguments, "--batch-size", "0"], folder, handler="age", ledger=ledger.folder)
        window = {} if self.window else {"MaximumBatchingWindowInSeconds": 0}
        event = kafka_event(broker.address, topic, group, BatchSize=100, **window)
        content = template({"Records": event}, handler="age", ledger=ledger.folder)
        # AWS has windows of whole seconds and, by default, one of 500 ms: another one stands in for the default.
        start = ("-m", "tests.bench.default_window", f"{self.window / 1000:g}") if self.window == 100 else None
        environment = {CLIENT_VARIABLE: self.client}
        if start:
            return Service(content, folder, environment=environment, start=start)
        return Service(content, folder, environment=environment)


def readers() -> list[Reader]:
    """All windows with the first client; window 0 with every one; all floors."""
    found = []
    for client in clients():
        windows = (0, 100, 500) if client == clients()[0] else (0,)
        found += [Reader(client, None), *(Reader(client, window) for window in windows)]
    return found


def kafka(broker: KafkaBroker, folder: Path, *, runs: int, quick: bool) -> Iterator[Row]:
    """Per rate, client and window: the median and the 99th percentile."""
    for rate, (usual, short) in SECONDS.items():
        records = rate * (short if quick else usual)
        turns = [readers()] if rate <= TOGETHER else [[reader] for reader in readers()]
        readings: dict[Reader, list[Ages]] = {reader: [] for reader in readers()}
        for number in range(runs):
            for turn in turns:
                who = turn[0].label if len(turn) == 1 else "all at once"
                progress(f"latency at {rate:,}/s, run {number + 1} of {runs}: {who}")
                place = folder / f"{rate}-{number}-{turns.index(turn)}"
                for reader, ages in _run(broker, place, turn, rate, records).items():
                    readings[reader].append(ages)
        for reader, ours in readings.items():
            if reader.window is not None:
                yield from _rows(rate, records, reader, ours, readings[Reader(reader.client, None)])


def _rows(rate: int, records: int, reader: Reader, ours: Sequence[Ages], floor: Sequence[Ages]) -> Iterator[Row]:
    unit = "record" if rate == 1 else "records"
    for percent in 50, 99:
        yield row(
            f"kafka produce to handler, {rate:,} {unit}/s, window {reader.window} ms, p{percent}",
            "ms",
            [percentile(run.values(), percent) for run in ours],
            [percentile(run.values(), percent) for run in floor],
            client=reader.client,
            goals=[GOAL] if (reader.window, percent) == (0, 99) else [],
            details={"max_ms": [max(run.values()) for run in ours]},
            note=f"{records:,} records a run; longest {{max_ms:.1f}} ms",
            x=rate,
        )


def percentile(values: Iterable[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def _run(broker: KafkaBroker, folder: Path, turn: Sequence[Reader], rate: int, records: int) -> dict[Reader, Ages]:
    with load.topic(broker) as topic, ExitStack() as stack:
        ledgers = {reader: Ledger(folder / f"{index}" / "ledger") for index, reader in enumerate(turn)}
        running = {
            reader: stack.enter_context(reader.start(broker, topic, ledger.folder.parent, ledger))
            for reader, ledger in ledgers.items()
        }

        def wait(number: int) -> None:
            for reader, ledger in ledgers.items():
                ledger.wait_for(number, timeout=30, alive=running[reader].require_alive)

        for process in running.values():
            process.wait_for_log("polling")
        _produce(broker, topic, load.PARTITIONS, WARM_UP_RATE)  # these meet groups that are being joined
        wait(load.PARTITIONS)
        _produce(broker, topic, WARM_UP, WARM_UP_RATE)
        wait(load.PARTITIONS + WARM_UP)
        first = time.monotonic_ns()
        _produce(broker, topic, records, rate)
        wait(load.PARTITIONS + WARM_UP + records)
    return {reader: _ages(ledger, first) for reader, ledger in ledgers.items()}


def _ages(ledger: Ledger, first: int) -> Ages:
    ages = {entry.began - entry.value: entry.value / 1e6 for entry in ledger.entries}
    return {produced: age for produced, age in ages.items() if produced >= first}


def _produce(broker: KafkaBroker, topic: str, records: int, rate: int) -> None:
    producer = Producer({"bootstrap.servers": broker.address, "acks": 1, "linger.ms": 0})
    producer.list_topics(topic, 10)  # connects
    began = time.monotonic()
    for number in range(records):
        time.sleep(max(0.0, began + number / rate - time.monotonic()))  # the rate that is asked for
        reading = {"device": f"sensor-{number:04}", "temperature": 21.5, "produced": time.monotonic_ns()}
        producer.produce(topic, json.dumps(reading).encode(), b"device", number % load.PARTITIONS)
        producer.poll(0)
    if left := producer.flush(30):
        raise RuntimeError(f"{left} records could not be produced")
