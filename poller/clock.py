"""Time as a thing that is handed in, so that a week of retries fits in a millisecond of test."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Two clocks: one for intervals, one for ages and timestamps."""

    def monotonic(self) -> float:
        """Seconds that never jump; for windows, back-off and time-outs."""

    def time(self) -> float:
        """Seconds since the epoch; for record ages and timestamps."""


class SystemClock:
    """The machine's clocks."""

    monotonic = staticmethod(time.monotonic)
    time = staticmethod(time.time)
