"""Model 3, event source mapping: the one loop that every source goes through.

A poller owns its source client and its lanes; nobody else touches them. It drives quick handlers itself, the pool's
threads wait for slow ones, and dead letters go out on the destination's thread; all report back through one queue, one
item per batch. Decisions are `poller.policy`'s: this file carries them out.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Collection, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace

from poller.clock import Clock
from poller.committing import Committing
from poller.errors import LOGIN_REFUSED, SourceError
from poller.giving_up import Delivered, GivingUp
from poller.invoking import Answered, Invoking
from poller.mapping_plan import MappingPlan, PollerChange, PollerState, Standing
from poller.model import Discard, Progress, Record, Shard
from poller.policy.lane import Lane
from poller.policy.lanes import Lanes
from poller.policy.retrying import BackOff
from poller.polling import Polling
from poller.records import Records
from poller.reports import Reports
from poller.runtime.driving import Driver
from poller.sources import Listener, Source, as_queue

LOOK_INTERVAL = 0.5
"""Seconds between two looks at what others read of this poller: so nothing they see is a second old (C.9), save ends of
partitions that a busy broker has to be asked for."""

LAG_SHARE = 0.005
"""How much of its time a poller waits for that broker, as a rule: no batch is handed over meanwhile."""

LONGEST_LAG_INTERVAL = 2.0
"""Seconds after which it asks all the same."""

STEADY = 5.0
"""Seconds of polling after which a broker that fails is opened again as after its first failure."""

_log = logging.getLogger(__name__)


class EventPoller:
    """One poller of one mapping: `run` on a thread of its own until `stop`; tests drive `step`."""

    def __init__(self, plan: MappingPlan, source: Source, lanes: Lanes, clock: Clock) -> None:
        self.state = PollerState()
        self._plan = plan
        self._source = source
        self._queue = as_queue(source)
        self._lanes = lanes
        self._driver = Driver()
        self._reports: Reports[Answered | Delivered] = Reports(source.wake, self._driver)
        self._giving_up = GivingUp(source, lanes, self._reports.report)
        self._committing = Committing(source, lanes)
        self._polling = Polling(source, lanes, self._committing, self._reports, self._driver)
        self._invoking = Invoking(source, clock, self._reports.report, self._driver)
        self._clock = clock
        self._changes: queue.SimpleQueue[tuple[PollerChange, threading.Event]] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._attention = threading.Event()
        """Something was asked of a poller that may be waiting for its broker."""
        self._grace = plan.shutdown_grace
        self._assigned: set[Shard] = set()
        self._paused: AbstractSet[Shard] = frozenset()
        self._last_look = self._lag_due = float("-inf")
        self._reopening = BackOff(first=0.5, cap=30.0)
        self._extra = {"mapping": plan.name}

    # --- life -----------------------------------------------------------------------------------------------------

    def stop(self, grace: float | None = None) -> None:
        """Ask `run` to finish what is in work and return. Any thread, any number of times; does not wait.

        Args:
            grace: seconds that what is in work may take; ShutdownGrace unless given.
        """
        if grace is not None:
            self._grace = grace
        self._stopping.set()
        self._attention.set()
        self._source.wake()

    def update(self, change: Callable[[Source], PollerChange]) -> threading.Event:
        """Work by other values from the next batch on. Any thread; does not wait.

        Args:
            change: makes the values for this poller's source; called at once, on the caller's thread.

        Returns:
            Set as soon as it does so: within a second, save while it is finishing because of `stop`.
        """
        taken_up = threading.Event()
        self._changes.put((change(self._source), taken_up))
        self._attention.set()
        self._source.wake()
        return taken_up

    def run(self) -> None:
        """Poll until `stop`. A broker that fails is opened again with growing pauses, for ever."""
        failures = 0
        while not self._stopping.is_set():
            steady = float("inf")
            try:
                self.open()
                steady = self._clock.monotonic() + STEADY
                while not self._stopping.is_set():
                    self.step()
                self._finish_in_work()
            except SourceError as problem:
                failures = self._failures(failures, steady)
                self._suspend(problem, self._reopening.pause(failures, self._plan.name))
            except Exception:  # noqa: BLE001 - a fault of ours must not end the mapping
                # What was not acknowledged is read again.
                _log.exception("the poll loop failed; it starts again", extra=self._extra)
                failures = self._failures(failures, steady)
                self._suspend(SourceError("internal error, see the log"), self._reopening.pause(failures, "fault"))
        self._close_source()
        self.state.standing = replace(self.state.standing, polling=False)

    def _failures(self, before: int, steady: float) -> int:
        """How often in a row it failed; one that opens, and then refuses to be polled, fails as well."""
        return 1 if self._clock.monotonic() >= steady else before + 1

    def open(self) -> None:
        """Open the source; the first half of `run`, for tests that drive `step`."""
        self._driver.own()
        if self.state.standing.reason == LOGIN_REFUSED:
            self._source.renew_login()  # it may have been changed there and here (D.1.3, D.2)
        self._source.open(Listener(self._on_assigned, self._on_revoked, self._on_lost, self._on_commit_failed))
        if not self.state.standing.polling:
            _log.info("polling", extra=self._extra)
        self.state.standing = Standing(polling=True)

    def _suspend(self, problem: SourceError, pause: float) -> None:
        self._plan.metrics.count("polling_error_count")
        self.state.standing = self.state.standing.after(problem)
        _log.warning("%s; trying again in %.1f s", problem, pause, extra=self._extra)
        self._forget()
        self._close_source()
        if not self._stopping.is_set():
            self._attention.wait(pause)
        self._take_up_changes()

    def _take_up_changes(self) -> None:
        self._attention.clear()
        while not self._changes.empty():
            change, taken_up = self._changes.get_nowait()
            try:
                self._change(change)
            finally:
                taken_up.set()

    def _change(self, change: PollerChange) -> None:
        before, self._plan = self._plan, change.plan
        grew = change.limits.batch_size != self._lanes.limits.batch_size
        filtered_out = self._lanes.change(change.limits, matches=change.matches, expired=change.expired)
        change.plan.metrics.count("filtered_out_event_count", filtered_out)
        if before.dead_letters is not change.plan.dead_letters:
            self._giving_up.send_again(change.plan)
        self._committing.owed = True
        if grew:
            self._source.expect(change.limits.batch_size)

    def _forget(self) -> None:
        """Everything unacknowledged comes again; late results find their lanes gone."""
        self._committing.forget()
        self._lanes.drop()
        self._giving_up.forget()
        self._assigned.clear()
        self._paused = frozenset()

    def _close_source(self) -> None:
        self._driver.close()
        try:
            self._source.close()
        except SourceError as problem:
            _log.info("closing: %s", problem, extra=self._extra)
        except Exception:  # noqa: BLE001 - as in `run`
            _log.exception("closing failed", extra=self._extra)

    def _finish_in_work(self) -> None:
        """Take nothing more, but keep the connection alive until what is in work has ended or the grace is over."""
        begun = self._clock.monotonic()
        self._source.pause(self._assigned | self._lanes.shards())
        if self._queue is not None:
            unstarted, failed = self._lanes.give_back()
            self._queue.drain(unstarted)
            self._queue.release(failed)
        # The grace may become shorter meanwhile.
        while self._lanes.in_work() and (left := begun + self._grace - self._clock.monotonic()) > 0:
            self._source.poll(0)  # what still arrives was never taken up, so it comes again
            self._apply(self._reports.wait(min(0.05, left)), self._clock.monotonic())
        if (batches := self._lanes.in_work()) > 0:
            text = "%d batches did not end within the shutdown grace; they come again"
            _log.warning(text, batches, extra=self._extra)
        self._committing.commit(self._lanes.take_progress(), self._plan.metrics)

    # --- the loop -------------------------------------------------------------------------------------------------

    def step(self) -> None:
        """One turn: take up records, hand over what is due, carry out what was answered, acknowledge."""
        if not self._changes.empty():
            self._take_up_changes()
        now = self._clock.monotonic()
        records, for_answers = self._polling.poll(now, self._last_look + LOOK_INTERVAL, held_back=self._all_held_back)
        if records:
            self._take_up(records)
        reported = self._reports.wait(for_answers)
        now = self._clock.monotonic()
        self._apply(reported, now)
        if not self._stopping.is_set() and not self._committing.held_up:
            self._start_due(now)
        if self._queue is not None and (returned := self._lanes.take_returns(now)):
            self._queue.release(returned)
        self._hold_back()
        self._committing.acknowledge(now, self._plan.metrics)
        self._look(now)

    @property
    def _all_held_back(self) -> bool:
        return bool(self._assigned) and self._paused >= self._assigned

    def _take_up(self, polled: Sequence[Record]) -> None:
        records = Records.of(polled)
        filtered_out = self._lanes.extend(records, self._clock.monotonic())
        self._plan.metrics.count("polled_event_count", len(records))
        self._plan.metrics.count("event_poller_throughput_in_bytes", records.size - len(records))
        self._plan.metrics.count("filtered_out_event_count", filtered_out)
        self._committing.owed |= filtered_out > 0

    def _start_due(self, now: float) -> None:
        wall = self._clock.time()
        for lane, item in self._lanes.due(now, wall):
            if isinstance(item, Discard):
                self._discard(lane, item)
            else:
                self._invoking.invoke(lane, item, self._plan, now=now, wall=wall)

    def _apply(self, reported: Sequence[Answered | Delivered], now: float) -> None:
        """Carry out what answers and deliveries mean. Also runs inside `_on_revoked`, so it calls no client."""
        if reported:
            self._polling.answered()
            self._committing.owed = True
        for item in reported:
            match item:
                case Delivered():
                    self._giving_up.finish(item, self._plan)
                case Answered(lane, batch, _) if lane in self._lanes:
                    decisions = self._invoking.judge(item, self._plan, self.state, now)
                    for discard in self._lanes.resolve(lane, batch, decisions, now):
                        self._discard(lane, discard)
                case _:
                    pass  # revoked meanwhile: the shard's next owner reads it again

    def _discard(self, lane: Lane, discard: Discard) -> None:
        self._giving_up.give_up(lane, discard, self._plan)
        self._committing.owed = True  # it may never have been invoked, so that no answer says so

    def _hold_back(self) -> None:
        """Pause shards with enough waiting, so memory is bounded by lanes, batches and the read-ahead."""
        full = self._lanes.full_shards()
        if full != self._paused:
            if paused := full - self._paused:
                self._source.pause(paused)
            if resumed := self._paused - full:
                self._source.resume(resumed)
            self._paused = full

    def _look(self, now: float) -> None:
        """Twice a second: what others may read of this poller."""
        if now - self._last_look >= LOOK_INTERVAL:
            self._last_look, state = now, self.state
            state.lag, state.partitions = self._lag(now), self._source.partitions()
            state.held, state.filling = self._lanes.held(), self._lanes.filling(now)
            state.in_work = self._lanes.in_work()

    def _lag(self, now: float) -> dict[Shard, int]:
        """Records that are not finished, per shard (C.9)."""
        asked = self._clock.monotonic()
        lag = self._source.lag(ask=now >= self._lag_due)
        took = self._clock.monotonic() - asked
        if now >= self._lag_due:
            self._lag_due = now + min(took / LAG_SHARE, LONGEST_LAG_INTERVAL)
        if self._source.features.ordered:
            backlog = self._lanes.backlog()
            lag = {shard: behind + backlog.get(shard, 0) for shard, behind in lag.items()}
        return lag

    # --- what the source tells, while this thread is inside one of its methods -------------------------------------

    def _on_assigned(self, shards: Collection[Shard]) -> None:
        self._assigned |= set(shards)
        _log.info("assigned %s", ", ".join(sorted(shards)) or "nothing", extra=self._extra)

    def _on_revoked(self, shards: Collection[Shard]) -> Progress:
        """Let batches of these shards end within the grace, then forget the lanes; the rest comes again elsewhere."""
        deadline = self._clock.monotonic() + self._plan.revocation_grace
        while self._lanes.in_work(shards) and (now := self._clock.monotonic()) < deadline:
            self._apply(self._reports.wait(deadline - now), self._clock.monotonic())
        progress = self._lanes.take_progress(shards)
        self._plan.metrics.count("committed_event_count", progress.size)
        self._on_lost(shards)
        return progress

    def _on_lost(self, shards: Collection[Shard]) -> None:
        self._lanes.drop(shards)
        if self.state.lag:  # of shards that are another's now it must say nothing
            self.state.lag = {shard: lag for shard, lag in self.state.lag.items() if shard not in shards}
        self._assigned -= set(shards)
        self._paused -= set(shards)
        _log.info("gave up %s", ", ".join(sorted(shards)) or "nothing", extra=self._extra)

    def _on_commit_failed(self) -> None:
        self._plan.metrics.count("commit_error_count")
