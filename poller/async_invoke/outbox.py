"""Brings records from the store to their destinations: each stays in the store until its destination has it.

One that its destination refuses for good is lost, and told in the log with what it says beside the payloads (B.3).
Feeds a `DestinationWorker` for each function and kind, some records at a time, so that memory is bounded however many
wait. Owned by the dispatcher's thread; the workers have their own.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from poller.assembly import destination_of
from poller.async_invoke.configuration import AsyncDestination, FunctionTarget
from poller.async_invoke.event_store import EventStore
from poller.async_invoke.rows import Delivery, Kind
from poller.async_metrics import AsyncMetrics
from poller.clock import Clock
from poller.destinations import Destination
from poller.destinations.aws import AwsDestination, AwsTarget
from poller.destinations.renewing import RenewingDestination
from poller.destinations.worker import DestinationWorker
from poller.errors import StateError
from poller.policy.async_deliveries import is_lost

MOST = 100
"""Records of a destination in memory."""

MOST_BYTES = 8 * 1024 * 1024
"""Bytes of them; a single one may be larger."""

READ_PAUSE = 1.0
"""Seconds before an unreadable store is read again."""

FAILURE_METRICS: dict[Kind, str] = {
    "OnSuccess": "destination_delivery_failures",
    "OnFailure": "destination_delivery_failures",
    "DeadLetterQueue": "dead_letter_errors",
}

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Line:
    """What goes to one destination."""

    worker: DestinationWorker
    destination: AsyncDestination
    last: int = 0
    """Row of the last record that the worker has got."""
    more: bool = True
    """Records may wait in the store behind that one."""
    not_before: float = 0.0
    """Monotonic seconds: the store could not be read."""


class Outbox:
    """Everything that is on its way.

    Args:
        store: where records wait.
        destination: what a destination of a kind is now, of whom `rows.destinations_of` names; None when it has none.
        metrics: for failed sends.
        clock: for the workers' pauses.
        on_room: called on any thread when `feed` may find something to do.
        faulty: puts before a destination what fails on purpose.
    """

    def __init__(
        self,
        store: EventStore,
        destination: Callable[[str, Kind], AsyncDestination | None],
        metrics: AsyncMetrics,
        clock: Clock,
        on_room: Callable[[], None],
        *,
        faulty: Callable[[Destination, str], Destination] = lambda destination, _: destination,
    ) -> None:
        self._store = store
        self._destination = destination
        self._metrics = metrics
        self._clock = clock
        self._on_room = on_room
        self._faulty = faulty
        self._lines: dict[tuple[str, Kind], _Line] = {}
        self._unknown: set[tuple[str, Kind]] = set()
        """Records wait for them, and they have no such destination any more."""

    def add(self, function: str, kind: Kind) -> None:
        """Records wait for that destination."""
        line = self._lines.get((function, kind))
        if line is not None:
            line.more = True
            return
        destination = self._destination(function, kind)
        if destination is None or isinstance(destination.target, FunctionTarget):
            if (function, kind) not in self._unknown:
                self._unknown.add((function, kind))
                _log.warning("records wait for %s of %s, which has none now", kind, function)
            return
        worker = self._worker(function, kind, destination)
        self._lines[function, kind] = _Line(worker, destination)
        worker.start()

    def feed(self) -> None:
        """Give the workers that have nothing what waits for them, at the destinations that functions have now."""
        for (function, kind), line in list(self._lines.items()):
            if line.destination != self._destination(function, kind):
                line.worker.stop(0)
                del self._lines[function, kind]
                self.add(function, kind)
            elif line.more and not line.worker.waiting:
                try:
                    self._fill(function, kind, line)
                except StateError as error:  # the other destinations go on
                    _log.error("%s", error)

    def _fill(self, function: str, kind: Kind, line: _Line) -> None:
        now = self._clock.monotonic()
        if now < line.not_before:
            return
        line.not_before = now + READ_PAUSE
        found = self._store.deliveries(function, kind, line.last, MOST, MOST_BYTES)
        line.not_before = 0.0
        line.more = bool(found)
        for delivery in found:
            line.last = delivery.id
            line.worker.submit([delivery.letter], self._on_done(delivery), self._on_lost(delivery, line.destination))

    def stop(self, grace: float) -> None:
        """Send what the workers have within that time; the rest comes again at the next start. Blocks."""
        deadline = self._clock.monotonic() + grace
        for line in self._lines.values():
            line.worker.stop(max(0.0, deadline - self._clock.monotonic()))

    def _on_done(self, delivery: Delivery) -> Callable[[], None]:
        return lambda: self._store.delivered(delivery, self._on_room)

    def _on_lost(self, delivery: Delivery, destination: AsyncDestination) -> Callable[[str], None]:
        def on_lost(text: str) -> None:
            told = (delivery.letter.without_payload or b"").decode()
            what = f"{delivery.kind} of {delivery.function}, {len(delivery.letter.body)} bytes"
            _log.error("%s: its record for %s to %s is lost: %s %s", delivery.request_id, what, destination, text, told)
            self._store.delivered(delivery, self._on_room)

        return on_lost

    def _worker(self, function: str, kind: Kind, destination: AsyncDestination) -> DestinationWorker:
        target = destination.target
        assert not isinstance(target, FunctionTarget)

        def on_error(text: str) -> None:
            self._metrics.count(FAILURE_METRICS[kind], function.partition(":")[0])
            _log.warning("%s of %s to %s: %s", kind, function, destination, text)

        client = (
            AwsDestination(target)
            if isinstance(target, AwsTarget)
            else RenewingDestination(target, destination_of, destination.renewed)
        )
        name = f"{function}-{kind}"
        return DestinationWorker(
            self._faulty(client, name),
            name,
            clock=self._clock,
            on_error=on_error,
            one_by_one=isinstance(client, AwsDestination),
            is_lost=is_lost,
        )
