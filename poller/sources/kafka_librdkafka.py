"""Kafka topics as an event source through confluent-kafka (librdkafka): as kafka.py, for less processor time (D.1).

Needs the extra `fast`. Its other parts: kafka_event.py, kafka_held_back.py, kafka_librdkafka_*.py.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Sequence

from confluent_kafka import OFFSET_END, Consumer, KafkaError, KafkaException, TopicPartition

from poller.errors import SourceError, SourceUnavailable
from poller.model import Progress, Record, Shard
from poller.records import Records, Run
from poller.sources import Features, Listener
from poller.sources.kafka_event import KafkaEvent, KafkaSettings, event_head, event_overhead
from poller.sources.kafka_held_back import HeldBack
from poller.sources.kafka_lag import ASK_TIMEOUT, KafkaLag
from poller.sources.kafka_librdkafka_commits import OffsetCommits
from poller.sources.kafka_librdkafka_intake import Intake
from poller.sources.kafka_librdkafka_options import consumer_options
from poller.sources.kafka_librdkafka_positions import go_on_at, offsets_of
from poller.sources.kafka_librdkafka_watch import TopicWatch, translated
from poller.sources.kafka_positions import is_to_be_kept, place_text, time_to_go_on

_log = logging.getLogger(__name__)
_client_log = logging.getLogger("confluent_kafka")

_REBALANCE_TIMEOUT = 5.0
_CLOSE_TIMEOUT = 2.0


class LibrdkafkaSource:
    """One topic through one member of a consumer group. See `poller.sources.Source` for the contract.

    The listener is called on the owner's thread, inside of its `poll` and `close`. Of what kafka.py mends in its client
    nothing is needed here: joins, and records of paused partitions, do not get lost, and no topic is made by asking for
    it. How long a broker holds a fetch cannot be changed while the client runs.
    """

    # No wakes: nothing ends a waiting poll of this client but a message or a rebalance, so the loop polls in slices.
    features = Features(ordered=True, redelivers=False, rebalances=True)

    def __init__(self, settings: KafkaSettings, renewed: Callable[[], KafkaSettings | None] = lambda: None) -> None:
        """`renewed` gives the settings with a login that was read anew; None where that cannot be, so that it stays."""
        self._settings = settings
        self._renewed = renewed
        self._event_head = event_head(settings)
        self._listener: Listener | None = None
        self._consumer: Consumer | None = None
        self._tokens = settings.security.token_source()
        self._numbers: dict[Shard, int] = {}
        """Owned shards. From here on partitions are known by their numbers, as there is one topic."""
        self._commits = OffsetCommits(settings, self._commit_failed)
        self._held = HeldBack(self._stop, self._go_on)
        self._intake = Intake(settings, self._held, self._started_over, self._on_trouble)
        self._subscribed = False
        self._watch = TopicWatch(settings)
        self._lag = KafkaLag(self._ends)

    def open(self, listener: Listener) -> None:
        """Connect, find the topic, and subscribe; the group is joined in the first polls. Never creates the topic.

        Raises:
            SourceUnavailable: no broker answers within `connect_timeout`.
            SourceRejected: the topic does not exist, or the broker refuses the login or the topic.
        """
        self._listener = listener
        self._watch = TopicWatch(self._settings)
        try:
            with translated(self._settings.addresses):
                if self._tokens is not None:
                    self._tokens.token()  # fails sooner and more clearly than inside the client
                options = consumer_options(self._settings, self._tokens)
                consumer = Consumer(
                    options | {"error_cb": self._watch.on_error, "on_commit": self._watch.on_commit}, logger=_client_log
                )
                self._consumer = consumer
                self._watch.find(consumer)
                self._subscribe(consumer)
        except SourceError:
            self.close()
            raise

    def _subscribe(self, consumer: Consumer) -> None:
        consumer.subscribe(
            [self._settings.topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )
        self._subscribed = True

    def renew_login(self) -> None:
        """Take the settings anew from where they come from."""
        if (settings := self._renewed()) is not None:
            self._settings = settings
            self._tokens = self._settings.security.token_source()

    def poll(self, max_wait: float) -> Records:
        """Records of the partitions that are not paused. Rebalances happen in here; so do commits they held up.

        Raises:
            SourceUnavailable: the brokers were away for `session_timeout`, so membership is lost anyway.
            SourceRejected: the topic is gone, or it or the login is not allowed any more.
        """
        consumer = self._opened()
        deadline = time.monotonic() + max_wait
        with translated(self._settings.addresses):
            while True:
                wait = 0.0 if self._held.has_some() else deadline - time.monotonic()
                messages = self._intake.receive(consumer, wait)
                runs = self._intake.runs(messages)
                if self._intake.placeless:
                    self._place(consumer, runs)
                # What comes of paused partitions stands before that of others in the client's queue: take it away.
                if runs or not messages or time.monotonic() >= deadline or self._intake.all_paused:
                    break
            if self._commits.are_due():
                self._commits.make(consumer)
            self._watch.raise_refusal()
            if runs:
                self._watch.all_is_well()
            elif self._watch.is_due():
                self._follow_topic(consumer)
        return Records.of_runs(runs)

    def _follow_topic(self, consumer: Consumer) -> None:
        there = self._watch.look(consumer, subscribed=self._subscribed)
        if there is False and self._subscribed:
            # By itself the client would read a topic that is made anew from the offset where it was in the old one.
            self._subscribed = False
            self._watch.partitions.clear()
            consumer.unsubscribe()
        elif there and not self._subscribed:
            self._subscribe(consumer)

    def _place(self, consumer: Consumer, runs: list[Run]) -> None:
        """Let partitions that have no valid offset go on where `kafka_positions` says."""
        settings = self._settings
        times = {
            number: time_to_go_on(settings, asked, added=number not in self._watch.partitions)
            for number, asked in self._intake.placeless.items()
        }
        try:
            places = offsets_of(consumer, settings.topic, times)
        except KafkaException as problem:
            self._watch.on_error(problem.args[0])
            return  # the next poll asks again
        for number, offset in places.items():
            asked = self._intake.placeless.pop(number)
            level = logging.INFO if asked is None else logging.WARNING
            _log.log(level, "%s", place_text(settings, self._intake.heads[number][0], asked, offset))
            go_on_at(consumer, settings.topic, number, offset)
            self._intake.go_on_at(number, offset, runs)
            if is_to_be_kept(settings, asked, offset):
                self._commits.note_start(number, offset)

    def _started_over(self, number: int) -> None:
        assert self._listener is not None
        self._commits.drop(number)
        shards = self._intake.shards([number])
        self._listener.lost(shards)
        self._listener.assigned(shards)

    def _on_trouble(self, error: KafkaError) -> None:
        self._watch.on_error(error)

    def pause(self, shards: Collection[Shard]) -> None:
        """Give no more records of these shards. Lost ones are passed over.

        The client goes on: what it gives is held back, until it is too much.
        """
        self._opened()
        self._held.paused.update(self._numbers[shard] for shard in shards if shard in self._numbers)

    def resume(self, shards: Collection[Shard]) -> None:
        """Undo `pause`: what was held back comes first."""
        self._opened()
        with translated(self._settings.addresses):
            for shard in shards:
                if shard in self._numbers:
                    self._held.resume(self._numbers[shard])

    def _stop(self, number: int) -> None:
        self._opened().pause([TopicPartition(self._settings.topic, number)])

    def _go_on(self, number: int) -> None:
        self._opened().resume([TopicPartition(self._settings.topic, number)])

    def expect(self, batch_size: int) -> None:
        """Nothing: what waits is bounded by bytes, and by the loop's pauses."""

    def acknowledge(self, progress: Progress) -> bool:
        """Commit the positions of owned shards in one request.

        Blocks about 2 ms, 1 s when the broker is away; not at all within a second of one that had arrived. A commit
        that a rebalance or an absent coordinator holds up is made in a later call or `poll`, or with the revocation; if
        the shard is lost, its new owner reads the records again. False says that it is held up.

        Raises:
            SourceRejected: the group or the topic is not allowed any more.
        """
        consumer = self._opened()
        self._note(progress)
        with translated(self._settings.addresses):
            return self._commits.send(consumer)

    def _note(self, progress: Progress) -> None:
        self._commits.note(
            {self._numbers[shard]: position for shard, position in progress.positions.items() if shard in self._numbers}
        )

    def _commit_failed(self) -> None:
        if self._listener is not None:
            self._listener.commit_failed()

    def build_event(self, records: Sequence[Record]) -> KafkaEvent:
        """The event of D.1.1. Pure."""
        return KafkaEvent(self._event_head, records)

    def overhead(self, shards: int) -> int:
        """Bytes around the records of that many shards when each record counts one comma; partitions of ten digits."""
        return event_overhead(self._settings, shards)

    def lag(self, *, ask: bool = True) -> dict[Shard, int]:
        """Offsets from the next record to the end, per owned shard; blocks 2 to 12 ms, half a second in trouble."""
        if self._consumer is None:
            return {}
        with translated(self._settings.addresses):
            lag = self._lag.of(self._intake.known(self._consumer), self._held.paused, ask=ask)
        return {self._intake.heads[number][0]: behind for number, behind in lag.items()}

    def _ends(self, numbers: Sequence[int]) -> dict[int, int]:
        asked = [TopicPartition(self._settings.topic, number, OFFSET_END) for number in numbers]
        try:  # as a time, the end means the end
            answers = self._opened().offsets_for_times(asked, timeout=ASK_TIMEOUT)
        except KafkaException:  # whatever it is, `poll` tells of it
            return {}
        return {one.partition: one.offset for one in answers if one.error is None and one.offset >= 0}

    def partitions(self) -> int | None:
        """Of the topic, as of a few seconds ago; blocks 2 ms now and then, half a second in trouble."""
        return None if self._consumer is None else self._watch.count(self._consumer)

    def wake(self) -> None:
        """Nothing: the client has no such call, so the loop polls in short slices while it waits for results."""

    def close(self) -> None:
        """Revoke all shards, commit what that makes final, and leave the group. Blocks a few seconds at most."""
        consumer = self._consumer
        try:
            if consumer is not None:
                self._finish_rebalance(consumer)
                self._consumer = None
                self._revoke(consumer, list(self._intake.heads))
        except Exception as error:  # noqa: BLE001 - whatever is broken there, this consumer is given up
            _log.warning("group %s was not left properly: %s", self._settings.group_id, error)
        finally:
            self._consumer = None
            if consumer is not None:
                # Without limit, too: where a broker hangs it waits for a farewell that nobody takes.
                leaving = threading.Thread(target=_leave, args=[consumer], name="leaving a group", daemon=True)
                leaving.start()
                leaving.join(_CLOSE_TIMEOUT)
            self._subscribed = False
            self._forget(list(self._intake.heads))

    def _finish_rebalance(self, consumer: Consumer) -> None:
        # Brokers refuse commits in some moments of a rebalance; a group that is left like that repeats finished work.
        deadline = time.monotonic() + _REBALANCE_TIMEOUT
        while not self._commits.make(consumer) and consumer.memberid() and time.monotonic() < deadline:
            consumer.poll(0.05)  # what arrives was never taken up, so it comes again

    def _opened(self) -> Consumer:
        if self._consumer is None:
            raise SourceUnavailable(f"not connected to Kafka at {self._settings.addresses}")
        return self._consumer

    # --- rebalances: called by the client on the owner's thread, inside of consume, poll and close -------------------

    def _on_assign(self, consumer: Consumer, partitions: Collection[TopicPartition]) -> None:
        consumer.incremental_assign(list(partitions))
        shards = self._intake.begin(partitions)
        self._numbers.update(zip(shards, (one.partition for one in partitions), strict=True))
        assert self._listener is not None
        self._listener.assigned(shards)

    def _on_revoke(self, consumer: Consumer, partitions: Collection[TopicPartition]) -> None:
        if consumer is self._consumer:  # else it is being closed, and they are given up already
            self._revoke(consumer, [one.partition for one in partitions])
        consumer.incremental_unassign(list(partitions))

    def _revoke(self, consumer: Consumer, numbers: Sequence[int]) -> None:
        assert self._listener is not None
        if numbers:
            self._note(self._listener.revoked(self._intake.shards(numbers)))
        self._commits.make(consumer)
        for number in numbers:
            if number in self._commits:
                _log.warning(
                    "the offset of %s was not committed, its records come again", self._intake.heads[number][0]
                )
        self._forget(numbers)

    def _on_lost(self, consumer: Consumer, partitions: Collection[TopicPartition]) -> None:
        if consumer is self._consumer:
            numbers = [one.partition for one in partitions]
            assert self._listener is not None
            self._listener.lost(self._intake.shards(numbers))
            self._forget(numbers)
            self._watch.look_soon()  # the session may have ended because no broker answers
        consumer.incremental_unassign(list(partitions))

    def _forget(self, numbers: Collection[int]) -> None:
        for number in numbers:
            [shard] = self._intake.shards([number])
            del self._numbers[shard]
            self._intake.forget(number)
            self._commits.drop(number)


def _leave(consumer: Consumer) -> None:
    try:
        consumer.close()
    except (KafkaException, RuntimeError) as error:
        _client_log.debug("%s", error)
