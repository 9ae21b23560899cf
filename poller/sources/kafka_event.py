"""Kafka records as the event of D.1.1: the settings of a source, and what is around the records. No I/O."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from poller.model import Record, Shard
from poller.records import Records, Span, json_of
from poller.sources.kafka_run import json_text
from poller.sources.kafka_security import KafkaSecurity


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """One topic, read by one member of a consumer group. Times are in seconds."""

    bootstrap_servers: Sequence[str]
    topic: str
    group_id: str
    starting_position: Literal["TRIM_HORIZON", "LATEST", "AT_TIMESTAMP"] = "TRIM_HORIZON"
    """Where a group without committed offsets begins: see kafka_positions.py."""
    starting_timestamp: int | None = None
    """Milliseconds since the epoch, for AT_TIMESTAMP."""
    client_id: str = "poller"
    event_source: Literal["SelfManagedKafka", "aws:kafka"] = "SelfManagedKafka"
    event_source_arn: str | None = None
    """The cluster's ARN; in the event for MSK only (D.1.1)."""
    max_poll_records: int = 500
    """Records of one poll at most. Below 500 the cost of a poll shows; give max(500, BatchSize)."""
    session_timeout: float = 10.0
    """After this long without a heartbeat the group goes on without this member: how long a killed poller's shards
    wait, and how long a broker may be away before `poll` raises SourceUnavailable."""
    connect_timeout: float = 5.0
    fetch_max_wait: float = 0.01
    """How long a broker holds a fetch of kafka-python's that finds nothing, while records flow and none of other
    partitions wait: a resumed partition has to wait for the fetch under way. An idle consumer lets it be longer."""
    prefetch_bytes: int = 16 << 20
    """How much confluent-kafka fetches ahead; what comes of one fetch may pass it. kafka-python keeps one fetch."""
    security: KafkaSecurity = field(default_factory=KafkaSecurity)

    @property
    def addresses(self) -> str:
        """The brokers as the event and the error texts show them."""
        return ",".join(self.bootstrap_servers)


def event_head(settings: KafkaSettings) -> bytes:
    """The event up to its records."""
    members: dict[str, str] = {"eventSource": settings.event_source}
    if settings.event_source_arn is not None:
        members["eventSourceArn"] = settings.event_source_arn
    members["bootstrapServers"] = settings.addresses
    return json.dumps(members, separators=(",", ":")).encode()[:-1] + b',"records":{'


def build_event(head: bytes, records: Sequence[Record]) -> bytes:
    """The event of D.1.1: the records' JSON, grouped by shard, each shard in the order given."""
    spans = Records.of(records).spans
    if len(spans) == 1:  # as a rule
        return b"".join((head, json_text(spans[0].run.shard), b":[", *json_of(spans), b"]}}"))
    shards: dict[Shard, list[Span]] = {}
    for span in spans:
        shards.setdefault(span.run.shard, []).append(span)
    pieces = [head]
    for shard, some in shards.items():
        pieces += (json_text(shard), b":[", *json_of(some), b"],")
    if shards:
        pieces[-1] = b"]"
    pieces.append(b"}}")
    return b"".join(pieces)


def event_overhead(settings: KafkaSettings, shards: int) -> int:
    """Bytes around the records of that many shards when each record counts one comma; partitions of ten digits."""
    shard = len(b'"-2147483647":[],') + len(json_text(settings.topic)) - len(b'""')
    return len(event_head(settings)) + shards * shard + len(b"}}")
