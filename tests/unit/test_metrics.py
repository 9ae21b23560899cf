"""AWS's event source mapping metrics, row by row of C.9: what is counted, and what is not."""

from __future__ import annotations

import threading
from itertools import pairwise
from pathlib import Path

import pytest
from builders import answer, function_error, throttled
from prometheus_client import generate_latest
from scripted import Letters, Rig

from poller.assembly import dead_letter_worker
from poller.clock import SystemClock
from poller.endpoints import FileTarget
from poller.errors import DestinationError, SourceUnavailable
from poller.metrics import COUNTERS, HISTOGRAMS, MappingLabels, MappingSnapshot, Metrics, StateCollector
from poller.model import DeadLetter, Progress
from poller.policy.batching import BatchingLimits
from poller.policy.retrying import RetryPolicy
from poller.sources import Listener

LABELS = MappingLabels("m", "f", "t")
SERIES = '{function="f",mapping="m",source="t"}'


def opened(rig: Rig) -> Rig:
    rig.poller.open()
    return rig


def shown(*snapshots: MappingSnapshot) -> str:
    metrics = Metrics()
    metrics.registry.register(StateCollector(lambda: snapshots, list))
    return generate_latest(metrics.registry).decode()


def snapshot(rig: Rig) -> MappingSnapshot:
    state = rig.poller.state
    return MappingSnapshot(LABELS, enabled=state.standing.polling, lag=state.lag or {}, held=state.held, pollers=1)


def gauge(name: str, rig: Rig) -> float:
    found = [line for line in shown(snapshot(rig)).splitlines() if line.startswith(f"poller_{name}{SERIES} ")]
    return float(found[0].split()[-1])


def test_every_series_shows_0_from_the_start_so_that_rates_work() -> None:  # C.9
    metrics = Metrics()
    metrics.of_mapping(LABELS)
    lines = generate_latest(metrics.registry).decode().splitlines()
    for name in COUNTERS:
        assert f"poller_{name}_total{SERIES} 0.0" in lines
    for name in HISTOGRAMS:
        assert f"poller_{name}_count{SERIES} 0.0" in lines


def test_a_histogram_counts_a_value_in_its_bucket_and_in_all_larger_ones() -> None:  # C.9
    metrics = Metrics()
    mapping = metrics.of_mapping(LABELS)
    for number in 1, 2, 3, 10_001:
        mapping.observe(batch_size=number)
    mapping.observe(iterator_age_seconds=-5)  # a clock that went back
    lines = generate_latest(metrics.registry).decode().splitlines()
    for le, count in ("1.0", 1), ("2.0", 2), ("5.0", 3), ("10000.0", 3), ("+Inf", 4):
        assert f'poller_batch_size_bucket{{function="f",le="{le}",mapping="m",source="t"}} {count}.0' in lines
    assert f"poller_batch_size_count{SERIES} 4.0" in lines
    assert f"poller_batch_size_sum{SERIES} 10007.0" in lines
    assert f"poller_iterator_age_seconds_sum{SERIES} 0.0" in lines
    assert 'poller_iterator_age_seconds_bucket{function="f",le="0.005",mapping="m",source="t"} 1.0' in lines


def test_a_batch_s_figures_are_entered_at_its_first_attempt() -> None:  # C.9
    rig = opened(Rig(limits=BatchingLimits(batch_size=2, window=9)))
    rig.arrive(0)
    rig.step()
    rig.arrive(1)
    rig.step(0.25)
    labels = {"mapping": "m", "function": "f", "source": "t"}

    def entered(name: str) -> tuple[float | None, float | None]:
        found = [rig.metrics.registry.get_sample_value(f"poller_{name}_{which}", labels) for which in ("count", "sum")]
        return found[0], found[1]

    assert entered("batch_size") == (1, 2)
    assert entered("batching_window_wait_seconds") == (1, 0.25)
    assert entered("iterator_age_seconds")[0] == 1


def test_a_mapping_that_comes_back_goes_on_counting_and_a_deleted_one_shows_nothing() -> None:  # C.9
    metrics = Metrics()
    metrics.of_mapping(LABELS).count("polled_event_count", 2)
    metrics.of_mapping(LABELS).count("polled_event_count", 3)
    other = MappingLabels("other", "f", "t")
    metrics.of_mapping(other).observe(batch_size=1)
    assert f"poller_polled_event_count_total{SERIES} 5.0" in generate_latest(metrics.registry).decode()
    metrics.forget("m")
    left = generate_latest(metrics.registry).decode()
    assert 'mapping="m"' not in left
    assert 'poller_batch_size_count{function="f",mapping="other",source="t"} 1.0' in left


def test_polled_event_count_is_what_was_read() -> None:  # C.9
    rig = opened(Rig())
    rig.arrive(0, 1, 2)
    rig.step()
    assert rig.counted("polled_event_count") == 3


