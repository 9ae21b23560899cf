"""What grows with what: mappings in one process, partitions, batches, values, and a long backlog. Single runs."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tests.bench import load
from tests.bench.footprint import started, watch
from tests.bench.full_topic import CLIENT_VARIABLE, clients, floor, full_topic, ours
from tests.bench.ledger import Ledger
from tests.bench.peers import Job
from tests.bench.processes import Service, kafka_event, template
from tests.bench.report import Goal, Row, progress, row
from tests.bench.throughput import run_folder, size_name, throughput_row
from tests.brokers import KafkaBroker, unique

MAPPINGS = (1, 10, 100, 500)
START = 300.0
"""Seconds that all mappings of a process may take to poll."""
SETTLE = 5.0
"""Seconds for hundreds of groups to be joined."""
PARTITIONS = (1, 4, 16, 64)
BATCHES = {1: 8_000, 10: 80_000, 100: 400_000, 1000: 400_000, 10_000: 400_000}
"""Records by BatchSize."""
VALUES = {100: 400_000, 1024: 200_000, 10 * 1024: 40_000, 100 * 1024: 4_000, 1_000_000: 400}
"""Records by the size of their value."""
EVENT_BYTES = 5_500_000
"""Of an event; Lambda's limit of 6 MB cuts batches, and cut batches would wait for their window at the end."""
BACKLOG = 5_000_000
FLAT = Goal("<=", 10.0)
"""Percent that the memory may grow from the second quarter of a backlog to the fourth."""


def mappings(broker: KafkaBroker, folder: Path, *, quick: bool) -> Iterator[Row]:
    """One process with mappings of empty topics: memory, processor, threads, time to start."""
    numbers = MAPPINGS[:3] if quick else MAPPINGS
    with load.empty_topics(broker, numbers[-1]) as topics:
        for client in clients():
            for number in numbers:
                progress(f"{number} mapping{'s' if number > 1 else ''} in one process, {client}")
                try:
                    yield from _mappings(broker, folder / f"{client}-{number}", client, topics[:number], quick=quick)
                except TimeoutError as error:  # the curve ends here, and its other points stand
                    progress(f"no figures for {number} mappings with {client}: {error}")


def _mappings(broker: KafkaBroker, folder: Path, client: str, topics: list[str], *, quick: bool) -> Iterator[Row]:
    number, group = len(topics), unique("bench-mappings")
    # One function: hundreds of handler processes would be the machine's limit and not the poller's.
    events = {f"E{index}": kafka_event(broker.address, topic, f"{group}-{index}") for index, topic in enumerate(topics)}
    with Service(template(events), folder, environment={CLIENT_VARIABLE: client}) as service:
        run = started(service, number, START)
        time.sleep(SETTLE)  # nothing tells when a process has come to rest
        watch(5.0 if quick else 15.0, (service, run))
    figures = {
        "start to first poll of all": ("s", run.polling),
        "memory when idle": ("MB", run.memory),
        "processor when idle": ("% of a core", run.processor),
        "threads": ("threads", float(run.threads)),
    }
    for what, (unit, value) in figures.items():
        mapping = "mapping" if number == 1 else "mappings"
        yield row(f"{number} {mapping}, {what}", unit, [value], client=client, x=number)


@dataclass(frozen=True, slots=True)
class _Point:
    """One point of a curve: what both clients and their bare loops work off, in turn."""

    case: str
    x: int
    records: int
    size: int = 200
    batch_size: int = 100
    partitions: int = load.PARTITIONS

    def measure(self, broker: KafkaBroker, folder: Path) -> Iterator[Row]:
        with full_topic(broker, folder, size=self.size, records=self.records, partitions=self.partitions) as topic:
            for client in clients():
                progress(f"{self.case}, {client}")
                bare = topic.measure(floor(client), self.batch_size)
                mine = topic.measure(ours(client), self.batch_size)
                measured = throughput_row(self.case, "records/s", [mine], [bare], client=client)
                yield replace(measured, x=float(self.x))


def partitions(broker: KafkaBroker, folder: Path, *, quick: bool) -> Iterator[Row]:
    """Values of 200 B, batches of 100, 1 handler."""
    for number in PARTITIONS:
        case = f"{number} {'partition' if number == 1 else 'partitions'}, 200 B, batch 100"
        records = 64 * (1_000 if quick else 6_000)
        yield from _Point(case, number, records, partitions=number).measure(broker, folder)


def batches(broker: KafkaBroker, folder: Path, *, quick: bool) -> Iterator[Row]:
    """Values of 200 B in 4 partitions, 1 handler."""
    for size, number in BATCHES.items():
        case = f"batch {size:,}, 200 B, 4 partitions"
        records = max(number // 10, load.PARTITIONS * size) if quick else number
        yield from _Point(case, size, records, batch_size=size).measure(broker, folder)


def values(broker: KafkaBroker, folder: Path, *, quick: bool) -> Iterator[Row]:
    """Batches of 100, or fewer where 6 MB would cut them; 4 partitions, 1 handler."""
    for size, number in VALUES.items():
        batch_size = min(100, EVENT_BYTES // (size * 4 // 3 + 250))
        whole = load.PARTITIONS * batch_size
        records = -(-(number // 10 if quick else number) // whole) * whole
        case = f"{size_name(size)}, batch {batch_size}, 4 partitions"
        yield from _Point(case, size, records, size=size, batch_size=batch_size).measure(broker, folder)


def backlog(broker: KafkaBroker, folder: Path, *, quick: bool) -> Iterator[Row]:
    """Five million small records: the rate, and the memory while they are worked off."""
    records = BACKLOG // 20 if quick else BACKLOG
    progress(f"filling a topic with {records:,} records")
    with load.topic(broker, size=100, records=records) as topic:
        for client in clients():
            progress(f"backlog of {records:,} records, {client}")
            yield from _backlog(broker, run_folder(folder), client, topic, records)


def _backlog(broker: KafkaBroker, folder: Path, client: str, topic: str, records: int) -> Iterator[Row]:
    ledger = Ledger(folder / "ledger")
    job = Job(broker.address, topic, unique("bench-backlog"), 1000, folder, ledger.folder)
    memory: list[float] = []
    with ours(client)(job) as process:
        process.wait_for_log("polling")
        while ledger.read() < records:
            process.require_alive()
            if ledger.records:
                memory.append(process.memory() / 1e6)
            time.sleep(0.25)  # the interval of the samples
    case = f"backlog of {records:,} records of 100 B, batch 1,000"
    yield row(case, "records/s", [records / ledger.seconds()], client=client)
    # A median of many samples, but of one run.
    yield replace(row(f"{case}: memory", "MB", memory, client=client, note="four samples a second"), runs=1)
    quarter = max(1, len(memory) // 4)
    grown = statistics.median(memory[-quarter:]) / statistics.median(memory[quarter : 2 * quarter] or memory) - 1
    yield row(f"{case}: memory, fourth quarter after second", "%", [grown * 100], client=client, goals=[FLAT])
