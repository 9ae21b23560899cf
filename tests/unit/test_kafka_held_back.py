"""What is kept of paused partitions comes in order, and the client is stopped only when too much is kept."""

from __future__ import annotations

import pytest

from poller.records import Run
from poller.sources import kafka_held_back
from poller.sources.kafka_held_back import HeldBack
from poller.sources.kafka_run import record_head, to_run


class Client:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int]] = []
        self.held = HeldBack(lambda number: self.calls.append(("stop", number)), self._go_on)

    def _go_on(self, number: int) -> None:
        self.calls.append(("go on", number))


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Client:
    monkeypatch.setattr(kafka_held_back, "A_RUN", 0)
    monkeypatch.setattr(kafka_held_back, "EACH", 1000)
    monkeypatch.setattr(kafka_held_back, "ALL", 2500)
    return Client()


def a_run(first: int, records: int = 1, size: int = 150) -> Run:
    """Records of so many bytes in the event together, a comma each."""
    head = record_head("t", 0)

    def of_values(lengths: list[int]) -> Run:
        values = [b"x" * length for length in lengths]
        offsets = range(first, first + records)
        return to_run("t-0", head, offsets, [(0, 5)] * records, [None] * records, values, [None] * records)

    around = of_values([0] * records).size(0, records)
    run = of_values([*[0] * (records - 1), (size - around) // 4 * 3])
    assert size - 4 < run.size(0, records) <= size
    return run


def test_what_is_kept_comes_in_order_and_no_run_more_than_asked_for(client: Client) -> None:
    held = client.held
    first, second, third = a_run(0, 2, 300), a_run(2), a_run(3)
    held.paused.add(0)
    held.add(0, first)
    held.add(0, second)
    assert not held.has_some()
    assert held.take(10) == []
    held.resume(0)
    assert held.has_some()
    assert held.first(0) == 0
    assert held.take(2) == [first]
    assert held.waits(0)  # what comes now is younger
    held.add(0, third)
    assert held.first(0) == 2
    assert held.take(10) == [second, third]
    assert not held.waits(0)
    assert held.first(0) is None
    assert client.calls == []


def test_a_run_stays_whole_whatever_is_asked_for(client: Client) -> None:
    run = a_run(0, 5, 900)
    client.held.add(0, run)
    assert client.held.take(1) == [run]
    assert client.held.take(1) == []


def test_partitions_take_turns(client: Client) -> None:
    held = client.held
    runs = [[a_run(0, 2, 300), a_run(2)], [a_run(0, 2, 300), a_run(2)]]
    for number, some in enumerate(runs):
        for run in some:
            held.add(number, run)
    assert held.take(2) == runs[0][:1]
    assert held.take(4) == [*runs[1], runs[0][1]]


def test_a_partition_of_which_too_much_is_kept_is_stopped_until_nothing_is(client: Client) -> None:
    held = client.held
    runs = a_run(0, size=1000), a_run(1), a_run(2)
    held.paused.add(3)
    held.add(3, runs[0])
    assert client.calls == []
    held.add(3, runs[1])
    held.add(3, runs[2])
    assert client.calls == [("stop", 3)]
    held.resume(3)
    assert held.take(2) == [*runs[:2]]
    assert client.calls == [("stop", 3)]
    assert held.take(2) == [runs[2]]
    assert client.calls == [("stop", 3), ("go on", 3)]


def test_all_partitions_together_are_bounded_too(client: Client) -> None:
    for number in range(3):
        client.held.paused.add(number)
        client.held.add(number, a_run(0, size=840))
    assert client.calls == [("stop", 2)]
    client.held.forget(2)
    client.held.add(1, a_run(1, size=150))
    assert client.calls == [("stop", 2)]


def test_what_was_taken_does_not_count_any_more(client: Client) -> None:
    held = client.held
    for first in range(20):
        held.add(0, a_run(first, size=900))
        held.take(1)
    assert client.calls == []
    held.add(0, a_run(20, size=500))
    held.add(0, a_run(21, size=500))
    assert held.take(1)
    held.add(0, a_run(22, size=500))
    assert client.calls == []
    held.add(0, a_run(23, size=500))
    assert client.calls == [("stop", 0)]


def test_a_stopped_partition_that_is_paused_again_while_it_empties_goes_on_when_it_is_empty(client: Client) -> None:
    held = client.held
    runs = a_run(0, size=1100), a_run(1)
    for run in runs:
        held.add(0, run)
    assert held.take(1) == [runs[0]]
    held.paused.add(0)
    assert held.take(1) == []
    held.resume(0)
    assert client.calls == [("stop", 0)]
    assert held.take(1) == [runs[1]]
    assert client.calls == [("stop", 0), ("go on", 0)]


def test_starting_over_drops_what_is_kept_and_resumes(client: Client) -> None:
    held = client.held
    held.paused.add(0)
    held.add(0, a_run(0, size=1100))
    held.start_over(0)
    assert client.calls == [("stop", 0), ("go on", 0)]
    assert not held.waits(0)
    assert not held.has_some()


def test_a_forgotten_partition_leaves_nothing_and_tells_the_client_nothing(client: Client) -> None:
    held = client.held
    held.paused.add(0)
    held.add(0, a_run(0, size=1100))
    held.forget(0)
    assert not held.waits(0)
    held.resume(0)
    assert client.calls == [("stop", 0)]


def test_runs_of_one_record_count_with_what_they_take_beside_it(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_held_back, "A_RUN", 400)
    for first in range(20):
        client.held.add(0, a_run(first, size=150))
        client.held.take(1)
    assert client.calls == []
    client.held.add(0, a_run(20, size=150))
    assert client.calls == []
    client.held.add(0, a_run(21, size=150))
    assert client.calls == [("stop", 0)]
