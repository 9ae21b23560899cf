"""AWS's cron expressions: which minutes they mean, and which expressions there are not."""

# ruff: noqa: DTZ001 - expressions count without a time zone

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poller.triggers.cron import Cron, parse_cron

WEDNESDAY = datetime(2026, 11, 25, 10, 30, 20)


def times(expression: str, count: int = 3, after: datetime = WEDNESDAY) -> list[str]:
    """The next minutes of an expression."""
    cron, found = parse_cron(expression), []
    while len(found) < count and (following := cron.following(after)) is not None:
        found.append(f"{following:%a %Y-%m-%d %H:%M}")
        after = following
    return found


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("* * * * ? *", ["Wed 2026-11-25 10:31", "Wed 2026-11-25 10:32"]),
        ("0 10 * * ? *", ["Thu 2026-11-26 10:00", "Fri 2026-11-27 10:00"]),
        ("15 12 * * ? *", ["Wed 2026-11-25 12:15", "Thu 2026-11-26 12:15"]),
        ("0 18 ? * MON-FRI *", ["Wed 2026-11-25 18:00", "Thu 2026-11-26 18:00", "Fri 2026-11-27 18:00"]),
        ("0 8 1 * ? *", ["Tue 2026-12-01 08:00", "Fri 2027-01-01 08:00"]),
        ("0/15 * * * ? *", ["Wed 2026-11-25 10:45", "Wed 2026-11-25 11:00", "Wed 2026-11-25 11:15"]),
        ("1/10 11 * * ? *", ["Wed 2026-11-25 11:01", "Wed 2026-11-25 11:11"]),
        ("10-20/5 11 * * ? *", ["Wed 2026-11-25 11:10", "Wed 2026-11-25 11:15", "Wed 2026-11-25 11:20"]),
        ("*/40 11 * * ? *", ["Wed 2026-11-25 11:00", "Wed 2026-11-25 11:40"]),
        ("0 0 L * ? *", ["Mon 2026-11-30 00:00", "Thu 2026-12-31 00:00", "Sun 2027-01-31 00:00"]),
        ("0 0 L FEB ? 2027-2028", ["Sun 2027-02-28 00:00", "Tue 2028-02-29 00:00"]),
        ("0 0 29 2 ? *", ["Tue 2028-02-29 00:00", "Sun 2032-02-29 00:00"]),
        ("0 0 31 * ? *", ["Thu 2026-12-31 00:00", "Sun 2027-01-31 00:00", "Wed 2027-03-31 00:00"]),
        ("0 0 1/10 * ? *", ["Tue 2026-12-01 00:00", "Fri 2026-12-11 00:00", "Mon 2026-12-21 00:00"]),
        # The 1st of August 2026 is a Saturday before our time; that of 2027 is a Sunday.
        ("0 0 1W AUG ? 2026-2027", ["Mon 2027-08-02 00:00"]),
        ("0 0 28W * ? *", ["Fri 2026-11-27 00:00", "Mon 2026-12-28 00:00", "Thu 2027-01-28 00:00"]),
        ("0 0 29W NOV ? *", ["Mon 2026-11-30 00:00", "Mon 2027-11-29 00:00"]),
        ("0 0 31W JAN,OCT ? 2027", ["Fri 2027-01-29 00:00", "Fri 2027-10-29 00:00"]),
        ("0 0 ? * 3#2 *", ["Tue 2026-12-08 00:00", "Tue 2027-01-12 00:00"]),
        ("0 0 ? * FRI#5 *", ["Fri 2027-01-29 00:00", "Fri 2027-04-30 00:00"]),
        ("15 10 ? * 6L *", ["Fri 2026-11-27 10:15", "Fri 2026-12-25 10:15"]),
        ("0 0 ? * L *", ["Sat 2026-11-28 00:00", "Sat 2026-12-05 00:00"]),
        ("0 0 ? * 1 *", ["Sun 2026-11-29 00:00", "Sun 2026-12-06 00:00"]),
        ("0 0 ? jan,jul sun,Wed *", ["Sun 2027-01-03 00:00", "Wed 2027-01-06 00:00"]),
        ("0 9,17 25 NOV ? 2026", ["Wed 2026-11-25 17:00"]),
        ("0 0 31 2 ? *", []),
        ("0 0 1 1 ? 2020", []),
    ],
)
def test_an_expression_means_these_minutes(expression: str, expected: list[str]) -> None:
    assert times(expression, max(2, len(expected)))[: len(expected)] == expected
    if not expected:
        assert times(expression) == []


