"""How long a poll of kafka-python waits on its owner's thread, with a stand-in for the client's fetcher and loop."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from kafka.net.selector import NetworkSelector

from poller.sources.kafka_python_loop import Turns, Woken, drive_on_owners_thread

A, B = "topic-0", "topic-1"
RECORDS = {A: ["record"]}


class Consumer:
    """Gives answers as told, in turn, and nothing after that."""

    def __init__(self, *answers: dict[str, list[str]], paused: Sequence[str] = (), parked: Sequence[str] = ()) -> None:
        self.answers = list(answers)
        self.waits: list[float] = []
        """Milliseconds of each turn of the loop, 0 where it only looked."""
        self.on_turn: Callable[[], object] = lambda: None
        self.fetches = 0
        self.may_fetch, self.next_fetch = True, float("inf")
        self.is_told_to_join = False
        self._manager = SimpleNamespace()
        self._net = SimpleNamespace(poll=self._turn, drain=lambda: None, _wakeup_w=SimpleNamespace(send=self._ring))
        self.rung = 0
        self._coordinator = SimpleNamespace(
            ensure_coordinator_ready=lambda *_: True,
            coordinator_unknown=lambda: False,
            need_rejoin=lambda: self.is_told_to_join,
            _join_task=None,
        )
        self._fetcher = SimpleNamespace(
            fetched_records=self._fetched,
            _send_fetches_async=self._send,
            _fetch_futures=[],
            _reset_task=None,
            _completed_fetches=[],
            _next_partition_records=None,
            _paused_partition_records=dict.fromkeys(parked),
            _subscriptions=SimpleNamespace(is_paused=paused.__contains__),
        )

    def _turn(self, timeout_ms: float) -> None:
        self.waits.append(timeout_ms)
        self.on_turn()

    def _fetched(self, _: int | None, **__: Any) -> tuple[dict[str, list[str]], bool]:
        return self.answers.pop(0) if self.answers else {}, False

    async def _send(self) -> list[Any]:
        self.fetches += 1
        return []

    def _ring(self, _: bytes) -> None:
        self.rung += 1

    def under_way(self) -> SimpleNamespace:
        """A fetch that is not answered."""
        future = SimpleNamespace(is_done=False)
        self._fetcher._fetch_futures.append(future)
        return future


def turns_of(consumer: Consumer) -> Turns:
    client: Any = consumer
    fetches: Any = SimpleNamespace(may_be_sent=lambda: consumer.may_fetch, until_next=lambda: consumer.next_fetch)
    return Turns(client, fetches)


def polled(consumer: Consumer, milliseconds: float) -> dict[str, list[str]]:
    """What the client's poll gets from the fetcher that was taken over."""
    found, may_sleep = consumer._fetcher.fetch_records(500, timeout_ms=milliseconds)
    assert may_sleep is False  # the loop has waited
    assert isinstance(found, dict)
    return found


def test_records_come_without_waiting_and_the_next_fetch_goes_out() -> None:
    consumer = Consumer(RECORDS)
    turns_of(consumer)
    assert polled(consumer, 500) == RECORDS
    assert (consumer.waits, consumer.fetches) == ([0], 1)


def test_what_was_fetched_of_a_partition_that_is_resumed_comes_at_once() -> None:
    # The client looks at parked records before it parks those of a partition that was paused meanwhile.
    consumer = Consumer({}, RECORDS, paused=[B], parked=[A, B])
    turns_of(consumer)
    assert polled(consumer, 20) == RECORDS
    assert consumer.waits == [0]


def test_what_is_parked_of_a_paused_partition_is_not_asked_for_again() -> None:
    consumer = Consumer({}, {}, RECORDS, paused=[A], parked=[A])
    turns_of(consumer)
    consumer.on_turn = lambda: setattr(consumer, "answers", [{}])
    assert polled(consumer, 0) == {}


def test_the_answer_to_a_fetch_ends_the_waiting() -> None:
    consumer = Consumer({}, RECORDS)
    turns_of(consumer)
    fetch = consumer.under_way()
    consumer.on_turn = lambda: setattr(fetch, "is_done", True)
    assert polled(consumer, 500) == RECORDS
    assert consumer.waits == [500]


