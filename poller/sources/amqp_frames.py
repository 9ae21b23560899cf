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
from typing import cast

import pika
from pika import frame, spec
from pika.connection import Connection

from poller.sources.amqp_deliveries import Deliveries

READ_SIZE = 64 * 1024
"""Bytes of one read."""

_HEAD = struct.Struct(">BHL")
_AROUND = spec.FRAME_HEADER_SIZE + spec.FRAME_END_SIZE


def install(connection: pika.BlockingConnection) -> Frames:
    """Let a connection that is open read and cut its frames this way."""
    implementation = connection._impl
    transport = implementation._transport
    assert transport is not None, "the connection is open"
    # A negative number ends `process_data_events`, and dispatches nothing.
    frames = Frames(implementation, lambda channel: connection._request_channel_dispatch(-channel))
    for of, name, value in (
        (transport, "_MAX_RECV_BYTES", READ_SIZE),
        (implementation, "_on_data_available", frames.take),
    ):
        setattr(of, name, value)
    return frames


class Frames:
    """What arrives on one connection, frame by frame, to whom it concerns. Owned by the thread of the connection.

    Args:
        connection: pika's, which gets all that is not the consumer's.
        delivered: told the channel when its consumer has got `enough` messages.
    """

    def __init__(self, connection: Connection, delivered: Callable[[int], None]) -> None:
        self.consumer: Deliveries | None = None
        """Whose messages pika does not see."""
        self.enough = 1
        """Messages that end a waiting `process_data_events`."""
        self._connection = connection
        self._delivered = delivered

    def take(self, arrived: bytes) -> None:
        """In the place of pika's method `_on_data_available`."""
        connection, consumer = self._connection, self.consumer
        data = connection._frame_buffer + arrived if connection._frame_buffer else arrived
        connection._frame_buffer = data  # whoever ends the connection in between empties it
        at, end = 0, len(data)
        try:
            while connection._frame_buffer is data:
                if consumer is not None:
                    at = consumer.take(data, at)
                if end - at < spec.FRAME_HEADER_SIZE:
                    break
                kind, channel, size = _HEAD.unpack_from(data, at)
                after = at + size + _AROUND
                if after > end:
                    break
                whole = data[at:after]
                at = after
                if consumer is None or not _is_taken(consumer, kind, channel, whole):
                    connection._process_frame(cast("frame.Frame", frame.decode_frame(whole)[1]))  # all of it is there
        finally:
            connection.bytes_received += at
            if connection._frame_buffer is data:
                connection._frame_buffer = data[at:]
        if consumer is not None and len(consumer.arrived) >= self.enough:
            self._delivered(consumer.channel)


def _is_taken(consumer: Deliveries, kind: int, channel: int, whole: bytes) -> bool:
    if whole[-1] != spec.FRAME_END:
        return False  # pika refuses it
    return consumer.take_frame(kind, channel, whole[spec.FRAME_HEADER_SIZE : -1])
