"""Kafka topics as an event source: a member of a consumer group that hands out records and commits offsets (D.1).

Settings and the translation into the event are in kafka_event.py; here is the class with the I/O.
"""

# mypy: allow-untyped-calls
# kafka-python has no annotations.

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager

from kafka import KafkaConsumer, TopicPartition
from kafka import errors as kafka_errors

from poller.errors import SourceError, SourceRejected, SourceUnavailable
from poller.model import Progress, Record, Shard
from poller.records import Records
from poller.sources import Features, Listener
from poller.sources.kafka_event import KafkaEvent, KafkaSettings, event_head, event_overhead
from poller.sources.kafka_lag import ASK_TIMEOUT, KafkaLag, Known
from poller.sources.kafka_positions import is_to_be_kept, place_text, time_to_go_on
from poller.sources.kafka_python_client import Connections, Rebalances
from poller.sources.kafka_python_crowd import opening_of
from poller.sources.kafka_python_options import consumer_options, offsets_to_commit
from poller.sources.kafka_python_polls import Polls
from poller.sources.kafka_python_positions import WITHOUT_OFFSET, asked_offsets, offsets_of
from poller.sources.kafka_python_watch import TopicWatch
from poller.sources.kafka_run import KafkaRun

_log = logging.getLogger(__name__)


_REBALANCED = (
    kafka_errors.CommitFailedError,
    kafka_errors.RebalanceInProgressError,
    kafka_errors.IllegalGenerationError,
    kafka_errors.UnknownMemberIdError,
    kafka_errors.FencedInstanceIdError,
)
_COMMIT_TIMEOUT = 1.0
_COMMIT_PAUSE = 0.1
_REBALANCE_TIMEOUT = 5.0
"""Seconds: a heartbeat until all members know of a rebalance, and their RevocationGrace."""
_CLOSE_TIMEOUT = 2.0


