"""Partitions without a valid offset, as librdkafka tells of them, and the offsets of times."""

# ruff: noqa: SLF001 - the client's own error codes begin with an underscore, as against the broker's

from __future__ import annotations

from collections.abc import Mapping

from confluent_kafka import Consumer, KafkaError, TopicPartition

from poller.sources.kafka_positions import END

WITHOUT_OFFSET = {KafkaError._AUTO_OFFSET_RESET, KafkaError._LOG_TRUNCATION}
"""Codes of what stands in a record's place then. Its offset is the one that is not in the log, None where there is no
committed one; the client reads no more of the partition until it is assigned anew."""

_TIMEOUT = 1.0


def offsets_of(consumer: Consumer, topic: str, times: Mapping[int, int]) -> dict[int, int]:
    """For each partition, by number, the offset of the first record at or after its time, else of its end.

    Blocks for at most two answers, each 1 s. A partition that is without a leader for now is missing in the result.

    Raises:
        KafkaException: there was no answer.
    """
    found = _ask(consumer, topic, times)
    later = [number for number, offset in found.items() if offset < 0]  # than all that is there
    return found | _ask(consumer, topic, dict.fromkeys(later, END))


def _ask(consumer: Consumer, topic: str, times: Mapping[int, int]) -> dict[int, int]:
    if not times:
        return {}
    asked = [TopicPartition(topic, number, time) for number, time in times.items()]
    answers = consumer.offsets_for_times(asked, timeout=_TIMEOUT)
    return {one.partition: one.offset for one in answers if one.error is None}


def go_on_at(consumer: Consumer, topic: str, number: int, offset: int) -> None:
    """Read a partition from an offset on. Not `seek`: the client refuses that where it has no valid offset."""
    place = TopicPartition(topic, number, offset)
    consumer.incremental_unassign([place])
    consumer.incremental_assign([place])
