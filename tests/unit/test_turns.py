"""What is kept of lanes, so that not all are looked at in each turn of the loop, is what all would say (C.4, C.8)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from builders import answer, function_error, record, records
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from poller.model import Batch, Discard
from poller.policy.batching import BatchingLimits
from poller.policy.lane import Lane
from poller.policy.lanes import Lanes
from poller.policy.reporting import read_outcome
from poller.policy.retrying import RetryPolicy

WALL = 1_764_064_900.0
SHARDS = "t-0", "t-1", "t-2"


def shards(lanes: Lanes) -> list[str]:
    """Of what is due, answered well at once."""
    found = []
    for lane, item in lanes.due(0, WALL):
        assert isinstance(item, Batch)
        found.append(lane.name)
        outcome = read_outcome(item.records, answer(), ordered=True, report=False)
        decisions = RetryPolicy().decide(item, outcome, answer(), now=0, wall=WALL)
        lanes.resolve(lane, item, decisions, 0)
    return found


@pytest.mark.parametrize("concurrency", [1, 2])
def test_of_lanes_that_all_have_enough_each_has_its_turn(concurrency: int) -> None:  # C.8
    lanes = Lanes(BatchingLimits(batch_size=1, concurrency=concurrency), ordered=True)
    for shard in SHARDS:
        lanes.extend(records(*range(9), shard=shard), 0)
    turns = [name for _ in range(6 // concurrency) for name in shards(lanes)]
    assert turns == [*SHARDS, *SHARDS]


def test_a_lane_that_waits_for_its_window_keeps_no_other_from_its_turn() -> None:  # C.4
    lanes = Lanes(BatchingLimits(batch_size=2, window=10, concurrency=1), ordered=True)
    lanes.extend(records(0, shard="t-0"), 0)
    lanes.extend(records(0, 1, shard="t-1"), 0)
    assert shards(lanes) == ["t-1"]
    assert lanes.next_due(0) == 10


def test_what_is_done_of_a_lane_that_is_gone_gives_it_no_turn() -> None:
    limits = BatchingLimits(batch_size=1)
    lanes = Lanes(limits, ordered=True, expired=lambda some, _: (list(some), []))
    lanes.extend(records(0, 1), 0)
    [(lane, too_old)] = lanes.due(0, WALL)
    lanes.drop({"t-0"})
    lanes.settle(lane, too_old.records)
    assert lanes.next_due(0) is None
    assert lanes.due(0, WALL) == []


def test_a_share_grows_when_another_shard_of_its_lane_goes() -> None:  # D.1.1
    lanes = Lanes(BatchingLimits(batch_size=2, read_ahead=33), ordered=True, mixed=True)
    lanes.extend([*records(0, 1, shard="t-0"), *records(0, shard="t-1")], 0)
    assert lanes.full_shards() == {"t-0"}
    lanes.drop({"t-1"})
    assert lanes.full_shards() == set()


def test_a_shard_that_went_before_anybody_looked_is_not_held_back() -> None:
    lanes = Lanes(BatchingLimits(batch_size=2), ordered=True)
    lanes.extend([*records(0, 1, shard="t-0"), *records(0, 1, shard="t-1")], 0)
    lanes.drop({"t-0"})
    assert lanes.full_shards() == {"t-1"}


class LooksAtAll(RuleBasedStateMachine):
    """Every rule that changes a lane, and after each the answers of a model that looks at all lanes."""

    @initialize(
        ordered=st.booleans(), mixed=st.booleans(), concurrency=st.none() | st.integers(1, 2), looks=st.integers(0, 2)
    )
    def begin(self, ordered: bool, mixed: bool, concurrency: int | None, looks: int) -> None:
        self.ordered = ordered
        limits = BatchingLimits(batch_size=2, window=1, read_ahead=33, concurrency=concurrency)
        self.lanes = Lanes(limits, ordered=ordered, mixed=mixed and ordered, expired=self._split)
        self.now = 0.0
        self.looks = looks
        self.following = dict.fromkeys(SHARDS, 0)
        self.running: list[tuple[Lane, Batch | Discard]] = []

    def _split(self, some, _wall):
        """One of a batch is too old, now and then."""
        old = [one for one in some if one.position % 3 == 2]
        return old, [one for one in some if one not in old]

    @rule(shard=st.sampled_from(SHARDS), number=st.integers(1, 5), size=st.sampled_from([10, 40]))
    def arrive(self, shard: str, number: int, size: int) -> None:
        first = self.following[shard]
        some = [record(position, shard=shard, size=size) for position in range(first, first + number)]
        self.lanes.extend(some, self.now)
        self.following[shard] += number

    @rule(seconds=st.sampled_from([0.0, 0.5, 1.0, 50.0]))
    def hand_over(self, seconds: float) -> None:
        self.now += seconds
        self.running += self.lanes.due(self.now, WALL)
        following = self.lanes.next_due(self.now)
        returns = [item.not_before for lane in self.lanes._lanes.values() for item in lane.returns]
        assert following is None or following > self.now or following in returns, "something was passed over"

    @precondition(lambda self: self.running)
    @rule(data=st.data(), well=st.booleans())
    def be_answered(self, data: st.DataObject, well: bool) -> None:
        lane, item = self.running.pop(data.draw(st.integers(0, len(self.running) - 1)))
        if lane not in self.lanes:
            if isinstance(item, Discard):
                self.lanes.settle(lane, item.records)  # it changes nothing any more
            return
        if isinstance(item, Discard):
            self.lanes.settle(lane, item.records)
            return
        result = answer() if well else function_error()
        outcome = read_outcome(item.records, result, ordered=self.ordered, report=False)
        policy = RetryPolicy(maximum_retry_attempts=2, bisect_batch_on_function_error=self.ordered)
        decisions = policy.decide(item, outcome, result, now=self.now, wall=WALL)
        self.running += [(lane, discard) for discard in self.lanes.resolve(lane, item, decisions, self.now)]

    @rule(gone=st.none() | st.sets(st.sampled_from(SHARDS), min_size=1))
    def revoke(self, gone: set[str] | None) -> None:
        self.lanes.drop(gone)

    @rule(batch_size=st.integers(1, 3), read_ahead=st.sampled_from([0, 33]))
    def change(self, batch_size: int, read_ahead: int) -> None:
        limits = replace(self.lanes.limits, batch_size=batch_size, read_ahead=read_ahead)
        self.lanes.change(limits, matches=lambda value: value is not None, expired=self._split)

    @precondition(lambda self: not self.ordered)
    @rule()
    def give_back(self) -> None:
        self.lanes.give_back()

    @rule()
    def return_messages(self) -> None:
        self.lanes.take_returns(self.now)

    @invariant()
    def nothing_is_overlooked(self) -> None:
        if not hasattr(self, "lanes"):
            return
        lanes, limits = list(self.lanes._lanes.values()), self.lanes.limits
        self.looks += 1
        if self.looks % 3:  # not after each change, as the loop
            assert self.lanes.full_shards() == {shard for lane in lanes for shard in lane.full_shards(limits)}
        assert self.lanes.is_busy() == any(lane.is_busy() for lane in lanes)
        assert self.lanes.any_ready() == any(lane.is_busy() and lane.is_full(limits) for lane in lanes)
        times = [item.not_before for lane in lanes for item in lane.returns]
        if limits.concurrency is None or sum(lane.invoked for lane in lanes) < limits.concurrency:
            for lane in lanes:
                if not lane.is_busy() and lane.waiting:
                    times.append(lane.waiting[0].not_before)
                elif not lane.is_busy() and lane.has_some():
                    times.append(self.now if lane.is_full(limits) else lane.window_end(limits))
        assert self.lanes.next_due(self.now) == min(times, default=None)


LooksAtAll.TestCase.settings = settings(max_examples=300, stateful_step_count=50, deadline=None)
test_what_is_kept_is_what_all_would_say = LooksAtAll.TestCase