@pytest.mark.parametrize(("matches", "filtered_out"), [(lambda _: True, 0), (lambda _: False, 3)])
def test_filtered_out_event_count_is_what_did_not_match_and_0_when_all_do(matches: object, filtered_out: int) -> None:
    # C.9
    rig = opened(Rig(matches=matches))
    rig.arrive(0, 1, 2)
    rig.step()
    text = generate_latest(rig.metrics.registry).decode()
    assert f"poller_filtered_out_event_count_total{SERIES} {filtered_out}.0" in text


def test_invoked_event_count_has_all_attempts() -> None:  # C.9
    rig = opened(Rig())
    rig.arrive(0, 1)
    rig.step()
    rig.pool.answer(function_error())
    rig.step()
    rig.step(60)
    assert rig.counted("invoked_event_count") == 4


def test_failed_invoke_event_count_has_batches_that_failed_wholly_or_partly() -> None:  # C.9
    rig = opened(Rig(report=True))
    rig.arrive(0, 1)
    rig.step()
    rig.pool.answer(function_error())
    rig.step()
    assert rig.counted("failed_invoke_event_count") == 2
    rig.step(60)
    rig.pool.answer(answer({"batchItemFailures": [{"itemIdentifier": {"partition": "t-0", "offset": 1}}]}))
    rig.step()
    assert rig.counted("failed_invoke_event_count") == 4
    rig.step(600)
    rig.pool.answer(answer())
    rig.step()
    assert rig.counted("failed_invoke_event_count") == 4
    assert rig.counted("invoke_error_count") == 0


def given_up(letters: Letters | None) -> Rig:
    rig = opened(Rig(retry=RetryPolicy(maximum_retry_attempts=0), letters=letters))
    rig.arrive(0, 1)
    rig.step()
    rig.pool.answer(function_error())
    rig.step()
    return rig


def test_dropped_event_count_is_what_was_given_up_with_no_destination() -> None:  # C.9
    rig = given_up(None)
    assert rig.counted("dropped_event_count") == 2
    assert rig.counted("on_failure_destination_delivered_event_count") == 0


def test_on_failure_destination_delivered_event_count_is_what_is_durable_there_and_is_not_dropped() -> None:  # C.9
    letters = Letters()
    rig = given_up(letters)
    assert rig.counted("on_failure_destination_delivered_event_count") == 0, "not yet"
    letters.deliver()
    rig.step()
    assert rig.counted("on_failure_destination_delivered_event_count") == 2
    assert rig.counted("dropped_event_count") == 0


def test_committed_event_count_is_what_was_committed_filtered_out_records_included() -> None:  # C.9
    rig = opened(Rig(matches=lambda value: value != b"no"))
    rig.arrive(0, 1)
    rig.arrive(2, value=b"no")
    rig.step()
    rig.pool.answer(answer())
    rig.source.commits_held_up = True
    rig.step(1)
    assert rig.counted("committed_event_count") == 0, "the broker does not have it yet"
    rig.source.commits_held_up = False
    rig.step(1)
    assert rig.counted("committed_event_count") == 3


def test_polling_error_count_has_failures_to_read(monkeypatch: pytest.MonkeyPatch) -> None:  # C.9
    rig = Rig()
    rig.source.failing = SourceUnavailable("away")
    monkeypatch.setattr(rig.poller._attention, "wait", lambda _: rig.poller.stop())
    rig.poller.run()
    assert rig.counted("polling_error_count") == 1


def test_invoke_error_count_has_invocations_that_never_reached_the_function() -> None:  # C.9
    rig = opened(Rig())
    rig.arrive(0, 1)
    rig.step()
    rig.pool.answer(throttled())
    rig.step()
    assert rig.counted("invoke_error_count") == 1, "an error of Invoke, whatever the batch holds"
    assert rig.counted("failed_invoke_event_count") == 0


def test_commit_error_count_has_commits_in_vain() -> None:  # C.9
    rig = opened(Rig())
    assert isinstance(rig.source.listener, Listener)
    rig.source.listener.commit_failed()
    assert rig.counted("commit_error_count") == 1


def test_on_failure_destination_delivery_error_count_has_each_send_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # C.9, and DestinationDeliveryFailures
    class Failing:
        """A destination that is away for the first two sends."""

        sends = 0

        def send(self, _: object) -> None:
            self.sends += 1
            if self.sends <= 2:
                raise DestinationError("away")

        def close(self) -> None:
            return

    monkeypatch.setattr("poller.assembly.destination_of", lambda _: Failing())
    monkeypatch.setattr("poller.destinations.worker.FIRST_DELAY", 0.001)
    metrics = Metrics()
    counted = metrics.of_mapping(LABELS)
    worker = dead_letter_worker(FileTarget(tmp_path / "letters"), "m", counted, SystemClock())
    worker.start()
    durable = threading.Event()
    worker.submit([DeadLetter(b"{}")], durable.set)
    assert durable.wait(30)
    worker.stop(grace=1.0)
    assert counted.total("on_failure_destination_delivery_error_count") == 2


