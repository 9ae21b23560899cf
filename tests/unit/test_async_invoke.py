"""Asynchronous invocation as a whole, with real handler processes: attempts, records, dead letters, restarts (B)."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from async_rig import Rig, in_file, lines
from waiting import eventually

from poller.api_errors import ApiError
from poller.async_invoke.configuration import AsyncConfiguration, AsyncDestination, FunctionTarget
from poller.clock import SystemClock
from poller.endpoints import FileTarget
from poller.errors import StateError, StateInUse

MINUTE = 60.0


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Callable[..., Rig]]:
    made: list[Rig] = []

    def make(configuration: AsyncConfiguration | None = None, *, scale: float = 600.0, **changes: Any) -> Rig:
        one = Rig(tmp_path, scale)
        one.add("fn", configuration, **changes)
        made.append(one)
        one.start()
        return one

    yield make
    for one in made:
        one.stop()


def failure_file(tmp_path: Path) -> Path:
    return tmp_path / "failed.jsonl"


@pytest.mark.statement(19)
def test_an_event_whose_function_always_fails_is_tried_three_times_under_one_request_id(
    rig: Callable[..., Rig], tmp_path: Path
) -> None:
    """B.1, G 19: the pauses are 60 and 120 s, here 600 times as short."""
    one = rig(AsyncConfiguration(on_failure=in_file(failure_file(tmp_path))))
    request_id = one.accept("fn", {"fail": "boom"})
    assert uuid.UUID(request_id).version == 4
    [record] = eventually(lambda: lines(failure_file(tmp_path)))
    attempts = one.attempts("fn")
    assert [attempt["id"] for attempt in attempts] == [request_id] * 3
    assert attempts[1]["at"] - attempts[0]["at"] >= MINUTE / 600
    assert attempts[2]["at"] - attempts[1]["at"] >= 2 * MINUTE / 600
    assert record["requestContext"]["condition"] == "RetriesExhausted"
    assert record["requestContext"]["approximateInvokeCount"] == 3
    eventually(lambda: not one.waiting())


@pytest.mark.statement(20)
def test_without_retries_a_failing_function_s_event_goes_to_on_failure_after_one_attempt(
    rig: Callable[..., Rig], tmp_path: Path
) -> None:
    """B.1, B.3, G 20."""
    one = rig(AsyncConfiguration(maximum_retry_attempts=0, on_failure=in_file(failure_file(tmp_path))))
    request_id = one.accept("fn", {"fail": "boom"})
    [record] = eventually(lambda: lines(failure_file(tmp_path)))
    assert len(one.attempts("fn")) == 1
    assert record["requestContext"] == {
        "requestId": request_id,
        "functionArn": "arn:aws:lambda:us-east-1:123456789012:function:fn:$LATEST",
        "condition": "RetriesExhausted",
        "approximateInvokeCount": 1,
    }
    assert record["requestPayload"] == {"fail": "boom"}
    assert record["responseContext"] == {
        "statusCode": 200,
        "executedVersion": "$LATEST",
        "functionError": "Unhandled",
    }
    assert record["responsePayload"]["errorMessage"] == "boom"
    assert one.metric("async_events_dropped_total", "fn") == 1


@pytest.mark.statement(21)
def test_on_success_gets_the_result_of_the_function(rig: Callable[..., Rig], tmp_path: Path) -> None:
    """B.3, G 21."""
    one = rig(AsyncConfiguration(on_success=in_file(tmp_path / "done")))
    one.accept("fn", {"number": 7})
    [record] = eventually(lambda: lines(tmp_path / "done"))
    assert record["requestContext"]["condition"] == "Success"
    assert record["requestContext"]["functionArn"].endswith(":function:fn:$LATEST")
    assert record["requestContext"]["approximateInvokeCount"] == 1
    assert record["responsePayload"] == {"done": 7}
    assert one.metric("async_events_received_total", "fn") == 1
    assert one.metric("async_events_dropped_total", "fn") == 0
    assert one.metric("async_event_age_seconds_count", "fn") == 1


@pytest.mark.statement(22)
def test_an_event_whose_retry_would_come_too_late_is_given_up_after_its_first_attempt(
    rig: Callable[..., Rig], tmp_path: Path
) -> None:
    """B.1, G 22."""
    one = rig(AsyncConfiguration(maximum_event_age=60.0, on_failure=in_file(failure_file(tmp_path))), scale=1.0)
    one.accept("fn", {"fail": "boom"})
    [record] = eventually(lambda: lines(failure_file(tmp_path)))
    assert record["requestContext"]["condition"] == "EventAgeExceeded"
    assert record["requestContext"]["approximateInvokeCount"] == 1
    assert record["responsePayload"]["errorMessage"] == "boom"


@pytest.mark.statement(23)
def test_with_a_reserved_concurrency_of_0_events_go_to_on_failure_untried(
    rig: Callable[..., Rig], tmp_path: Path
) -> None:
    """B.1, B.3, G 23."""
    one = rig(AsyncConfiguration(on_failure=in_file(failure_file(tmp_path))), reserved_concurrent_executions=0)
    one.accept("fn", {})
    [record] = eventually(lambda: lines(failure_file(tmp_path)))
    assert record["requestContext"]["condition"] == "ZeroReservedConcurrency"
    assert record["requestContext"]["approximateInvokeCount"] == 0
    assert not {"responseContext", "responsePayload"} & record.keys()
    assert one.attempts("fn") == []


@pytest.mark.statement(24)
def test_a_dead_letter_queue_gets_the_event_beside_on_failure_s_record(rig: Callable[..., Rig], tmp_path: Path) -> None:
    """B.4, G 24: the attributes are headers, which a file does not keep; see test_async_records and tests/contract."""
    configuration = AsyncConfiguration(
        maximum_retry_attempts=0,
        on_failure=in_file(failure_file(tmp_path)),
        dead_letter_queue=in_file(tmp_path / "dead"),
    )
    one = rig(configuration)
    one.accept("fn", {"fail": "boom", "the": "event"})
    assert eventually(lambda: lines(tmp_path / "dead")) == [{"fail": "boom", "the": "event"}]
    assert len(eventually(lambda: lines(failure_file(tmp_path)))) == 1


def test_the_next_function_gets_the_record_as_its_event(rig: Callable[..., Rig]) -> None:  # B.3
    one = rig(AsyncConfiguration(on_success=AsyncDestination(FunctionTarget("next"))))
    one.add("next")
    one.functions["next"].pool.start()
    first = one.accept("fn", {"number": 1})
    [attempt] = eventually(lambda: one.attempts("next"))
    assert attempt["event"]["requestContext"]["requestId"] == first != attempt["id"]
    assert attempt["event"]["responsePayload"] == {"done": 1}
    assert eventually(lambda: one.metric("async_events_received_total", "next")) == 1


def test_a_record_over_1_mb_cannot_become_an_event_and_is_counted(
    rig: Callable[..., Rig], caplog: pytest.LogCaptureFixture
) -> None:  # A.2, B.3
    one = rig(AsyncConfiguration(on_success=AsyncDestination(FunctionTarget("next"))))
    one.add("next")
    one.invoker.accept("fn", "", b'"' + b"x" * (1024 * 1024 - 2) + b'"')
    eventually(lambda: one.metric("destination_delivery_failures_total", "fn"))
    eventually(lambda: not one.waiting())
    assert "an asynchronous event may have 1048576" in caplog.text


def test_functions_that_hand_on_in_a_circle_are_stopped_after_sixteen(rig: Callable[..., Rig]) -> None:  # B.5
    one = rig(AsyncConfiguration(on_success=AsyncDestination(FunctionTarget("next"))))
    one.add("next", AsyncConfiguration(on_success=AsyncDestination(FunctionTarget("fn"))))
    one.functions["next"].pool.start()
    one.accept("fn", {})
    eventually(lambda: one.metric("recursive_invocations_dropped_total", "fn"))
    assert len(one.attempts("fn")) + len(one.attempts("next")) == 17


def test_a_qualifier_is_in_the_function_s_arn_and_in_the_record(rig: Callable[..., Rig], tmp_path: Path) -> None:
    one = rig(AsyncConfiguration(on_success=in_file(tmp_path / "done")))
    one.accept("fn", {}, qualifier="$LATEST")
    [record] = eventually(lambda: lines(tmp_path / "done"))
    assert record["requestContext"]["functionArn"].endswith(":fn:$LATEST")
    assert one.attempts("fn")[0]["arn"].endswith(":fn:$LATEST")


def test_a_throttled_event_waits_and_uses_up_no_attempt(rig: Callable[..., Rig], tmp_path: Path) -> None:  # B.1
    from poller.model import Invocation

    configuration = AsyncConfiguration(maximum_retry_attempts=0, on_success=in_file(tmp_path / "done"))
    one = rig(configuration, reserved_concurrent_executions=1)
    pool, gate = one.functions["fn"].pool, tmp_path / "gate"
    pool.submit(Invocation("other", json.dumps({"wait_for": str(gate)}).encode(), "arn"), lambda _: None, wait=False)
    one.accept("fn", {"number": 1})
    eventually(lambda: pool.stats().throttles >= 2)
    gate.touch()
    [record] = eventually(lambda: lines(tmp_path / "done"))
    assert record["requestContext"]["approximateInvokeCount"] == 1


def test_a_function_that_is_stuck_holds_up_no_other(rig: Callable[..., Rig], tmp_path: Path) -> None:
    one = rig()
    one.add("other")
    one.functions["other"].pool.start()
    for _ in range(30):
        one.accept("fn", {"wait_for": str(tmp_path / "gate")})
    one.accept("other", {"number": 1})
    eventually(lambda: one.attempts("other"))
    assert len(one.attempts("fn")) <= 10, "no more of a function at the same time"
    (tmp_path / "gate").touch()
    eventually(lambda: len(one.attempts("fn")) == 30)


def test_what_has_not_ended_comes_again_after_a_restart_with_its_request_id(
    rig: Callable[..., Rig], tmp_path: Path
) -> None:
    one = rig(AsyncConfiguration(on_success=in_file(tmp_path / "done")))
    request_id = one.accept("fn", {"wait_for": str(tmp_path / "gate")})
    eventually(lambda: one.attempts("fn"))
    one.stop()  # the handler is killed
    (tmp_path / "gate").touch()
    one.restart()
    [record] = eventually(lambda: lines(tmp_path / "done"))
    assert record["requestContext"]["requestId"] == request_id
    assert [attempt["id"] for attempt in one.attempts("fn")] == [request_id] * 2


def test_attempts_made_before_a_restart_still_count(rig: Callable[..., Rig], tmp_path: Path) -> None:
    failed = failure_file(tmp_path)
    one = rig(AsyncConfiguration(maximum_retry_attempts=1, on_failure=in_file(failed)), scale=20)  # 3 s between them
    one.accept("fn", {"fail": "boom"})
    eventually(lambda: one.written_down() == 1)
    one.stop(drain=30)
    assert lines(failed) == []
    one.restart()
    [record] = eventually(lambda: lines(failed))
    assert record["requestContext"]["approximateInvokeCount"] == 2
    assert len(one.attempts("fn")) == 2


def test_stopping_lets_what_runs_end_within_the_grace(rig: Callable[..., Rig], tmp_path: Path) -> None:
    import threading

    one = rig(AsyncConfiguration(on_success=in_file(tmp_path / "done")))
    one.accept("fn", {"wait_for": str(tmp_path / "gate")})
    eventually(lambda: one.attempts("fn"))
    threading.Timer(0.2, (tmp_path / "gate").touch).start()
    one.stop(drain=30)
    assert one.waiting() == 0
    assert len(lines(tmp_path / "done")) == 1


def test_a_record_stays_in_the_store_until_its_destination_has_it(rig: Callable[..., Rig], tmp_path: Path) -> None:
    missing = tmp_path / "later" / "done"
    one = rig(AsyncConfiguration(on_success=in_file(missing)))
    one.accept("fn", {"number": 1})
    eventually(lambda: one.metric("destination_delivery_failures_total", "fn"))
    assert one.waiting() == 1
    one.stop()
    assert one.waiting() == 1
    missing.parent.mkdir()
    one.restart()
    assert len(eventually(lambda: lines(missing))) == 1
    eventually(lambda: not one.waiting())
    assert len(one.attempts("fn")) == 1


def test_a_record_goes_where_its_function_s_destination_is_now(rig: Callable[..., Rig], tmp_path: Path) -> None:
    from dataclasses import replace

    one = rig(AsyncConfiguration(on_success=in_file(tmp_path / "missing" / "done")))
    one.accept("fn", {"number": 1})
    eventually(lambda: one.metric("destination_delivery_failures_total", "fn"))
    newest = AsyncConfiguration(on_success=in_file(tmp_path / "done"))
    one.functions["fn"] = replace(one.functions["fn"], asynchronous=newest)
    assert len(eventually(lambda: lines(tmp_path / "done"))) == 1
    eventually(lambda: not one.waiting())


def test_a_record_whose_destination_is_gone_waits_and_is_told(
    rig: Callable[..., Rig], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from dataclasses import replace

    one = rig(AsyncConfiguration(on_success=in_file(tmp_path / "missing" / "done")))
    one.accept("fn", {"number": 1})
    eventually(lambda: one.metric("destination_delivery_failures_total", "fn"))
    one.functions["fn"] = replace(one.functions["fn"], asynchronous=AsyncConfiguration())
    one.restart()
    eventually(lambda: "records wait for OnSuccess of fn, which has none now" in caplog.text)
    assert one.waiting() == 1


def test_a_dead_letter_that_cannot_be_sent_is_counted_by_itself(rig: Callable[..., Rig], tmp_path: Path) -> None:
    missing = AsyncDestination(FileTarget(tmp_path / "missing" / "dead"))
    one = rig(AsyncConfiguration(maximum_retry_attempts=0, dead_letter_queue=missing))
    one.accept("fn", {"fail": "boom"})
    eventually(lambda: one.metric("dead_letter_errors_total", "fn"))
    assert one.metric("destination_delivery_failures_total", "fn") == 0


def test_events_of_a_function_that_is_gone_wait_for_it(rig: Callable[..., Rig], tmp_path: Path) -> None:
    one = rig(scale=20)  # 3 s between two attempts
    one.accept("fn", {"fail_until": str(tmp_path / "gate")})
    eventually(lambda: one.written_down() == 1)
    one.stop()
    function = one.functions.pop("fn")
    one.restart()
    one.stop()
    assert one.waiting() == 1
    one.functions["fn"] = function
    (tmp_path / "gate").touch()
    one.restart()
    eventually(lambda: not one.waiting())


def test_the_configuration_is_the_one_at_the_time_of_the_attempt(rig: Callable[..., Rig], tmp_path: Path) -> None:
    one = rig(AsyncConfiguration(maximum_retry_attempts=2), scale=20)  # 3 s until the next attempt
    one.accept("fn", {"fail": "boom"})
    eventually(lambda: one.written_down() == 1)
    newest = AsyncConfiguration(maximum_retry_attempts=0, on_failure=in_file(failure_file(tmp_path)))
    one.functions["fn"] = replace(one.functions["fn"], asynchronous=newest)
    [record] = eventually(lambda: lines(failure_file(tmp_path)))
    assert record["requestContext"]["approximateInvokeCount"] == 2


class SetClock(SystemClock):
    """A wall clock that somebody sets."""

    ahead = 0.0

    def time(self) -> float:  # type: ignore[override]
        return SystemClock.time() + self.ahead


@pytest.mark.parametrize("jump", [86_400.0, -86_400.0], ids=["a day on", "a day back"])
def test_a_wall_clock_that_jumps_makes_no_event_older_and_lets_none_wait(tmp_path: Path, jump: float) -> None:
    clock = SetClock()
    one = Rig(tmp_path, 20.0, clock=clock)  # 3 s between two attempts
    one.add("fn", AsyncConfiguration(maximum_retry_attempts=1, on_failure=in_file(failure_file(tmp_path))))
    one.start()
    one.accept("fn", {"fail": "boom"})
    eventually(lambda: one.written_down() == 1)
    clock.ahead = jump
    [record] = eventually(lambda: lines(failure_file(tmp_path)))
    one.stop()
    assert record["requestContext"]["condition"] == "RetriesExhausted"
    assert record["requestContext"]["approximateInvokeCount"] == 2
    told = datetime.fromisoformat(record["timestamp"]).timestamp()
    assert abs(told - clock.time()) < 3600, "the record has the time of day"


def test_an_unknown_function_and_a_large_event_are_refused(rig: Callable[..., Rig]) -> None:  # A.2, A.3
    one = rig()
    with pytest.raises(ApiError, match="Function not found") as missing:
        one.accept("nobody", {})
    assert missing.value.status == 404
    one.invoker.accept("fn", "", b'"' + b"x" * (1024 * 1024 - 2) + b'"')
    with pytest.raises(ApiError, match="1048577 byte payload is too large") as large:
        one.invoker.accept("fn", "", b'"' + b"x" * (1024 * 1024 - 1) + b'"')
    assert large.value.status == 413


def test_a_second_service_on_the_same_folder_is_refused_with_what_to_do(
    rig: Callable[..., Rig], tmp_path: Path
) -> None:
    rig()
    second = Rig(tmp_path)
    with pytest.raises(StateInUse, match=r"in use by another poller \(process \d+\): .* StateFolder"):
        second.invoker.open()
    optional = Rig(tmp_path, required=False)
    optional.add("fn")
    optional.start()  # its mappings, if it had any, would go on
    with pytest.raises(StateInUse):
        optional.accept("fn", {})
    optional.stop()


def test_nothing_is_accepted_once_the_service_stops(rig: Callable[..., Rig]) -> None:
    one = rig()
    one.stop()
    with pytest.raises(StateError, match="stopping"):
        one.accept("fn", {})


def test_a_service_without_asynchronous_events_makes_no_folder(tmp_path: Path) -> None:
    one = Rig(tmp_path, required=False)
    one.start()
    assert one.invoker.alive()
    one.stop()
    assert not (tmp_path / "state").exists()


def test_the_folder_and_its_files_are_for_their_owner_only(rig: Callable[..., Rig], tmp_path: Path) -> None:
    one = rig()
    one.accept("fn", {})
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    for path in (tmp_path / "state").iterdir():
        assert path.stat().st_mode & 0o077 == 0, path
