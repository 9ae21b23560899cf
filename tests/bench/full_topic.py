"""A topic that is full before anything starts, and the programs that read it from its beginning, one after the other."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench import load
from tests.bench.ledger import Ledger
from tests.bench.peers import Job, Start
from tests.bench.processes import Floor, Measured, Service, kafka_event, template
from tests.bench.throughput import Run, run_folder, work_off
from tests.brokers import KafkaBroker, unique
from tests.waiting import eventually

CLIENT_VARIABLE = "POLLER_KAFKA_CLIENT"
"""The setting KafkaClient."""
COMMITTED_WITHIN = 3.0
"""Seconds that a program gets for its last commit while it runs; another chance is its end."""


def clients() -> tuple[str, ...]:
    """The Kafka clients that can be measured here, the fastest one first."""
    fast = importlib.util.find_spec("confluent_kafka") is not None
    return ("confluent-kafka", "kafka-python") if fast else ("kafka-python",)


def ours(client: str, *, processes: int = 1, **properties: object) -> Start:
    """`poller run` with one mapping."""

    def start(job: Job) -> Measured:
        event = kafka_event(job.address, job.topic, job.group, BatchSize=job.batch_size, **properties)
        content = template({"Records": event}, processes=processes, ledger=job.ledger)
        return Service(content, job.folder, environment={CLIENT_VARIABLE: client})

    return start


def floor(client: str) -> Start:
    """The bare loop."""

    def start(job: Job) -> Measured:
        arguments = [client, "--address", job.address, "--topic", job.topic, "--group", job.group]
        arguments += ["--batch-size", str(job.batch_size)]
        return Floor(arguments, job.folder, handler="count", ledger=job.ledger)

    return start


@dataclass(frozen=True, slots=True)
class FullTopic:
    """So many records, as many in each partition, read by every run in a group of its own."""

    broker: KafkaBroker
    topic: str
    records: int
    folder: Path

    def measure(self, start: Start, batch_size: int) -> Run:
        """Let a program work the topic off, and require that it handled and committed every record once."""
        folder, group = run_folder(self.folder), unique("bench")
        ledger = Ledger(folder / "ledger")
        with start(Job(self.broker.address, self.topic, group, batch_size, folder, ledger.folder)) as process:
            run = work_off(process, ledger, self.records)
            # All commit once a second. A bare loop does not when it ends, Arroyo does its last batch only then.
            try:
                eventually(lambda: self._committed(group) == self.records, timeout=COMMITTED_WITHIN)
            except AssertionError:
                process.require_alive()
        if (committed := self._committed(group)) != self.records:
            raise RuntimeError(f"{process.name} committed {committed} of {self.records} records: rates mean nothing")
        return run

    def _committed(self, group: str) -> int:
        return sum(self.broker.committed(self.topic, group).values())


@contextmanager
def full_topic(
    broker: KafkaBroker, folder: Path, *, size: int, records: int, partitions: int = load.PARTITIONS
) -> Iterator[FullTopic]:
    """Fill a topic of its own; it is deleted afterwards."""
    with load.topic(broker, size=size, records=records, partitions=partitions) as name:
        yield FullTopic(broker, name, records, folder)
