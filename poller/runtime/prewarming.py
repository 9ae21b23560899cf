"""Provisioned concurrency: environments that are initialised before anybody invokes them, and kept so (E.3)."""

from __future__ import annotations

from typing import Literal, NamedTuple

LEAST_INIT_TIMEOUT = 130.0
MOST_INIT_TIMEOUT = 900.0
"""Seconds between which the limit of a provisioned environment's init lies (E.3)."""
LOOK = 5.0
"""Seconds between looks whether an idle environment's process still lives: nobody else would see that it does not."""
_LONGEST_PAUSE = 60.0


class ProvisionedConcurrency(NamedTuple):
    """How a function's provisioned concurrency stands, in the words of GetProvisionedConcurrencyConfig."""

    requested: int
    available: int
    """Environments that are initialised, in work or not."""
    failure: str | None
    """What the last init failed with, of those that are not available."""

    @property
    def status(self) -> Literal["READY", "IN_PROGRESS", "FAILED"]:
        """FAILED while an init is tried again."""
        if self.available >= self.requested:
            return "READY"
        return "FAILED" if self.failure else "IN_PROGRESS"


def init_timeout(timeout: float) -> float:
    """Seconds that the init of a provisioned environment may take, by its function's timeout."""
    return min(max(LEAST_INIT_TIMEOUT, timeout), MOST_INIT_TIMEOUT)


class Prewarming:
    """When one environment is to be initialised, and again after it failed. Time is an argument.

    Written on the environment's thread only.
    """

    def __init__(self) -> None:
        self.ready = False
        self.failure: str | None = None
        self._failures = 0
        self._due = 0.0

    def due(self, now: float) -> bool:
        """Whether its time has come, at these monotonic seconds."""
        return now >= self._due

    def lives(self) -> None:
        """The environment is initialised, as was seen."""
        self.ready, self.failure, self._failures = True, None, 0

    def ended(self, failure: str | None, now: float) -> None:
        """An init is over: it went well, or failed and is tried again after a growing pause."""
        self.ready, self.failure = failure is None, failure
        self._failures = 0 if failure is None else self._failures + 1
        self._due = now + self.pause

    def settled(self, now: float) -> bool:
        """Whether it may be replaced at once: one that never lives for long is not initialised all the time."""
        return now >= self._due + LOOK

    @property
    def pause(self) -> float:
        """Seconds between the last failure and the next try."""
        return min(2.0 ** (self._failures - 1), _LONGEST_PAUSE) if self._failures else 0.0

    def look_in(self, now: float) -> float:
        """Seconds until the environment is to be looked at again."""
        return LOOK if self.ready else max(0.0, self._due - now)
