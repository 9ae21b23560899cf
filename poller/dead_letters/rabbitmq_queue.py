"""The dead letters of a RabbitMQ queue: looked at and handed back, acknowledged when redriven, purged."""

# mypy: allow-untyped-calls
# pika's annotations have gaps.

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pika
from pika.adapters.blocking_connection import BlockingChannel

from poller.dead_letters.amqp_headers import exact_headers
from poller.dead_letters.filters import Filter
from poller.dead_letters.letter import Letter, Verbatim
from poller.dead_letters.rabbitmq_client import RabbitMQClient, translated
from poller.dead_letters.reading import letter_of_message

RETURNS = 10
"""Times that a quorum queue counted a letter as returned, from which on it is put back as a new message. Before
RabbitMQ 4.3 looking at a letter counts, and what is over the delivery limit, 20 by default, would be dropped."""

_PROPERTIES = (
    "content_type", "content_encoding", "headers", "delivery_mode", "priority", "correlation_id", "reply_to",
    "expiration", "message_id", "timestamp", "type", "user_id", "app_id", "cluster_id",
)  # fmt: skip


class RabbitMQLetters:
    """A dead-letter queue, as it is when `survey` is called. For one thread; everything blocks.

    What is looked at is held until `close`, so that it does not come twice, and then goes back to its place.

    Args:
        url: `amqp://user:password@host:port/vhost`, or `amqps://`.
        queue: its name; it is not declared.
    """

    def __init__(self, url: str, queue: str) -> None:
        self._client = RabbitMQClient(url)
        self._queue = queue
        self.url = url
        self.where = f"the queue {queue} on {self._client.where}"
        # One for as long as letters are held: another one would count their delivery tags anew.
        self._channel: BlockingChannel | None = None
        self._count = 0
        self._held: dict[str, int] = {}
        self._worn: dict[str, tuple[pika.BasicProperties, bytes]] = {}
        self._marked = 0

    def survey(self, wanted: Filter) -> int:  # noqa: ARG002 - nobody can tell without taking the messages
        """How many messages lie there: as many as there can be letters.

        Raises:
            LettersError: the broker or the queue is not there, or is not allowed.
        """
        with translated(self.where):
            self._channel = self._client.channel()
            self._count = self._ready()
        return self._count

    def letters(self, wanted: Filter, *, redriven: bool = False) -> Iterator[Letter]:  # noqa: ARG002 - they are gone
        """Those that the filter lets through, out of as many as `survey` saw. New ones are for the next run."""
        assert self._channel is not None
        for number in range(1, self._count + 1):
            with translated(self.where), exact_headers():
                method, properties, body = self._channel.basic_get(self._queue)
            if method is None or properties is None or body is None:
                return
            letter = letter_of_message(str(number), body=body, properties=_set_properties(properties))
            self._held[letter.id] = method.delivery_tag
            if _returns(properties) >= RETURNS:
                self._worn[letter.id] = (properties, body)
            if wanted.matches(letter):
                yield letter

    def find(self, letter: str) -> Letter | None:
        """One letter, by its number in the queue."""
        return next((found for found in self.letters(Filter()) if found.id == letter), None)

    def mark(self, letters: Sequence[Letter]) -> None:
        """Acknowledge, and return when the broker has forgotten the letters."""
        assert self._channel is not None
        with translated(self.where):
            for letter in letters:
                self._channel.basic_ack(self._held.pop(letter.id))
                self._worn.pop(letter.id, None)
            # An acknowledgement has no answer. What follows it on the same channel has one, and comes after it.
            self._ready()
        self._marked += len(letters)

    def marked(self, expected: int) -> int:  # noqa: ARG002 - `mark` has waited for it
        """Letters that the broker has forgotten since `survey`."""
        return self._marked

    def purge(self) -> int:
        """Delete all messages that nobody holds. Returns how many."""
        assert self._channel is not None
        with translated(self.where):
            count: int = self._channel.queue_purge(self._queue).method.message_count
            return count

    def beat(self) -> None:
        """Keep the connection alive during a pause."""
        self._client.beat()

    def close(self) -> None:
        """Hand back what is held, and leave."""
        try:
            if self._channel is not None and self._channel.is_open and self._held:
                with translated(self.where):
                    self._return_held(self._channel)
        finally:
            self._client.close()

    def _ready(self) -> int:
        assert self._channel is not None
        count: int = self._channel.queue_declare(self._queue, passive=True).method.message_count
        return count

    def _return_held(self, channel: BlockingChannel) -> None:
        for name, (properties, body) in self._worn.items():
            fresh = {**(properties.headers or {})}
            fresh.pop("x-delivery-count", None)
            properties.headers = fresh
            with exact_headers():
                channel.basic_publish("", self._queue, body, properties, mandatory=True)
            channel.basic_ack(self._held.pop(name))
        self._worn.clear()
        if self._held:
            # Returned, not left to the end of the connection: since RabbitMQ 4.3 only the latter counts.
            channel.basic_nack(max(self._held.values()), multiple=True, requeue=True)
            self._held.clear()
        self._ready()


def _returns(properties: pika.BasicProperties) -> int:
    count = (properties.headers or {}).get("x-delivery-count", 0)
    if isinstance(count, Verbatim):
        count = count.value
    return count if isinstance(count, int) else 0


def _set_properties(properties: pika.BasicProperties) -> dict[str, Any]:
    given = {name: getattr(properties, name) for name in _PROPERTIES}
    return {name: value for name, value in given.items() if value is not None}
