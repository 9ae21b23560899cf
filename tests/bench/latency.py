"""From the moment before a record is produced to the moment its handler begins, at 100 records a second."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

from kafka import KafkaProducer

from tests.bench import load
from tests.bench.ledger import Ledger
from tests.bench.processes import Floor, Measured, Service, kafka_event, template
from tests.bench.report import Goal, Row, progress, row
from tests.brokers import KafkaBroker, unique

RATE = 100
GOAL = Goal("<", 20.0)


def kafka(broker: KafkaBroker, folder: Path, *, runs: int, quick: bool) -> Iterator[Row]:
    """With a window of 0 s, with the 500 ms of a mapping that gives none, and a loop that hands over what it gets."""
    records = RATE * (2 if quick else 5)
    ages: dict[str, list[list[float]]] = {"window 0": [], "window 500 ms": [], "floor": []}
    for number in range(runs):
        progress(f"latency, run {number + 1} of {runs}")
        for name, measured in ages.items():
            place = folder / f"{name.replace(' ', '-')}-{number}"
            measured.append(_run(broker, place, name, records))
    for name in "window 0", "window 500 ms":
        for percent in 50, 99:
            yield row(
                f"kafka produce to handler, {name}, p{percent}",
                "ms",
                [_percentile(run, percent) for run in ages[name]],
                [_percentile(run, percent) for run in ages["floor"]],
                goal=GOAL if (name, percent) == ("window 0", 99) else None,
                details={"longest_ms": [max(run) for run in ages[name]]},
                note="longest {longest_ms:.1f}",
            )


def _percentile(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def _run(broker: KafkaBroker, folder: Path, name: str, records: int) -> list[float]:
    """Ages in milliseconds."""
    group = unique("bench-latency")
    ledger = Ledger(folder / "ledger")
    with load.topic(broker) as topic:
        process: Measured
        if name == "floor":
            arguments = ["kafka", "--address", broker.address, "--topic", topic, "--group", group, "--batch-size", "0"]
            process = Floor(arguments, folder, handler="age", ledger=ledger.folder)
        else:
            window = {"MaximumBatchingWindowInSeconds": 0} if name == "window 0" else {}
            event = kafka_event(broker.address, topic, group, BatchSize=100, **window)
            process = Service(template({"Records": event}, handler="age", ledger=ledger.folder), folder)
        with process:
            process.wait_for_log("polling")
            _produce(broker, topic, load.PARTITIONS, RATE)  # the first ones meet a group that is being joined
            ledger.wait_for(load.PARTITIONS, timeout=30, alive=process.require_alive)
            _produce(broker, topic, records, RATE)
            ledger.wait_for(load.PARTITIONS + records, timeout=30, alive=process.require_alive)
    return [entry.value / 1e6 for entry in ledger.entries[load.PARTITIONS :]]


def _produce(broker: KafkaBroker, topic: str, records: int, rate: float) -> None:
    producer = KafkaProducer(bootstrap_servers=broker.address, acks=1, linger_ms=0)
    try:
        producer.partitions_for(topic)  # connects
        began = time.monotonic()
        for number in range(records):
            time.sleep(max(0.0, began + number / rate - time.monotonic()))
            reading = {"device": f"sensor-{number:04}", "temperature": 21.5, "produced": time.monotonic_ns()}
            producer.send(topic, json.dumps(reading).encode(), b"device", partition=number % load.PARTITIONS)
        producer.flush()
    finally:
        producer.close()
