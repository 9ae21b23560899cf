"""The loop against a naive model, whatever comes in whatever order: `loop_model` says what must never happen."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from builders import function_error, throttled
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fuzz.loop_model import WITHOUT_END, Mapping, Model, Running, is_poison, matches
from fuzz.tally import tried
from fuzz.watched import TickingClock, WatchedSource
from poller.errors import SourceUnavailable
from poller.event_poller import EventPoller
from poller.mapping_plan import MappingPlan, PollerChange
from poller.metrics import MappingLabels, Metrics
from poller.model import DeadLetter, InvocationResult, Progress, Record, Shard
from poller.policy.batching import BatchingLimits, WindowStart
from poller.policy.lanes import Lanes
from poller.policy.retrying import RetryPolicy
from poller.sources import Listener
from poller.sources.memory import MemoryTopic, MemoryTopicSource
from poller.sources.memory_queue import MemoryQueue, MemoryQueueSource

MAX_POLL_RECORDS = 7
LONG = 70.0
"""Seconds: longer than any pause between retries."""
NOBODY = Listener(lambda _: None, lambda _: Progress(), lambda _: None)

mappings = st.builds(
    Mapping,
    ordered=st.booleans(),
    mixed=st.booleans(),
    wakes=st.booleans(),
    batch_size=st.integers(1, 5),
    window=st.sampled_from([0.0, 0.5, 10.0]),
    maximum_bytes=st.sampled_from([1000, 1600, 6 * 1024 * 1024]),
    retries=st.sampled_from([WITHOUT_END, 0, 1, 3]),
    bisect=st.booleans(),
    report=st.booleans(),
    age=st.sampled_from([WITHOUT_END, WITHOUT_END, 60]),
    has_letters=st.booleans(),
    honest=st.booleans(),
)


class Letters:
    """The destination's end."""

    def __init__(self, model: Model) -> None:
        self.model = model

    def submit(self, letters: Sequence[DeadLetter], on_done: Any) -> None:
        self.model.send(letters, on_done)


