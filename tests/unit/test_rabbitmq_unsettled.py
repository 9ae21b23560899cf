"""What is settled on a RabbitMQ channel is what is finished, and nothing else (F.3)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poller.model import Record
from poller.sources.rabbitmq_unsettled import Unsettled, acknowledgements


def record(generation: int, tag: int) -> Record:
    return Record("q::/", tag, 0, None, b"", (), b"", raw=(generation, tag))


@pytest.mark.parametrize(
    ("unsettled", "finished", "sent"),
    [
        ([], [], []),
        ([1, 2, 3], [], []),
        ([1, 2, 3], [1, 2, 3], [(3, True)]),
        ([1, 2, 3], [1], [(1, False)]),
        ([1, 2, 3], [2, 3], [(2, False), (3, False)]),
        ([1, 2, 4, 5], [5, 2, 1], [(2, True), (5, False)]),
        ([4, 7, 9], [4, 7], [(7, True)]),
    ],
)
def test_only_the_oldest_run_is_acknowledged_at_once(
    unsettled: list[int], finished: list[int], sent: list[tuple[int, bool]]
) -> None:
    assert acknowledgements(unsettled, finished) == sent


@given(unsettled=st.sets(st.integers(1, 30)), data=st.data())
def test_acknowledgements_settle_what_is_finished_and_nothing_else(unsettled: set[int], data: st.DataObject) -> None:
    finished = data.draw(st.sets(st.sampled_from(sorted(unsettled)))) if unsettled else set()
    left = set(unsettled)
    for tag, multiple in acknowledgements(sorted(unsettled), finished):
        assert tag in left
        left -= {older for older in left if older <= tag} if multiple else {tag}
    assert left == unsettled - finished


def test_a_message_is_settled_once() -> None:
    unsettled = Unsettled()
    unsettled.begin()
    unsettled.add([1, 2, 3])
    first, second = record(1, 1), record(1, 2)
    assert unsettled.of([first, second, first]) == {1: first, 2: second}
    unsettled.settle([1])
    assert unsettled.of([first, second]) == {2: second}
    assert unsettled.acknowledgements([2]) == [(2, False)]
    assert unsettled.acknowledgements([2, 3]) == [(3, True)]


def test_the_tags_of_another_channel_mean_nothing() -> None:
    unsettled = Unsettled()
    unsettled.begin()
    unsettled.add([1, 2])
    unsettled.begin()
    assert unsettled.of([record(1, 1), record(2, 2)]) == {}
    unsettled.add([1])
    assert list(unsettled.of([record(1, 1), record(2, 1)])) == [1]
    assert unsettled.acknowledgements([1]) == [(1, False)]
