"""A destination in memory: the reference of the contract suite, and a fake for tests of others."""

from __future__ import annotations

from collections.abc import Sequence

from poller.errors import DestinationError
from poller.model import DeadLetter


class MemoryDestination:
    """Keeps letters in a list. `failure` is the text of the error that `send` raises; None when it works."""

    def __init__(self) -> None:
        self.letters: list[DeadLetter] = []
        self.failure: str | None = None

    def send(self, letters: Sequence[DeadLetter]) -> None:
        """Keep all, or raise `failure` and keep none."""
        if self.failure is not None:
            raise DestinationError(self.failure)
        self.letters.extend(letters)

    def close(self) -> None:
        """Nothing to release."""
