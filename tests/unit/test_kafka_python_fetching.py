"""When kafka-python fetches, and how long brokers may hold that, with a stand-in for the client's fetcher."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from poller.sources.kafka_python_fetching import Fetches

A, B = "topic-0", "topic-1"


class Consumer:
    """With partition A, and records of B that wait when told so."""

    def __init__(self, *, waiting: bool = False) -> None:
        self.position = SimpleNamespace(offset=5)
        self.closed: list[int] = []
        self._fetcher = SimpleNamespace(
            config={},
            _completed_fetches=(),
            _paused_completed_fetches={},
            _paused_partition_records={B: "records"} if waiting else {},
            _next_partition_records=None,
            _subscriptions=SimpleNamespace(assignment={A: SimpleNamespace(position=self.position)}),
            _fetchable_partitions=lambda: [A],
            _nodes_with_pending_fetch_requests={1},
            _create_fetch_requests=lambda: {1: ("request", {A: self.position.offset})},
        )
        self._manager = SimpleNamespace(close=self.closed.append, call_soon=lambda call, *given: call(*given))

    @property
    def hold(self) -> int:
        """Milliseconds that a broker may hold a fetch that is sent now."""
        return int(self._fetcher.config["fetch_max_wait_ms"])


def fetches_of(consumer: Consumer, usual: float = 3600) -> Fetches:
    client: Any = consumer
    return Fetches(client, usual)


@pytest.mark.parametrize(("quiet", "milliseconds"), [(0.5, 10), (1.0, 10), (4.0, 1000), (60.0, 2000)])
def test_the_longer_nothing_came_the_longer_a_fetch_may_be_held(quiet: float, milliseconds: int) -> None:
    consumer = Consumer()
    fetches = fetches_of(consumer, usual=0.01)
    fetches.hold(paused=False, quiet=quiet)
    assert fetches.may_be_sent()
    assert consumer.hold == milliseconds
    assert fetches.until_next() == float("inf")


def test_while_a_partition_is_paused_fetches_are_short() -> None:
    consumer = Consumer()
    fetches = fetches_of(consumer, usual=0.01)
    fetches.hold(paused=True, quiet=60)
    assert fetches.may_be_sent()
    assert consumer.hold == 10


def test_a_partition_is_fetched_at_once_when_some_of_it_was_read_and_held_by_no_broker_while_others_wait() -> None:
    # What waits will soon be fetched again, and cannot be while its broker holds this one.
    consumer = Consumer(waiting=True)
    fetches = fetches_of(consumer)
    for offset in 5, 6:
        consumer.position.offset = offset
        assert fetches.may_be_sent()
        assert consumer.hold == 0
        consumer._fetcher._create_fetch_requests()


def test_a_partition_that_was_read_to_its_end_is_asked_for_now_and_then_while_others_wait() -> None:
    consumer = Consumer(waiting=True)
    fetches = fetches_of(consumer)
    assert fetches.may_be_sent()
    consumer._fetcher._create_fetch_requests()
    assert not fetches.may_be_sent()
    assert 0 < fetches.until_next() <= 3600

    often = fetches_of(consumer, usual=0)
    for _ in range(2):
        assert often.may_be_sent()
        consumer._fetcher._create_fetch_requests()
    assert often.until_next() == 0


@pytest.mark.parametrize(("quiet", "closed"), [(60.0, [1]), (0.0, [])])
def test_a_fetch_that_is_held_for_long_is_given_up_for_partitions_that_come(quiet: float, closed: list[int]) -> None:
    consumer = Consumer()
    fetches = fetches_of(consumer, usual=0.01)
    fetches.hold(paused=False, quiet=quiet)
    fetches.renew()
    assert consumer.closed == closed
