"""Which run of a schedule is due, whatever the clock did meanwhile. Pure.

A schedule that looks at the time every now and then runs at most once at a look: what a stop, a suspended machine or a
clock set forward made it miss is not made up, as EventBridge does not make up what a disabled rule missed.
"""

from __future__ import annotations

from dataclasses import dataclass

from poller.triggers.schedule_expressions import Timing

LATE = 60.0
"""Seconds that a run may be late: AWS's schedules are as exact as that. What is later was missed."""

SET_BACK = 3 * 3600.0
"""Seconds that a clock may be set back with schedules by the clock standing still until it is where it was, so that
nothing runs twice. What goes back further was wrong before, and counts anew."""


@dataclass(frozen=True, slots=True)
class Look:
    """What a look at the time found."""

    seen: float
    """Up to where the schedule is done; for the next look."""
    run: float | None = None
    """When the run that is due now was to be."""
    missed: bool = False
    """Whether runs before it were not made."""


def look(timing: Timing, seen: float, now: float) -> Look:
    """What is due, of all that was to be after `seen` and until `now`. Seconds since the epoch."""
    if now < seen:
        went_back = seen - now
        tolerated = timing.beat or SET_BACK
        return Look(seen if went_back < tolerated else now)
    first = timing.following(seen)
    if first is None or first > now:
        return Look(now)
    return Look(now, timing.latest(max(seen, now - LATE), now), missed=first <= now - LATE)
