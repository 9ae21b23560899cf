"""For how long a broker's queue of asynchronous events may hold one back: the pauses there are (B.1). Pure.

A broker delays all messages of a queue by the same time, as one that waits longer holds up those behind it. So there is
a queue for each pause, and only these pauses: 1 s doubled up to 5 minutes after throttles and system errors, 1 and 2
minutes after failures, each divided by `TimeScale`.
"""

from __future__ import annotations

from math import ceil

from poller.policy.async_events import LONGEST_DELAY, MAXIMUM_RETRY_ATTEMPTS, RETRY_PAUSE, SHORTEST_DELAY

LONGEST = 2**31 - 1
"""Milliseconds that a broker can hold a message back; a smaller TimeScale makes no pause longer than that."""


def pauses(time_scale: float) -> tuple[int, ...]:
    """All pauses in milliseconds, the shortest first; each is one at least."""
    seconds = {LONGEST_DELAY, *(RETRY_PAUSE * attempt for attempt in range(1, MAXIMUM_RETRY_ATTEMPTS + 1))}
    delay = SHORTEST_DELAY
    while delay < LONGEST_DELAY:
        seconds.add(delay)
        delay *= 2
    return tuple(sorted({min(LONGEST, max(1, ceil(second * 1000 / time_scale))) for second in seconds}))


def pause_of(seconds: float, among: tuple[int, ...]) -> int:
    """The pause, in milliseconds, that is to be waited: the one that is as long, else the next longer one, if any.

    Args:
        seconds: to be waited, already scaled.
        among: what `pauses` gives.
    """
    return next((pause for pause in among if pause + 0.5 >= seconds * 1000), among[-1])
