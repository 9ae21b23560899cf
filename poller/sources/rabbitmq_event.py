"""RabbitMQ messages as the event of D.2: the settings of a source, and the pure translation. No I/O."""

# mypy: allow-untyped-calls
# pika's annotations have gaps.

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from pika.spec import Basic, BasicProperties
from pybase64 import b64encode

from poller.model import Record, Shard


@dataclass(frozen=True, slots=True)
class RabbitMQSettings:
    """One queue, read by one consumer. Times are in seconds."""

    queue: str
    event_source_arn: str
    host: str = "localhost"
    port: int = 5672
    virtual_host: str = "/"
    username: str = "guest"
    password: str = field(default="guest", repr=False)
    tls: bool = False
    ca_file: str | None = None
    """PEM file with the authorities to trust instead of the system's; only with `tls`."""
    prefetch: int = 200
    """Messages that may be unsettled at once: BatchSize times (batches in flight + 1)."""
    heartbeat: int = 10
    """Seconds between signs of life; when two, and pika's 5 s for each, went by without one, the connection is lost."""
    connect_timeout: float = 5.0

    @classmethod
    def from_url(cls, url: str, *, queue: str, event_source_arn: str, **others: Any) -> RabbitMQSettings:
        """Settings from `amqp://user:password@host:port/vhost` or `amqps://…?cacertfile=path`.

        As in AMQP, no path means vhost `/`.
        """
        parts = urlsplit(url)
        if parts.scheme not in {"amqp", "amqps"} or not parts.hostname:
            raise ValueError("a RabbitMQ address reads amqp://host:port or amqps://host:port")
        given: dict[str, Any] = {
            "host": parts.hostname,
            "port": parts.port or (5671 if parts.scheme == "amqps" else 5672),
            "tls": parts.scheme == "amqps",
            "ca_file": next(iter(parse_qs(parts.query).get("cacertfile", [])), None),
        }
        if parts.username is not None:
            given["username"] = unquote(parts.username)
        if parts.password is not None:
            given["password"] = unquote(parts.password)
        if parts.path.strip("/"):
            given["virtual_host"] = unquote(parts.path[1:])
        return cls(queue=queue, event_source_arn=event_source_arn, **{**given, **others})

    @property
    def address(self) -> str:
        """Host and port, as the error texts show them: never with credentials."""
        return f"{self.host}:{self.port}"

    @property
    def shard(self) -> Shard:
        """The queue's key in the event."""
        return f"{self.queue}::{self.virtual_host}"


def prefetch_of(batch_size: int) -> int:
    """Messages that may be unsettled at once: one batch in work and one that waits; AMQP counts to 65,535."""
    return min(2 * batch_size, 65_535)


_encode = json.JSONEncoder(separators=(",", ":")).encode
quoted = json.encoder.encode_basestring_ascii
"""A text as JSON."""
_new_tuple = tuple.__new__  # a Record without its keyword arguments: half the time
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def java_date(moment: datetime) -> str:
    """`Jan 1, 1970, 12:33:41 AM`: Java's medium date and time in US English, UTC (D.2)."""
    half = "AM" if moment.hour < 12 else "PM"  # noqa: PLR2004
    return (
        f"{_MONTHS[moment.month - 1]} {moment.day}, {moment.year}, "
        f"{moment.hour % 12 or 12}:{moment.minute:02}:{moment.second:02} {half}"
    )


@lru_cache(maxsize=64)
def encode_timestamp(seconds: int | None) -> str | None:
    """The timestamp property. One that no calendar holds (milliseconds given as seconds) becomes null."""
    if seconds is None:
        return None
    try:
        return java_date(datetime.fromtimestamp(seconds, UTC))
    except (ValueError, OverflowError, OSError):
        return None


def encode_header(value: Any) -> Any:
    """A header's value as JSON.

    Known from AWS: long strings as `{"bytes": [signed]}`, numbers as they are (D.2). The rest is unverified and
    follows what AWS's poller would get from RabbitMQ's Java client: booleans and nulls as they are, tables and arrays
    with their members encoded likewise, timestamps as the timestamp property, decimals as numbers. A byte array, which
    the client does not tell from a string that is not UTF-8, shows as the string. What JSON does not have (NaN) becomes
    null. The client gives fractions of floating-point headers away: 2.5 arrives as 2.
    """
    encoded: Any
    match value:
        case None | bool():
            encoded = value
        case str():
            encoded = {"bytes": signed_bytes(value.encode())}
        case bytes():
            encoded = {"bytes": signed_bytes(value)}
        case int():
            encoded = int(value)
        case float():
            encoded = value if math.isfinite(value) else None
        case Decimal() if not value.is_finite():
            encoded = None
        case Decimal():
            encoded = int(value) if value == value.to_integral_value() else float(value)
        case datetime():
            encoded = java_date(value.astimezone(UTC) if value.tzinfo else value)
        case dict():
            encoded = {_decoded(name): encode_header(member) for name, member in value.items()}
        case _:
            encoded = [encode_header(member) for member in value]
    return encoded


