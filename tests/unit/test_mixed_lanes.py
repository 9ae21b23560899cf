"""EventGrouping: Poller. One batch of all partitions of a poller, and what a partition that goes away takes with it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import pytest
from builders import answer, by_columns, function_error, positions, record, records
from hypothesis import given
from hypothesis import strategies as st
from scripted import Letters, Rig

from poller.model import Batch, Complete, Decision, Discard, Record, Retry
from poller.policy.batching import BatchingLimits, RecordBuffer, take_fairly
from poller.policy.lane import Lane
from poller.policy.lanes import Lanes
from poller.policy.reporting import read_outcome
from poller.policy.retrying import RetryPolicy

WALL = 1_764_064_900.0


def mixed(batch_size: int = 4, window: float = 10.0, **changes: object) -> Lanes:
    return Lanes(BatchingLimits(batch_size=batch_size, window=window), ordered=True, mixed=True, **changes)  # type: ignore[arg-type]


def start(lanes: Lanes, now: float = 0.0) -> tuple[Lane, Batch]:
    """The one batch that is due."""
    [(lane, batch)] = lanes.due(now, WALL)
    assert isinstance(batch, Batch)
    return lane, batch


def of(found: Sequence[Record], shard: str) -> list[int]:
    return positions([item for item in found if item.shard == shard])


def two_of_each() -> tuple[Lanes, Lane, Batch]:
    """A batch of `t-0` 0, 1 and `t-1` 5, 6 in work."""
    lanes = mixed()
    lanes.extend([*records(0, 1), *records(5, 6, shard="t-1")], now=0)
    return lanes, *start(lanes)


def test_one_batch_holds_records_of_several_partitions_and_the_next_waits_for_it() -> None:  # D.1.1
    lanes = mixed()
    lanes.extend([*records(0), *records(5, 6, shard="t-1"), *records(1, 2)], now=0)
    lane, batch = start(lanes)
    assert (of(batch.records, "t-0"), of(batch.records, "t-1")) == ([0, 1], [5, 6])
    lanes.extend(records(9, shard="t-2"), now=0)
    assert lanes.due(99, WALL) == [], "one batch in work"
    lanes.resolve(lane, batch, [Complete(batch.records)], now=0)
    assert lanes.take_progress().positions == {"t-0": 2, "t-1": 7}
    lane, rest = start(lanes, 99)
    assert (of(rest.records, "t-0"), of(rest.records, "t-2")) == ([2], [9])


def test_commits_pass_unfinished_work_of_no_partition() -> None:  # D.1.2
    lanes, lane, batch = two_of_each()
    named = [batch.records[1]]
    lanes.resolve(
        lane,
        batch,
        [Complete([batch.records[0], *batch.records[2:]]), Retry([Batch(named, 0, 2, not_before=9)])],
        now=0,
    )
    assert lanes.take_progress().positions == {"t-0": 1, "t-1": 7}
    assert (lanes.held(), lanes.next_due(0)) == (1, 9)
    lane, again = start(lanes, 9)
    assert not lanes.take_progress()
    lanes.resolve(lane, again, [Complete(again.records)], now=0)
    assert lanes.take_progress().positions == {"t-0": 2}


def test_records_that_wait_hold_the_commit_of_their_own_partition_only() -> None:
    lanes = mixed(batch_size=2)
    lanes.extend([*records(0, 1), *records(5, shard="t-1")], now=0)
    lane, batch = start(lanes)
    lanes.resolve(lane, batch, [Complete(batch.records)], now=0)
    assert lanes.take_progress({"t-1"}).positions == {"t-1": 6}
    assert lanes.take_progress().positions == {"t-0": 1}


# What was decided of the batch when `t-1` had gone; what waits for its retry, and what is discarded, afterwards.
DECIDED = [
    ("handled", lambda some: [Complete(some)], [], []),
    ("failed", lambda some: [Retry([Batch(some, 0, 2)])], [[0, 1]], []),
    ("bisected", lambda some: [Retry([Batch(some[:2], 0), Batch(some[2:], 0)])], [[0, 1]], []),
    ("bisected across", lambda some: [Retry([Batch(some[:1], 0), Batch(some[1:], 0)])], [[0], [1]], []),
    ("partly handled", lambda some: [Complete(some[:1]), Retry([Batch(some[1:], 0, 2)])], [[1]], []),
    ("given up", lambda some: [Discard(some, "RetryAttemptsExhausted", 3, None)], [], [[0, 1]]),
    ("too old, of both", lambda some: [Discard(some[1:3], "RecordAgeExceeded", 3, None)], [], [[1]]),
    ("too old, of the other", lambda some: [Discard(some[3:], "RecordAgeExceeded", 3, None)], [], []),
]


@pytest.mark.parametrize(
    ("decided", "waiting", "discarded"), [row[1:] for row in DECIDED], ids=[row[0] for row in DECIDED]
)
def test_what_is_decided_counts_for_the_partitions_that_are_still_here(
    decided: object, waiting: list[list[int]], discarded: list[list[int]]
) -> None:
    lanes, lane, batch = two_of_each()
    lanes.drop({"t-1"})
    assert lane in lanes
    assert (lanes.in_work({"t-0"}), lanes.in_work({"t-1"}), lanes.shards()) == (1, 0, {"t-0"})
    decisions: list[Decision] = decided(batch.records)  # type: ignore[operator]
    discards = lanes.resolve(lane, batch, decisions, now=0)
    assert [positions(item.records) for item in discards] == discarded
    for discard in discards:
        lanes.settle(lane, discard.records)
    found = []
    while lane.waiting:
        _, again = start(lanes, 99)
        found.append(positions(again.records))
        assert again.event is None, "built of the records that are left"
        lanes.resolve(lane, again, [Complete(again.records)], now=99)
    assert found == waiting
    assert lanes.take_progress().positions == {"t-0": 2}
    assert lanes.held() == 0


@pytest.mark.parametrize("made", [records, by_columns])
def test_a_partial_failure_is_that_of_what_is_left_when_a_partition_went_meanwhile(
    made: Callable[..., Sequence[Record]],
) -> None:  # C.6
    lanes = mixed()
    for some in made(0, 1), made(5, 6, shard="t-1"):
        lanes.extend(some, now=0)
    lane, batch = start(lanes)
    lanes.drop({"t-1"})
    failures = [{"itemIdentifier": {"partition": shard, "offset": at}} for shard, at in (("t-0", 1), ("t-1", 5))]
    result = answer({"batchItemFailures": failures})
    outcome = read_outcome(batch.records, result, ordered=True, report=True)
    lanes.resolve(lane, batch, RetryPolicy().decide(batch, outcome, result, now=0, wall=WALL), now=0)
    assert lanes.take_progress().positions == {"t-0": 1}
    assert positions(start(lanes, 99)[1].records) == [1]


def test_a_batch_that_waits_for_its_retry_goes_on_without_the_partition_that_went() -> None:
    lanes, lane, batch = two_of_each()
    lanes.resolve(lane, batch, [Retry([Batch(batch.records, 0, 2, not_before=9, event=b"{}")])], now=0)
    lanes.drop({"t-1"})
    _, again = start(lanes, 9)
    assert (positions(again.records), again.attempt, again.event) == ([0, 1], 2, None)


def test_a_batch_whose_partitions_all_went_is_forgotten_but_waited_for() -> None:
    lanes, lane, batch = two_of_each()
    lanes.extend(records(7, shard="t-1"), now=0)
    lanes.drop({"t-0", "t-1"})
    assert (lanes.in_work(), lanes.held(), lanes.next_due(0)) == (0, 0, None)
    lanes.extend(records(0), now=0)
    assert lanes.due(99, WALL) == [], "the poller's one batch has no answer yet"
    assert lanes.resolve(lane, batch, [Retry([batch])], now=0) == []
    assert positions(start(lanes, 99)[1].records) == [0]


def test_a_partition_that_comes_back_meanwhile_is_not_touched_by_the_answer_to_its_former_records() -> None:
    lanes, lane, batch = two_of_each()
    lanes.drop({"t-1"})
    lanes.extend(records(5, 6, shard="t-1"), now=0)
    lanes.resolve(lane, batch, [Complete(batch.records)], now=0)
    assert lanes.take_progress().positions == {"t-0": 2}
    assert of(start(lanes, 99)[1].records, "t-1") == [5, 6]


def test_a_partition_that_starts_over_leaves_the_others_alone() -> None:
    lanes, lane, batch = two_of_each()
    lanes.extend(records(0, shard="t-1"), now=0)
    lanes.resolve(lane, batch, [Complete(batch.records)], now=0)
    assert lanes.take_progress().positions == {"t-0": 2}
    assert of(start(lanes, 99)[1].records, "t-1") == [0]


def test_records_that_wait_go_with_their_partition_and_the_others_keep_their_place_and_time() -> None:
    lanes = Lanes(BatchingLimits(batch_size=9, window=10), ordered=True, mixed=True)
    lanes.extend([*records(5, shard="t-1"), *records(0)], now=0)
    lanes.extend([*records(1), *records(6, shard="t-1")], now=4)
    lanes.drop({"t-1"})
    assert (lanes.held(), lanes.next_due(0)) == (2, 10)
    assert positions(start(lanes, 10)[1].records) == [0, 1]


def test_a_batch_closes_before_6_mb_with_the_envelope_of_each_partition() -> None:  # C.4
    limits = BatchingLimits(batch_size=9, window=0, overhead=10, maximum_bytes=120, overhead_of_shard=20)
    lanes = Lanes(limits, ordered=True, mixed=True)
    lanes.extend([item for shard in ("t-0", "t-1") for item in records(0, 1, shard=shard, size=21)], now=0)
    lane, batch = start(lanes)
    assert len(batch.records) == 4, "4 x 22 bytes and 30 of envelope"
    lanes.resolve(lane, batch, [Complete(batch.records)], now=0)
    lanes.extend([record(2, shard=f"t-{number}", size=21) for number in range(4)], now=0)
    _, batch = start(lanes)
    assert len(batch.records) == 2, "of four partitions there is room for 50 bytes only"


def test_a_record_that_fits_into_an_event_of_its_own_is_not_discarded() -> None:  # C.4
    limits = BatchingLimits(batch_size=9, window=0, overhead=10, maximum_bytes=100, overhead_of_shard=20)
    lanes = Lanes(limits, ordered=True, mixed=True)
    for now, item in enumerate([record(0, size=89), record(0, shard="t-1", size=90), record(1)]):
        lanes.extend([item], now)
    lane, batch = start(lanes)
    assert positions(batch.records) == [0]
    lanes.resolve(lane, batch, [Complete(batch.records)], now=0)
    [(lane, discard)] = lanes.due(0, WALL)
    assert discard == Discard([record(0, shard="t-1", size=90)], "MaximumPayloadSizeExceeded", 0, None)
    lanes.settle(lane, discard.records)
    assert positions(start(lanes, 9)[1].records) == [1]
    assert lanes.take_progress().positions == {"t-0": 1, "t-1": 1}


def test_a_partition_is_full_when_its_share_of_a_batch_waits() -> None:
    lanes = mixed(batch_size=4)
    lanes.extend([*records(0, 1), *records(5, shard="t-1")], now=0)
    assert lanes.full_shards() == {"t-0"}
    lanes.extend(records(6, shard="t-1"), now=0)
    assert lanes.full_shards() == {"t-0", "t-1"}


# Records that wait by partition, the oldest partition first; BatchSize; how many of each are in the batch.
SHARES = [
    ([9, 9], 4, [2, 2]),
    ([9, 1], 4, [3, 1]),
    ([1, 9], 4, [1, 3]),
    ([9, 9, 9], 4, [2, 2, 0]),  # the third one is the oldest next time
    ([9, 9, 9], 2, [1, 1, 0]),
    ([1, 1, 1], 9, [1, 1, 1]),
]


@pytest.mark.parametrize(("waiting", "batch_size", "taken"), SHARES)
def test_a_backlog_of_one_partition_leaves_the_others_their_share(
    waiting: list[int], batch_size: int, taken: list[int]
) -> None:
    lanes = mixed(batch_size, window=0)
    for number, count in enumerate(waiting):
        lanes.extend(records(*range(count), shard=f"t-{number}"), now=number)
    _, batch = start(lanes, 99)
    assert [of(batch.records, f"t-{number}") for number in range(len(waiting))] == [
        list(range(count)) for count in taken
    ]


@given(
    sizes=st.lists(st.lists(st.integers(1, 60), min_size=1, max_size=5), min_size=1, max_size=4),
    batch_size=st.integers(1, 6),
)
def test_batches_of_several_partitions_take_everything_in_order_within_the_limits(
    sizes: list[list[int]], batch_size: int
) -> None:  # C.4
    limits = BatchingLimits(batch_size, 0, overhead=10, maximum_bytes=100, overhead_of_shard=7)
    buffers = [RecordBuffer() for _ in sizes]
    for number, buffer in enumerate(buffers):
        buffer.add([record(at, shard=f"t-{number}", size=size) for at, size in enumerate(sizes[number])], number % 2)
    taken: list[Record] = []
    while waiting := [buffer for buffer in buffers if buffer]:
        oldest = min(waiting, key=lambda buffer: buffer.first_seen)
        first = f"t-{buffers.index(oldest)}", oldest.first_position
        batch = take_fairly(waiting, limits)
        assert 1 <= len(batch) <= batch_size
        assert first in [(item.shard, item.position) for item in batch], "whoever has waited longest is not passed over"
        shards = len({item.shard for item in batch})
        assert sum(len(item.encoded) + 1 for item in batch) + 10 + 7 * (shards - 1) <= 100
        taken += batch
    for number, some in enumerate(sizes):
        assert of(taken, f"t-{number}") == list(range(len(some)))


def test_records_too_old_on_arrival_are_discarded_whichever_their_partition() -> None:  # D.4
    lanes = mixed(expired=RetryPolicy(maximum_record_age=60).split_expired)
    old = [record(0, timestamp=1), record(5, shard="t-1", timestamp=1)]
    lanes.extend([*old, record(6, shard="t-1", timestamp=int(WALL * 1000))], now=0)
    (lane, discard), (_, batch) = lanes.due(10, WALL)
    assert discard == Discard(old, "RecordAgeExceeded", 1, None)
    assert isinstance(batch, Batch)
    lanes.resolve(lane, batch, [Complete(batch.records)], now=10)
    assert not lanes.take_progress(), "the dead letters are on their way"
    lanes.settle(lane, discard.records)
    assert lanes.take_progress().positions == {"t-0": 1, "t-1": 7}


# --- the loop ------------------------------------------------------------------------------------------------------


def rig(**changes: object) -> Rig:
    made = Rig(mixed=True, limits=BatchingLimits(batch_size=4, window=0), **changes)  # type: ignore[arg-type]
    made.poller.open()
    made.arrive(0, 1)
    made.arrive(5, 6, shard="t-1")
    made.step()
    assert made.pool.running() == [[0, 1, 5, 6]]
    return made


def test_named_records_of_a_mixed_batch_come_again_alone() -> None:  # C.6
    loop = rig(report=True)
    named = [{"itemIdentifier": {"partition": shard, "offset": offset}} for shard, offset in (("t-0", 1), ("t-1", 5))]
    loop.pool.answer(answer({"batchItemFailures": named}))
    loop.step()
    loop.step(60)
    assert loop.pool.running() == [[1, 5]]
    assert loop.source.committed() == {"t-0": 1}
    loop.pool.answer(answer())
    loop.step()
    loop.step(1)
    assert loop.source.committed() == {"t-0": 2, "t-1": 7}


def test_a_revoked_partition_gets_the_grace_and_takes_what_is_finished_along() -> None:
    loop = rig()
    assert loop.source.listener is not None
    loop.pool.answer(answer())
    assert loop.source.listener.revoked(["t-1"]).positions == {"t-1": 7}
    loop.step(1)
    assert loop.source.committed() == {"t-0": 2}


def test_after_the_grace_the_answer_still_counts_for_the_partition_that_stayed() -> None:
    loop = rig()
    assert loop.source.listener is not None
    loop.clock.monotonic = iter(range(2000, 9999)).__next__  # type: ignore[method-assign]
    assert not loop.source.listener.revoked(["t-1"])
    loop.pool.answer(answer())
    loop.step(1)
    assert loop.source.committed() == {"t-0": 2}
    assert loop.pool.running() == []


def test_dead_letters_are_of_the_records_whose_partition_stayed() -> None:  # D.1.4
    letters = Letters()
    loop = rig(retry=RetryPolicy(maximum_retry_attempts=0), letters=letters)
    assert loop.source.listener is not None
    loop.source.listener.lost(["t-0"])
    loop.pool.answer(function_error())
    loop.step()
    [(sent, _)] = letters.waiting
    assert [json.loads(letter.body) for letter in sent] == [5, 6]
    letters.deliver()
    loop.step(1)
    assert loop.source.committed() == {"t-1": 7}
