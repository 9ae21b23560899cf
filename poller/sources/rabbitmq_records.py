"""Deliveries of RabbitMQ as records, their JSON made from the properties as they are on the wire (D.2). Pure.

The plain way is `rabbitmq_event.to_record`, for which pika decodes all properties. But most of a message's properties
are those of an earlier message to the byte, and at the same places: then only what is its own is read.
"""

# mypy: allow-untyped-calls
# pika's annotations have gaps.

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import NamedTuple

from pika.data import decode_table
from pika.spec import Basic, BasicProperties
from pybase64 import b64encode_as_string

from poller.model import Record, Shard
from poller.sources.amqp_deliveries import Delivery
from poller.sources.rabbitmq_event import encode_headers, encode_text, encode_timestamp, quoted, to_record

_new_tuple = tuple.__new__  # as in rabbitmq_event
_LAYOUTS_OF_A_LENGTH, _LENGTHS = 4, 256
"""How many layouts are remembered."""
_FLAGS = struct.Struct(">H")
_SECONDS = struct.Struct(">Q")
_TABLE_SIZE = struct.Struct(">L")


def _text(content: bytes) -> str:
    return quoted(content.decode(errors="replace"))


def _octet(content: bytes) -> str:
    return str(content[0])


def _table(content: bytes) -> str:
    return encode_headers(decode_table(_TABLE_SIZE.pack(len(content)) + content, 0)[0])


@lru_cache(maxsize=64)
def _time(content: bytes) -> str:
    return encode_text(encode_timestamp(_SECONDS.unpack(content)[0]))


_common_text = lru_cache(maxsize=256)(_text)
_common_table = lru_cache(maxsize=256)(_table)
_LONGEST_COMMON_TABLE = 1024


def _headers(content: bytes) -> str:
    return (_common_table if len(content) <= _LONGEST_COMMON_TABLE else _table)(content)


class _Property(NamedTuple):
    flag: int
    name: str
    """In the event."""
    encode: Callable[[bytes], str]
    """Gives the JSON of the value's bytes; those that tell their number are not among them."""
    own: bool = False
    """Each message may have another."""


_PROPERTIES = (
    _Property(BasicProperties.FLAG_CONTENT_TYPE, "contentType", _text),
    _Property(BasicProperties.FLAG_CONTENT_ENCODING, "contentEncoding", _text),
    _Property(BasicProperties.FLAG_HEADERS, "headers", _headers, own=True),
    _Property(BasicProperties.FLAG_DELIVERY_MODE, "deliveryMode", _octet),
    _Property(BasicProperties.FLAG_PRIORITY, "priority", _octet),
    _Property(BasicProperties.FLAG_CORRELATION_ID, "correlationId", _text, own=True),
    _Property(BasicProperties.FLAG_REPLY_TO, "replyTo", _common_text, own=True),
    _Property(BasicProperties.FLAG_EXPIRATION, "expiration", _text),
    _Property(BasicProperties.FLAG_MESSAGE_ID, "messageId", _text, own=True),
    _Property(BasicProperties.FLAG_TIMESTAMP, "timestamp", _time, own=True),
    _Property(BasicProperties.FLAG_TYPE, "type", _text),
    _Property(BasicProperties.FLAG_USER_ID, "userId", _text),
    _Property(BasicProperties.FLAG_APP_ID, "appId", _text),
    _Property(BasicProperties.FLAG_CLUSTER_ID, "clusterId", _text),
)
"""In the order of the wire and of the event."""
_KNOWN = sum(known.flag for known in _PROPERTIES)


class _Layout(NamedTuple):
    """Where everything is in properties that differ in their own values only."""

    alike: tuple[tuple[bytes, int], ...]
    """What all of them have, the sizes of their own values included, and at which places."""
    own: tuple[tuple[Callable[[bytes], str], int, int], ...]
    template: str
    """The message's JSON, to be filled with the own values, the body's size, and the body."""
    message_id: slice | None
    timestamp: slice | None

    def fits(self, properties: bytes) -> bool:
        """Whether properties of the same length have this layout."""
        for content, at in self.alike:  # noqa: SIM110 - for every message, and three times as fast
            if not properties.startswith(content, at):
                return False
        return True


