"""Handlers that do anything to their process: the error of the specification (A.4), and everybody else goes on.

Each fault is one record of a partition, with a good one behind it: when that one is handled, the pool works again.
What a handler can do to the protocol in detail is in tests/unit/test_process.py and test_environment.py.
"""

from __future__ import annotations

import json
import re

import pytest
from brokers import KafkaBroker, Produce
from faults.tally import Tally, either
from integration.harness import stack
from integration.harness.ledger import Ledger, ids_of, letters_in_file, wait_until_committed
from integration.harness.runs import Run, wait_until_gone
from integration.harness.service import Service, handler_processes
from waiting import eventually

pytestmark = pytest.mark.broker

FLOOD = either(10, 100)
"""MB."""

ERRORS = {
    "exit": ("Runtime.ExitError", "Runtime exited with error: exit status 3"),
    "die": ("Runtime.ExitError", "Runtime exited with error: signal: killed"),
    "garbage": ("Runtime.ExitError", "Runtime exited with error: signal: killed"),
    "answer_much": (
        "Function.ResponseSizeTooLarge",
        "Response payload size exceeded maximum allowed payload size (6291556 bytes).",
    ),
    "hang": ("Sandbox.Timedout", "Task timed out after 1.00 seconds"),
    "ignore_signals": ("Sandbox.Timedout", "Task timed out after 1.00 seconds"),
}


def run_of(ledger: Ledger, kafka: KafkaBroker, deeds: list[str], *, timeout: int) -> tuple[Run, str]:
    """A run over a partition in which each deed is followed by a good record."""
    topic = kafka.create_topic()
    for deed in deeds:
        fails = 1.0 if deed in ERRORS else 0.0
        bodies = ledger.bodies(1, poison=fails, does=deed, megabytes=FLOOD) + ledger.bodies(1)
        kafka.produce(topic, [Produce(body) for body in bodies])
    event = stack.kafka_event(kafka, topic, BatchSize=1, MaximumRetryAttempts=0)
    functions = {"Orders": stack.function(ledger, event, handler="misbehave.handler", Timeout=timeout)}
    extensions = {"Orders": {"OnFailure": f"file:{ledger.path.parent / 'dead'}"}}
    return Run(ledger.path.parent, ledger, stack.template(functions, extensions=extensions)), topic


def errors_told(service: Service) -> list[tuple[str, str]]:
    """Type and message of each function error, in order."""
    found = [
        re.search(r"the function failed: (\{.*\})", line["message"]) for line in service.log("the function failed")
    ]
    bodies = [json.loads(match[1]) for match in found if match]
    return [(body["errorType"], re.sub(r"^RequestId: \S+ Error: ", "", body["errorMessage"])) for body in bodies]


@pytest.mark.parametrize(
    ("deeds", "timeout"),
    [
        (["leave_child", "exit", "die", "garbage", "answer_much", "flood"], 60),
        (["hang", "ignore_signals"], 1),
    ],
    ids=["that break", "that hang"],
)
def test_handlers_are_told_as_lambda_tells_them_and_the_next_record_is_handled(
    kafka: KafkaBroker, ledger: Ledger, tally: Tally, deeds: list[str], timeout: int
) -> None:  # A.4, E.3
    run, topic = run_of(ledger, kafka, deeds, timeout=timeout)
    with run.service() as service:
        wait_until_committed(kafka, topic, topic)
        assert errors_told(service) == [ERRORS[deed] for deed in deeds if deed in ERRORS]
        # One handler waits for more; what the others were, and what they left behind, is gone.
        eventually(lambda: len(handler_processes(stack.mark(ledger))) == 1, what="the end of all but one process")
        service.wait_until_ready()
        assert service.stop() == 0
        assert service.problems() == []
    assert handler_processes(stack.mark(ledger)) == []
    letters = letters_in_file(ledger.path.parent / "dead")
    assert set(ids_of(letters)) == ledger.poison
    assert {letter.record["responseContext"]["functionError"] for letter in letters} == {"Unhandled"}
    assert ledger.missing() == set()
    assert ledger.duplicates() == 0
    tally.dead_letters += len(letters)
    tally.bad_inputs += len(deeds)
    for deed in deeds:
        tally.fault(f"handler: {deed}")


def test_a_daemon_of_a_handler_ends_with_the_service(kafka: KafkaBroker, ledger: Ledger, tally: Tally) -> None:
    run, topic = run_of(ledger, kafka, ["leave_daemon"], timeout=60)  # E.3: shutdown ends all processes
    with run.service() as service:
        wait_until_committed(kafka, topic, topic)
        assert service.stop() == 0
    tally.fault("handler: leave_daemon")
    wait_until_gone(ledger)
