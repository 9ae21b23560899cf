"""What is counted: AWS's event source mapping metrics (C.9) in snake case, as Prometheus series.

Counters of a mapping are bound once per mapping, so counting is one call per batch. Gauges are read when somebody
scrapes: `StateCollector` asks the running service.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

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


class MappingMetrics:
    """One mapping's counters and histograms. Thread-safe (the library locks)."""

    def __init__(
        self, labels: MappingLabels, counters: Mapping[str, Counter], histograms: Mapping[str, Histogram]
    ) -> None:
        self._counters = {name: counter.labels(*labels.values()) for name, counter in counters.items()}
        self._histograms = {name: histogram.labels(*labels.values()) for name, histogram in histograms.items()}

    def count(self, name: str, amount: float = 1) -> None:
        """Add to a counter of `COUNTERS`."""
        if amount:
            self._counters[name].inc(amount)

    def total(self, name: str) -> float:
        """Where a counter stands, or the sum of what was entered in a histogram."""
        series = self._counters.get(name) or self._histograms[name]
        samples = (sample for metric in series.collect() for sample in metric.samples)
        return next(sample.value for sample in samples if sample.name.endswith(("_total", "_sum")))

    def observe(self, name: str, value: float) -> None:
        """Enter a value in a histogram of `HISTOGRAMS`; a clock that went back counts as nothing."""
        self._histograms[name].observe(max(0.0, value))


class Metrics:
    """All series of one service."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call] # a second series per counter that nobody reads
        self.registry = CollectorRegistry()
        self._counters = {
            name: Counter(f"poller_{name}", text, _LABELS, registry=self.registry) for name, text in COUNTERS.items()
        }
        self._histograms = {
            name: Histogram(f"poller_{name}", text, _LABELS, buckets=buckets, registry=self.registry)
            for name, (text, buckets) in HISTOGRAMS.items()
        }

    def of_mapping(self, labels: MappingLabels) -> MappingMetrics:
        """Bind the series of one mapping. They show 0 from now on, so that rates work from the first record."""
        return MappingMetrics(labels, self._counters, self._histograms)

    def forget(self, mapping: str) -> None:
        """Show the series of a mapping no longer, whatever functions it had: it is deleted."""
        for metric in (*self._counters.values(), *self._histograms.values()):
            metric.remove_by_labels({"mapping": mapping})


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
