"""Queues of asynchronous events on one channel: declared when they are first needed, consumed while they are wanted.

For the link's thread; an object lives as long as its channel.
"""

# mypy: allow-untyped-calls
# pika's annotations have gaps.

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import pika
from pika.channel import Channel
from pika.spec import Basic

from poller.async_invoke.amqp_topology import Queue, Topology
from poller.async_invoke.rows import Kind

DECLARED_ANEW = 3600.0
"""Seconds after which a queue that expires is declared again when it is used; it lives for a day."""

RECORDS_AT_ONCE = 20
"""Records of a destination that are taken at the same time: they may have several MB."""

OnMessage = Callable[[int, pika.BasicProperties, bytes], None]


class Declarations:
    """Declares each queue once, with its exchange and binding."""

    def __init__(self, channel: Channel, topology: Topology) -> None:
        self._channel = channel
        self._declared: dict[str, float] = {}
        """When, in monotonic seconds, by name."""
        self._waiting: dict[str, list[Callable[[str], None]]] = {}
        for exchange in (topology.events_exchange, topology.delays_exchange):
            channel.exchange_declare(exchange, "topic", durable=True)

    def ensure(self, queue: Queue, then: Callable[[str], None]) -> None:
        """See that a queue is there; `then` is called with an empty text, or with the reason when it is not."""
        declared = self._declared.get(queue.name)
        if declared is not None and not (queue.expires and time.monotonic() - declared > DECLARED_ANEW):
            then("")
            return
        waiting = self._waiting.setdefault(queue.name, [])
        waiting.append(then)
        if len(waiting) == 1:
            done = partial(self._done, queue)
            bind = partial(self._channel.queue_bind, queue.name, queue.exchange, queue.binding_key, callback=done)
            self._channel.queue_declare(
                queue.name,
                durable=True,
                arguments=dict(queue.arguments),
                callback=(lambda _: bind()) if queue.exchange else done,
            )

    def forget(self, name: str) -> None:
        """Somebody has deleted it: declare it anew when it is needed."""
        self._declared.pop(name, None)

    def fail(self, reason: str) -> None:
        """The channel is gone."""
        waiting, self._waiting = self._waiting, {}
        for several in waiting.values():
            for then in several:
                then(reason)

    def _done(self, queue: Queue, _: Any) -> None:
        self._declared[queue.name] = time.monotonic()
        for then in self._waiting.pop(queue.name, []):
            then("")


@dataclass(frozen=True, slots=True)
class Consumption:
    """How a queue is to be consumed."""

    queue: Queue
    prefetch: int
    on_message: OnMessage


@dataclass(frozen=True, slots=True)
class Wanted:
    """What this program takes of a function, or of a version or alias that has destinations of its own."""

    events_at_once: int
    """0 for none: those of versions and aliases are their function's."""
    kinds: tuple[Kind, ...] = ()
    """Destinations that it has, other functions excepted."""


def consumptions(
    topology: Topology,
    wanted: Mapping[str, Wanted],
    also: Iterable[tuple[str, Kind]],
    on_message: Callable[[Queue, int, pika.BasicProperties, bytes], None],
) -> dict[str, Consumption]:
    """How to consume what is wanted, by queue's name.

    Args:
        topology: for the names.
        wanted: by function.
        also: destinations for which this program has made records, whether they are still configured or not.
        on_message: told of each message with its queue.
    """
    events = {topology.events(name): one.events_at_once for name, one in wanted.items() if one.events_at_once}
    lines = {*also, *((name, kind) for name, one in wanted.items() for kind in one.kinds)}
    records = dict.fromkeys((topology.records(*line) for line in lines), RECORDS_AT_ONCE)
    return {
        queue.name: Consumption(queue, prefetch, partial(on_message, queue))
        for queue, prefetch in (*events.items(), *records.items())
    }


class Consumers:
    """Consumers of one channel.

    Args:
        channel: whose deliveries they are.
        declarations: of the same channel.
        on_released: told when a queue is no longer consumed by this program, with its name.
    """

    def __init__(self, channel: Channel, declarations: Declarations, on_released: Callable[[str], None]) -> None:
        self._channel = channel
        self._declarations = declarations
        self._on_released = on_released
        self._wanted: dict[str, Consumption] = {}
        self._tags: dict[str, tuple[str, int]] = {}
        """Consumer tag and prefetch by queue's name."""
        channel.add_on_cancel_callback(self._on_cancelled)

    def want(self, wanted: Mapping[str, Consumption]) -> None:
        """Consume these, and no others."""
        self._wanted = dict(wanted)
        for name in list(self._tags):
            if name not in self._wanted:
                self._cancel(name)
                self._on_released(name)
        for consumption in list(self._wanted.values()):
            self._declarations.ensure(consumption.queue, partial(self._consume, consumption))

    def has(self, name: str) -> bool:
        """Whether the queue is consumed, or about to be."""
        return name in self._wanted

    def _consume(self, consumption: Consumption, reason: str) -> None:
        name = consumption.queue.name
        if reason or self._wanted.get(name) is not consumption:
            return
        known = self._tags.get(name)
        if known is not None:
            if known[1] == consumption.prefetch:
                return
            self._cancel(name)

        def on_message(_: Channel, method: Basic.Deliver, properties: pika.BasicProperties, body: bytes) -> None:
            assert method.delivery_tag is not None
            consumption.on_message(method.delivery_tag, properties, body)

        self._channel.basic_qos(prefetch_count=consumption.prefetch)  # holds for consumers that come after it
        tag = self._channel.basic_consume(name, on_message, callback=lambda _: None)
        self._tags[name] = tag, consumption.prefetch

    def _cancel(self, name: str) -> None:
        self._channel.basic_cancel(self._tags.pop(name)[0], callback=lambda _: None)

    def _on_cancelled(self, frame: Any) -> None:
        """The queue was deleted: it is declared anew with its next message, or the next look at what is wanted."""
        for name, (tag, _) in list(self._tags.items()):
            if tag == frame.method.consumer_tag:
                del self._tags[name], self._wanted[name]
                self._declarations.forget(name)
