"""Partitions without a valid offset, as kafka-python tells of them, and the offsets of times."""

# mypy: allow-untyped-calls
# kafka-python has no annotations.

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from kafka import KafkaConsumer, TopicPartition
from kafka import errors as kafka_errors

from poller.sources.kafka_positions import BEGINNING, END

WITHOUT_OFFSET = (
    kafka_errors.NoOffsetForPartitionError,
    kafka_errors.OffsetOutOfRangeError,
    kafka_errors.LogTruncationError,
)
"""What `poll` raises of such partitions; it goes on raising it until they have been placed."""


def asked_offsets(error: Exception, consumer: KafkaConsumer) -> dict[TopicPartition, int | None]:
    """The partitions of such an error, with the offset that is not in the log, or None where there is none at all."""
    if isinstance(error, kafka_errors.NoOffsetForPartitionError):
        return dict.fromkeys(error.args[0])
    if isinstance(error, kafka_errors.LogTruncationError):
        # The client offers the offset where the log was cut; of a topic made anew that would skip what is before it.
        return {partition: _position(consumer, partition) for partition in error.divergent_offsets}
    return dict(error.args[0])


def _position(consumer: KafkaConsumer, partition: TopicPartition) -> int:
    with suppress(kafka_errors.KafkaError):  # another partition may be without an offset
        return int(consumer.position(partition, timeout_ms=0) or 0)
    return 0


def offsets_of(
    consumer: KafkaConsumer, times: Mapping[TopicPartition, int], timeout: float
) -> dict[TopicPartition, int]:
    """For each partition the offset of the first record at or after its time, else of its end.

    Blocks for at most three answers, each `timeout` seconds.

    Raises:
        KafkaError: there was none.
    """
    milliseconds = int(timeout * 1000)
    found: dict[TopicPartition, int] = {}
    if dated := {partition: time for partition, time in times.items() if time >= 0}:
        answers = consumer.offsets_for_times(dated, timeout_ms=milliseconds)
        found |= {partition: answer.offset for partition, answer in answers.items() if answer is not None}
    if oldest := [partition for partition, time in times.items() if time == BEGINNING]:
        found |= consumer.beginning_offsets(oldest, timeout_ms=milliseconds)
    if newest := [partition for partition, time in times.items() if time == END or partition not in found]:
        found |= consumer.end_offsets(newest, timeout_ms=milliseconds)
    return found
