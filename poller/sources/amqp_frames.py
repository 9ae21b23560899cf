"""Frames of a connection to RabbitMQ, taken from the socket in large pieces: in pika's place, as that cuts small ones.

pika reads 4 KiB at a time, and copies what is left of them after every frame, of which a message has three. A large
message is put together from its pieces by copying all of it again for each.
"""

# mypy: allow-untyped-calls
# pika's annotations have gaps.
# ruff: noqa: SLF001 - there is no public way

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import lru_cache
from typing import cast

import pika
from pika import frame, spec
from pika.connection import Connection
from pika.data import decode_short_string

READ_SIZE = 64 * 1024
"""Bytes of one read."""

_HEAD = struct.Struct(">BHL")
_DELIVER = struct.pack(">I", spec.Basic.Deliver.INDEX)
_TAG = struct.Struct(">QB")
"""The delivery tag and `redelivered`."""
_AROUND = spec.FRAME_HEADER_SIZE + spec.FRAME_END_SIZE
_LAST = bytes([spec.FRAME_END])


def install(connection: pika.BlockingConnection) -> None:
    """Let a connection that is open read and cut its frames this way."""
    implementation = connection._impl
    transport = implementation._transport
    assert transport is not None, "the connection is open"
    for of, name, value in (
        (transport, "_MAX_RECV_BYTES", READ_SIZE),
        (implementation, "_on_data_available", frames_to(implementation)),
    ):
        setattr(of, name, value)


def _decoded(kind: int, channel: int, whole: bytes) -> frame.Frame:
    """The frame that these bytes are. pika decodes all but what comes with every message."""
    if whole[-1:] == _LAST:
        if kind == spec.FRAME_BODY:
            return frame.Body(channel, whole[spec.FRAME_HEADER_SIZE : -1])
        if kind == spec.FRAME_METHOD and whole.startswith(_DELIVER, spec.FRAME_HEADER_SIZE):
            return frame.Method(channel, deliver(whole[spec.FRAME_HEADER_SIZE + len(_DELIVER) : -1]))
    return cast("frame.Frame", frame.decode_frame(whole)[1])  # nothing less, as all of it is there


def deliver(content: bytes) -> spec.Basic.Deliver:
    """The method with this content; most of it is the same for all messages of a consumer."""
    tag = content[0] + 1
    names = tag + _TAG.size
    number, bits = _TAG.unpack_from(content, tag)
    exchange, routing_key = _two_texts(content[names:])
    return spec.Basic.Deliver(_text(content[:tag]), number, bits & 1 != 0, exchange, routing_key)


@lru_cache(maxsize=256)
def _text(encoded: bytes) -> str:
    return cast("str", decode_short_string(encoded, 0)[0])  # or bytes, as pika has them where they are not UTF-8


@lru_cache(maxsize=256)
def _two_texts(encoded: bytes) -> tuple[str, str]:
    first, after = decode_short_string(encoded, 0)
    return cast("str", first), cast("str", decode_short_string(encoded, after)[0])


def frames_to(connection: Connection) -> Callable[[bytes], None]:
    """Pika's method `_on_data_available` for this connection: what arrived, frame by frame, to whom it concerns."""

    def take(arrived: bytes) -> None:
        data = connection._frame_buffer + arrived if connection._frame_buffer else arrived
        connection._frame_buffer = data  # whoever ends the connection in between empties it
        at, end = 0, len(data)
        try:
            while end - at >= spec.FRAME_HEADER_SIZE and connection._frame_buffer is data:
                kind, channel, size = _HEAD.unpack_from(data, at)
                after = at + size + _AROUND
                if after > end:
                    break
                whole = data[at:after]
                at = after
                connection._process_frame(_decoded(kind, channel, whole))
        finally:
            connection.bytes_received += at
            if connection._frame_buffer is data:
                connection._frame_buffer = data[at:]

    return take
