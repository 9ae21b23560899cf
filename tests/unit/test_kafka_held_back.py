"""What is kept of paused partitions comes in order, and the client is stopped only when too much is kept."""

from __future__ import annotations

import pytest

from poller.sources import kafka_held_back
from poller.sources.kafka_held_back import HeldBack


class Client:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int]] = []
        self.held = HeldBack[bytes](lambda number: self.calls.append(("stop", number)), self._go_on)

    def _go_on(self, number: int) -> None:
        self.calls.append(("go on", number))


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Client:
    monkeypatch.setattr(kafka_held_back, "MESSAGE", 0)
    monkeypatch.setattr(kafka_held_back, "EACH", 10)
    monkeypatch.setattr(kafka_held_back, "ALL", 25)
    return Client()


def test_what_is_kept_comes_in_order_and_no_more_than_asked_for(client: Client) -> None:
    held = client.held
    held.paused.add(0)
    held.add(0, [b"a", b"b"])
    held.add(0, [b"c"])
    assert not held.has_some()
    assert list(held.take(10)) == []
    held.resume(0)
    assert held.has_some()
    assert held.first(0) == b"a"
    assert list(held.take(2)) == [(0, [b"a", b"b"])]
    assert held.waits(0)  # what comes now is younger than c
    held.add(0, [b"d"])
    assert list(held.take(10)) == [(0, [b"c", b"d"])]
    assert not held.waits(0)
    assert held.first(0) is None
    assert client.calls == []


def test_partitions_take_turns(client: Client) -> None:
    held = client.held
    for number in range(2):
        held.add(number, [b"a", b"b", b"c"])
    assert list(held.take(2)) == [(0, [b"a", b"b"])]
    assert list(held.take(4)) == [(1, [b"a", b"b", b"c"]), (0, [b"c"])]


def test_a_partition_of_which_too_much_is_kept_is_stopped_until_nothing_is(client: Client) -> None:
    held = client.held
    held.paused.add(3)
    held.add(3, [b"x" * 10])
    assert client.calls == []
    held.add(3, [b"y"])
    held.add(3, [b"z"])
    assert client.calls == [("stop", 3)]
    held.resume(3)
    assert list(held.take(2)) == [(3, [b"x" * 10, b"y"])]
    assert client.calls == [("stop", 3)]
    assert list(held.take(2)) == [(3, [b"z"])]
    assert client.calls == [("stop", 3), ("go on", 3)]


def test_all_partitions_together_are_bounded_too(client: Client) -> None:
    for number in range(3):
        client.held.paused.add(number)
        client.held.add(number, [b"x" * 9])
    assert client.calls == [("stop", 2)]
    client.held.forget(2)
    client.held.add(1, [b"x"])
    assert client.calls == [("stop", 2)]


def test_a_stopped_partition_that_is_paused_again_while_it_empties_goes_on_when_it_is_empty(client: Client) -> None:
    held = client.held
    held.add(0, [b"x" * 11, b"y"])
    assert list(held.take(1)) == [(0, [b"x" * 11])]
    held.paused.add(0)
    assert list(held.take(1)) == []
    held.resume(0)
    assert client.calls == [("stop", 0)]
    assert list(held.take(1)) == [(0, [b"y"])]
    assert client.calls == [("stop", 0), ("go on", 0)]


def test_starting_over_drops_what_is_kept_and_resumes(client: Client) -> None:
    held = client.held
    held.paused.add(0)
    held.add(0, [b"x" * 11])
    held.start_over(0)
    assert client.calls == [("stop", 0), ("go on", 0)]
    assert not held.waits(0)
    assert not held.has_some()


def test_a_forgotten_partition_leaves_nothing_and_tells_the_client_nothing(client: Client) -> None:
    held = client.held
    held.paused.add(0)
    held.add(0, [b"x" * 11])
    held.forget(0)
    assert not held.waits(0)
    held.resume(0)
    assert client.calls == [("stop", 0)]


def test_messages_without_a_value_count_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_held_back, "EACH", 1000)
    client = Client()
    client.held.add(0, [b""] * 5)
    assert client.calls == []
    client.held.add(0, [b""])
    assert client.calls == [("stop", 0)]
