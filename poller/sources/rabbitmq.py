"""A RabbitMQ queue as an event source: takes messages, acknowledges in runs, hands failed ones back (D.2, F.3).

From top to bottom: settings, the pure translation of messages into the event of D.2, and the class with the I/O.
"""

# mypy: allow-untyped-calls
# pika's annotations have gaps.

from __future__ import annotations

import json
import logging
import math
import ssl
import time
from base64 import b64encode
from collections import OrderedDict, deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import blake2b
from typing import Any
from urllib.parse import unquote, urlsplit

import pika
from pika import exceptions as pika_errors
from pika.adapters.blocking_connection import BlockingChannel
from pika.spec import Basic, BasicProperties

from poller.errors import SourceError, SourceRejected, SourceUnavailable
from poller.model import Progress, Record, Shard
from poller.sources import Features, Listener

_log = logging.getLogger(__name__)


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
        """Settings from `amqp://user:password@host:port/vhost` or `amqps://…`; as in AMQP, no path means vhost `/`."""
        parts = urlsplit(url)
        if parts.scheme not in {"amqp", "amqps"} or not parts.hostname:
            raise ValueError("a RabbitMQ address reads amqp://host:port or amqps://host:port")
        given: dict[str, Any] = {
            "host": parts.hostname,
            "port": parts.port or (5671 if parts.scheme == "amqps" else 5672),
            "tls": parts.scheme == "amqps",
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


# --- the event (D.2): pure -----------------------------------------------------------------------------------------

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def java_date(moment: datetime) -> str:
    """`Jan 1, 1970, 12:33:41 AM`: Java's medium date and time in US English, UTC (D.2)."""
    half = "AM" if moment.hour < 12 else "PM"  # noqa: PLR2004
    return (
        f"{_MONTHS[moment.month - 1]} {moment.day}, {moment.year}, "
        f"{moment.hour % 12 or 12}:{moment.minute:02}:{moment.second:02} {half}"
    )


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
        case Decimal():
            encoded = int(value) if value == value.to_integral_value() else float(value)
        case datetime():
            encoded = java_date(value.astimezone(UTC) if value.tzinfo else value)
        case dict():
            encoded = {_text(name): encode_header(member) for name, member in value.items()}
        case _:
            encoded = [encode_header(member) for member in value]
    return encoded


def signed_bytes(content: bytes) -> list[int]:
    """Bytes from -128 to 127, as Java has them."""
    return memoryview(content).cast("b").tolist()


def encode_properties(properties: BasicProperties, body_size: int) -> dict[str, Any]:
    """All properties of AMQP's basic class, unset ones null, and the size of the body (D.2)."""
    headers = properties.headers
    return {
        "contentType": _text(properties.content_type),
        "contentEncoding": _text(properties.content_encoding),
        "headers": None if headers is None else {_text(name): encode_header(value) for name, value in headers.items()},
        "deliveryMode": properties.delivery_mode,
        "priority": properties.priority,
        "correlationId": _text(properties.correlation_id),
        "replyTo": _text(properties.reply_to),
        "expiration": _text(properties.expiration),
        "messageId": _text(properties.message_id),
        "timestamp": encode_timestamp(properties.timestamp),
        "type": _text(properties.type),
        "userId": _text(properties.user_id),
        "appId": _text(properties.app_id),
        "clusterId": _text(properties.cluster_id),
        "bodySize": body_size,
    }


def _text(value: str | bytes | None) -> str | None:
    return value.decode(errors="replace") if isinstance(value, bytes) else value  # pika gives bytes when not UTF-8


def to_record(
    method: Basic.Deliver, properties: BasicProperties, body: bytes, *, shard: Shard, position: int, generation: int
) -> Record:
    """One delivery as a record. `deliveries` is the quorum queue's own count; 0 where the queue does not count."""
    encoded = b'{"basicProperties":%b,"redelivered":%b,"data":"%b"}' % (
        json.dumps(encode_properties(properties, len(body)), separators=(",", ":")).encode(),
        b"true" if method.redelivered else b"false",
        b64encode(body),
    )
    return Record(
        shard=shard,
        position=position,
        timestamp=(properties.timestamp or 0) * 1000,
        key=None,
        value=body,
        headers=(),
        encoded=encoded,
        deliveries=_delivery_count(properties) if method.redelivered else 0,
        message_id=_text(properties.message_id),
        raw=(generation, method.delivery_tag),
    )


def _delivery_count(properties: BasicProperties) -> int:
    count = (properties.headers or {}).get("x-delivery-count", 0)
    return count if isinstance(count, int) else 0  # a publisher may have set anything, and the broker passes it on


def event_head(settings: RabbitMQSettings) -> bytes:
    """The event up to its messages."""
    arn, shard = json.dumps(settings.event_source_arn), json.dumps(settings.shard)
    return f'{{"eventSource":"aws:rmq","eventSourceArn":{arn},"rmqMessagesByQueue":{{{shard}:['.encode()


def build_event(head: bytes, records: Sequence[Record]) -> bytes:
    """The event of D.2: the messages in the order given."""
    return head + b",".join([record.encoded for record in records]) + b"]}}"


class ReturnedMessages:
    """How often messages of a classic queue were handed back, as the broker itself keeps no count of them (F.3).

    A message is known again by its messageId, else by a digest of its properties and body, so that identical messages
    without an id share one count. It remembers the last `capacity` messages; one that was forgotten, or came back from
    another consumer, counts as delivered once before.
    """

    def __init__(self, capacity: int = 10_000) -> None:
        self._capacity = capacity
        self._counts: OrderedDict[str | bytes, int] = OrderedDict()

    def count(self, record: Record) -> int:
        """Deliveries before this one of a message whose redelivered flag is set."""
        return self._counts.get(self._identity(record), 1)

    def add(self, record: Record) -> None:
        """Note that a message is handed back."""
        identity = self._identity(record)
        self._counts[identity] = record.deliveries + 1
        self._counts.move_to_end(identity)
        while len(self._counts) > self._capacity:
            self._counts.popitem(last=False)

    def forget(self, record: Record) -> None:
        """Note that a message is settled."""
        if self._counts:
            self._counts.pop(self._identity(record), None)

    @staticmethod
    def _identity(record: Record) -> str | bytes:
        if record.message_id is not None:
            return record.message_id
        before, _, after = record.encoded.rpartition(b'"redelivered":')
        return blake2b(before + after.partition(b",")[2], digest_size=16).digest()


# --- the consumer --------------------------------------------------------------------------------------------------

_NOT_FOUND = 404
_REFUSALS = {403: "EVENT_SOURCE_AUTHZ_ERROR", 405: "ESM_CONFIG_NOT_VALID"}
"""AMQP reply codes: access refused; locked, that is another connection's exclusive queue."""
_LAG_INTERVAL = 1.0
_CLOSE_TIMEOUT = 3.0


def acknowledgements(unsettled: Iterable[int], finished: Collection[int]) -> list[tuple[int, bool]]:
    """The `basic.ack`s, as delivery tag and `multiple`, that settle `finished` and nothing else. Pure.

    `multiple` settles everything older on the channel too, so one such ack covers only the run from the oldest
    unsettled message on; what follows the first gap is acknowledged one by one.
    """
    run: list[int] = []
    for tag in unsettled:
        if tag not in finished:
            break
        run.append(tag)
    first = [(run[-1], len(run) > 1)] if run else []
    return first + [(tag, False) for tag in sorted(set(finished).difference(run))]


class RabbitMQSource:
    """One consumer of one queue, on a connection of its own. See `poller.sources.Source` for the contract.

    After SourceUnavailable the caller closes and opens it again. The broker then delivers anew what was not settled,
    and what the caller still wants to settle from before is passed over.
    """

    features = Features(ordered=False, redelivers=True, rebalances=False)

    def __init__(self, settings: RabbitMQSettings) -> None:
        self._settings = settings
        self._event_head = event_head(settings)
        self._connection: pika.BlockingConnection | None = None
        self._channel: BlockingChannel | None = None
        self._generation = 0
        """Number of the channel: the delivery tags of an older one mean nothing on this one."""
        self._deliveries = 0
        self._arrived: deque[Record] = deque()
        self._unsettled: dict[int, None] = {}
        """Delivery tags in the order of delivery."""
        self._returned = ReturnedMessages()
        self._cancelled = False
        self._lag: dict[Shard, int] = {}
        self._lag_after = 0.0

    def open(self, listener: Listener) -> None:
        """Connect, find the queue, and consume; the queue is the one shard. Never declares the queue.

        Raises:
            SourceUnavailable: no broker answers within `connect_timeout`.
            SourceRejected: wrong credentials, no permission, no such virtual host or queue, or an exclusive queue.
        """
        settings = self._settings
        self._generation += 1
        self._cancelled = False
        try:
            with self._translated():
                self._connection = pika.BlockingConnection(self._parameters())
                self._channel = channel = self._connection.channel()
                self._look_at_queue(channel)
                channel.basic_qos(prefetch_count=settings.prefetch)
                channel.add_on_cancel_callback(self._on_cancelled)
                channel.basic_consume(settings.queue, self._on_message)
        except SourceError:
            self.close()
            raise
        listener.assigned([settings.shard])

    def _parameters(self) -> pika.ConnectionParameters:
        settings = self._settings
        return pika.ConnectionParameters(
            host=settings.host,
            port=settings.port,
            virtual_host=settings.virtual_host,
            credentials=pika.PlainCredentials(settings.username, settings.password),
            ssl_options=pika.SSLOptions(ssl.create_default_context(cafile=settings.ca_file), settings.host)
            if settings.tls
            else None,
            heartbeat=settings.heartbeat,
            socket_timeout=settings.connect_timeout,
            stack_timeout=settings.connect_timeout,
            client_properties={"connection_name": f"poller: {settings.queue}"},
        )

    def poll(self, max_wait: float) -> Sequence[Record]:
        """Messages that arrived, at most `prefetch` unsettled ones in all; answers the broker's heartbeats.

        Raises:
            SourceUnavailable: the connection or channel was lost, or the broker cancelled the consumer.
        """
        channel = self._opened()
        with self._translated():
            channel.connection.process_data_events(time_limit=max_wait)
            if channel.is_open and not self._cancelled and time.monotonic() >= self._lag_after:
                self._look_at_queue(channel)
        if self._cancelled:
            raise SourceUnavailable(f"RabbitMQ at {self._settings.address} cancelled the consumer of {self._queue}")
        if not channel.is_open:
            raise SourceUnavailable(f"RabbitMQ at {self._settings.address} closed the channel of {self._queue}")
        records = list(self._arrived)
        self._arrived.clear()
        return records

    @property
    def _queue(self) -> str:
        return f"queue {self._settings.queue!r} in virtual host {self._settings.virtual_host!r}"

    def _look_at_queue(self, channel: BlockingChannel) -> None:
        self._lag_after = time.monotonic() + _LAG_INTERVAL
        answer = channel.queue_declare(self._settings.queue, passive=True)
        self._lag = {self._settings.shard: answer.method.message_count}

    def _on_message(self, _: Any, method: Basic.Deliver, properties: BasicProperties, body: bytes) -> None:
        self._deliveries += 1
        number, generation = self._deliveries, self._generation
        record = to_record(method, properties, body, shard=self._settings.shard, position=number, generation=generation)
        if method.redelivered and not record.deliveries:
            record = record._replace(deliveries=self._returned.count(record))
        self._unsettled[method.delivery_tag] = None
        self._arrived.append(record)

    def _on_cancelled(self, _: Any) -> None:
        self._cancelled = True

    def pause(self, shards: Collection[Shard]) -> None:
        """Nothing: `prefetch` limits what may be unsettled."""

    def resume(self, shards: Collection[Shard]) -> None:
        """Nothing, as `pause`."""

    def acknowledge(self, progress: Progress) -> None:
        """Acknowledge messages: one `basic.ack` for the run of the oldest, one each for the others.

        Raises:
            SourceUnavailable: the connection or channel was lost; the broker delivers again what it did not hear of.
        """
        channel = self._opened()
        finished = self._current(progress.records)
        with self._translated():
            for tag, multiple in acknowledgements(self._unsettled, finished):
                channel.basic_ack(tag, multiple)
        self._settle(finished)
        for record in finished.values():
            self._returned.forget(record)

    def release(self, records: Sequence[Record]) -> None:
        """Hand messages back one by one with `basic.reject`, which all versions count as a failed delivery (F.3)."""
        channel = self._opened()
        current = self._current(records)
        with self._translated():
            for tag, record in current.items():
                self._returned.add(record)
                channel.basic_reject(tag, requeue=True)
        self._settle(current)

    def reject(self, records: Sequence[Record]) -> None:
        """Refuse messages for good: the broker dead-letters them, or drops them if the queue has no such exchange."""
        channel = self._opened()
        current = self._current(records)
        with self._translated():
            for tag, record in current.items():
                channel.basic_reject(tag, requeue=False)
                self._returned.forget(record)
        self._settle(current)

    def _current(self, records: Iterable[Record]) -> dict[int, Record]:
        """The records that are still unsettled on this channel, by delivery tag."""
        current: dict[int, Record] = {}
        stale = 0
        for record in records:
            generation, tag = record.raw
            if generation == self._generation and tag in self._unsettled:
                current[tag] = record
            else:
                stale += 1
        if stale:
            _log.debug("%d messages of %s are settled already or belong to a lost channel", stale, self._queue)
        return current

    def _settle(self, tags: Iterable[int]) -> None:
        for tag in tags:
            del self._unsettled[tag]

    def build_event(self, records: Sequence[Record]) -> bytes:
        """The event of D.2. Pure."""
        return build_event(self._event_head, records)

    def overhead(self, shards: int) -> int:  # noqa: ARG002 - a queue is one
        """Bytes of the event around its messages: the queue is the one shard there is. Exact."""
        return len(self._event_head) + len(b"]}}")

    def lag(self) -> dict[Shard, int]:
        """Messages ready in the queue, as the broker said within the last second or so of polling."""
        return self._lag

    def wake(self) -> None:
        """Make a waiting `poll` return at once. For any thread; nothing happens when there is no connection."""
        connection = self._connection
        if connection is not None:
            with suppress(pika_errors.AMQPError):
                connection.add_callback_threadsafe(lambda: None)

    def close(self) -> None:
        """Close the connection; the broker delivers unsettled messages again, to whom it may."""
        connection, self._connection, self._channel = self._connection, None, None
        if connection is not None and connection.is_open:
            impl = connection._impl  # noqa: SLF001 - close() alone waits for a hung broker until its heartbeats fail
            try:
                hung = pika_errors.StreamLostError("no answer to the close")
                impl._adapter_call_later(_CLOSE_TIMEOUT, lambda: impl._terminate_stream(hung))  # noqa: SLF001
                connection.close()
            except Exception as error:  # noqa: BLE001 - whatever is broken there, this connection is given up
                _log.warning(
                    "the connection to RabbitMQ at %s was not closed properly: %s", self._settings.address, error
                )
        self._arrived.clear()
        self._unsettled.clear()
        self._lag = {}

    def _opened(self) -> BlockingChannel:
        if self._channel is None:
            raise SourceUnavailable(f"not connected to RabbitMQ at {self._settings.address}")
        return self._channel

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """No error of the client leaves this file."""
        address = f"RabbitMQ at {self._settings.address}"
        try:
            yield
        except Exception as error:  # pika's have no common base
            text = str(error)
            if isinstance(error, pika_errors.ProbableAuthenticationError) and "ACCESS_REFUSED" in text:
                raise SourceRejected(f"{address} refuses the credentials", code="EVENT_SOURCE_AUTHN_ERROR") from error
            if isinstance(error, pika_errors.ProbableAccessDeniedError) and "NOT_ALLOWED" in text:
                code = "ESM_CONFIG_NOT_VALID" if "not found" in text else "EVENT_SOURCE_AUTHZ_ERROR"
                host = self._settings.virtual_host
                raise SourceRejected(f"{address} gives no access to virtual host {host!r}", code=code) from error
            if isinstance(error, pika_errors.ChannelClosedByBroker):
                # While a broker starts, a queue whose process is not up yet is "not found", too.
                if error.reply_code == _NOT_FOUND and "no queue" in text:
                    raise SourceRejected(f"{self._queue} does not exist on {self._settings.address}") from error
                if error.reply_code in _REFUSALS:
                    code = _REFUSALS[error.reply_code]
                    raise SourceRejected(f"{address} refuses {self._queue}: {error.reply_text}", code=code) from error
            raise SourceUnavailable(f"no connection to {address}: {error!r}") from error
