"""What becomes of a record that no filter matches: the third table of C.5, for Kafka and MQ, and what it counts for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from builders import answer, function_error, positions
from scripted import Letters, Rig

from poller.policy.batching import BatchingLimits
from poller.policy.filtering import compile_filters
from poller.policy.retrying import RetryPolicy

MATCHES = compile_filters(['{"value":["yes"]}'], "value").matches


def rig(*, ordered: bool, **options: Any) -> Rig:
    made = Rig(ordered=ordered, matches=MATCHES, **options)
    made.poller.open()
    return made


def arrive(made: Rig, *values: str, **changes: Any) -> None:
    """Records from position 1 on; `yes` passes the filter."""
    for position, value in enumerate(values, start=1):
        made.arrive(position, value=value.encode(), **changes)


@dataclass(frozen=True)
class Fate:
    when: str
    values: tuple[str, ...]
    answers: tuple[Any, ...]
    invoked: list[list[int]]
    """Positions in each event."""
    committed: int | None
    """Kafka: the offset in the end; None for no commit."""
    settled: list[int]
    """MQ: messages acknowledged in the end."""


FATES = [
    Fate("the matching ones succeed", ("no", "yes", "no"), (answer(),), [[2]], 4, [1, 3, 2]),
    Fate("the matching ones are in work", ("yes", "no", "no"), (), [[1]], None, [2, 3]),
    Fate("the matching ones fail", ("yes", "no"), (function_error(),), [[1]], None, [2]),
    Fate("none matches", ("no", "no", "no"), (), [], 4, [1, 2, 3]),
    Fate("all match", ("yes", "yes"), (answer(),), [[1, 2]], 3, [1, 2]),
    Fate("those before the matching ones are done", ("no", "no", "yes"), (), [[3]], 3, [1, 2]),
]


def _invoked(made: Rig, answers: tuple[Any, ...]) -> list[list[int]]:
    made.step()
    found = made.pool.running()
    for item in answers:
        made.pool.answer(item)
    made.step()
    made.step(0.2)  # commits are made a tenth of a second apart at least; what failed comes again later than that
    return found


@pytest.mark.parametrize("fate", FATES, ids=lambda fate: fate.when)
def test_kafka_commits_them_with_the_batch_once_the_matching_ones_are_done(fate: Fate) -> None:  # C.5
    made = rig(ordered=True)
    arrive(made, *fate.values)
    assert _invoked(made, fate.answers) == fate.invoked
    assert made.source.committed().get("t-0") == fate.committed


@pytest.mark.parametrize("fate", FATES, ids=lambda fate: fate.when)
def test_mq_acknowledges_them_when_they_are_filtered(fate: Fate) -> None:  # C.5
    made = rig(ordered=False)
    arrive(made, *fate.values)
    assert _invoked(made, fate.answers) == fate.invoked
    assert made.source.settled() == fate.settled


@pytest.mark.parametrize("ordered", [True, False], ids=["Kafka", "MQ"])
def test_they_take_no_place_in_a_batch(ordered: bool) -> None:  # C.5: evaluated before the limits of a batch apply
    made = rig(ordered=ordered, limits=BatchingLimits(batch_size=2, window=1000))
    arrive(made, "no", "no", "yes", "no", "yes")
    made.step()
    assert made.pool.running() == [[3, 5]]


@pytest.mark.parametrize("ordered", [True, False], ids=["Kafka", "MQ"])
def test_one_that_no_event_could_hold_is_no_loss(ordered: bool) -> None:  # C.4, C.5
    letters = Letters()
    made = rig(ordered=ordered, letters=letters, limits=BatchingLimits(window=0, maximum_bytes=20))
    arrive(made, "no", size=100)
    made.step()
    made.step(1)
    assert letters.waiting == []
    assert made.counted("dropped_event_count") == 0
    assert made.source.committed() == {"t-0": 2} if ordered else made.source.settled() == [1]


@pytest.mark.parametrize("ordered", [True, False], ids=["Kafka", "MQ"])
def test_they_are_never_given_up(ordered: bool) -> None:  # C.5
    letters = Letters()
    retry = RetryPolicy(redelivers=not ordered, maximum_retry_attempts=0)
    made = rig(ordered=ordered, letters=letters, retry=retry)
    arrive(made, "no", "yes")
    made.step()
    made.pool.answer(function_error())
    made.step()
    assert [letter.body for batch, _ in letters.waiting for letter in batch] == [b"2"]


@pytest.mark.parametrize(("values", "count"), [(("no", "yes", "no"), 2), (("yes", "yes"), 0)])
def test_they_are_counted_and_0_is_told_when_all_match(values: tuple[str, ...], count: int) -> None:  # C.9
    made = rig(ordered=True)
    arrive(made, *values)
    made.step()
    assert made.counted("polled_event_count") == len(values)
    labels = {"mapping": "m", "function": "f", "source": "t"}
    assert made.metrics.registry.get_sample_value("poller_filtered_out_event_count_total", labels) == count


def test_messages_that_are_filtered_out_do_not_come_back() -> None:  # C.5
    made = rig(ordered=False)
    arrive(made, "no", "yes")
    made.step()
    made.pool.answer(function_error())
    made.step()
    made.step(60)
    assert positions(made.source.released) == [2]
