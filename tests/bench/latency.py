"""From the moment before a record is produced to the moment its handler begins, at 100 records a second."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

from kafka import KafkaProducer

from tests.bench import load
from tests.bench.ledger import Ledger
from tests.bench.processes import Floor, Measured, Service, kafka_event, template
from tests.bench.report import Goal, Row, progress, row
from tests.brokers import KafkaBroker, unique

RATE = 100
GOAL = Goal("<", 20.0)
WARM_UP = 2 * RATE
"""Records at the beginning that do not count: the broker needs a second to get used to a topic and a producer."""

Ages = dict[int, float]
"""Milliseconds, by the nanosecond of production: the same records for all readers."""


def kafka(broker: KafkaBroker, folder: Path, *, runs: int, quick: bool) -> Iterator[Row]:
    """With a window of 0 s, with the 500 ms of a mapping that gives none, and a loop that hands over what it gets.

    All three read the same records at the same time, so a broker or a machine that is slow is so for all of them.
    """
    records = RATE * (2 if quick else 8)
    readings: list[dict[str, Ages]] = []
    for number in range(runs):
        progress(f"latency, run {number + 1} of {runs}")
        readings.append(_run(broker, folder / f"run-{number}", records))
    for name in "window 0", "window 500 ms":
        for percent in 50, 99:
            yield row(
                f"kafka produce to handler, {name}, p{percent}",
                "ms",
                [_percentile(run[name].values(), percent) for run in readings],
                [_percentile(run["floor"].values(), percent) for run in readings],
                goal=GOAL if (name, percent) == ("window 0", 99) else None,
                details={"later_than_floor_ms": [_percentile(_later(run, name), percent) for run in readings]},
                note="record by record {later_than_floor_ms:.1f} later than the floor",
            )


def _later(run: dict[str, Ages], name: str) -> list[float]:
    return [age - run["floor"][produced] for produced, age in run[name].items()]


def _percentile(values: Iterable[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def _run(broker: KafkaBroker, folder: Path, records: int) -> dict[str, Ages]:
    names = ("window 0", "window 500 ms", "floor")
    ledgers = {name: Ledger(folder / name / "ledger") for name in names}
    with load.topic(broker) as topic, ExitStack() as stack:
        readers: dict[str, Measured] = {}
        for name, ledger in ledgers.items():
            readers[name] = stack.enter_context(_reader(broker, topic, name, folder / name, ledger))
        for reader in readers.values():
            reader.wait_for_log("polling")
        _produce(broker, topic, load.PARTITIONS)  # these meet groups that are being joined
        _wait(readers, ledgers, load.PARTITIONS)
        first = time.monotonic_ns() + WARM_UP * 1_000_000_000 // RATE
        _produce(broker, topic, WARM_UP + records)
        _wait(readers, ledgers, load.PARTITIONS + WARM_UP + records)
    return {name: _ages(ledger, first) for name, ledger in ledgers.items()}


def _reader(broker: KafkaBroker, topic: str, name: str, folder: Path, ledger: Ledger) -> Measured:
    group = unique("bench-latency")
    if name == "floor":
        arguments = ["kafka", "--address", broker.address, "--topic", topic, "--group", group, "--batch-size", "0"]
        return Floor(arguments, folder, handler="age", ledger=ledger.folder)
    window = {"MaximumBatchingWindowInSeconds": 0} if name == "window 0" else {}
    event = kafka_event(broker.address, topic, group, BatchSize=100, **window)
    return Service(template({"Records": event}, handler="age", ledger=ledger.folder), folder)


def _wait(readers: dict[str, Measured], ledgers: dict[str, Ledger], records: int) -> None:
    for name, ledger in ledgers.items():
        ledger.wait_for(records, timeout=30, alive=readers[name].require_alive)


def _ages(ledger: Ledger, first: int) -> Ages:
    ages = {entry.began - entry.value: entry.value / 1e6 for entry in ledger.entries}
    return {produced: age for produced, age in ages.items() if produced >= first}


def _produce(broker: KafkaBroker, topic: str, records: int) -> None:
    producer = KafkaProducer(bootstrap_servers=broker.address, acks=1, enable_idempotence=False, linger_ms=0)
    try:
        producer.partitions_for(topic)  # connects
        began = time.monotonic()
        for number in range(records):
            time.sleep(max(0.0, began + number / RATE - time.monotonic()))
            reading = {"device": f"sensor-{number:04}", "temperature": 21.5, "produced": time.monotonic_ns()}
            producer.send(topic, json.dumps(reading).encode(), b"device", partition=number % load.PARTITIONS)
        producer.flush()
    finally:
        producer.close()
