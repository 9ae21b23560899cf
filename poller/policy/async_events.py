"""What becomes of an asynchronous event next: an attempt, another one later, or its end (B.1). Pure.

| What happened | What follows |
|---|---|
| reserved concurrency is 0 | its end, without an attempt: ZeroReservedConcurrency |
| it is as old as MaximumEventAgeInSeconds before an attempt | its end: EventAgeExceeded |
| the function answered | its end: Success |
| the function failed | again after 1 minute, then 2; after MaximumRetryAttempts retries its end: RetriesExhausted |
| throttled (429) or a system error (5xx) | again after 1 s, doubled each time up to 5 minutes; no attempt is used up |
| the next time would be at its maximum age or after it | its end at once: EventAgeExceeded |
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from poller.model import InvocationResult

Condition = Literal["Success", "RetriesExhausted", "EventAgeExceeded", "ZeroReservedConcurrency"]
"""Why an event ended, as its record says it (B.3)."""

MAXIMUM_RETRY_ATTEMPTS = 2
"""Default, and the most there are."""

MAXIMUM_EVENT_AGE = 21_600.0
"""Seconds: default, and the longest."""

RETRY_PAUSE = 60.0
"""Seconds before the first retry of a function that failed; the second waits twice as long."""

SHORTEST_DELAY = 1.0
"""Seconds after the first throttle or system error; doubled for each further one."""

LONGEST_DELAY = 300.0
"""Seconds: where the doubling ends."""

TOO_MANY_REQUESTS = 429
SERVER_ERROR = 500


@dataclass(frozen=True, slots=True)
class Standing:
    """How far an event has come."""

    accepted_at: float
    """Seconds since the epoch: what its age is counted from."""
    attempts: int = 0
    """Times the function ran on it."""
    delays: int = 0
    """Throttles and system errors in a row."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """Invoke the function with it now."""


@dataclass(frozen=True, slots=True)
class Again:
    """Invoke later: not before `due`, in seconds since the epoch."""

    due: float
    standing: Standing
    pause: float = field(compare=False, default=0.0)
    """Seconds until then."""


@dataclass(frozen=True, slots=True)
class Ended:
    """Nothing more is tried; a record of it goes to the destinations."""

    condition: Condition
    attempts: int
    """approximateInvokeCount."""

    @property
    def succeeded(self) -> bool:
        """Whether OnSuccess gets the record; else OnFailure and the dead-letter queue."""
        return self.condition == "Success"


@dataclass(frozen=True, slots=True)
class AsyncPolicy:
    """The event invoke configuration of a function, as far as it is about time and number."""

    maximum_retry_attempts: int = MAXIMUM_RETRY_ATTEMPTS
    maximum_event_age: float = MAXIMUM_EVENT_AGE
    """Seconds, not yet scaled."""
    time_scale: float = 1.0
    """60 makes a minute a second, for pauses and ages."""

    def before(self, standing: Standing, *, now: float, reserved: int | None) -> Attempt | Ended:
        """What to do with an event whose time has come.

        Args:
            standing: how far it is.
            now: seconds since the epoch.
            reserved: the function's ReservedConcurrentExecutions, as it is now.
        """
        if reserved == 0:
            return Ended("ZeroReservedConcurrency", standing.attempts)
        if self._is_too_old(standing, now):
            return Ended("EventAgeExceeded", standing.attempts)
        return Attempt()

    def after(self, standing: Standing, result: InvocationResult, *, now: float) -> Again | Ended:
        """What to do with an event after an answer.

        Args:
            standing: as it was before the attempt.
            result: what the pool answered.
            now: seconds since the epoch.
        """
        if is_delay(result):
            # A later one waits as long as all before it together, so the exponent is small; it is bounded all the same.
            pause = min(LONGEST_DELAY, SHORTEST_DELAY * 2.0 ** min(standing.delays, 32))
            return self._later(Standing(standing.accepted_at, standing.attempts, standing.delays + 1), now, pause)
        attempts = standing.attempts + 1
        if not failed(result):
            return Ended("Success", attempts)
        if attempts > self.maximum_retry_attempts:
            return Ended("RetriesExhausted", attempts)
        return self._later(Standing(standing.accepted_at, attempts), now, RETRY_PAUSE * attempts)

    def _later(self, standing: Standing, now: float, pause: float) -> Again | Ended:
        due = now + pause / self.time_scale
        # B.1: a retry that would start after the age limit is not waited for.
        if self._is_too_old(standing, due):
            return Ended("EventAgeExceeded", standing.attempts)
        return Again(due, standing, pause / self.time_scale)

    def _is_too_old(self, standing: Standing, time: float) -> bool:
        return time - standing.accepted_at >= self.maximum_event_age / self.time_scale


def is_delay(result: InvocationResult) -> bool:
    """A throttle or a system error: the function did not run, as far as is known."""
    return result.status == TOO_MANY_REQUESTS or result.status >= SERVER_ERROR


def failed(result: InvocationResult) -> bool:
    """The function ran and failed, or refused the event for good, such as for its size."""
    return result.function_error is not None or result.status != 200  # noqa: PLR2004 - as in HTTP
