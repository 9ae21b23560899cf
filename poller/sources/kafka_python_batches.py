"""Kafka's record batches read by columns: kafka-python makes two objects and a tuple of each record. Pure.

That is more than half of what its loop costs: 3.4 µs a record, where the columns take 0.7 µs. The client still checks
and decompresses the batches; what stands in them is read here.
"""

# mypy: allow-untyped-calls
# kafka-python has no annotations.
# ruff: noqa: SLF001, PLR2004 - there is no public way, and 0x80 is the mark that a number goes on

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice, repeat
from typing import Any, Protocol

from kafka.errors import CorruptRecordError
from kafka.record.default_records import DefaultRecordBatch
from kafka.record.legacy_records import LegacyRecordBatch

from poller.model import Shard
from poller.sources.kafka_python_options import from_consumer_records
from poller.sources.kafka_run import RUN, Headers, KafkaRun, RecordHead, to_run


class Batch(Protocol):
    """A batch that is read from its first record to its last."""

    is_read: bool
    """There are no more."""
    next_offset: int
    """Behind what was read; when all was, behind the batch, whose last records may have been compacted away."""

    def read(self, most: int, shard: Shard, head: RecordHead) -> KafkaRun | None:
        """The next records, so many at most; None when there are no more.

        Raises:
            CorruptRecordError: these are none.
        """


class DefaultBatch:
    """A batch of the message format 2, which all brokers since Kafka 0.11 write.

    A record is its length, attributes, delta of the timestamp, delta of the offset, key, value and headers; all numbers
    are zigzag varints.
    """

    def __init__(self, batch: DefaultRecordBatch) -> None:
        """Set up; decompresses what is compressed."""
        batch._maybe_uncompress()
        self._data = bytes(batch._buffer)  # its slices are what records keep, without another copy
        self._at: int = batch._pos
        self._left: int = batch.records_count
        self._most = max(1, RUN * self._left // max(1, len(self._data)))
        """Records of one run."""
        self._end: int = batch.next_offset
        self._kind: int = batch.timestamp_type
        self._append_time: int | None = batch.max_timestamp if self._kind == batch.LOG_APPEND_TIME else None
        self._first_offset = self.next_offset = int(batch.base_offset)
        self._first_time: int = batch.first_timestamp
        self.is_read = False

    def read(self, most: int, shard: Shard, head: RecordHead) -> KafkaRun | None:
        """See `Batch`."""
        number = min(most, self._left, self._most)
        try:
            offsets, times, keys, values, headers = self._columns(number)
        except (IndexError, ValueError) as error:
            raise CorruptRecordError(f"no record is at byte {self._at} of a batch: {error!r}") from None
        self._left -= number
        if self._left == 0:
            if self._at != len(self._data):
                raise CorruptRecordError(f"{len(self._data) - self._at} bytes are behind the last record of a batch")
            self.is_read, self.next_offset = True, self._end
        else:
            self.next_offset = offsets[-1] + 1
        if self._append_time is not None:
            times = [self._append_time] * number
        timestamps = zip(repeat(self._kind, number), times, strict=True)
        return to_run(shard, head, offsets, timestamps, keys, values, headers) if offsets else None

    def _columns(  # noqa: C901, PLR0912, PLR0915 - a call for each number would double the time
        self, number: int
    ) -> tuple[list[int], list[int], list[bytes | None], list[bytes | None], Sequence[Headers | None]]:
        """Offsets, times, keys, values and headers of the next records."""
        data, at, first_offset, first_time = self._data, self._at, self._first_offset, self._first_time
        offsets: list[int] = []
        times: list[int] = []
        keys: list[bytes | None] = []
        values: list[bytes | None] = []
        headers: dict[int, Headers] = {}
        for place in range(number):
            # Numbers of one and of two bytes are read in place. The mark of the first that there is a second is taken
            # off together with its place: (high << 7) - 0x80.
            if (size := data[at]) < 0x80:
                at += 1
            elif (high := data[at + 1]) < 0x80:
                size, at = size + (high << 7) - 0x80, at + 2
            else:
                size, at = _varint(data, at)
            end = at + (size >> 1)
            at += 1  # attributes: there are none yet
            if (delta := data[at]) < 0x80:
                at += 1
            elif (high := data[at + 1]) < 0x80:
                delta, at = delta + (high << 7) - 0x80, at + 2
            else:
                delta, at = _varint(data, at)
            times.append(first_time + ((delta >> 1) ^ -(delta & 1)))
            if (delta := data[at]) < 0x80:
                at += 1
            elif (high := data[at + 1]) < 0x80:
                delta, at = delta + (high << 7) - 0x80, at + 2
            else:
                delta, at = _varint(data, at)
            offsets.append(first_offset + ((delta >> 1) ^ -(delta & 1)))
            if (size := data[at]) < 0x80:
                at += 1
            elif (high := data[at + 1]) < 0x80:
                size, at = size + (high << 7) - 0x80, at + 2
            else:
                size, at = _varint(data, at)
            if size & 1:  # -1
                keys.append(None)
            else:
                start, at = at, at + (size >> 1)
                keys.append(data[start:at])
            if (size := data[at]) < 0x80:
                at += 1
            elif (high := data[at + 1]) < 0x80:
                size, at = size + (high << 7) - 0x80, at + 2
            else:
                size, at = _varint(data, at)
            if size & 1:
                values.append(None)
            else:
                start, at = at, at + (size >> 1)
                values.append(data[start:at])
            if data[at] == 0:
                at += 1
            else:
                headers[place], at = _headers(data, at)
            if at != end:
                raise ValueError(f"it ends at byte {at}, not {end}")
        self._at = at
        given = [headers.get(place) for place in range(number)] if headers else [None] * number
        return offsets, times, keys, values, given


def _headers(data: bytes, at: int) -> tuple[Headers, int]:
    """The headers that begin with their number, and where the next record begins."""
    number, at = _varint(data, at)
    if number & 1:
        raise ValueError("there are less headers than none")
    found: list[tuple[str, bytes | None]] = []
    for _ in range(number >> 1):
        size, at = _varint(data, at)
        if size & 1:
            raise ValueError("a header has no name")
        # Brokers do not look at names, and clients other than Java's send any bytes: read as Java's reads them.
        name = data[at : at + (size >> 1)].decode(errors="replace")
        size, at = _varint(data, at + (size >> 1))
        if size & 1:
            found.append((name, None))
        else:
            found.append((name, data[at : at + (size >> 1)]))
            at += size >> 1
    return found, at


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number, still zigzag, and where the next thing begins."""
    number = shift = 0
    while (byte := data[at]) >= 0x80:
        number |= (byte & 0x7F) << shift
        shift += 7
        at += 1
    return number | byte << shift, at + 1


class OldBatch:
    """A message of the formats 0 and 1, or a set of them in one that is compressed: the client reads these."""

    def __init__(self, batch: LegacyRecordBatch) -> None:
        self._records: Iterator[Any] = iter(batch)
        self.next_offset: int = batch.base_offset
        self.is_read = False

    def read(self, most: int, shard: Shard, head: RecordHead) -> KafkaRun | None:
        """See `Batch`."""
        some = list(islice(self._records, most))
        if not all(record.validate_crc() for record in some):
            raise CorruptRecordError(f"a message at offset {some[0].offset} or behind it failed its CRC check")
        self.is_read = len(some) < most
        if not some:
            return None
        self.next_offset = some[-1].offset + 1
        return from_consumer_records(some, shard, head)
