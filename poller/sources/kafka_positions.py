"""Where reading begins without a committed offset, and where it goes on when an offset is not in the log. Pure.

Both clients would decide that by a setting that knows neither times nor added partitions. So they are told to report
it, and every such place is chosen here (D.1.2, and where that is silent, as docs/reference/behaviour.md says).
"""

from __future__ import annotations

from poller.model import Shard
from poller.sources.kafka_event import KafkaSettings

BEGINNING, END = -2, -1
"""The times by which Kafka's ListOffsets knows both ends of a log, beside real ones in milliseconds."""


def time_to_go_on(settings: KafkaSettings, asked: int | None, *, added: bool) -> int:
    """The time of which to ask a partition for its offset; where it has no record as late as that, END is next.

    Args:
        settings: of the source.
        asked: the offset that the log does not hold; None where the group has committed none, whether it is new or its
            offsets expired or were deleted. Kafka does not tell these apart, and neither does AWS.
        added: the partition is younger than the source, so that all in it came after the start.
    """
    if asked is not None:
        # Retention deleted it, or the log was cut or made anew. StartingPosition is about a beginning, and this is
        # none: with LATEST, records would be lost that are there. A log that was cut is repeated from its start.
        return BEGINNING
    match settings.starting_position:
        case "LATEST":
            return BEGINNING if added else END
        case "AT_TIMESTAMP":
            assert settings.starting_timestamp is not None, "refused by broken_rules"
            return settings.starting_timestamp
    return BEGINNING


def is_to_be_kept(settings: KafkaSettings, asked: int | None, offset: int) -> bool:
    """Whether a place is to be committed at once.

    Whoever takes a partition over before its first commit would ask anew, and skip what is in flight here: with LATEST
    an end that has moved on. Where offsets went back, the committed one is to be overwritten before the log reaches it.
    """
    return settings.starting_position != "TRIM_HORIZON" if asked is None else offset < asked


def place_text(settings: KafkaSettings, shard: Shard, asked: int | None, offset: int) -> str:
    """What the log says of a place."""
    if asked is None:
        position = settings.starting_position
        return f"{shard}: group {settings.group_id} has no committed offset; {position} begins at offset {offset}"
    return (
        f"{shard}: offset {asked} is not in the log, which was cut by retention or made anew; "
        f"reading goes on with the oldest record, at offset {offset}"
    )
