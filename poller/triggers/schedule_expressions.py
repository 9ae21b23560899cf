"""When a schedule runs: `rate(…)`, `cron(…)` and `at(…)` as functions of time. Pure.

Times are seconds since the epoch. A rate counts from StartDate, else from 1970, so that it keeps its beat over a
restart: `rate(1 hour)` runs at every full hour of UTC. `TimeScale` makes rates shorter; cron and at name times of the
clock, which nobody can hurry.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Protocol

from poller.triggers.cron import Cron, parse_cron

SHORTEST_BEAT = 0.01
"""Seconds: no TimeScale makes a rate faster."""

_SECONDS = {"minute": 60.0, "hour": 3600.0, "day": 86_400.0}
_RATE = re.compile(r"rate\(\s*(\d{1,9})\s+([a-z]+)\s*\)")
_CRON = re.compile(r"cron\((.*)\)", re.DOTALL)
_AT = re.compile(r"at\(\s*(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\s*\)")

LATEST = datetime(9999, 1, 1, tzinfo=UTC).timestamp()
"""Seconds; time zones count no further."""


class Timing(Protocol):
    """When something runs."""

    @property
    def beat(self) -> float:
        """Seconds from one run to the next; 0 where the clock says when."""

    def following(self, after: float) -> float | None:
        """The first run later than that; None when there is none any more."""

    def latest(self, after: float, until: float) -> float | None:
        """The last run later than `after` and not later than `until`, minutes after it at most; None without one."""


@dataclass(frozen=True, slots=True)
class Rate:
    """At regular intervals."""

    beat: float
    origin: float = 0.0
    """A time at which it runs."""

    def following(self, after: float) -> float | None:
        """As `Timing`."""
        number = math.floor((after - self.origin) / self.beat) + 1
        found = self.origin + number * self.beat
        return found if found > after else self.origin + (number + 1) * self.beat  # rounding can make it the same

    def latest(self, after: float, until: float) -> float | None:
        """As `Timing`."""
        number = math.floor((until - self.origin) / self.beat) + 1  # one more than there are, but for rounding
        while (found := self.origin + number * self.beat) > until:
            number -= 1
        return found if found > after else None


@dataclass(frozen=True, slots=True)
class CronTiming:
    """At minutes of a clock on the wall of some time zone."""

    cron: Cron
    zone: tzinfo
    beat: float = 0.0

    def following(self, after: float) -> float | None:
        """As `Timing`. A time that the clock leaps over in spring is left out; one it shows twice is the first."""
        if not 0 <= after < LATEST:
            return None
        # Runs are at whole seconds, and a fraction must not be rounded up to the next one.
        local: datetime | None = datetime.fromtimestamp(math.floor(after), self.zone).replace(tzinfo=None)
        while local is not None and (local := self.cron.following(local)) is not None:
            found = local.replace(tzinfo=self.zone).timestamp()
            exists = datetime.fromtimestamp(found, self.zone).replace(tzinfo=None) == local
            if exists and found > after:
                return found
        return None

    def latest(self, after: float, until: float) -> float | None:
        """As `Timing`."""
        found, later = None, self.following(after)
        while later is not None and later <= until:
            found, later = later, self.following(later)
        return found


@dataclass(frozen=True, slots=True)
class Once:
    """At one time."""

    moment: float
    beat: float = 0.0

    def following(self, after: float) -> float | None:
        """As `Timing`."""
        return self.moment if self.moment > after else None

    def latest(self, after: float, until: float) -> float | None:
        """As `Timing`."""
        return self.moment if after < self.moment <= until else None


@dataclass(frozen=True, slots=True)
class Within:
    """Another timing, from StartDate to EndDate, both included."""

    timing: Timing
    start: float = -math.inf
    end: float = math.inf

    @property
    def beat(self) -> float:
        """As `Timing`."""
        return self.timing.beat

    def following(self, after: float) -> float | None:
        """As `Timing`."""
        found = self.timing.following(self._begin(after))
        return found if found is not None and found <= self.end else None

    def latest(self, after: float, until: float) -> float | None:
        """As `Timing`."""
        return self.timing.latest(self._begin(after), min(until, self.end))

    def _begin(self, after: float) -> float:
        return max(after, math.nextafter(self.start, -math.inf))


def parse_expression(
    text: str,
    *,
    once: bool = False,
    zone: tzinfo = UTC,
    start: float | None = None,
    end: float | None = None,
    time_scale: float = 1.0,
) -> Timing:
    """Read a ScheduleExpression.

    Args:
        text: `rate(5 minutes)`, `cron(0 8 ? * MON-FRI *)` or, with `once`, `at(2026-11-20T13:00:00)`.
        once: whether `at` may be: EventBridge's Scheduler has it, its rules have not.
        zone: of cron and at.
        start: StartDate.
        end: EndDate.
        time_scale: of the settings.

    Raises:
        ValueError: with what is wrong.
    """
    timing: Timing
    if found := _CRON.fullmatch(text):
        timing = CronTiming(parse_cron(found[1]), zone)
    elif found := _RATE.fullmatch(text):
        timing = Rate(max(SHORTEST_BEAT, _interval(int(found[1]), found[2]) / time_scale), start or 0.0)
    elif once and (found := _AT.fullmatch(text)):
        return Once(_moment(found[1], zone))  # it has neither beginning nor end
    else:
        forms = "rate(5 minutes), cron(0 8 ? * MON-FRI *)"
        forms += " or at(2026-11-20T13:00:00)" if once else ""
        raise ValueError(f"has not one of the forms {forms}")
    if start is None and end is None:
        return timing
    return Within(timing, -math.inf if start is None else start, math.inf if end is None else end)


def _interval(value: int, unit: str) -> float:
    singular = unit.removesuffix("s")
    if singular not in _SECONDS or value == 0:
        raise ValueError("a rate is a number from 1 on and minute, hour or day, such as rate(5 minutes)")
    if (value == 1) != (unit == singular):
        right = singular if value == 1 else f"{singular}s"
        raise ValueError(f"a rate of {value} is in {right}, not in {unit}")
    return value * _SECONDS[singular]


def _moment(text: str, zone: tzinfo) -> float:
    try:
        return datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()
    except (ValueError, OverflowError):
        raise ValueError(f"{text} is no time") from None
