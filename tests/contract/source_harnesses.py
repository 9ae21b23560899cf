"""What the contract suite knows of each kind of source: how to make one, feed it, and see what became of a message."""

from __future__ import annotations

import json
import time
from base64 import b64decode
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from brokers import KafkaBroker, Produce, RabbitMQBroker, unique
from secure_brokers import SecureKafka, SecureRabbitMQ
from waiting import eventually

from poller.errors import SourceUnavailable
from poller.model import Progress, Record, Shard
from poller.sources import Features, Listener, Source
from poller.sources.kafka import KafkaSource
from poller.sources.kafka_librdkafka import LibrdkafkaSource
from poller.sources.memory import MemoryTopic, MemoryTopicSource
from poller.sources.memory_queue import MemoryQueue, MemoryQueueSource
from poller.sources.rabbitmq import RabbitMQSource

KAFKA_CLIENTS: Mapping[str, type[KafkaSource | LibrdkafkaSource]] = {
    "kafka-python": KafkaSource,
    "confluent-kafka": LibrdkafkaSource,
}
"""The sources of Kafka by their clients, as the setting `KafkaClient` names them."""


@dataclass
class Calls:
    """A listener that remembers what it was told, and lets `progress` be committed when shards go."""

    assigned: list[Shard] = field(default_factory=list)
    revoked: list[Shard] = field(default_factory=list)
    lost: list[Shard] = field(default_factory=list)
    progress: Progress = field(default_factory=Progress)
    commit_failures: int = 0

    def listener(self) -> Listener:
        return Listener(
            assigned=self.assigned.extend,
            revoked=self._on_revoked,
            lost=self.lost.extend,
            commit_failed=self._on_commit_failed,
        )

    def _on_commit_failed(self) -> None:
        self.commit_failures += 1

    def _on_revoked(self, shards: Collection[Shard]) -> Progress:
        self.revoked.extend(shards)
        return self.progress

    @property
    def owned(self) -> set[Shard]:
        return set(self.assigned) - set(self.revoked) - set(self.lost)


class SourceHarness(Protocol):
    """One topic or queue of its own, with as many sources on it as a test wants."""

    features: Features
    shards: int
    wakes: bool
    """`wake` is more than a no-op."""
    quiet: float
    """Seconds of silence after which nothing more is to be expected."""
    restart: Callable[[], None] | None
    """Stops and starts the broker; None where that cannot be done."""
    dead_letters: Callable[[], list[bytes]] | None
    """What the broker has dead-lettered; None for a stream, which has no dead letters of its own."""

    def source(self) -> Source: ...

    def produce(self, values: Sequence[bytes], *, shard: int = 0) -> None: ...


class MemoryTopicHarness:
    features = MemoryTopicSource.features
    shards = 2
    wakes = True
    quiet = 0.02
    restart = None
    dead_letters = None

    def __init__(self) -> None:
        self._topic = MemoryTopic("orders", partitions=2)

    def source(self) -> Source:
        return MemoryTopicSource(self._topic, waits=True)

    def produce(self, values: Sequence[bytes], *, shard: int = 0) -> None:
        for value in values:
            self._topic.produce(value, partition=shard, key=b"key", headers=[("trace", b"\xff1")])


class MemoryQueueHarness:
    features = MemoryQueueSource.features
    shards = 1
    wakes = True
    quiet = 0.02
    restart = None

    def __init__(self) -> None:
        self._queue = MemoryQueue("tasks")

    def source(self) -> Source:
        return MemoryQueueSource(self._queue, prefetch=20, waits=True)

    def produce(self, values: Sequence[bytes], *, shard: int = 0) -> None:
        for value in values:
            self._queue.publish(value)

    def dead_letters(self) -> list[bytes]:
        return [message.body for message in self._queue.dead_letters]


class KafkaHarness:
    features = KafkaSource.features
    shards = 2
    wakes: bool
    quiet = 0.5
    restart: Callable[[], None] | None
    dead_letters = None

    def __init__(self, broker: KafkaBroker, client: str, door: str = "") -> None:
        self._broker = broker
        self._make = KAFKA_CLIENTS[client]
        self.wakes = self._make.features.wakes
        self._topic = broker.create_topic(partitions=2)
        self._settings = broker.settings(self._topic, group_id=unique("group"))
        self.restart = broker.restart if broker.container else None
        if isinstance(broker, SecureKafka):
            self._settings = broker.secure_settings(self._topic, door, group_id=unique("group"))
            self.restart = None  # it is the same with a broker in the open, and takes long

    def source(self) -> Source:
        return self._make(self._settings)

    def produce(self, values: Sequence[bytes], *, shard: int = 0) -> None:
        headers = [("trace", b"\xff1")]
        self._broker.produce(self._topic, [Produce(value, b"key", headers, partition=shard) for value in values])


class RabbitMQHarness:
    features = RabbitMQSource.features
    shards = 1
    wakes = True
    quiet = 0.3
    restart: Callable[[], None] | None

    def __init__(self, broker: RabbitMQBroker, kind: str) -> None:
        self._broker = broker
        self._queue = broker.declare_queue(kind, dead_letters=True)
        self._settings = broker.settings(self._queue, prefetch=20)
        self.restart = broker.restart if broker.container else None
        if isinstance(broker, SecureRabbitMQ):
            self.restart = None

    def source(self) -> Source:
        return RabbitMQSource(self._settings)

    def produce(self, values: Sequence[bytes], *, shard: int = 0) -> None:
        self._broker.publish(self._queue, values, headers={"trace": "1"}, delivery_mode=2)

    def dead_letters(self) -> list[bytes]:
        return [body for _, body in self._broker.drain(f"{self._queue}.dead")]


def take(source: Source, count: int, *, timeout: float = 30.0) -> list[Record]:
    """Poll until at least `count` records came."""
    records: list[Record] = []
    deadline = time.monotonic() + timeout
    while len(records) < count:
        assert time.monotonic() < deadline, f"{len(records)} of {count} records after {timeout:g} s"
        records += source.poll(0.2)
    return records


def reopen(source: Source, calls: Calls) -> None:
    """Close and open a source until the broker takes it, as the poll loop does."""

    def opened() -> bool:
        source.close()
        try:
            source.open(calls.listener())
        except SourceUnavailable:
            return False
        return True

    eventually(opened, timeout=60.0, what="an open source")


def settle(features: Features, records: Sequence[Record]) -> Progress:
    """That these records are done, in the terms of the source."""
    if not features.ordered:
        return Progress(records=records)
    positions: dict[Shard, int] = {}
    for record in records:
        positions[record.shard] = max(record.position + 1, positions.get(record.shard, 0))
    return Progress(positions=positions)


def messages(event: bytes) -> dict[Shard, list[bytes]]:
    """The bodies in an event of D.1.1 or D.2, by shard."""
    parsed = json.loads(event)
    if "records" in parsed:
        return {shard: [b64decode(one["value"]) for one in some] for shard, some in parsed["records"].items()}
    return {queue: [b64decode(one["data"]) for one in some] for queue, some in parsed["rmqMessagesByQueue"].items()}