def signed_bytes(content: bytes) -> list[int]:
    """Bytes from -128 to 127, as Java has them."""
    return memoryview(content).cast("b").tolist()


def encode_properties(properties: BasicProperties, body_size: int) -> str:
    """All properties of AMQP's basic class, unset ones null, and the size of the body (D.2), as JSON.

    Written out by hand: on the hot path it takes a third of the time that a dict for the JSON encoder takes.
    """
    headers = properties.headers
    return (
        f'{{"contentType":{_common_text(properties.content_type)},'
        f'"contentEncoding":{_common_text(properties.content_encoding)},'
        f'"headers":{"null" if headers is None else encode_headers(headers)},'
        f'"deliveryMode":{_number(properties.delivery_mode)},'
        f'"priority":{_number(properties.priority)},'
        f'"correlationId":{encode_text(properties.correlation_id)},'
        f'"replyTo":{encode_text(properties.reply_to)},'
        f'"expiration":{encode_text(properties.expiration)},'
        f'"messageId":{encode_text(properties.message_id)},'
        f'"timestamp":{_common_text(encode_timestamp(properties.timestamp))},'
        f'"type":{encode_text(properties.type)},'
        f'"userId":{encode_text(properties.user_id)},'
        f'"appId":{encode_text(properties.app_id)},'
        f'"clusterId":{encode_text(properties.cluster_id)},'
        f'"bodySize":{body_size}}}'
    )


def encode_headers(headers: Mapping[str | bytes, Any]) -> str:
    """A table of headers as JSON."""
    if any(type(name) is bytes for name in headers):  # two of them may read the same
        headers = {_decoded(name): value for name, value in headers.items()}
    return "{" + ",".join([f"{encode_text(name)}:{_header(value)}" for name, value in headers.items()]) + "}"


_signed = [str(byte) for byte in signed_bytes(bytes(range(256)))].__getitem__


def _header(value: Any) -> str:
    """What `encode_header` gives, for the most frequent kinds by a shorter way."""
    if type(value) is str:
        return f'{{"bytes":[{",".join(map(_signed, value.encode()))}]}}'
    return str(value) if type(value) is int else _encode(encode_header(value))


def encode_text(value: str | bytes | None) -> str:
    """A property that is a text as JSON; None is null."""
    return "null" if value is None else quoted(_decoded(value))


_common_text = lru_cache(maxsize=256)(encode_text)
"""For what most messages have in common."""


def _number(value: int | None) -> int | str:
    return "null" if value is None else value


def _decoded(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value  # pika gives bytes when not UTF-8


def to_record(
    method: Basic.Deliver, properties: BasicProperties, body: bytes, *, shard: Shard, position: int, generation: int
) -> Record:
    """One delivery as a record. `deliveries` is the quorum queue's own count; 0 where the queue does not count."""
    redelivered: bool = method.redelivered
    encoded = b'{"basicProperties":%b,"redelivered":%b,"data":"%b"}' % (
        encode_properties(properties, len(body)).encode(),
        b"true" if redelivered else b"false",
        b64encode(body),
    )
    identifier: str | bytes | None = properties.message_id
    deliveries = _delivery_count(properties) if redelivered else 0
    message_id = None if identifier is None else _decoded(identifier)
    seconds = properties.timestamp or 0
    raw = (generation, method.delivery_tag)
    return _new_tuple(Record, (shard, position, seconds * 1000, None, body, (), encoded, deliveries, message_id, raw))


def _delivery_count(properties: BasicProperties) -> int:
    count = (properties.headers or {}).get("x-delivery-count", 0)
    return max(0, count) if isinstance(count, int) else 0  # a publisher may have set anything; the broker passes it on


def event_head(settings: RabbitMQSettings) -> bytes:
    """The event up to its messages."""
    arn, shard = json.dumps(settings.event_source_arn), json.dumps(settings.shard)
    return f'{{"eventSource":"aws:rmq","eventSourceArn":{arn},"rmqMessagesByQueue":{{{shard}:['.encode()


def build_event(head: bytes, records: Sequence[Record]) -> bytes:
    """The event of D.2: the messages in the order given."""
    return head + b",".join([record.encoded for record in records]) + b"]}}"
