"""What several workers report is shown as that of one service: summed, joined, and never going back."""

from __future__ import annotations

import pickle

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from poller.metrics import FunctionSnapshot, MappingLabels, MappingSnapshot, Metrics, StateCollector
from poller.workers.report import Report, Reports, State, TotalsCollector, merged_state, totals_of

LABELS = MappingLabels("F.E", "F", "t")
STATE = {
    "Mapping": "F.E",
    "State": "Enabled",
    "StateTransitionReason": "USER_INITIATED",
    "LastProcessingResult": "OK",
    "Problem": "",
}


class Worker:
    """One worker's own metrics, and what it says of them."""

    def __init__(self) -> None:
        self._metrics = Metrics()
        self._mapping = self._metrics.of_mapping(LABELS)
        self.lag = {"t-0": 0}
        self.enabled = True
        self.function = FunctionSnapshot("F", 1, 1, 0, 1, 0, 0, 0)

    def count(self, amount: int) -> None:
        self._mapping.count("polled_event_count", amount)
        self._mapping.observe(batch_size=amount)

    def report(self) -> Report:
        mapping = MappingSnapshot(LABELS, enabled=self.enabled, lag=self.lag, held=1, pollers=1)
        return Report(True, [STATE], [mapping], [self.function], totals_of(self._metrics.registry))


@pytest.fixture
def reports() -> Reports:
    own = Metrics()
    own.of_mapping(LABELS)
    return Reports(own)


def shown(reports: Reports) -> dict[str, float]:
    """What Prometheus reads, by the series' names without their labels; of buckets, those for 5."""
    registry = CollectorRegistry()
    registry.register(TotalsCollector(reports))
    registry.register(StateCollector(reports.mappings, reports.functions))
    lines = [line for line in generate_latest(registry).decode().splitlines() if not line.startswith("#")]
    return {
        line.partition("{")[0]: float(line.rpartition(" ")[2])
        for line in lines
        if "_bucket{" not in line or 'le="5.0"' in line
    }


def test_every_series_is_there_before_a_worker_has_reported(reports: Reports) -> None:  # C.9
    assert shown(reports)["poller_polled_event_count_total"] == 0
    assert shown(reports)["poller_batch_size_bucket"] == 0


def test_counters_and_histograms_are_summed(reports: Reports) -> None:
    for number, amount in ((1, 3), (2, 7)):
        worker = Worker()
        worker.count(amount)
        reports.take(number, worker.report())
    found = shown(reports)
    assert found["poller_polled_event_count_total"] == 10
    assert (found["poller_batch_size_count"], found["poller_batch_size_sum"]) == (2, 10)
    assert found["poller_batch_size_bucket"] == 1


def test_what_a_worker_had_counted_stays_when_it_ends_and_its_next_process_counts_from_0(reports: Reports) -> None:
    first, second = Worker(), Worker()
    first.count(5)
    reports.take(1, first.report())
    reports.take(2, second.report())
    seen = [shown(reports)["poller_polled_event_count_total"]]
    reports.end(1)
    seen.append(shown(reports)["poller_polled_event_count_total"])
    again = Worker()
    reports.take(1, again.report())
    seen.append(shown(reports)["poller_polled_event_count_total"])
    again.count(2)
    reports.take(1, again.report())
    reports.end(1)
    seen.append(shown(reports)["poller_polled_event_count_total"])
    assert seen == [5, 5, 5, 7]


def test_an_end_without_a_report_changes_nothing(reports: Reports) -> None:
    reports.end(1)
    assert shown(reports)["poller_polled_event_count_total"] == 0


def test_of_a_function_what_was_done_stays_and_what_is_ends_with_the_worker(reports: Reports) -> None:
    for number in (1, 2):
        worker = Worker()
        worker.function = FunctionSnapshot("F", 2, 1, 3, 4, 10, 1, 5)
        reports.take(number, worker.report())
    assert list(reports.functions()) == [FunctionSnapshot("F", 4, 2, 6, 8, 20, 2, 10)]
    reports.end(2)
    assert list(reports.functions()) == [FunctionSnapshot("F", 2, 1, 3, 8, 20, 2, 10)]


def test_partitions_of_all_workers_are_joined_and_one_queue_counts_once(reports: Reports) -> None:
    for number, lag in ((1, {"t-0": 4, "t-1": 1}), (2, {"t-1": 3, "t-2": 2})):
        worker = Worker()
        worker.lag = lag
        reports.take(number, worker.report())
    [mapping] = reports.mappings()
    assert dict(mapping.lag) == {"t-0": 4, "t-1": 3, "t-2": 2}
    assert (mapping.held, mapping.pollers, mapping.enabled) == (2, 2, True)
    assert shown(reports)["poller_sum_offset_lag"] == 9


@pytest.mark.parametrize("away", [1, 2])
def test_a_worker_that_cannot_read_knows_less_of_the_lag_than_one_that_reads(reports: Reports, away: int) -> None:
    # C.9
    for number in (1, 2):
        worker = Worker()
        worker.enabled = number != away
        worker.lag = {"t-0": 3, "t-1": 1} if worker.enabled else {"t-0": 1000, "t-2": 5}
        reports.take(number, worker.report())
    [mapping] = reports.mappings()
    assert dict(mapping.lag) == {"t-0": 3, "t-1": 1, "t-2": 5}


def test_a_report_survives_its_way_to_the_supervisor() -> None:
    report = Worker().report()
    assert pickle.loads(pickle.dumps(report)) == report


# --- states --------------------------------------------------------------------------------------------------------


def state(**changes: str) -> State:
    return {**STATE, **changes}


def test_a_mapping_is_ready_when_it_is_on_all_workers() -> None:  # C.2
    assert merged_state([state(), state()]) == STATE
    assert merged_state([state(), state(State="Creating")])["State"] == "Creating"


def test_problems_of_any_worker_are_told_and_the_same_one_once() -> None:
    one = state(Problem="no broker", StateTransitionReason="EVENT_SOURCE_AUTHN_ERROR")
    merged = merged_state([state(), one, one, state(Problem="worker 4 has ended")])
    assert merged["Problem"] == "no broker; worker 4 has ended"
    assert merged["StateTransitionReason"] == "EVENT_SOURCE_AUTHN_ERROR"


def test_a_failure_on_any_worker_is_the_last_result_and_no_records_only_where_none_had_some() -> None:
    none, failed = state(LastProcessingResult="No records processed"), "PROBLEM: Function call failed"
    assert merged_state([none, state()])["LastProcessingResult"] == "OK"
    assert merged_state([none, none])["LastProcessingResult"] == "No records processed"
    assert merged_state([state(), state(LastProcessingResult=failed)])["LastProcessingResult"] == failed
