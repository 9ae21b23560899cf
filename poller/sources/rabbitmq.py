"""A RabbitMQ queue as an event source: takes messages, acknowledges in runs, hands failed ones back (D.2, F.3).

Settings and the translation into the event are in rabbitmq_event.py; here is the class with the I/O.
"""

# mypy: allow-untyped-calls
# pika's annotations have gaps.

from __future__ import annotations

import logging
import ssl
import time
from collections import OrderedDict, deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from hashlib import blake2b
from typing import Any

import pika
from pika import exceptions as pika_errors
from pika.adapters.blocking_connection import BlockingChannel
from pika.spec import Basic, BasicProperties

from poller.errors import SourceError, SourceRejected, SourceUnavailable
from poller.model import Progress, Record, Shard
from poller.sources import Features, Listener, amqp_table
from poller.sources.rabbitmq_event import RabbitMQSettings, build_event, event_head, prefetch_of, to_record

_log = logging.getLogger(__name__)


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
        self._shard = settings.shard
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
        self._prefetch = settings.prefetch
        self._consumer_tag = ""
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
                amqp_table.install()
                self._connection = pika.BlockingConnection(self._parameters())
                self._channel = channel = self._connection.channel()
                self._look_at_queue(channel)
                channel.add_on_cancel_callback(self._on_cancelled)
                self._consume(channel)
        except SourceError:
            self.close()
            raise
        listener.assigned([settings.shard])

    def _consume(self, channel: BlockingChannel) -> None:
        channel.basic_qos(prefetch_count=self._prefetch)  # holds for consumers that come after it
        self._consumer_tag = channel.basic_consume(self._settings.queue, self._on_message)

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
        record = to_record(method, properties, body, shard=self._shard, position=number, generation=generation)
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

    def expect(self, batch_size: int) -> None:
        """Let as many messages be unsettled as batches of that size want.

        What the broker sends in the moment of the change goes back to it, which a quorum queue counts as a delivery.
        """
        self._prefetch = prefetch_of(batch_size)
        if self._channel is not None:
            channel = self._channel
            with self._translated():
                channel.basic_cancel(self._consumer_tag)
                self._consume(channel)

    def drain(self, unstarted: Sequence[Record]) -> None:
        """Cancel the consumer and hand back what no handler has seen, with `basic.nack`.

        From RabbitMQ 4.3 on a quorum queue does not count that as a delivery (F.3).
        """
        channel = self._opened()
        current = self._current([*unstarted, *self._arrived])
        self._arrived.clear()
        with self._translated():
            channel.basic_cancel(self._consumer_tag)
            for tag in current:
                channel.basic_nack(tag, requeue=True)
        self._settle(current)

    def acknowledge(self, progress: Progress) -> bool:
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
        return True

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

    def partitions(self) -> int | None:
        """A queue has none."""
        return None

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
            if "CERTIFICATE_VERIFY_FAILED" in repr(error):
                reason = "has a certificate that is signed by an unknown authority or is not for this address"
                raise SourceRejected(f"{address} {reason}", code="EVENT_SOURCE_AUTHN_ERROR") from error
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
