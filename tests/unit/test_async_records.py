"""The record of an asynchronous invocation (B.3) and the message for the dead-letter queue (B.4)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from builders import function_error, throttled

from poller.model import InvocationResult
from poller.policy.async_events import Condition, Ended
from poller.policy.async_records import EndedEvent, dead_letter, event_bridge_letter, record, record_letter

ARN = "arn:aws:lambda:eu-west-1:123456789012:function:FN:$LATEST"
NOW = 1_764_027_018.123
RESULT = InvocationResult("id", b'{"sum":3}')
NOTHING = object()


def ended(condition: Condition, attempts: int, result: InvocationResult | None, **changes: Any) -> EndedEvent:
    values = {"payload": b'{"the":"event"}', "answer": result, **changes}
    return EndedEvent("id", ARN, ended=Ended(condition, attempts), result=result, **values)


def read(event: EndedEvent) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(record(event, now=NOW))
    return found


@pytest.mark.statement(20)
def test_a_failure_s_record_is_the_one_of_the_specification() -> None:
    """B.3, G 20."""
    failure = InvocationResult("id", b'{"errorMessage":"text","errorType":"Exception"}', function_error="Unhandled")
    assert read(ended("RetriesExhausted", 3, failure)) == {
        "version": "1.0",
        "timestamp": "2025-11-24T23:30:18.123Z",
        "requestContext": {
            "requestId": "id",
            "functionArn": ARN,
            "condition": "RetriesExhausted",
            "approximateInvokeCount": 3,
        },
        "requestPayload": {"the": "event"},
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
        "responsePayload": {"errorMessage": "text", "errorType": "Exception"},
    }


@pytest.mark.statement(21)
def test_a_success_has_the_function_s_result_and_no_function_error() -> None:
    """B.3, G 21."""
    found = read(ended("Success", 1, RESULT))
    assert found["requestContext"] == {
        "requestId": "id",
        "functionArn": ARN,
        "condition": "Success",
        "approximateInvokeCount": 1,
    }
    assert found["responseContext"] == {"statusCode": 200, "executedVersion": "$LATEST"}
    assert found["responsePayload"] == {"sum": 3}


@pytest.mark.statement(23)
@pytest.mark.parametrize("earlier", [None, RESULT])
def test_zero_reserved_concurrency_has_neither_response_context_nor_response_payload(
    earlier: InvocationResult | None,
) -> None:
    """B.3, G 23: also where an attempt ran before the reserved concurrency was taken away."""
    found = read(ended("ZeroReservedConcurrency", 0, earlier))
    assert set(found) == {"version", "timestamp", "requestContext", "requestPayload"}


def test_an_event_that_was_only_throttled_has_no_response() -> None:  # B.3: present whenever an attempt ran
    assert "responseContext" not in read(ended("EventAgeExceeded", 0, throttled(), answer=None))


@pytest.mark.parametrize(
    ("payload", "shown"),
    [
        (b"", None),
        (b"null", None),
        (b"[1]", [1]),
        (b"not json", "not json"),
        (b"\xff", "\ufffd"),
        ('{"a":"ü"}'.encode(), {"a": "ü"}),
        ("[1]".encode("utf-16"), "\ufffd\ufffd[\x001\x00]\x00"),
    ],
)
def test_a_payload_that_is_not_json_never_breaks_the_record(payload: bytes, shown: object) -> None:
    assert read(ended("Success", 1, RESULT, payload=payload))["requestPayload"] == shown


def test_a_payload_that_is_nested_too_deep_to_be_read_here_goes_as_it_is() -> None:
    payload = b"[" * 100_000 + b"]" * 100_000
    assert b'"requestPayload":' + payload in record(ended("Success", 1, RESULT, payload=payload), now=NOW)


def test_a_destination_that_refuses_the_size_gets_the_record_without_payloads() -> None:
    letter = record_letter(ended("Success", 1, RESULT), now=NOW)
    assert letter.without_payload is not None
    assert set(json.loads(letter.without_payload)) == {"version", "timestamp", "requestContext", "responseContext"}


@pytest.mark.parametrize(("condition", "word"), [("Success", "Success"), ("EventAgeExceeded", "Failure")])
def test_a_bus_gets_the_record_as_the_detail_of_an_event(condition: Condition, word: str) -> None:  # B.3
    bus = "arn:aws:events:eu-west-1:123456789012:event-bus/results"
    event = ended(condition, 1, RESULT)
    letter = event_bridge_letter(event, bus_arn=bus, account="123456789012", region="eu-west-1", id_="number", now=NOW)
    found = json.loads(letter.body)
    assert found.pop("detail") == read(event)
    assert found == {
        "version": "0",
        "id": "number",
        "detail-type": f"Lambda Function Invocation Result - {word}",
        "source": "lambda",
        "account": "123456789012",
        "time": "2025-11-24T23:30:18Z",
        "region": "eu-west-1",
        "resources": [bus, ARN],
    }
    assert json.loads(letter.without_payload or b"")["detail"]["requestContext"]["condition"] == condition


@pytest.mark.statement(24)
def test_a_dead_letter_is_the_event_unchanged_with_what_went_wrong_in_its_attributes() -> None:
    """B.4, G 24."""
    letter = dead_letter(ended("RetriesExhausted", 3, function_error("boom"), payload=b' {"the" : "event"} '))
    assert letter.body == b' {"the" : "event"} '
    assert dict(letter.headers) == {"RequestID": b"id", "ErrorCode": b"200", "ErrorMessage": b"boom"}


@pytest.mark.parametrize(
    ("condition", "result", "code", "message"),
    [
        ("EventAgeExceeded", InvocationResult("id", b'{"message":"Rate Exceeded."}', 429), b"429", b"Rate Exceeded."),
        ("EventAgeExceeded", InvocationResult("id", b'{"Message":"no process"}', 500), b"500", b"no process"),
        ("EventAgeExceeded", None, b"500", b"The event is older than MaximumEventAgeInSeconds."),
        ("ZeroReservedConcurrency", None, b"429", b"The function's reserved concurrency is 0."),
        ("RetriesExhausted", InvocationResult("id", b"odd", function_error="Unhandled"), b"200", b"odd"),
        ("RetriesExhausted", InvocationResult("id", b"{}", function_error="Unhandled"), b"200", b""),
        ("RetriesExhausted", InvocationResult("id", b'{"errorMessage":[1]}', function_error="U"), b"200", b"[1]"),
    ],
)
def test_error_code_is_the_last_answer_s_status_and_error_message_its_text(
    condition: Condition, result: InvocationResult | None, code: bytes, message: bytes
) -> None:  # B.4
    headers = dict(dead_letter(ended(condition, 1, result)).headers)
    assert (headers["ErrorCode"], headers["ErrorMessage"]) == (code, message)


def test_an_error_message_is_cut_after_one_kilobyte_at_a_character_s_end() -> None:  # B.4
    headers = dict(dead_letter(ended("RetriesExhausted", 1, function_error("ü" * 600 + "x"))).headers)
    assert headers["ErrorMessage"] == ("ü" * 512).encode()
    headers = dict(dead_letter(ended("RetriesExhausted", 1, function_error("x" + "ü" * 600))).headers)
    assert headers["ErrorMessage"] == ("x" + "ü" * 511).encode()
