"""AWS's cron expressions: six fields, and which minutes they mean. Pure: times are arguments, without a time zone.

`cron(Minutes Hours Day-of-month Month Day-of-week Year)`. Sunday is day 1 of the week. One of the two fields for days
is `?`. Ranges that run backwards, increments in Day-of-week, `LW` and `L-3` are not in AWS's manual and are refused.
"""

from __future__ import annotations

import calendar
import re
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

Days = Callable[[int, int], Sequence[int]]
"""Days of a month, in order, by year and month."""

_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_MOST_WEEKS = 5
_NUMBER = re.compile("[0-9]{1,4}")


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    first: int
    last: int
    names: Mapping[str, int]
    increments: bool = True

    def number(self, text: str) -> int:
        value = int(text) if _NUMBER.fullmatch(text) else self.names.get(text.upper(), -1)
        if not self.first <= value <= self.last:
            hint = f" or {next(iter(self.names))} to {list(self.names)[-1]}" if self.names else ""
            raise ValueError(f"{self.name} has {text!r}, which is not {self.first} to {self.last}{hint}")
        return value

    def values(self, text: str) -> tuple[int, ...]:
        """Numbers that a field of the common kind means, in order: `*`, `7`, `1-5`, `0/10` and lists of them."""
        found: set[int] = set()
        for part in text.split(","):
            base, slash, step = part.partition("/")
            if slash and not self.increments:
                raise ValueError(f"{self.name} has {part!r}, and takes no increments")
            if slash and not (_NUMBER.fullmatch(step) and int(step)):
                raise ValueError(f"{self.name} has {part!r}, whose increment is not 1 or more")
            begin, dash, end = base.partition("-")
            if base == "*":
                first, last = self.first, self.last
            else:
                first = self.number(begin)
                last = self.number(end) if dash else self.last if slash else first
            if last < first:
                raise ValueError(f"{self.name} has {part!r}, which runs backwards")
            found.update(range(first, last + 1, int(step) if slash else 1))
        return tuple(sorted(found))


_MINUTES = _Field("Minutes", 0, 59, {})
_HOURS = _Field("Hours", 0, 23, {})
_DAY_OF_MONTH = _Field("Day-of-month", 1, 31, {})
_MONTH = _Field("Month", 1, 12, {name: number for number, name in enumerate(_MONTHS, start=1)})
_DAY_OF_WEEK = _Field(
    "Day-of-week", 1, 7, {name: number for number, name in enumerate(_WEEKDAYS, start=1)}, increments=False
)
_YEAR = _Field("Year", 1970, 2199, {})


@dataclass(frozen=True, slots=True)
class Cron:
    """One expression, read."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: Days
    months: tuple[int, ...]
    years: tuple[int, ...]

    def following(self, moment: datetime) -> datetime | None:
        """The first minute of the expression after a moment; None when there is none any more.

        Args:
            moment: local time of wherever the expression counts, without a time zone.
        """
        start = moment.replace(second=0, microsecond=0, fold=0) + timedelta(minutes=1)
        for year in self.years[bisect_left(self.years, start.year) :]:
            months = self.months if year > start.year else self.months[bisect_left(self.months, start.month) :]
            for month in months:
                days = self.days(year, month)
                if (year, month) == (start.year, start.month):
                    days = days[bisect_left(days, start.day) :]
                for day in days:
                    found = self._in_day(year, month, day, start)
                    if found is not None:
                        return found
        return None

    def _in_day(self, year: int, month: int, day: int, start: datetime) -> datetime | None:
        if (year, month, day) != (start.year, start.month, start.day):
            return datetime(year, month, day, self.hours[0], self.minutes[0])  # noqa: DTZ001 - local to the expression
        for hour in self.hours[bisect_left(self.hours, start.hour) :]:
            minutes = self.minutes
            if hour == start.hour:
                minutes = minutes[bisect_left(minutes, start.minute) :]
            if minutes:
                return datetime(year, month, day, hour, minutes[0])  # noqa: DTZ001
        return None


def parse_cron(text: str) -> Cron:
    """Read what stands between `cron(` and `)`.

    Raises:
        ValueError: with the field and what is wrong with it.
    """
    fields = text.split()
    if len(fields) != 6:  # noqa: PLR2004 - as many as it has
        raise ValueError(
            f"a cron expression has six fields, Minutes Hours Day-of-month Month Day-of-week Year, not {len(fields)}"
        )
    minutes, hours, day_of_month, month, day_of_week, year = fields
    if (day_of_month == "?") == (day_of_week == "?"):
        raise ValueError("exactly one of Day-of-month and Day-of-week has to be ?")
    days = _days_of_week(day_of_week) if day_of_month == "?" else _days_of_month(day_of_month)
    return Cron(_MINUTES.values(minutes), _HOURS.values(hours), days, _MONTH.values(month), _YEAR.values(year))


# --- days -----------------------------------------------------------------------------------------------------------


def _days_of_month(text: str) -> Days:
    if text == "L":
        return lambda year, month: (_length(year, month),)
    if text[-1:] == "W":
        day = _DAY_OF_MONTH.number(text[:-1])
        return lambda year, month: _nearest_weekday(year, month, day)
    wanted = _DAY_OF_MONTH.values(text)
    return lambda year, month: wanted[: bisect_left(wanted, _length(year, month) + 1)]


def _days_of_week(text: str) -> Days:
    if match := re.fullmatch(r"(\w+)#(\d)", text):
        weekday, number = _python_weekday(_DAY_OF_WEEK.number(match[1])), int(match[2])
        if not 1 <= number <= _MOST_WEEKS:
            raise ValueError(f"Day-of-week has {text!r}, and a month has that day 1 to {_MOST_WEEKS} times")
        return lambda year, month: _weekdays(year, month, weekday)[number - 1 : number]
    if text != "L" and text[-1:] == "L":
        last = _python_weekday(_DAY_OF_WEEK.number(text[:-1]))
        return lambda year, month: _weekdays(year, month, last)[-1:]
    wanted = {_python_weekday(day) for day in ((7,) if text == "L" else _DAY_OF_WEEK.values(text))}
    return lambda year, month: tuple(
        day for day in range(1, _length(year, month) + 1) if calendar.weekday(year, month, day) in wanted
    )


def _length(year: int, month: int) -> int:
    return calendar.monthrange(year, month)[1]


def _python_weekday(day: int) -> int:
    """Python counts from Monday, 0; AWS from Sunday, 1."""
    return (day - 2) % 7


def _weekdays(year: int, month: int, weekday: int) -> tuple[int, ...]:
    first, length = calendar.monthrange(year, month)
    return tuple(range(1 + (weekday - first) % 7, length + 1, 7))


def _nearest_weekday(year: int, month: int, day: int) -> tuple[int, ...]:
    """Monday to Friday, nearest to a day and in its month; none in a month without that day."""
    length = _length(year, month)
    if day > length:
        return ()
    match calendar.weekday(year, month, day):
        case 5:  # Saturday
            return (day - 1,) if day > 1 else (day + 2,)
        case 6:  # Sunday
            return (day + 1,) if day < length else (day - 2,)
    return (day,)
