"""One HTTP request to Lambda's API: its parts, its body up to a limit, and its answer, on ASGI itself.

Starlette's request and response cost more than an invocation's own way through this program, so Invoke goes without.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs

from poller.api.answers import body_of
from poller.api_errors import ApiError

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = Sequence[tuple[bytes, bytes]]
Answer = tuple[int, Headers, bytes]
"""Status, headers and body, without what every answer has."""

DRAINED = 64 * 1024 * 1024
"""Bytes of a refused body that are still taken from the connection and thrown away, so that a client that sends first
and reads then sees why it was refused."""
DRAINING = 30.0
"""Seconds for that."""
TAKEN_WITHIN = 60.0
"""Seconds in which a client has to take what is sent to it in pieces."""

BODY_WITHIN = 60.0
"""Seconds in which a body has to come in: who sends it drop by drop shall not hold its memory for ever."""

_DIGITS = 18
"""Of a length that is worth reading."""

JSON = (b"content-type", b"application/json")


class Memory:
    """Bytes that the bodies of all requests may take together. For the loop's thread only."""

    def __init__(self, limit: int = 512 * 1024 * 1024) -> None:
        self._left = limit

    def take(self, size: int) -> None:
        """Raises ApiError: 503, there is no more."""
        if size > self._left:
            text = "Too many large requests at once: try again."
            raise ApiError(503, "ServiceUnavailableException", text)
        self._left -= size

    def give_back(self, size: int) -> None:
        """What was taken."""
        self._left += size

    @contextmanager
    def held(self) -> Iterator[Callable[[int], None]]:
        """`take`, for what is given back at the end."""
        taken = 0

        def take(size: int) -> None:
            nonlocal taken
            self.take(size)
            taken += size

        try:
            yield take
        finally:
            self.give_back(taken)


