"""How far a Kafka consumer is behind (C.9): as its client knows, and where that may be old, as the broker says."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

ASK_TIMEOUT = 0.5
"""Seconds to wait for the ends of partitions."""

_PAUSE = 5.0
"""Seconds to get on with what is known after the broker gave no answer, or took long for it: at most."""

_SHARE = 0.01
"""Of the owner's time that may be spent waiting for answers: a broker that is busy takes longer for them, as it does
when a poller reads all it can get."""

_QUICK = 0.005
"""Seconds of an answer after which the next question may come at once: owners ask twice a second."""

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
    ago: so the broker is asked. How long its answer took says when it is asked again.
    """

    def __init__(self, ask: Callable[[Sequence[P]], Mapping[P, int]]) -> None:
        """Set up.

        Args:
            ask: the ends of partitions by the broker's word; what it does not know, or not within `ASK_TIMEOUT`, is
                missing. Blocks so long at most.
        """
        self._ask = ask
        self._ask_after = float("-inf")
        self._told: dict[P, tuple[int | None, int]] = {}
        """Of partitions that the broker was asked about the last time: what the client knew then, and the answer."""

    def of(self, partitions: Mapping[P, Known], paused: Collection[P]) -> dict[P, int]:
        """Offsets from the next record to the end; a partition of which one is not known yet is missing."""
        stale = [
            partition
            for partition, known in partitions.items()
            if known.position is not None and (known.end is None or known.end > known.position or partition in paused)
        ]
        began = time.monotonic()
        if stale and began >= self._ask_after:
            ends = self._ask(stale)
            self._told = {partition: (partitions[partition].end, end) for partition, end in ends.items()}
            self._ask_after = (now := time.monotonic()) + _pause(now - began if ends else None)
        return {
            partition: max(0, end - known.position)
            for partition, known in partitions.items()
            if known.position is not None and (end := self._end(partition, known)) is not None
        }

    def _end(self, partition: P, known: Known) -> int | None:
        """The broker's word, unless the client has heard something else since."""
        before, told = self._told.get(partition, (None, None))
        return known.end if told is None or known.end != before else told


def _pause(taken: float | None) -> float:
    """Seconds until the broker may be asked again, by what its answer took; None when it gave none."""
    if taken is None:
        return _PAUSE
    return 0.0 if taken <= _QUICK else min(_PAUSE, taken / _SHARE)
