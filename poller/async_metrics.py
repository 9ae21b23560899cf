"""What is counted of asynchronous invocation: AWS's metrics (B.5) in snake case, as Prometheus series per function."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram

ASYNC_COUNTERS: Mapping[str, str] = {
    "async_events_received": "Events accepted for the function.",
    "async_events_dropped": "Events given up without success, whatever destination they went to.",
    "destination_delivery_failures": "Failed sends to OnSuccess or OnFailure, tried again unless refused for good.",
    "dead_letter_errors": "Failed sends to the function's dead-letter queue, tried again unless refused for good.",
    "recursive_invocations_dropped": "Records not handed on to a function, as they go round in a circle.",
}
"""Every counter of a function's asynchronous events; Prometheus sees `poller_<name>_total`."""

ASYNC_HISTOGRAMS: Mapping[str, tuple[str, tuple[float, ...]]] = {
    "async_event_age_seconds": (
        "From an event's acceptance to each of its attempts.",
        (0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60, 120, 300, 3600, 21600),
    ),
}
"""Every histogram; Prometheus sees `poller_<name>`."""


class AsyncMetrics:
    """The series of one service. Thread-safe (the library locks)."""

    def __init__(self, registry: CollectorRegistry) -> None:
        labels = ("function",)
        self._counters = {
            name: Counter(f"poller_{name}", text, labels, registry=registry) for name, text in ASYNC_COUNTERS.items()
        }
        self._histograms = {
            name: Histogram(f"poller_{name}", text, labels, buckets=buckets, registry=registry)
            for name, (text, buckets) in ASYNC_HISTOGRAMS.items()
        }

    def show(self, function: str) -> None:
        """Show 0 for a function from now on, so that rates work from its first event."""
        for counter in self._counters.values():
            counter.labels(function)

    def count(self, name: str, function: str) -> None:
        """Add one to a counter of `ASYNC_COUNTERS`."""
        self._counters[name].labels(function).inc()

    def observe(self, name: str, function: str, value: float) -> None:
        """Enter a value in a histogram; a clock that went back counts as nothing."""
        self._histograms[name].labels(function).observe(max(0.0, value))
