"""Lambda's Runtime API as a table: what each call answers in each state, and what it means (E.1)."""

import base64
import json

import pytest

from poller.model import MAXIMUM_RESPONSE
from poller.runtime.http_wire import Reply, Request
from poller.runtime.runtime_api import (
    ACCEPTED,
    MAXIMUM_STREAM,
    TRANSITIONS,
    Call,
    Event,
    RuntimeApi,
    State,
    in_a_header,
    valid_error_type,
)

BASE = "/2018-06-01/runtime"
EVENT = Event("id-1", "invocation-1", b'{"a": 1}', 1764064800.123, "arn:aws:lambda:r:a:function:f", "Root=1-2-3")
CALLS = {
    Call.NEXT: ("GET", "/invocation/next"),
    Call.RESPONSE: ("POST", "/invocation/id-1/response"),
    Call.ERROR: ("POST", "/invocation/id-1/error"),
    Call.INIT_ERROR: ("POST", "/init/error"),
    Call.RESTORE_NEXT: ("GET", "/restore/next"),
    Call.RESTORE_ERROR: ("POST", "/restore/error"),
}
WAYS = {  # the calls that lead to a state
    State.STARTED: (),
    State.READY: (Call.NEXT,),
    State.RUNNING: (Call.NEXT, EVENT),
    State.RESPONSE_SENT: (Call.NEXT, EVENT, Call.RESPONSE),
    State.INIT_ERROR: (Call.INIT_ERROR,),
    State.RESTORING: (Call.RESTORE_NEXT,),
    State.RESTORE_ERROR: (Call.RESTORE_NEXT, Call.RESTORE_ERROR),
}


def request(call, body=b"", *, headers=None, size=None, trailers=None):
    method, path = CALLS[call] if isinstance(call, Call) else call
    size = len(body) if size is None else size
    return Request(method, BASE + path, headers or {}, body, size, trailers or {}, keep_alive=True)


def api_in(state):
    api = RuntimeApi()
    for step in WAYS[state]:
        if isinstance(step, Event):
            api.offer(step, asked=True)
            assert api.deliver() is not None
        else:
            api.handle(request(step))
    assert api.state is state
    return api


@pytest.mark.parametrize("call", Call)
@pytest.mark.parametrize("state", State)
def test_every_call_in_every_state_is_allowed_or_403(state, call):
    api = api_in(state)
    answer = api.handle(request(call, b"{}"))
    wanted = TRANSITIONS.get((state, call))
    if wanted is not None:
        assert api.state is wanted
        assert answer.reply is None or answer.reply.status in {200, 202}
        return
    assert api.state is state
    assert answer.outcome is None
    if call in {Call.RESPONSE, Call.ERROR} and state not in {State.RUNNING, State.RESPONSE_SENT}:
        assert error_of(answer) == (400, "InvalidRequestID", "Invalid request ID")  # there is no event yet
    else:
        status, error_type, text = error_of(answer)
        assert (status, error_type) == (403, "InvalidStateTransition")
        assert text == (
            f"State transition from {state.value} to {call.value} failed for runtime. "
            "Error: State transition is not allowed"
        )


def error_of(answer):
    body = json.loads(answer.reply.body)
    assert list(body) == ["errorMessage", "errorType"]
    return answer.reply.status, body["errorType"], body["errorMessage"]


def test_the_first_call_for_an_event_ends_the_init_and_waits():
    api = RuntimeApi()
    answer = api.handle(request(Call.NEXT))
    assert answer.reply is None
    assert answer.outcome.header["type"] == "ready"
    assert api.deliver() is None


