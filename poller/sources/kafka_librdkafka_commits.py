"""Committing offsets with librdkafka in bounded time, and what is still to be committed."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from poller.sources.kafka_event import KafkaSettings
from poller.sources.kafka_librdkafka_options import is_refusal

_log = logging.getLogger(__name__)

_TIMEOUT = 1.0
_PAUSE = 0.1
_NEVER = float("-inf")
ASKED_EVERY = 1.0
"""Seconds between two questions whether commits have arrived, as long as they have: each takes as long as several small
batches, and the handler waits meanwhile."""


class OffsetCommits:
    """Offsets of one topic that are not known to be with the broker. Owned by the source's thread."""

    def __init__(self, settings: KafkaSettings, failed: Callable[[], None]) -> None:
        """Nothing to commit yet; `failed` is called for each try in vain."""
        self._settings = settings
        self._failed = failed
        self._waiting: dict[int, int] = {}
        self._after = 0.0
        """When `make` is due, in monotonic seconds, if anything waits."""
        self._arrived = _NEVER
        """When the broker was last asked what it has, if it had all of it."""

    def __contains__(self, partition: int) -> bool:
        return partition in self._waiting

    def note(self, positions: Mapping[int, int]) -> None:
        """Commit these the next time."""
        self._waiting.update(positions)

    def note_start(self, partition: int, position: int) -> None:
        """Commit where reading begins, unless there is progress already."""
        self._waiting.setdefault(partition, position)
        self._after = 0.0

    def drop(self, partition: int) -> None:
        """Forget what is not committed of a partition."""
        self._waiting.pop(partition, None)

    def are_due(self) -> bool:
        """Whether something waits, and long enough since it was last tried."""
        return bool(self._waiting) and time.monotonic() >= self._after

    def send(self, consumer: Consumer) -> bool:
        """As `make`, but once a second only. In between it commits and does not ask: what was sent waits for that.

        Returns:
            Whether no commit is held up, as far as is known.

        Raises:
            KafkaException: the group or the topic is not allowed.
        """
        if time.monotonic() >= self._arrived + ASKED_EVERY:
            return self.make(consumer)
        if self._waiting:
            try:
                consumer.commit(offsets=self._offsets(), asynchronous=True)
            except KafkaException:
                return self.make(consumer)
            self._after = self._arrived + ASKED_EVERY
        return True

    def make(self, consumer: Consumer) -> bool:
        """Try to commit all that waits; blocks about 3 ms, 1 s when no broker answers.

        Returns:
            Whether nothing waits any more.

        Raises:
            KafkaException: the group or the topic is not allowed.
        """
        if not self._waiting:
            return True
        # The client's own blocking commit has no time limit, and outlasts a session when the broker hangs. So: commit,
        # and ask on the same connection, where the broker answers in order, what is committed.
        offsets = self._offsets()
        asked, self._arrived = time.monotonic(), _NEVER
        try:
            consumer.commit(offsets=offsets, asynchronous=True)
            stored = consumer.committed(offsets, timeout=_TIMEOUT)
        except KafkaException as problem:
            if is_refusal(problem.args[0]):
                raise
            self._put_off(problem.args[0])
            return False
        for one in stored:
            if one.error is not None and is_refusal(one.error):
                raise KafkaException(one.error)
            if one.error is None and one.offset == self._waiting[one.partition]:
                del self._waiting[one.partition]
        if self._waiting:
            self._put_off(next((one.error for one in stored if one.error is not None), None))
            return False
        self._arrived = asked
        return True

    def _offsets(self) -> list[TopicPartition]:
        return [TopicPartition(self._settings.topic, *item) for item in self._waiting.items()]

    def _put_off(self, error: KafkaError | None) -> None:
        reason = error.str() if error else "the group rebalances"
        _log.info("a commit of group %s has to wait: %s", self._settings.group_id, reason)
        self._after = time.monotonic() + _PAUSE
        self._failed()
