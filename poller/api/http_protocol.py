"""uvicorn's reader of HTTP on httptools, with limits that those two have not: of a request's head, and of connections.

A connection too many is told so and closed, whatever it wanted; those that are there go on as ever. One that sends no
whole head in time makes room, and so does one that has nothing to ask.

Ordinary calls of Invoke take a short way past ASGI (`direct_invoke`).
"""

from __future__ import annotations

import asyncio
import json
import resource
from functools import partial
from math import inf
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from poller.api.call import BODY_WITHIN, Answer
from poller.api.direct_invoke import LARGEST, DirectCall, DirectInvoke

MAXIMUM_HEAD = 1024 * 1024
"""Bytes of request line and headers (A.2)."""

LONGEST_URL = 65_535
"""Bytes of what httptools can take apart."""

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


class DirectCycle:
    """A direct call on its way, in the place of uvicorn's cycle: with what `HttpToolsProtocol` looks at."""

    __slots__ = ("body", "call", "disconnected", "keep_alive", "more_body", "response_complete")

    def __init__(self, call: DirectCall, *, keep_alive: bool) -> None:
        self.call = call
        self.keep_alive = keep_alive
        self.body = bytearray()
        self.more_body = True
        self.disconnected = self.response_complete = False

    @property
    def message_event(self) -> DirectCycle:
        """Nobody waits for news of the body."""
        return self

    def set(self) -> None:
        """There is some."""


class HttpProtocol(HttpToolsProtocol):
    """One connection. Called by the loop.

    Args:
        most: connections at the same time.
        longest_head: seconds.
        body_within: seconds in which the body of a direct call has to come in.
        direct: the short way, where there is one.
    """

    _head = 0
    """Bytes that came in since the last request ended, or while its head did."""
    _in_head = True
    _refused = False
    _due = inf
    """When the connection's time is up, by the loop's clock."""
    _timer: asyncio.TimerHandle | None = None
    """Goes off at that time or before. There is one for many requests: most need no time to speak of."""

    def __init__(
        self,
        *given: Any,
        most: int,
        longest_head: float = LONGEST_HEAD,
        body_within: float = BODY_WITHIN,
        direct: DirectInvoke | None = None,
        **named: Any,
    ) -> None:
        super().__init__(*given, **named)
        self._most = most
        self._longest_head = longest_head
        self._body_within = body_within
        self._direct = direct

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, or refuse it."""
        super().connection_made(transport)
        beyond = len(self.connections) - self._most
        if beyond <= 0:
            self._close_in(self._longest_head)
            return
        self._refused = True
        transport.write(_REFUSAL)
        if beyond > FAREWELLS * self._most:
            transport.close()
        else:
            self._close_in(FAREWELL)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._due = inf
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Some bytes, at most 256 KiB at once."""
        if self._refused:
            return
        if self._in_head:
            if not self._head and self.cycle is not None:
                self._due = inf  # it is idle no more
            self._head += len(data)
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self._in_head and self._head and self._due == inf and not self._in_work():  # it began, and did not end
            self._close_in(self._longest_head)
        if self._in_head and self._head > MAXIMUM_HEAD and not self.transport.is_closing():
            self.send_400_response(f"Request line and headers are longer than {MAXIMUM_HEAD} bytes.")

    def _in_work(self) -> bool:
        """Whether a request waits for its answer: only after that the next one's head has to come in time."""
        return self.cycle is not None and not self.cycle.response_complete

    def on_headers_complete(self) -> None:
        """The head is over."""
        self._in_head = False
        self._due = inf
        if self.transport.is_closing():
            return  # by the answer to the one before, in the same bytes: nobody would get this one's
        call = self._direct_call()
        if call is None:
            self._long_way()
            return
        cycle: Any = DirectCycle(call, keep_alive=self.parser.should_keep_alive())
        self.cycle = cycle
        self._close_in(self._body_within)

    def _long_way(self) -> None:
        """Uvicorn's. The parser of URLs there takes 64 KiB, and A.2 lets a query have more."""
        if len(self.url) <= LONGEST_URL:
            super().on_headers_complete()
            return
        self.url, _, query = self.url.partition(b"?")
        super().on_headers_complete()
        self.scope["query_string"] = query.partition(b"#")[0]

    def on_message_complete(self) -> None:
        """The request is over, and what follows is the next one's head."""
        self._in_head, self._head = True, 0
        cycle: Any = self.cycle
        if isinstance(cycle, DirectCycle) and cycle.more_body:
            self._due = inf
            cycle.more_body = False
            cycle.call.invoke(bytes(cycle.body), partial(self._answer, cycle))
        else:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """A request is answered: the next one of this connection, or wait for it."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self._due == inf:
            self._close_in(self.timeout_keep_alive)

    def _direct_call(self) -> DirectCall | None:
        if self._direct is None or self.parser.get_http_version() != "1.1" or self.flow.write_paused:
            return None
        if self._in_work():
            return None  # its answers come in the order of its requests
        return self._direct.begin(self.parser.get_method(), self.url, self.headers)

    def _answer(self, cycle: DirectCycle, answer: Answer) -> None:
        """The answer to a direct call, in one piece unless that would be a large copy."""
        cycle.response_complete = True
        if cycle.disconnected or self.transport.is_closing():
            return
        status, headers, body = answer
        parts = [STATUS_LINE[status]]
        request_id = (b"x-amzn-requestid", cycle.call.request_id.encode())
        for name, value in (*self.server_state.default_headers, request_id, *headers):
            parts += (name, b": ", value, b"\r\n")
        if not cycle.keep_alive:
            parts.append(b"connection: close\r\n")
        parts.append(b"content-length: %d\r\n\r\n" % len(body))
        if len(body) <= LARGEST:
            parts.append(body)
            self.transport.write(b"".join(parts))
        else:
            self.transport.write(b"".join(parts))
            self.transport.write(body)
        if not cycle.keep_alive:
            self.transport.close()
        self.on_response_complete()

    def _close_in(self, seconds: float) -> None:
        self._due = self.loop.time() + seconds
        if self._timer is not None and self._timer.when() > self._due:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._timer = self.loop.call_at(self._due, self._look)

    def _look(self) -> None:
        """The timer went off."""
        self._timer = None
        if self._due == inf:
            return
        if self.loop.time() < self._due:
            self._timer = self.loop.call_at(self._due, self._look)
            return
        cycle: Any = self.cycle
        if isinstance(cycle, DirectCycle) and cycle.more_body:
            cycle.more_body = cycle.keep_alive = False
            cycle.call.too_slow(partial(self._answer, cycle))
        self.transport.close()
