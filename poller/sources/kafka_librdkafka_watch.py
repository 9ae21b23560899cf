"""Whether a topic can be read: what librdkafka tells of its troubles, and what it has to be asked."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from poller.errors import SourceError, SourceRejected, SourceUnavailable
from poller.sources.kafka_event import KafkaSettings
from poller.sources.kafka_librdkafka_options import MISSING, PASSING, is_refusal, refusal_of
from poller.sources.kafka_oauth import TokenError
from poller.sources.kafka_refusals import ACCESS, token_refusal

_client_log = logging.getLogger("confluent_kafka")

_ANSWER_TIMEOUT = 0.5
_TROUBLED_PAUSE, _QUIET_PAUSE = 1.0, 5.0
_COUNT_AGE = 10.0
"""Seconds until it is asked again how many partitions the topic has."""
_TOPIC_MISSING = 5.0
"""Seconds a topic may be absent from the metadata while it is read: a broker that starts knows none at first."""


class TopicWatch:
    """The troubles of one consumer. Used on its owner's thread, and by the client from inside of the owner's calls.

    The client goes on by itself whatever happens. It tells when brokers go away and refuse, but not when they are back,
    and nothing at all of a topic that was deleted. So it is asked: now and then while nothing comes, and more often in
    trouble, as the answer has to be waited for.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self.partitions: set[int] = set()
        """Those that the topic had when it was found; none of another topic of this name."""
        self._found = False
        self._count: int | None = None
        self._count_after = 0.0
        self._refusal: KafkaError | None = None
        self._suspect = False
        self._trouble: type[SourceError] | None = None
        self._trouble_since = 0.0
        self._look_after = 0.0

    def on_error(self, error: KafkaError) -> None:
        """The client's `error_cb`, and what it gives out in place of a record."""
        if is_refusal(error) or error.fatal():
            self._refusal = error
        elif error.code() not in PASSING:
            _client_log.debug("%s", error)
        self.look_soon()

    def on_commit(self, error: KafkaError | None, _: Sequence[TopicPartition]) -> None:
        """The client's `on_commit`. A commit that failed otherwise is noticed by whoever asked for it."""
        if error is not None and is_refusal(error):
            self._refusal = error

    def look_soon(self) -> None:
        """Something may be wrong."""
        if not self._suspect:
            self._suspect, self._look_after = True, 0.0

    def raise_refusal(self) -> None:
        """Raise what does not get better by itself, if the client told of such a thing.

        Raises:
            KafkaException: that.
        """
        if self._refusal is not None:
            raise KafkaException(self._refusal)

    def find(self, consumer: Consumer) -> None:
        """See that the topic is there; for `open`.

        Raises:
            KafkaException: no broker answers within `connect_timeout`, or the login is refused.
            SourceError: something is the matter with the topic.
        """
        topic, addresses = self._settings.topic, self._settings.addresses
        for _ in range(3):  # a topic that was made a moment ago may miss in the first answer
            error = self._ask_first(consumer)
            if error is None:
                self._look_after = time.monotonic() + _TROUBLED_PAUSE  # once the group was joined, as a rule
                return
            if error.code() == KafkaError.TOPIC_EXCEPTION:
                raise SourceRejected(f"{topic!r} cannot be the name of a topic")
            if error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                raise ACCESS.rejected(f"Kafka at {addresses} does not allow topic {topic}")
            if error.code() not in MISSING:
                raise SourceUnavailable(f"Kafka at {addresses} does not answer about topic {topic}: {error.str()}")
        raise SourceRejected(f"topic {topic} does not exist on {addresses}")

    def _ask_first(self, consumer: Consumer) -> KafkaError | None:
        # A refused login is told to `on_error` only, and that from inside a poll: with nothing subscribed yet, it gives
        # no record. Until then the client logs in again and again: so look soon, then wait for a slow broker.
        with suppress(KafkaException):
            return self._ask(consumer, _ANSWER_TIMEOUT)
        consumer.poll(0)
        self.raise_refusal()
        try:
            return self._ask(consumer, self._settings.connect_timeout)
        except KafkaException:
            consumer.poll(0)
            self.raise_refusal()
            raise

    def all_is_well(self) -> None:
        """For the loop, when records come: while it is busy it should not wait for answers."""
        self._suspect, self._trouble = False, None
        self._look_after = time.monotonic() + _QUIET_PAUSE

    def count(self, consumer: Consumer) -> int | None:
        """Partitions of the topic. Asks now and then, unless something may be wrong: half a second at most."""
        if not self._suspect and time.monotonic() >= self._count_after:
            self._count_after = time.monotonic() + _COUNT_AGE
            with suppress(KafkaException):
                self._ask(consumer, _ANSWER_TIMEOUT)
        return self._count

    def is_due(self) -> bool:
        """Whether it is time to look, if nothing comes."""
        return time.monotonic() >= self._look_after

    def look(self, consumer: Consumer, *, subscribed: bool) -> bool | None:
        """Ask whether the topic is there. Waits half a second for the answer at most.

        Args:
            consumer: to ask with.
            subscribed: so it should be a member of its group; if it is none, the group has no coordinator.

        Returns:
            True, or False when it was missing the last time, too; None when that is not known.

        Raises:
            KafkaException: the topic or the login is refused.
            SourceUnavailable: no broker has answered for `session_timeout`.
            SourceRejected: the topic has been missing for seconds.
        """
        topic, addresses = self._settings.topic, self._settings.addresses
        missing: bool | None = None
        patience = self._settings.session_timeout
        trouble: SourceError = SourceUnavailable(
            f"no Kafka broker answers at {addresses} for group {self._settings.group_id}"
        )
        now = time.monotonic()
        try:
            error = self._ask(consumer, _ANSWER_TIMEOUT)
        except KafkaException as problem:
            _client_log.debug("%s", problem)
        else:
            if error is None and (not subscribed or consumer.memberid()):
                self.all_is_well()
                return True
            if error is not None:
                if is_refusal(error):
                    raise KafkaException(error)
                missing = self._trouble is SourceRejected
                patience = _TOPIC_MISSING
                trouble = SourceRejected(f"topic {topic} does not exist any more on {addresses}")
        self._suspect = True
        self._look_after = time.monotonic() + _TROUBLED_PAUSE
        if self._trouble is not type(trouble):
            self._trouble, self._trouble_since = type(trouble), now
        if now - self._trouble_since > patience:
            raise trouble
        return False if missing else None

    def _ask(self, consumer: Consumer, timeout: float) -> KafkaError | None:
        """What is the matter with the topic, by the broker's own word; None when nothing is.

        Raises:
            KafkaException: no broker answered within `timeout` seconds.
        """
        metadata = consumer.list_topics(self._settings.topic, timeout=timeout)
        topic = metadata.topics[self._settings.topic]
        if not self._found and topic.error is None:
            self.partitions = set(topic.partitions)
            self._found = True
        if topic.partitions:
            self._count, self._count_after = len(topic.partitions), time.monotonic() + _COUNT_AGE
        error: KafkaError | None = topic.error
        return error


@contextmanager
def translated(addresses: str) -> Iterator[None]:
    """No error of the client leaves the source; what the loop's own listener raised inside of it does."""
    try:
        yield
    except TokenError as problem:
        raise token_refusal(problem, addresses) from None
    except KafkaException as problem:
        error: KafkaError = problem.args[0]
        if (refused := refusal_of(error, addresses)) is not None:
            raise refused from problem
        if error.code() in PASSING:
            raise SourceUnavailable(f"no Kafka broker answers at {addresses}") from problem
        raise SourceUnavailable(f"Kafka at {addresses}: {error.str()}") from problem
