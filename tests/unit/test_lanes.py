"""Lanes: order inside a shard, parallel shards, and commits that never pass unfinished work (C.4, D.1.2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from builders import answer, by_columns, function_error, positions, record, records
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from poller.model import Batch, Complete, Discard, Record, Retry, Return
from poller.policy.batching import BatchingLimits, WindowStart
from poller.policy.lane import Lane
from poller.policy.lanes import Lanes
from poller.policy.reporting import read_outcome
from poller.policy.retrying import RetryPolicy

WALL = 1_764_064_900.0


def stream(batch_size: int = 2, window: float = 10.0, **changes: object) -> Lanes:
    return Lanes(BatchingLimits(batch_size=batch_size, window=window), ordered=True, **changes)  # type: ignore[arg-type]


def queue(batch_size: int = 2, window: float = 10.0, **changes: object) -> Lanes:
    return Lanes(BatchingLimits(batch_size=batch_size, window=window), ordered=False, **changes)  # type: ignore[arg-type]


def start(lanes: Lanes, now: float = 0.0) -> tuple[Lane, Batch]:
    """The one batch that is due."""
    [(lane, batch)] = lanes.due(now, WALL)
    assert isinstance(batch, Batch)
    return lane, batch


def test_records_that_all_match_no_filter_make_no_batch() -> None:  # C.5
    lanes = stream(matches=lambda _: False)
    assert lanes.extend(records(0, 1), now=0) == 2
    assert lanes.due(99, WALL) == []
    assert lanes.take_progress().positions == {"t-0": 2}


def test_young_records_are_invoked_under_a_maximum_age() -> None:  # C.1
    lanes = stream(expired=RetryPolicy(maximum_record_age=60).split_expired)
    lanes.extend([record(0, timestamp=int(WALL * 1000)), record(1, timestamp=int(WALL * 1000))], now=0)
    assert positions(start(lanes)[1].records) == [0, 1]


def test_a_batch_waits_for_its_window_and_not_longer() -> None:  # C.4
    lanes = stream(window=5)
    lanes.extend(records(0), now=100)
    assert lanes.due(104.9, WALL) == []
    assert lanes.next_due(104.9) == 105
    assert positions(start(lanes, 105)[1].records) == [0]


def test_a_full_batch_does_not_wait() -> None:  # C.4
    lanes = stream()
    lanes.extend(records(0, 1, 2), now=0)
    assert lanes.next_due(0) == 0
    assert positions(start(lanes)[1].records) == [0, 1]


def test_the_next_batch_of_a_shard_waits_for_the_one_before_and_other_shards_do_not() -> None:  # C.4
    lanes = stream()
    lanes.extend([*records(0, 1, 2, 3), *records(7, 8, shard="t-1")], now=0)
    work = lanes.due(0, WALL)
    assert [(lane.name, positions(item.records)) for lane, item in work] == [("t-0", [0, 1]), ("t-1", [7, 8])]
    assert lanes.due(99, WALL) == []
    lane, batch = work[0]
    assert isinstance(batch, Batch)
    lanes.resolve(lane, batch, [Complete(batch.records)], now=1)
    assert positions(start(lanes)[1].records) == [2, 3]


@pytest.mark.statement(37)
def test_offsets_of_a_failing_batch_are_not_committed_and_later_ones_wait() -> None:
    """D.1.2, G 37."""
    lanes = stream()
    lanes.extend(records(0, 1, 2, 3), now=0)
    lane, batch = start(lanes)
    lanes.resolve(lane, batch, [Retry([Batch(batch.records, 0, attempt=2, not_before=9)])], now=1)
    assert not lanes.take_progress()
    assert lanes.due(8, WALL) == []
    assert lanes.next_due(8) == 9
    assert start(lanes, 9)[1].attempt == 2


def test_a_bisected_batch_is_committed_up_to_its_unfinished_half() -> None:  # C.4
    lanes = stream(batch_size=4)
    lanes.extend(records(10, 11, 12, 13), now=0)
    lane, batch = start(lanes)
    halves = [Batch(batch.records[:2], 0), Batch(batch.records[2:], 0)]
    lanes.resolve(lane, batch, [Retry(halves)], now=0)
    lane, left = start(lanes)
    lanes.resolve(lane, left, [Complete(left.records)], now=0)
    progress = lanes.take_progress()
    assert (progress.positions, progress.size) == ({"t-0": 12}, 2)
    lane, right = start(lanes)
    lanes.resolve(lane, right, [Complete(right.records)], now=0)
    assert lanes.take_progress().positions == {"t-0": 14}
    assert not lanes.take_progress(), "told once"


def test_filtered_out_records_are_committed_with_what_is_finished_around_them() -> None:  # C.5
    lanes = stream(matches=lambda value: value == b"yes")
    arrived = [record(0, value=b"no"), record(1, value=b"yes"), record(2, value=b"no")]
    assert lanes.extend(arrived, now=0) == 2
    assert lanes.take_progress().positions == {"t-0": 1}
    lane, batch = start(lanes, 10)
    assert not lanes.take_progress()
    lanes.resolve(lane, batch, [Complete(batch.records)], now=0)
    assert lanes.take_progress().positions == {"t-0": 3}


def test_a_filtered_out_message_is_acknowledged_at_once() -> None:  # C.5
    lanes = queue(matches=lambda value: value == b"yes")
    lanes.extend([record(1, value=b"no"), record(2, value=b"yes")], now=0)
    assert positions(lanes.take_progress().records) == [1]


def test_a_record_beyond_6_mb_is_discarded_and_what_follows_goes_on() -> None:  # C.4
    lanes = Lanes(BatchingLimits(batch_size=5, window=0, maximum_bytes=100), ordered=True)
    lanes.extend([record(0, size=100), record(1)], now=0)
    [(lane, discard)] = lanes.due(0, WALL)
    assert discard == Discard([record(0, size=100)], "MaximumPayloadSizeExceeded", 0, None)
    assert lanes.due(0, WALL) == [], "nothing passes it until its dead letter is durable"
    lanes.settle(lane, discard.records)
    assert positions(start(lanes)[1].records) == [1]
    assert lanes.take_progress().positions == {"t-0": 1}


def test_records_too_old_on_arrival_are_discarded_with_a_count_of_1() -> None:  # D.4
    lanes = stream(expired=RetryPolicy(maximum_record_age=60).split_expired)
    old, young = record(0, timestamp=int((WALL - 61) * 1000)), record(1, timestamp=int((WALL - 5) * 1000))
    lanes.extend([old, young], now=0)
    (lane, discard), (_, batch) = lanes.due(0, WALL)
    assert discard == Discard([old], "RecordAgeExceeded", 1, None)
    assert isinstance(batch, Batch)
    lanes.resolve(lane, batch, [Complete(batch.records)], now=0)
    assert not lanes.take_progress(), "the dead letter of offset 0 is still on its way"
    lanes.settle(lane, discard.records)
    assert lanes.take_progress().positions == {"t-0": 2}
    lanes.extend([record(2, timestamp=1)], now=0)
    assert lanes.next_due(0) == 10
    [(_, only_old)] = lanes.due(20, WALL)
    assert isinstance(only_old, Discard)


def test_a_record_that_expires_while_it_is_retried_is_discarded_after_eight_attempts_in_sixty_seconds() -> None:
    # D.4: count 8, as recorded; no attempt is made beyond the age
    policy = RetryPolicy(maximum_record_age=60)
    lanes = stream(window=0, expired=policy.split_expired)
    born = record(0, timestamp=int(WALL * 1000))
    lanes.extend([born], now=0)
    now, attempts = 0.0, 0
    while True:
        [(lane, item)] = lanes.due(now, WALL + now)
        if isinstance(item, Discard):
            break
        attempts += 1
        result = function_error()
        outcome = read_outcome(item.records, result, ordered=True, report=False)
        lanes.resolve(lane, item, policy.decide(item, outcome, result, now=now, wall=WALL + now), now)
        now = lanes.next_due(now) or now
    assert (attempts, now) == (8, pytest.approx(60.01))
    assert item == Discard([born], "RecordAgeExceeded", 8, None)


def test_a_retry_goes_on_without_the_records_that_grew_too_old() -> None:  # C.1
    lanes = stream(window=0, expired=RetryPolicy(maximum_record_age=60).split_expired)
    some = [record(0, timestamp=int(WALL * 1000)), record(1, timestamp=int((WALL + 50) * 1000))]
    lanes.extend(some, now=0)
    lane, batch = start(lanes)
    lanes.resolve(lane, batch, [Retry([Batch(batch.records, 0, attempt=4, not_before=61, event=b"{}")])], now=1)
    (_, discard), (_, again) = lanes.due(61, WALL + 61)
    assert discard == Discard([some[0]], "RecordAgeExceeded", 3, None)
    assert isinstance(again, Batch)
    assert (positions(again.records), again.attempt, again.event) == ([1], 4, None)


def test_finished_messages_are_acknowledged_whatever_else_is_unfinished() -> None:  # D.2
    lanes = queue(batch_size=3)
    lanes.extend(records(1, 2, 3), now=0)
    lane, batch = start(lanes)
    named = batch.records[1:2]
    rest = [batch.records[0], batch.records[2]]
    lanes.resolve(lane, batch, [Complete(rest), Return(named, not_before=5)], now=1)
    assert positions(lanes.take_progress().records) == [1, 3]
    assert lanes.next_due(1) == 5
    assert lanes.take_returns(4) == []
    assert lanes.held() == 1
    assert positions(lanes.take_returns(5)) == [2]
    assert lanes.held() == 0


def test_messages_in_back_off_do_not_hold_up_others() -> None:
    lanes = queue(batch_size=1)
    lanes.extend(records(1, 2), now=0)
    lane, batch = start(lanes)
    lanes.resolve(lane, batch, [Return(batch.records, not_before=60)], now=0)
    assert positions(start(lanes)[1].records) == [2]


def test_a_rejected_message_is_not_acknowledged_as_well() -> None:  # F.3
    lanes = queue(batch_size=1)
    lanes.extend(records(1), now=0)
    lane, batch = start(lanes)
    [discard] = lanes.resolve(lane, batch, [Discard(batch.records, "RetryAttemptsExhausted", 3, None)], now=0)
    assert lanes.in_work() == 1
    lanes.settle(lane, discard.records, acknowledge=False)
    assert not lanes.take_progress()
    assert lanes.in_work() == 0


def test_a_revoked_shard_is_forgotten_and_a_late_result_finds_its_lane_gone() -> None:
    lanes = stream()
    lanes.extend([*records(0, 1), *records(5, 6, shard="t-1")], now=0)
    (gone, _), (kept, _) = lanes.due(0, WALL)
    assert lanes.in_work({"t-0"}) == 1
    lanes.drop({"t-0", "never-seen"})
    assert gone not in lanes
    assert kept in lanes
    lanes.extend(records(0), now=0)
    assert gone not in lanes, "the shard came back with a lane of its own"
    assert lanes.shards() == {"t-0", "t-1"}
    lanes.drop()
    assert lanes.shards() == set()


def test_progress_can_be_asked_of_the_revoked_shards_alone() -> None:
    lanes = stream()
    lanes.extend([*records(0, 1), *records(5, 6, shard="t-1")], now=0)
    for lane, item in lanes.due(0, WALL):
        assert isinstance(item, Batch)
        lanes.resolve(lane, item, [Complete(item.records)], now=0)
    assert lanes.take_progress({"t-1"}).positions == {"t-1": 7}
    assert lanes.take_progress().positions == {"t-0": 2}


def test_a_shard_that_starts_again_from_the_beginning_gets_a_lane_of_its_own() -> None:  # topic deleted and made again
    lanes = stream()
    lanes.extend(records(50, 51), now=0)
    old, _ = start(lanes)
    lanes.extend(records(0, 1), now=0)
    assert old not in lanes
    lane, batch = start(lanes)
    lanes.resolve(lane, batch, [Complete(batch.records)], now=0)
    assert lanes.take_progress().positions == {"t-0": 2}


def test_a_shard_is_full_when_a_whole_batch_waits_behind_the_one_in_work() -> None:
    lanes = stream()
    lanes.extend(records(0, 1, 2), now=0)
    start(lanes)
    assert lanes.full_shards() == set()
    lanes.extend(records(3), now=0)
    assert lanes.full_shards() == {"t-0"}


def test_a_shard_reads_ahead_of_a_whole_batch_up_to_the_bytes_that_are_allowed() -> None:
    limits = BatchingLimits(batch_size=2, window=0, read_ahead=4 * (len(records(0)[0].encoded) + 1))
    lanes = Lanes(limits, ordered=True)
    lanes.extend(records(0, 1, 2), now=0)
    assert lanes.full_shards() == set()
    lanes.extend(records(3), now=0)
    assert lanes.full_shards() == {"t-0"}


def five_shards(concurrency: int | None = None) -> Lanes:
    lanes = Lanes(BatchingLimits(batch_size=1, window=10, concurrency=concurrency), ordered=True)
    for number in range(5):
        lanes.extend(records(0, 1, shard=f"t-{number}"), now=0)
    return lanes


def test_no_more_batches_are_in_flight_than_may_be_and_every_shard_has_its_turn() -> None:  # C.8
    lanes = five_shards(concurrency=2)
    order: list[str] = []
    running = lanes.due(0, WALL)
    while running:
        assert len(running) <= 2
        assert lanes.due(0, WALL) == []
        assert lanes.next_due(0) is None or len(running) < 2, "an answer comes before anything is due"
        lane, batch = running.pop(0)
        assert isinstance(batch, Batch)
        order.append(lane.name)
        lanes.resolve(lane, batch, [Complete(batch.records)], now=0)
        running += lanes.due(0, WALL)
    assert order == [f"t-{number}" for number in range(5)] * 2


def test_a_limit_that_changes_counts_from_the_next_batch_on() -> None:  # C.1, C.8
    lanes = five_shards(concurrency=1)
    lanes.due(0, WALL)
    lanes.change(BatchingLimits(batch_size=1, window=10, concurrency=3), matches=None, expired=None)
    assert len(lanes.due(0, WALL)) == 2
    lanes.change(BatchingLimits(batch_size=1, window=10), matches=None, expired=None)
    assert len(lanes.due(0, WALL)) == 2


def test_without_a_limit_all_shards_are_in_flight() -> None:  # C.8
    assert len(five_shards().due(0, WALL)) == 5


def test_a_batch_that_comes_again_waits_for_its_turn_like_others() -> None:  # C.8
    lanes = five_shards(concurrency=1)
    lane, batch = start(lanes)
    lanes.resolve(lane, batch, [Retry([Batch(batch.records, 0, attempt=2)])], now=0)
    assert [start(lanes, 0)[0].name] == ["t-1"]


def test_dead_letters_on_their_way_are_no_invocations_and_a_shard_that_was_lost_leaves_its_place() -> None:  # C.8
    lanes = five_shards(concurrency=1)
    lane, batch = start(lanes)
    [discard] = lanes.resolve(lane, batch, [Discard(batch.records, "RetryAttemptsExhausted", 1, None)], now=0)
    assert lanes.in_work() == 1
    lost, _ = start(lanes)
    assert lanes.due(0, WALL) == []
    lanes.drop([lost.name])
    assert start(lanes)[0].name == "t-2"
    lanes.settle(lane, discard.records)


def test_what_waits_for_its_batch_to_fill_is_told_apart_from_what_waits_for_the_handler() -> None:  # C.8
    lanes = stream(batch_size=3, window=5)
    lanes.extend([*records(0, 1), *records(0, 1, 2, 3, shard="t-1")], now=0)
    assert lanes.filling(1) == 2, "t-1 has a batch"
    assert lanes.filling(5) == 0, "the window is over"
    lanes.due(1, WALL)
    assert lanes.filling(1) == 2, "the last of t-1 waits for the batch before it"


def test_a_shard_s_backlog_is_what_was_polled_and_is_not_finished() -> None:  # C.9
    lanes = stream()
    lanes.extend(records(5, 6, 7), now=0)
    assert lanes.backlog() == {"t-0": 3}
    lane, batch = start(lanes)
    assert lanes.backlog() == {"t-0": 3}
    lanes.resolve(lane, batch, [Complete(batch.records)], now=0)
    assert lanes.backlog() == {"t-0": 1}


def window(start_of: WindowStart) -> Lanes:
    return Lanes(BatchingLimits(batch_size=2, window=10, window_start=start_of), ordered=True)


def test_an_on_demand_kafka_window_starts_when_the_previous_invocation_ends() -> None:  # C.4
    lanes = window(WindowStart.PREVIOUS_RESULT)
    lanes.extend(records(0, 1), now=0)
    lane, batch = start(lanes)
    lanes.resolve(lane, batch, [Complete(batch.records)], now=7)
    lanes.extend(records(2), now=9)
    assert lanes.next_due(9) == 17


def test_a_provisioned_kafka_window_starts_when_the_previous_batch_is_handed_over() -> None:  # C.4
    lanes = window(WindowStart.PREVIOUS_HANDOVER)
    lanes.extend(records(0, 1), now=0)
    lane, batch = start(lanes, now=3)
    lanes.resolve(lane, batch, [Complete(batch.records)], now=7)
    lanes.extend(records(2), now=9)
    assert lanes.next_due(9) == 13


def test_an_mq_window_starts_with_the_first_record_of_the_batch() -> None:  # C.4
    lanes = window(WindowStart.FIRST_RECORD)
    lanes.extend(records(0, 1), now=0)
    lane, batch = start(lanes, now=3)
    lanes.resolve(lane, batch, [Complete(batch.records)], now=7)
    lanes.extend(records(2), now=9)
    assert lanes.next_due(9) == 19


@pytest.mark.parametrize("made", [records, by_columns])
def test_a_new_filter_passes_over_what_waits_and_leaves_what_is_in_work(
    made: Callable[..., Sequence[Record]],
) -> None:  # C.5
    lanes = stream(batch_size=2)
    lanes.extend(made(1, 2, 3, 4, 5), now=0)
    lane, batch = start(lanes)
    assert lanes.change(lanes.limits, matches=lambda value: value != b"v", expired=None) == 3
    assert positions(batch.records) == [1, 2]
    assert lanes.due(99, WALL) == []
    lanes.resolve(lane, batch, [Complete(batch.records)], now=0)
    assert lanes.take_progress().positions == {"t-0": 6}
    assert (lanes.held(), lane.buffers["t-0"].size) == (0, 0)


def test_a_shard_goes_on_behind_its_last_record_where_offsets_are_missing() -> None:  # D.1.2
    lanes = stream(batch_size=3)
    lanes.extend(by_columns(1, 5, 9), now=0)
    lane, batch = start(lanes)
    lanes.resolve(lane, batch, [Complete(batch.records)], now=0)
    assert lanes.take_progress().positions == {"t-0": 10}


class CommitsNeverPassUnfinishedWork(RuleBasedStateMachine):
    """Streams against a naive model: whatever the order of answers, retries and revocations, a committed position
    has only finished records before it, it never goes back, and every record is finished exactly once, in order if
    no partial batch response says otherwise. Records come as lists or by columns."""

    @initialize(
        batch_size=st.integers(1, 4),
        retries=st.integers(0, 2),
        bisect=st.booleans(),
        concurrency=st.none() | st.integers(1, 2),
        made=st.sampled_from([records, by_columns]),
    )
    def begin(
        self,
        batch_size: int,
        retries: int,
        bisect: bool,
        concurrency: int | None,
        made: Callable[..., Sequence[Record]],
    ) -> None:
        self.made = made
        self.named = False
        self.lanes = Lanes(BatchingLimits(batch_size=batch_size, window=1, concurrency=concurrency), ordered=True)
        self.concurrency = concurrency
        self.policy = RetryPolicy(maximum_retry_attempts=retries, bisect_batch_on_function_error=bisect)
        self.now = 0.0
        self.next_offset = {"t-0": 0, "t-1": 0}
        self.committed = {"t-0": 0, "t-1": 0}
        self.finished: dict[str, list[int]] = {"t-0": [], "t-1": []}
        self.running: list[tuple[Lane, Batch | Discard]] = []

    @rule(shard=st.sampled_from(["t-0", "t-1"]), count=st.integers(1, 6))
    def records_arrive(self, shard: str, count: int) -> None:
        first = self.next_offset[shard]
        self.lanes.extend(self.made(*range(first, first + count), shard=shard), self.now)
        self.next_offset[shard] = first + count

    @rule(seconds=st.sampled_from([0.0, 0.5, 1.0, 100.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.running += self.lanes.due(self.now, WALL)
        for shard in ("t-0", "t-1"):
            assert sum(lane.name == shard and lane in self.lanes for lane, _ in self.running) <= 1
        invoked = sum(isinstance(item, Batch) and lane in self.lanes for lane, item in self.running)
        assert self.concurrency is None or invoked <= self.concurrency

    @precondition(lambda self: self.running)
    @rule(data=st.data(), ends=st.sampled_from(["well", "thrown", "one named"]))
    def an_answer_comes(self, data: st.DataObject, ends: str) -> None:
        lane, item = self.running.pop(data.draw(st.integers(0, len(self.running) - 1)))
        if lane not in self.lanes:
            return
        if isinstance(item, Discard):
            self._finish(lane, item.records)
            self.lanes.settle(lane, item.records)
            return

        named = item.records[data.draw(st.integers(0, len(item.records) - 1))]
        one_failed = {"itemIdentifier": {"partition": named.shard, "offset": named.position}}
        result = {
            "well": answer(),
            "thrown": function_error(),
            "one named": answer({"batchItemFailures": [one_failed]}),
        }[ends]
        self.named |= ends == "one named"
        outcome = read_outcome(item.records, result, ordered=True, report=True)
        decisions = self.policy.decide(item, outcome, result, now=self.now, wall=WALL)
        for decision in decisions:
            if isinstance(decision, Complete):
                self._finish(lane, decision.records)
        self.running += [(lane, discard) for discard in self.lanes.resolve(lane, item, decisions, self.now)]

    def _finish(self, lane: Lane, done: Sequence[Record]) -> None:
        self.finished[lane.name] += positions(done)

    @rule()
    def progress_is_committed(self) -> None:
        for shard, position in self.lanes.take_progress().positions.items():
            assert position > self.committed[shard]
            assert set(range(position)) <= set(self.finished[shard]), "a commit passed unfinished work"
            self.committed[shard] = position

    @rule(shard=st.sampled_from(["t-0", "t-1"]))
    def a_shard_is_revoked_and_comes_back(self, shard: str) -> None:
        self.committed.update(self.lanes.take_progress({shard}).positions)
        self.lanes.drop({shard})
        self.next_offset[shard] = self.committed[shard]
        self.finished[shard] = [position for position in self.finished[shard] if position < self.committed[shard]]

    @invariant()
    def records_are_finished_once_and_in_order_save_those_behind_one_that_was_named(self) -> None:
        for finished in getattr(self, "finished", {}).values():
            assert len(set(finished)) == len(finished)
            assert self.named or finished == list(range(len(finished)))


CommitsNeverPassUnfinishedWork.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
test_commits_never_pass_unfinished_work = CommitsNeverPassUnfinishedWork.TestCase
