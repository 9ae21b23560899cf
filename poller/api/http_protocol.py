"""uvicorn's reader of HTTP on httptools, with the limit that those two have not: how long a request's head may be."""

from __future__ import annotations

from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAXIMUM_HEAD = 1024 * 1024
"""Bytes of request line and headers (A.2)."""

NAMES = "poller.header_names"
"""Key of a scope under which the names of headers stand as they were sent, beside `headers`, which has them in lower
case."""


class HttpProtocol(HttpToolsProtocol):
    """One connection. Called by the loop."""

    _head = 0
    """Bytes that came in since the last request ended, or while its head did."""
    _in_head = True

    def data_received(self, data: bytes) -> None:
        """Some bytes, at most 256 KiB at once."""
        if self._in_head:
            self._head += len(data)
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self._in_head and self._head > MAXIMUM_HEAD and not self.transport.is_closing():
            self.send_400_response(f"Request line and headers are longer than {MAXIMUM_HEAD} bytes.")

    def on_headers_complete(self) -> None:
        """The head is over."""
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The request is over, and what follows is the next one's head."""
        self._in_head, self._head = True, 0
        super().on_message_complete()


class NamingHttpProtocol(HttpProtocol):
    """For fronts whose events have the names of headers as they were sent (A.6)."""

    _names: list[bytes]

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._names = []
        cast("dict[str, Any]", self.scope)[NAMES] = self._names

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header."""
        self._names.append(name)
        super().on_header(name, value)
