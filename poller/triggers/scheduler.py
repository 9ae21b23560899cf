"""The thread `schedules`: puts an event on a function's asynchronous queue whenever a schedule says so."""

from __future__ import annotations

import logging
import threading
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from poller.api_errors import ApiError
from poller.clock import Clock
from poller.errors import PollerError
from poller.triggers.due_runs import look
from poller.triggers.schedule_expressions import LATEST
from poller.triggers.schedule_trigger import ScheduleTrigger
from poller.triggers.scheduled_events import Run, scheduled_event

Accept = Callable[[str, str, bytes], str]
"""`AsyncInvoker.accept`: function, qualifier, event."""

LONGEST_WAIT = 1.0
"""Seconds from one look at the clock to the next: it may be set meanwhile."""
SHORTEST_WAIT = 0.01
"""… so that a rate hurried by TimeScale does not take a processor for itself."""

SERVER_FAULT = 500
"""Statuses from here on may pass; below they are about the event or its function."""

MOST_WAITING = 1000
"""Runs of one schedule that wait for the disk at once; the oldest are given up for more."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Waiting:
    """A run that is not on its queue yet."""

    run: Run
    since: float
    """Monotonic."""


@dataclass(slots=True)
class _Schedule:
    trigger: ScheduleTrigger
    seen: float
    """Up to where it is done, on the wall clock."""
    waiting: deque[_Waiting] = field(default_factory=deque)
    """In order; only the first one is tried."""
    not_before: float = 0.0
    """When that is tried again; monotonic."""


class Scheduler:
    """All schedules of the template. `start` and `stop` may be called in any order and more than once.

    Args:
        triggers: those that are enabled.
        accept: returns when an event is on the disk.
        clock: the wall's for when to run, the other for pauses.
    """

    def __init__(self, triggers: Sequence[ScheduleTrigger], accept: Accept, clock: Clock) -> None:
        self._accept = accept
        self._clock = clock
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        now = clock.time()
        self._schedules = [_Schedule(trigger, now) for trigger in triggers]

    def start(self) -> None:
        """Run from now on; what was to run before is not made up."""
        if self._thread is not None or self._stopping.is_set() or not self._schedules:
            return
        now = self._clock.time()
        for schedule in self._schedules:
            schedule.seen = now
            following = schedule.trigger.timing.following(now)
            _log.info("schedule %s runs next: %s", schedule.trigger.name, _shown(following))
        self._thread = threading.Thread(target=self._run, name="schedules", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Run nothing more. Blocks until what is being put on a queue is there."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout=10)

    def alive(self) -> bool:
        """Whether the thread still runs, if it was started."""
        return self._thread is None or self._stopping.is_set() or self._thread.is_alive()

    def _run(self) -> None:
        wait = 0.0
        while not self._stopping.wait(wait):
            try:
                wait = self.step()
            except Exception:  # noqa: BLE001 - a fault of ours must not end all schedules
                _log.exception("schedules failed; they go on")
                wait = LONGEST_WAIT

    def step(self) -> float:
        """Look at the clock once, and do what is due. Blocks for the disk.

        Returns:
            Seconds until the next look.
        """
        wait = LONGEST_WAIT
        for schedule in self._schedules:
            self._take_up(schedule)
            self._deliver(schedule)
            now = self._clock.time()
            following = schedule.trigger.timing.following(max(now, schedule.seen))
            if following is not None:
                wait = min(wait, following - now)
        return max(SHORTEST_WAIT, wait)

    def _take_up(self, schedule: _Schedule) -> None:
        found = look(schedule.trigger.timing, schedule.seen, self._clock.time())
        schedule.seen = found.seen
        if found.missed:
            _log.warning("schedule %s: runs were missed, and are not made up", schedule.trigger.name)
        if found.run is not None:
            schedule.waiting.append(_Waiting(Run(str(uuid.uuid4()), found.run), self._clock.monotonic()))
        if len(schedule.waiting) > MOST_WAITING:
            schedule.waiting.popleft()
            _log.error("schedule %s: a run is given up, as too many wait for the disk", schedule.trigger.name)

    def _deliver(self, schedule: _Schedule) -> None:
        while schedule.waiting and self._clock.monotonic() >= schedule.not_before:
            if self._is_done(schedule, schedule.waiting[0]):
                schedule.waiting.popleft()

    def _is_done(self, schedule: _Schedule, one: _Waiting) -> bool:
        """Try to put a run on its queue; whether there is nothing more to do for it."""
        trigger = schedule.trigger
        try:
            self._accept(trigger.function_name, "", scheduled_event(trigger.arn, trigger.input, one.run))
        except PollerError as error:
            if isinstance(error, ApiError) and error.status < SERVER_FAULT:
                _log.error("schedule %s: a run is given up: %s", trigger.name, error)
                return True
            now = self._clock.monotonic()
            pause = trigger.back_off.pause(one.run.attempt, trigger.name)
            too_old = now + pause - one.since >= trigger.maximum_event_age
            if too_old or one.run.attempt > trigger.maximum_retry_attempts:
                _log.error("schedule %s: a run is given up after %d attempts: %s", trigger.name, one.run.attempt, error)
                return True
            _log.warning("schedule %s: %s; trying again in %.1f s", trigger.name, error, pause)
            one.run, schedule.not_before = replace(one.run, attempt=one.run.attempt + 1), now + pause
            return False
        _log.debug("schedule %s has run", trigger.name)
        return True


def _shown(moment: float | None) -> str:
    if moment is None or moment >= LATEST:
        return "never"
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M:%S} UTC"
