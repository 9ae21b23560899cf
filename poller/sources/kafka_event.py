"""Kafka records as the event of D.1.1: the settings of a source, and the pure translation. No I/O."""

# mypy: allow-untyped-calls
# kafka-python has no annotations.

from __future__ import annotations

import json
from binascii import b2a_base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

from kafka.consumer.fetcher import ConsumerRecord

from poller.model import Record, Shard


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """One topic, read by one member of a consumer group. Times are in seconds."""

    bootstrap_servers: Sequence[str]
    topic: str
    group_id: str
    starting_position: Literal["TRIM_HORIZON", "LATEST"] = "TRIM_HORIZON"
    """Where a group without committed offsets begins, and where reading goes on when retention deleted the position."""
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
    """How long a broker holds a fetch that finds nothing, while records flow: a resumed partition has to wait for the
    fetch under way. An idle consumer lets brokers hold it longer."""
    security: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Login and TLS as kafka-python's own options (`security_protocol`, `sasl_*`, `ssl_*`); holds secrets."""

    @property
    def addresses(self) -> str:
        """The brokers as the event and the error texts show them."""
        return ",".join(self.bootstrap_servers)


_SIGNED_BYTE = [b"%d" % (byte - 256 if byte > 127 else byte) for byte in range(256)]  # noqa: PLR2004
json_text = lru_cache(maxsize=1024)(lambda text: json.dumps(text).encode())
_LOG_APPEND_TIME = 1


def record_head(topic: str, partition: int) -> bytes:
    """The part of a record's JSON that all records of its partition share."""
    return b'{"topic":%b,"partition":%d' % (json.dumps(topic).encode(), partition)


def encode_headers(headers: Sequence[tuple[str, bytes]]) -> bytes:
    """Headers in order, repeats kept, each byte signed (D.1.1)."""
    return b",".join(
        [b"{%b:[%b]}" % (json_text(name), b",".join(map(_SIGNED_BYTE.__getitem__, value))) for name, value in headers]
    )


def to_record(record: ConsumerRecord, shard: Shard, head: bytes) -> Record:
    """The client's record as ours, with its JSON built by a template: no dict and no json.dumps on the hot path.

    A null key is missing. A tombstone shows as `"value":null`: reports of both null and missing exist, and with null
    a handler that looks at `record["value"]` sees a tombstone instead of failing with a KeyError. A header without a
    value becomes one with no bytes, as the event's type has no null there (both D.1.1, unverified).
    """
    _topic, _partition, _epoch, offset, timestamp, timestamp_type, key, value, headers, _sum, _ks, _vs, _hs = record
    if headers:
        headers = [(name, content or b"") for name, content in headers]
    kind = b"LOG_APPEND_TIME" if timestamp_type == _LOG_APPEND_TIME else b"CREATE_TIME"
    if key is None:
        front = b'%b,"offset":%d,"timestamp":%d,"timestampType":"%b","value":' % (head, offset, timestamp, kind)
    else:
        front = b'%b,"offset":%d,"timestamp":%d,"timestampType":"%b","key":"%b","value":' % (
            head,
            offset,
            timestamp,
            kind,
            b2a_base64(key, newline=False),
        )
    back = b',"headers":[%b]}' % encode_headers(headers) if headers else b',"headers":[]}'
    # A join knows its size before; one % for all would grow its buffer over the value: half as much again at 1 KiB.
    encoded = b"".join(
        (front, b"null", back) if value is None else (front, b'"', b2a_base64(value, newline=False), b'"', back)
    )
    return Record(shard, offset, max(timestamp, 0), key, value, headers, encoded)


def event_head(settings: KafkaSettings) -> bytes:
    """The event up to its records."""
    members: dict[str, str] = {"eventSource": settings.event_source}
    if settings.event_source_arn is not None:
        members["eventSourceArn"] = settings.event_source_arn
    members["bootstrapServers"] = settings.addresses
    return json.dumps(members, separators=(",", ":")).encode()[:-1] + b',"records":{'


def build_event(head: bytes, records: Sequence[Record]) -> bytes:
    """The event of D.1.1: the records' JSON, grouped by shard, each shard in the order given."""
    shards: dict[Shard, list[bytes]] = {}
    for record in records:
        shards.setdefault(record.shard, []).append(record.encoded)
    return (
        head + b",".join([b"%b:[%b]" % (json_text(shard), b",".join(some)) for shard, some in shards.items()]) + b"}}"
    )