class KafkaSource:
    """One topic through one member of a consumer group. See `poller.sources.Source` for the contract."""

    features = Features(ordered=True, redelivers=False, rebalances=True, wakes=True)

    def __init__(self, settings: KafkaSettings, renewed: Callable[[], KafkaSettings | None] = lambda: None) -> None:
        """`renewed` gives the settings with a login that was read anew; None where that cannot be, so that it stays."""
        self._settings = settings
        self._renewed = renewed
        self._event_head = event_head(settings)
        self._listener: Listener | None = None
        self._connections = Connections()
        self._watch = TopicWatch(settings, self._connections)
        self._tokens = settings.security.token_source()
        self._consumer: KafkaConsumer | None = None
        self._polls: Polls | None = None
        self._owned: dict[Shard, TopicPartition] = {}
        self._shards: dict[TopicPartition, Shard] = {}
        self._next: dict[TopicPartition, int] = {}
        """Behind the last record that was given."""
        self._finished: dict[TopicPartition, int] = {}
        """Where the loop's progress has come to."""
        self._cut: dict[TopicPartition, int | None] = {}
        """Partitions whose log was found cut outside of `poll`, for the next one to place."""
        self._uncommitted: dict[TopicPartition, int] = {}
        self._commit_after = 0.0
        self._paused: set[Shard] = set()
        self._lag = KafkaLag(self._ends)

    def open(self, listener: Listener) -> None:
        """Connect, find the topic, and subscribe; the group is joined in the first polls. Never creates the topic.

        Raises:
            SourceUnavailable: no broker answers within `connect_timeout`.
            SourceRejected: the topic does not exist, or the broker refuses the login or the topic.
        """
        self._listener = listener
        try:
            with opening_of(self._settings.bootstrap_servers).place(self._settings.connect_timeout), self._translated():
                if self._tokens is not None:
                    self._tokens.token()  # here it may take its time; the client waits for it on its only thread
                self._watch = TopicWatch(self._settings, self._connections)
                consumer = KafkaConsumer(
                    **consumer_options(self._settings, self._tokens),
                    kafka_client=self._connections.make_on_owners_thread,
                )
                self._consumer = consumer
                self._polls = Polls(consumer, fetch_max_wait=self._settings.fetch_max_wait)
                self._subscribe(consumer)
                self._watch.find()
        except SourceError:
            self.close()
            raise

    def _subscribe(self, consumer: KafkaConsumer) -> None:
        try:
            consumer.subscribe([self._settings.topic], listener=Rebalances(self._assigned, self._revoked, self._lost))
        except (TypeError, ValueError):
            raise SourceRejected(f"{self._settings.topic!r} cannot be the name of a topic") from None

    def renew_login(self) -> None:
        """Take the settings anew from where they come from."""
        if (settings := self._renewed()) is not None:
            self._settings = settings
            self._tokens = self._settings.security.token_source()

    def poll(self, max_wait: float) -> Sequence[Record]:
        """Records of the partitions that are not paused. Rebalances happen in here; so do commits they held up.

        Raises:
            SourceUnavailable: the brokers were away for `session_timeout`, so membership is lost anyway.
            SourceRejected: the topic is gone, or is not allowed any more.
        """
        consumer = self._opened()
        assert self._polls is not None
        polled: dict[TopicPartition, list[KafkaRun]] = {}
        with self._translated():
            if self._cut:
                cut, self._cut = self._cut, {}
                self._place(consumer, cut)
            try:
                polled = self._polls.poll(max_wait, len(self._paused), len(self._owned), is_awaited=self._is_awaited)
            except WITHOUT_OFFSET as error:
                self._place(consumer, asked_offsets(error, consumer))
        runs: list[KafkaRun] = []
        for partition, some in polled.items():
            if some[0].position(0) < self._next.get(partition, 0):
                self._start_over(partition, some[0].shard)
            self._next[partition] = some[-1].position(len(some[-1]) - 1) + 1
            runs += some
        if self._uncommitted and time.monotonic() >= self._commit_after:
            self._commit(consumer)
        if not polled:
            self._watch.look(consumer)
        return Records.of_runs(runs)

    def _is_awaited(self) -> bool:
        """Whether something that was given is not finished."""
        return any(self._finished.get(partition, 0) < behind for partition, behind in self._next.items())

    def _start_over(self, partition: TopicPartition, shard: Shard) -> None:
        # The topic was made anew or its log was cut: the offsets in flight name other records now.
        _log.warning("offsets of %s went back: the topic was made anew or its log was truncated", shard)
        assert self._listener is not None
        self._uncommitted.pop(partition, None)
        self._finished.pop(partition, None)
        self._listener.lost([shard])
        self._listener.assigned([shard])

    def _place(self, consumer: KafkaConsumer, asked: Mapping[TopicPartition, int | None]) -> None:
        """Let partitions that have no valid offset go on where `kafka_positions` says."""
        settings = self._settings
        times = {
            partition: time_to_go_on(settings, offset, added=partition.partition not in self._watch.at_start)
            for partition, offset in asked.items()
            if partition in self._shards
        }
        try:
            places = offsets_of(consumer, times, settings.connect_timeout)
        except (kafka_errors.KafkaTimeoutError, kafka_errors.RetriableError) as error:
            self._cut |= {partition: offset for partition, offset in asked.items() if offset is not None}
            _log.info("the offsets of %s are not known yet: %s", settings.topic, error)  # the next poll asks again
            return
        for partition, offset in places.items():
            shard = self._shards[partition]
            level = logging.INFO if asked[partition] is None else logging.WARNING
            _log.log(level, "%s", place_text(settings, shard, asked[partition], offset))
            consumer.seek(partition, offset)
            if offset < self._next.get(partition, 0):
                self._start_over(partition, shard)
                self._next[partition] = offset
            if is_to_be_kept(settings, asked[partition], offset):
                self._uncommitted.setdefault(partition, offset)

    def pause(self, shards: Collection[Shard]) -> None:
        """Give no more records of these shards; the client keeps what it has fetched. Lost shards are passed over."""
        self._opened().pause(*[self._owned[shard] for shard in shards if shard in self._owned])
        self._paused.update(shard for shard in shards if shard in self._owned)

    def resume(self, shards: Collection[Shard]) -> None:
        """Undo `pause`."""
        self._opened().resume(*[self._owned[shard] for shard in shards if shard in self._owned])
        self._paused.difference_update(shards)

    def expect(self, batch_size: int) -> None:
        """Nothing: what waits is bounded by bytes, and by the loop's pauses."""

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
            self._commit(consumer)
        return not self._uncommitted

    def _note(self, progress: Progress) -> None:
        for shard, position in progress.positions.items():
            if shard in self._owned:
                self._uncommitted[self._owned[shard]] = self._finished[self._owned[shard]] = position

    def _commit(self, consumer: KafkaConsumer) -> None:
        with self._translated():
            try:
                consumer.commit(offsets_to_commit(self._uncommitted), timeout_ms=int(_COMMIT_TIMEOUT * 1000))
            except (*_REBALANCED, kafka_errors.RetriableError) as error:
                _log.info("a commit of group %s has to wait: %s", self._settings.group_id, error)
                self._commit_after = time.monotonic() + _COMMIT_PAUSE
                self._tell_commit_failed()
            else:
                self._uncommitted.clear()

    def build_event(self, records: Sequence[Record]) -> KafkaEvent:
        """The event of D.1.1. Pure."""
        return KafkaEvent(self._event_head, records)

    def overhead(self, shards: int) -> int:
        """Bytes around the records of that many shards when each record counts one comma; partitions of ten digits."""
        return event_overhead(self._settings, shards)

    def lag(self, *, ask: bool = True) -> dict[Shard, int]:
        """Offsets from the next record to the end, per owned shard; blocks 2 to 12 ms, half a second in trouble."""
        consumer = self._consumer
        if consumer is None:
            return {}
        known = {
            shard: Known(self._position(consumer, partition), consumer.highwater(partition))
            for shard, partition in self._owned.items()
        }
        return self._lag.of(known, self._paused, ask=ask)

    def _ends(self, shards: Sequence[Shard]) -> dict[Shard, int]:
        asked = [self._owned[shard] for shard in shards]
        try:
            ends = self._opened().end_offsets(asked, timeout_ms=int(ASK_TIMEOUT * 1000))
        except kafka_errors.KafkaError:  # whatever it is, `poll` tells of it
            return {}
        return {f"{partition.topic}-{partition.partition}": end for partition, end in ends.items()}

    def partitions(self) -> int | None:
        """Of the topic, as of the last metadata."""
        return None if self._consumer is None else self._watch.partitions()

    def _position(self, consumer: KafkaConsumer, partition: TopicPartition) -> int | None:
        try:
            position: int | None = consumer.position(partition, timeout_ms=0)
        except kafka_errors.LogTruncationError as error:  # told once, to whoever asks first
            self._cut |= asked_offsets(error, consumer)
            return None
        except kafka_errors.KafkaError:  # not known yet
            return None
        return position

    def wake(self) -> None:
        """Make a waiting `poll` return at once; while the group is joined, with the next slice."""
        if (polls := self._polls) is not None:
            polls.wake()

    def close(self) -> None:
        """Revoke all shards, commit what that makes final, and leave the group. Blocks a few seconds at most."""
        try:
            if self._consumer is not None and self._polls is not None:
                self._finish_rebalance(self._consumer, self._polls)
                self._consumer.close(autocommit=False, timeout_ms=int(_CLOSE_TIMEOUT * 1000))
        except Exception as error:  # noqa: BLE001 - whatever is broken there, this consumer is given up
            _log.warning("group %s was not left properly: %s", self._settings.group_id, error)
        finally:
            self._connections.close()
            self._consumer = self._polls = None
            self._forget(list(self._shards))

    def _finish_rebalance(self, consumer: KafkaConsumer, polls: Polls) -> None:
        # The client commits nothing while the group rebalances, and would leave it like that: finished work came again.
        deadline = time.monotonic() + _REBALANCE_TIMEOUT
        try:
            while self._uncommitted and time.monotonic() < deadline and not consumer._coordinator.coordinator_unknown():  # noqa: SLF001
                polls.poll(0.05)  # what arrives was never taken up, so it comes again
                self._commit(consumer)
        except Exception as error:  # noqa: BLE001 - whatever is broken there, the group is left all the same
            _log.info("the last commit of group %s failed: %s", self._settings.group_id, error)

    def _opened(self) -> KafkaConsumer:
        if self._consumer is None:
            raise SourceUnavailable(f"not connected to Kafka at {self._settings.addresses}")
        return self._consumer

    def _translated(self) -> AbstractContextManager[None]:
        """No error of the client leaves this file, save what the loop's own listener raised inside of it."""
        return self._connections.translated(self._settings.addresses)

    # Called by the client from inside of poll or close.

    def _assigned(self, partitions: Collection[TopicPartition]) -> None:
        for topic, number in partitions:
            partition, shard = TopicPartition(topic, number), f"{topic}-{number}"
            self._owned[shard] = partition
            self._shards[partition] = shard
        assert self._listener is not None
        assert self._polls is not None
        self._polls.assigned(len(partitions))
        self._listener.assigned([self._shards[partition] for partition in partitions])

    def _revoked(self, partitions: Collection[TopicPartition]) -> None:
        assert self._listener is not None
        self._note(self._listener.revoked([self._shards[partition] for partition in partitions]))
        going = {partition: self._uncommitted[partition] for partition in partitions if partition in self._uncommitted}
        if going and self._consumer is not None:
            # Goes out before the request that gives the partitions up, on the same connection.
            self._consumer.commit_async(offsets_to_commit(going)).add_errback(self._commit_failed)
        self._forget(partitions)

    def _commit_failed(self, error: Exception) -> None:
        _log.warning("offsets of shards given up were not committed, their records come again: %s", error)
        self._tell_commit_failed()

    def _tell_commit_failed(self) -> None:
        if self._listener is not None:
            self._listener.commit_failed()

    def _lost(self, partitions: Collection[TopicPartition]) -> None:
        assert self._listener is not None
        self._listener.lost([self._shards[partition] for partition in partitions])
        self._forget(partitions)

    def _forget(self, partitions: Collection[TopicPartition]) -> None:
        for partition in partitions:
            shard = self._shards.pop(partition)
            del self._owned[shard]
            self._paused.discard(shard)
            self._next.pop(partition, None)
            self._finished.pop(partition, None)
            self._cut.pop(partition, None)
            self._uncommitted.pop(partition, None)
