"""Headers of AMQP messages that go back as they came, in pika's place: same types, not only similar values.

What is a byte, a short or a float for the producer, pika writes as an int, which consumers in other languages tell
apart; fractions, timestamps of another millennium and texts that are not UTF-8 it loses. A value that it would write
differently is kept beside the bytes that it was read from.
"""

# mypy: allow-untyped-calls
# pika's annotations have gaps.

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pika.data
from pika.exceptions import AMQPError

from poller.dead_letters.letter import Verbatim
from poller.sources.amqp_table import decode_value

_encode_value = pika.data.encode_value


@contextmanager
def exact_headers() -> Iterator[None]:
    """While this lasts, pika reads and writes headers as `decode` and `encode` do, in every thread."""
    before = pika.data.decode_value, pika.data.encode_value
    pika.data.decode_value, pika.data.encode_value = decode, encode
    try:
        yield
    finally:
        pika.data.decode_value, pika.data.encode_value = before


def decode(encoded: bytes, offset: int) -> tuple[Any, int]:
    """The function of this name of pika's. What is inside tables and arrays is kept with them."""
    value, end = decode_value(encoded, offset)
    content = bytes(encoded[offset:end])
    pieces: list[bytes] = []
    try:
        _encode_value(pieces, value)
    except (AMQPError, struct.error, ValueError, RecursionError):
        return Verbatim(value, content), end
    return value if b"".join(pieces) == content else Verbatim(value, content), end


def encode(pieces: list[bytes], value: Any) -> int:
    """The function of this name of pika's."""
    if isinstance(value, Verbatim):
        pieces.append(value.encoded)
        return len(value.encoded)
    size: int = _encode_value(pieces, value)
    return size
