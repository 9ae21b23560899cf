"""Batches close by count, window or 6 MB (C.4)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from builders import by_columns, positions, record, records
from hypothesis import given
from hypothesis import strategies as st

from poller.model import Record
from poller.policy.batching import BatchingLimits, RecordBuffer
from poller.records import Records


def test_a_batch_is_full_at_batch_size() -> None:  # C.4
    buffer = RecordBuffer()
    limits = BatchingLimits(batch_size=3)
    buffer.add(records(1, 2), now=0)
    assert not buffer.is_full(limits)
    buffer.add(records(3, 4), now=1)
    assert buffer.is_full(limits)
    assert positions(buffer.take(limits)) == [1, 2, 3]
    assert positions(buffer.take(limits)) == [4]
    assert len(buffer) == 0
    assert buffer.size == 0


def test_a_batch_closes_before_its_payload_would_exceed_the_limit_with_the_envelope_counted() -> None:  # C.4
    limits = BatchingLimits(batch_size=100, overhead=30, maximum_bytes=64)
    buffer = RecordBuffer()
    buffer.add(records(1, 2, 3, 4, size=10), now=0)  # 11 bytes each with the comma, 34 are free
    assert buffer.is_full(limits)
    assert positions(buffer.take(limits)) == [1, 2, 3]


def test_a_record_too_big_for_any_event_comes_alone() -> None:  # C.4
    limits = BatchingLimits(maximum_bytes=50)
    buffer = RecordBuffer()
    buffer.add([record(1, size=60), record(2, size=5)], now=0)
    assert positions(buffer.take(limits)) == [1]
    assert positions(buffer.take(limits)) == [2]


def test_the_window_of_what_stays_behind_counts_from_its_own_arrival() -> None:  # C.4
    buffer = RecordBuffer()
    buffer.add(records(1, 2), now=10)
    buffer.add(records(3, 4), now=11)
    limits = BatchingLimits(batch_size=1)
    buffer.take(limits)
    assert buffer.first_seen == 10
    buffer.take(limits)
    assert buffer.first_seen == 11
    assert buffer.first_position == 3


def with_values(*positions: int) -> Records:
    return by_columns(*positions, values=[b"%d" % position for position in positions])


@pytest.mark.parametrize("made", [with_values, lambda *positions: list(with_values(*positions))])
def test_what_is_kept_of_records_that_are_partly_taken_are_some_of_the_others(
    made: Callable[..., Sequence[Record]],
) -> None:  # C.5
    buffer = RecordBuffer()
    buffer.add(made(1, 2, 3), now=10)
    buffer.add(made(4, 5), now=11)
    buffer.take(BatchingLimits(batch_size=2))
    assert positions(buffer.keep(lambda value: value != b"4")) == [4]
    assert (len(buffer), buffer.first_seen) == (2, 10)
    size = buffer.size
    rest = buffer.take(BatchingLimits())
    assert positions(rest) == [3, 5]
    assert (size, buffer.size) == (rest.size, 0)


@given(
    sizes=st.lists(st.lists(st.integers(1, 40), min_size=1, max_size=8), max_size=8),
    batch_size=st.integers(1, 10),
    maximum=st.integers(20, 120),
)
def test_batches_concatenate_to_the_input_and_hold_as_many_as_the_limits_let(
    sizes: list[list[int]], batch_size: int, maximum: int
) -> None:
    limits = BatchingLimits(batch_size=batch_size, overhead=7, maximum_bytes=maximum)
    buffer = RecordBuffer()
    position = 0
    for now, chunk in enumerate(sizes):
        buffer.add([record(position + index, size=size) for index, size in enumerate(chunk)], now=now)
        position += len(chunk)
    arrived_at = [now for now, chunk in enumerate(sizes) for _ in chunk]
    all_sizes = [size + 1 for chunk in sizes for size in chunk]  # with the comma behind each
    taken: list[int] = []
    while buffer:
        assert buffer.first_seen == arrived_at[len(taken)]
        batch = buffer.take(limits)
        assert 1 <= len(batch) <= batch_size
        size = limits.overhead + sum(len(item.encoded) + 1 for item in batch)
        assert size <= maximum or len(batch) == 1
        taken += positions(batch)
        following = all_sizes[len(taken) : len(taken) + 1]
        assert not following or len(batch) == batch_size or size + following[0] > maximum
    assert taken == list(range(position))
    assert buffer.size == 0
