"""A connection to RabbitMQ for dead letters: how it is made, kept alive and closed, and its errors in words."""

# mypy: allow-untyped-calls
# pika's annotations have gaps.

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import parse_qs, quote, unquote, urlsplit

import pika
from pika.adapters.blocking_connection import BlockingChannel

from poller.dead_letters.letter import LettersError
from poller.destinations.rabbitmq import CLIENT_ERRORS, reason

HEARTBEAT = 10
"""Seconds between signs of life. `RabbitMQClient.beat` has to be called more often than that."""

CONNECT_TIMEOUT = 5.0
"""Seconds for the TCP connection, and again for the AMQP handshake."""

BLOCKED_TIMEOUT = 10.0
"""Seconds that the broker may refuse publishers (memory or disk alarm)."""


class RabbitMQClient:
    """One connection with one channel that confirms what is published. For one thread.

    Args:
        url: `amqp://user:password@host:port/vhost`, or `amqps://`; then `?cacertfile=path` may stand behind it.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._parameters = pika.URLParameters(parts._replace(query="").geturl())
        self._tls = parts.scheme == "amqps"
        self._ca_file = next(iter(parse_qs(parts.query).get("cacertfile", [])), None)
        self._parameters.heartbeat = HEARTBEAT
        self._parameters.socket_timeout = CONNECT_TIMEOUT
        self._parameters.stack_timeout = CONNECT_TIMEOUT
        self._parameters.blocked_connection_timeout = BLOCKED_TIMEOUT
        self._parameters.connection_attempts = 1
        # Never with the password.
        self.where = f"RabbitMQ at {parts.hostname}:{self._parameters.port}, virtual host {self.virtual_host}"
        self._connection: pika.BlockingConnection | None = None
        self._channel: BlockingChannel | None = None
        self._beat_due = 0.0

    @property
    def virtual_host(self) -> str:
        """As RabbitMQ names it."""
        name: str = self._parameters.virtual_host
        return name

    def channel(self) -> BlockingChannel:
        """The channel; connects when there is none. Raises pika's errors."""
        if self._connection is None or not self._connection.is_open:
            if self._tls:
                context = ssl.create_default_context(cafile=self._ca_file)
                self._parameters.ssl_options = pika.SSLOptions(context, self._parameters.host)
            self._connection = pika.BlockingConnection(self._parameters)
            self._channel = None
        if self._channel is None or not self._channel.is_open:
            self._channel = self._connection.channel()
            self._channel.confirm_delivery()
        return self._channel

    def beat(self) -> None:
        """Answer the broker's signs of life; does nothing when it did so a moment ago."""
        if self._connection is not None and time.monotonic() >= self._beat_due:
            self._beat_due = time.monotonic() + HEARTBEAT / 4
            with suppress(*CLIENT_ERRORS):  # whoever uses it next is told
                self._connection.process_data_events(0)

    def close(self) -> None:
        """Leave the broker, which takes back what is not acknowledged."""
        connection, self._connection, self._channel = self._connection, None, None
        if connection is not None and connection.is_open:
            with suppress(*CLIENT_ERRORS):
                connection.close()


@contextmanager
def translated(where: str) -> Iterator[None]:
    """Errors of pika become a LettersError that begins with where they happened."""
    try:
        yield
    except CLIENT_ERRORS as error:
        raise LettersError(f"{where}: {reason(error)}") from error


def with_virtual_host(url: str, virtual_host: str) -> str:
    """The same broker and login at another virtual host."""
    parts = urlsplit(url)
    return parts._replace(path=f"/{quote(virtual_host, safe='')}").geturl()


def virtual_host_of(url: str) -> str:
    """As RabbitMQ names it; as in AMQP, no path means `/`."""
    return unquote(urlsplit(url).path[1:]) or "/"
