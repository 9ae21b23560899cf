"""Kafka topics as an event source through confluent-kafka (librdkafka): as kafka.py, several times as fast (D.1).

Needs the extra `fast`. Settings and the translation into the event are in kafka_event.py; the client's options, and
what its errors mean, in kafka_librdkafka_options.py.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, Consumer, KafkaError, KafkaException, Message, TopicPartition

from poller.errors import SourceError, SourceRejected, SourceUnavailable
from poller.model import Progress, Record, Shard
from poller.sources import Features, Listener
from poller.sources.kafka_event import KafkaSettings, build_event, event_head, event_overhead, record_head, to_records
from poller.sources.kafka_held_back import HeldBack
from poller.sources.kafka_librdkafka_options import END_OF_PARTITION, MISSING, PASSING, REFUSALS, consumer_options

_log = logging.getLogger(__name__)
_client_log = logging.getLogger("confluent_kafka")

_COMMIT_TIMEOUT = 1.0
_COMMIT_PAUSE = 0.1
_CLOSE_TIMEOUT = 2.0
_PROBE_TIMEOUT = 0.5
_PROBE_PAUSE, _IDLE_PROBE_PAUSE = 1.0, 5.0
_TOPIC_MISSING = 5.0
"""Seconds a topic may be absent from the metadata while it is read: a broker that starts knows none at first."""
_HELD_BYTES, _HELD_BYTES_EACH = 64 << 20, 4 << 20
"""What is held back of all partitions and of each, with what messages take beside their values, before the client is
told to pause some. It then throws away what it has of them, which is 1 MB of a fetch, four when that is compressed."""


class LibrdkafkaSource:
    """One topic through one member of a consumer group. See `poller.sources.Source` for the contract.

    The listener is called on the owner's thread, inside the client's `consume`, `poll` and `close`.
    """

    # No wakes: nothing ends a waiting poll of this client but a message or a rebalance, so the loop polls in slices.
    features = Features(ordered=True, redelivers=False, rebalances=True)

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._event_head = event_head(settings)
        self._listener: Listener | None = None
        self._consumer: Consumer | None = None
        self._numbers: dict[Shard, int] = {}
        """Owned shards. From here on partitions are known by their numbers, as there is one topic."""
        self._heads: dict[int, tuple[Shard, bytes]] = {}
        self._next: dict[int, int] = {}
        """The offset after what has arrived from the client, whether it was given on or is held back."""
        self._unpinned: set[int] = set()
        self._uncommitted: dict[int, int] = {}
        self._commit_after = 0.0
        self._paused: set[int] = set()
        self._stopped: set[int] = set()
        """Partitions that the client was told to pause, too."""
        self._held: HeldBack[Message] = HeldBack()
        self._gone: set[int] = set()
        """Partitions that went away in the client call under way: what that call gives of them is void."""
        self._refusal: KafkaError | None = None
        self._subscribed = self._suspect = False
        self._trouble_since: float | None = None
        self._probe_after = 0.0

    def open(self, listener: Listener) -> None:
        """Connect, find the topic, and subscribe; the group is joined in the first polls. Never creates the topic.

        Raises:
            SourceUnavailable: no broker answers within `connect_timeout`.
            SourceRejected: the topic does not exist, or the broker refuses the login or the topic.
        """
        self._listener = listener
        try:
            with self._translated():
                options = consumer_options(self._settings)
                consumer = Consumer(
                    options | {"error_cb": self._on_error, "on_commit": self._on_commit}, logger=_client_log
                )
                self._consumer = consumer
                self._find_topic(consumer)
                self._subscribe(consumer)
        except SourceError:
            self.close()
            raise

    def _subscribe(self, consumer: Consumer) -> None:
        consumer.subscribe(
            [self._settings.topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )
        self._subscribed = True

    def _find_topic(self, consumer: Consumer) -> None:
        topic, addresses = self._settings.topic, self._settings.addresses
        for _ in range(3):  # a topic that was made a moment ago may miss in the first answer
            error = self._ask_for_topic(consumer, self._settings.connect_timeout)
            if error is None:
                return
            if error.code() == KafkaError.TOPIC_EXCEPTION:
                raise SourceRejected(f"{topic!r} cannot be the name of a topic")
            if error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                raise SourceRejected(
                    f"Kafka at {addresses} does not allow topic {topic}", code="EVENT_SOURCE_AUTHZ_ERROR"
                )
            if error.code() not in MISSING:
                raise SourceUnavailable(f"Kafka at {addresses} does not answer about topic {topic}: {error.str()}")
        raise SourceRejected(f"topic {topic} does not exist on {addresses}")

    def _ask_for_topic(self, consumer: Consumer, timeout: float) -> KafkaError | None:
        """What is the matter with the topic, by the broker's own word; None when nothing is.

        Raises:
            KafkaException: no broker answered within `timeout` seconds.
        """
        try:
            metadata = consumer.list_topics(self._settings.topic, timeout=timeout)
        except KafkaException:
            consumer.poll(0)  # a refused login is told to `_on_error` only, and that from inside a poll
            self._raise_refusal()
            raise
        error: KafkaError | None = metadata.topics[self._settings.topic].error
        return error

    def poll(self, max_wait: float) -> Sequence[Record]:
        """Records of the partitions that are not paused. Rebalances happen in here; so do commits they held up.

        Raises:
            SourceUnavailable: the brokers were away for `session_timeout`, so membership is lost anyway.
            SourceRejected: the topic is gone, or it or the login is not allowed any more.
        """
        consumer = self._opened()
        deadline = time.monotonic() + max_wait
        with self._translated():
            while True:
                ready = bool(self._held) and self._held.any_of_others(self._paused)
                messages = self._receive(consumer, 0.0 if ready else deadline - time.monotonic())
                records = self._give(consumer, messages)
                # What comes of paused partitions stands before that of others in the client's queue: take it away.
                if records or not messages or time.monotonic() >= deadline or self._paused >= self._heads.keys():
                    break
            if self._uncommitted and time.monotonic() >= self._commit_after:
                self._commit(consumer)
            if self._refusal is not None:
                self._raise_refusal()
            if not records and time.monotonic() >= self._probe_after:
                self._look_for_trouble(consumer)
        return records

    def _receive(self, consumer: Consumer, wait: float) -> list[Message]:
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

    def _give(self, consumer: Consumer, messages: Sequence[Message]) -> list[Record]:
        """What was held back and may be given now, then what came."""
        records: list[Record] = []
        if self._held:
            for number, kept in self._held.take(self._settings.max_poll_records, self._paused):
                records += from_messages(kept, *self._heads[number])
                if number in self._stopped and number not in self._held:
                    self._resume_client(consumer, number)
        if any(map(Message.error, messages)):
            for is_news, some in groupby(messages, _is_news):
                if is_news:
                    for one in some:
                        self._take_news(consumer, one, records)
                else:
                    self._sort(consumer, some, records)
        else:
            self._sort(consumer, messages, records)
        return records

    def _sort(self, consumer: Consumer, messages: Iterable[Message], records: list[Record]) -> None:
        """By partition: what may be given joins `records`, the rest is held back."""
        for partition, group in groupby(messages, Message.partition):
            number, run = partition or 0, list(group)
            if number not in self._heads:
                continue
            first, last = run[0].offset() or 0, run[-1].offset() or 0
            if first < self._next.get(number, 0):
                self._start_over(consumer, number, records)
            self._next[number] = last + 1
            self._pin(number, first)
            if number in self._paused or number in self._held:
                self._hold(consumer, number, run)
            else:
                records += from_messages(run, *self._heads[number])

    def _pin(self, number: int, start: int) -> None:
        # LATEST: whoever takes a partition over before its first commit would begin at an end that has moved on, and
        # skip what is in flight here. So the place where reading begins is committed at once.
        if number in self._unpinned:
            self._unpinned.discard(number)
            self._uncommitted.setdefault(number, start)

    def _start_over(self, consumer: Consumer, number: int, records: list[Record]) -> None:
        # The topic was made anew or its log was cut: the offsets in flight name other records now.
        shard, _ = self._heads[number]
        _log.warning("offsets of %s went back: the topic was made anew or its log was truncated", shard)
        assert self._listener is not None
        self._uncommitted.pop(number, None)
        self._held.drop(number)
        records[:] = [record for record in records if record.shard != shard]
        self._resume(consumer, number)  # for the loop, a shard that it got anew is not paused
        self._listener.lost([shard])
        self._listener.assigned([shard])

    def pause(self, shards: Collection[Shard]) -> None:
        """Give no more records of these shards. Lost ones are passed over.

        The client goes on: what it gives is held back, until it is too much.
        """
        self._opened()
        self._paused.update(self._numbers[shard] for shard in shards if shard in self._numbers)

    def resume(self, shards: Collection[Shard]) -> None:
        """Undo `pause`: what was held back comes first."""
        consumer = self._opened()
        with self._translated():
            for shard in shards:
                if shard in self._numbers:
                    self._resume(consumer, self._numbers[shard])

    def _resume(self, consumer: Consumer, number: int) -> None:
        self._paused.discard(number)
        if number in self._stopped and number not in self._held:
            self._resume_client(consumer, number)

    def _resume_client(self, consumer: Consumer, number: int) -> None:
        self._stopped.discard(number)
        consumer.resume([self._partition(number)])

    def _hold(self, consumer: Consumer, number: int, run: Sequence[Message]) -> None:
        held = self._held.add(number, run)
        if (held > _HELD_BYTES_EACH or self._held.total > _HELD_BYTES) and number not in self._stopped:
            self._stopped.add(number)
            consumer.pause([self._partition(number)])

    def acknowledge(self, progress: Progress) -> bool:
        """Commit the positions of owned shards in one request; blocks about 2 ms, 1 s when the broker is away.

        A commit that a rebalance or an absent coordinator holds up is made in a later call or `poll`, or with the
        revocation; if the shard is lost, its new owner reads the records again. False says that it is held up.

        Raises:
            SourceRejected: the group or the topic is not allowed any more.
        """
        consumer = self._opened()
        self._note(progress)
        if self._uncommitted:
            with self._translated():
                self._commit(consumer)
        return not self._uncommitted

    def _note(self, progress: Progress) -> None:
        for shard, position in progress.positions.items():
            if shard in self._numbers:
                self._uncommitted[self._numbers[shard]] = position

    def _commit(self, consumer: Consumer) -> None:
        # The client's own blocking commit has no time limit, and outlasts a session when the broker hangs. So: commit,
        # and ask on the same connection, where the broker answers in order, what is committed.
        offsets = [self._partition(number, position) for number, position in self._uncommitted.items()]
        try:
            consumer.commit(offsets=offsets, asynchronous=True)
            stored = consumer.committed(offsets, timeout=_COMMIT_TIMEOUT)
        except KafkaException as problem:
            if problem.args[0].code() in REFUSALS:
                raise
            self._hold_commit_up(problem.args[0])
            return
        for one in stored:
            if one.error is not None and one.error.code() in REFUSALS:
                raise KafkaException(one.error)
            if one.error is None and one.offset == self._uncommitted[one.partition]:
                del self._uncommitted[one.partition]
        if self._uncommitted:
            self._hold_commit_up(next((one.error for one in stored if one.error is not None), None))

    def _hold_commit_up(self, error: KafkaError | None) -> None:
        reason = error.str() if error else "the group rebalances"
        _log.info("a commit of group %s has to wait: %s", self._settings.group_id, reason)
        self._commit_after = time.monotonic() + _COMMIT_PAUSE

    def release(self, records: Sequence[Record]) -> None:
        """Not for a stream: its records are retried in their lane."""
        raise NotImplementedError("a Kafka record cannot be handed back")

    def reject(self, records: Sequence[Record]) -> None:
        """Not for a stream: Kafka has no dead letters of its own."""
        raise NotImplementedError("a Kafka record cannot be rejected")

    def build_event(self, records: Sequence[Record]) -> bytes:
        """The event of D.1.1. Pure."""
        return build_event(self._event_head, records)

    def overhead(self, shards: int) -> int:
        """Bytes around the records of that many shards when each record counts one comma; partitions of ten digits."""
        return event_overhead(self._settings, shards)

    def lag(self) -> dict[Shard, int]:
        """Offsets from the next record to the high watermark of the last fetch, per owned shard."""
        lag: dict[Shard, int] = {}
        if self._consumer is not None:
            for shard, number in self._numbers.items():
                position = self._held.first(number).offset() if number in self._held else self._next.get(number)
                _, highwater = self._consumer.get_watermark_offsets(self._partition(number), cached=True)
                if position is not None and highwater >= 0:  # else not known yet
                    lag[shard] = max(0, highwater - position)
        return lag

    def wake(self) -> None:
        """Nothing: the client has no such call, so the loop polls in short slices while it waits for results."""

    def close(self) -> None:
        """Revoke all shards, commit what that makes final, and leave the group. Blocks a few seconds at most."""
        consumer, self._consumer = self._consumer, None
        try:
            if consumer is not None:
                self._revoke(consumer, list(self._heads))
        except Exception as error:  # noqa: BLE001 - whatever is broken there, this consumer is given up
            _log.warning("group %s was not left properly: %s", self._settings.group_id, error)
        finally:
            if consumer is not None:
                # Without limit, too: where a broker hangs it waits for a farewell that nobody takes.
                closing = threading.Thread(target=consumer.close, name=f"close-{self._settings.client_id}", daemon=True)
                closing.start()
                closing.join(_CLOSE_TIMEOUT)
            self._refusal = self._trouble_since = None
            self._subscribed = self._suspect = False
            self._forget(list(self._heads))

    def _opened(self) -> Consumer:
        if self._consumer is None:
            raise SourceUnavailable(f"not connected to Kafka at {self._settings.addresses}")
        return self._consumer

    def _partition(self, number: int, offset: int | None = None) -> TopicPartition:
        if offset is None:
            return TopicPartition(self._settings.topic, number)
        return TopicPartition(self._settings.topic, number, offset)

    # --- trouble ------------------------------------------------------------------------------------------------------

    def _take_news(self, consumer: Consumer, message: Message, records: list[Record]) -> None:
        """What is no record: the end of a partition was reached, or something is the matter."""
        error = message.error()
        assert error is not None
        if error.code() == END_OF_PARTITION:
            number, offset = message.partition(), message.offset()
            if number in self._heads and offset is not None:
                if offset < self._next.get(number, 0):
                    self._start_over(consumer, number, records)
                self._next[number] = offset  # markers of transactions take offsets, too
                self._pin(number, offset)
        elif error.code() in REFUSALS or error.fatal():
            raise KafkaException(error)
        else:
            self._on_error(error)

    def _on_error(self, error: KafkaError) -> None:
        # Called by the client inside of a poll. It goes on by itself, whatever it is; so look what becomes of it.
        if error.code() in REFUSALS or error.fatal():
            self._refusal = error
        elif error.code() not in PASSING:
            _client_log.debug("%s", error)
        self._look_soon()

    def _look_soon(self) -> None:
        if not self._suspect:
            self._suspect, self._probe_after = True, 0.0

    def _on_commit(self, error: KafkaError | None, _: Sequence[TopicPartition]) -> None:
        if error is not None and error.code() in REFUSALS:
            self._refusal = error

    def _raise_refusal(self) -> None:
        if self._refusal is not None:
            raise KafkaException(self._refusal)

    def _look_for_trouble(self, consumer: Consumer) -> None:
        # The client tells when brokers go away, but not when they are back, and nothing of a topic that was deleted.
        # So ask: now and then while nothing comes, and often in trouble, as the answer is waited for.
        now = time.monotonic()
        self._probe_after = now + (_PROBE_PAUSE if self._suspect else _IDLE_PROBE_PAUSE)
        topic, addresses = self._settings.topic, self._settings.addresses
        trouble: SourceError
        try:
            error = self._ask_for_topic(consumer, _PROBE_TIMEOUT)
        except KafkaException:
            patience = self._settings.session_timeout
            trouble = SourceUnavailable(f"no Kafka broker answers at {addresses} for group {self._settings.group_id}")
        else:
            if error is None:
                self._suspect, self._trouble_since = False, None
                if not self._subscribed:
                    self._subscribe(consumer)
                return
            if error.code() in REFUSALS:
                raise KafkaException(error)
            patience = _TOPIC_MISSING
            trouble = SourceRejected(f"topic {topic} does not exist any more on {addresses}")
            if self._subscribed and self._trouble_since is not None:
                # By itself the client would read a topic that is made anew from the offset where it was in the old.
                self._subscribed = False
                consumer.unsubscribe()
        self._suspect = True
        self._trouble_since = self._trouble_since or now
        self._probe_after = time.monotonic() + _PROBE_PAUSE
        if now - self._trouble_since > patience:
            raise trouble

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """No error of the client leaves this file; what the loop's own listener raised inside of it does."""
        addresses = self._settings.addresses
        try:
            yield
        except KafkaException as problem:
            error: KafkaError = problem.args[0]
            if (code := REFUSALS.get(error.code())) is not None:
                raise SourceRejected(f"Kafka at {addresses} refuses: {error.str()}", code=code) from problem
            if error.code() in PASSING:
                raise SourceUnavailable(f"no Kafka broker answers at {addresses}") from problem
            raise SourceUnavailable(f"Kafka at {addresses}: {error.str()}") from problem

    # --- rebalances: called by the client on the owner's thread, inside of consume, poll and close -------------------

    def _on_assign(self, consumer: Consumer, partitions: Collection[TopicPartition]) -> None:
        consumer.incremental_assign(list(partitions))
        for one in partitions:
            shard = f"{one.topic}-{one.partition}"
            self._numbers[shard] = one.partition
            self._heads[one.partition] = (shard, record_head(one.topic, one.partition))
            if self._settings.starting_position == "LATEST":
                self._unpinned.add(one.partition)
        assert self._listener is not None
        self._listener.assigned([self._heads[one.partition][0] for one in partitions])

    def _on_revoke(self, consumer: Consumer, partitions: Collection[TopicPartition]) -> None:
        if consumer is self._consumer:  # else it is being closed, and they are given up already
            self._revoke(consumer, [one.partition for one in partitions])
        consumer.incremental_unassign(list(partitions))

    def _revoke(self, consumer: Consumer, numbers: Sequence[int]) -> None:
        assert self._listener is not None
        if numbers:
            self._note(self._listener.revoked([self._heads[number][0] for number in numbers]))
        if self._uncommitted:
            self._commit(consumer)
        for number in numbers:
            if number in self._uncommitted:
                _log.warning("the offset of %s was not committed, its records come again", self._heads[number][0])
        self._forget(numbers)

    def _on_lost(self, consumer: Consumer, partitions: Collection[TopicPartition]) -> None:
        if consumer is self._consumer:
            numbers = [one.partition for one in partitions]
            assert self._listener is not None
            self._listener.lost([self._heads[number][0] for number in numbers])
            self._forget(numbers)
            self._look_soon()  # the session may have ended because no broker answers
        consumer.incremental_unassign(list(partitions))

    def _forget(self, numbers: Collection[int]) -> None:
        for number in numbers:
            shard, _ = self._heads.pop(number)
            del self._numbers[shard]
            self._held.drop(number)
            self._next.pop(number, None)
            self._uncommitted.pop(number, None)
            for some in (self._unpinned, self._paused, self._stopped):
                some.discard(number)
            self._gone.add(number)


def _is_news(message: Message) -> bool:
    return message.error() is not None


def from_messages(some: Sequence[Message], shard: Shard, head: bytes) -> list[Record]:
    """The client's messages as records. Pure; what is not read with C functions alone is in `to_records`."""
    return to_records(
        shard,
        head,
        map(Message.offset, some),  # type: ignore[arg-type]  # never None in a message that was consumed
        map(Message.timestamp, some),
        map(Message.key, some),
        map(Message.value, some),
        map(Message.headers, some),  # type: ignore[arg-type]  # a list of pairs, whatever may be produced from
        log_append_time=TIMESTAMP_LOG_APPEND_TIME,
    )