class Head:
    """What a request says before its body."""

    __slots__ = ("headers", "request_id", "scope")

    def __init__(self, scope: Scope, request_id: str) -> None:
        self.scope = scope
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.request_id = request_id

    def header(self, name: bytes) -> str | None:
        """Value of a header by its name in lower case."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")

    def parameter(self, name: str) -> str | None:
        """Value of a query parameter."""
        query: bytes = self.scope.get("query_string", b"")
        if not query:
            return None
        values = parse_qs(query.decode("latin-1"), keep_blank_values=True).get(name)
        return values[0] if values else None


class Call(Head):
    """A request on its way, for the loop's thread only. It is answered once."""

    __slots__ = ("_body", "_held", "_memory", "_more", "_receive", "_send", "begun", "status")

    def __init__(self, scope: Scope, receive: Receive, send: Send, request_id: str, memory: Memory) -> None:
        super().__init__(scope, request_id)
        self.begun = False
        """Whether an answer is on its way."""
        self.status = 0
        """Of the answer that is on its way, where it is this object's own."""
        self._receive = receive
        self._send = send
        self._memory = memory
        self._more = True
        self._held = 0
        self._body: bytes | None = None

    async def body(self, limit: int, refusal: Callable[[int | None], ApiError]) -> bytes:
        """The whole body. Refused as soon as it is known to be too large: by what its header says, or by what came in.

        Raises:
            ApiError: what `refusal` makes of the size, None when that is not known; 503 when there is no memory left;
                408 when it takes too long.
            ConnectionError: the client went away before it had sent all.
        """
        if self._body is not None:
            if len(self._body) > limit:
                raise refusal(len(self._body))
            return self._body
        announced = self.headers.get(b"content-length", b"")
        if announced.isdigit():
            if len(announced) > _DIGITS:
                raise refusal(None)
            if int(announced) > limit:
                raise refusal(int(announced))
        chunks = []
        try:
            async with asyncio.timeout(BODY_WITHIN):
                while self._more:
                    message = await self._receive()
                    if message["type"] == "http.disconnect":
                        raise ConnectionError
                    chunk = message.get("body", b"")
                    self._more = message.get("more_body", False)
                    if self._held + len(chunk) > limit:
                        raise refusal(None)
                    self._memory.take(len(chunk))
                    self._held += len(chunk)
                    chunks.append(chunk)
        except TimeoutError:
            raise too_slow() from None
        self._body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        return self._body

    async def answer(self, status: int, headers: Headers, body: bytes) -> None:
        """The answer, and what is left of the body is read and thrown away."""
        length = (b"content-length", b"%d" % len(body))
        given = [(b"x-amzn-requestid", self.request_id.encode()), *headers]
        if status != 204:  # noqa: PLR2004 - no content, and no length either
            given.append(length)
        self.begun, self.status = True, status
        await self._send({"type": "http.response.start", "status": status, "headers": given})
        if self._more:
            await self._send({"type": "http.response.body", "body": body, "more_body": True})
            await self._drain()
            body = b""
        await self._send({"type": "http.response.body", "body": body})

    async def answer_in_pieces(self, status: int, headers: Headers, pieces: AsyncIterator[bytes]) -> None:
        """An answer whose end is not known when it begins. Each piece waits until the client has taken those before.

        HTTP/1.0 knows no chunks: such a client gets the whole when it is there.

        Raises:
            ConnectionError: the client takes nothing any more.
            ApiError: 503, there is no memory left for the whole; nothing was sent.
        """
        if self.scope.get("http_version") == "1.0":
            whole = []
            async for piece in pieces:
                self._memory.take(len(piece))
                self._held += len(piece)
                whole.append(piece)
            await self.answer(status, headers, b"".join(whole))
            return
        given = [(b"x-amzn-requestid", self.request_id.encode()), *headers]
        self.begun, self.status = True, status
        await self._send({"type": "http.response.start", "status": status, "headers": given})
        async for piece in pieces:
            try:
                async with asyncio.timeout(TAKEN_WITHIN):
                    await self._send({"type": "http.response.body", "body": piece, "more_body": True})
            except TimeoutError:
                raise ConnectionError from None
        if self._more:
            await self._drain()
        await self._send({"type": "http.response.body", "body": b""})

    async def refuse(self, error: ApiError, headers: Headers = ()) -> None:
        """The answer to a call that is refused (A.3)."""
        status, given, body = refused(error)
        await self.answer(status, [*given, *headers], body)

    async def hand_on(self, app: App) -> None:
        """Let an ordinary ASGI application answer; every answer gets a request id."""

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.begun = True
                headers = list(message.get("headers", ()))
                if all(name.lower() != b"x-amzn-requestid" for name, _ in headers):
                    headers.append((b"x-amzn-requestid", self.request_id.encode()))
                message["headers"] = headers
            await self._send(message)

        replay = self._body
        ends = asyncio.get_running_loop().time() + BODY_WITHIN

        async def receive() -> Message:
            nonlocal replay
            if replay is None:
                try:
                    async with asyncio.timeout_at(ends if self._more else None):
                        message = await self._receive()
                except TimeoutError:
                    raise too_slow() from None
                self._more = message.get("more_body", False)
                return message
            body, replay = replay, None
            return {"type": "http.request", "body": body, "more_body": False}

        await app(self.scope, receive, send)

    def close(self) -> None:
        """The request is over, its memory free."""
        self._memory.give_back(self._held)
        self._held = 0

    async def _drain(self) -> None:
        size = 0
        try:
            async with asyncio.timeout(DRAINING):
                while self._more and size < DRAINED:
                    message = await self._receive()
                    size += len(message.get("body", b""))
                    self._more = message["type"] == "http.request" and message.get("more_body", False)
        except TimeoutError:
            pass
        self._more = False


def refused(error: ApiError) -> Answer:
    """The answer to a call that is refused (A.3)."""
    body = json.dumps(body_of(error), separators=(",", ":")).encode()
    return error.status, [JSON, (b"x-amzn-errortype", error.type.encode())], body


def path_of(scope: Scope) -> str:
    """The path as it was sent: what is percent-encoded in it separates nothing."""
    raw: bytes | None = scope.get("raw_path")
    return scope["path"] if raw is None else raw.partition(b"?")[0].decode("latin-1")


def host_name(host: str) -> str:
    """The name or address in a Host header, without its port."""
    if host.startswith("["):
        return host.partition("]")[0][1:]
    return host.rpartition(":")[0].lower() if host.count(":") == 1 else host.lower()


def too_slow() -> ApiError:
    """408: the body was not there in time."""
    text = f"The body was not complete after {BODY_WITHIN:.0f} seconds."
    return ApiError(408, "RequestTimeoutException", text)
