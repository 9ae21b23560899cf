"""uvicorn's reader of HTTP on httptools, with the limit that those two have not: how long a request's head may be."""

from __future__ import annotations

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAXIMUM_HEAD = 1024 * 1024
"""Bytes of request line and headers (A.2)."""


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
