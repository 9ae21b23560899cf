"""What kafka-python fetched of a partition, given out as our records instead of the client's."""

# mypy: allow-untyped-calls
# kafka-python has no annotations.
# ruff: noqa: SLF001 - there is no public way

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.consumer.fetcher import Fetcher
from kafka.errors import CorruptRecordError
from kafka.protocol.consumer import IsolationLevel
from kafka.record.memory_records import MemoryRecords

from poller.sources.kafka_python_batches import Batch, DefaultBatch, OldBatch
from poller.sources.kafka_run import KafkaRun, record_head

_DEFAULT_FORMAT = 2


def give_records(consumer: KafkaConsumer) -> None:
    """Let polls of a consumer give `Run`s in place of records."""
    fetcher: Any = consumer._fetcher
    fetcher.PartitionRecords = RecordsOfPartition


class Taken(Iterable[KafkaRun]):
    """What was taken of a partition, in runs. The client counts it, and so it must be as long as there are records."""

    def __init__(self) -> None:
        self._runs: list[KafkaRun] = []
        self._length = 0

    def add(self, run: KafkaRun) -> None:
        """The next run."""
        self._runs.append(run)
        self._length += len(run)

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[KafkaRun]:
        return iter(self._runs)


class RecordsOfPartition(Fetcher.PartitionRecords):
    """The batches of one fetch of a partition, read as they are taken.

    The client makes one of each answer, and takes from it in polls while the partition is neither paused nor given up.
    """

    def __init__(self, fetch_offset: int, tp: TopicPartition, records: MemoryRecords, **options: Any) -> None:
        super().__init__(fetch_offset, tp, records, **options)
        self._shard, self._head = f"{tp.topic}-{tp.partition}", record_head(tp.topic, tp.partition)
        self._batches = records
        self._batch: Batch | None = None

    def take(self, n: int = sys.maxsize) -> Taken:
        """The next records, so many at most; with the last one it is drained, so that the partition is fetched again.

        Raises:
            CorruptRecordError: of the first of them; one that comes behind others is told the next time. What follows
                is dropped, so that nothing is passed over: it is fetched again.
        """
        taken = Taken()
        try:
            self._maybe_raise_next_inline_exception()
            while len(taken) < n and self:
                if (run := self._read(n - len(taken))) is not None:
                    taken.add(run)
        except Exception as error:
            if not taken:
                self.drain()
                raise
            self._next_inline_exception = error
        return taken

    def _read(self, most: int) -> KafkaRun | None:
        if self._batch is None:
            self._batch = self._next_batch()
            if self._batch is None:
                self.drain()
                return None
        some = self._batch.read(most, self._shard, self._head)
        self.next_fetch_offset = self._batch.next_offset
        number = 0 if some is None else len(some)
        self.records_read += number
        self.bytes_read += number  # that there is something is all that the client asks of it
        if self._batch.is_read:
            self._batch = None
            if not self._batches.has_next():
                self.drain()
        if some is not None and some.position(0) < self.fetch_offset:
            # Brokers send batches whole, whatever offset is asked for.
            wanted = [some.position(index) >= self.fetch_offset for index in range(len(some))]
            some = some.only(0, wanted) if any(wanted) else None
        return some

    def _next_batch(self) -> Batch | None:
        """The next one with records for us; passes over those of the broker and those that were taken back."""
        while (batch := self._batches.next_batch()) is not None:
            if self.check_crcs and not batch.validate_crc():
                raise CorruptRecordError(f"a batch of {self._shard} at offset {batch.base_offset} failed its CRC check")
            if batch.magic < _DEFAULT_FORMAT:
                return OldBatch(batch)
            self.leader_epoch = batch.leader_epoch
            if not self._is_passed_over(batch):
                return DefaultBatch(batch)
            self.next_fetch_offset = batch.next_offset
        return None

    def _is_passed_over(self, batch: Any) -> bool:
        if self.isolation_level == IsolationLevel.READ_COMMITTED and batch.has_producer_id():
            # The answer says which transactions were aborted, and from where on; a marker says where each ends.
            self._consume_aborted_transactions_up_to(batch.last_offset)
            if self._contains_abort_marker(batch):
                self.aborted_producer_ids.discard(batch.producer_id)
            elif self._is_batch_aborted(batch):
                return True
        return bool(batch.is_control_batch)
