"""When schedules run: rates, times of a clock in time zones, and clocks that jump."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poller.triggers.cron import parse_cron
from poller.triggers.due_runs import LATE, Look, look
from poller.triggers.schedule_expressions import Rate, Timing, Within, parse_expression

BERLIN = ZoneInfo("Europe/Berlin")
HOUR = 3600.0


def at(text: str) -> float:
    return datetime.fromisoformat(f"{text}+00:00").timestamp()


def following(timing: Timing, after: str, count: int = 3) -> list[str]:
    found, moment = [], at(after)
    while len(found) < count and (moment := timing.following(moment)) is not None:  # type: ignore[assignment]
        found.append(f"{datetime.fromtimestamp(moment, UTC):%d %H:%M:%S}")
    return found


# --- expressions ----------------------------------------------------------------------------------------------------


def test_a_rate_keeps_its_beat_whenever_the_service_starts() -> None:
    timing = parse_expression("rate(15 minutes)")
    assert following(timing, "2026-11-25T10:31:07") == ["25 10:45:00", "25 11:00:00", "25 11:15:00"]
    assert following(timing, "2026-11-25T10:44:59.999") == ["25 10:45:00", "25 11:00:00", "25 11:15:00"]
    assert following(timing, "2026-11-25T10:45:00", 1) == ["25 11:00:00"], "what runs now does not run again"


def test_a_rate_counts_from_its_start_date_and_ends_with_its_end_date() -> None:
    timing = parse_expression("rate(2 hours)", start=at("2026-11-25T10:07:00"), end=at("2026-11-25T14:07:00"))
    assert following(timing, "2026-11-25T08:00:00", 5) == ["25 10:07:00", "25 12:07:00", "25 14:07:00"]


def test_time_scale_makes_a_minute_of_a_rate_a_second_and_leaves_cron_alone() -> None:
    assert following(parse_expression("rate(1 minute)", time_scale=60), "2026-11-25T10:00:00") == [
        "25 10:00:01",
        "25 10:00:02",
        "25 10:00:03",
    ]
    cron = parse_expression("cron(0/30 * * * ? *)", time_scale=60)
    assert following(cron, "2026-11-25T10:00:00") == ["25 10:30:00", "25 11:00:00", "25 11:30:00"]


def test_cron_counts_in_its_time_zone() -> None:
    timing = parse_expression("cron(0 8 * * ? *)", zone=BERLIN)
    assert following(timing, "2026-11-25T00:00:00", 1) == ["25 07:00:00"]
    assert following(timing, "2026-07-25T00:00:00", 1) == ["25 06:00:00"], "in summer"


def test_a_time_that_spring_leaps_over_is_left_out() -> None:
    timing = parse_expression("cron(30 2 * * ? *)", zone=BERLIN)
    assert following(timing, "2026-03-28T00:00:00") == ["28 01:30:00", "30 00:30:00", "31 00:30:00"]


def test_a_time_that_autumn_shows_twice_runs_once() -> None:
    timing = parse_expression("cron(30 2 * * ? *)", zone=BERLIN)
    assert following(timing, "2026-10-24T01:00:00") == ["25 00:30:00", "26 01:30:00", "27 01:30:00"]
    assert following(timing, "2026-10-25T01:10:00", 1) == ["26 01:30:00"], "the second 2:10 of that night"


@settings(deadline=None, max_examples=25)
@given(
    minutes=st.sampled_from(["0", "*/15", "7,37", "0-5"]),
    hours=st.sampled_from(["*", "1-3", "2", "0/2"]),
    zone=st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "UTC"]),
    day=st.sampled_from(
        ["2026-03-08", "2026-03-29", "2026-10-25", "2026-11-01", "2026-04-05", "2026-10-04", "2026-02-15"]
    ),
)
def test_around_a_change_of_the_clock_every_minute_that_exists_runs_once(
    minutes: str, hours: str, zone: str, day: str
) -> None:
    """Compared with a walk over the minutes of UTC: a local time counts the first time that a clock shows it."""
    local, plain = ZoneInfo(zone), parse_cron(f"{minutes} {hours} * * ? *")
    begin, end = at(f"{day}T00:00:00") - 12 * HOUR, at(f"{day}T00:00:00") + 36 * HOUR
    expected, shown = [], set()
    for moment in range(int(begin - 6 * HOUR), int(end) + 1, 60):
        clock = datetime.fromtimestamp(moment, local).replace(tzinfo=None)
        is_meant = plain.following(clock - timedelta(minutes=1)) == clock
        if is_meant and clock not in shown and begin < moment:
            expected.append(moment)
        shown.add(clock)
    timing = parse_expression(f"cron({minutes} {hours} * * ? *)", zone=local)
    found, moment = [], begin
    while (moment := timing.following(moment)) is not None and moment <= end:  # type: ignore[assignment]
        found.append(moment)
    assert found == expected


def test_at_runs_once() -> None:
    timing = parse_expression("at(2026-11-25T13:00:00)", once=True, zone=BERLIN)
    assert following(timing, "2026-11-25T00:00:00") == ["25 12:00:00"]
    assert following(timing, "2026-11-25T12:00:00") == []


def test_a_moment_just_before_a_minute_is_not_rounded_up_over_it() -> None:
    timing = parse_expression("cron(* * * * ? *)")
    minute = at("2026-11-25T10:00:00")
    assert timing.following(math.nextafter(minute, 0)) == minute


@pytest.mark.parametrize(
    ("expression", "told"),
    [
        ("rate(0 minutes)", "a rate is a number from 1 on"),
        ("rate(1 minutes)", "a rate of 1 is in minute, not in minutes"),
        ("rate(5 minute)", "a rate of 5 is in minutes, not in minute"),
        ("rate(5 weeks)", "minute, hour or day"),
        ("rate(5)", "has not one of the forms"),
        ("rate(-5 minutes)", "has not one of the forms"),
        ("rate(9999999999 days)", "has not one of the forms"),
        ("5 minutes", "has not one of the forms"),
        ("cron(* * * * * *)", "exactly one"),
        ("at(2026-11-25T13:00:00)", "rate(5 minutes), cron(0 8 ? * MON-FRI *)"),
    ],
)
def test_what_is_no_expression_is_told(expression: str, told: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_expression(expression)
    assert told in str(caught.value)


def test_a_date_that_is_none_is_told() -> None:
    with pytest.raises(ValueError, match="2026-02-30T00:00:00 is no time"):
        parse_expression("at(2026-02-30T00:00:00)", once=True)


@given(
    beat=st.floats(0.001, 1e6),
    origin=st.floats(0, 2e9),
    after=st.floats(0, 4e9),
)
def test_the_next_run_of_a_rate_is_later_and_none_lies_between(beat: float, origin: float, after: float) -> None:
    for timing in (Rate(beat, origin), Within(Rate(beat, origin), start=origin)):
        found = timing.following(after)
        assert found is not None
        assert after < found <= max(after, origin) + 2 * beat
        latest = timing.latest(after, found)
        assert latest is not None
        assert after < latest <= found


# --- looking at the clock -------------------------------------------------------------------------------------------

HOURLY = parse_expression("cron(0 * * * ? *)")
EVERY_MINUTE = parse_expression("rate(1 minute)")
NOON = at("2026-11-25T12:00:00")


def runs(timing: Timing, *moments: float) -> list[float]:
    """Runs that looks at these moments find, counted from noon."""
    found, seen = [], moments[0]
    for moment in moments[1:]:
        looked = look(timing, seen, moment)
        seen = looked.seen
        if looked.run is not None:
            found.append(looked.run - NOON)
    return found


def test_a_run_is_found_once() -> None:
    assert runs(HOURLY, NOON - 2, NOON - 1, NOON, NOON + 0.5, NOON + 59, NOON + 61) == [0]


def test_a_look_that_comes_late_still_finds_the_run() -> None:
    assert runs(HOURLY, NOON - 1, NOON + LATE - 1) == [0]


def test_what_a_stopped_machine_missed_is_not_made_up() -> None:
    looked = look(HOURLY, NOON - 1, NOON + 5 * HOUR - 100)
    assert looked == Look(NOON + 5 * HOUR - 100, None, missed=True)


@pytest.mark.parametrize("timing", [EVERY_MINUTE, parse_expression("cron(* * * * ? *)")])
def test_a_clock_that_leaps_a_day_ahead_brings_one_run_and_no_storm(timing: Timing) -> None:
    looked = look(timing, NOON + 1, NOON + 86_400 + 1)
    assert (looked.run, looked.missed) == (NOON + 86_400, True)


def test_a_rate_that_is_hurried_brings_one_run_at_a_look() -> None:
    timing = parse_expression("rate(1 minute)", time_scale=1e9)
    looked = look(timing, NOON, NOON + 30)
    assert looked.run is not None
    assert look(timing, looked.seen, NOON + 30).run is None


def test_a_clock_set_back_an_hour_runs_nothing_of_the_clock_twice() -> None:
    back = NOON - HOUR
    assert runs(HOURLY, NOON - 1, NOON + 1, back + 2, back + 60, NOON - 1, NOON + 1, NOON + HOUR) == [0, HOUR]


def test_a_clock_that_was_wrong_by_a_day_counts_anew() -> None:
    back = NOON - 86_400
    assert runs(HOURLY, NOON - 1, NOON + 1, back + 2, back + HOUR + 2) == [0, -86_400 + HOUR]


def test_a_rate_goes_on_after_a_clock_is_set_back() -> None:
    back = NOON - HOUR
    assert runs(EVERY_MINUTE, NOON - 1, NOON, back + 1, back + 60) == [0, -HOUR + 60]


def test_a_clock_that_trembles_at_the_minute_runs_it_once() -> None:
    assert runs(EVERY_MINUTE, NOON - 1, NOON + 0.01, NOON - 0.01, NOON + 0.01) == [0]
    assert runs(HOURLY, NOON - 1, NOON + 0.01, NOON - 0.01, NOON + 0.01) == [0]


@given(st.lists(st.floats(-4000, 4000), min_size=1, max_size=60))
def test_whatever_a_clock_does_no_minute_of_it_runs_twice(jumps: list[float]) -> None:
    """… as long as it is not set back by three hours at once."""
    clock, moments = NOON, [NOON]
    for jump in jumps:
        clock += jump
        moments.append(clock)
    found = runs(parse_expression("cron(* * * * ? *)"), *moments)
    lowest = min(moments)
    if max(moments) - lowest < 3 * HOUR:
        assert len(set(found)) == len(found)
    assert len(found) <= len(jumps)