def test_an_event_comes_with_its_headers():
    api = api_in(State.READY)
    api.offer(EVENT, asked=True)
    reply = api.deliver()
    assert (reply.status, reply.body) == (200, b'{"a": 1}')
    assert dict(reply.headers) == {
        "Content-Type": "application/json",
        "Lambda-Runtime-Aws-Request-Id": "id-1",
        "Lambda-Runtime-Deadline-Ms": "1764064800123",
        "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:r:a:function:f",
        "Lambda-Runtime-Trace-Id": "Root=1-2-3",
        "Lambda-Runtime-Invocation-Id": "invocation-1",
    }
    more = EVENT._replace(client_context='{"custom":1}', cognito_identity='{"cognitoIdentityId":"i"}').reply().headers
    assert dict(more)["Lambda-Runtime-Client-Context"] == '{"custom":1}'
    assert dict(more)["Lambda-Runtime-Cognito-Identity"] == '{"cognitoIdentityId":"i"}'


def test_an_event_that_was_offered_before_the_call_is_answered_at_once():
    api = api_in(State.RESPONSE_SENT)
    api.offer(EVENT._replace(request_id="id-2"), asked=False)
    assert api.undelivered
    answer = api.handle(request(Call.NEXT))
    assert dict(answer.reply.headers)["Lambda-Runtime-Aws-Request-Id"] == "id-2"
    assert answer.outcome is None
    assert not api.undelivered


def test_a_second_call_that_waits_gets_the_next_event():
    api = api_in(State.RESPONSE_SENT)
    api.offer(EVENT._replace(request_id="id-2"), asked=True)
    assert api.deliver() is not None


def test_asking_again_for_an_event_in_work_gives_the_same():
    api = api_in(State.RUNNING)
    first = api.handle(request(Call.NEXT)).reply
    assert first == EVENT.reply()
    assert api.state is State.RUNNING


def test_a_response_is_accepted_and_handed_on_untouched():
    answer = api_in(State.RUNNING).handle(
        request(Call.RESPONSE, b"\x00\xff", headers={"content-type": "application/unknown"})
    )
    assert answer.reply == ACCEPTED == Reply(202, (("Content-Type", "application/json"),), b'{"status":"OK"}\n')
    assert answer.outcome.payload == b"\x00\xff"
    assert answer.outcome.header == {
        "type": "response",
        "request_id": "id-1",
        "streamed": False,
        "content_type": "application/unknown",
    }


@pytest.mark.parametrize(("call", "kind"), [(Call.ERROR, "error"), (Call.INIT_ERROR, "init_error")])
@pytest.mark.parametrize(
    ("error_type", "reported"),
    [
        ("Runtime.ImportModuleError", "Runtime.ImportModuleError"),
        ("Function.Mine", "Function.Mine"),
        ("Runtime.lower", "Runtime.Unknown"),
        ("Runtime.", "Runtime.Unknown"),
        ("ValueError", "Function.Unknown"),
        ("Function.x1", "Function.Unknown"),
        (None, "Function.Unknown"),
    ],
)
def test_an_error_object_is_handed_on_untouched_with_a_type_of_awss_pattern(call, kind, error_type, reported):
    api = api_in(State.RUNNING if call is Call.ERROR else State.STARTED)
    headers = {} if error_type is None else {"lambda-runtime-function-error-type": error_type}
    answer = api.handle(request(call, b"my own words", headers=headers))
    assert answer.reply == ACCEPTED
    assert answer.outcome.payload == b"my own words"
    assert (answer.outcome.header["type"], answer.outcome.header["error_type"]) == (kind, reported)
    assert valid_error_type(error_type or "") == reported


@pytest.mark.parametrize("call", [Call.RESPONSE, Call.ERROR])
def test_another_request_id_is_400_whatever_the_state(call):
    for state in State:
        api = api_in(state)
        method, path = CALLS[call]
        answer = api.handle(request((method, path.replace("id-1", "id-9")), b"{}"))
        assert error_of(answer) == (400, "InvalidRequestID", "Invalid request ID")
        assert (answer.outcome, api.state) == (None, state)


def test_another_invocation_id_is_400_and_the_right_one_is_optional():
    header = "lambda-runtime-invocation-id"
    wrong = api_in(State.RUNNING).handle(request(Call.RESPONSE, headers={header: "other"}))
    assert error_of(wrong)[:2] == (400, "InvalidInvocationId")
    for headers in ({}, {header: "invocation-1"}):
        assert api_in(State.RUNNING).handle(request(Call.RESPONSE, headers=headers)).reply == ACCEPTED


