"""Pollers of a mapping come and go one by one: the others stay, and who goes ends what it has in work (C.8)."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from scripted import FakeClock

from poller.mapping_plan import PollerState, Standing
from poller.mapping_runner import MappingRunner

SHUTDOWN_GRACE = 20.0


@dataclass
class Poller:
    """Runs until the test lets it end."""

    number: int
    state: PollerState = field(default_factory=lambda: PollerState(Standing(polling=True)))
    graces: list[float | None] = field(default_factory=list)
    """What it was told when it was asked to end."""
    may_end: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        self.may_end.wait(30)

    def stop(self, grace: float | None = None) -> None:
        self.graces.append(grace)


class Assembly:
    """Makes pollers that do nothing."""

    def __init__(self) -> None:
        self.clock, self.settings = FakeClock(), SimpleNamespace(ShutdownGrace=SHUTDOWN_GRACE)
        self.made: list[Poller] = []

    def dead_letters(self, _: object) -> None:
        return None

    def poller(self, _mapping: object, number: int, _letters: object) -> Poller:
        self.made.append(Poller(number))
        return self.made[-1]


class Rig:
    def __init__(self, pollers: int) -> None:
        self.assembly: Any = Assembly()
        mapping: Any = SimpleNamespace(name="m", FunctionName="f", Topics=("t",), Queues=(), Enabled=True)
        self.runner = MappingRunner(mapping, self.assembly, pollers)
        self.runner.start()
        assert self.runner.state() == "Enabled"

    @property
    def made(self) -> list[Poller]:
        return self.assembly.made

    def lag(self) -> dict[str, int]:
        return dict(self.runner.snapshot().lag)


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig(2)
    yield made
    for poller in made.made:
        poller.may_end.set()
    made.runner.leave()
    made.runner.join(time.monotonic() + 30)


def test_more_are_started_beside_those_that_run(rig: Rig) -> None:  # C.8
    rig.runner.resize(4)
    assert [poller.number for poller in rig.made] == [0, 1, 2, 3]
    assert all(poller.graces == [] for poller in rig.made)
    assert (rig.runner.wanted, rig.runner.snapshot().pollers, rig.runner.state()) == (4, 4, "Enabled")


def test_the_last_ones_go_and_have_as_much_time_as_a_shutdown_gives(rig: Rig) -> None:  # C.8
    rig.runner.resize(1)
    assert [poller.graces for poller in rig.made] == [[], [SHUTDOWN_GRACE]]
    assert rig.runner.snapshot().pollers == 1
    assert rig.runner.alive()


def test_what_leaves_tells_of_its_partitions_until_it_has_given_them_up(rig: Rig) -> None:  # C.9
    rig.made[0].state.lag, rig.made[1].state.lag = {"t-0": 3}, {"t-1": 4}
    rig.runner.resize(1)
    assert rig.lag() == {"t-0": 3, "t-1": 4}
    rig.made[0].state.lag = {"t-0": 3, "t-1": 9}
    assert rig.lag() == {"t-0": 3, "t-1": 9}, "who has a partition now knows better"


def test_who_reads_a_partition_knows_its_lag_better_than_who_cannot(rig: Rig) -> None:  # C.9
    rig.made[0].state.lag, rig.made[1].state.lag = {"t-0": 3}, {"t-0": 1000}
    rig.made[1].state.standing = Standing()
    assert rig.lag() == {"t-0": 3}


def test_a_mapping_that_is_switched_off_gives_those_that_leave_already_no_more_time(rig: Rig) -> None:  # C.2
    rig.runner.resize(1)
    gone = threading.Event()
    rig.runner.delete(gone.set)
    for poller in rig.made:
        poller.may_end.set()
    assert gone.wait(30)
    assert rig.made[0].graces == [5.0]
    assert rig.made[1].graces == [SHUTDOWN_GRACE, 5.0]


def test_the_service_waits_for_those_that_leave(rig: Rig) -> None:
    rig.runner.resize(1)
    rig.runner.leave()
    assert rig.made[1].graces == [SHUTDOWN_GRACE, None]
    assert rig.made[0].graces == [None]


def test_while_it_is_switched_off_nothing_is_resized(rig: Rig) -> None:  # C.2
    gone = threading.Event()
    rig.runner.delete(gone.set)
    rig.runner.resize(5)
    for poller in rig.made:
        poller.may_end.set()
    assert gone.wait(30)
    assert len(rig.made) == 2
