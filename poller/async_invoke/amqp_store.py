"""Asynchronous events on a RabbitMQ broker, where several pollers take them from: the setting `AsyncQueue` (B.1).

An event is a message, in the queue of its function or in one of those that hold messages back. It is acknowledged only
once what follows from it, the event again or the records that it leaves, is confirmed by the broker; so whatever ends
this program, the event is there, and another poller or the next start takes it. Names: see `amqp_topology`.
"""

# mypy: allow-untyped-calls
# pika's annotations have gaps.

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial

import pika
from pika.channel import Channel

from poller.async_invoke.amqp_consumers import Consumers, Declarations, Wanted, consumptions
from poller.async_invoke.amqp_held import Held, HeldMessages
from poller.async_invoke.amqp_link import Link
from poller.async_invoke.amqp_messages import NotOurs, read_event, read_record
from poller.async_invoke.amqp_publishing import Outgoing, Publisher, event_outgoing, heard, record_outgoing
from poller.async_invoke.amqp_topology import Queue, Topology
from poller.async_invoke.rows import Delivery, Kind, StoredEvent
from poller.clock import Clock
from poller.errors import StateError
from poller.model import InvocationResult
from poller.policy.async_delays import pause_of, pauses
from poller.policy.async_events import Again

SETTLED_WITHIN = 5.0
"""Seconds that the first event waits for the connection after the start."""

LOOK_AGAIN = 5.0
"""Seconds until it is asked again which functions there are."""

BACK_WITHIN = 30.0
"""Seconds after a new connection in which messages of the one before may come back here."""

_log = logging.getLogger(__name__)


