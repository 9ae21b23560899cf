"""Kafka topics as an event source: a member of a consumer group that hands out records and commits offsets (D.1).

Settings and the translation into the event are in kafka_event.py; here is the class with the I/O.
"""

# mypy: allow-untyped-calls
# kafka-python has no annotations.

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from kafka import ConsumerRebalanceListener, KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka import errors as kafka_errors
from kafka.cluster import ClusterMetadata
from kafka.consumer.fetcher import ConsumerRecord
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor

from poller.errors import SourceError, SourceRejected, SourceUnavailable
from poller.model import Progress, Record, Shard
from poller.sources import Features, Listener, kafka_header_names
from poller.sources.kafka_event import KafkaSettings, build_event, event_head, event_overhead, record_head, to_records
from poller.sources.kafka_lag import ASK_TIMEOUT, KafkaLag, Known
from poller.sources.kafka_oauth import TokenError
from poller.sources.kafka_positions import is_to_be_kept, place_text, time_to_go_on
from poller.sources.kafka_python_client import Connections, keep_finished_joins, refusal_of
from poller.sources.kafka_python_positions import WITHOUT_OFFSET, asked_offsets, offsets_of
from poller.sources.kafka_refusals import ACCESS, KEYS, token_refusal
from poller.sources.kafka_security import InvalidKeys, kafka_python_options

_log = logging.getLogger(__name__)


_REBALANCED = (
    kafka_errors.CommitFailedError,
    kafka_errors.RebalanceInProgressError,
    kafka_errors.IllegalGenerationError,
    kafka_errors.UnknownMemberIdError,
    kafka_errors.FencedInstanceIdError,
)
_REQUEST_TIMEOUT = 10.0
"""Seconds: how long a hung broker goes unnoticed. The client's 30 s outlast every session."""
_METADATA_AGE = 10.0
"""Seconds until partitions that are added are read. The client's five minutes are for clusters of thousands."""
_COMMIT_TIMEOUT = 1.0
_COMMIT_PAUSE = 0.1
_REBALANCE_TIMEOUT = 5.0
"""Seconds: a heartbeat until all members know of a rebalance, and their RevocationGrace."""
_CLOSE_TIMEOUT = 2.0
_IDLE_AFTER = 1.0
_IDLE_FETCH_WAIT = 0.5
"""Seconds: short fetches cost 10 % of a core, and matter only while partitions are paused and resumed."""
_TOPIC_MISSING = 5.0
"""Seconds a topic may be absent from the metadata while it is read: a broker that starts knows none at first."""