@pytest.mark.parametrize("call", [Call.RESPONSE, Call.ERROR])
def test_a_body_above_the_ceiling_is_413_and_the_functions_error(call):  # A.2
    api = api_in(State.RUNNING)
    assert api_in(State.RUNNING).handle(request(call, size=MAXIMUM_RESPONSE)).reply == ACCEPTED
    answer = api.handle(request(call, size=MAXIMUM_RESPONSE + 1))
    assert error_of(answer) == (
        413,
        "RequestEntityTooLarge",
        f"Exceeded maximum allowed payload size ({MAXIMUM_RESPONSE} bytes).",
    )
    assert answer.outcome.header["error_type"] == "Function.ResponseSizeTooLarge"
    assert json.loads(answer.outcome.payload) == {
        "errorMessage": f"Response payload size exceeded maximum allowed payload size ({MAXIMUM_RESPONSE} bytes).",
        "errorType": "Function.ResponseSizeTooLarge",
    }
    assert api.state is State.RESPONSE_SENT


def test_an_error_of_init_above_the_ceiling_is_accepted_and_told_as_such():  # A.2
    answer = api_in(State.STARTED).handle(request(Call.INIT_ERROR, size=MAXIMUM_RESPONSE + 1))
    assert answer.reply == ACCEPTED
    assert answer.outcome.header == {"type": "init_error", "error_type": "Function.ResponseSizeTooLarge"}
    assert json.loads(answer.outcome.payload)["errorType"] == "Function.ResponseSizeTooLarge"


STREAMING = {"lambda-runtime-function-response-mode": "streaming"}


def test_a_stream_may_be_longer_where_the_caller_takes_one():
    for streamed, size, status in (
        (True, MAXIMUM_STREAM, 202),
        (True, MAXIMUM_STREAM + 1, 413),
        (False, MAXIMUM_RESPONSE, 202),
        (False, MAXIMUM_RESPONSE + 1, 413),
    ):
        api = api_in(State.READY)
        api.offer(EVENT._replace(streamed=streamed), asked=True)
        api.deliver()
        answer = api.handle(request(Call.RESPONSE, b"part", headers=STREAMING, size=size))
        assert answer.reply.status == status
        assert answer.outcome.header.get("streamed", True)


def test_a_stream_that_fails_in_the_middle_is_the_error_of_its_trailers():
    described = b'{"errorType":"Error","errorMessage":"midway","trace":[]}'
    trailers = {
        "lambda-runtime-function-error-type": "Error",
        "lambda-runtime-function-error-body": base64.b64encode(described).decode(),
    }
    answer = api_in(State.RUNNING).handle(request(Call.RESPONSE, b"part", headers=STREAMING, trailers=trailers))
    assert answer.reply == ACCEPTED
    assert answer.outcome.payload == described
    assert answer.outcome.header == {"type": "error", "request_id": "id-1", "error_type": "Function.Unknown"}
    trailers["lambda-runtime-function-error-body"] = "no base64!"
    answer = api_in(State.RUNNING).handle(request(Call.RESPONSE, b"part", headers=STREAMING, trailers=trailers))
    assert answer.outcome.payload == b""


def streaming_api():
    """With an event whose caller takes a stream."""
    api = api_in(State.READY)
    api.offer(EVENT._replace(streamed=True), asked=True)
    api.deliver()
    return api


def test_a_response_begins_a_stream_where_the_caller_takes_one_and_it_is_in_streaming_mode():
    stream = request(Call.RESPONSE, headers=STREAMING)
    assert streaming_api().begins_stream(stream)
    assert not api_in(State.RUNNING).begins_stream(stream)
    assert not RuntimeApi().begins_stream(stream)
    for other in (
        request(Call.RESPONSE),
        request(Call.RESPONSE, headers={"lambda-runtime-function-response-mode": "other"}),
        request(Call.RESPONSE, headers={**STREAMING, "lambda-runtime-invocation-id": "older"}),
        request(Call.ERROR, headers=STREAMING),
        request(("POST", "/invocation/id-2/response"), headers=STREAMING),
        request(("PUT", "/invocation/id-1/response"), headers=STREAMING),
        stream._replace(path="/runtime/invocation/id-1/response"),
    ):
        api = streaming_api()
        assert not api.begins_stream(other)
        assert api.begins_stream(stream)


