"""Headers that pika itself cannot read, and with which its connection would end."""

from __future__ import annotations

import struct
from datetime import UTC, datetime
from typing import Any

import pytest

from poller.sources.amqp_table import MAXIMUM_DEPTH, decode_value


def table(name: bytes, value: bytes) -> bytes:
    members = bytes([len(name)]) + name + value
    return b"F" + struct.pack(">I", len(members)) + members


def array(value: bytes) -> bytes:
    return b"A" + struct.pack(">I", len(value)) + value


def nested(depth: int) -> bytes:
    value = b"t\x01"
    for _ in range(depth):
        value = table(b"a", value)
    return value


@pytest.mark.parametrize(
    ("encoded", "value"),
    [
        (b"T" + struct.pack(">Q", 1_764_064_800), datetime(2025, 11, 25, 10, tzinfo=UTC)),
        (b"T" + struct.pack(">Q", 1_764_064_800_000), None),  # milliseconds by mistake
        (b"T" + b"\xff" * 8, None),
        (b"d" + struct.pack(">d", 2.5), 2),
        (b"d" + struct.pack(">d", float("nan")), None),
        (b"f" + struct.pack(">f", float("inf")), None),
        (b"x\x00\x00\x00\x01\xff", b"\xff"),
        (table(b"a", array(b"V" + b"b\xff")), {"a": [None, -1]}),
        (array(b""), []),
    ],
)
def test_every_value_of_a_header_can_be_read(encoded: bytes, value: Any) -> None:  # D.2
    assert decode_value(b"?" + encoded + b"?", 1) == (value, 1 + len(encoded))


@pytest.mark.parametrize("depth", [MAXIMUM_DEPTH, MAXIMUM_DEPTH + 1, 5000])
def test_what_is_nested_too_deep_is_null_and_what_follows_is_read(depth: int) -> None:
    encoded = nested(depth)
    value, end = decode_value(array(encoded + b"t\x00"), 0)
    assert end == len(encoded) + 7
    outermost, after = value
    assert after is False
    levels = 0
    while isinstance(outermost, dict):
        outermost, levels = outermost["a"], levels + 1
    assert (levels, outermost) == ((depth, True) if depth < MAXIMUM_DEPTH else (MAXIMUM_DEPTH - 1, None))
