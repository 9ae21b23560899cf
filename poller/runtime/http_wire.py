"""HTTP/1.1 of one connection without its socket: bytes in, requests out, and answers as bytes. Pure.

Read by httptools, in C: what a client sends may be anything, and most of it costs less than a Python line each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import NamedTuple

import httptools

from poller.model import ResponseStream

MAXIMUM_HEAD = 2 * 1024 * 1024
"""Bytes of a request's line and headers. AWS's clients send up to 1 MB in the header of an error's cause (E.1)."""

RESPONSE_MODE = "lambda-runtime-function-response-mode"
"""Header that says that a response is a stream (E.1)."""


class BadRequest(Exception):  # noqa: N818 - it is the status that it becomes
    """What came in is no HTTP, or too much of it. The connection is of no use any more."""


class Request(NamedTuple):
    """One request, whole."""

    method: str
    path: str
    """Without the query."""
    headers: Mapping[str, str]
    """By name in lower case."""
    body: bytes
    size: int
    """Bytes of the body; above what was kept of it, the rest was read and dropped."""
    trailers: Mapping[str, str]
    """As headers; what stands behind a chunked body."""
    keep_alive: bool
    streamed: bool = False
    """Whether its body went elsewhere while it came."""


class Reply(NamedTuple):
    """What a request is answered with."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""


class RequestReader:
    """Requests out of what a connection receives.

    Args:
        keep: most bytes of a body that are kept.
        keep_streamed: the same of a response in streaming mode.
        stream_of: asked when the head of a response in streaming mode is here: what takes its body while it comes, up
            to `keep_streamed` bytes; None lets it be gathered.
    """

    def __init__(
        self, keep: int, keep_streamed: int, stream_of: Callable[[Request], ResponseStream | None] | None = None
    ) -> None:
        self._keep = keep
        self._keep_streamed = keep_streamed
        self._stream_of = stream_of
        self._parser = httptools.HttpRequestParser(self)
        self._requests: list[Request] = []
        self._expected = False
        self._begin()

    @property
    def unfinished(self) -> Request | None:
        """A request whose headers are here and whose body is not, as far as it came."""
        return self._request() if self._in_body else None

    def expects_continue(self) -> bool:
        """Whether a client waits for `100 Continue` before it sends a body. True once for each."""
        expected, self._expected = self._expected, False
        return expected

    def feed(self, data: bytes) -> list[Request]:
        """Read on; gives the requests that are complete.

        Raises:
            BadRequest: close the connection.
        """
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            raise BadRequest("no other protocol is spoken here") from None
        except httptools.HttpParserError as error:
            raise BadRequest(str(error)) from None
        finally:
            self._hand_on()
        if self._head_size > MAXIMUM_HEAD:
            raise BadRequest(f"a head above {MAXIMUM_HEAD} bytes")
        requests, self._requests = self._requests, []
        return requests

    def _begin(self) -> None:
        self._url = b""
        self._method = ""
        self._headers: dict[str, str] = {}
        self._trailers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._size = self._kept = self._head_size = 0
        self._limit = self._keep
        self._in_body = self._expected = False
        self.stream: ResponseStream | None = None
        """Takes the body of the request that is coming in."""

    def _hand_on(self) -> None:
        """One piece of all that came: a client that sends byte by byte shall not cost a call for each."""
        if self.stream is not None and self._body:
            self.stream.take(b"".join(self._body))
            self._body = []

    def _request(self) -> Request:
        return Request(
            self._method,
            _path(self._url),
            self._headers,
            b"".join(self._body),
            self._size,
            self._trailers,
            self._parser.should_keep_alive(),
            self.stream is not None,
        )

    # --- called by the parser --------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """A request begins."""
        self._begin()

    def on_url(self, url: bytes) -> None:
        """A piece of its target."""
        self._url += url
        self._head_size += len(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer when the body has begun."""
        self._head_size += len(name) + len(value)
        if self._head_size <= MAXIMUM_HEAD:
            fields = self._trailers if self._in_body else self._headers
            fields[name.decode("latin-1").lower()] = value.decode("utf-8", errors="replace")

    def on_headers_complete(self) -> None:
        """The body comes."""
        self._in_body = True
        self._method = self._parser.get_method().decode("latin-1")
        self._expected = self._headers.get("expect", "").lower() == "100-continue"
        if RESPONSE_MODE in self._headers:
            self._limit = self._keep_streamed
            if self._stream_of is not None:
                self.stream = self._stream_of(self._request())

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._size += len(body)
        room = self._limit - self._kept
        if room > 0:
            self._body.append(body[:room])
            self._kept += min(room, len(body))

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._hand_on()
        self._requests.append(self._request())
        self._in_body = self._expected = False
        self._body = []
        self.stream = None


def _path(url: bytes) -> str:
    if not url.startswith(b"/"):
        try:
            url = httptools.parse_url(url).path or b""
        except httptools.HttpParserInvalidURLError:
            return ""
    return url.partition(b"?")[0].decode("latin-1")


def head_of(reply: Reply, *, keep_alive: bool) -> bytes:
    """The bytes that stand before an answer's body."""
    lines = [f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in reply.headers]
    lines.append(f"Content-Length: {len(reply.body)}")
    if not keep_alive:
        lines.append("Connection: close")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", errors="replace")
