"""The thread `scaling`: it looks at mappings as they are, and has them resized (C.8)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from scripted import FakeClock

from poller import scaling
from poller.mapping_plan import PollerState, Standing
from poller.metrics import MappingLabels, MappingSnapshot, Metrics
from poller.policy.workers import PollerBounds
from poller.runtime.pool_stats import PoolStats
from poller.scaling import Scaler


@dataclass
class Runner:
    """A mapping that has the pollers it is told to have."""

    wanted: int = 1
    enabled: str = "Enabled"
    function: str = "f"
    lag: int = 0
    filling: int = 0
    partitions: int | None = 8
    resized: list[int] = field(default_factory=list)
    mapping: Any = field(default_factory=lambda: SimpleNamespace(UUID="u"))

    def state(self) -> str:
        return self.enabled

    def snapshot(self) -> MappingSnapshot:
        labels = MappingLabels("m", self.function, "t")
        return MappingSnapshot(labels, enabled=True, lag={}, held=0, pollers=self.wanted)

    def poller_states(self) -> list[PollerState]:
        away = PollerState(Standing(), lag={"t-0": 10**6}, partitions=99)
        reading = PollerState(
            Standing(polling=True), lag={"t-0": self.lag}, filling=self.filling, in_work=1, partitions=self.partitions
        )
        return [away, reading]

    def resize(self, pollers: int) -> None:
        self.wanted = pollers
        self.resized.append(pollers)


class Rig:
    """One mapping, one function, a look each minute."""

    def __init__(self, bounds: PollerBounds | None = None) -> None:
        self.runner, self.clock, self.metrics = Runner(), FakeClock(), Metrics()
        self.runners: list[Any] = [self.runner]
        self.bounds: PollerBounds | None = bounds or PollerBounds(1, 200)
        self.stats = PoolStats(0, 0, 0, 0, 0, 0, 0, 0)
        assembly: Any = SimpleNamespace(metrics=self.metrics, clock=self.clock, settings=SimpleNamespace(TimeScale=1.0))
        self.scaler = Scaler(lambda: self.runners, lambda _: self.bounds, lambda _: self.stats, assembly)
        self.counted = self.metrics.of_mapping(MappingLabels("m", "f", "t"))
        self.scaler.tick()

    def minute(self, lag: int = 0, *, finished: int = 600) -> list[int]:
        """A minute of ticks; the numbers the mapping was resized to in it."""
        self.runner.lag = lag
        self.counted.count("committed_event_count", finished)
        before = len(self.runner.resized)
        for _ in range(60):
            self.clock.pass_(1)
            self.scaler.tick()
        return self.runner.resized[before:]


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig()
    yield made
    made.scaler.stop()


def test_a_lag_that_stays_has_the_mapping_resized(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:  # C.8
    caplog.set_level("INFO")
    assert [rig.minute(lag) for lag in (0, 5000, 9000, 9000)] == [[], [], [2], [8]]
    assert [rig.minute(finished=1) for _ in range(3)] == [[], [], [1]]
    assert [record.getMessage() for record in caplog.records] == [
        "2 pollers instead of 1: lag 9000",
        "8 pollers instead of 2: lag 9000",
        "1 pollers instead of 8: lag 0",
    ]
    assert {record.mapping for record in caplog.records} == {"m"}  # type: ignore[attr-defined]


def test_records_that_wait_for_their_batch_to_fill_are_no_lag(rig: Rig) -> None:
    rig.runner.filling = 9000
    assert [rig.minute(9000, finished=0) for _ in range(4)] == [[]] * 4


def test_a_function_at_its_limit_brings_the_number_down(rig: Rig) -> None:  # C.8, A.2
    rig.minute(5000)
    rig.minute(9000)
    rig.minute(9000)
    assert rig.runner.wanted == 8
    rig.stats = PoolStats(3, 3, 5, 0, 0, 0, 0, 0)
    assert rig.minute(9000) == [4]
    rig.stats = PoolStats(0, 0, 0, 0, 0, 0, 0, 0)
    assert rig.minute(9000) == []


def test_a_function_that_fails_brings_the_number_down_and_partial_failures_do_not(rig: Rig) -> None:  # C.8
    rig.minute(5000)
    rig.minute(9000)
    rig.counted.count("failed_invoke_event_count", 600)  # every batch named some record
    rig.stats = PoolStats(1, 1, 0, 0, invocations=6, errors=0, throttles=0, faults=0)
    assert rig.minute(9000) == [8]
    rig.stats = PoolStats(1, 1, 0, 0, invocations=12, errors=4, throttles=0, faults=0)
    assert rig.minute(9000) == [4]


def test_throttled_invocations_count_as_being_at_the_limit(rig: Rig) -> None:  # C.8
    rig.runner.wanted = 4
    for second in range(1, 62):
        rig.stats = PoolStats(0, 0, 0, 0, 0, 0, throttles=second, faults=0)
        rig.runner.lag = 9000
        rig.clock.pass_(1)
        rig.scaler.tick()
    assert rig.runner.resized == [2]


@pytest.mark.parametrize("state", ["Creating", "Updating", "Disabled", "Deleting"])
def test_a_mapping_that_is_not_enabled_is_left_alone(rig: Rig, state: str) -> None:  # C.2
    rig.runner.enabled = state
    assert [rig.minute(9000) for _ in range(4)] == [[]] * 4


def test_what_nothing_scales_is_left_alone(rig: Rig) -> None:
    rig.bounds = None  # a queue
    assert [rig.minute(9000) for _ in range(4)] == [[]] * 4


def test_new_bounds_count_at_once_and_looks_begin_anew(rig: Rig) -> None:  # C.1
    rig.minute(9000)
    rig.bounds = PollerBounds(3, 5)
    rig.clock.pass_(1)
    rig.scaler.tick()
    assert rig.runner.resized == [3]
    rig.minute(9000)
    rig.minute(9000)
    rig.minute(9000)
    assert rig.runner.wanted == 5


def test_another_function_counts_from_its_own_start(rig: Rig) -> None:  # C.1
    rig.minute(9000)
    rig.runner.function = "g"
    assert rig.minute(9000) == [], "nothing is known of it yet"


def test_a_mapping_that_is_gone_is_forgotten(rig: Rig) -> None:
    rig.minute(9000)
    rig.runners.clear()
    assert rig.minute(9000) == []


def test_the_thread_goes_on_after_a_fault_and_ends_when_it_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(scaling, "TICK", 0.001)
    rig = Rig()
    looked: list[int] = []

    def runners() -> list[Any]:
        looked.append(1)
        if len(looked) == 1:
            raise ValueError("a fault")
        if len(looked) == 3:
            rig.scaler._stopping.set()
        return []

    rig.scaler._runners = runners
    rig.scaler.start()
    rig.scaler._thread.join(30)
    assert len(looked) == 3
    assert "scaling failed" in caplog.text
