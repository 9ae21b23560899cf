"""A source, a pool and a clock that do as they are told, so that the loop is tested without threads or waiting."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Collection, Sequence
from typing import Any

from builders import record

from poller.errors import SourceError
from poller.event_poller import EventPoller
from poller.mapping_plan import MappingPlan
from poller.metrics import MappingLabels, Metrics
from poller.model import DeadLetter, Discard, Invocation, InvocationResult, Progress, Record, Shard
from poller.policy.batching import BatchingLimits
from poller.policy.lanes import Lanes
from poller.policy.retrying import RetryPolicy
from poller.sources import Features, Listener

ARN = "arn:aws:lambda:us-east-1:123456789012:function:f"


class FakeClock:
    """Stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.wall = 1_764_064_900.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.wall

    def pass_(self, seconds: float) -> None:
        self.now += seconds
        self.wall += seconds


class ScriptedSource:
    """Hands out what the test puts into `arriving` and keeps what the loop did."""

    def __init__(self, *, ordered: bool = True) -> None:
        self.features = Features(ordered=ordered, redelivers=not ordered, rebalances=ordered, wakes=not ordered)
        self.arriving: list[Record] = []
        self._handing_over = threading.Lock()  # where the loop runs on a thread, the test adds while it polls
        self.waits: list[float] = []
        self.paused: set[Shard] = set()
        self.behind: dict[Shard, int] = {"t-0": 0}
        self.lag_asked: list[bool] = []
        self.acknowledged: list[Progress] = []
        self.released: list[Record] = []
        self.rejected: list[Record] = []
        self.expected: list[int] = []
        self.drained: list[Record] | None = None
        self.opened = self.closed = self.logins_renewed = 0
        self.failing: SourceError | None = None
        self.poll_failing: SourceError | None = None
        self.commits_held_up = False
        self.listener: Listener | None = None

    def open(self, listener: Listener) -> None:
        self.opened += 1
        if self.failing:
            raise self.failing
        self.listener = listener
        listener.assigned(["t-0", "t-1"])

    def renew_login(self) -> None:
        self.logins_renewed += 1

    def poll(self, max_wait: float) -> Sequence[Record]:
        self.waits.append(max_wait)
        if problem := self.failing or self.poll_failing:
            raise problem
        with self._handing_over:
            arrived = [item for item in self.arriving if item.shard not in self.paused]
            self.arriving = [item for item in self.arriving if item.shard in self.paused]
        return arrived

    def arrive(self, records: Sequence[Record]) -> None:
        with self._handing_over:
            self.arriving += records

    def pause(self, shards: Collection[Shard]) -> None:
        self.paused |= set(shards)

    def resume(self, shards: Collection[Shard]) -> None:
        self.paused -= set(shards)

    def expect(self, batch_size: int) -> None:
        self.expected.append(batch_size)

    def drain(self, unstarted: Sequence[Record]) -> None:
        self.drained = list(unstarted)

    def acknowledge(self, progress: Progress) -> bool:
        self.acknowledged.append(progress)
        return not self.commits_held_up

    def release(self, records: Sequence[Record]) -> None:
        self.released += records

    def reject(self, records: Sequence[Record]) -> None:
        self.rejected += records

    def build_event(self, records: Sequence[Record]) -> bytes:
        return json.dumps([item.position for item in records]).encode()

    def overhead(self, shards: int) -> int:
        return 2

    def lag(self, *, ask: bool = True) -> dict[Shard, int]:
        self.lag_asked.append(ask)
        return dict(self.behind)

    def partitions(self) -> int | None:
        return 3 if self.features.ordered else None

    def wake(self) -> None:
        return

    def close(self) -> None:
        self.closed += 1

    def committed(self) -> dict[Shard, int]:
        """The last committed position of each shard."""
        return {shard: position for progress in self.acknowledged for shard, position in progress.positions.items()}

    def settled(self) -> list[int]:
        """Positions of the messages that were acknowledged."""
        return [item.position for progress in self.acknowledged for item in progress.records]


class ScriptedPool:
    """Keeps invocations until the test answers them."""

    def __init__(self) -> None:
        self.calls: list[tuple[Invocation, Callable[[InvocationResult], None]]] = []

    def submit(self, invocation: Invocation, on_result: Callable[[InvocationResult], None], *, wait: bool) -> None:
        assert wait
        self.calls.append((invocation, on_result))

    def running(self) -> list[list[int]]:
        """Positions of every batch that has no answer yet."""
        return [json.loads(invocation.payload) for invocation, _ in self.calls]

    def answer(self, result: InvocationResult, index: int = 0) -> None:
        _, on_result = self.calls.pop(index)
        on_result(result)


class Letters:
    """A destination that keeps letters until the test says they are durable."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Sequence[DeadLetter], Callable[[], None]]] = []

    def submit(self, letters: Sequence[DeadLetter], on_done: Callable[[], None]) -> None:
        self.waiting.append((letters, on_done))

    def deliver(self) -> None:
        for _, on_done in self.waiting:
            on_done()
        self.waiting.clear()


class Rig:
    """A poller with everything scripted around it."""

    def __init__(
        self,
        *,
        ordered: bool = True,
        retry: RetryPolicy | None = None,
        limits: BatchingLimits | None = None,
        letters: Letters | None = None,
        report: bool = False,
        **lanes: Any,
    ) -> None:
        self.source = ScriptedSource(ordered=ordered)
        self.pool = ScriptedPool()
        self.clock = FakeClock()
        self.letters = letters
        self.metrics = Metrics()
        self.plan = MappingPlan(
            name="m",
            function_arn=ARN,
            pool=self.pool,
            retry=retry or RetryPolicy(redelivers=not ordered),
            report_batch_item_failures=report,
            metrics=self.metrics.of_mapping(MappingLabels("m", "f", "t")),
            dead_letters=letters,
            build_letters=self._letters_of if letters else None,
            revocation_grace=0.05,
            shutdown_grace=0.05,
        )
        self.lanes = Lanes(limits or BatchingLimits(batch_size=2, window=0), ordered=ordered, **lanes)
        self.poller = EventPoller(self.plan, self.source, self.lanes, self.clock)

    @staticmethod
    def _letters_of(discard: Discard) -> list[DeadLetter]:
        return [DeadLetter(str(item.position).encode()) for item in discard.records]

    def arrive(self, *positions: int, **changes: Any) -> None:
        self.source.arrive([record(position, **changes) for position in positions])

    def step(self, seconds: float = 0.0) -> None:
        self.clock.pass_(seconds)
        self.poller.step()

    def counted(self, name: str) -> float:
        labels = {"mapping": "m", "function": "f", "source": "t"}
        return self.metrics.registry.get_sample_value(f"poller_{name}_total", labels) or 0.0
