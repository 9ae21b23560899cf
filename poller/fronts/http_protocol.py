"""The reader of HTTP for fronts whose events have the names of headers as they were sent (A.6)."""

from __future__ import annotations

from typing import Any, cast

from poller.api.http_protocol import HttpProtocol

NAMES = "poller.header_names"
"""Key of a scope under which the names of headers stand as they were sent, beside `headers`, which has them in lower
case."""


class NamingHttpProtocol(HttpProtocol):
    """One connection. Called by the loop."""

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
