"""The dead letters of a Kafka topic: read to its present end, marked in its own ledger when redriven, purged."""

# mypy: allow-untyped-calls
# kafka-python has no annotations.

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

from kafka import KafkaConsumer, TopicPartition
from kafka import errors as kafka_errors
from kafka.consumer.fetcher import ConsumerRecord

from poller.dead_letters import ledger
from poller.dead_letters.filters import Filter
from poller.dead_letters.kafka_client import (
    REQUEST_TIMEOUT,
    Cluster,
    missing_topic,
    translated,
)
from poller.dead_letters.kafka_sender import Message
from poller.dead_letters.letter import KafkaOriginal, KafkaPlace, Letter, LettersError
from poller.dead_letters.reading import letter_of_record
from poller.sources import kafka_header_names
from poller.sources.kafka_python_client import Connections

SHOWN_WITHIN = 15.0
"""Seconds in which what was committed has to show in the ledger."""


class KafkaReader:
    """Reads parts of topics of one cluster, outside of any group. For one thread; blocks."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._connections = Connections()
        self._consumer: KafkaConsumer | None = None

    def partitions(self, topic: str) -> list[TopicPartition]:
        """All of a topic's; none when it does not exist."""
        for _ in range(3):  # a topic that was made a moment ago may miss in the first answer
            if found := self._connected().partitions_for_topic(topic):
                return [TopicPartition(topic, number) for number in sorted(found)]
        return []

    def ends(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, tuple[int, int]]:
        """First offset, and the one after the last that no open transaction holds back."""
        consumer = self._connected()
        first, end = consumer.beginning_offsets(partitions), consumer.end_offsets(partitions)
        return {partition: (first[partition], end[partition]) for partition in partitions}

    def read(self, spans: Mapping[TopicPartition, tuple[int, int]]) -> Iterator[ConsumerRecord]:
        """The records of each partition from the first offset to before the second. One reading at a time."""
        consumer = self._connected()
        left = {partition: end for partition, (first, end) in spans.items() if first < end}
        consumer.assign(list(left))
        for partition in left:
            consumer.seek(partition, spans[partition][0])
        silent_since = time.monotonic()
        while left:
            polled = consumer.poll(timeout_ms=500)
            for partition, records in polled.items():
                yield from (record for record in records if record.offset < left.get(partition, 0))
                silent_since = time.monotonic()
            # The position also passes what is no record: the marks of transactions.
            done = [partition for partition, end in left.items() if consumer.position(partition) >= end]
            for partition in done:
                del left[partition]
                silent_since = time.monotonic()
            if time.monotonic() - silent_since > REQUEST_TIMEOUT:
                raise LettersError(f"{self._cluster} gives no more records, though there are some")

    def original(self, place: KafkaPlace) -> KafkaOriginal | None:
        """The record at that place, if the topic still has it."""
        with self.translated(self._cluster):
            partition = TopicPartition(place.topic, place.partition)
            if partition not in self.partitions(place.topic):
                return None
            first, end = self.ends([partition])[partition]
            if not first <= place.offset < end:
                return None
            for record in self.read({partition: (place.offset, place.offset + 1)}):
                headers = tuple((name, content or b"") for name, content in record.headers)
                return KafkaOriginal(place, record.key, record.value, headers)
            return None

    def translated(self, where: object) -> AbstractContextManager[None]:
        """Errors of this reader as LettersErrors that begin with `where`."""
        return translated(where, self._cluster, self._connections)

    def close(self) -> None:
        """Leave the cluster."""
        if self._consumer is not None:
            self._consumer.close(autocommit=False, timeout_ms=1000)
            self._consumer = None
        else:
            self._connections.close()

    def _connected(self) -> KafkaConsumer:
        if self._consumer is None:
            kafka_header_names.install()
            self._consumer = KafkaConsumer(
                **self._cluster.options(),
                kafka_client=self._connections.make,
                group_id=None,
                enable_auto_commit=False,
                isolation_level="read_committed",
                auto_offset_reset="earliest",
                max_poll_records=100,
            )
        return self._consumer


