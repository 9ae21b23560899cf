"""uvicorn's reader of HTTP on httptools, with limits that those two have not: of a request's head, and of connections.

A connection too many is told so and closed, whatever it wanted; those that are there go on as ever. One that sends no
whole head in time makes room.
"""

from __future__ import annotations

import asyncio
import json
import resource
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAXIMUM_HEAD = 1024 * 1024
"""Bytes of request line and headers (A.2)."""

LONGEST_HEAD = 60.0
"""Seconds from its beginning, or from the connection's, to the end of a request's head."""

MOST_CONNECTIONS = 10_000
"""At the same time, where the system allows three times as many descriptors: there may be two ports, and handlers'
processes need some, too."""

FAREWELL = 1.0
"""Seconds in which a client that is refused may still send, so that it reads the refusal and not a reset connection."""

FAREWELLS = 0.1
"""Clients for which there is that much time at once, as a part of the connections."""

_TEXT = json.dumps({"message": "Too many connections at once: try again.", "Type": "Service"}).encode()
_REFUSAL = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nx-amzn-errortype: "
    b"ServiceUnavailableException\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%s"
) % (len(_TEXT), _TEXT)


def most_connections() -> int:
    """Connections that this process can have."""
    _, descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_CONNECTIONS if descriptors < 0 else max(1, min(MOST_CONNECTIONS, descriptors // 3))


class HttpProtocol(HttpToolsProtocol):
    """One connection. Called by the loop.

    Args:
        most: connections at the same time.
        longest_head: seconds.
    """

    _head = 0
    """Bytes that came in since the last request ended, or while its head did."""
    _in_head = True
    _refused = False
    _deadline: asyncio.TimerHandle | None = None

    def __init__(self, *given: Any, most: int, longest_head: float = LONGEST_HEAD, **named: Any) -> None:
        super().__init__(*given, **named)
        self._most = most
        self._longest_head = longest_head

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, or refuse it."""
        super().connection_made(transport)
        beyond = len(self.connections) - self._most
        if beyond <= 0:
            self._deadline = self.loop.call_later(self._longest_head, transport.close)
            return
        self._refused = True
        transport.write(_REFUSAL)
        if beyond > FAREWELLS * self._most:
            transport.close()
        else:
            self._deadline = self.loop.call_later(FAREWELL, transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._in_time()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Some bytes, at most 256 KiB at once."""
        if self._refused:
            return
        if self._in_head:
            self._head += len(data)
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self._in_head and self._head and self._deadline is None:  # it began, and did not end
            self._deadline = self.loop.call_later(self._longest_head, self.transport.close)
        if self._in_head and self._head > MAXIMUM_HEAD and not self.transport.is_closing():
            self.send_400_response(f"Request line and headers are longer than {MAXIMUM_HEAD} bytes.")

    def on_headers_complete(self) -> None:
        """The head is over."""
        self._in_head = False
        self._in_time()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The request is over, and what follows is the next one's head."""
        self._in_head, self._head = True, 0
        super().on_message_complete()

    def _in_time(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
