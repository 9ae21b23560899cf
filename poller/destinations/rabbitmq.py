"""Dead letters to a RabbitMQ exchange: persistent, mandatory, with publisher confirms."""

# mypy: allow-untyped-calls
# pika is annotated in part.

from __future__ import annotations

import logging
import ssl
from collections.abc import Sequence
from urllib.parse import parse_qs, urlsplit

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.adapters.utils.connection_workflow import AMQPConnectorException, AMQPConnectorPhaseErrorBase
from pika.exceptions import (
    AMQPError,
    ChannelClosed,
    ChannelClosedByBroker,
    ConnectionClosed,
    NackError,
    ProbableAuthenticationError,
    UnroutableError,
)

from poller.errors import DestinationError, DestinationLoginRefused, DestinationRefused
from poller.model import DeadLetter

HEARTBEAT = 5
"""Seconds. A broker that goes silent while a letter is under way is given up within 20 s: two of pika's checks."""

CONNECT_TIMEOUT = 5.0
"""Seconds for the TCP connection, and again for the AMQP handshake."""

BLOCKED_TIMEOUT = 10.0
"""Seconds that the broker may refuse publishers (`connection.blocked`: memory or disk alarm) before `send` fails."""

_PRECONDITION_FAILED = 406

CLIENT_ERRORS = (AMQPError, AMQPConnectorException, OSError)
"""What pika raises. Errors of connecting are no AMQPErrors when they come from a time-out."""

_log = logging.getLogger(__name__)


class RabbitMQDestination:
    """One exchange and routing key. Connects at the first `send` and stays connected.

    Heartbeats are served only inside `send`, so the broker ends a connection that is idle for longer than `HEARTBEAT`
    allows. That is noticed at the next `send`, which connects anew; a caller that knows it is idle should `close`.

    Header values that are UTF-8 become AMQP strings, others byte arrays; of a repeated name the last value counts, as
    an AMQP table has each name once. Keys have no place in AMQP: the record says them. A letter that is over the
    broker's max_message_size is sent again without its payload.

    Args:
        url: `amqp://user:password@host:port/vhost`, or `amqps://`; then `?cacertfile=path` may stand behind it.
        exchange: the empty name is the default exchange, whose routing keys are queues.
        routing_key: of every letter.
    """

    def __init__(self, url: str, exchange: str, routing_key: str) -> None:
        parts = urlsplit(url)
        self._parameters = pika.URLParameters(parts._replace(query="").geturl())
        self._tls = parts.scheme == "amqps"
        self._ca_file = next(iter(parse_qs(parts.query).get("cacertfile", [])), None)
        self._parameters.heartbeat = HEARTBEAT
        self._parameters.socket_timeout = CONNECT_TIMEOUT
        self._parameters.stack_timeout = CONNECT_TIMEOUT
        self._parameters.blocked_connection_timeout = BLOCKED_TIMEOUT
        self._parameters.connection_attempts = 1
        self._exchange = exchange
        self._routing_key = routing_key
        self._connection: pika.BlockingConnection | None = None
        self._channel: BlockingChannel | None = None

    def send(self, letters: Sequence[DeadLetter]) -> None:
        """Publish one by one, each confirmed by the broker; blocks.

        Raises:
            DestinationError: a letter went to no queue, was refused, or was not confirmed.
        """
        fresh = self._channel is None
        for letter in letters:
            try:
                self._publish(letter)
            except DestinationError:
                if fresh:
                    raise
                # The connection is an old one and may have ended since it was last used: that is no news.
                self._publish(letter)
            fresh = True

    def close(self) -> None:
        """Leave the broker."""
        connection, self._connection, self._channel = self._connection, None, None
        if connection is None:
            return
        try:
            if connection.is_open:
                connection.close()
        except CLIENT_ERRORS as error:
            _log.debug("closing the connection to %s: %s", self._where, reason(error))

    @property
    def _where(self) -> str:
        """The target for a person; without the password."""
        parameters = self._parameters
        exchange = f"exchange {self._exchange}" if self._exchange else "the default exchange"
        return (
            f"{exchange}, routing key {self._routing_key!r}, "
            f"on RabbitMQ at {parameters.host}:{parameters.port}, virtual host {parameters.virtual_host}"
        )

    def _publish(self, letter: DeadLetter) -> None:
        try:
            self._publish_body(letter, letter.body)
        except DestinationError as error:
            if letter.without_payload is None or not _is_too_large(error.__cause__):
                raise
        else:
            return
        self._publish_body(letter, letter.without_payload)
        _log.warning(
            "a dead letter went to %s without its payload, which is over max_message_size of the broker; "
            "the record can still be read where it came from, if that keeps it",
            self._where,
        )

    def _publish_body(self, letter: DeadLetter, body: bytes) -> None:
        properties = pika.BasicProperties(
            content_type="application/json",
            delivery_mode=pika.DeliveryMode.Persistent,
            headers={name: _header(value) for name, value in letter.headers},
        )
        try:
            self._connect().basic_publish(self._exchange, self._routing_key, body, properties, mandatory=True)
        except CLIENT_ERRORS as error:
            self.close()
            text = f"dead letters cannot be sent to {self._where}: {reason(error)}"
            if _is_too_large(error):
                raise DestinationRefused(text, "Record") from error
            kind = DestinationLoginRefused if isinstance(error, ProbableAuthenticationError) else DestinationError
            raise kind(text) from error

    def _connect(self) -> BlockingChannel:
        if self._channel is None:
            if self._tls:
                context = ssl.create_default_context(cafile=self._ca_file)
                self._parameters.ssl_options = pika.SSLOptions(context, self._parameters.host)
            self._connection = pika.BlockingConnection(self._parameters)
            channel = self._connection.channel()
            channel.confirm_delivery()
            self._channel = channel
        return self._channel


def _header(value: bytes) -> str | bytes:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


def _is_too_large(error: BaseException | None) -> bool:
    return (
        isinstance(error, ChannelClosedByBroker)
        and error.reply_code == _PRECONDITION_FAILED
        and "message size" in error.reply_text
    )


def reason(error: Exception) -> str:
    """An error of pika's in words."""
    match error:
        case UnroutableError():
            return "no queue is bound for this routing key: declare the queue and its binding"
        case NackError():
            return "the broker refused it (a full queue with overflow reject-publish, or a queue without a leader)"
        case ChannelClosed() | ConnectionClosed():
            return f"{error.reply_code} {error.reply_text}"
    # Connection errors of pika wrap one another; the innermost has the text.
    inner: object = error
    while isinstance(inner, Exception):
        error = inner
        inner = error.exception if isinstance(error, AMQPConnectorPhaseErrorBase) else next(iter(error.args), None)
    return str(error) or type(error).__name__
