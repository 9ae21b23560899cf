"""A destination whose login is read anew once it was refused, so that a changed password needs no restart."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from poller.destinations import Destination
from poller.endpoints import Target
from poller.errors import DestinationLoginRefused
from poller.model import DeadLetter


class RenewingDestination:
    """Stands before the destination of a target, and makes another one when the target's login has changed.

    Args:
        target: where letters go at first.
        make: a destination of a target.
        renewed: the target with its login read anew. Called on the owner's thread before the `send` that follows a
            refusal; may block for half a minute, raises nothing, gives None where it cannot be read.
    """

    def __init__(
        self, target: Target, make: Callable[[Target], Destination], renewed: Callable[[], Target | None]
    ) -> None:
        self._target = target
        self._make = make
        self._renewed = renewed
        self._destination = make(target)
        self._refused = False

    def send(self, letters: Sequence[DeadLetter]) -> None:
        """As the destination, whose errors pass through."""
        if self._refused:
            self._renew()
        try:
            self._destination.send(letters)
        except DestinationLoginRefused:
            self._refused = True
            raise

    def close(self) -> None:
        """As the destination."""
        self._destination.close()

    def _renew(self) -> None:
        self._refused = False
        target = self._renewed()
        if target is not None and target != self._target:
            self._destination.close()
            self._target, self._destination = target, self._make(target)
