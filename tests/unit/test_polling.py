"""How long a poller waits, and for what: nothing that is due waits for anything else (C.4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from builders import records

from poller.committing import Committing
from poller.model import Record
from poller.policy.batching import BatchingLimits
from poller.policy.lanes import Lanes
from poller.polling import LONGEST_SLICE, LONGEST_WAIT, SHORTEST_SLICE, Polling
from poller.reports import Reports
from poller.runtime.driving import MOMENT, Driver
from poller.sources import Features, Source

WALL = 1_764_064_900.0
NOW, LATER = 100.0, 100.5
WINDOW = 0.0005


class Busy(Driver):
    """Drives something, as long as it is not released."""

    released = False

    @property
    def busy(self) -> bool:
        return not self.released

    def release(self) -> None:
        self.released = True


@dataclass
class Polls:
    """A source that has nothing, or this."""

    features: Features
    found: Sequence[Record] = ()
    waited: list[float] = field(default_factory=list)

    def poll(self, max_wait: float) -> Sequence[Record]:
        self.waited.append(max_wait)
        return self.found

    def wake(self) -> None: ...


@dataclass
class Rig:
    source: Polls
    lanes: Lanes
    reports: Reports[Any]
    driver: Driver
    polling: Polling[Any]

    def poll(self, now: float = NOW, *, held_back: bool = False) -> tuple[Sequence[Record], float]:
        return self.polling.poll(now, LATER, held_back=held_back)

    def begin(self, shard: str, number: int) -> None:
        """Records of a shard, a batch of which is in work as far as they make one."""
        self.lanes.extend(records(*range(number), shard=shard), NOW)
        self.lanes.due(NOW, WALL)


def rig(*, wakes: bool, driver: Driver | None = None) -> Rig:
    source = Polls(Features(ordered=True, redelivers=False, rebalances=True, wakes=wakes))
    lanes = Lanes(BatchingLimits(batch_size=2, window=WINDOW), ordered=True)
    driver = driver or Driver()
    reports: Reports[Any] = Reports(source.wake, driver)
    committing = Committing(cast("Source", source), lanes)
    return Rig(source, lanes, reports, driver, Polling(cast("Source", source), lanes, committing, reports, driver))


def test_a_window_that_ends_while_a_handler_is_driven_is_waited_for_no_longer() -> None:  # C.4
    some = rig(wakes=True, driver=Busy())
    some.begin("t-0", 4)
    assert some.poll() == ((), MOMENT)
    some.begin("t-1", 1)
    assert some.poll() == ((), pytest.approx(WINDOW))
    assert some.source.waited == [0, 0], "records are looked for all the same"


def test_what_is_driven_is_left_to_its_thread_before_the_poller_waits_for_records() -> None:
    some = rig(wakes=True, driver=Busy())
    some.begin("t-0", 2)
    assert some.poll() == ((), 0.0)
    assert not some.driver.busy
    assert some.source.waited == [0, LATER - NOW]


def test_records_are_taken_up_before_anything_is_waited_for() -> None:
    some = rig(wakes=True, driver=Busy())
    some.begin("t-0", 4)
    some.source.found = records(4)
    assert some.poll() == (some.source.found, 0.0)
    assert some.driver.busy


def test_an_answer_that_is_there_already_ends_the_poll_at_once() -> None:
    some = rig(wakes=True)
    some.begin("t-0", 2)
    some.reports.report("an answer")
    assert some.poll() == ((), 0.0)
    assert some.source.waited == [0]


def test_polls_that_no_answer_ends_get_longer_while_handlers_are_slow_and_short_again_with_an_answer() -> None:
    some = rig(wakes=False)
    some.begin("t-0", 2)
    for _ in range(9):
        some.poll()
    assert some.source.waited[0] == SHORTEST_SLICE
    assert some.source.waited == sorted(some.source.waited)
    assert some.source.waited[-1] == LONGEST_SLICE
    some.polling.answered()
    some.poll()
    assert some.source.waited[-1] == SHORTEST_SLICE


def test_while_a_batch_stands_ready_behind_one_in_work_a_short_wait_is_for_its_answer() -> None:
    some = rig(wakes=False)
    some.begin("t-0", 4)
    assert some.poll() == ((), SHORTEST_SLICE)
    assert some.source.waited == [0]


def test_while_everything_is_held_back_answers_are_waited_for_and_membership_is_kept() -> None:
    some = rig(wakes=False)
    some.poll(held_back=True)
    assert some.source.waited == [LATER - NOW]
    assert some.poll(NOW + 0.1, held_back=True) == ((), pytest.approx(LATER - NOW - 0.1))
    assert len(some.source.waited) == 1
    some.poll(NOW + LONGEST_WAIT, held_back=True)
    assert len(some.source.waited) == 2
