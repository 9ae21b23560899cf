"""Asynchronous invocation with the setting AsyncQueue: events wait on a RabbitMQ broker (B.1).

The tests that are imported are those of the file in the state folder: the same holds on a broker.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from async_rig import Rig, in_file
from brokers import RabbitMQBroker, free_port
from handlers.rig import HANDLERS
from unit.test_async_invoke import (  # noqa: F401 - collected here, with the fixture below
    test_a_dead_letter_queue_gets_the_event_beside_on_failure_s_record,
    test_a_function_that_is_stuck_holds_up_no_other,
    test_a_throttled_event_waits_and_uses_up_no_attempt,
    test_an_event_whose_function_always_fails_is_tried_three_times_under_one_request_id,
    test_an_event_whose_retry_would_come_too_late_is_given_up_after_its_first_attempt,
    test_attempts_made_before_a_restart_still_count,
    test_events_of_a_function_that_is_gone_wait_for_it,
    test_on_success_gets_the_result_of_the_function,
    test_the_configuration_is_the_one_at_the_time_of_the_attempt,
    test_the_next_function_gets_the_record_as_its_event,
    test_what_has_not_ended_comes_again_after_a_restart_with_its_request_id,
    test_with_a_reserved_concurrency_of_0_events_go_to_on_failure_untried,
    test_without_retries_a_failing_function_s_event_goes_to_on_failure_after_one_attempt,
)
from waiting import eventually

from poller.async_invoke.amqp_topology import Topology
from poller.async_invoke.configuration import AsyncConfiguration
from poller.cli import main

pytestmark = pytest.mark.broker


@pytest.fixture
def rig(tmp_path: Path, rabbitmq: RabbitMQBroker) -> Iterator[Callable[..., Rig]]:
    made: list[Rig] = []
    logging.getLogger("pika").setLevel(
        logging.CRITICAL
    )  # as the program does; it tells of every queue that is not there

    def make(configuration: AsyncConfiguration | None = None, *, scale: float = 600.0, **changes: object) -> Rig:
        one = Rig(tmp_path, scale, queue=rabbitmq.url)
        one.add("fn", configuration, **changes)
        made.append(one)
        one.start()
        return one

    yield make
    for one in made:
        one.stop()


def template_of(folder: Path, **settings: str) -> Path:
    code = {"Code": str(HANDLERS), "Handler": "noted.handler", "Runtime": "python3.13", "FunctionName": "fn"}
    resources = {"Fn": {"Type": "AWS::Lambda::Function", "Properties": code}}
    path = folder / "template.json"
    path.write_text(json.dumps({"Resources": resources, "Metadata": {"Poller": settings}}))
    return path


def answer(capsys: pytest.CaptureFixture[str], template: Path, *arguments: str) -> Any:
    assert main(["events", *arguments, "--json", "--template", str(template)]) == 0
    return json.loads(capsys.readouterr().out)


def test_what_waits_is_counted_by_queue_and_can_be_purged(
    rig: Callable[..., Rig], tmp_path: Path, rabbitmq: RabbitMQBroker, capsys: pytest.CaptureFixture[str]
) -> None:
    one = rig(AsyncConfiguration(on_success=in_file(tmp_path / "missing" / "done")), scale=1.0)
    template = template_of(tmp_path, AsyncQueue=rabbitmq.url, AccountId=one.account)

    one.accept("fn", {"fail": "boom"})
    one.accept("fn", {"number": 1})
    eventually(lambda: one.written_down() == 1 and one.metric("destination_delivery_failures_total", "fn"))
    one.stop(grace=0.0)  # what is in its hands is not counted
    names = Topology(one.account, "us-east-1")
    counts = {line["Queue"]: line["Messages"] for line in answer(capsys, template, "list")}
    assert counts[names.delay(60_000).name] == 1
    assert counts[names.records("fn", "OnSuccess").name] == 1
    assert counts[names.events("fn").name] == 0
    assert main(["events", "list", "--template", str(template)]) == 0
    told = capsys.readouterr()
    assert names.delay(60_000).name in told.out
    assert "2 waiting on RabbitMQ at 127.0.0.1:" in told.err
    assert "guest" not in told.out + told.err

    assert main(["events", "show", "id", "--template", str(template)]) == 2
    assert main(["events", "purge", "--request-id", "id", "--template", str(template)]) == 2
    assert "its queues let nobody look at or take out a single one" in capsys.readouterr().err
    assert main(["events", "purge", "--template", str(template)]) == 2
    assert "--yes: is missing" in capsys.readouterr().err
    assert answer(capsys, template, "purge", "--function", "fn", "--yes") == {"Purged": 1}
    assert answer(capsys, template, "list", "--function", "fn") == [
        {"Queue": names.events("fn").name, "FunctionName": "fn", "WaitsFor": "attempt", "Messages": 0},
        {
            "Queue": names.records("fn", "OnSuccess").name,
            "FunctionName": "fn",
            "WaitsFor": "OnSuccess",
            "Messages": 0,
        },
    ]
    assert main(["events", "purge", "--yes", "--template", str(template)]) == 0
    assert "purged: 1 from RabbitMQ at" in capsys.readouterr().out
    assert answer(capsys, template, "list", "--state-folder", str(tmp_path / "state")) == []


def test_a_broker_that_cannot_be_asked_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    template = template_of(tmp_path, AsyncQueue=f"amqp://guest:top-secret@127.0.0.1:{free_port()}")
    assert main(["events", "list", "--template", str(template)]) == 1
    told = capsys.readouterr().err
    assert "the broker of AsyncQueue cannot be asked: " in told
    assert "Connection refused" in told
    assert "top-secret" not in told
