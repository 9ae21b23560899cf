"""Kafka records as the event of D.1.1: the settings of a source, and the pure translation. No I/O."""

from __future__ import annotations

import json
from binascii import b2a_base64
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import repeat
from operator import attrgetter
from typing import Literal

from pybase64 import b64encode

from poller.model import Record, Shard
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


_SIGNED_BYTE = [b"%d" % (byte - 256 if byte > 127 else byte) for byte in range(256)]  # noqa: PLR2004
CREATE_TIME, LOG_APPEND_TIME = 0, 1
"""Kinds of timestamps, by Kafka's own numbers."""
_TIME_NAMES = b"CREATE_TIME", b"LOG_APPEND_TIME"
Headers = Sequence[tuple[str, bytes | None]]
json_text = lru_cache(maxsize=1024)(lambda text: json.dumps(text).encode())
LONGEST_KEPT = 256
"""Characters of a header's name whose JSON is kept for the next record: with 1,024 names that bounds the memory."""
_SHARD, _ENCODED = attrgetter("shard"), attrgetter("encoded")
_new_tuple = tuple.__new__  # a Record without its keyword arguments: half the time


def record_head(topic: str, partition: int) -> bytes:
    """The part of a record's JSON that all records of its partition share."""
    return b'{"topic":%b,"partition":%d' % (json.dumps(topic).encode(), partition)


def encode_headers(headers: Iterable[tuple[str, bytes]]) -> bytes:
    """Headers in order, repeats kept, each byte signed (D.1.1)."""
    return b",".join(
        [
            b"{%b:[%b]}"
            % (
                json_text(name) if len(name) <= LONGEST_KEPT else json.dumps(name).encode(),
                b",".join(map(_SIGNED_BYTE.__getitem__, value)),
            )
            for name, value in headers
        ]
    )


def to_records(  # noqa: PLR0917 - columns, in the order of the event
    shard: Shard,
    head: bytes,
    offsets: Iterable[int],
    timestamps: Iterable[tuple[int, int]],
    keys: Iterable[bytes | None],
    values: Iterable[bytes | None],
    headers: Iterable[Headers | None],
    *,
    log_append_time: int = LOG_APPEND_TIME,
) -> list[Record]:
    """One shard's records, given by columns, with their JSON built by a template: no dict and no json.dumps.

    The one translation of both clients, and the hot path: columns, since what Python does for each record by itself
    costs more than its JSON.

    A null key is missing. A tombstone shows as `"value":null`: reports of both null and missing exist, and with null
    a handler that looks at `record["value"]` sees a tombstone instead of failing with a KeyError. A header without a
    value becomes one with no bytes, as the event's type has no null there (both D.1.1, unverified).

    Args:
        shard: of all of them.
        head: `record_head` of the shard.
        offsets: one of each record, as in all the columns.
        timestamps: kind and milliseconds.
        keys: None where there is none.
        values: None for a tombstone.
        headers: None or empty where there are none.
        log_append_time: the client's number for this kind of timestamp; others are taken for CREATE_TIME.
    """
    offsets, keys, values, headers = list(offsets), list(keys), list(values), list(headers)
    if not offsets:
        return []
    kinds, times = zip(*timestamps, strict=True)
    contents: Iterable[Sequence[tuple[str, bytes]]] = repeat(())
    # As a rule they are alike: without headers, with one kind of timestamp, and either all have a key or none has.
    if not any(headers) and kinds.count(kinds[0]) == len(offsets) and min(times) > 0:
        time = _TIME_NAMES[kinds[0] == log_append_time]
        with suppress(TypeError):  # a null: stumbling over one costs nothing, looking for one is a tenth of all this
            encoded = _encoded_alike(head, time, offsets, times, keys, values)
            return _as_records(shard, offsets, times, keys, values, contents, encoded)
    contents = [[(name, content or b"") for name, content in given or ()] or () for given in headers]
    encoded = [
        _encoded(head, offset, milliseconds, _TIME_NAMES[kind == log_append_time], key, value, given)
        for offset, kind, milliseconds, key, value, given in zip(
            offsets, kinds, times, keys, values, contents, strict=True
        )
    ]
    # A broker may give -1 for a time that it does not know.
    known = [max(0, milliseconds) for milliseconds in times]
    return _as_records(shard, offsets, known, keys, values, contents, encoded)


