"""The thread `scaling`: looks at each mapping once a second, and has it resized when `policy.scaling` says so (C.8)."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from poller.assembly import Assembly
from poller.mapping_plan import PollerState
from poller.mapping_runner import MappingRunner
from poller.metrics import MappingLabels, MappingMetrics
from poller.policy.scaling import LOOK_INTERVAL, Look, Scaling, scaled
from poller.policy.workers import PollerBounds
from poller.resources import EventSourceMapping
from poller.runtime.pool_stats import PoolStats

TICK = 1.0
"""Seconds between two looks at whether partitions changed and functions are at their limits."""

SHORTEST_INTERVAL = 1.0
"""Seconds between two looks at the lag at any TimeScale: pollers tell of it twice a second."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Scaled:
    """What is kept of a mapping from one tick to the next."""

    bounds: PollerBounds
    labels: MappingLabels
    metrics: MappingMetrics
    scaling: Scaling
    last_tick: float
    throttles: int
    short: float = field(default=0.0)
    """Seconds in which its function had no concurrency to spare."""


class Scaler:
    """Decides for the mappings of one control plane. `tick` is for its thread and for tests, the rest for the plane."""

    def __init__(
        self,
        runners: Callable[[], Iterable[MappingRunner]],
        bounds: Callable[[EventSourceMapping], PollerBounds | None],
        function: Callable[[str], PoolStats],
        assembly: Assembly,
    ) -> None:
        """Set up; nothing happens before `start`.

        Args:
            runners: the mappings there are now; asked at every tick.
            bounds: of a mapping here; None where nothing scales it.
            function: how a function's pool is, by its name.
            assembly: whose metrics, clock and TimeScale count: 60 makes the minute between two looks a second.
        """
        self._runners, self._bounds, self._function = runners, bounds, function
        self._metrics, self._clock = assembly.metrics, assembly.clock
        self._interval = max(SHORTEST_INTERVAL, LOOK_INTERVAL / assembly.settings.TimeScale)
        self._known: dict[str, _Scaled] = {}
        """By UUID."""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="scaling", daemon=True)

    def start(self) -> None:
        """Begin to look. Once."""
        self._thread.start()

    def stop(self) -> None:
        """Resize nothing any more. Waits for a resize that is being made, which takes no time."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(min(TICK, self._interval / 4)):
            try:
                self.tick()
            except Exception:  # noqa: BLE001 - a fault of ours must not end the scaling
                _log.exception("scaling failed; it goes on")

    def tick(self) -> None:
        """Look at every mapping that is enabled, and resize those that should have another number of pollers."""
        known, self._known = self._known, {}
        for runner in self._runners():
            mapping = runner.mapping
            bounds = self._bounds(mapping)
            if bounds is None or runner.state() != "Enabled":
                continue  # what changes begins anew afterwards
            one = known.get(mapping.UUID)
            if one is None or (one.bounds, one.labels) != (bounds, runner.snapshot().labels):
                one = self._anew(runner, bounds)
            self._known[mapping.UUID] = one
            self._scale(runner, one)

    def _anew(self, runner: MappingRunner, bounds: PollerBounds) -> _Scaled:
        labels = runner.snapshot().labels
        stats = self._function(labels.function)
        return _Scaled(
            bounds,
            labels,
            self._metrics.of_mapping(labels),
            Scaling(runner.wanted),
            self._clock.monotonic(),
            stats.throttles,
        )

    def _scale(self, runner: MappingRunner, one: _Scaled) -> None:
        before = runner.wanted
        look = self._look(runner.poller_states(), one)
        one.scaling = scaled(replace(one.scaling, pollers=before), look, one.bounds, self._interval)
        if one.scaling.pollers != before:
            text = "%d pollers instead of %d: %s"
            extra = {"mapping": one.labels.mapping}
            _log.info(text, one.scaling.pollers, before, one.scaling.reason, extra=extra)
            runner.resize(one.scaling.pollers)

    def _look(self, states: Iterable[PollerState], one: _Scaled) -> Look:
        now = self._clock.monotonic()
        stats = self._function(one.labels.function)
        if stats.waiting or stats.throttles > one.throttles:
            one.short += now - one.last_tick
        one.last_tick, one.throttles = now, stats.throttles
        reading = [state for state in states if state.standing.polling]
        lag = sum(sum((state.lag or {}).values()) - state.filling for state in reading)
        total = one.metrics.total
        return Look(
            at=now,
            partitions=max((state.partitions for state in reading if state.partitions), default=None),
            lag=max(0, lag),
            in_work=sum(state.in_work for state in reading),
            finished=total("committed_event_count"),
            invocations=stats.invocations,
            errors=stats.errors,
            busy=total("invocation_duration_seconds"),
            read=total("event_poller_throughput_in_bytes"),
            short=one.short,
        )