class RabbitMQStore:
    """As `EventStore`. Connects when it is made, and never gives up connecting.

    Args:
        url: complete, as `endpoints.rabbitmq_url` gives it.
        topology: names of the queues.
        wanted: functions of this program, as they are now; called on the link's thread, must be quick.
        time_scale: of the settings.
        clock: when a message came.
    """

    def __init__(
        self,
        url: str,
        topology: Topology,
        wanted: Callable[[], Mapping[str, Wanted]],
        *,
        time_scale: float,
        clock: Clock,
    ) -> None:
        self._topology = topology
        self._wanted = wanted
        self._pauses = pauses(time_scale)
        self._clock = clock
        self._held = HeldMessages()
        self._on_event: Callable[[str], None] = lambda _: None
        self._on_record: Callable[[str, Kind], None] = lambda *_: None
        self._consumes = False
        self._lines: set[tuple[str, Kind]] = set()
        """Destinations for which there were records."""
        # Owned by the link's thread; new with each channel.
        self._epoch = 0
        self._channel: Channel | None = None
        self._consumers: Consumers | None = None
        self._link = Link(url, self._on_up, self._on_down)
        self._publisher = Publisher(self._link)
        self._link.start()

    # --- any thread ---------------------------------------------------------------------------------------------------

    @property
    def alive(self) -> bool:
        """Whether the link's thread runs."""
        return self._link.alive

    @property
    def problem(self) -> str | None:
        """As `EventStore`."""
        link = self._link
        known = f"{link.where}: {link.trouble}" if link.trouble else ""
        return known if link.settled.is_set() else None

    def start(self, on_event: Callable[[str], None], on_record: Callable[[str, Kind], None]) -> None:
        """As `EventStore`; consumes from now on."""
        self._on_event, self._on_record = on_event, on_record

        def consume() -> None:
            self._consumes = True
            self._consume_what_is_wanted()

        self._link.call(consume)

    def accept(self, event: StoredEvent) -> None:
        """As `EventStore`: returns when the broker has confirmed the event."""
        link = self._link
        link.settled.wait(SETTLED_WITHIN)
        if link.trouble:
            raise StateError(f"{link.where}: {link.trouble}: asynchronous events are not accepted")
        confirmed: Future[str] = Future()
        outgoing = event_outgoing(self._topology, event)

        def publish() -> None:
            self._see_to([outgoing])
            self._publisher.send(outgoing, confirmed.set_result)

        link.call(publish)
        if refusal := heard(confirmed, link):
            raise StateError(f"{link.where} did not confirm the event: {refusal}")

    def postpone(
        self,
        event: StoredEvent,
        again: Again,
        answers: tuple[InvocationResult | None, InvocationResult | None],
        on_done: Callable[[], None],
    ) -> None:
        """As `EventStore`: the event goes to a queue that holds it back."""
        answer, delay = answers
        later = replace(event, standing=again.standing, due=again.due, answer=answer, delay=delay)
        outgoing = event_outgoing(self._topology, later, pause_of(again.pause, self._pauses))
        self._link.call(lambda: self._settle(event.id, [outgoing], on_done))

    def finish(
        self,
        event: StoredEvent,
        deliveries: Sequence[Delivery],
        events: Sequence[StoredEvent],
        on_done: Callable[[], None],
    ) -> None:
        """As `EventStore`: the event is acknowledged once all that it leaves is confirmed."""
        outgoing = [record_outgoing(self._topology, delivery) for delivery in deliveries]
        outgoing += [event_outgoing(self._topology, following) for following in events]

        def settle() -> None:
            self._lines.update((delivery.function, delivery.kind) for delivery in deliveries)
            self._settle(event.id, outgoing, on_done)

        self._link.call(settle)

    def delivered(self, delivery: Delivery, on_done: Callable[[], None]) -> None:
        """As `EventStore`."""
        self._link.call(lambda: self._settle(delivery.id, [], on_done))

    def bring_forward(self, latest: float, on_done: Callable[[], None]) -> None:
        """Nothing to do: the broker measures times, and writes none down."""
        del latest
        on_done()

    def functions(self) -> list[str]:
        """As `EventStore`: those of which something is in this program's hands."""
        return [function for function, kind in self._held.lines() if kind is None]

    def due(self, function: str, now: float, limit: int, without: Collection[int]) -> list[StoredEvent]:
        """As `EventStore`: the broker gives out only what is due."""
        del now
        return self._held.events(function, limit, without)

    def next_due(self, function: str, without: Collection[int]) -> None:
        """It is told by `on_event`."""
        del function, without

    def kinds(self) -> list[tuple[str, Kind]]:
        """As `EventStore`."""
        return [(function, kind) for function, kind in self._held.lines() if kind is not None]

    def deliveries(self, function: str, kind: Kind, after: int, most: int, most_bytes: int) -> list[Delivery]:
        """As `EventStore`: at most `RECORDS_AT_ONCE` are in memory anyway."""
        del most_bytes
        return self._held.records(function, kind, most, after)

    def leave(self) -> None:
        """As `EventStore`: what is not begun goes back to the broker."""

        def leave() -> None:
            self._consumes = False
            if self._consumers is not None:
                self._consumers.want({})
                self._give_back(None)

        self._link.call(leave)

    def close(self) -> None:
        """As `EventStore`: what is not settled goes back to the broker."""
        self._link.stop(SETTLED_WITHIN)

    # --- the link's thread --------------------------------------------------------------------------------------------

    def _on_up(self, channel: Channel) -> None:
        self._epoch += 1
        self._channel = channel
        declarations = Declarations(channel, self._topology)
        self._publisher.use(declarations)
        self._consumers = Consumers(channel, declarations, self._give_back)
        self._look(self._epoch)
        self._link.later(BACK_WITHIN, partial(self._give_up_lost, self._epoch))

    def _on_down(self) -> None:
        self._channel = self._consumers = None
        self._held.lose_all()
        self._publisher.use(None)

    def _give_up_lost(self, epoch: int) -> None:
        """What has not come back by now is somebody else's, and they do what is to be done."""
        if epoch != self._epoch or self._channel is None:
            return
        for held in self._held.give_up():
            _log.warning("%s is no longer this program's: another one tries it again", held.item.request_id)
            if held.on_done is not None:
                held.on_done()

    def _look(self, epoch: int) -> None:
        """Now and again, as functions come and go."""
        if epoch == self._epoch and self._channel is not None:
            self._consume_what_is_wanted()
            self._link.later(LOOK_AGAIN, partial(self._look, epoch))

    def _consume_what_is_wanted(self) -> None:
        if self._consumers is None or not self._consumes:
            return
        self._consumers.want(consumptions(self._topology, self._wanted(), self._lines, self._on_message))

    def _see_to(self, messages: Sequence[Outgoing]) -> None:
        """Consume the queues of messages at once, where they are the first of a new function or destination."""
        consumers = self._consumers
        names = (queue.name for outgoing in messages for queue in outgoing.queues if not queue.expires)
        if consumers is not None and not all(map(consumers.has, names)):
            self._consume_what_is_wanted()

    def _on_message(self, queue: Queue, tag: int, properties: pika.BasicProperties, body: bytes) -> None:
        item: StoredEvent | Delivery
        try:
            is_event = queue.exchange == self._topology.events_exchange
            item = read_event(properties, body, self._clock.time()) if is_event else read_record(properties, body)
        except NotOurs as error:
            _log.error("a message in the queue %s is thrown away: %s", queue.name, error)
            self._acknowledge(tag)
            return
        known = self._held.add(item, queue.name, tag)
        if known is not None:
            if known.outcome is not None:
                known.outcome()
        elif isinstance(item, StoredEvent):
            self._on_event(item.function)
        else:
            self._on_record(item.function, item.kind)

    def _give_back(self, queue: str | None) -> None:
        for tag in self._held.give_back(queue):
            if self._channel is not None and self._channel.is_open:
                self._channel.basic_nack(tag, requeue=True)

    def _acknowledge(self, tag: int) -> None:
        if self._channel is not None and self._channel.is_open:
            self._channel.basic_ack(tag)

    def _settle(self, row: int, messages: Sequence[Outgoing], on_done: Callable[[], None]) -> None:
        """Publish what follows from a message, then acknowledge it."""
        held = self._held.get(row)
        if held is None:  # somebody else's by now
            on_done()
            return
        held.on_done = on_done
        held.outcome = partial(self._settle, row, messages, on_done)
        if held.tag is not None:  # else it is carried out when the message is back
            self._see_to(messages)
            self._publisher.send_all(messages, held.item.request_id, partial(self._settled, row, held))

    def _settled(self, row: int, held: Held) -> None:
        on_done = held.on_done
        assert on_done is not None
        held.outcome = partial(self._settle, row, [], on_done)  # should the connection end before it is acknowledged
        if held.tag is not None:
            self._acknowledge(held.tag)
            self._held.remove(row)
            on_done()
