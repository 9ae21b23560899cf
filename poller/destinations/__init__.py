"""What the program asks of an on-failure destination."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from poller.model import DeadLetter


class Destination(Protocol):
    """Where given-up records go. Owned and called by one thread."""

    def send(self, letters: Sequence[DeadLetter]) -> None:
        """Send all and return when every one is durable; blocks.

        Raises:
            DestinationError: not all are durable. Sending the same letters again is right, so some may arrive twice.
        """

    def close(self) -> None:
        """Release the connection. Safe at any time; `send` after `close` connects anew."""