class TheLoop(RuleBasedStateMachine):
    """One mapping on a topic of two partitions or on a queue."""

    @initialize(mapping=mappings, window_start=st.sampled_from(WindowStart))
    def begin(self, mapping: Mapping, window_start: WindowStart) -> None:
        mapping = replace(mapping, mixed=mapping.mixed and mapping.ordered)
        self.mapping, self.window_start = mapping, window_start
        self.clock = TickingClock()
        self.topic, self.queue = MemoryTopic("t", 2), MemoryQueue()
        self.made = 0
        overhead = self._inner().overhead(1)
        self.model = Model(mapping, overhead=overhead, clock=self.clock.time)
        self.others: list[MemoryTopicSource] = []
        self._start()

    def _inner(self) -> MemoryTopicSource | MemoryQueueSource:
        if self.mapping.ordered:
            return MemoryTopicSource(self.topic, max_poll_records=MAX_POLL_RECORDS)
        return MemoryQueueSource(self.queue, prefetch=2 * self.mapping.batch_size)

    def _start(self) -> None:
        mapping, model = self.mapping, self.model
        model.starts()
        self.source = WatchedSource(self._inner(), model, wakes=mapping.wakes)
        retry = RetryPolicy(
            redelivers=not mapping.ordered,
            maximum_retry_attempts=mapping.retries,
            maximum_record_age=mapping.age,
            bisect_batch_on_function_error=mapping.bisect,
        )
        overhead = self.source.overhead(1)
        limits = BatchingLimits(
            mapping.batch_size,
            mapping.window,
            self.window_start,
            overhead,
            mapping.maximum_bytes,
            overhead_of_shard=self.source.overhead(2) - overhead,
        )
        self.lanes = Lanes(
            limits, ordered=mapping.ordered, mixed=mapping.mixed, matches=matches, expired=retry.split_expired
        )
        self.plan = MappingPlan(
            name="m",
            function_arn="arn:aws:lambda:us-east-1:123456789012:function:f",
            pool=model,
            retry=retry,
            report_batch_item_failures=mapping.report,
            metrics=Metrics().of_mapping(MappingLabels("m", "f", "t")),
            dead_letters=Letters(model) if mapping.has_letters else None,
            build_letters=model.build_letters if mapping.has_letters else None,
            revocation_grace=0.003,
        )
        self.poller = EventPoller(self.plan, self.source, self.lanes, self.clock)
        self.poller.open()

    # --- what happens ---------------------------------------------------------------------------------------------

    @rule(
        partition=st.integers(0, 1),
        kinds=st.lists(st.sampled_from(["good", "good", "poison", "skip"]), min_size=1, max_size=6),
        size=st.sampled_from([0, 0, 100, 300, 2000]),
        age=st.sampled_from([None, 0, 50, 3600]),
        then=st.sampled_from([None, 0.0, 0.5]),
    )
    def records_are_produced(
        self, partition: int, kinds: list[str], size: int, age: float | None, then: float | None
    ) -> None:
        for kind in kinds:
            self.made += 1
            value = f"{kind} {self.made} ".encode() + b"x" * size
            if self.mapping.ordered:
                timestamp = 0 if age is None else int((self.clock.time() - age) * 1000)
                self.topic.produce(value, partition=partition, timestamp=timestamp)
            else:
                self.queue.publish(value, message_id=str(self.made))
        if then is not None:
            self.the_loop_turns(then)

    @rule(seconds=st.sampled_from([0.0, 0.0, 0.05, 0.5, 10.0, LONG]))
    def the_loop_turns(self, seconds: float) -> None:
        tried("turns of the loop")
        self.clock.pass_(seconds)
        if not self.mapping.wakes and self.source.owned and self.source.paused >= self.source.owned:
            self.clock.pass_(1.001)  # else it would wait for an answer, for up to a second of real time
        self.poller.step()

    @precondition(lambda self: self.model.running)
    @rule(
        data=st.data(),
        kind=st.sampled_from(
            ["as it deserves", "as it deserves", "throttle", "fault", "success", "error", "partial", "garbage"]
        ),
        then=st.sampled_from([None, 0.0, LONG]),
    )
    def an_answer_comes(self, data: st.DataObject, kind: str, then: float | None) -> None:
        run = self.model.running[data.draw(st.integers(0, len(self.model.running) - 1))]
        if self.mapping.honest and kind not in {"throttle", "fault"}:
            kind = "as it deserves"
        self._answer(run, kind, data)
        if then is not None:
            self.the_loop_turns(then)

    def _answer(self, run: Running, kind: str, data: st.DataObject | None) -> None:
        report, records = self.mapping.report, run.records
        poison = [record for record in records if is_poison(record.value)]
        if kind == "as it deserves":
            kind = ("partial" if report else "error") if poison else "success"
        named = poison
        if kind == "partial" and data is not None and not self.mapping.honest:
            named = [record for record in records if data.draw(st.booleans())]
        match kind:
            case "throttle":
                self.model.answer(run, [], throttled(), thrown=False)
            case "fault":
                self.model.answer(run, [], InvocationResult("r", b"{}", status=500), thrown=False)
            case "success":
                self.model.answer(run, [], InvocationResult("r", b"null"), thrown=False)
            case "error":
                self.model.answer(run, records, function_error(), thrown=True)
            case "partial":
                self.model.answer(run, named if report else [], self._reply(named), thrown=False)
            case "garbage":
                self.model.answer(run, records if report else [], InvocationResult("r", b"[1"), thrown=False)

    def _reply(self, named: Sequence[Record]) -> InvocationResult:
        items = [
            {"partition": item.shard, "offset": item.position} if self.mapping.ordered else item.message_id
            for item in named
        ]
        reply = {"batchItemFailures": [{"itemIdentifier": item} for item in items]}
        return InvocationResult("r", json.dumps(reply).encode())

    @precondition(lambda self: self.model.letters)
    @rule(data=st.data())
    def letters_are_durable(self, data: st.DataObject) -> None:
        self.model.deliver(data.draw(st.integers(0, len(self.model.letters) - 1)))

    @rule(size=st.integers(1, 5), window=st.sampled_from([0.0, 0.5, 60.0]))
    def an_update_comes(self, size: int, window: float) -> None:
        tried("loop: updates")
        self.mapping = replace(self.mapping, batch_size=size, window=window)
        self.model.update(self.mapping)
        limits = replace(self.lanes.limits, batch_size=size, window=window)
        change = PollerChange(self.plan, limits, matches=matches, expired=self.plan.retry.split_expired)
        taken_up = self.poller.update(lambda _: change)
        self.the_loop_turns(0.0)
        assert taken_up.is_set()

    @rule(what=st.sampled_from(["commits held up", "joins", "leaves", "expires", "stopped", "outage"]))
    def something_happens_around_it(self, what: str) -> None:
        tried(f"loop: {what}")
        if what in {"stopped", "outage"}:
            self._stops() if what == "stopped" else self._outage()
            self.source.close()
            self._start()
        elif self.mapping.ordered:
            getattr(self, f"_{what.replace(' ', '_')}")()

    def _commits_held_up(self) -> None:
        self.source.holding_up = not self.source.holding_up

    def _joins(self) -> None:
        """Another member, which takes a partition in its first poll and reads nothing."""
        if not self.others:
            other = MemoryTopicSource(self.topic)
            other.open(NOBODY)
            self.the_loop_turns(0.0)
            other.poll(0)
            self.others.append(other)

    def _leaves(self) -> None:
        while self.others:
            self.others.pop().close()

    def _expires(self) -> None:
        assert isinstance(self.source.inner, MemoryTopicSource)
        if not self.source.inner.expelled:
            self.topic.expel(self.source.inner)

    def _stops(self) -> None:
        self.poller.stop()
        running = len(self.model.running)
        self.the_loop_turns(0.0)
        assert len(self.model.running) <= running, "started after it was told to stop"

    def _outage(self) -> None:
        broker = self.topic if self.mapping.ordered else self.queue
        broker.outage = SourceUnavailable("gone")
        with pytest.raises(SourceUnavailable):
            self.the_loop_turns(0.0)
        broker.outage = None
        self.lanes.drop()

    # --- what always holds ----------------------------------------------------------------------------------------

    @invariant()
    def memory_is_bounded(self) -> None:
        if hasattr(self, "lanes"):
            size = self.model.largest_batch
            bound = 2 * (2 * size + MAX_POLL_RECORDS) if self.mapping.ordered else 2 * size
            assert self.lanes.held() <= bound

    def teardown(self) -> None:
        if not hasattr(self, "poller"):
            return
        self.source.holding_up = False
        self._leaves()
        for _ in range(20 * self.made + 50):
            for run in list(self.model.running):
                self._answer(run, "success" if self.mapping.retries == WITHOUT_END else "as it deserves", None)
            while self.model.letters:
                self.model.deliver(0)
            self.the_loop_turns(LONG)
            if self._is_quiet():
                break
        assert self._is_quiet(), "it is stuck"
        self._everything_is_finished()

    def _is_quiet(self) -> bool:
        if self.model.running or self.model.letters or self.lanes.held():
            return False
        if not self.mapping.ordered:
            return not self.queue.ready and not self.source.inner._unsettled  # type: ignore[union-attr]
        return all(self.topic.committed.get(shard, 0) == len(log) for shard, log in self.topic.partitions.items())

    def _everything_is_finished(self) -> None:
        expected: set[tuple[Shard, object]]
        if self.mapping.ordered:
            expected = {(shard, item.position) for shard, log in self.topic.partitions.items() for item in log}
        else:
            expected = {(self.queue.shard, value) for _, value in self.model.finished}
            assert len(expected) == self.made
        assert self.model.finished == expected


@pytest.fixture(autouse=True)
def silence() -> Iterator[None]:
    """Failures are the point here, and telling each of them is most of the time."""
    loggers = [logging.getLogger(name) for name in ("poller.event_poller", "poller.invoking", "poller.giving_up")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    yield
    for logger, level in zip(loggers, before, strict=True):
        logger.setLevel(level)


TheLoop.TestCase.settings = settings(
    stateful_step_count=50, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
test_the_loop_agrees_with_a_naive_model = TheLoop.TestCase
