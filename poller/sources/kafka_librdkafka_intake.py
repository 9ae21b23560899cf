"""What librdkafka gave of the partitions of one consumer: what becomes records now, what is held back, and how far.

Partitions are known by their numbers, as there is one topic.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import groupby

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from poller.model import Shard
from poller.records import Run
from poller.runs import runs_of
from poller.sources.kafka_event import KafkaSettings
from poller.sources.kafka_held_back import HeldBack
from poller.sources.kafka_lag import Known
from poller.sources.kafka_librdkafka_options import END_OF_PARTITION, from_messages, is_news, is_refusal
from poller.sources.kafka_librdkafka_positions import WITHOUT_OFFSET
from poller.sources.kafka_run import RUN, RecordHead, record_head

_log = logging.getLogger(__name__)


class Intake:
    """The owned partitions, and what came of each. Owned by the source's thread.

    Args:
        settings: of the source.
        held: keeps what came of paused partitions.
        started_over: told of a partition whose offsets went back, before anything else is given of it.
        trouble: told of what the client says in a record's place that refuses nothing.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        held: HeldBack,
        started_over: Callable[[int], None],
        trouble: Callable[[KafkaError], None],
    ) -> None:
        self._settings = settings
        self._started_over = started_over
        self._trouble = trouble
        self.held = held
        self.heads: dict[int, tuple[Shard, RecordHead]] = {}
        """Owned partitions: the shard, and what all its records share."""
        self.placeless: dict[int, int | None] = {}
        """Partitions that are not read since they have no valid offset, and the one that is not in their log."""
        self._next: dict[int, int] = {}
        """The offset after what has arrived from the client, whether it was given on or is held back."""
        self._gone: set[int] = set()
        """Partitions that went away in the client call under way: what that call gives of them is void."""

    def begin(self, partitions: Collection[TopicPartition]) -> list[Shard]:
        """These are owned from now on; the shards' names."""
        for one in partitions:
            self.heads[one.partition] = (f"{one.topic}-{one.partition}", record_head(one.topic, one.partition))
        return self.shards([one.partition for one in partitions])

    def shards(self, numbers: Collection[int]) -> list[Shard]:
        """The names of owned partitions."""
        return [self.heads[number][0] for number in numbers]

    def forget(self, number: int) -> None:
        """It is not owned any more."""
        del self.heads[number]
        self.held.forget(number)
        self._next.pop(number, None)
        self.placeless.pop(number, None)
        self._gone.add(number)

    @property
    def all_paused(self) -> bool:
        """Whether no owned partition may give anything."""
        return self.held.paused >= self.heads.keys()

    def receive(self, consumer: Consumer, wait: float) -> list[Message]:
        """What the client has; waits at most so many seconds for the first. Rebalances happen in here."""
        most = self._settings.max_poll_records
        self._gone.clear()
        messages = consumer.consume(most, 0)
        if not messages and wait > 0:
            # `consume` with a timeout would wait for all it may give; `poll` ends with the first.
            first = consumer.poll(wait)
            if first is None:
                return []
            self._gone.clear()
            messages = [first, *consumer.consume(most, 0)]
        if self._gone:
            messages = [one for one in messages if one.partition() not in self._gone]
        return messages

    def runs(self, messages: Sequence[Message]) -> list[Run]:
        """What was held back and may be given now, then what came.

        Raises:
            KafkaException: the client tells of a refusal.
        """
        runs = self.held.take(self._settings.max_poll_records)
        if any(map(Message.error, messages)):
            for news, some in groupby(messages, is_news):
                if news:
                    for one in some:
                        self._take_news(one, runs)
                else:
                    self._sort(list(some), runs)
        else:
            self._sort(messages, runs)
        return runs

    def go_on_at(self, number: int, offset: int, runs: list[Run]) -> None:
        """A partition is read from this offset on, which the client was told.

        Args:
            number: of the partition.
            offset: of the next record.
            runs: about to be given; those that came before are not, where offsets went back.
        """
        self.held.assigned_anew(number)
        self._move_to(number, offset, offset, runs)

    def known(self, consumer: Consumer) -> dict[int, Known]:
        """Of each owned partition the next record that is given out, and the end as the client knows it."""
        return {number: self._known(number, consumer) for number in self.heads}

    def _known(self, number: int, consumer: Consumer) -> Known:
        held = self.held.first(number)
        _, end = consumer.get_watermark_offsets(TopicPartition(self._settings.topic, number), cached=True)
        return Known(self._next.get(number) if held is None else held, end if end >= 0 else None)

    def _sort(self, messages: Sequence[Message], runs: list[Run]) -> None:
        """By partition: what may be given joins `runs`, the rest is held back."""
        for partition, some in runs_of(messages, Message.partition):
            number = partition or 0
            if number not in self.heads:
                continue
            self._move_to(number, some[0].offset() or 0, (some[-1].offset() or 0) + 1, runs)
            waits = self.held.waits(number)
            for run in self._runs(number, some):
                if waits:
                    self.held.add(number, run)
                else:
                    runs.append(run)

    def _runs(self, number: int, messages: Sequence[Message]) -> Iterator[Run]:
        """By the size of the first, as others are alike."""
        shard, head = self.heads[number]
        most = max(1, RUN // (len(messages[0]) + 1))
        for start in range(0, len(messages), most):
            yield from_messages(messages[start : start + most], shard, head)

    def _move_to(self, number: int, first: int, following: int, runs: list[Run]) -> None:
        """Something begins at `first`, and `following` is next."""
        if first < self._next.get(number, 0):
            # The topic was made anew or its log was cut: the offsets in flight name other records now.
            shard, _ = self.heads[number]
            _log.warning("offsets of %s went back: the topic was made anew or its log was truncated", shard)
            self.held.start_over(number)  # for the loop, a shard that it got anew is not paused
            runs[:] = [run for run in runs if run.shard != shard]
            self._started_over(number)
        self._next[number] = following

    def _take_news(self, message: Message, runs: list[Run]) -> None:
        """What is no record: the end of a partition was reached, or something is the matter."""
        error = message.error()
        assert error is not None
        number, offset = message.partition(), message.offset()
        if error.code() in WITHOUT_OFFSET:
            if number in self.heads:
                self.placeless[number] = offset
        elif error.code() == END_OF_PARTITION:
            if number in self.heads and offset is not None:
                self._move_to(number, offset, offset, runs)  # markers of transactions take offsets, too
        elif is_refusal(error) or error.fatal():
            raise KafkaException(error)
        else:
            self._trouble(error)
