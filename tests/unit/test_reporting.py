"""Which records failed: the tables of C.6, row by row."""

from __future__ import annotations

import json

import pytest
from builders import answer, function_error, positions, record, records, throttled

from poller.model import InvocationResult
from poller.policy.reporting import Outcome, read_outcome


def judge(payload: bytes, *, ordered: bool = True) -> Outcome:
    batch = [record(position, message_id=f"m{position}") for position in (5, 6, 7)]
    return read_outcome(batch, InvocationResult("request", payload), ordered=ordered, report=True)


def failures(*identifiers: object) -> bytes:
    return json.dumps({"batchItemFailures": [{"itemIdentifier": item} for item in identifiers]}).encode()


def kafka(offset: object, partition: object = "t-0") -> dict[str, object]:
    return {"partition": partition, "offset": offset}


@pytest.mark.parametrize(
    "payload", [b"", b"null", b"{}", b'""', b'{"batchItemFailures":[]}', b'{"batchItemFailures":null}', b'{"other":1}']
)
def test_replies_that_mean_the_whole_batch_succeeded(payload: bytes) -> None:  # C.6, G 35
    assert judge(payload) == Outcome()


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        (failures(""), "has no itemIdentifier"),
        (failures(None), "has no itemIdentifier"),
        (b'{"batchItemFailures":[{"id":5}]}', "has no itemIdentifier"),
        (b'{"batchItemFailures":["5"]}', "has no itemIdentifier"),
        (b'{"batchItemFailures":5}', "not a list"),
        (failures(kafka(99)), "is not in the batch"),
        (failures(kafka(5, "u-0")), "is not in the batch"),
        (failures(kafka(5), kafka(99)), "is not in the batch"),
        (failures(kafka("5")), "is not in the batch"),
        (failures(kafka(True)), "is not in the batch"),
        (failures(kafka(5, 0)), "is not in the batch"),
        (failures("m5"), "is not in the batch"),
        (b"<html>", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[]", "a JSON list"),
        (b'"done"', "a JSON str"),
    ],
)
def test_replies_that_mean_the_whole_batch_failed(payload: bytes, text: str) -> None:  # C.6, G 36
    outcome = judge(payload)
    assert positions(outcome.failed) == [5, 6, 7]
    assert text in outcome.problem
    assert outcome.invoked
    assert not outcome.thrown


@pytest.mark.parametrize("depth", [990, 100_000])
@pytest.mark.parametrize("reply", ["%s", '{"batchItemFailures":[{"itemIdentifier":%s}]}'])
def test_a_reply_nested_deeper_than_can_be_read_fails_the_batch_and_not_the_loop(reply: str, depth: int) -> None:  # C.6
    payload = reply % ("[" * depth + "]" * depth)
    outcome = judge(payload.encode())
    assert positions(outcome.failed) == [5, 6, 7]
    assert outcome.problem


def test_a_wrong_identifier_of_any_length_makes_a_short_problem() -> None:  # C.6
    outcome = judge(failures("x" * 100_000))
    assert "xxx… is not in the batch" in outcome.problem
    assert len(outcome.problem) < 300


def test_the_named_kafka_records_failed_and_no_others() -> None:  # C.6
    outcome = judge(failures(kafka(7), kafka(5), kafka(5)))
    assert positions(outcome.failed) == [5, 7]
    assert outcome.problem == ""


def test_rabbitmq_messages_are_named_by_message_id() -> None:  # extension to C.6
    assert positions(judge(failures("m6"), ordered=False).failed) == [6]


@pytest.mark.parametrize("identifier", ["m9", 6, {"partition": "t-0", "offset": 6}, ["m6"]])
def test_an_unknown_message_id_fails_the_whole_rabbitmq_batch(identifier: object) -> None:  # C.6
    assert positions(judge(failures(identifier), ordered=False).failed) == [5, 6, 7]


def test_the_reply_is_not_looked_at_when_the_response_type_is_not_enabled() -> None:  # C.6
    result = InvocationResult("request", failures(kafka(5)))
    assert read_outcome(records(5), result, ordered=True, report=False) == Outcome()


def test_a_function_error_fails_the_whole_batch() -> None:  # C.6
    outcome = read_outcome(records(5, 6), function_error(), ordered=True, report=True)
    assert positions(outcome.failed) == [5, 6]
    assert outcome.thrown


def test_a_throttle_is_no_attempt() -> None:  # C.4
    outcome = read_outcome(records(5), throttled(), ordered=True, report=True)
    assert not outcome.invoked
    assert not outcome.thrown


def test_success_needs_no_report() -> None:
    assert read_outcome(records(5), answer({"any": "thing"}), ordered=False, report=False) == Outcome()
