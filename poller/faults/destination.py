"""A destination whose attempts fail on purpose: nothing was sent, or it was and the confirmation is lost."""

from __future__ import annotations

from collections.abc import Sequence

from poller.destinations import Destination
from poller.errors import DestinationError
from poller.faults.chance import Chance
from poller.model import DeadLetter


class DroppingDestination:
    """Stands before a destination. Used as that.

    Args:
        destination: the real one.
        rate: share of the attempts that fail.
        chance: decides.
    """

    def __init__(self, destination: Destination, rate: float, chance: Chance) -> None:
        self._destination = destination
        self._rate = rate
        self._chance = chance

    def send(self, letters: Sequence[DeadLetter]) -> None:
        """As the destination's, whose errors pass through."""
        share, coin = self._chance.next()
        if share >= self._rate:
            self._destination.send(letters)
        elif coin:
            self._destination.send(letters)
            raise DestinationError("fault on purpose: sent, and its confirmation is dropped")
        else:
            raise DestinationError("fault on purpose: not sent")

    def close(self) -> None:
        """As the destination's."""
        self._destination.close()
