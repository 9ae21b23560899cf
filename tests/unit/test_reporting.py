"""Which records failed: the tables of C.6, row by row."""

from __future__ import annotations

import json

import pytest
from builders import answer, function_error, positions, record, records, throttled

from poller.model import InvocationResult
from poller.policy.reporting import Outcome, read_outcome

KAFKA, MQ = "Kafka", "MQ"
both = pytest.mark.parametrize("source", [KAFKA, MQ])


def judge(payload: bytes, source: str = KAFKA, *, report: bool = True) -> Outcome:
    """What a reply means for a batch of three: offsets 5 to 7 of t-0, or the messages m5 to m7."""
    batch = [record(position, message_id=f"m{position}") for position in (5, 6, 7)]
    result = InvocationResult("request", payload)
    return read_outcome(batch, result, ordered=source == KAFKA, report=report)


def failures(*identifiers: object) -> bytes:
    return json.dumps({"batchItemFailures": [{"itemIdentifier": item} for item in identifiers]}).encode()


def kafka(offset: object, partition: object = "t-0") -> dict[str, object]:
    return {"partition": partition, "offset": offset}


@pytest.mark.statement(35)
@both
@pytest.mark.parametrize(
    "payload", [b"", b"null", b"{}", b'""', b'{"batchItemFailures":[]}', b'{"batchItemFailures":null}', b'{"other":1}']
)
def test_replies_that_mean_the_whole_batch_succeeded(payload: bytes, source: str) -> None:
    """C.6, first row; G 35. No reply at all and an object without the key are chosen here."""
    assert judge(payload, source) == Outcome()


@pytest.mark.statement(36)
@both
@pytest.mark.parametrize(
    ("payload", "text"),
    [
        (failures(""), "has no itemIdentifier"),
        (failures(None), "has no itemIdentifier"),
        (b'{"batchItemFailures":[{"id":5}]}', "has no itemIdentifier"),
        (b'{"batchItemFailures":[{"itemIdentifer":"m5"}]}', "has no itemIdentifier"),
        (b'{"batchItemFailures":[{}]}', "has no itemIdentifier"),
        (b'{"batchItemFailures":["m5"]}', "has no itemIdentifier"),
        (b'{"batchItemFailures":[null]}', "has no itemIdentifier"),
        (b'{"batchItemFailures":5}', "not a list"),
        (b'{"batchItemFailures":{"itemIdentifier":"m5"}}', "not a list"),
        (b'{"batchItemFailures":""}', "not a list"),
        (failures(kafka(99)), "is not in the batch"),
        (failures("m99"), "is not in the batch"),
        (failures(True), "is not in the batch"),
        (failures(5), "is not in the batch"),
        (b"<html>", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[]", "a JSON list"),
        (b'"done"', "a JSON str"),
        (b"true", "a JSON bool"),
    ],
)
def test_replies_that_mean_the_whole_batch_failed(payload: bytes, text: str, source: str) -> None:
    """C.6, second and third row; G 36. A reply that is JSON of another kind is chosen here."""
    outcome = judge(payload, source)
    assert positions(outcome.failed) == [5, 6, 7]
    assert text in outcome.problem
    assert outcome.invoked
    assert not outcome.thrown


@pytest.mark.statement(36)
@pytest.mark.parametrize(
    "identifiers",
    [
        [kafka(99)],
        [kafka(5, "u-0")],
        [kafka(5, "t-1")],
        [kafka(5), kafka(99)],
        [kafka(5), kafka(5, "t")],
        [kafka("5")],
        [kafka(5.0)],
        [kafka(True)],
        [kafka(None)],
        [kafka(5, 0)],
        [kafka(5, None)],
        [{"partition": "t-0"}],
        [{"offset": 5}],
        ["t-0:5"],
        ["m5"],
        [kafka(5), ""],
    ],
)
def test_any_unknown_topic_partition_or_offset_fails_the_whole_kafka_batch(identifiers: list[object]) -> None:
    """C.6, last row; G 36."""
    outcome = judge(failures(*identifiers))
    assert positions(outcome.failed) == [5, 6, 7]
    assert outcome.problem


@pytest.mark.statement(36)
@pytest.mark.parametrize(
    "identifiers", [["m9"], [6], [kafka(6)], [["m6"]], ["m5", "m9"], ["m5", ""], ["m5", None], ["M5"]]
)
def test_any_unknown_message_id_fails_the_whole_rabbitmq_batch(identifiers: list[object]) -> None:
    """C.6 for our extension; G 36."""
    outcome = judge(failures(*identifiers), MQ)
    assert positions(outcome.failed) == [5, 6, 7]
    assert outcome.problem


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


@pytest.mark.parametrize(
    ("source", "identifiers", "failed"),
    [
        (KAFKA, [kafka(6)], [6]),
        (KAFKA, [kafka(7), kafka(5)], [5, 7]),
        (KAFKA, [kafka(5), kafka(5)], [5]),
        (KAFKA, [kafka(5), kafka(6), kafka(7)], [5, 6, 7]),
        (KAFKA, [{**kafka(6), "topic": "t"}], [6]),
        (MQ, ["m6"], [6]),
        (MQ, ["m7", "m5"], [5, 7]),
        (MQ, ["m5", "m5"], [5]),
        (MQ, ["m5", "m6", "m7"], [5, 6, 7]),
    ],
)
def test_the_named_records_failed_and_no_others(
    source: str, identifiers: list[object], failed: list[int]
) -> None:  # C.6, last row; of a stream no more than the named is retried (unverified for Kafka)
    outcome = judge(failures(*identifiers), source)
    assert positions(outcome.failed) == failed
    assert outcome.problem == ""


def test_records_of_several_partitions_are_told_apart() -> None:  # C.6: an event may hold several
    batch = [record(5, shard="t-0"), record(5, shard="t-1")]
    result = InvocationResult("request", failures(kafka(5, "t-1")))
    [failed] = read_outcome(batch, result, ordered=True, report=True).failed
    assert failed.shard == "t-1"


def test_messages_with_one_id_fail_together_and_one_without_an_id_cannot_be_named() -> None:  # extension to C.6
    batch = [record(1, message_id="twin"), record(2, message_id="twin"), record(3)]
    named = read_outcome(batch, InvocationResult("request", failures("twin")), ordered=False, report=True)
    assert positions(named.failed) == [1, 2]
    nameless = read_outcome(batch, InvocationResult("request", failures(None)), ordered=False, report=True)
    assert positions(nameless.failed) == [1, 2, 3]


@both
@pytest.mark.parametrize("payload", [failures(kafka(5)), failures("m5"), failures(""), b"not JSON", b"[]"])
def test_the_reply_is_not_looked_at_when_the_response_type_is_not_enabled(payload: bytes, source: str) -> None:  # C.6
    assert judge(payload, source, report=False) == Outcome()


@pytest.mark.parametrize("report", [True, False])
@both
def test_an_exception_fails_the_whole_batch(source: str, report: bool) -> None:
    """C.6, second row."""
    outcome = read_outcome(records(5, 6), function_error(), ordered=source == KAFKA, report=report)
    assert positions(outcome.failed) == [5, 6]
    assert outcome.thrown


def test_a_throttle_is_no_attempt() -> None:  # C.4
    outcome = read_outcome(records(5), throttled(), ordered=True, report=True)
    assert not outcome.invoked
    assert not outcome.thrown


def test_success_needs_no_report() -> None:
    assert read_outcome(records(5), answer({"any": "thing"}), ordered=False, report=False) == Outcome()
