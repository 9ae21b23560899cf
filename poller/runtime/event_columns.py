"""An event of Kafka records by columns, and what a handler gets made of it. Used by both ends of a handler's pipe.

The handler gets an object and not JSON, so between this program and a process of its own JSON is not needed: to make it
and to read it again is most of what an event of small records costs at either end. Columns are plain values in the
format of Python's marshal, which takes half the time of pickle. Its version 2 has no references and is read by every
Python 3, so that the handler's interpreter may be another one. What is in Base64 already stands behind them, as text.

    4 bytes  length of what is marshalled, big-endian
    marshal  the event's members, and the columns of each part
    text     of each part that is encoded, its values in Base64 one after another, without anything between them

The handler's interpreter loads this file by its path, so it imports the standard library only.
"""

from __future__ import annotations

import json
from binascii import b2a_base64
from collections.abc import Mapping, Sequence
from itertools import accumulate, repeat
from marshal import dumps, loads
from typing import Any, NamedTuple

_VERSION = 2
"""Later ones look for what occurs again, and take a sixth longer."""
_PREFIX = 4


class RecordColumns(NamedTuple):
    """Neighbouring records of one partition as they stand in the event (D.1.1); one of each record in every column.

    Columns are lists or tuples, save as is said.
    """

    shard: str
    topic: str
    partition: int
    offsets: Sequence[int]
    """A range where none is left out: its ends go to the handler's process."""
    timestamps: Sequence[int]
    kinds: str | Sequence[str]
    """`timestampType`, one for all where it is the same."""
    keys: Sequence[bytes | None] | None
    """None for a record without a key, and instead of the column where no record has one."""
    values: Sequence[bytes | None]
    """None for a tombstone."""
    encoded: bool
    """Whether the values are in Base64 already, and not for `unpack` to encode."""
    headers: str | None
    """JSON, a list of the records' lists; None where no record has any."""


def pack(members: Mapping[str, str], parts: Sequence[RecordColumns]) -> bytes:
    """What `unpack` makes an event of. Pure.

    Args:
        members: of the event before its records.
        parts: the records.
    """
    columns: list[tuple[Any, ...]] = []
    text: list[bytes] = []
    for part in parts:
        *place, offsets, timestamps, kinds, keys, values, encoded, headers = part
        contents: Sequence[Any] = values
        if encoded:
            text += filter(None, values)
            contents = [None if value is None else len(value) for value in values]
        numbers = (offsets.start, offsets.stop) if isinstance(offsets, range) else list(offsets)
        columns.append((*place, numbers, timestamps, kinds, keys, contents, encoded, headers))
    marshalled = dumps((dict(members), columns), _VERSION)
    return b"".join((len(marshalled).to_bytes(_PREFIX, "big"), marshalled, *text))


def unpack(packed: bytes | memoryview) -> dict[str, Any]:
    """The event as `json.loads` would have made it of its JSON; no part of it is a part of another event or record."""
    view = memoryview(packed)
    end = _PREFIX + int.from_bytes(view[:_PREFIX], "big")
    members, parts = loads(view[_PREFIX:end])  # noqa: S302 - our own # nosec B302
    text = view[end:]
    records: dict[str, list[dict[str, Any]]] = {}
    for shard, *columns, values, encoded, headers in parts:
        contents = _cut(text, values) if encoded else _encoded(values)
        if encoded:
            text = text[sum(filter(None, values)) :]
        records.setdefault(shard, []).extend(_rows(contents, headers, *columns))
    members["records"] = records
    return members  # type: ignore[no-any-return]


def _rows(  # noqa: PLR0917 - columns
    values: Sequence[str | None],
    headers: str | None,
    topic: str,
    partition: int,
    offsets: list[int] | tuple[int, int],
    timestamps: Sequence[int],
    kinds: str | Sequence[str],
    keys: Sequence[bytes | None] | None,
) -> list[dict[str, Any]]:
    columns = (
        range(*offsets) if isinstance(offsets, tuple) else offsets,
        timestamps,
        repeat(kinds) if isinstance(kinds, str) else kinds,
        repeat(None) if keys is None else _encoded(keys),
        values,
        iter(list, None) if headers is None else json.loads(headers),  # a list for each, which is its handler's own
    )
    rows = [
        {
            "topic": topic,
            "partition": partition,
            "offset": offset,
            "timestamp": timestamp,
            "timestampType": kind,
            "key": key,
            "value": value,
            "headers": own,
        }
        for offset, timestamp, kind, key, value, own in zip(*columns)  # noqa: B905 - since 3.10 only
    ]
    if keys is None or None in keys:
        for row in rows:
            if row["key"] is None:
                del row["key"]
    return rows


def _cut(text: memoryview, lengths: Sequence[int | None]) -> list[str | None]:
    ends = accumulate([length or 0 for length in lengths])
    return [
        None if length is None else str(text[end - length : end], "ascii")
        for length, end in zip(lengths, ends)  # noqa: B905 - since 3.10 only
    ]


def _encoded(contents: Sequence[bytes | None]) -> list[str | None]:
    return [None if content is None else b2a_base64(content, newline=False).decode() for content in contents]
