"""How many pollers a mapping has: scaled by its lag, within its bounds, never more than partitions, calmly (C.8)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poller.policy.scaling import CONCURRENCY_PER_POLLER, LOOK_INTERVAL, Look, Scaling, scaled
from poller.policy.workers import PollerBounds

ON_DEMAND = PollerBounds(1)
"""C.8: starts with one consumer, and has no maximum but the partitions."""


@dataclass
class Mapping:
    """A mapping that is looked at; what is counted grows by so much a minute."""

    bounds: PollerBounds = ON_DEMAND
    partitions: int | None = 8
    state: Scaling = field(init=False)
    look: Look = field(init=False)

    def __post_init__(self) -> None:
        self.state = Scaling(self.bounds.minimum)
        self.look = Look(at=0.0, partitions=self.partitions)
        self.state = scaled(self.state, self.look, self.bounds)

    def minute(self, lag: int, finished: float = 600.0, **counted: float) -> int:
        """Another minute, with that lag at its end; so many pollers the mapping has then."""
        was = self.look
        self.look = Look(
            at=was.at + LOOK_INTERVAL,
            partitions=self.partitions,
            lag=lag,
            in_work=1 if lag else 0,
            finished=was.finished + finished,
            invocations=was.invocations + 10,
            errors=was.errors + counted.get("errors", 0),
            busy=was.busy + counted.get("busy", 0),
            read=was.read + counted.get("read", 0),
            short=was.short + counted.get("short", 0),
        )
        self.state = scaled(self.state, self.look, self.bounds)
        return self.state.pollers

    def minutes(self, *lags: int, finished: float = 600.0, **counted: float) -> list[int]:
        return [self.minute(lag, finished, **counted) for lag in lags]


@pytest.mark.parametrize(
    ("bounds", "partitions", "lags", "pollers"),
    [
        pytest.param(ON_DEMAND, 8, [0, 0, 0], [1, 1, 1], id="nothing to do: one"),
        pytest.param(ON_DEMAND, 8, [5000, 9000, 9000], [1, 2, 8], id="a lag that stays: settled within three looks"),
        pytest.param(ON_DEMAND, 1, [5000, 9000, 9000], [1, 1, 1], id="one partition: one"),
        pytest.param(ON_DEMAND, 8, [5000, 0, 5000, 0], [1, 1, 1, 1], id="a lag that is gone at the next look"),
        pytest.param(ON_DEMAND, 8, [500, 400, 300], [1, 1, 1], id="a lag that is worked off within the minute"),
        pytest.param(ON_DEMAND, 8, [8, 8, 8], [1, 1, 1], id="a record of each partition that just came"),
        pytest.param(PollerBounds(2, 4), 8, [5000, 9000, 9000], [2, 4, 4], id="up to MaximumPollers"),
        pytest.param(PollerBounds(3, 200), 8, [5000, 9000, 9000], [3, 6, 8], id="up to the partitions"),
        pytest.param(PollerBounds(3, 3), 8, [5000, 9000, 9000], [3, 3, 3], id="minimum and maximum equal"),
        pytest.param(PollerBounds(6, 200), 4, [0], [4], id="the minimum, but no more than partitions"),
    ],
)
def test_the_number_follows_the_lag_within_its_bounds(
    bounds: PollerBounds, partitions: int, lags: Sequence[int], pollers: Sequence[int]
) -> None:  # C.8
    assert Mapping(bounds, partitions).minutes(*lags) == pollers


def test_the_number_goes_back_once_the_lag_was_gone_for_three_looks() -> None:  # C.8
    mapping = Mapping()
    assert mapping.minutes(5000, 9000, 9000) == [1, 2, 8]
    assert mapping.minutes(0, 0, 0, finished=10) == [8, 8, 1]
    assert mapping.state.reason == "lag 0"


def test_a_lag_in_between_is_no_reason_to_change_and_ends_what_was_about_to() -> None:
    mapping = Mapping()
    mapping.minutes(5000, 9000, 9000)
    assert mapping.minutes(0, 0, 400, 0, 0, 400) == [8] * 6


def test_pollers_stay_that_the_present_work_needs() -> None:  # C.8: 5 invocations or 5 MB/s each
    by_concurrency = Mapping()
    by_concurrency.minutes(5000, 9000, 9000, finished=6)
    assert by_concurrency.minutes(0, 0, 0, 0, finished=6, busy=60 * 11) == [8, 8, 3, 3]  # 11 at work at once
    by_bytes = Mapping()
    by_bytes.minutes(5000, 9000, 9000, finished=6)
    assert by_bytes.minutes(0, 0, 0, 0, finished=6, read=60 * 18e6) == [8, 8, 4, 4]


def test_pollers_stay_whose_pace_is_needed_so_that_the_lag_does_not_come_back() -> None:
    mapping = Mapping()
    assert mapping.minutes(5000, 9000, 9000, finished=600) == [1, 2, 8]
    assert mapping.minutes(9000, finished=2400) == [8]  # behind with all of them: 300 a minute each
    assert mapping.minutes(0, 0, 0, 0, finished=1200) == [8, 8, 5, 5]  # 1200 / (300 * 0.8)


@pytest.mark.parametrize("trouble", [{"short": 45.0}, {"errors": 6.0}], ids=["throttles", "errors"])
def test_throttles_and_errors_bring_the_number_down_and_keep_it_there(trouble: dict[str, float]) -> None:  # C.8
    mapping = Mapping()
    mapping.minutes(5000, 9000, 9000)
    assert mapping.minutes(9000, 9000, 9000, 9000, **trouble) == [4, 2, 1, 1]
    assert mapping.minutes(*[9000] * 14) == [1] * 14, "not at once up and down again"
    assert mapping.minutes(9000, 9000) == [8, 8]


def test_throttles_never_go_below_the_minimum() -> None:  # C.8
    mapping = Mapping(PollerBounds(3, 200))
    assert mapping.minutes(9000, 9000, short=60.0) == [3, 3]


def test_a_few_failures_and_short_waits_change_nothing() -> None:
    mapping = Mapping()
    assert mapping.minutes(5000, 9000, 9000, errors=5, short=10.0) == [1, 2, 8]


def test_a_lag_of_which_nothing_is_handed_over_asks_for_nobody() -> None:
    """More pollers do not help when none can read, as while the group rebalances."""
    mapping = Mapping()
    for _ in range(5):
        mapping.look = Look(at=mapping.look.at + LOOK_INTERVAL, partitions=8, lag=9000)
        mapping.state = scaled(mapping.state, mapping.look, ON_DEMAND)
    assert mapping.state.pollers == 1


def test_partitions_that_are_added_and_a_topic_made_smaller_count_at_once() -> None:
    mapping = Mapping(PollerBounds(4, 200), partitions=2)
    assert mapping.state.pollers == 2
    for partitions, pollers in ((4, 4), (3, 3), (None, 3)):
        moment = Look(at=mapping.look.at + 0.1, partitions=partitions)
        mapping.state = scaled(mapping.state, moment, mapping.bounds)
        assert mapping.state.pollers == pollers


def test_between_two_looks_nothing_is_decided() -> None:  # C.8
    state = scaled(Scaling(1), Look(0.0, 8, lag=9000, in_work=1), ON_DEMAND)
    for second in range(1, 60):
        state = scaled(state, Look(float(second), 8, lag=9000, in_work=1), ON_DEMAND)
        assert state.pollers == 1
    assert scaled(state, Look(60.0, 8, lag=9000, in_work=1), ON_DEMAND).pollers == 2


def test_a_time_scale_makes_the_looks_more_frequent() -> None:
    state = scaled(Scaling(1), Look(0.0, 8, lag=9000, in_work=1), ON_DEMAND, interval=1.0)
    assert scaled(state, Look(1.0, 8, lag=9000, in_work=1), ON_DEMAND, interval=1.0).pollers == 2


def test_the_maximum_is_divided_over_the_workers() -> None:  # C.8
    parts = [PollerBounds(1, 5, part, 2) for part in range(2)]
    assert [bounds.most(8) for bounds in parts] == [3, 2]
    assert [bounds.most(3) for bounds in parts] == [2, 1]
    assert [bounds.most(1) for bounds in parts] == [1, 1], (
        "the second one waits for a partition, or for the first's end"
    )
    assert [PollerBounds(1, None, part, 3).most(8) for part in range(3)] == [3, 3, 2]


bounds_of_one = st.integers(1, 12).flatmap(
    lambda least: st.builds(PollerBounds, st.just(least), st.none() | st.integers(least, 20))
)
minute = st.tuples(
    st.integers(0, 20_000),
    st.floats(0, 20_000),
    st.fixed_dictionaries(
        {"errors": st.floats(0, 10), "busy": st.floats(0, 9000), "read": st.floats(0, 1e10), "short": st.floats(0, 60)}
    ),
)


@given(bounds_of_one, st.integers(1, 16), st.lists(minute, max_size=40))
def test_whatever_happens_the_bounds_hold(
    bounds: PollerBounds, partitions: int, minutes: list[tuple[int, float, dict[str, float]]]
) -> None:  # C.8
    mapping = Mapping(bounds, partitions)
    most = min(partitions, bounds.maximum or partitions)
    for lag, finished, counted in minutes:
        pollers = mapping.minute(lag, finished, **counted)
        assert min(bounds.minimum, most) <= pollers <= most


@given(bounds_of_one, st.integers(1, 16), minute, st.lists(minute, max_size=20))
def test_when_every_minute_is_like_the_last_the_number_settles(
    bounds: PollerBounds,
    partitions: int,
    constant: tuple[int, float, dict[str, float]],
    before: list[tuple[int, float, dict[str, float]]],
) -> None:
    mapping = Mapping(bounds, partitions)
    for lag, finished, counted in before:
        mapping.minute(lag, finished, **counted)
    lag, finished, counted = constant
    numbers = [mapping.minute(lag, finished, **counted) for _ in range(40)]
    changes = [after - earlier for earlier, after in pairwise(numbers[1:]) if after != earlier]
    assert all(change > 0 for change in changes) or all(change < 0 for change in changes), "not up and down"
    assert len(set(numbers[20:])) == 1


@given(bounds_of_one, st.integers(1, 16), st.integers(0, 2000), st.integers(1, 1000))
def test_a_growing_lag_has_all_pollers_within_three_looks(
    bounds: PollerBounds, partitions: int, finished: int, more: int
) -> None:  # C.8
    mapping = Mapping(bounds, partitions)
    lags = [finished + 100 + more * turn for turn in range(1, 4)]
    assert mapping.minutes(*lags, finished=float(finished))[-1] == bounds.most(partitions)


def handled(partitions: int, arriving: float, each: float) -> Iterator[int]:
    """Pollers of a mapping on demand minute by minute: so many records arrive a minute, and so many a poller does."""
    mapping, lag = Mapping(partitions=partitions), 0.0
    while True:
        finished = min(lag + arriving, each * mapping.state.pollers)
        lag += arriving - finished
        yield mapping.minute(int(lag), finished, busy=60 * finished / each / CONCURRENCY_PER_POLLER)


@given(st.integers(1, 16), st.integers(0, 20_000), st.integers(10, 3000))
def test_constant_work_ends_in_a_constant_number(partitions: int, arriving: int, each: int) -> None:
    """What pollers do decides how the lag goes on, and that how many there are: this, too, comes to rest."""
    pollers = handled(partitions, float(arriving), float(each))
    numbers = [next(pollers) for _ in range(400)]
    turns = [after for earlier, after in pairwise(numbers) if after != earlier]
    assert len(turns) <= 4 + 3, turns
    if arriving > 1.3 * each * partitions:
        assert numbers[-1] == partitions
