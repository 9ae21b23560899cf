"""From the event in a letter back to the records and messages that it was built from (D.1.1, D.2). Pure.

The inverse of `sources.kafka_event` and `sources.rabbitmq_event`. What an event does not tell cannot come back: a
header without a value is one with no bytes, a floating-point header has no fraction, a date header is a text.
Everything here raises ValueError, KeyError, TypeError or AttributeError for what is no such event.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from poller.dead_letters.letter import KafkaOriginal, KafkaPlace, RabbitMQOriginal

BROKER_HEADERS = re.compile(r"x-death|x-(first|last)-death-\w+|x-delivery-count|x-acquired-count|x-opt-rabbitmq-.*")
"""Headers that RabbitMQ adds to messages on their way; a message that begins anew has none of them."""

_PROPERTIES = {
    "contentType": ("content_type", str),
    "contentEncoding": ("content_encoding", str),
    "deliveryMode": ("delivery_mode", int),
    "priority": ("priority", int),
    "correlationId": ("correlation_id", str),
    "replyTo": ("reply_to", str),
    "expiration": ("expiration", str),
    "messageId": ("message_id", str),
    "type": ("type", str),
    "appId": ("app_id", str),
    "clusterId": ("cluster_id", str),
}
"""userId is left out: the broker takes only the name that the publisher has logged in with."""

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_JAVA_DATE = re.compile(r"([A-Z][a-z]{2}) (\d+), (\d+), (\d+):(\d\d):(\d\d) (AM|PM)")


def kafka_originals(event: Mapping[str, Any]) -> Iterator[KafkaOriginal]:
    """The records of an event, shard by shard."""
    for records in event["records"].values():
        for record in records:
            place = KafkaPlace(_is(record["topic"], str), _is(record["partition"], int), _is(record["offset"], int))
            yield KafkaOriginal(
                place,
                _decoded(record.get("key")),
                _decoded(record["value"]),
                tuple(
                    (name, signed(content)) for header in record.get("headers", ()) for name, content in header.items()
                ),
            )


def rabbitmq_originals(event: Mapping[str, Any], queue: str, virtual_host: str) -> Iterator[RabbitMQOriginal]:
    """The messages of an event, which all came from that queue."""
    for messages in event["rmqMessagesByQueue"].values():
        for message in messages:
            body = _decoded(_is(message["data"], str))
            assert body is not None
            yield RabbitMQOriginal(queue, virtual_host, body, _properties(message["basicProperties"]))


def signed(content: Sequence[int]) -> bytes:
    """Bytes that are written as Java's, from -128 to 127."""
    return bytes(number % 256 if -129 < number < 128 else _refuse(number) for number in content)  # noqa: PLR2004


def own_headers(headers: Mapping[Any, Any]) -> dict[Any, Any]:
    """A message's headers without those of the broker."""
    return {name: value for name, value in headers.items() if not _is_broker_s(name)}


def _is_broker_s(name: str | bytes) -> bool:
    return isinstance(name, str) and BROKER_HEADERS.fullmatch(name) is not None  # pika gives bytes when not UTF-8


def _properties(given: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, (ours, kind) in _PROPERTIES.items():
        if given.get(name) is not None:
            found[ours] = _is(given[name], kind)
    if given.get("timestamp") is not None:
        found["timestamp"] = _seconds(given["timestamp"])
    if given.get("headers") is not None:
        found["headers"] = own_headers({name: _header(value) for name, value in given["headers"].items()})
    return found


def _header(value: Any) -> Any:
    match value:
        case {"bytes": [*numbers], **others} if not others:
            content = signed(numbers)
            try:
                return content.decode()
            except UnicodeDecodeError:
                return content
        case dict():
            return {name: _header(member) for name, member in value.items()}
        case list():
            return [_header(member) for member in value]
    return value


def _seconds(text: str) -> int:
    """`Nov 25, 2025, 10:00:00 AM` in seconds since the epoch."""
    found = _JAVA_DATE.fullmatch(text)
    if found is None:
        raise ValueError("is no date as Java writes it")
    month, day, year, hour, minute, second, half = found.groups()
    hours = int(hour) % 12 + (12 if half == "PM" else 0)
    moment = datetime(int(year), _MONTHS.index(month) + 1, int(day), hours, int(minute), int(second), tzinfo=UTC)
    return int(moment.timestamp())


def _decoded(text: str | None) -> bytes | None:
    return None if text is None else b64decode(text, validate=True)


def _is(value: Any, kind: type) -> Any:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise TypeError(f"{value!r} is no {kind.__name__}")
    return value


def _refuse(number: object) -> int:
    raise ValueError(f"{number!r} is no byte")
