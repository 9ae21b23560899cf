"""A RabbitMQ queue as an event source: takes messages, acknowledges in runs, hands failed ones back (D.2, F.3).

Settings and the translation into the event are in rabbitmq_event.py; here is the class with the I/O.
"""

# mypy: allow-untyped-calls
# pika's annotations have gaps.

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import Any, NoReturn

import pika
from pika import exceptions as pika_errors
from pika.adapters.blocking_connection import BlockingChannel

from poller.errors import SourceError, SourceRejected, SourceUnavailable
from poller.model import Progress, Record, Shard
from poller.sources import Features, Listener, amqp_frames, amqp_table
from poller.sources.amqp_deliveries import Deliveries, Delivery
from poller.sources.rabbitmq_event import RabbitMQSettings, build_event, event_head, prefetch_of
from poller.sources.rabbitmq_queue_type import QueueType, queue_type
from poller.sources.rabbitmq_records import RecordReader
from poller.sources.rabbitmq_refusals import is_stream, name_of, translated
from poller.sources.rabbitmq_returned import ReturnedMessages
from poller.sources.rabbitmq_unsettled import Unsettled

_log = logging.getLogger(__name__)


_LAG_INTERVAL = 1.0
_CLOSE_TIMEOUT = 3.0
_GATHERING = 0.005
"""Seconds: a hundredth of the default window."""


def _seen_by_pika(*_: Any) -> NoReturn:
    """What pika calls with a delivery: it sees none, as `amqp_frames` takes them before."""
    raise AssertionError("a delivery went past its consumer")