class KafkaLetters:
    """A dead-letter topic, as it is when `survey` is called. For one thread; everything blocks.

    Args:
        cluster: where the topic is.
        topic: its name.
        run: name of this run in the ledger.
    """

    def __init__(self, cluster: Cluster, topic: str, run: str) -> None:
        self.cluster = cluster
        self.topic = topic
        self.where = f"the topic {topic} at {','.join(cluster.bootstrap_servers)}"
        self._run = run
        self._reader = KafkaReader(cluster)
        self._spans: dict[TopicPartition, tuple[int, int]] = {}
        self._redriven: set[tuple[int, int]] = set()

    def survey(self, wanted: Filter) -> int:
        """Read all once: what is redriven, and how many others the filter lets through.

        Raises:
            LettersError: the cluster or the topic is not there, or is not allowed.
        """
        with self._reader.translated(self.where):
            self._spans = self._reader.ends(self._partitions())
            matching = set()
            for record in self._reader.read(self._spans):
                entry = _entry(record)
                if entry is not None:
                    self._redriven.update((record.partition, offset) for offset in entry.offsets)
                elif wanted.matches(_letter(record)):
                    matching.add((record.partition, record.offset))
        return len(matching - self._redriven)

    def letters(self, wanted: Filter, *, redriven: bool = False) -> Iterator[Letter]:
        """Those that `survey` saw and the filter lets through; with `redriven` also those that are."""
        with self._reader.translated(self.where):
            for record in self._reader.read(self._spans):
                is_redriven = (record.partition, record.offset) in self._redriven
                if (is_redriven and not redriven) or _entry(record) is not None:
                    continue
                letter = replace(_letter(record), redriven=is_redriven)
                if wanted.matches(letter):
                    yield letter

    def find(self, letter: str) -> Letter | None:
        """One letter, after `survey`."""
        partition, _, offset = letter.partition(":")
        if not (partition.isascii() and partition.isdigit() and offset.isascii() and offset.isdigit()):
            return None
        place = TopicPartition(self.topic, int(partition))
        first, end = self._spans.get(place, (0, 0))
        if not first <= int(offset) < end:
            return None
        with self._reader.translated(self.where):
            for record in self._reader.read({place: (int(offset), int(offset) + 1)}):
                if _entry(record) is None:
                    return replace(_letter(record), redriven=(record.partition, record.offset) in self._redriven)
        return None

    def marks(self, letters: Sequence[Letter]) -> list[Message]:
        """The records that tell that these letters are redriven."""
        offsets: dict[int, list[int]] = {}
        for letter in letters:
            partition, _, offset = letter.id.partition(":")
            offsets.setdefault(int(partition), []).append(int(offset))
        return [
            Message(self.topic, partition, *ledger.encode(ledger.entry_of(self._run, some)))
            for partition, some in offsets.items()
        ]

    def marked(self, expected: int) -> int:
        """Letters that the ledger of the broker says this run redrove.

        A transaction shows a moment after its commit was answered, so the ledger is read again until it has as many as
        expected, for `SHOWN_WITHIN` seconds at most.
        """
        deadline = time.monotonic() + SHOWN_WITHIN
        while (found := self._in_ledger()) < expected and time.monotonic() < deadline:
            time.sleep(0.05)
        return found

    def _in_ledger(self) -> int:
        with self._reader.translated(self.where):
            ends = self._reader.ends(list(self._spans))
            since = {partition: (self._spans[partition][1], end) for partition, (_, end) in ends.items()}
            entries = [(record.partition, _entry(record)) for record in self._reader.read(since)]
        return len(
            {
                (partition, offset)
                for partition, entry in entries
                if entry is not None and entry.run == self._run
                for offset in entry.offsets
            }
        )

    def purge(self) -> int:
        """Delete everything up to the ends that `survey` saw. Returns the letters that were not redriven among it."""
        count = sum(1 for _ in self.letters(Filter()))
        ends = {partition: end for partition, (first, end) in self._spans.items() if first < end}
        if not ends:
            return 0
        with self.cluster.admin(self.where) as admin:
            try:
                admin.delete_records(ends, timeout_ms=int(REQUEST_TIMEOUT * 1000))
            except kafka_errors.PolicyViolationError as error:
                raise LettersError(f"{self.where} is compacted, and of such a topic nothing can be deleted") from error
        return count

    def close(self) -> None:
        """Leave the cluster."""
        self._reader.close()

    def _partitions(self) -> list[TopicPartition]:
        found = self._reader.partitions(self.topic)
        if not found:
            raise LettersError(missing_topic(self.topic, self.cluster.bootstrap_servers))
        return found


def _entry(record: ConsumerRecord) -> ledger.Entry | None:
    return ledger.decode(record.offset, record.key, record.value, record.headers)


def _letter(record: ConsumerRecord) -> Letter:
    return letter_of_record(
        f"{record.partition}:{record.offset}",
        key=record.key,
        value=record.value,
        headers=[(name, content or b"") for name, content in record.headers],
        timestamp=record.timestamp,
    )
