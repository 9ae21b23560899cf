"""When a kafka-python consumer's own poll is made, and how long it may wait."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from poller.sources import kafka_python_polls
from poller.sources.kafka_python_loop import Woken
from poller.sources.kafka_python_polls import Polls

RECORDS = {"topic-0": ["record"]}


class Client:
    """A consumer, and how it waits, that write down what they are asked."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, float]] = []
        self.answer: dict[str, list[str]] | Woken = {}
        self.is_joining = self.is_unknown = False
        self._coordinator = SimpleNamespace(
            need_rejoin=lambda: self.is_joining,
            join_group_async=None,
            coordinator_unknown=lambda: self.is_unknown,
            _join_task=None,
        )
        self._fetcher = SimpleNamespace(_create_fetch_requests=None)
        self._manager = None

    def poll(self, timeout_ms: float) -> dict[str, list[str]]:
        self.calls.append(("poll", timeout_ms))
        if isinstance(self.answer, Woken):
            raise self.answer
        return self.answer

    def rest(self, seconds: float) -> None:
        self.calls.append(("rest", seconds))


@pytest.fixture
def client() -> Client:
    return Client()


@pytest.fixture
def polls(client: Client, monkeypatch: pytest.MonkeyPatch) -> Polls:
    monkeypatch.setattr(kafka_python_polls, "Turns", lambda *_: client)
    consumer: Any = client
    return Polls(consumer, fetch_max_wait=0.01)


def test_a_poll_gives_the_records_that_the_client_gives(client: Client, polls: Polls) -> None:
    client.answer = RECORDS
    assert polls.poll(0.5, 1, 2) == RECORDS
    assert client.calls == [("poll", 500)]


def test_a_poll_that_is_woken_gives_nothing(client: Client, polls: Polls) -> None:
    client.answer = Woken()
    assert polls.poll(0.5, 1, 2) == {}


def test_while_all_is_paused_the_client_looks_around_once_a_second_and_rests_otherwise(
    client: Client, polls: Polls
) -> None:
    for _ in range(3):
        polls.poll(0.5, 2, 2)
    assert client.calls == [("poll", 500), ("rest", 0.5), ("rest", 0.5)]


def test_who_has_no_partitions_does_not_rest(client: Client, polls: Polls) -> None:
    for _ in range(2):
        polls.poll(0.5, 0, 0)
    assert client.calls == [("poll", 500), ("poll", 500)]


def test_while_all_is_paused_a_rebalance_is_joined(client: Client, polls: Polls) -> None:
    polls.poll(0.5, 2, 2)
    client.rest = lambda seconds: setattr(client, "is_joining", True)  # type: ignore[method-assign]
    client.calls.clear()
    polls.poll(0.5, 2, 2)
    assert client.calls == [("poll", 0)]


@pytest.mark.parametrize("trouble", ["is_joining", "is_unknown"])
@pytest.mark.parametrize(("awaited", "milliseconds"), [(True, 20), (False, 500)])
def test_answers_wait_for_the_group_in_short_turns(
    client: Client, polls: Polls, trouble: str, awaited: bool, milliseconds: float
) -> None:
    # Joining a group and finding its coordinator are not ended by `wake`.
    setattr(client, trouble, True)
    client._coordinator._join_task = "under way"
    polls.poll(0.5, 1, 2, is_awaited=lambda: awaited)
    assert client.calls == [("poll", milliseconds)]