class RabbitMQSource:
    """One consumer of one queue, on a connection of its own. See `poller.sources.Source` for the contract.

    After SourceUnavailable the caller closes and opens it again. The broker then delivers anew what was not settled,
    and what the caller still wants to settle from before is passed over.
    """

    features = Features(ordered=False, redelivers=True, rebalances=False, wakes=True)

    def __init__(
        self, settings: RabbitMQSettings, renewed: Callable[[], RabbitMQSettings | None] = lambda: None
    ) -> None:
        """`renewed` gives the settings with a login that was read anew; None where that cannot be, so that it stays."""
        self._settings = settings
        self._renewed = renewed
        self._event_head = event_head(settings)
        self._reader = RecordReader(settings.shard)
        self._connection: pika.BlockingConnection | None = None
        self._frames: amqp_frames.Frames | None = None
        self._channel: BlockingChannel | None = None
        self._deliveries = 0
        self._arrived: list[Delivery] = []
        self._unsettled = Unsettled()
        self._returned = ReturnedMessages()
        self._cancelled = False
        self._woken = False
        """Somebody called `wake` since the last poll began. Set by any thread."""
        self._type: QueueType | None = None
        """None until the broker was asked."""
        self._prefetch = settings.prefetch
        self._consumer_tag = ""
        self._consumers = 0
        self._lag: dict[Shard, int] = {}
        self._lag_after = 0.0

    def open(self, listener: Listener) -> None:
        """Connect, find the queue, and consume; the queue is the one shard. Never declares the queue.

        Raises:
            SourceUnavailable: no broker answers within `connect_timeout`.
            SourceRejected: wrong credentials, no permission, no such virtual host or queue, a queue that another has
                exclusively, or a stream.
        """
        settings = self._settings
        self._unsettled.begin()
        self._cancelled = False
        try:
            with translated(self._settings):
                amqp_table.install()
                self._connection = pika.BlockingConnection(self._parameters())
                self._frames = amqp_frames.install(self._connection)
                self._channel = channel = self._connection.channel()
                self._look_at_queue(channel)
                self._learn_type(self._connection)
                channel.add_on_cancel_callback(self._on_cancelled)
                self._consume(channel)
        except SourceRejected:
            self._type = None  # it may be another queue when it is there again
            self.close()
            raise
        except SourceError:
            self.close()
            raise
        listener.assigned([settings.shard])

    def _consume(self, channel: BlockingChannel) -> None:
        assert self._frames is not None, "the connection is open"
        channel.basic_qos(prefetch_count=self._prefetch)  # holds for consumers that come after it
        self._consumers += 1
        self._consumer_tag = f"poller-{self._consumers}"
        self._frames.consumer = Deliveries(channel.channel_number, self._consumer_tag, self._arrived)
        channel.basic_consume(self._settings.queue, _seen_by_pika, consumer_tag=self._consumer_tag)

    def _learn_type(self, connection: pika.BlockingConnection) -> None:
        if self._type is None:
            self._type = queue_type(connection, self._settings.queue)
        if self._type == "stream":
            raise is_stream(self._settings)

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

    def renew_login(self) -> None:
        """Take the settings anew from where they come from."""
        if (settings := self._renewed()) is not None:
            self._settings = settings

    def poll(self, max_wait: float) -> Sequence[Record]:
        """Messages that arrived, at most `prefetch` unsettled ones in all; answers the broker's heartbeats.

        Raises:
            SourceUnavailable: the connection or channel was lost, or the broker cancelled the consumer.
        """
        channel = self._opened()
        with translated(self._settings):
            self._woken = False
            channel.connection.process_data_events(time_limit=max_wait)
            if self._arrived and not self._woken:
                self._gather(channel, min(max_wait, _GATHERING))
            if channel.is_open and not self._cancelled and time.monotonic() >= self._lag_after:
                self._look_at_queue(channel)
        if self._cancelled:
            reason = "it was deleted, or its leader moved"
            raise SourceUnavailable(
                f"RabbitMQ at {self._settings.address} cancelled the consumer of {self._queue}: {reason}"
            )
        if not channel.is_open:
            raise SourceUnavailable(f"RabbitMQ at {self._settings.address} closed the channel of {self._queue}")
        with translated(self._settings):
            return self._take_arrived()

    def _gather(self, channel: BlockingChannel, wait: float) -> None:
        """Wait a moment for what a batch lacks, while earlier messages are in work or wait for the same.

        The broker sends a few at a time, and to take them up one by one costs more than all the rest. `wake` ends this
        waiting as any other.
        """
        held = len(self._unsettled)
        batch = max(1, self._prefetch // 2)
        lacking = min(batch - held % batch, self._prefetch - held)
        if wait and held and len(self._arrived) < lacking and self._frames is not None:
            self._frames.enough = lacking
            try:
                channel.connection.process_data_events(time_limit=wait)
            finally:
                self._frames.enough = 1

    @property
    def _queue(self) -> str:
        return name_of(self._settings)

    def _look_at_queue(self, channel: BlockingChannel) -> None:
        self._lag_after = time.monotonic() + _LAG_INTERVAL
        answer = channel.queue_declare(self._settings.queue, passive=True)
        self._lag = {self._settings.shard: answer.method.message_count}

    def _take_arrived(self) -> list[Record]:
        arrived = self._arrived
        if not arrived:
            return []
        first, self._deliveries = self._deliveries + 1, self._deliveries + len(arrived)
        records = self._reader.to_records(arrived, position=first, generation=self._unsettled.generation)
        self._unsettled.add([tag for tag, *_ in arrived])
        for at, (_, redelivered, _, _) in enumerate(arrived):
            if redelivered and (not records[at].deliveries or self._type == "classic"):
                # A classic queue does not count: a header with a count came with the message, from wherever it was
                # before.
                records[at] = records[at]._replace(deliveries=self._returned.count(records[at]))
        arrived.clear()
        return records

    def _on_cancelled(self, _: Any) -> None:
        self._cancelled = True
        self._type = None  # another queue may have its name by now

    def pause(self, shards: Collection[Shard]) -> None:
        """Nothing: `prefetch` limits what may be unsettled."""

    def resume(self, shards: Collection[Shard]) -> None:
        """Nothing, as `pause`."""

    def expect(self, batch_size: int) -> None:
        """Let as many messages be unsettled as batches of that size want."""
        self._prefetch = prefetch_of(batch_size)
        if self._channel is not None:
            channel = self._channel
            with translated(self._settings):
                channel.basic_cancel(self._consumer_tag)
                self._consume(channel)

    def drain(self, unstarted: Sequence[Record]) -> None:
        """Cancel the consumer and hand back what no handler has seen, with `basic.nack`.

        From RabbitMQ 4.3 on a quorum queue does not count that as a delivery (F.3).
        """
        channel = self._opened()
        current = self._unsettled.of(unstarted)
        with translated(self._settings):
            channel.basic_cancel(self._consumer_tag)
            for tag in [*current, *(tag for tag, *_ in self._arrived)]:
                channel.basic_nack(tag, requeue=True)
        self._arrived.clear()
        self._unsettled.settle(current)

    def acknowledge(self, progress: Progress) -> bool:
        """Acknowledge messages: one `basic.ack` for the run of the oldest, one each for the others.

        Raises:
            SourceUnavailable: the connection or channel was lost; the broker delivers again what it did not hear of.
        """
        channel = self._opened()
        finished = self._unsettled.of(progress.records)
        with translated(self._settings):
            for tag, multiple in self._unsettled.acknowledgements(finished):
                channel.basic_ack(tag, multiple)
        self._unsettled.settle(finished)
        self._returned.forget(finished.values())
        return True

    def release(self, records: Sequence[Record]) -> None:
        """Hand messages back one by one with `basic.reject`, which all versions count as a failed delivery (F.3)."""
        channel = self._opened()
        current = self._unsettled.of(records)
        with translated(self._settings):
            for tag, record in current.items():
                self._returned.add(record)
                channel.basic_reject(tag, requeue=True)
        self._unsettled.settle(current)

    def reject(self, records: Sequence[Record]) -> None:
        """Refuse messages for good: the broker dead-letters them, or drops them if the queue has no such exchange."""
        channel = self._opened()
        current = self._unsettled.of(records)
        with translated(self._settings):
            for tag in current:
                channel.basic_reject(tag, requeue=False)
        self._unsettled.settle(current)
        self._returned.forget(current.values())

    def build_event(self, records: Sequence[Record]) -> bytes:
        """The event of D.2. Pure."""
        return build_event(self._event_head, records)

    def overhead(self, shards: int) -> int:  # noqa: ARG002 - a queue is one
        """Bytes of the event around its messages: the queue is the one shard there is. Exact."""
        return len(self._event_head) + len(b"]}}")

    def lag(self, *, ask: bool = True) -> dict[Shard, int]:  # noqa: ARG002 - nobody is asked
        """Messages ready in the queue, as the broker said within the last second or so of polling."""
        return self._lag

    def partitions(self) -> int | None:
        """A queue has none."""
        return None

    def wake(self) -> None:
        """Make a waiting `poll` return at once. For any thread; nothing happens when there is no connection."""
        connection = self._connection
        self._woken = True
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
        self._frames = None
        self._arrived.clear()
        self._lag = {}

    def _opened(self) -> BlockingChannel:
        if self._channel is None:
            raise SourceUnavailable(f"not connected to RabbitMQ at {self._settings.address}")
        return self._channel