def test_event_poller_throughput_in_bytes_has_the_bytes_of_all_records_read() -> None:  # C.9
    rig = opened(Rig(matches=lambda _: False))
    rig.arrive(0, 1, size=100)
    rig.step()
    assert rig.counted("event_poller_throughput_in_bytes") == 200


def test_offset_lag_is_from_the_first_unfinished_record_to_the_end_of_each_partition() -> None:  # C.9
    rig = opened(Rig())
    rig.source.behind = {"t-0": 5, "t-1": 0}
    rig.arrive(0, 1, 2)
    rig.step()
    assert rig.poller.state.lag == {"t-0": 8, "t-1": 0}, "5 are not read, 3 not finished"
    rig.pool.answer(answer())
    rig.step(0.5)
    assert rig.poller.state.lag == {"t-0": 6, "t-1": 0}
    text = shown(snapshot(rig))
    assert 'poller_offset_lag{function="f",mapping="m",shard="t-0",source="t"} 6.0' in text
    assert 'poller_offset_lag{function="f",mapping="m",shard="t-1",source="t"} 0.0' in text


def test_max_offset_lag_is_the_largest_and_sum_offset_lag_that_of_all_partitions() -> None:  # C.9
    rig = opened(Rig())
    rig.source.behind = {"t-0": 5, "t-1": 2}
    rig.step()
    assert (gauge("max_offset_lag", rig), gauge("sum_offset_lag", rig)) == (5, 7)


def test_a_lag_that_is_known_is_never_a_second_old() -> None:  # C.9
    rig = opened(Rig(limits=BatchingLimits(batch_size=5, window=9)))
    rig.step()
    for turn in range(1, 5):
        rig.source.behind = {"t-0": turn}
        rig.step(0.5)
        assert gauge("sum_offset_lag", rig) == turn
    assert max(rig.source.waits) <= 0.5, "no poll lasts longer"


@pytest.mark.parametrize(("seconds", "interval"), [(2**-9, 0.5), (6 * 2**-10, 1.5), (2**-6, 2.0), (0.25, 2.0)])
def test_a_broker_that_takes_long_to_tell_ends_is_asked_less_often_but_every_two_seconds(
    seconds: float, interval: float
) -> None:  # C.9
    rig = opened(Rig(limits=BatchingLimits(batch_size=1)))
    asked: list[float] = []
    looks: list[float] = []

    def lag(*, ask: bool) -> dict[str, int]:
        if ask:
            asked.append(looks[-1])
            rig.clock.pass_(seconds)
        return dict(rig.source.behind)

    def acknowledge(_: Progress) -> bool:
        rig.clock.pass_(2**-7)  # what comes before in the same turn puts nothing off
        return True

    rig.source.lag, rig.source.acknowledge = lag, acknowledge  # type: ignore[method-assign,assignment]
    began = rig.clock.now
    for turn in range(13):
        looks.append(began + turn * 0.5)
        rig.source.behind = {"t-0": turn}
        rig.step(looks[-1] - rig.clock.now)
        assert gauge("sum_offset_lag", rig) == turn, "what is known otherwise is never a second old"
        rig.arrive(turn)
        rig.step()
        rig.pool.answer(answer())
    assert {later - earlier for earlier, later in pairwise(asked)} == {interval}


def test_a_partition_that_went_to_another_poller_is_not_counted_here_any_more() -> None:  # C.9
    rig = opened(Rig())
    rig.source.behind = {"t-0": 5, "t-1": 2}
    rig.step()
    assert rig.source.listener is not None
    assert rig.source.listener.revoked(["t-0"]) == Progress()
    assert gauge("sum_offset_lag", rig) == 2, "at once, as its new poller counts it"


def test_a_queue_s_lag_is_what_is_ready() -> None:
    rig = opened(Rig(ordered=False))
    rig.source.behind = {"q": 5}
    rig.arrive(1, 2)
    rig.step()
    assert rig.poller.state.lag == {"q": 5}


def test_provisioned_pollers_is_how_many_there_are() -> None:  # C.9
    state = MappingSnapshot(LABELS, enabled=True, lag={}, held=0, pollers=3)
    assert f"poller_provisioned_pollers{SERIES} 3.0" in shown(state)


@pytest.mark.parametrize(
    "name", ["deleted_event_count", "schema_registry_error_count", "event_poller_unit", "iterator_age "]
)
def test_what_does_not_apply_has_no_series(name: str) -> None:
    """C.9: SQS's own; registries are not built; the unit of AWS's bill; streams' IteratorAge has buckets here."""
    metrics = Metrics()
    metrics.of_mapping(LABELS)
    assert f"poller_{name}" not in generate_latest(metrics.registry).decode()


def test_what_a_series_stands_at_can_be_asked() -> None:
    metrics = Metrics().of_mapping(LABELS)
    metrics.count("invoked_event_count", 3)
    metrics.count("invoked_event_count", 4)
    metrics.observe(invocation_duration_seconds=0.25)
    metrics.observe(invocation_duration_seconds=0.5)
    assert (metrics.total("invoked_event_count"), metrics.total("invocation_duration_seconds")) == (7, 0.75)
