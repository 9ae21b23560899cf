"""Headers of AMQP messages, read so that nothing a publisher may send can fail. Pure, in pika's place.

pika raises for a timestamp that no calendar holds (milliseconds given as seconds), for NaN and infinity, and in tables
nested some hundred deep. It does so while it takes a delivery from the socket, and its connection ends with it: the
broker would deliver the message again after each reconnect, and the queue would never be read any further.
"""

# mypy: allow-untyped-calls
# pika's annotations have gaps.

from __future__ import annotations

import struct
from datetime import UTC, datetime
from typing import Any

import pika.data

MAXIMUM_DEPTH = 64
"""Tables and arrays within one another; what is nested deeper is read as null."""

_LENGTH = struct.Struct(">I")
_SECONDS = struct.Struct(">Q")
_FLOATS = {b"f": struct.Struct(">f"), b"d": struct.Struct(">d")}

_other_value = pika.data.decode_value


def install() -> None:
    """Make pika read headers with `decode_value`. Idempotent."""
    pika.data.decode_value = decode_value


def decode_value(encoded: bytes, offset: int) -> tuple[Any, int]:
    """A field value and the offset after it: pika's function of this name, for which NaN and the like are None."""
    return _decode(encoded, offset, MAXIMUM_DEPTH)


def _decode(encoded: bytes, offset: int, depth: int) -> tuple[Any, int]:
    kind = encoded[offset : offset + 1]
    if kind == b"T":
        return _time(_SECONDS.unpack_from(encoded, offset + 1)[0]), offset + 1 + _SECONDS.size
    if kind in _FLOATS:
        return _whole(_FLOATS[kind].unpack_from(encoded, offset + 1)[0]), offset + 1 + _FLOATS[kind].size
    if kind not in (b"F", b"A"):
        value, end = _other_value(encoded, offset)
        return value, end
    start = offset + 1 + _LENGTH.size
    end = start + _LENGTH.unpack_from(encoded, offset + 1)[0]
    if depth == 0:
        return None, end
    return (_table if kind == b"F" else _array)(encoded, start, end, depth - 1), end


def _table(encoded: bytes, offset: int, end: int, depth: int) -> dict[str | bytes, Any]:
    members: dict[str | bytes, Any] = {}
    while offset < end:
        name, offset = pika.data.decode_short_string(encoded, offset)
        members[name], offset = _decode(encoded, offset, depth)
    return members


def _array(encoded: bytes, offset: int, end: int, depth: int) -> list[Any]:
    items = []
    while offset < end:
        item, offset = _decode(encoded, offset, depth)
        items.append(item)
    return items


def _whole(value: float) -> int | None:
    """Without its fraction, as pika gives it; None for NaN and infinity."""
    try:
        return int(value)
    except (ValueError, OverflowError):
        return None


def _time(seconds: int) -> datetime | None:
    """None after the year 9999."""
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None
