"""A dead letter as it was found: where it lies, why it is there, and what it would put back at its origin. Pure.

Letters are found in a Kafka topic, a RabbitMQ queue or a file, and are of several makes (`reading`); here they are all
the same. Times are seconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from poller.errors import PollerError


class LettersError(PollerError):
    """Dead letters, or the place they go back to, cannot be reached, or the broker says no."""


class LetterRefusedError(LettersError):
    """What these letters hold is refused at its origin; others may well pass."""


@dataclass(frozen=True, slots=True)
class KafkaPlace:
    """Where a record stands, or stood."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}-{self.partition} {self.offset}"


@dataclass(frozen=True, slots=True)
class KafkaOriginal:
    """A record as it was in its topic."""

    place: KafkaPlace
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class Verbatim:
    """A header's value of AMQP that goes back in the very bytes that it came in."""

    value: Any
    """What can be understood of it."""
    encoded: bytes


@dataclass(frozen=True, slots=True)
class RabbitMQOriginal:
    """A message as it was in its queue."""

    queue: str
    virtual_host: str | None
    """None: that of the queue in which the letter lies."""
    body: bytes
    properties: Mapping[str, Any] = field(default_factory=dict)
    """By AMQP's names in snake case, unset ones missing."""


Original = KafkaOriginal | RabbitMQOriginal


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """One dead letter. Of a letter that nobody can make sense of, only `id`, `problem` and perhaps `time` are set."""

    id: str
    """Within its topic, queue or file: `partition:offset`, or the number of the message or line, from 1."""
    origin: str = ""
    """Where the records came from, for a person; empty when that is unknown."""
    condition: str = ""
    """Why they were given up (D.1.4), or the broker's reason (F.3)."""
    error_type: str = ""
    error_message: str = ""
    attempts: int | None = None
    time: float | None = None
    key: bytes | None = None
    """The record's key, or the messageId; None where there is none, or where there are several records."""
    function: str = ""
    request_id: str = ""
    originals: tuple[Original, ...] = ()
    missing: tuple[KafkaPlace, ...] = ()
    """Records that the letter names without holding them, since it was too large for its destination."""
    bootstrap_servers: str = ""
    """The cluster of the records' topic, as the letter tells it."""
    problem: str = ""
    """Why it cannot be redriven; empty when it can."""
    redriven: bool = False

    @property
    def keys(self) -> frozenset[bytes]:
        """All keys and messageIds in it, for a filter."""
        found = {original.key for original in self.originals if isinstance(original, KafkaOriginal)}
        return frozenset(key for key in {self.key, *found} if key is not None)

    @property
    def size(self) -> int:
        """Number of records in it."""
        return len(self.originals) or len(self.missing)

    @property
    def length(self) -> int:
        """Bytes of the records in it, roughly: what it takes in memory."""
        return sum(
            len(original.value or b"") if isinstance(original, KafkaOriginal) else len(original.body)
            for original in self.originals
        )

    def without_contents(self) -> Letter:
        """The letter with the keys of its records but not what is in them: for a long list."""
        emptied = tuple(
            replace(original, value=None, headers=())
            if isinstance(original, KafkaOriginal)
            else replace(original, body=b"", properties={})
            for original in self.originals
        )
        return replace(self, originals=emptied)


def origin_of_records(places: Sequence[KafkaPlace]) -> str:
    """`orders-0 49`, or for several `orders-0 49..51, orders-1 7`: first and last of each partition."""
    shards: dict[tuple[str, int], list[int]] = {}
    for place in places:
        shards.setdefault((place.topic, place.partition), []).append(place.offset)
    return ", ".join(
        f"{topic}-{partition} {min(offsets)}" + (f"..{max(offsets)}" if len(offsets) > 1 else "")
        for (topic, partition), offsets in shards.items()
    )
