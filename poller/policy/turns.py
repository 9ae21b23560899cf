"""Whose turn it is: which lanes of a poller may have something to hand over, and which are busy. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from poller.policy.batching import BatchingLimits
from poller.policy.lane import Lane


class Turns:
    """Lanes in the order of their turns. Only `Lanes` touches it.

    Lanes that are idle or wait for an answer cost nothing, however many there are.
    """

    def __init__(self) -> None:
        self._stirred: dict[Lane, None] = {}
        """Any other has nothing to hand over, and comes here when that changes."""
        self.busy: set[Lane] = set()
        """Those with something in work."""

    def stir(self, lane: Lane) -> None:
        """Something arrived in a lane, or is not in work any more: it keeps its turn, or gets the last one."""
        self._stirred[lane] = None
        if not lane.is_busy():
            self.busy.discard(lane)

    def forget(self, lane: Lane) -> None:
        """It is gone."""
        self._stirred.pop(lane, None)
        self.busy.discard(lane)

    def clear(self) -> None:
        """All are gone."""
        self._stirred.clear()
        self.busy.clear()

    def take(self, now: float, limits: BatchingLimits) -> Iterator[Lane]:
        """Those that are due, one after the other; each gets something to do before the next is asked for.

        A batch is full, its window has elapsed, or its retry time has come. Who was given has the last turn next time.
        """
        for lane in list(self._stirred):
            due = due_at(lane, now, limits)
            if due is None:
                del self._stirred[lane]
            elif due <= now:
                del self._stirred[lane]
                self.busy.add(lane)
                yield lane

    def due_times(self, now: float, limits: BatchingLimits) -> list[float]:
        """When those have something to hand over, of all that are not busy."""
        times = [due_at(lane, now, limits) for lane in self._stirred]
        return [time for time in times if time is not None]


def due_at(lane: Lane, now: float, limits: BatchingLimits) -> float | None:
    """When a lane has something to hand over; None if it is busy or has nothing."""
    if lane.is_busy():
        return None
    if lane.waiting:
        return lane.waiting[0].not_before
    if lane.is_full(limits):
        return now
    return lane.window_end(limits) if lane.has_some() else None
