"""What is counted of functions over HTTP: AWS's metrics of URLs and APIs in snake case, as Prometheus series."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram

FRONT_COUNTERS: Mapping[str, str] = {
    "http_request_count": "Requests to function URLs and APIs that exist.",
    "http_4xx_count": "Those that were answered with a status from 400 to 499, by the function or before it.",
    "http_5xx_count": "Those that were answered with a status from 500 on.",
}
"""Every counter; Prometheus sees `poller_<name>_total`."""

FRONT_HISTOGRAMS: Mapping[str, tuple[str, tuple[float, ...]]] = {
    "http_request_latency_seconds": (
        "From a request's head to the end of its answer.",
        (0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900),
    ),
}
"""Every histogram; Prometheus sees `poller_<name>`."""

URL = "url"
"""Label `front` of function URLs; an API's is `http_api` or `rest_api`."""


class FrontMetrics:
    """The series of one service. Thread-safe (the library locks)."""

    def __init__(self, registry: CollectorRegistry) -> None:
        labels = ("front", "name")
        self._counters = {
            name: Counter(f"poller_{name}", text, labels, registry=registry) for name, text in FRONT_COUNTERS.items()
        }
        self._latency = {
            name: Histogram(f"poller_{name}", text, labels, buckets=buckets, registry=registry)
            for name, (text, buckets) in FRONT_HISTOGRAMS.items()
        }

    def show(self, front: str, name: str) -> None:
        """Show 0 for a function or an API from now on, so that rates work from its first request."""
        for counter in self._counters.values():
            counter.labels(front, name)

    def answered(self, front: str, name: str, status: int, seconds: float) -> None:
        """Count a request; status 0 when its client went away."""
        self._counters["http_request_count"].labels(front, name).inc()
        if 400 <= status < 500:  # noqa: PLR2004
            self._counters["http_4xx_count"].labels(front, name).inc()
        elif status >= 500:  # noqa: PLR2004
            self._counters["http_5xx_count"].labels(front, name).inc()
        self._latency["http_request_latency_seconds"].labels(front, name).observe(max(0.0, seconds))
