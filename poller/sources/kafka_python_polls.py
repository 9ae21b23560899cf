"""Polls of a kafka-python consumer: when the client's own poll is worth its price, and how long it may wait."""

# mypy: allow-untyped-calls
# kafka-python has no annotations.
# ruff: noqa: SLF001 - there is no public way to ask

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

from kafka import KafkaConsumer, TopicPartition

from poller.sources.kafka_python_client import keep_finished_joins
from poller.sources.kafka_python_fetching import IDLE_AFTER, Fetches
from poller.sources.kafka_python_loop import Turns, Woken, is_told_to_join
from poller.sources.kafka_python_records import give_records
from poller.sources.kafka_run import KafkaRun

_LONGEST_REST = 1.0
"""Seconds until the client is to look around although all is paused."""

_JOIN_TURN = 0.02
"""Seconds to wait for the group at once while the function's answers are awaited: `wake` does not end that."""


class Polls:
    """Of one consumer. Owned by its owner's thread, save `wake`."""

    def __init__(self, consumer: KafkaConsumer, *, fetch_max_wait: float) -> None:
        """Take the consumer over; it was just made, and its client drives its loop on this thread.

        Args:
            consumer: of the client.
            fetch_max_wait: seconds that brokers may hold a fetch while records flow.
        """
        self._consumer, self._coordinator = consumer, consumer._coordinator
        keep_finished_joins(self._coordinator)
        give_records(consumer)
        self._fetches = Fetches(consumer, fetch_max_wait)
        self._turns = Turns(consumer, self._fetches)
        self._quiet_since = self._rest_until = 0.0

    def wake(self) -> None:
        """Make a waiting `poll` return at once. Any thread; while it waits for the group, it goes on for a moment."""
        self._turns.wake()

    def assigned(self, number: int) -> None:
        """There are so many partitions more, and others may come soon: none is to wait for a fetch that is held."""
        if number:
            self._fetches.renew()
        self._quiet_since = time.monotonic() - IDLE_AFTER

    def poll(
        self, max_wait: float, paused: int = 0, owned: int = 0, is_awaited: Callable[[], bool] = lambda: False
    ) -> dict[TopicPartition, list[KafkaRun]]:
        """Records by partition; none when it was woken. The group is joined in here, and listeners are called.

        Args:
            max_wait: seconds to wait for the first record.
            paused: partitions. If all are, waiting is enough as a rule: the client's own poll is ten times as dear.
            owned: partitions.
            is_awaited: whether answers are awaited, so that `wake` may be called.
        """
        now = time.monotonic()
        self._fetches.hold(paused=paused > 0, quiet=now - self._quiet_since)
        polled: dict[TopicPartition, list[KafkaRun]] = {}
        is_joining = self._coordinator.need_rejoin()
        if paused == owned > 0 and not is_joining and now < self._rest_until:
            self._turns.rest(max_wait)
        else:
            self._rest_until = now + _LONGEST_REST
            if (is_joining or self._coordinator.coordinator_unknown()) and is_awaited():
                max_wait = min(max_wait, _JOIN_TURN)
            with suppress(Woken):
                polled = self._consumer.poll(timeout_ms=max_wait * 1000)
        if not polled and is_told_to_join(self._coordinator):
            with suppress(Woken):
                polled = self._consumer.poll(timeout_ms=0)  # others wait for it
        if polled:
            self._quiet_since = time.monotonic()
        return polled