@pytest.mark.parametrize("call", [Call.RESPONSE, Call.ERROR])
def test_beside_a_stream_that_has_begun_there_is_no_other_answer(call):
    api, stream = streaming_api(), request(Call.RESPONSE, headers=STREAMING)._replace(streamed=True)
    assert api.begins_stream(stream)
    assert not api.begins_stream(stream)
    assert api.handle(request(call, b"{}")).reply.status == 403
    assert api.gave_up(request(Call.RESPONSE)) is None
    assert api.handle(request(Call.NEXT)).reply == EVENT.reply()
    answer = api.handle(stream)
    assert (answer.reply, answer.outcome.header["streamed"], answer.outcome.payload) == (ACCEPTED, True, b"")
    assert api.handle(request(Call.NEXT)).reply is None


def test_a_runtime_that_hangs_up_in_its_stream_has_truncated_it_and_the_next_event_may_be_streamed():
    api, stream = streaming_api(), request(Call.RESPONSE, headers=STREAMING)._replace(streamed=True)
    assert api.begins_stream(stream)
    assert api.gave_up(stream).header["error_type"] == "Runtime.TruncatedResponse"
    api.handle(request(Call.NEXT))
    api.offer(EVENT._replace(streamed=True), asked=True)
    api.deliver()
    assert api.begins_stream(stream)


def test_another_response_mode_is_refused_and_fails_the_invocation():
    headers = {"lambda-runtime-function-response-mode": "buffered"}
    answer = api_in(State.RUNNING).handle(request(Call.RESPONSE, b"x", headers=headers))
    assert error_of(answer) == (400, "InvalidFunctionResponseMode", "Invalid function response mode")
    assert answer.outcome.header["error_type"] == "Runtime.InvalidResponseModeHeader"


def test_a_runtime_that_hangs_up_in_its_response_has_truncated_it():
    api = api_in(State.RUNNING)
    outcome = api.gave_up(request(Call.RESPONSE, b"par"))
    assert outcome.header["error_type"] == "Runtime.TruncatedResponse"
    assert api.gave_up(request(Call.RESPONSE, b"par")) is None  # it was answered
    assert api_in(State.RUNNING).gave_up(request(Call.ERROR)) is None
    assert api_in(State.READY).gave_up(request(Call.RESPONSE)) is None


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/2018-06-01/ping", 200),
        ("GET", "/", 404),
        ("GET", "", 404),
        ("GET", "/runtime/invocation/next", 404),
        ("GET", "/2018-06-01/runtime/invocation", 404),
        ("GET", "/2018-06-01/runtime/invocation/a/b/response", 404),
        ("POST", "/2018-06-01/runtime/invocation/next", 405),
        ("GET", "/2018-06-01/runtime/invocation/id-1/response", 405),
        ("PUT", "/2018-06-01/runtime/init/error", 405),
    ],
)
def test_other_paths_and_methods(method, path, status):
    api = api_in(State.RUNNING)
    answer = api.handle(Request(method, path, {}, b"", 0, {}, keep_alive=True))
    assert answer.reply.status == status
    assert (answer.outcome, api.state) == (None, State.RUNNING)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('{"a": 1}', '{"a": 1}'),
        ('{\n"a": "ü"}', '{ "a": "\\u00fc"}'),
        ('{"a": "\U0001f600", "b": 1e999}', '{"a": "\\ud83d\\ude00", "b": 1e999}'),
        ("{\r\nSet-Cookie: x", "{  Set-Cookie: x"),
        ("\x00\x7f", "\\u0000\\u007f"),
    ],
)
def test_a_client_context_is_one_line_of_a_header(text, shown):
    assert in_a_header(text) == shown