def test_a_fetch_that_was_answered_before_ends_no_waiting() -> None:
    # The client forgets it with the next fetch only.
    consumer = Consumer()
    turns_of(consumer)
    consumer.under_way().is_done = True
    later = consumer.under_way()
    consumer.on_turn = lambda: setattr(later, "is_done", True)
    assert polled(consumer, 500) == {}
    assert consumer.waits == [500]


@pytest.mark.parametrize("milliseconds", [0, 1])
def test_a_poll_with_nothing_to_fetch_waits_no_longer_than_it_may(milliseconds: float) -> None:
    consumer = Consumer()
    consumer.on_turn = lambda: time.sleep(0.001)
    turns_of(consumer)
    assert polled(consumer, milliseconds) == {}
    assert consumer.waits == [milliseconds]


def test_with_nothing_to_fetch_it_looks_around_every_100_ms() -> None:
    consumer = Consumer()
    turns_of(consumer)
    consumer.on_turn = lambda: setattr(consumer, "is_told_to_join", True)
    polled(consumer, 1000)
    assert consumer.waits == [100]


def test_it_waits_no_longer_than_until_the_next_fetch_may_be_sent() -> None:
    consumer = Consumer()
    turns_of(consumer)
    consumer.may_fetch, consumer.next_fetch = False, 0.01
    consumer.on_turn = lambda: setattr(consumer, "is_told_to_join", True)
    polled(consumer, 1000)
    assert (consumer.waits, consumer.fetches) == ([10], 0)


def test_a_group_that_rebalances_ends_the_waiting_for_records() -> None:
    consumer = Consumer()
    turns_of(consumer)
    consumer.under_way()
    consumer.on_turn = lambda: setattr(consumer, "is_told_to_join", True)  # the answer to a heartbeat
    assert polled(consumer, 30_000) == {}
    assert len(consumer.waits) == 1


def test_a_poll_that_waits_is_woken_by_a_byte_and_raises_woken() -> None:
    consumer = Consumer()
    turns = turns_of(consumer)
    consumer.under_way()
    consumer.on_turn = turns.wake
    with pytest.raises(Woken):
        polled(consumer, 30_000)
    assert (len(consumer.waits), consumer.rung) == (1, 1)


def test_who_is_woken_before_it_waits_does_not_wait_and_waits_again_the_next_time() -> None:
    consumer = Consumer()
    turns = turns_of(consumer)
    fetch = consumer.under_way()
    turns.wake()
    turns.wake()
    with pytest.raises(Woken):
        polled(consumer, 30_000)
    assert (consumer.waits, consumer.rung) == ([0], 1)  # a byte is enough
    consumer.on_turn = lambda: setattr(fetch, "is_done", True)
    polled(consumer, 500)
    assert consumer.waits == [0, 500]


def test_records_that_came_are_given_although_the_poll_is_woken() -> None:
    consumer = Consumer({}, RECORDS)
    turns = turns_of(consumer)
    consumer.under_way()
    consumer._fetcher._completed_fetches.append("answer")
    consumer.on_turn = turns.wake
    assert polled(consumer, 500) == RECORDS


def test_a_rest_lasts_until_it_is_woken_or_the_group_rebalances() -> None:
    consumer = Consumer()
    turns = turns_of(consumer)
    consumer.on_turn = turns.wake
    turns.rest(30)
    consumer.on_turn = lambda: setattr(consumer, "is_told_to_join", True)
    turns.rest(30)
    assert consumer.waits == [30_000, 30_000]


def test_a_socket_that_is_not_connected_yet_is_closed_with_the_loop() -> None:
    # kafka-python forgets it: a warning in tests, and a descriptor until it is collected.
    net = NetworkSelector()
    drive_on_owners_thread(SimpleNamespace(_net=net, _manager=SimpleNamespace(_build_transport=None)))
    ours, theirs = socket.socketpair()

    async def connect() -> None:
        await net.wait_read(ours)

    net.call_soon(connect)
    net.poll(timeout_ms=0)
    assert ours in [key.fileobj for key in net._selector.get_map().values()]
    net.close()
    assert ours.fileno() == -1
    net.close()
    theirs.close()
