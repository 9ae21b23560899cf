"""The connection to the broker that keeps asynchronous events, on a thread that owns it: one channel, with confirms.

The thread `async-broker` connects, connects anew with growing pauses, and runs every callback. What is said on the
channel is said in order; what is published is confirmed or not before anybody is told of it.
"""

# mypy: allow-untyped-calls
# pika's annotations have gaps.

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import takewhile
from typing import Any
from urllib.parse import unquote, urlsplit

import pika
from pika.adapters.select_connection import IOLoop, SelectConnection
from pika.channel import Channel
from pika.spec import Basic

from poller.async_invoke.amqp_client import connection_reason, parameters_of
from poller.destinations.rabbitmq import CLIENT_ERRORS, reason

FIRST_PAUSE = 0.25
"""Seconds before the second attempt to connect; doubled for each further one."""

LONGEST_PAUSE = 10.0

NO_QUEUE = "it went to no queue"
"""Why a message is not with the broker that no queue was bound for."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Published:
    """What the broker has not confirmed yet."""

    mark: tuple[str, str | None, str | None]
    """What a message that came back is known by."""
    on_result: Callable[[str], None]


class Link:
    """The connection. `start` once, `stop` any number of times; methods are for the link's thread where not said.

    Args:
        url: complete.
        on_up: called with each new channel, which confirms what is published.
        on_down: called when a connection that was up is gone; the broker gives what was in work to others.
    """

    def __init__(self, url: str, on_up: Callable[[Channel], None], on_down: Callable[[], None]) -> None:
        parts = urlsplit(url)
        self.where = f"RabbitMQ at {parts.netloc.rpartition('@')[2]}, virtual host {unquote(parts.path[1:])}"
        self._url = url
        self._on_up = on_up
        self._on_down = on_down
        self._loop = IOLoop()
        self._thread = threading.Thread(target=self._run, name="async-broker", daemon=True)
        self._connection: SelectConnection | None = None
        self._channel: Channel | None = None
        self._published: dict[int, _Published] = {}
        self._returned: set[tuple[str, str | None, str | None]] = set()
        self._last_tag = 0
        self._failures = 0
        self._up_since = 0.0
        self._is_up = False
        self._is_pausing = False
        """Between two attempts to connect."""
        self._closed = False
        self._stopping = False
        self.settled = threading.Event()
        """Set once it is known whether the broker can be reached. For any thread, and so is `trouble`."""
        self.trouble = "not connected yet"
        """Why nothing can be published now; empty when it can."""

    # --- any thread ---------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to connect."""
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def call(self, action: Callable[[], None]) -> None:
        """Do something on the link's thread; nothing when that has ended."""
        self._loop.add_callback_threadsafe(lambda: self._guarded(action))

    def stop(self, grace: float) -> None:
        """Say what was to be said, close the connection within the grace, and end the thread. Blocks. Idempotent."""
        if self._closed:
            return
        self._closed = True
        if self._thread.is_alive():
            self.call(self._begin_to_stop)
            self._thread.join(grace)
        if self._thread.is_alive():
            self._loop.add_callback_threadsafe(self._loop.stop)
            self._thread.join()
        self._loop.close()

    # --- the thread ---------------------------------------------------------------------------------------------------

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        """Do something on the thread after that time."""
        self._loop.call_later(seconds, lambda: self._guarded(action))

    def publish(
        self,
        exchange: str,
        key: str,
        message: tuple[pika.BasicProperties, bytes],
        on_result: Callable[[str], None],
    ) -> None:
        """Publish a message that has to reach a queue.

        `on_result` is called once: empty when the broker has it for good, else why it may not have it.
        """
        properties, body = message
        channel = self._channel
        if channel is None or not channel.is_open:
            on_result(self.trouble or "the connection is gone")
            return
        try:
            channel.basic_publish(exchange, key, body, properties, mandatory=True)
        except CLIENT_ERRORS as error:
            on_result(reason(error))
            return
        self._last_tag += 1
        self._published[self._last_tag] = _Published((key, properties.message_id, properties.type), on_result)

    def _run(self) -> None:
        self._loop.add_callback_threadsafe(self._connect)
        while True:
            try:
                self._loop.start()
            except Exception as error:  # noqa: BLE001 - a fault of ours or the client's: the connection is made anew
                _log.exception("%s: unexpected error; connecting anew", self.where)
                if not self._close_if_open():
                    self._lost(error)
            else:
                return

    def _guarded(self, action: Callable[[], None]) -> None:
        """A fault of ours must not end the thread: the connection is made anew, and what was in work comes again."""
        try:
            action()
        except Exception:  # noqa: BLE001 - as said
            _log.exception("%s: unexpected error; connecting anew", self.where)
            self._close_if_open()

    def _close_if_open(self) -> bool:
        """True where `_lost` follows."""
        connection = self._connection
        if connection is not None and connection.is_open:
            connection.close()
        return connection is not None and not connection.is_closed

    def _connect(self) -> None:
        self._is_pausing = False
        if self._stopping:
            return
        try:
            self._connection = SelectConnection(
                parameters_of(self._url),
                on_open_callback=self._on_connection,
                on_open_error_callback=lambda _, error: self._lost(error),
                on_close_callback=lambda _, error: self._lost(error),
                custom_ioloop=self._loop,
            )
        except CLIENT_ERRORS as error:  # the authority's file is gone
            self._lost(error)

    def _on_connection(self, connection: SelectConnection) -> None:
        if self._stopping:
            connection.close()
            return
        connection.add_on_connection_blocked_callback(self._on_blocked)
        connection.add_on_connection_unblocked_callback(self._on_unblocked)
        connection.channel(on_open_callback=self._on_channel)

    def _on_channel(self, channel: Channel) -> None:
        channel.add_on_close_callback(self._on_channel_closed)
        channel.add_on_return_callback(self._on_returned)
        channel.confirm_delivery(self._on_confirmed, lambda _: self._guarded(lambda: self._opened(channel)))

    def _opened(self, channel: Channel) -> None:
        self._channel = channel
        self._last_tag = 0
        self._is_up = True
        self._up_since = time.monotonic()
        self.trouble = ""
        self.settled.set()
        _log.info("asynchronous events: connected to %s", self.where)
        self._on_up(channel)

    def _on_channel_closed(self, _: Channel, error: Exception) -> None:
        """The broker refuses something: of no use without it, so the connection goes, too."""
        connection = self._connection
        if connection is not None and connection.is_open:
            self.trouble = reason(error)
            connection.close(320, "the channel was closed")

    def _on_blocked(self, _: Any, frame: Any) -> None:
        self.trouble = f"it takes nothing at the moment: {frame.method.reason}"
        _log.warning("%s: %s", self.where, self.trouble)

    def _on_unblocked(self, *_: Any) -> None:
        self.trouble = ""
        _log.info("%s takes messages again", self.where)

    def _on_returned(self, _: Channel, method: Basic.Return, properties: pika.BasicProperties, __: bytes) -> None:
        self._returned.add((method.routing_key or "", properties.message_id, properties.type))

    def _on_confirmed(self, frame: Any) -> None:
        method = frame.method
        tags = [method.delivery_tag]
        if method.multiple:
            tags = list(takewhile(lambda tag: tag <= method.delivery_tag, self._published))
        refused = "" if isinstance(method, Basic.Ack) else "refused: a full queue, or one without a leader"
        for tag in tags:
            published = self._published.pop(tag, None)
            if published is None:
                continue
            text = refused
            if published.mark in self._returned:
                self._returned.discard(published.mark)
                text = NO_QUEUE
            self._tell(published, text)

    def _tell(self, published: _Published, text: str) -> None:
        self._guarded(lambda: published.on_result(text))

    def _lost(self, error: BaseException) -> None:
        """No connection: another attempt after a pause."""
        if self._is_pausing:
            return
        text = connection_reason(error)
        if not self._is_up or not self.trouble:
            self.trouble = text
        was_up, self._is_up = self._is_up, False
        self._channel = None
        self.settled.set()
        published, self._published = self._published, {}
        self._returned.clear()
        if was_up:
            self._guarded(self._on_down)
        for one in published.values():
            self._tell(one, f"the connection ended: {self.trouble}")
        if self._stopping:
            self._loop.stop()
            return
        if was_up and time.monotonic() - self._up_since > LONGEST_PAUSE:
            self._failures = 0  # else it is refused what it asks for, again and again
        self._failures += 1
        self._is_pausing = True
        pause = min(FIRST_PAUSE * 2.0 ** min(self._failures - 1, 10), LONGEST_PAUSE)
        _log.warning("%s: no connection (%s); again in %.2f s", self.where, self.trouble, pause)
        self._loop.call_later(pause, self._connect)

    def _begin_to_stop(self) -> None:
        self._stopping = True
        connection = self._connection
        if connection is None or connection.is_closed:
            self._loop.stop()
        elif connection.is_open:
            connection.close()  # `_lost` ends the loop; one that is only being made is closed once it is open
