"""The messages of one consumer, cut from what RabbitMQ sent without pika's objects in between. Pure.

pika makes three frames, a method and properties of each message, and hands them through its channel one by one: most of
what it spends on a message. Here a message is a few numbers and two pieces of bytes.
"""

from __future__ import annotations

import struct

from pika import spec
from pika.exceptions import BodyTooLongError

Delivery = tuple[int, bool, bytes, bytes]
"""Delivery tag, `redelivered`, the properties as they were on the wire (flags and values), and the body."""

_FRAME = struct.Struct(">BHL")
"""Kind, channel, and size of the content."""
_HEADER = struct.Struct(">BHLHHQ")
"""The same, class, weight, and size of the body; properties follow."""
_END = spec.FRAME_END
_AROUND = spec.FRAME_HEADER_SIZE + spec.FRAME_END_SIZE
_BEFORE_PROPERTIES = _HEADER.size - _FRAME.size
_LEAST_PROPERTIES = 2
_TAG = struct.Struct(">QB")
"""The delivery tag and `redelivered`."""


class Deliveries:
    """What one consumer is sent. Owned by the thread of its connection.

    Args:
        channel: number of the consumer's.
        consumer_tag: the consumer's.
        arrived: gets each message, in the order of delivery, as soon as all of it is there.
    """

    def __init__(self, channel: int, consumer_tag: str, arrived: list[Delivery]) -> None:
        self.channel = channel
        self.arrived = arrived
        name = consumer_tag.encode()
        self._start = struct.pack(">I", spec.Basic.Deliver.INDEX) + bytes([len(name)]) + name
        self._whole = struct.Struct(f">BHL{len(self._start)}sQB")
        self._begun: tuple[int, bool] | None = None
        """Tag and `redelivered` of a message that came with its method only, or not all of its body."""
        self._properties = b""
        self._missing = self._size = 0
        """Bytes of its body that are still to come, and of all of it."""
        self._pieces: list[bytes] = []

    def take(self, data: bytes, at: int) -> int:
        """Take messages that are there as a whole, one after the other; returns where something else begins.

        Those in several pieces, and frames that are wrong, are something else, too.
        """
        whole, start, mine, deliver = self._whole, self._start, self.channel, self.arrived.append
        method, header, frame = whole.unpack_from, _HEADER.unpack_from, _FRAME.unpack_from
        end = len(data)
        last_method, last_header = end - whole.size, end - _HEADER.size - _LEAST_PROPERTIES
        while at <= last_method:
            kind, channel, size, named, tag, bits = method(data, at)
            second = at + size + _AROUND
            if named != start or kind != spec.FRAME_METHOD or channel != mine or second > last_header:
                break
            kind, channel, size, _, _, body = header(data, second)
            third = after = second + size + _AROUND
            if kind != spec.FRAME_HEADER or channel != mine or third > end:
                break
            if body:
                after = third + body + _AROUND
                if after > end or frame(data, third) != (spec.FRAME_BODY, mine, body):
                    break
            if not data[second - 1] == data[third - 1] == data[after - 1] == _END:
                break
            properties = data[second + _HEADER.size : third - 1]
            content = data[third + spec.FRAME_HEADER_SIZE : after - 1] if body else b""
            deliver((tag, bits & 1 != 0, properties, content))
            at = after
        return at

    def take_frame(self, kind: int, channel: int, content: bytes) -> bool:
        """Take a single frame; returns whether it is one of this consumer's messages.

        Raises:
            BodyTooLongError: there is more of a body than was announced.
        """
        if channel != self.channel:
            return False
        if kind == spec.FRAME_METHOD and content.startswith(self._start):
            tag, bits = _TAG.unpack_from(content, len(self._start))
            self._begun = tag, bits & 1 != 0
        elif self._begun is None:
            return False
        elif kind == spec.FRAME_HEADER:
            _, _, self._size = struct.unpack_from(">HHQ", content)
            self._missing = self._size
            self._properties = content[_BEFORE_PROPERTIES:]
            self._end_message()
        elif kind == spec.FRAME_BODY:
            self._missing -= len(content)
            self._pieces.append(content)
            self._end_message()
        else:
            return False
        return True

    def _end_message(self) -> None:
        if self._missing < 0:
            raise BodyTooLongError(self._size - self._missing, self._size)
        if self._missing == 0 and self._begun is not None:
            self.arrived.append((*self._begun, self._properties, b"".join(self._pieces)))
            self._begun = None
            self._pieces = []
