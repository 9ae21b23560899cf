"""How far a Kafka consumer is behind (C.9): as its client knows, and where that may be old, as the broker says."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

ASK_TIMEOUT = 0.5
"""Seconds to wait for the ends of partitions."""

_PAUSE = 5.0
"""Seconds to get on with what is known after the broker gave no answer."""

P = TypeVar("P", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Known:
    """What the client knows of a partition."""

    position: int | None
    """Of the next record that is given out."""
    end: int | None
    """As the last fetch said."""


class KafkaLag(Generic[P]):
    """The lag of one consumer. Owned by the source's thread.

    A partition that is read to its end is being waited for: its client hears at once of what is new. One that is paused
    or of which enough lies in the client's buffers is not fetched, and its end is that of the last fetch, however long
    ago: so the broker is asked.
    """

    def __init__(self, ask: Callable[[Sequence[P]], Mapping[P, int]]) -> None:
        """Set up.

        Args:
            ask: the ends of partitions by the broker's word; what it does not know, or not within `ASK_TIMEOUT`, is
                missing. Blocks so long at most.
        """
        self._ask = ask
        self._ask_after = float("-inf")
        self._told: dict[P, int] = {}
        """The ends of partitions as the broker said the last time, as long as it has to be asked for them."""

    def of(self, partitions: Mapping[P, Known], paused: Collection[P], *, ask: bool = True) -> dict[P, int]:
        """Offsets from the next record to the end; a partition of which one is not known yet is missing.

        Args:
            partitions: all that the consumer has.
            paused: those that it does not fetch.
            ask: whether the broker is to be asked also for what it has told before.
        """
        ends = {partition: known.end for partition, known in partitions.items()}
        stale = [
            partition
            for partition, known in partitions.items()
            if known.position is not None and (known.end is None or known.end > known.position or partition in paused)
        ]
        self._told = {partition: self._told[partition] for partition in stale if partition in self._told}
        if stale and (ask or len(self._told) < len(stale)) and time.monotonic() >= self._ask_after:
            self._told = dict(self._ask(stale))
            if not self._told:
                self._ask_after = time.monotonic() + _PAUSE
            ends |= self._told
        else:  # a fetch may be younger
            ends |= {partition: max(end, partitions[partition].end or 0) for partition, end in self._told.items()}
        return {
            partition: max(0, end - known.position)
            for partition, known in partitions.items()
            if known.position is not None and (end := ends[partition]) is not None
        }
