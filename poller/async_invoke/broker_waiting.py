"""What waits in the queues of `AsyncQueue`, for somebody who looks from outside: counts, and emptying them.

AMQP lets nobody look into a queue without taking messages out, so single events are neither shown nor purged.
"""

# mypy: allow-untyped-calls
# pika's annotations have gaps.

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import ChannelClosedByBroker

from poller.async_invoke.amqp_client import parameters_of
from poller.destinations.rabbitmq import CLIENT_ERRORS, reason
from poller.errors import StateError

NOT_FOUND = 404


def looked_at(url: str, names: Iterable[str]) -> dict[str, int | None]:
    """Messages that are ready in each of these queues; None where there is no such queue. Blocks for some seconds.

    Messages that are in a program's hands are not counted: the broker does not tell of them in this way.

    Raises:
        StateError: the broker cannot be asked.
    """
    return _each(url, names, lambda channel, name: channel.queue_declare(name, passive=True).method.message_count)


def emptied(url: str, names: Iterable[str]) -> dict[str, int | None]:
    """Throw away what is ready in each of these queues; as `looked_at`, of what is gone."""
    return _each(url, names, lambda channel, name: channel.queue_purge(name).method.message_count)


def _each(url: str, names: Iterable[str], ask: Callable[[BlockingChannel, str], Any]) -> dict[str, int | None]:
    found: dict[str, int | None] = {}
    with _connected(url) as connection:
        channel = connection.channel()
        for name in names:
            try:
                found[name] = int(ask(channel, name))
            except ChannelClosedByBroker as error:
                if error.reply_code != NOT_FOUND:
                    raise
                found[name] = None
                channel = connection.channel()  # RabbitMQ ends a channel that asked for what is not there
    return found


@contextmanager
def _connected(url: str) -> Iterator[pika.BlockingConnection]:
    try:
        connection = pika.BlockingConnection(parameters_of(url))
        try:
            yield connection
        finally:
            if connection.is_open:
                connection.close()
    except CLIENT_ERRORS as error:
        raise StateError(f"the broker of AsyncQueue cannot be asked: {reason(error)}") from None
