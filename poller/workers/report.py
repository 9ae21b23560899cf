"""What workers report, and the reports of all as those of one service: sums, unions, and what ended workers counted."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.registry import Collector

from poller.mapping_plan import FAILED, NO_RECORDS, OK
from poller.metrics import FunctionSnapshot, MappingSnapshot, Metrics

Series = tuple[str, tuple[tuple[str, str], ...]]
"""Name and labels of a sample."""

Totals = Mapping[str, Mapping[Series, float]]
"""Samples of counters and histograms by their family; all of them only grow."""

State = Mapping[str, object]
"""A mapping as `/readyz` shows it."""


@dataclass(frozen=True, slots=True)
class Report:
    """A worker at one moment."""

    alive: bool
    """Whether every thread that should run does."""
    states: Sequence[State]
    mappings: Sequence[MappingSnapshot]
    functions: Sequence[FunctionSnapshot]
    totals: Totals


def totals_of(registry: CollectorRegistry) -> Totals:
    """The samples of a registry that holds counters and histograms only."""
    return {
        family.name: {(sample.name, tuple(sample.labels.items())): sample.value for sample in family.samples}
        for family in registry.collect()
    }


class Reports:
    """The last report of each worker, and the totals of those that ended. Any thread; nothing blocks.

    Totals never go back: what a worker had reported stays when it ends. What it counted after its last report is lost
    with it.
    """

    def __init__(self, own: Metrics) -> None:
        """Nothing yet; `own` has every series of the service at 0, so that all are there from the start."""
        self._own = own
        self._lock = threading.Lock()
        self._last: dict[int, Report] = {}
        self._past = totals_of(own.registry)
        self._past_functions: dict[str, FunctionSnapshot] = {}

    def take(self, worker: int, report: Report) -> None:
        """A worker's report, in place of its last one."""
        with self._lock:
            self._last[worker] = report

    def end(self, worker: int) -> None:
        """The worker has ended; whoever takes its place counts from 0."""
        with self._lock:
            report = self._last.pop(worker, None)
            if report is not None:
                self._past = _sum_totals([self._past, report.totals])
                # How an ended worker was is gone with it; what it has done stays.
                done = [_done_by(function) for function in report.functions]
                self._past_functions = _sum_functions([*self._past_functions.values(), *done])

    def last(self) -> dict[int, Report]:
        """By worker; none of a worker that has not reported since its start."""
        with self._lock:
            return dict(self._last)

    def totals(self) -> Totals:
        """Of all workers, past and present."""
        with self._lock:
            return _sum_totals([self._past, *(report.totals for report in self._last.values())])

    def functions(self) -> Iterable[FunctionSnapshot]:
        """Sums over the workers."""
        with self._lock:
            reported = [function for report in self._last.values() for function in report.functions]
            return _sum_functions([*self._past_functions.values(), *reported]).values()

    def mappings(self) -> Iterable[MappingSnapshot]:
        """Sums over the workers, save for the lag.

        Partitions belong to one worker at a time, and a queue is the same whoever looks at it: so the lag of a shard
        is the largest that is told by those that read, not a sum.
        """
        merged: dict[str, MappingSnapshot] = {}
        for report in self.last().values():
            for other in report.mappings:
                one = merged.get(other.labels.mapping)
                merged[other.labels.mapping] = other if one is None else _join(one, other)
        return merged.values()

    def families(self) -> Iterable[Metric]:
        """Counters and histograms as Prometheus shows them."""
        totals = self.totals()
        for family in self._own.registry.collect():
            family.samples = []
            for (name, labels), value in totals.get(family.name, {}).items():
                family.add_sample(name, dict(labels), value)
            yield family


class TotalsCollector(Collector):
    """The workers' counters and histograms for a registry."""

    def __init__(self, reports: Reports) -> None:
        self._reports = reports

    def collect(self) -> Iterable[Metric]:
        """Called by the registry at a scrape, on the API's thread."""
        return self._reports.families()


def _sum_totals(several: Iterable[Totals]) -> Totals:
    summed: dict[str, dict[Series, float]] = {}
    for totals in several:
        for family, samples in totals.items():
            into = summed.setdefault(family, {})
            for series, value in samples.items():
                into[series] = into.get(series, 0.0) + value
    return summed


def _done_by(function: FunctionSnapshot) -> FunctionSnapshot:
    """What only grows."""
    return replace(
        function, environments=0, busy=0, waiting=0, provisioned_concurrency=0, provisioned_concurrency_available=0
    )


def _sum_functions(several: Iterable[FunctionSnapshot]) -> dict[str, FunctionSnapshot]:
    summed: dict[str, FunctionSnapshot] = {}
    names = [field.name for field in fields(FunctionSnapshot) if field.name != "function"]
    for other in several:
        one = summed.get(other.function)
        summed[other.function] = (
            replace(one, **{name: getattr(one, name) + getattr(other, name) for name in names}) if one else other
        )
    return summed


def _join(one: MappingSnapshot, other: MappingSnapshot) -> MappingSnapshot:
    if one.enabled == other.enabled:
        lag = {**one.lag, **{shard: max(lag, one.lag.get(shard, 0)) for shard, lag in other.lag.items()}}
    else:  # a worker that cannot read tells what was before: who reads knows better
        reading, old = (one, other) if one.enabled else (other, one)
        lag = {**old.lag, **reading.lag}
    return replace(
        one,
        enabled=one.enabled or other.enabled,
        lag=lag,
        held=one.held + other.held,
        pollers=one.pollers + other.pollers,
    )


def merged_state(states: Sequence[State]) -> State:
    """One mapping's state over the workers that poll it, at least one: ready when it is ready on all of them."""
    first = states[0]
    results = {state["LastProcessingResult"] for state in states}
    reasons = [state["StateTransitionReason"] for state in states]
    return {
        **first,
        "State": next((state["State"] for state in states if state["State"] == "Creating"), first["State"]),
        "StateTransitionReason": next((reason for reason in reasons if reason != "USER_INITIATED"), reasons[0]),
        "LastProcessingResult": next((result for result in (FAILED, OK) if result in results), NO_RECORDS),
        "Problem": "; ".join(dict.fromkeys(str(state["Problem"]) for state in states if state["Problem"])),
    }
