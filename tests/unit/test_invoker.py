"""A synchronous invocation answers as Lambda's RequestResponse does (A.1, A.3)."""

import json
import uuid

import pytest
from handlers.rig import HANDLERS

from poller.invoker import invoke, why_no_json
from poller.model import FunctionConfiguration
from poller.runtime.pool import FunctionPool


@pytest.fixture
def pool():
    made = []

    def make(handler, **configuration):
        one = FunctionPool(FunctionConfiguration("fn", HANDLERS, handler, **configuration), log=lambda *_: None)
        one.start()
        made.append(one)
        return one

    yield make
    for one in made:
        one.stop()


def test_an_invocation_has_a_new_request_id_and_the_unqualified_arn(pool):  # A.1, G.1
    result = invoke(pool("basic.describe_context"), b"{}", client_context='{"custom":{"k":1}}')
    context = json.loads(result.payload)
    assert (result.status, result.executed_version, result.function_error) == (200, "$LATEST", None)
    assert uuid.UUID(result.request_id).version == 4
    assert context["aws_request_id"] == result.request_id
    assert context["invoked_function_arn"] == "arn:aws:lambda:us-east-1:123456789012:function:fn"
    assert context["client"] == [None, {"k": 1}, None]


def test_a_request_id_may_be_given(pool):
    assert invoke(pool("basic.echo"), b"[1]", request_id="mine").request_id == "mine"


def test_a_failing_handler_is_still_status_200(pool):  # A.1, G.6
    result = invoke(pool("failing.raises"), b"")
    assert (result.status, result.function_error) == (200, "Unhandled")


def test_a_throttle_is_429(pool):  # G.14
    assert invoke(pool("basic.echo", reserved_concurrent_executions=0), b"{}").status == 429


@pytest.mark.parametrize("payload", [b"{", b"\xff", b'{"a": NaN}', b"[" * 100_000, b"{\n  nothing\n}"])
def test_a_payload_that_is_not_json_is_refused_before_anything_runs(pool, payload):  # A.3, G.13
    one = pool("basic.echo")
    result = invoke(one, payload)
    body = json.loads(result.payload)
    assert (result.status, result.function_error, body["Type"]) == (400, None, "User")
    start = "Could not parse request body into json: Could not parse payload into json: "
    assert body["message"].startswith(start)
    assert "\n at [Source: REDACTED; line: " in body["message"]
    assert one.stats().invocations == 0


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        (b"NaN", "Non-standard token 'NaN'\n at [Source: REDACTED; line: 1, column: 1]"),
        (
            b'["NaN", "\\"Infinity",\n -Infinity]',
            "Non-standard token '-Infinity'\n at [Source: REDACTED; line: 2, column: 2]",
        ),
        (b'{"NaN": "-Infinity"}', None),
    ],
)
def test_numbers_that_json_has_not_are_refused_with_their_place(payload, text):  # A.3, G.13
    reason = why_no_json(payload)
    assert reason == (text and f"Could not parse request body into json: Could not parse payload into json: {text}")
