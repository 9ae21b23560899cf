"""The RabbitMQ source takes messages up together where that delays nothing."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from poller.errors import SourceUnavailable
from poller.model import Progress
from poller.sources.rabbitmq import RabbitMQSource
from poller.sources.rabbitmq_event import RabbitMQSettings


class Channel:
    """A channel whose connection gives what the test says, one item a wait."""

    is_open = True

    def __init__(self) -> None:
        self.source = RabbitMQSource(RabbitMQSettings(queue="tasks", event_source_arn="arn", prefetch=20))
        self.source._channel = self  # type: ignore[assignment]
        self.source._frames = SimpleNamespace(enough=1)  # type: ignore[assignment]
        self.source._lag_after = float("inf")
        self.connection = self
        self.coming: list[int | Callable[[], object]] = []
        self.waits: list[tuple[float, int]] = []
        """Seconds at most, and how many messages would have ended it."""
        self._tag = 0

    @property
    def enough(self) -> int:
        frames: Any = self.source._frames
        return int(frames.enough)

    def process_data_events(self, time_limit: float) -> None:
        self.waits.append((time_limit, self.enough))
        item = self.coming.pop(0) if self.coming else 0
        if not isinstance(item, int):
            item()
            item = 1
        for _ in range(item):
            self._tag += 1
            self.source._arrived.append((self._tag, False, b"\0\0", b"body"))

    def basic_ack(self, delivery_tag: int, multiple: bool) -> None:
        """What is settled is not what is tried here."""

    def poll(self, max_wait: float, *coming: int | Callable[[], object]) -> int:
        """How many messages a poll gives."""
        self.waits, self.coming = [], list(coming)
        return len(self.source.poll(max_wait))


def test_the_first_messages_are_given_at_once() -> None:
    channel = Channel()
    assert channel.poll(1.0, 3, 4) == 3
    assert channel.waits == [(1.0, 1)]


def test_messages_after_them_are_given_together() -> None:
    channel = Channel()
    channel.poll(1.0, 3)
    assert channel.poll(1.0, 2, 5) == 7
    assert channel.waits == [(1.0, 1), (0.005, 7)]  # of a batch of 10, half the prefetch
    assert channel.poll(1.0, 10) == 10
    assert channel.waits == [(1.0, 1)]
    assert channel.enough == 1


def test_nobody_waits_for_more_than_the_broker_may_send() -> None:
    channel = Channel()
    channel.source._prefetch = 5
    channel.poll(1.0, 4)
    assert channel.poll(1.0, 1) == 1
    assert channel.waits == [(1.0, 1)]


def test_nobody_waits_longer_than_a_poll_may() -> None:
    channel = Channel()
    channel.poll(1.0, 3)
    channel.poll(0.002, 2)
    assert channel.waits == [(0.002, 1), (0.002, 7)]
    channel.poll(0, 1)
    assert channel.waits == [(0, 1)]


def test_an_answer_that_came_meanwhile_is_not_kept_waiting() -> None:
    channel = Channel()
    channel.poll(1.0, 3)
    assert channel.poll(1.0, channel.source.wake, 5) == 1
    assert channel.poll(1.0, 1, 5) == 6


def test_once_all_is_settled_messages_are_given_at_once_again() -> None:
    channel = Channel()
    channel.coming = [3]
    records = channel.source.poll(1.0)
    channel.source.acknowledge(Progress(records=records))
    assert channel.poll(1.0, 1, 5) == 1


def test_a_connection_lost_meanwhile_is_told() -> None:
    def lost() -> None:
        raise ConnectionResetError

    channel = Channel()
    channel.poll(1.0, 3)
    with pytest.raises(SourceUnavailable):
        channel.poll(1.0, 2, lost)
    assert channel.enough == 1
