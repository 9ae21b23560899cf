"""When a lane's waiting records become a batch, and which of them (C.4). Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum

from poller.model import MAXIMUM_PAYLOAD, Record
from poller.records import Records, Span

DEFAULT_WINDOW = 0.5
"""Seconds: the batching window of Kafka and MQ when MaximumBatchingWindowInSeconds is not given (C.1)."""


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
    """Bytes of the event around the records of one shard, as the source tells."""
    maximum_bytes: int = MAXIMUM_PAYLOAD

    overhead_of_shard: int = 0
    """Bytes more for each further shard in the event."""
    read_ahead: int = 0
    """Encoded bytes that may wait in a lane though they are more than one batch."""
    concurrency: int | None = None
    """Most batches in flight of one poller (C.8); None is one for each lane."""
    room: int = field(init=False)
    """Bytes that the records of one event may take, with a comma each."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "room", self.room_of(1))

    def room_of(self, shards: int) -> int:
        """The same as `room` for records of that many shards."""
        return self.maximum_bytes - self.overhead - (shards - 1) * self.overhead_of_shard


class RecordBuffer:
    """Records of one lane that no batch has taken yet, with their size and arrival. One owner, no lock."""

    __slots__ = ("_length", "_waiting", "size")

    def __init__(self) -> None:
        self._waiting: deque[tuple[Span, float]] = deque()
        """What came together, or is left of it, and when."""
        self._length = 0
        self.size = 0
        """Bytes the records take in an event, a comma each: a running sum, so nothing is encoded to be measured."""

    def __len__(self) -> int:
        return self._length

    def add(self, records: Sequence[Record], now: float) -> None:
        """Append records that arrived together."""
        for span in Records.of(records).spans:
            run, start, stop = span
            self._waiting.append((span, now))
            self._length += stop - start
            self.size += run.size(start, stop)

    @property
    def first_position(self) -> int:
        """Of the oldest record; the buffer must not be empty."""
        return self._waiting[0][0].first_position

    @property
    def first_seen(self) -> float:
        """When the oldest record arrived; the buffer must not be empty."""
        return self._waiting[0][1]

    def is_full(self, limits: BatchingLimits) -> bool:
        """Whether a batch closes now by count or by bytes."""
        return self._length >= limits.batch_size or self.size >= limits.room

    def take(self, limits: BatchingLimits) -> Records:
        """Remove and return the next batch, in order.

        It holds at most BatchSize records and 6 MB, and at least one record: a single one beyond 6 MB comes alone,
        for the caller to discard.
        """
        return self.take_first(max(1, self.fitting(limits.batch_size, limits.room)))

    def take_first(self, count: int) -> Records:
        """Remove and return so many records, at least one and no more than there are."""
        taken: list[Span] = []
        left = count
        while left:
            (run, start, stop), arrived = self._waiting[0]
            if stop - start > left:
                self._waiting[0] = Span(run, start + left, stop), arrived
                stop = start + left
            else:
                self._waiting.popleft()
            taken.append(Span(run, start, stop))
            self.size -= run.size(start, stop)
            left -= stop - start
        self._length -= count
        return Records(taken)

    def keep(self, matches: Callable[[bytes | None], bool]) -> Records:
        """Remove and return the records whose value does not match; the others count as arrived with the first."""
        waiting = Records([span for span, _ in self._waiting])
        chosen = list(map(matches, waiting.values()))
        if not all(chosen):
            first_seen = self.first_seen
            self._waiting.clear()
            self._length = self.size = 0
            self.add(waiting.only(chosen), first_seen)
        return waiting.only([not one for one in chosen])

    def fitting(self, most: int, room: int) -> int:
        """How many records may be taken that are at most so many and need at most that many bytes."""
        count = 0
        for span, _ in self._waiting:
            run, start, stop = span
            wanted = min(stop - start, most - count)
            size = run.size(start, start + wanted)
            if size > room:
                return count + span.fitting(wanted, room)
            count += wanted
            if count == most:
                break
            room -= size
        return count

    def size_of(self, count: int) -> int:
        """Bytes that so many records take in an event, a comma each."""
        size = 0
        for (run, start, stop), _ in self._waiting:
            if not count:
                break
            part = min(count, stop - start)
            size += run.size(start, start + part)
            count -= part
        return size


def take_fairly(buffers: Sequence[RecordBuffer], limits: BatchingLimits) -> Records:
    """The next batch out of the buffers of several shards, none of them empty: each shard's records in order.

    The shard whose first record has waited longest gives that one. Then each shard has the same share of BatchSize and
    of the 6 MB, and what some do not need goes to the others. A record with which no other fits comes alone.
    """
    buffers = sorted(buffers, key=lambda buffer: buffer.first_seen)[: limits.batch_size]
    room = limits.room_of(len(buffers))
    counts = [1, *[0] * (len(buffers) - 1)]
    left, room_left = limits.batch_size - 1, room - buffers[0].size_of(1)
    shares = -(-limits.batch_size // len(buffers)), room // len(buffers)
    for most, most_bytes in (shares, (limits.batch_size, room)) if room_left >= 0 else ():
        for index, buffer in enumerate(buffers):
            taken = buffer.size_of(counts[index])
            count = buffer.fitting(min(most, counts[index] + left), min(most_bytes, taken + room_left))
            if count > counts[index]:
                left -= count - counts[index]
                room_left -= buffer.size_of(count) - taken
                counts[index] = count
    parts = [buffer.take_first(count) for buffer, count in zip(buffers, counts, strict=True) if count]
    return Records([span for part in parts for span in part.spans])