@pytest.mark.parametrize(
    ("expression", "told"),
    [
        ("", "six fields, Minutes Hours Day-of-month Month Day-of-week Year, not 0"),
        ("0 0 * * ?", "not 5"),
        ("0 0 * * * *", "exactly one of Day-of-month and Day-of-week has to be ?"),
        ("0 0 ? * ? *", "exactly one"),
        ("0 0 1 * MON *", "exactly one"),
        ("60 0 * * ? *", "Minutes has '60', which is not 0 to 59"),
        ("0 24 * * ? *", "Hours has '24'"),
        ("0 0 0 * ? *", "Day-of-month has '0'"),
        ("0 0 32 * ? *", "Day-of-month has '32'"),
        ("0 0 1 JANUARY ? *", "Month has 'JANUARY', which is not 1 to 12 or JAN to DEC"),
        ("0 0 ? * 0 *", "Day-of-week has '0', which is not 1 to 7 or SUN to SAT"),
        ("0 0 ? * FRI-MON *", "'FRI-MON', which runs backwards"),
        ("0 0 ? * 2/2 *", "takes no increments"),
        ("0 0 ? * 2#6 *", "that day 1 to 5 times"),
        ("0 0 ? * 2#0 *", "that day 1 to 5 times"),
        ("0 0 LW * ? *", "Day-of-month has 'L'"),
        ("0 0 L-3 * ? *", "Day-of-month has 'L'"),
        ("0 0 W * ? *", "Day-of-month has ''"),
        ("0/0 0 * * ? *", "whose increment is not 1 or more"),
        ("0/x 0 * * ? *", "whose increment"),
        ("-5 0 * * ? *", "Minutes has ''"),
        ("1,,2 0 * * ? *", "Minutes has ''"),
        ("? 0 * * ? *", "Minutes has '?'"),
        ("0 0 * * ? 2200", "Year has '2200', which is not 1970 to 2199"),
        ("0 0 * * ? 99999999999999999999", "Year has"),
        ("٣ 0 * * ? *", "Minutes has"),
    ],
)
def test_what_is_no_expression_is_told_by_its_field(expression: str, told: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_cron(expression)
    assert told in str(caught.value)


# --- any expression, against one that tries every minute -------------------------------------------------------------


def _field(first: int, last: int) -> st.SearchStrategy[tuple[str, set[int]]]:
    """A field's text, and the numbers it means."""
    numbers = st.integers(first, last)
    everything = set(range(first, last + 1))
    ranges = st.tuples(numbers, numbers).map(lambda pair: (min(pair), max(pair)))
    part = st.one_of(
        numbers.map(lambda n: (str(n), {n})),
        ranges.map(lambda r: (f"{r[0]}-{r[1]}", set(range(r[0], r[1] + 1)))),
        st.tuples(numbers, st.integers(1, 20)).map(lambda p: (f"{p[0]}/{p[1]}", set(range(p[0], last + 1, p[1])))),
    )
    several = st.lists(part, min_size=1, max_size=3).map(
        lambda parts: (",".join(text for text, _ in parts), set().union(*(values for _, values in parts)))
    )
    return st.one_of(st.just(("*", everything)), several)


def _aws_weekday(moment: datetime) -> int:
    return moment.isoweekday() % 7 + 1


def _last_of_month(moment: datetime) -> bool:
    return (moment + timedelta(days=1)).month != moment.month


def _nearest_weekday(moment: datetime, wanted: int) -> bool:
    """Whether it is the working day that lies nearest to a day of its month, and the month has that day."""
    first = moment.replace(day=1)
    month = [
        first + timedelta(days=number) for number in range(31) if (first + timedelta(days=number)).month == first.month
    ]
    working = [day.day for day in month if day.isoweekday() <= 5]
    return wanted <= len(month) and moment.day == min(working, key=lambda day: abs(day - wanted))


DAYS = st.one_of(
    st.integers(1, 31).map(lambda day: (f"{day}W", "?", lambda moment: _nearest_weekday(moment, day))),
    _field(1, 31).map(lambda f: (f[0], "?", lambda moment: moment.day in f[1])),
    st.just(("L", "?", _last_of_month)),
    st.sets(st.integers(1, 7), min_size=1).map(
        lambda days: ("?", ",".join(map(str, days)), lambda moment: _aws_weekday(moment) in days)
    ),
    st.tuples(st.integers(1, 7), st.integers(1, 4)).map(
        lambda p: (
            "?",
            f"{p[0]}#{p[1]}",
            lambda moment: _aws_weekday(moment) == p[0] and (moment.day - 1) // 7 == p[1] - 1,
        )
    ),
    st.integers(1, 7).map(
        lambda day: (
            "?",
            f"{day}L",
            lambda moment: _aws_weekday(moment) == day and (moment + timedelta(days=7)).month != moment.month,
        )
    ),
)
MOMENTS = st.datetimes(datetime(2023, 12, 1), datetime(2024, 3, 5))
STEPS = 60 * 24 * 40
"""Minutes that the walker tries."""


@settings(deadline=None, max_examples=60)
@given(minutes=_field(0, 59), hours=_field(0, 23), days=DAYS, months=_field(1, 12), after=MOMENTS)
def test_the_next_minute_is_the_one_that_trying_every_minute_finds(
    minutes: tuple[str, set[int]],
    hours: tuple[str, set[int]],
    days: tuple,
    months: tuple[str, set[int]],
    after: datetime,
) -> None:
    cron: Cron = parse_cron(f"{minutes[0]} {hours[0]} {days[0]} {months[0]} {days[1]} *")
    found = cron.following(after)
    walker = after.replace(second=0, microsecond=0)
    end = walker + timedelta(minutes=STEPS)
    while walker < end:
        walker += timedelta(minutes=1)
        if not days[2](walker) or walker.month not in months[1]:
            walker = walker.replace(hour=23, minute=59)
        elif walker.hour not in hours[1]:
            walker = walker.replace(minute=59)
        elif walker.minute in minutes[1]:
            assert found == walker
            return
    assert found is None or found > end - timedelta(days=1)
