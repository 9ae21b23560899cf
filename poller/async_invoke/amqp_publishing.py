"""Publishing asynchronous events and records: their queues are seen to first, and whoever waits hears of the confirm.

For the link's thread where it is not said.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

import pika

from poller.async_invoke.amqp_consumers import Declarations
from poller.async_invoke.amqp_link import NO_QUEUE, Link
from poller.async_invoke.amqp_messages import event_message, record_message
from poller.async_invoke.amqp_topology import Queue, Topology
from poller.async_invoke.rows import Delivery, StoredEvent

CONFIRMED_WITHIN = 10.0
"""Seconds that the broker may take to confirm an event before its sender is told that it is not accepted."""

LOOK_FOR_TROUBLE = 0.25
"""Seconds between two looks whether the broker will confirm anything at all."""

TRY_AGAIN = 1.0
"""Seconds before what the broker refused is published again."""

ROUTED_WITHIN = (0.02, 0.1, 0.5)
"""Seconds before what went to no queue is published again, once its queues were declared anew.

A broker confirms a binding that another program is making before it routes by it; and a binding may have been deleted.
"""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message, and the queues that have to be there for it."""

    queues: tuple[Queue, ...]
    exchange: str
    key: str
    message: tuple[pika.BasicProperties, bytes]


def event_outgoing(topology: Topology, event: StoredEvent, milliseconds: int = 0) -> Outgoing:
    """An event, to be given out now or after that pause."""
    queues: tuple[Queue, ...] = (topology.events(event.function),)
    exchange = topology.events_exchange
    if milliseconds:
        queues, exchange = (*queues, topology.delay(milliseconds)), topology.delays_exchange
    return Outgoing(queues, exchange, topology.key(event.function, milliseconds), event_message(event))


def record_outgoing(topology: Topology, delivery: Delivery) -> Outgoing:
    """A record, for the queue of its destination."""
    queue = topology.records(delivery.function, delivery.kind)
    return Outgoing((queue,), "", queue.name, record_message(delivery))


def heard(confirmed: Future[str], link: Link) -> str:
    """Why a message is not known to be there; empty when it is. Blocks, on any thread but the link's."""
    for _ in range(round(CONFIRMED_WITHIN / LOOK_FOR_TROUBLE)):
        try:
            return confirmed.result(LOOK_FOR_TROUBLE)
        except TimeoutError:
            if link.trouble:  # a broker that is low on memory says so only after it was sent something
                return link.trouble
    return f"nothing was heard for {CONFIRMED_WITHIN:.0f} s"


class Publisher:
    """Publishes on the link's present channel."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._declarations: Declarations | None = None

    def use(self, declarations: Declarations | None) -> None:
        """There is a new channel, or none."""
        before, self._declarations = self._declarations, declarations
        if before is not None:
            before.fail(self._link.trouble or "the connection ended")

    def send(self, outgoing: Outgoing, on_result: Callable[[str], None]) -> None:
        """Publish so that the broker has it once, in a queue.

        `on_result` is called once: empty when the broker has it, else why it may not have it.
        """
        self._begin(outgoing, on_result, ROUTED_WITHIN)

    def send_all(self, messages: Sequence[Outgoing], what: str, on_all: Callable[[], None]) -> None:
        """Publish until all are confirmed, then say so; says nothing when the channel ends before.

        Args:
            messages: any number.
            what: they follow from, for the log.
            on_all: called once at most.
        """
        channel = self._declarations
        left = len(messages)

        def on_result(outgoing: Outgoing, refusal: str) -> None:
            nonlocal left
            if channel is not self._declarations:
                return
            if refusal:
                _log.error("what follows from %s is published again: %s", what, refusal)
                self._link.later(TRY_AGAIN, partial(send, outgoing))
                return
            left -= 1
            if not left:
                on_all()

        def send(outgoing: Outgoing) -> None:
            if channel is self._declarations:
                self.send(outgoing, partial(on_result, outgoing))

        for outgoing in messages:
            send(outgoing)
        if not messages:
            on_all()

    def _begin(self, outgoing: Outgoing, on_result: Callable[[str], None], pauses: Sequence[float]) -> None:
        """See to the queues and publish; after those pauses again while it goes to no queue."""
        declarations = self._declarations

        def on_published(refusal: str) -> None:
            if refusal and declarations is not None:  # somebody may have deleted them
                for queue in outgoing.queues:
                    declarations.forget(queue.name)
            if refusal == NO_QUEUE and pauses:
                self._link.later(pauses[0], again)
            else:
                on_result(refusal)

        def again() -> None:
            if declarations is self._declarations:
                self._begin(outgoing, on_result, pauses[1:])
            else:  # what it follows from comes again over the new connection, and would bring it a second time
                on_result(self._link.trouble or "the connection ended")

        self._ensure(outgoing, 0, on_published)

    def _ensure(self, outgoing: Outgoing, done: int, on_published: Callable[[str], None], refusal: str = "") -> None:
        """Declare the queues from number `done` on, then publish."""
        declarations = self._declarations
        if refusal or declarations is None:
            on_published(refusal or self._link.trouble or "the connection ended")
        elif done < len(outgoing.queues):
            declarations.ensure(outgoing.queues[done], lambda why: self._ensure(outgoing, done + 1, on_published, why))
        else:
            self._link.publish(outgoing.exchange, outgoing.key, outgoing.message, on_published)
