"""When a lane's waiting records become a batch, and which of them (C.4). Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from operator import attrgetter

from poller.model import MAXIMUM_PAYLOAD, Record

DEFAULT_WINDOW = 0.5
"""Seconds: the batching window of Kafka and MQ when MaximumBatchingWindowInSeconds is not given (C.1)."""

_ENCODED = attrgetter("encoded")


class WindowStart(Enum):
    """What opens a batching window (C.4)."""

    FIRST_RECORD = "the first record of the batch"  # MQ
    PREVIOUS_RESULT = "the end of the previous invocation"  # Kafka, on demand
    PREVIOUS_HANDOVER = "the handing over of the previous batch"  # Kafka, provisioned


@dataclass(frozen=True, slots=True)
class BatchingLimits:
    """BatchSize, MaximumBatchingWindowInSeconds and the 6 MB of an encoded event."""

    batch_size: int = 100
    window: float = DEFAULT_WINDOW
    """Seconds."""
    window_start: WindowStart = WindowStart.FIRST_RECORD
    overhead: int = 0
    """Bytes of the event around its records, as the source tells."""
    maximum_bytes: int = MAXIMUM_PAYLOAD

    read_ahead: int = 0
    """Encoded bytes that may wait in a lane though they are more than one batch."""

    @property
    def room(self) -> int:
        """Bytes that the records of one event may take, with a comma each."""
        return self.maximum_bytes - self.overhead


class RecordBuffer:
    """Records of one lane that no batch has taken yet, with their size and arrival. One owner, no lock."""

    __slots__ = ("_arrivals", "_records", "size")

    def __init__(self) -> None:
        self._records: deque[Record] = deque()
        self._arrivals: deque[tuple[int, float]] = deque()
        self.size = 0
        """Bytes the records take in an event, a comma each: a running sum, so nothing is encoded to be measured."""

    def __len__(self) -> int:
        return len(self._records)

    def add(self, records: Sequence[Record], now: float) -> None:
        """Append records that arrived together."""
        self._records.extend(records)
        self._arrivals.append((len(records), now))
        self.size += sum(map(len, map(_ENCODED, records))) + len(records)

    @property
    def first(self) -> Record:
        """The oldest record; the buffer must not be empty."""
        return self._records[0]

    @property
    def first_seen(self) -> float:
        """When the oldest record arrived; the buffer must not be empty."""
        return self._arrivals[0][1]

    def is_full(self, limits: BatchingLimits) -> bool:
        """Whether a batch closes now by count or by bytes."""
        return len(self._records) >= limits.batch_size or self.size >= limits.room

    def take(self, limits: BatchingLimits) -> list[Record]:
        """Remove and return the next batch, in order.

        It holds at most BatchSize records and 6 MB, and at least one record: a single one beyond 6 MB comes alone,
        for the caller to discard.
        """
        if len(self._records) <= limits.batch_size and self.size <= limits.room:
            taken = list(self._records)
            self._records.clear()
            self._arrivals.clear()
            self.size = 0
            return taken
        count = min(len(self._records), limits.batch_size)
        taken = [self._records.popleft() for _ in range(count)]
        size = sum(map(len, map(_ENCODED, taken))) + count
        room = limits.room
        while size > room and len(taken) > 1:
            last = taken.pop()
            self._records.appendleft(last)
            size -= len(last.encoded) + 1
        self.size -= size
        self._forget_arrivals(len(taken))
        return taken

    def _forget_arrivals(self, count: int) -> None:
        while count:
            arrived, when = self._arrivals.popleft()
            if arrived > count:
                self._arrivals.appendleft((arrived - count, when))
            count -= min(count, arrived)
