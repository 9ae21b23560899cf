"""The loop of asynchronous invocation: takes events whose time has come, invokes, and writes down what follows.

It decides nothing: decisions are values of `policy.async_events`. Events are read from the store a few at a time and
for each function by itself, so memory is bounded however many wait, and a function that fails, is throttled or is slow
holds up no other. An event stays in the store, unchanged, while the function works on it: whatever ends the service,
the attempt is made again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import partial
from queue import Empty, SimpleQueue

from poller.async_invoke.ending import remains
from poller.async_invoke.event_store import EventStore
from poller.async_invoke.lanes import Accepted, Answered, AsyncFunction, Lane, Look, News, Recorded, Written
from poller.async_invoke.outbox import Outbox
from poller.async_invoke.rows import StoredEvent, answers_after
from poller.async_metrics import AsyncMetrics
from poller.clock import Clock
from poller.errors import StateError
from poller.model import Invocation, InvocationResult
from poller.policy.async_events import LONGEST_DELAY, SHORTEST_DELAY, Again, Ended, is_delay
from poller.request_ids import new_request_id
from poller.runtime.answers import error_answer

LONGEST_WAIT = 5.0
"""Seconds until the store is looked into all the same: events may have been purged or a function have come back."""

READ_PAUSE = 1.0
"""Seconds before an unreadable store is read again."""

_log = logging.getLogger(__name__)


class Dispatcher:
    """The thread `async`. `start` once; `leave`, `drain` and `stop` in this order, any number of times.

    Args:
        store: where events wait.
        outbox: brings records to their destinations; used by this thread only.
        function: how a function is now, and its version or alias; None when there is none of that name.
        time_scale: of the settings.
        metrics: what is counted.
        clock: wall time is read once; what follows is counted on from there, so a clock that is set changes nothing.
    """

    def __init__(
        self,
        store: EventStore,
        make_outbox: Callable[[Callable[[], None]], Outbox],
        *,
        function: Callable[[str, str], AsyncFunction | None],
        time_scale: float,
        metrics: AsyncMetrics,
        clock: Clock,
    ) -> None:
        self._store = store
        self._inbox: SimpleQueue[News] = SimpleQueue()
        self._outbox = make_outbox(lambda: self._inbox.put(Look()))
        self._function = function
        self._time_scale = time_scale
        self._metrics = metrics
        self._clock = clock
        self._offset = clock.time() - clock.monotonic()
        self._lanes: dict[str, Lane] = {}
        self._has_taken_stock = False
        self._leaving = threading.Event()
        self._stopping = threading.Event()
        self._empty = threading.Condition()
        self._unfinished = 0
        """Running or ending; with the condition."""
        self._thread = threading.Thread(target=self._run, name="async", daemon=True)

    # --- any thread ---------------------------------------------------------------------------------------------------

    @property
    def now(self) -> float:
        """Seconds since the epoch, counted on from the start."""
        return self._clock.monotonic() + self._offset

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Take up what the store has, and what comes."""
        self._store.start(self.accepted, lambda function, kind: self._inbox.put(Recorded(function, kind)))
        self._store.bring_forward(self.now + LONGEST_DELAY / self._time_scale, lambda: self._inbox.put(Look()))
        self._thread.start()

    def accepted(self, function: str) -> None:
        """An event of that function is in the store."""
        self._inbox.put(Accepted(function))

    def leave(self) -> None:
        """Hand over nothing more."""
        self._leaving.set()
        self._store.leave()

    def drain(self, seconds: float) -> None:
        """Wait for what was handed over, so long at most."""
        with self._empty:
            self._empty.wait_for(lambda: not self._unfinished, seconds)

    def stop(self, grace: float) -> None:
        """End the thread and the outbox; what is unfinished is taken up at the next start. Blocks for the grace."""
        self.leave()
        self._stopping.set()
        self._inbox.put(Look())
        if self._thread.is_alive():
            self._thread.join()
        self._outbox.stop(grace)

    # --- the thread ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping.is_set():
            wait = LONGEST_WAIT
            if not self._leaving.is_set():
                wait = self._guarded(self._take_stock)
                for lane in list(self._lanes.values()):
                    wait = min(wait, self._guarded(partial(self._hand_over, lane)))
            wait = min(wait, self._guarded(self._feed))
            self._read_inbox(wait)

    def _guarded(self, step: Callable[[], float]) -> float:
        """Do it; returns the seconds until it is to be done again, also where the store cannot be read."""
        try:
            return step()
        except StateError as error:
            _log.error("%s", error)
        except Exception:  # noqa: BLE001 - a fault of ours must not end the thread, and the events with it
            _log.exception("the loop of asynchronous events failed; it goes on")
        return READ_PAUSE

    def _feed(self) -> float:
        self._outbox.feed()
        return LONGEST_WAIT

    def _take_stock(self) -> float:
        """Once: of what waits from before."""
        if not self._has_taken_stock:
            for function in self._store.functions():
                self._lane(function)
            for function, kind in self._store.kinds():
                self._outbox.add(function, kind)
            self._has_taken_stock = True
            return 0.0
        return LONGEST_WAIT

    def _read_inbox(self, wait: float) -> None:
        try:
            entry = self._inbox.get(timeout=max(0.0, wait))
            while True:
                try:
                    self._take(entry)
                except Exception:  # noqa: BLE001 - as above; its event stays in the store, and comes again at the next start
                    _log.exception("an answer to an asynchronous event could not be dealt with")
                entry = self._inbox.get_nowait()
        except Empty:
            pass

    def _take(self, entry: News) -> None:
        match entry:
            case Accepted(function):
                self._lane(function).look_at = 0.0
            case Answered(event, result):
                self._answered(self._lane(event.function), event, result)
            case Written(event, functions, kinds):
                self._lane(event.function).ending.discard(event.id)
                for function in (event.function, *functions):
                    self._lane(function).look_at = 0.0
                for kind, whose in kinds:
                    self._outbox.add(whose, kind)
                self._count(-1)
            case Recorded(function, kind):
                self._outbox.add(function, kind)
            case Look():
                pass

    def _lane(self, function: str) -> Lane:
        return self._lanes.setdefault(function, Lane(function))

    def _count(self, change: int) -> None:
        with self._empty:
            self._unfinished += change
            if not self._unfinished:
                self._empty.notify_all()

    def _hand_over(self, lane: Lane) -> float:
        """Invoke what is due; returns in how many seconds there may be more to do."""
        steady = self._clock.monotonic()
        due_in = max(lane.look_at, lane.held_until) - steady
        if due_in > 0:
            return due_in
        function = self._function(lane.function, "")
        if function is None:
            return self._missing(lane)
        lane.is_missing = False
        lane.look_at = steady + READ_PAUSE  # should it not be readable
        room = lane.room(function.function.reserved_concurrent_executions)
        if not room:
            lane.look_at = steady + LONGEST_WAIT  # an answer brings it back sooner
            return LONGEST_WAIT
        now = self.now
        events = self._store.due(lane.function, now, room, lane.taken())
        for event in events:
            self._begin(lane, event, function, now)
        if len(events) == room:
            lane.look_at = 0.0
            return 0.0
        following = self._store.next_due(lane.function, lane.taken())
        wait = LONGEST_WAIT if following is None else min(max(0.0, following - now), LONGEST_WAIT)
        lane.look_at = steady + wait
        return wait

    def _missing(self, lane: Lane) -> float:
        if not lane.is_missing:
            lane.is_missing = True
            _log.warning("events of function %s wait, and there is no such function", lane.function)
        lane.look_at = self._clock.monotonic() + LONGEST_WAIT
        return LONGEST_WAIT

    def _begin(self, lane: Lane, event: StoredEvent, unqualified: AsyncFunction, now: float) -> None:
        called = self._function(event.function, event.qualifier)
        function = called or unqualified
        policy = function.asynchronous.policy(self._time_scale)
        reserved = function.function.reserved_concurrent_executions
        step = policy.before(event.standing, now=now, reserved=reserved)
        self._count(1)
        if isinstance(step, Ended):
            self._end(lane, event, step, (event.answer, event.delay), function)
            return
        self._metrics.observe("async_event_age_seconds", event.function, now - event.standing.accepted_at)
        lane.running[event.id] = event
        arn = function.function.function_arn
        arn = f"{arn}:{event.qualifier}" if event.qualifier else arn
        if called is None:  # its version or alias was deleted; somebody may make it again while the event is young
            result = error_answer(event.request_id, 500, f"Function not found: {arn}")
            self._inbox.put(Answered(event, result))
            return
        invocation = Invocation(event.request_id, event.payload, arn, client_context=event.client_context)
        function.pool.submit(invocation, lambda result: self._inbox.put(Answered(event, result)), wait=False)

    def _answered(self, lane: Lane, event: StoredEvent, result: InvocationResult) -> None:
        function = self._function(event.function, event.qualifier) or self._function(event.function, "")
        throttled = is_delay(result)
        if function is None or (throttled and self._leaving.is_set()):
            # The function is gone, or the pool has stopped: the event waits as it was.
            lane.running.pop(event.id, None)
            self._count(-1)
            return
        now = self.now
        lane.held_until = self._clock.monotonic() + SHORTEST_DELAY / self._time_scale if throttled else 0.0
        lane.look_at = 0.0
        step = function.asynchronous.policy(self._time_scale).after(event.standing, result, now=now)
        answers = answers_after(event, result)
        if isinstance(step, Again):
            text = "%s of %s %s (status %d); again in %.1f s"
            how = "was delayed" if throttled else f"failed at attempt {step.standing.attempts}"
            _log.info(text, event.request_id, event.function, how, result.status, step.due - now)
            lane.ending.add(event.id)
            self._store.postpone(event, step, answers, lambda: self._inbox.put(Written(event)))
        else:
            self._end(lane, event, step, answers, function)
        lane.running.pop(event.id, None)

    def _end(
        self,
        lane: Lane,
        event: StoredEvent,
        ended: Ended,
        answers: tuple[InvocationResult | None, InvocationResult | None],
        function: AsyncFunction,
    ) -> None:
        found = remains(
            event,
            ended,
            answers,
            function.function,
            function.asynchronous,
            now=self.now,
            wall=self._clock.time(),
            new_id=new_request_id,
            may_recur=self._may_recur,
        )
        if not ended.succeeded:
            self._metrics.count("async_events_dropped", event.function)
            condition, attempts = ended.condition, ended.attempts
            _log.warning("%s of %s is given up: %s, %d attempts", event.request_id, event.function, condition, attempts)
        for lost in found.lost:
            name = "recursive_invocations_dropped" if lost.is_recursion else "destination_delivery_failures"
            self._metrics.count(name, event.function)
            _log.error("%s of %s: %s", event.request_id, event.function, lost.why)
        functions = tuple(following.function for following in found.events)
        for name in functions:
            self._metrics.count("async_events_received", name)
        lane.ending.add(event.id)

        kinds = tuple((delivery.kind, delivery.function) for delivery in found.deliveries)

        def on_written() -> None:
            self._inbox.put(Written(event, functions, kinds))

        self._store.finish(event, found.deliveries, found.events, on_written)

    def _may_recur(self, name: str) -> bool:
        function = self._function(name, "")
        return function is not None and function.may_recur