class KafkaSource:
    """One topic through one member of a consumer group. See `poller.sources.Source` for the contract."""

    features = Features(ordered=True, redelivers=False, rebalances=True)

    def __init__(self, settings: KafkaSettings, renewed: Callable[[], KafkaSettings | None] = lambda: None) -> None:
        """`renewed` gives the settings with a login that was read anew; None where that cannot be, so that it stays."""
        self._settings = settings
        self._renewed = renewed
        self._event_head = event_head(settings)
        self._listener: Listener | None = None
        self._connections = Connections()
        self._tokens = settings.security.token_source()
        self._consumer: KafkaConsumer | None = None
        self._owned: dict[Shard, TopicPartition] = {}
        self._heads: dict[TopicPartition, tuple[Shard, bytes]] = {}
        self._next: dict[TopicPartition, int] = {}
        self._at_start: set[int] = set()
        """Partitions that the topic had when it was opened, unless it was missing meanwhile."""
        self._cut: dict[TopicPartition, int | None] = {}
        """Partitions whose log was found cut outside of `poll`, for the next one to place."""
        self._uncommitted: dict[TopicPartition, int] = {}
        self._commit_after = 0.0
        self._paused: set[Shard] = set()
        self._idle_after = 0.0
        self._lag = KafkaLag(self._ends)
        self._trouble_since: tuple[type[SourceError], float] | None = None
        """What kind of trouble, and since when."""

    def open(self, listener: Listener) -> None:
        """Connect, find the topic, and subscribe; the group is joined in the first polls. Never creates the topic.

        Raises:
            SourceUnavailable: no broker answers within `connect_timeout`.
            SourceRejected: the topic does not exist, or the broker refuses the login or the topic.
        """
        self._listener = listener
        try:
            with self._translated():
                kafka_header_names.install()
                if self._tokens is not None:
                    self._tokens.token()  # here it may take its time; the client waits for it on its only thread
                consumer = KafkaConsumer(**self._options())
                self._consumer = consumer
                keep_finished_joins(consumer._coordinator)  # noqa: SLF001 - a defect can only be mended inside
                self._subscribe(consumer, self._metadata)
        except SourceError:
            self.close()
            raise

    def _options(self) -> dict[str, Any]:
        settings = self._settings
        return {
            "bootstrap_servers": list(settings.bootstrap_servers),
            "group_id": settings.group_id,
            "client_id": settings.client_id,
            "partition_assignment_strategy": [CooperativeStickyAssignor],  # only partitions that move pay
            "enable_auto_commit": False,
            "auto_offset_reset": "none",  # `_place` decides
            # AWS does not say which. A handler should not act on records whose transaction was taken back.
            "isolation_level": "read_committed",
            "max_poll_records": settings.max_poll_records,
            # The owner polls once a second whatever handlers do, so a minute without a poll is a hung program.
            "max_poll_interval_ms": 60_000,
            "session_timeout_ms": int(settings.session_timeout * 1000),
            "heartbeat_interval_ms": int(settings.session_timeout * 100),  # members learn of a rebalance by heartbeat
            "fetch_max_wait_ms": int(settings.fetch_max_wait * 1000),
            "request_timeout_ms": int(max(settings.session_timeout, _REQUEST_TIMEOUT) * 1000),
            "metadata_max_age_ms": int(_METADATA_AGE * 1000),
            "reconnect_backoff_max_ms": 1000,  # the default of 30 s outlasts the restart of a broker
            "bootstrap_timeout_ms": int(settings.connect_timeout * 1000),
            "metrics_enabled": False,
            "kafka_client": self._connections.make,
            **kafka_python_options(settings.security, self._tokens),
        }

    @property
    def _metadata(self) -> ClusterMetadata:
        assert self._connections.client is not None
        cluster: ClusterMetadata = self._connections.client.cluster
        return cluster

    def _subscribe(self, consumer: KafkaConsumer, metadata: ClusterMetadata) -> None:
        topic, addresses = self._settings.topic, self._settings.addresses
        try:
            consumer.subscribe([topic], listener=_Rebalances(self))
        except (TypeError, ValueError):
            raise SourceRejected(f"{topic!r} cannot be the name of a topic") from None
        for _ in range(3):  # a topic that was made a moment ago may miss in the first answer
            answered = threading.Event()
            metadata.request_update().add_both(lambda _, answered=answered: answered.set())
            if not answered.wait(self._settings.connect_timeout):
                raise SourceUnavailable(f"Kafka at {addresses} does not answer about topic {topic}")
            if (partitions := metadata.partitions_for_topic(topic)) is not None:
                self._at_start = set(partitions)
                return
            if topic in metadata.unauthorized_topics:
                raise ACCESS.rejected(f"Kafka at {addresses} does not allow topic {topic}")
        raise SourceRejected(f"topic {topic} does not exist on {addresses}")

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
        self._tune_fetches(consumer)
        self._unpark(consumer)
        polled: dict[TopicPartition, list[ConsumerRecord]] = {}
        with self._translated():
            if self._cut:
                cut, self._cut = self._cut, {}
                self._place(consumer, cut)
            try:
                polled = consumer.poll(timeout_ms=max_wait * 1000)
            except WITHOUT_OFFSET as error:
                self._place(consumer, asked_offsets(error, consumer))
        records: list[Record] = []
        for partition, some in polled.items():
            shard, head = self._heads[partition]
            if some[0].offset < self._next.get(partition, 0):
                self._start_over(partition, shard)
            self._next[partition] = some[-1].offset + 1
            records += from_consumer_records(some, shard, head)
        if self._uncommitted and time.monotonic() >= self._commit_after:
            self._commit(consumer)
        if polled:
            self._idle_after = time.monotonic() + _IDLE_AFTER
        else:
            self._look_for_trouble(consumer)
        return records

    def _tune_fetches(self, consumer: KafkaConsumer) -> None:
        busy = self._paused or time.monotonic() < self._idle_after
        wait = self._settings.fetch_max_wait if busy else _IDLE_FETCH_WAIT
        consumer._fetcher.config["fetch_max_wait_ms"] = int(wait * 1000)  # noqa: SLF001 - read anew for each fetch

    def _unpark(self, consumer: KafkaConsumer) -> None:
        # kafka-python 3.0.12 gives back the records it parked for a paused partition only while this slot is None, but
        # leaves a drained batch in it: without this the end of a resumed partition stays stuck until others get more.
        fetcher = consumer._fetcher  # noqa: SLF001 - there is no public way to ask
        if fetcher._paused_partition_records and not fetcher._next_partition_records:  # noqa: SLF001
            fetcher._next_partition_records = None  # noqa: SLF001

    def _start_over(self, partition: TopicPartition, shard: Shard) -> None:
        # The topic was made anew or its log was cut: the offsets in flight name other records now.
        _log.warning("offsets of %s went back: the topic was made anew or its log was truncated", shard)
        assert self._listener is not None
        self._uncommitted.pop(partition, None)
        self._listener.lost([shard])
        self._listener.assigned([shard])

    def _place(self, consumer: KafkaConsumer, asked: Mapping[TopicPartition, int | None]) -> None:
        """Let partitions that have no valid offset go on where `kafka_positions` says."""
        settings = self._settings
        times = {
            partition: time_to_go_on(settings, offset, added=partition.partition not in self._at_start)
            for partition, offset in asked.items()
            if partition in self._heads
        }
        try:
            places = offsets_of(consumer, times, settings.connect_timeout)
        except (kafka_errors.KafkaTimeoutError, kafka_errors.RetriableError) as error:
            self._cut |= {partition: offset for partition, offset in asked.items() if offset is not None}
            _log.info("the offsets of %s are not known yet: %s", settings.topic, error)  # the next poll asks again
            return
        for partition, offset in places.items():
            shard, _ = self._heads[partition]
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
                self._uncommitted[self._owned[shard]] = position

    def _commit(self, consumer: KafkaConsumer) -> None:
        with self._translated():
            try:
                consumer.commit(_offsets(self._uncommitted), timeout_ms=int(_COMMIT_TIMEOUT * 1000))
            except (*_REBALANCED, kafka_errors.RetriableError) as error:
                _log.info("a commit of group %s has to wait: %s", self._settings.group_id, error)
                self._commit_after = time.monotonic() + _COMMIT_PAUSE
                self._tell_commit_failed()
            else:
                self._uncommitted.clear()

    def build_event(self, records: Sequence[Record]) -> bytes:
        """The event of D.1.1. Pure."""
        return build_event(self._event_head, records)

    def overhead(self, shards: int) -> int:
        """Bytes around the records of that many shards when each record counts one comma; partitions of ten digits."""
        return event_overhead(self._settings, shards)

    def lag(self) -> dict[Shard, int]:
        """Offsets from the next record to the end, per owned shard; blocks 2 ms, half a second in trouble."""
        consumer = self._consumer
        if consumer is None:
            return {}
        known = {
            shard: Known(self._position(consumer, partition), consumer.highwater(partition))
            for shard, partition in self._owned.items()
        }
        return self._lag.of(known, self._paused)

    def _ends(self, shards: Sequence[Shard]) -> dict[Shard, int]:
        asked = [self._owned[shard] for shard in shards]
        try:
            ends = self._opened().end_offsets(asked, timeout_ms=int(ASK_TIMEOUT * 1000))
        except kafka_errors.KafkaError:  # whatever it is, `poll` tells of it
            return {}
        return {f"{partition.topic}-{partition.partition}": end for partition, end in ends.items()}

    def partitions(self) -> int | None:
        """Of the topic, as of the last metadata."""
        found = None if self._consumer is None else self._metadata.partitions_for_topic(self._settings.topic)
        return len(found) if found else None

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
        """Nothing: the client has no such call, so the loop polls in short slices while it waits for results."""

    def close(self) -> None:
        """Revoke all shards, commit what that makes final, and leave the group. Blocks a few seconds at most."""
        try:
            if self._consumer is not None:
                self._finish_rebalance(self._consumer)
                self._consumer.close(autocommit=False, timeout_ms=int(_CLOSE_TIMEOUT * 1000))
        except Exception as error:  # noqa: BLE001 - whatever is broken there, this consumer is given up
            _log.warning("group %s was not left properly: %s", self._settings.group_id, error)
        finally:
            self._connections.close()
            self._consumer = self._trouble_since = None
            self._forget(list(self._heads))

    def _finish_rebalance(self, consumer: KafkaConsumer) -> None:
        # The client commits nothing while the group rebalances, and would leave it like that: finished work came again.
        deadline = time.monotonic() + _REBALANCE_TIMEOUT
        try:
            while self._uncommitted and time.monotonic() < deadline and not consumer._coordinator.coordinator_unknown():  # noqa: SLF001
                consumer.poll(timeout_ms=50)  # what arrives was never taken up, so it comes again
                self._commit(consumer)
        except Exception as error:  # noqa: BLE001 - whatever is broken there, the group is left all the same
            _log.info("the last commit of group %s failed: %s", self._settings.group_id, error)

    def _opened(self) -> KafkaConsumer:
        if self._consumer is None:
            raise SourceUnavailable(f"not connected to Kafka at {self._settings.addresses}")
        return self._consumer

    def _look_for_trouble(self, consumer: KafkaConsumer) -> None:
        # The client waits in silence for brokers that went away and for a topic that was deleted.
        topic, addresses = self._settings.topic, self._settings.addresses
        trouble: SourceError
        if consumer._coordinator.coordinator_unknown():  # noqa: SLF001 - there is no public way to ask
            if (refused := self._connections.refused(addresses)) is not None:
                raise refused
            patience = self._settings.session_timeout
            trouble = SourceUnavailable(f"no Kafka broker answers at {addresses} for group {self._settings.group_id}")
        elif self._metadata.partitions_for_topic(topic) is None:
            self._at_start.clear()  # if it comes back it is another topic, and all in it is new
            patience = _TOPIC_MISSING
            trouble = SourceRejected(f"topic {topic} does not exist any more on {addresses}")
        else:
            self._trouble_since = None
            return
        now = time.monotonic()
        if self._trouble_since is None or self._trouble_since[0] is not type(trouble):
            self._trouble_since = type(trouble), now
        if now - self._trouble_since[1] > patience:
            raise trouble

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """No error of the client leaves this file, save what the loop's own listener raised inside of it."""
        addresses = self._settings.addresses
        try:
            yield
        except SourceError:
            raise
        except TokenError as error:
            raise token_refusal(error, addresses) from None
        except InvalidKeys as error:
            raise KEYS.rejected(f"Kafka at {addresses}: {error}") from None
        except kafka_errors.KafkaTimeoutError as error:
            refused = self._connections.refused(addresses)
            raise refused or SourceUnavailable(f"no Kafka broker answers at {addresses}") from error
        except Exception as error:
            cause = error.__cause__
            if isinstance(error, kafka_errors.KafkaError) and cause and not isinstance(cause, kafka_errors.KafkaError):
                raise cause from None
            refused = refusal_of(error, addresses)
            raise refused or SourceUnavailable(f"Kafka at {addresses}: {error}") from error

    # Called by _Rebalances with the owner parked in poll or close, so there is no lock.

    def _assigned(self, partitions: Collection[TopicPartition]) -> None:
        for topic, number in partitions:
            partition, shard = TopicPartition(topic, number), f"{topic}-{number}"
            self._owned[shard] = partition
            self._heads[partition] = (shard, record_head(topic, number))
        assert self._listener is not None
        self._listener.assigned([self._heads[partition][0] for partition in partitions])

    def _revoked(self, partitions: Collection[TopicPartition]) -> None:
        assert self._listener is not None
        self._note(self._listener.revoked([self._heads[partition][0] for partition in partitions]))
        going = {partition: self._uncommitted[partition] for partition in partitions if partition in self._uncommitted}
        if going and self._consumer is not None:
            # Goes out before the request that gives the partitions up, on the same connection.
            self._consumer.commit_async(_offsets(going)).add_errback(self._commit_failed)
        self._forget(partitions)

    def _commit_failed(self, error: Exception) -> None:
        _log.warning("offsets of shards given up were not committed, their records come again: %s", error)
        self._tell_commit_failed()

    def _tell_commit_failed(self) -> None:
        if self._listener is not None:
            self._listener.commit_failed()

    def _lost(self, partitions: Collection[TopicPartition]) -> None:
        assert self._listener is not None
        self._listener.lost([self._heads[partition][0] for partition in partitions])
        self._forget(partitions)

    def _forget(self, partitions: Collection[TopicPartition]) -> None:
        for partition in partitions:
            shard, _ = self._heads.pop(partition)
            del self._owned[shard]
            self._paused.discard(shard)
            self._next.pop(partition, None)
            self._cut.pop(partition, None)
            self._uncommitted.pop(partition, None)


def from_consumer_records(some: Sequence[ConsumerRecord], shard: Shard, head: bytes) -> list[Record]:
    """The client's records as ours. Pure."""
    _topics, _partitions, _epochs, offsets, times, kinds, keys, values, headers, *_ = zip(*some, strict=True)
    if None in times:  # a message format from before Kafka 0.10 has none
        times = tuple(-1 if time is None else time for time in times)
    return to_records(shard, head, offsets, zip(kinds, times, strict=True), keys, values, headers)


def _offsets(positions: Mapping[TopicPartition, int]) -> dict[TopicPartition, OffsetAndMetadata]:
    return {partition: OffsetAndMetadata(position, "", -1) for partition, position in positions.items()}


class _Rebalances(ConsumerRebalanceListener):
    """Hands the client's rebalance calls on; they come on its I/O thread."""

    def __init__(self, source: KafkaSource) -> None:
        self._source = source

    def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        self._source._assigned(assigned)  # noqa: SLF001 - the other half of one class

    def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        self._source._revoked(revoked)  # noqa: SLF001

    def on_partitions_lost(self, lost: Collection[TopicPartition]) -> None:  # by default the same as revoked
        self._source._lost(lost)  # noqa: SLF001
