"""Kafka records as the event of D.1.1: the settings of a source, and what is around the records. No I/O."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Literal, NamedTuple

from poller.model import MAXIMUM_PAYLOAD, Record, Shard
from poller.records import Records, Span, json_of
from poller.runtime.event_columns import RecordColumns, pack
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
    """Records taken from the client at once; what was held back comes on top, in whole runs. Below 500 the cost of a
    poll shows; give max(500, BatchSize)."""
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


class EventHead(NamedTuple):
    """The event before its records."""

    members: Mapping[str, str]
    json: bytes
    """Up to the first shard."""


def event_head(settings: KafkaSettings) -> EventHead:
    """Of all events of a source."""
    members: dict[str, str] = {"eventSource": settings.event_source}
    if settings.event_source_arn is not None:
        members["eventSourceArn"] = settings.event_source_arn
    members["bootstrapServers"] = settings.addresses
    return EventHead(members, json.dumps(members, separators=(",", ":")).encode()[:-1] + b',"records":{')


class KafkaEvent:
    """The event of D.1.1. See `poller.model.Event`; made on the poller's thread."""

    __slots__ = ("_head", "_json", "_length", "_packed", "_shards")

    def __init__(self, head: EventHead, records: Sequence[Record]) -> None:
        """Set up.

        Args:
            head: of the source.
            records: of any shards; each shard's stay in the order given.
        """
        self._head = head
        self._json: bytes | None = None
        self._packed: bytes | None = None
        self._shards: dict[Shard, list[Span]] = {}
        self._length = len(head.json) + len(b"}}")
        for span in Records.of(records).spans:
            run, start, stop = span
            self._shards.setdefault(run.shard, []).append(span)
            self._length += run.size(start, stop)
        for shard in self._shards:
            self._length += len(json_text(shard)) + len(b":[],") - len(b",")  # behind the last record is none
        if self._shards:
            self._length -= len(b",")

    def __len__(self) -> int:
        return self._length

    def __bytes__(self) -> bytes:
        if self._json is None:
            self._json = self._made()
        return self._json

    def columns(self) -> bytes | None:
        """See `Event`."""
        if self._packed is None:
            parts: list[RecordColumns] = []
            for run, start, stop in chain.from_iterable(self._shards.values()):
                if (part := run.columns(start, stop)) is None:
                    return None
                parts.append(part)
            packed = pack(self._head.members, parts)
            if len(packed) > MAXIMUM_PAYLOAD:  # a long topic's name stands with each of many short runs
                return None
            self._packed = packed
        return self._packed

    def _made(self) -> bytes:
        pieces = [self._head.json]
        for shard, spans in self._shards.items():
            pieces += (json_text(shard).encode(), b":[", *json_of(spans), b"],")
        if self._shards:
            pieces[-1] = b"]"
        pieces.append(b"}}")
        return b"".join(pieces)


def build_event(head: EventHead, records: Sequence[Record]) -> bytes:
    """The event of D.1.1: the records' JSON, grouped by shard, each shard in the order given."""
    return bytes(KafkaEvent(head, records))


def event_overhead(settings: KafkaSettings, shards: int) -> int:
    """Bytes around the records of that many shards when each record counts one comma; partitions of ten digits."""
    shard = len(b'"-2147483647":[],') + len(json_text(settings.topic)) - len(b'""')
    return len(event_head(settings).json) + shards * shard + len(b"}}")
