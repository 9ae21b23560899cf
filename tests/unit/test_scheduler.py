"""The thread of the schedules, turn by turn with a clock of the test's own."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime
from typing import Any

import pytest
from scripted import FakeClock
from trigger_rig import AsyncQueue

from poller.clock import SystemClock
from poller.policy.retrying import BackOff
from poller.triggers.schedule_expressions import parse_expression
from poller.triggers.schedule_trigger import ScheduleTrigger
from poller.triggers.scheduled_events import Run, input_problem, scheduled_event
from poller.triggers.scheduler import LONGEST_WAIT, Scheduler

RULE = "arn:aws:events:us-east-1:123456789012:rule/nightly"
SCHEDULE = "arn:aws:scheduler:us-east-1:123456789012:schedule/default/nightly"
NOON = datetime(2026, 11, 25, 12, 0, tzinfo=UTC).timestamp()


def trigger(expression: str = "rate(1 minute)", function: str = "F", **values: Any) -> ScheduleTrigger:
    given = {"back_off": BackOff(first=1.0, cap=300.0, jitter=0.0), **values}
    return ScheduleTrigger(f"{function}.E", function, RULE, parse_expression(expression), **given)


class Rig:
    def __init__(self, *triggers: ScheduleTrigger, at: float = NOON + 0.5) -> None:
        self.queue, self.clock = AsyncQueue(), FakeClock()
        self.clock.wall = at
        self.scheduler = Scheduler(triggers, self.queue.accept, self.clock)

    def step(self, seconds: float = 0.0) -> float:
        self.clock.pass_(seconds)
        return self.scheduler.step()

    @property
    def times(self) -> list[str]:
        return [event["time"][11:] for _, event in self.queue.accepted]


def test_a_function_gets_an_event_when_its_time_has_come() -> None:
    rig = Rig(trigger())
    rig.step()
    rig.step(59)
    assert rig.times == []
    rig.step(1)
    rig.step(1)
    assert rig.times == ["12:01:00Z"]
    rig.step(59)
    assert rig.times == ["12:01:00Z", "12:02:00Z"]


def test_it_looks_at_the_clock_every_second_and_when_something_is_due() -> None:
    rig = Rig(trigger(), at=NOON + 30)
    assert rig.step() == LONGEST_WAIT
    assert rig.step(29.75) == pytest.approx(0.25)


def test_several_schedules_run_each_by_its_own() -> None:
    rig = Rig(trigger(function="A"), trigger("rate(2 minutes)", function="B"))
    for _ in range(4):
        rig.step(60)
    assert [name for name, _ in rig.queue.accepted] == ["A", "A", "B", "A", "A", "B"]


def test_after_the_machine_slept_one_run_follows_and_none_is_made_up(caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig(trigger())
    rig.step(8 * 3600)
    rig.step()
    assert rig.times == ["20:00:00Z"]
    assert "runs were missed, and are not made up" in caplog.text


def test_a_run_waits_for_a_disk_that_does_not_work_and_the_next_ones_do_too() -> None:
    rig = Rig(trigger())
    rig.queue.broken = True
    rig.step(60)
    rig.step(60)
    rig.queue.broken = False
    rig.step(60)
    rig.step(300)
    assert rig.times[:3] == ["12:01:00Z", "12:02:00Z", "12:03:00Z"], "in order"


def test_a_run_is_given_up_after_its_attempts(caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig(trigger("rate(1 hour)", maximum_retry_attempts=1))
    rig.queue.broken = True
    rig.step(3600)
    rig.step(1)
    assert "a run is given up after 2 attempts: the disk is full" in caplog.text
    rig.queue.broken = False
    rig.step(60)
    assert rig.times == []


def test_a_run_is_given_up_when_it_is_too_old(caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig(trigger("rate(1 hour)", maximum_event_age=60.0))
    rig.queue.broken = True
    for seconds in (3600, 1, 2, 4, 8, 16, 32):
        rig.step(seconds)
    assert "a run is given up after 6 attempts" in caplog.text


def test_a_function_that_is_gone_stops_no_other(caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig(trigger(function="Gone"), trigger(function="F"))
    rig.step(60)
    assert [name for name, _ in rig.queue.accepted] == ["F"]
    assert "Function not found" in caplog.text


def test_its_thread_starts_and_stops_and_runs_what_is_due() -> None:
    ran = threading.Event()
    due = ScheduleTrigger("F.E", "F", RULE, parse_expression("rate(1 minute)", time_scale=1200))
    scheduler = Scheduler([due], lambda *_: ran.set() or "id", SystemClock())  # type: ignore[func-returns-value]
    scheduler.start()
    scheduler.start()
    assert ran.wait(30)
    assert scheduler.alive()
    scheduler.stop()
    scheduler.stop()
    assert scheduler.alive(), "stopped on purpose"
    assert "schedules" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize("scale", [1e-300, 1e300])
def test_no_time_scale_and_no_number_makes_a_schedule_stumble(scale: float, caplog: pytest.LogCaptureFixture) -> None:
    """`rate(999999999 days)` is beyond all calendars."""
    caplog.set_level("INFO")
    far = ScheduleTrigger("Far", "F", RULE, parse_expression("rate(999999999 days)"))
    scaled = ScheduleTrigger("Scaled", "F", RULE, parse_expression("rate(1 minute)", time_scale=scale))
    rig = Rig(far, scaled)
    rig.scheduler.start()
    rig.scheduler.stop()
    assert "schedule Far runs next: never" in caplog.text
    rig.step(1)
    assert len(rig.times) <= 2


def test_runs_that_wait_for_the_disk_are_bounded(caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig(ScheduleTrigger("F.E", "F", RULE, parse_expression("rate(1 minute)", time_scale=60)))
    rig.queue.broken = True
    for _ in range(1003):
        rig.step(1)
    assert "a run is given up, as too many wait for the disk" in caplog.text
    assert len(rig.scheduler._schedules[0].waiting) <= 1000


def test_without_schedules_there_is_no_thread() -> None:
    scheduler = Scheduler([], lambda *_: "id", SystemClock())
    scheduler.start()
    assert "schedules" not in {thread.name for thread in threading.enumerate()}
    scheduler.stop()


# --- the event ------------------------------------------------------------------------------------------------------


def test_a_rule_gives_eventbridge_s_scheduled_event() -> None:
    assert json.loads(scheduled_event(RULE, None, Run("id", NOON + 0.25))) == {
        "version": "0",
        "id": "id",
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": "123456789012",
        "time": "2026-11-25T12:00:00Z",
        "region": "us-east-1",
        "resources": [RULE],
        "detail": {},
    }


def test_a_schedule_of_the_scheduler_gives_its_own() -> None:
    event = json.loads(scheduled_event(SCHEDULE, None, Run("id", NOON)))
    assert (event["source"], event["detail"], event["resources"]) == ("aws.scheduler", "{}", [SCHEDULE])


def test_an_input_takes_the_event_s_place_as_it_is() -> None:
    text = '{"a" : "<aws.scheduler.execution-id>"}'
    assert scheduled_event(RULE, text, Run("id", NOON)) == text.encode()


def test_words_in_an_input_of_the_scheduler_are_replaced() -> None:
    words = ("schedule-arn", "scheduled-time", "execution-id", "attempt-number", "other")
    given = json.dumps([f"<aws.scheduler.{word}>" for word in words])
    found = json.loads(scheduled_event(SCHEDULE, given, Run("id", NOON, 3)))
    assert found == [SCHEDULE, "2026-11-25T12:00:00Z", "id", "3", "<aws.scheduler.other>"]


def test_an_input_has_to_be_json_once_its_words_are_replaced() -> None:
    assert input_problem(SCHEDULE, "<aws.scheduler.attempt-number>") == ""
    assert input_problem(RULE, "<aws.scheduler.attempt-number>").startswith("is not JSON")
