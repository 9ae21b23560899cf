"""An event of Kafka records by columns, and what a handler gets made of it. Used by both ends of a handler's pipe.

The handler gets an object and not JSON, so between this program and a process of its own JSON is not needed: to make it
and to read it again is most of what an event of small records costs at either end. Columns are pickled by a protocol
that Python 3.4 and every later one reads, as the handler's interpreter may be another one.

The handler's interpreter loads this file by its path, so it imports the standard library only.
"""

from __future__ import annotations

import json
from _pickle import dumps, loads  # without Python's own implementation around it, which takes 3 ms of a cold start
from binascii import b2a_base64
from collections.abc import Mapping, Sequence
from itertools import repeat
from typing import Any, NamedTuple, Union

_PROTOCOL = 4
Content = Union[str, bytes, None]  # noqa: UP007 - a handler's Python may be 3.9
"""In Base64, or bytes that `unpack` is to encode."""


class RecordColumns(NamedTuple):
    """Neighbouring records of one partition as they stand in the event (D.1.1); one of each record in every column."""

    shard: str
    topic: str
    partition: int
    offsets: Sequence[int]
    timestamps: Sequence[int]
    kinds: str | Sequence[str]
    """`timestampType`, one for all where it is the same."""
    keys: Sequence[Content] | None
    """None for a record without a key, and instead of the column where no record has one."""
    values: Sequence[Content]
    """None for a tombstone."""
    headers: str | None
    """JSON, a list of the records' lists; None where no record has any."""


def pack(members: Mapping[str, str], parts: Sequence[RecordColumns]) -> bytes:
    """What `unpack` makes an event of. Pure.

    Args:
        members: of the event before its records.
        parts: the records.
    """
    # As plain tuples: the handler's interpreter has no module of that class's name.
    return dumps((members, list(map(tuple, parts))), _PROTOCOL)


def unpack(packed: bytes | memoryview) -> dict[str, Any]:
    """The event as `json.loads` would have made it of its JSON; no part of it is a part of another event or record."""
    members, parts = loads(packed)  # what the parent has written
    records: dict[str, list[dict[str, Any]]] = {}
    for shard, *columns in parts:
        records.setdefault(shard, []).extend(_rows(*columns))
    members["records"] = records
    return members  # type: ignore[no-any-return]


def _rows(  # noqa: PLR0917 - columns, in the order of the event
    topic: str,
    partition: int,
    offsets: Sequence[int],
    timestamps: Sequence[int],
    kinds: str | Sequence[str],
    keys: Sequence[Content] | None,
    values: Sequence[Content],
    headers: str | None,
) -> list[dict[str, Any]]:
    columns = (
        offsets,
        timestamps,
        repeat(kinds) if isinstance(kinds, str) else kinds,
        repeat(None) if keys is None else _encoded(keys),
        _encoded(values),
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


def _encoded(contents: Sequence[Content]) -> Sequence[Content]:
    first = next((content for content in contents if content is not None), None)
    if not isinstance(first, bytes):  # it says of all what they are
        return contents
    return [None if content is None else b2a_base64(content, newline=False).decode() for content in contents]  # type: ignore[arg-type]
