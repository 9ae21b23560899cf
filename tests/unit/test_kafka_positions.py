"""Where reading begins without a committed offset, and goes on where an offset is not in the log (D.1.2)."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from kafka import TopicPartition
from kafka.errors import LogTruncationError, NoOffsetForPartitionError, OffsetOutOfRangeError

from poller.sources.kafka_event import KafkaSettings
from poller.sources.kafka_positions import BEGINNING, END, is_to_be_kept, place_text, time_to_go_on
from poller.sources.kafka_python_positions import asked_offsets, offsets_of

THEN = 1_764_064_800_000


def settings(position: Any) -> KafkaSettings:
    return KafkaSettings(["b:9092"], "orders", "group", starting_position=position, starting_timestamp=THEN)


# Starting position, the offset that is not in the log, whether the partition was added; the time that is asked for.
TIMES = [
    ("TRIM_HORIZON", None, False, BEGINNING),
    ("TRIM_HORIZON", None, True, BEGINNING),
    ("LATEST", None, False, END),
    ("LATEST", None, True, BEGINNING),
    ("AT_TIMESTAMP", None, False, THEN),
    ("AT_TIMESTAMP", None, True, THEN),
    *(
        (position, 7, added, BEGINNING)
        for position in ("TRIM_HORIZON", "LATEST", "AT_TIMESTAMP")
        for added in (False, True)
    ),
]


@pytest.mark.parametrize(("position", "asked", "added", "time"), TIMES)
def test_a_partition_without_a_valid_offset_goes_on_where_its_row_says(
    position: str, asked: int | None, added: bool, time: int
) -> None:
    assert time_to_go_on(settings(position), asked, added=added) == time


# Starting position, the offset that is not in the log, where it goes on; whether that is committed at once.
KEPT = [
    ("TRIM_HORIZON", None, 0, False),
    ("LATEST", None, 9, True),
    ("AT_TIMESTAMP", None, 4, True),
    ("LATEST", 2, 5, False),  # retention: what is in work below the new place is not to be passed
    ("TRIM_HORIZON", 500, 0, True),  # the log may grow beyond what is committed
]


@pytest.mark.parametrize(("position", "asked", "offset", "kept"), KEPT)
def test_a_place_is_committed_at_once_where_another_reader_would_skip_something(
    position: str, asked: int | None, offset: int, kept: bool
) -> None:
    assert is_to_be_kept(settings(position), asked, offset) == kept


def test_the_log_names_partition_offset_asked_and_where_it_goes_on() -> None:
    assert place_text(settings("LATEST"), "orders-1", None, 9) == (
        "orders-1: group group has no committed offset; LATEST begins at offset 9"
    )
    assert place_text(settings("LATEST"), "orders-1", 3, 5) == (
        "orders-1: offset 3 is not in the log, which was cut by retention or made anew; "
        "reading goes on with the oldest record, at offset 5"
    )


# --- as kafka-python tells it --------------------------------------------------------------------------------------

ONE, TWO = TopicPartition("orders", 0), TopicPartition("orders", 1)


@pytest.mark.parametrize(
    ("error", "asked"),
    [
        (NoOffsetForPartitionError({ONE, TWO}), {ONE: None, TWO: None}),
        (OffsetOutOfRangeError({ONE: 7}), {ONE: 7}),
        (LogTruncationError({TWO: None}), {TWO: 12}),
    ],
)
def test_each_of_the_client_s_errors_names_its_partitions(error: Exception, asked: dict[TopicPartition, int]) -> None:
    consumer = SimpleNamespace(position=lambda _, timeout_ms: 12)
    assert asked_offsets(error, consumer) == asked


def test_a_partition_with_no_record_as_late_is_read_from_its_end() -> None:
    consumer = SimpleNamespace(
        offsets_for_times=lambda times, timeout_ms: {ONE: SimpleNamespace(offset=4), TWO: None},
        end_offsets=lambda partitions, timeout_ms: dict.fromkeys(partitions, 9),
    )
    assert offsets_of(consumer, {ONE: THEN, TWO: THEN}, 1.0) == {ONE: 4, TWO: 9}