def _as_records(  # noqa: PLR0917 - a record's members, by columns
    shard: Shard,
    offsets: Iterable[int],
    times: Iterable[int],
    keys: Iterable[bytes | None],
    values: Iterable[bytes | None],
    headers: Iterable[Sequence[tuple[str, bytes]]],
    encoded: Iterable[bytes],
) -> list[Record]:
    """By C functions alone: two thirds of the time that `Record(...)` would take."""
    rows = zip(
        *(repeat(shard), offsets, times, keys, values, headers, encoded, repeat(0), repeat(None), repeat(None)),
        strict=False,
    )
    return list(map(_new_tuple, repeat(Record), rows))


def _encoded_alike(  # noqa: PLR0917 - columns, in the order of the event
    head: bytes,
    time: bytes,
    offsets: Sequence[int],
    times: Sequence[int],
    keys: Sequence[bytes | None],
    values: Sequence[bytes | None],
) -> list[bytes]:
    """The JSON of records without headers that all have a value, and all a key or none; TypeError if that is not so."""
    row = b'%b,"offset":%%d,"timestamp":%%d,"timestampType":"%b",' % (head.replace(b"%", b"%%"), time)
    if keys[0] is None and keys.count(None) == len(keys):
        row += b'"value":"%b","headers":[]}'
        return list(map(row.__mod__, zip(offsets, times, map(b64encode, values), strict=True)))  # type: ignore[arg-type]
    row += b'"key":"%b","value":"%b","headers":[]}'
    return [
        row % (offset, milliseconds, b2a_base64(key, newline=False), b64encode(value))  # type: ignore[arg-type]
        for offset, milliseconds, key, value in zip(offsets, times, keys, values, strict=True)
    ]


def _encoded(  # noqa: PLR0917 - the record's members, in the order of the event
    head: bytes,
    offset: int,
    milliseconds: int,
    time: bytes,
    key: bytes | None,
    value: bytes | None,
    headers: Sequence[tuple[str, bytes]],
) -> bytes:
    parts = [b'%b,"offset":%d,"timestamp":%d,"timestampType":"%b"' % (head, offset, milliseconds, time)]
    if key is not None:
        parts.append(b',"key":"%b"' % b2a_base64(key, newline=False))
    parts += (b',"value":null',) if value is None else (b',"value":"', b64encode(value), b'"')
    parts.append(b',"headers":[%b]}' % encode_headers(headers))
    return b"".join(parts)


def event_head(settings: KafkaSettings) -> bytes:
    """The event up to its records."""
    members: dict[str, str] = {"eventSource": settings.event_source}
    if settings.event_source_arn is not None:
        members["eventSourceArn"] = settings.event_source_arn
    members["bootstrapServers"] = settings.addresses
    return json.dumps(members, separators=(",", ":")).encode()[:-1] + b',"records":{'


def build_event(head: bytes, records: Sequence[Record]) -> bytes:
    """The event of D.1.1: the records' JSON, grouped by shard, each shard in the order given."""
    if len(set(map(_SHARD, records))) == 1:  # a batch is of one lane: nothing to sort, and each byte copied twice
        return b"".join((head, json_text(records[0].shard), b":[", b",".join(map(_ENCODED, records)), b"]}}"))
    shards: dict[Shard, list[bytes]] = {}
    for record in records:
        shards.setdefault(record.shard, []).append(record.encoded)
    return (
        head + b",".join([b"%b:[%b]" % (json_text(shard), b",".join(some)) for shard, some in shards.items()]) + b"}}"
    )


def event_overhead(settings: KafkaSettings, shards: int) -> int:
    """Bytes around the records of that many shards when each record counts one comma; partitions of ten digits."""
    shard = len(b'"-2147483647":[],') + len(json_text(settings.topic)) - len(b'""')
    return len(event_head(settings)) + shards * shard + len(b"}}")