class RecordReader:
    """Makes the records of one queue. Remembers what earlier messages looked like; owned by one thread."""

    def __init__(self, shard: Shard) -> None:
        self._shard = shard
        self._layouts: dict[int, list[_Layout]] = {}
        """By the length of the properties; the latest first."""

    def to_records(self, deliveries: Iterable[Delivery], *, position: int, generation: int) -> list[Record]:
        """Deliveries as records, the first at this position and the others after it."""
        records = []
        for at, delivery in enumerate(deliveries, position):
            tag, redelivered, properties, body = delivery
            # Of a message that comes again the headers say how often.
            layout = None if redelivered else self._known(properties)
            if layout is None:
                records.append(self._plain(delivery, at, generation))
                continue
            values = [encode(properties[start:end]) for encode, start, end in layout.own]
            encoded = (layout.template % (*values, len(body), b64encode_as_string(body))).encode()
            place = layout.message_id
            message_id = None if place is None else properties[place].decode(errors="replace")
            place = layout.timestamp
            timestamp = 0 if place is None else int.from_bytes(properties[place], "big") * 1000
            raw = (generation, tag)
            fields = (self._shard, at, timestamp, None, body, (), encoded, 0, message_id, raw)
            records.append(_new_tuple(Record, fields))
        return records

    def _known(self, properties: bytes) -> _Layout | None:
        for layout in self._layouts.get(len(properties), ()):
            if layout.fits(properties):
                return layout
        return None

    def _plain(self, delivery: Delivery, position: int, generation: int) -> Record:
        tag, redelivered, properties, body = delivery
        method = Basic.Deliver(delivery_tag=tag, redelivered=redelivered)
        decoded = BasicProperties().decode(properties)
        layout = None if redelivered else _layout_of(properties)
        if layout is not None:
            if len(self._layouts) >= _LENGTHS:
                self._layouts.clear()
            others = self._layouts.get(len(properties), [])
            self._layouts[len(properties)] = [layout, *others][:_LAYOUTS_OF_A_LENGTH]
        return to_record(method, decoded, body, shard=self._shard, position=position, generation=generation)


def _layout_of(properties: bytes) -> _Layout | None:
    """None for flags that are unknown, and where the properties are not what the flags say."""
    (flags,) = _FLAGS.unpack_from(properties)
    alike: list[tuple[bytes, int]] = []
    own: list[tuple[Callable[[bytes], str], int, int]] = []
    members: list[str] = []
    places: dict[str, slice] = {}
    at, alike_from, size = _FLAGS.size, 0, len(properties)
    for flag, name, encode, is_own in _PROPERTIES:
        shown = "null"
        if flags & flag:
            if at >= size:
                return None
            start, end = _extent(encode, properties, at)
            if end > size:
                return None
            if is_own:
                shown = "%s"
                own.append((encode, start, end))
                places[name] = slice(start, end)
                alike.append((properties[alike_from:start], alike_from))
                alike_from = end
            else:
                shown = encode(properties[start:end]).replace("%", "%%")
            at = end
        members.append(f'"{name}":{shown},')
    if flags & ~_KNOWN or at != size:
        return None
    alike.append((properties[alike_from:], alike_from))
    template = f'{{"basicProperties":{{{"".join(members)}"bodySize":%d}},"redelivered":false,"data":"%s"}}'
    return _Layout(
        tuple((content, where) for content, where in alike if content),
        tuple(own),
        template,
        places.get("messageId"),
        places.get("timestamp"),
    )


def _extent(encode: Callable[[bytes], str], properties: bytes, at: int) -> tuple[int, int]:
    """From where to where the value is that begins there, without the bytes that tell their number."""
    if encode is _octet:
        return at, at + 1
    if encode is _time:
        return at, at + _SECONDS.size
    if encode is _headers:
        start = at + _TABLE_SIZE.size
        return start, start + int.from_bytes(properties[at:start], "big")
    return at + 1, at + 1 + properties[at]
