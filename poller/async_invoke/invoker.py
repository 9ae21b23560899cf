"""Asynchronous invocation as a whole: accepts events for good, and sees to it that each is tried and told of (B.1).

Events wait in the state folder or, with the setting `AsyncQueue`, on a broker. The folder is opened at the start where
the template configures asynchronous invocation or events wait from before, else with the first event: a service that
only reads brokers needs no folder. What is wrong with either stops nothing else: events are refused with a text that
says why, and the mappings go on.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from poller.api_errors import ApiError
from poller.async_invoke.configuration import AsyncDestination
from poller.async_invoke.dispatcher import Dispatcher
from poller.async_invoke.ending import MAXIMUM_EVENT
from poller.async_invoke.event_store import EventStore
from poller.async_invoke.folder import FILE
from poller.async_invoke.lanes import AsyncFunction
from poller.async_invoke.outbox import Outbox
from poller.async_invoke.rows import Kind, StoredEvent
from poller.async_invoke.store import Store
from poller.async_invoke.waiting import WaitingEvents
from poller.async_metrics import AsyncMetrics
from poller.clock import Clock
from poller.destinations import Destination
from poller.errors import StateError, StateInUse
from poller.policy.async_events import Standing
from poller.request_ids import new_request_id

NOT_FOUND = "ResourceNotFoundException"
TOO_LARGE = "RequestTooLargeException"

_log = logging.getLogger(__name__)


class AsyncInvoker:
    """What stands behind `X-Amz-Invocation-Type: Event`. Any thread.

    Args:
        folder: the state folder.
        function: how a function is now, and its version or alias; None when there is none of that name.
        required: the template configures asynchronous invocation, so the folder must not be somebody else's.
        broker: opens the broker's queue in place of the folder; None without `AsyncQueue`.
        time_scale: of the settings.
        metrics: what is counted.
        clock: for ages and pauses.
        faulty: see `Outbox`.
    """

    def __init__(
        self,
        folder: Path,
        function: Callable[[str, str], AsyncFunction | None],
        *,
        required: bool,
        time_scale: float,
        metrics: AsyncMetrics,
        clock: Clock,
        broker: Callable[[], EventStore] | None = None,
        faulty: Callable[[Destination, str], Destination] = lambda destination, _: destination,
    ) -> None:
        self._faulty = faulty
        self._folder = folder
        self._broker = broker
        self._function = function
        self._required = required
        self._time_scale = time_scale
        self._metrics = metrics
        self._clock = clock
        self._opening = threading.Lock()
        self._running: tuple[EventStore, Dispatcher] | None = None
        self._started = False
        self._stopped = False

    def open(self) -> None:
        """Before anything else starts: take the folder, if it is needed from the start.

        Raises:
            StateInUse: another service has it, and the template needs it.
        """
        if self._broker is not None:
            self._opened()
            self._tell_what_is_left()
            return
        if not self._required and not (self._folder / FILE).exists():
            return
        try:
            self._opened()
        except StateInUse as error:
            if self._required:
                raise
            _log.warning("%s", error)
        except StateError as error:
            _log.error("%s", error)

    def start(self) -> None:
        """Begin to invoke, once the pools run. Events that were accepted before are among what is begun with."""
        with self._opening:
            self._started = True
            if self._running is not None and not self._stopped:
                self._running[1].start()

    def accept(self, function_name: str, qualifier: str, payload: bytes) -> str:
        """Take an event for good, and return its request id; blocks until it is on the disk.

        Args:
            function_name: of the template.
            qualifier: as in the call; empty where it had none.
            payload: JSON, or empty.

        Raises:
            ApiError: no such function, or an event over 1 MB.
            StateError: the disk or the state folder does not work; the event is not accepted.
        """
        function = self._function(function_name, qualifier)
        if function is None:
            arn = f"{function_name}:{qualifier or '$LATEST'}"
            raise ApiError(404, NOT_FOUND, f"Function not found: {arn}")
        if len(payload) > MAXIMUM_EVENT:
            text = (
                f"{len(payload)} byte payload is too large for the Event invocation type (limit {MAXIMUM_EVENT} bytes)"
            )
            raise ApiError(413, TOO_LARGE, text)
        store, dispatcher = self._opened()
        now = dispatcher.now
        event = StoredEvent(new_request_id(), function_name, qualifier, payload, Standing(now), now)
        store.accept(event)
        self._metrics.count("async_events_received", function_name)
        dispatcher.accepted(function_name)
        return event.request_id

    def alive(self) -> bool:
        """Whether every thread that was started still runs."""
        running = self._running
        return running is None or not self._started or self._stopped or all(part.alive for part in running)

    def states(self) -> list[dict[str, object]]:
        """The broker's queue, as `/readyz` shows mappings; empty without one."""
        running = self._running
        if self._broker is None or running is None:
            return []
        problem = running[0].problem
        state = "Creating" if problem is None else "Enabled"
        return [{"Mapping": "AsyncQueue", "State": state, "Problem": problem or ""}]

    def leave(self) -> None:
        """Hand over no more events; those that come are still accepted."""
        with self._opening:
            if self._running is not None:
                self._running[1].leave()

    def drain(self, seconds: float) -> None:
        """Let what was handed over end, within that time; before the pools stop."""
        if self._running is not None:
            self._running[1].drain(seconds)

    def stop(self, grace: float) -> None:
        """Accept nothing more, send what is on its way within the grace, and let the folder go. Blocks. Idempotent."""
        with self._opening:
            self._stopped = True
            running = self._running
        if running is not None:
            store, dispatcher = running
            dispatcher.stop(grace)
            store.close()

    def _opened(self) -> tuple[EventStore, Dispatcher]:
        with self._opening:
            if self._stopped:
                raise StateError("the service is stopping: the event is not accepted")
            if self._running is None:
                store = Store(self._folder) if self._broker is None else self._broker()
                dispatcher = Dispatcher(
                    store,
                    lambda on_room: Outbox(
                        store, self._destination, self._metrics, self._clock, on_room, faulty=self._faulty
                    ),
                    function=self._function,
                    time_scale=self._time_scale,
                    metrics=self._metrics,
                    clock=self._clock,
                )
                if self._started:
                    dispatcher.start()
                self._running = store, dispatcher
            return self._running

    def _tell_what_is_left(self) -> None:
        """Events that were accepted without the broker stay where they are."""
        left = WaitingEvents(self._folder)
        try:
            count = left.count(None, None)
        except StateError as error:
            _log.error("%s", error)
            return
        if count:
            text = "%d events or records wait in %s, and are not worked off while AsyncQueue is set"
            _log.warning(text, count, left.file)

    def _destination(self, function_name: str, kind: Kind) -> AsyncDestination | None:
        name, _, qualifier = function_name.partition(":")
        function = self._function(name, qualifier)
        return None if function is None else function.asynchronous.destination(kind)
