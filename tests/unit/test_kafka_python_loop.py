"""How long a poll of kafka-python waits on its owner's thread, with a stand-in for the client's fetcher."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from poller.sources.kafka_python_loop import spare_turns

A, B = "topic-0", "topic-1"
RECORDS = {A: ["record"]}


class Fetcher:
    """Answers as told, in turn, and nothing after that."""

    def __init__(self, *answers: dict[str, list[str]], paused: set[str], parked: set[str]) -> None:
        self.answers = list(answers)
        self.timeouts: list[float] = []
        self._next_partition_records: list[str] | None = None
        self._paused_partition_records = dict.fromkeys(parked)
        self._subscriptions = SimpleNamespace(
            assignment={A: None, B: None}, is_paused=paused.__contains__, paused_partitions=lambda: paused
        )

    def fetch_records(self, _: int | None, *, timeout_ms: float, **__: Any) -> tuple[dict[str, list[str]], bool]:
        """Idle when there is nothing."""
        self.timeouts.append(timeout_ms)
        found = self.answers.pop(0) if self.answers else {}
        return found, not found


def polled(fetcher: Fetcher, timeout: float) -> tuple[dict[str, list[str]], list[float]]:
    """What a poll gives, and the milliseconds of each wait for something to happen."""
    waits: list[float] = []
    net = SimpleNamespace(
        poll=lambda timeout_ms: None,
        drain=lambda: None,
        run=lambda _wait_for, _future, milliseconds: waits.append(milliseconds),
    )
    coordinator = SimpleNamespace(ensure_coordinator_ready=lambda *_: True, coordinator_unknown=lambda: False)
    consumer: Any = SimpleNamespace(
        _coordinator=coordinator, _fetcher=fetcher, _net=net, _manager=SimpleNamespace(wait_for=None)
    )
    spare_turns(consumer)
    found, _ = fetcher.fetch_records(500, timeout_ms=timeout)
    return found, waits


def test_what_was_fetched_of_a_partition_that_is_resumed_comes_at_once() -> None:
    # The client looks at parked records before it parks those of a partition that was paused meanwhile.
    assert polled(Fetcher({}, RECORDS, paused={B}, parked={A, B}), 20) == (RECORDS, [])


def test_what_is_parked_of_a_resumed_partition_does_not_wait_for_a_fetch_of_others_that_is_under_way() -> None:
    # Brokers hold the fetches of an idle consumer for two seconds; those of another broker may be under way.
    fetcher = Fetcher({}, RECORDS, paused={B}, parked={A, B})
    polled(fetcher, 500)
    assert fetcher.timeouts == [0, 0]


def test_what_is_parked_of_a_paused_partition_is_not_asked_for_again() -> None:
    assert polled(Fetcher({}, RECORDS, paused={A}, parked={A}), 20) == ({}, [20])


@pytest.mark.parametrize("timeout", [0, 1, 20])
def test_a_poll_with_nothing_to_fetch_waits_no_longer_than_it_may(timeout: float) -> None:
    assert polled(Fetcher(paused={A}, parked=set()), timeout) == ({}, [timeout])


def test_with_all_paused_it_waits_for_the_answer_to_a_heartbeat() -> None:
    assert polled(Fetcher(paused={A, B}, parked=set()), 0) == ({}, [5])


def test_a_long_poll_looks_around_every_100_ms() -> None:
    assert polled(Fetcher(paused=set(), parked=set()), 1000) == ({}, [100])
