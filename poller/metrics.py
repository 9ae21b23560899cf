"""What is counted: AWS's event source mapping metrics (C.9) in snake case, as Prometheus series.

Counting is one call per batch and number. When somebody scrapes, `Metrics` shows what was counted, and `StateCollector`
asks the running service for gauges.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import inf
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

_LABELS = ("mapping", "function", "source")

COUNTERS: Mapping[str, str] = {
    "polled_event_count": "Records read from the source.",
    "filtered_out_event_count": "Records that matched no filter.",
    "invoked_event_count": "Records handed to the function, all attempts.",
    "failed_invoke_event_count": "Records of batches that failed, wholly or partly.",
    "dropped_event_count": "Records given up with no destination; a destination that fails is tried again instead.",
    "rejected_event_count": "Messages refused for good, for the broker's dead-letter exchange.",
    "on_failure_destination_delivered_event_count": "Records whose dead letter is durable.",
    "committed_event_count": "Positions committed (Kafka) or messages acknowledged (RabbitMQ).",
    "event_poller_throughput_in_bytes": "Bytes of the records read, as they stand in the event.",
    "polling_error_count": "Failures to read from the source.",
    "invoke_error_count": "Invocations that were throttled or failed through no fault of the function.",
    "commit_error_count": "Commits that failed or that a rebalance held up (Kafka); each is tried again.",
    "on_failure_destination_delivery_error_count": "Failed sends to the on-failure destination; each is tried again.",
}
"""Every counter of a mapping; Prometheus sees `poller_<name>_total`."""

HISTOGRAMS: Mapping[str, tuple[str, tuple[float, ...]]] = {
    "batch_size": ("Records of an invoked batch.", (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000)),
    "batching_window_wait_seconds": (
        "From a batch's first record taken up to its first invocation.",
        (0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
    ),
    "invocation_duration_seconds": (
        "Time in the handler.",
        (0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 900),
    ),
    "iterator_age_seconds": (
        "Age of a batch's last record when it is invoked.",
        (0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60, 300, 3600, 86400),
    ),
}
"""Every histogram of a mapping; Prometheus sees `poller_<name>`."""


@dataclass(frozen=True, slots=True)
class MappingLabels:
    """Who a series belongs to."""

    mapping: str
    function: str
    source: str
    """Topic or queue."""

    def values(self) -> tuple[str, str, str]:
        """In the order of the label names."""
        return self.mapping, self.function, self.source


class _Entered:
    """What was entered in one histogram. Changed with its mapping's lock."""

    __slots__ = ("bounds", "numbers", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        """The largest value of each bucket but the last, which has none."""
        self.numbers = [0] * (len(bounds) + 1)
        """Of values in each bucket."""
        self.sum = 0.0

    def buckets(self) -> list[tuple[str, float]]:
        """As Prometheus shows them: how many values are no larger than each bound."""
        names = map(floatToGoString, (*self.bounds, inf))
        return list(zip(names, map(float, accumulate(self.numbers)), strict=True))


class MappingMetrics:
    """One mapping's counters and histograms. Thread-safe.

    Numbers of our own that are shown when somebody asks: each batch counts ten times, and the library makes several
    calls for each number.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = dict.fromkeys(COUNTERS, 0.0)
        self._entered = {name: _Entered(bounds) for name, (_, bounds) in HISTOGRAMS.items()}

    def count(self, name: str, amount: float = 1) -> None:
        """Add to a counter of `COUNTERS`."""
        if amount:
            with self._lock:
                self._counts[name] += amount

    def total(self, name: str) -> float:
        """Where a counter stands, or the sum of what was entered in a histogram."""
        return self._counts[name] if name in self._counts else self._entered[name].sum

    def observe(self, **values: float) -> None:
        """Enter values in histograms, by names of `HISTOGRAMS`; a clock that went back counts as nothing."""
        with self._lock:
            for name, value in values.items():
                entered = self._entered[name]
                if value > 0:
                    entered.numbers[bisect_left(entered.bounds, value)] += 1
                    entered.sum += value
                else:
                    entered.numbers[0] += 1

    def show(self, name: str, labels: Sequence[str], family: CounterMetricFamily | HistogramMetricFamily) -> None:
        """Add this mapping's numbers of that name to what is shown."""
        if isinstance(family, CounterMetricFamily):
            family.add_metric(labels, self._counts[name])
            return
        entered = self._entered[name]
        with self._lock:
            buckets, total = entered.buckets(), entered.sum
        family.add_metric(labels, buckets, total)


class Metrics(Collector):
    """All series of one service."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call] # a second series per counter that nobody reads
        self.registry = CollectorRegistry()
        self._lock = threading.Lock()
        self._mappings: dict[MappingLabels, MappingMetrics] = {}
        self.registry.register(self)

    def of_mapping(self, labels: MappingLabels) -> MappingMetrics:
        """The series of one mapping. They show 0 from now on, so that rates work from the first record."""
        with self._lock:
            return self._mappings.setdefault(labels, MappingMetrics())

    def forget(self, mapping: str) -> None:
        """Show the series of a mapping no longer, whatever functions it had: it is deleted."""
        with self._lock:
            self._mappings = {labels: kept for labels, kept in self._mappings.items() if labels.mapping != mapping}

    def collect(self) -> Iterable[Metric]:
        """Called by the registry at a scrape, on the API's thread."""
        families: dict[str, CounterMetricFamily | HistogramMetricFamily] = {
            name: CounterMetricFamily(f"poller_{name}", text, labels=_LABELS) for name, text in COUNTERS.items()
        }
        families |= {
            name: HistogramMetricFamily(f"poller_{name}", text, labels=_LABELS)
            for name, (text, _) in HISTOGRAMS.items()
        }
        with self._lock:
            mappings = list(self._mappings.items())
        for name, family in families.items():
            for labels, metrics in mappings:
                metrics.show(name, labels.values(), family)
        yield from families.values()


@dataclass(frozen=True, slots=True)
class MappingSnapshot:
    """A mapping at the moment of a scrape."""

    labels: MappingLabels
    enabled: bool
    lag: Mapping[str, int]
    """Records behind, per shard."""
    held: int
    """Records taken up and not finished."""
    pollers: int


@dataclass(frozen=True, slots=True)
class FunctionSnapshot:
    """A function's pool at the moment of a scrape."""

    function: str
    environments: int
    busy: int
    waiting: int
    cold_starts: int
    invocations: int
    errors: int
    throttles: int
    provisioned_concurrency: int = 0
    provisioned_concurrency_available: int = 0


class StateCollector(Collector):
    """Gauges that are asked for, not kept: pool sizes, lag, states."""

    def __init__(
        self,
        mappings: Callable[[], Iterable[MappingSnapshot]],
        functions: Callable[[], Iterable[FunctionSnapshot]],
    ) -> None:
        self._mappings = mappings
        self._functions = functions

    def collect(self) -> Iterable[Metric]:
        """Called by the registry at a scrape, on the API's thread."""
        yield from self._collect_mappings()
        yield from self._collect_functions()

    def _collect_mappings(self) -> Iterable[Metric]:
        gauges = {
            name: GaugeMetricFamily(f"poller_{name}", text, labels=_LABELS)
            for name, text in {
                "mapping_enabled": "1 while the mapping reads its source.",
                "max_offset_lag": "Records behind, of the shard that is furthest behind.",
                "sum_offset_lag": "Records behind, of all shards that this service reads.",
                "held_event_count": "Records taken up and not finished.",
                "provisioned_pollers": "Pollers of the mapping in this service, provisioned or not.",
            }.items()
        }
        by_shard = GaugeMetricFamily("poller_offset_lag", "Records behind, per shard.", labels=(*_LABELS, "shard"))
        for mapping in self._mappings():
            labels = mapping.labels.values()
            gauges["mapping_enabled"].add_metric(labels, mapping.enabled)
            gauges["max_offset_lag"].add_metric(labels, max(mapping.lag.values(), default=0))
            gauges["sum_offset_lag"].add_metric(labels, sum(mapping.lag.values()))
            gauges["held_event_count"].add_metric(labels, mapping.held)
            gauges["provisioned_pollers"].add_metric(labels, mapping.pollers)
            for shard, lag in mapping.lag.items():
                by_shard.add_metric((*labels, shard), lag)
        yield from gauges.values()
        yield by_shard

    def _collect_functions(self) -> Iterable[Metric]:
        gauges = {
            "environments": "Execution environments that are up.",
            "busy": "Execution environments with an invocation: ConcurrentExecutions.",
            "waiting": "Invocations that wait for an environment.",
            "provisioned_concurrency": "Execution environments that are to be kept initialised.",
            "provisioned_concurrency_available": "Those of them that are.",
        }
        counters = {
            "cold_starts": "Execution environments started.",
            "invocations": "Invocations that reached the handler.",
            "errors": "Invocations that ended in a function error.",
            "throttles": "Invocations refused for want of concurrency.",
        }
        families: dict[str, GaugeMetricFamily | CounterMetricFamily] = {
            name: GaugeMetricFamily(f"poller_function_{name}", text, labels=("function",))
            for name, text in gauges.items()
        }
        families |= {
            name: CounterMetricFamily(f"poller_function_{name}", text, labels=("function",))
            for name, text in counters.items()
        }
        for function in self._functions():
            for name, family in families.items():
                family.add_metric((function.function,), getattr(function, name))
        yield from families.values()
