"""A handler written with AWS's library for Go runs unchanged (E.1, A.4)."""

import json

import pytest
from handlers.rig import Function, error_of, exited
from languages.build import built

from poller.model import Invocation


@pytest.fixture(scope="module")
def function():
    fn = Function("bootstrap", code=built("go"), runtime="provided.al2023", timeout=2.0, memory_size=256)
    yield fn
    fn.environment.stop()


@pytest.mark.parametrize(
    ("event", "payload"),
    [
        ({"a": [1, "größer"]}, '{"a":[1,"größer"]}'),
        ("nothing", "null"),
        ("stream", '"from a reader"'),
        ("print", '"print"'),
    ],
)
def test_results_are_those_of_awss_library(function, event, payload):
    payload_bytes = json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()
    result = function.invoke(payload_bytes)
    assert (result.payload.decode(), result.function_error) == (payload, None)


def test_what_it_prints_is_in_its_log(function):
    function.invoke("print")
    assert "printed" in function.lines


def test_globals_live_on(function):
    first, second = (json.loads(function.invoke("count").payload) for _ in range(2))
    assert second == first + 1


@pytest.mark.parametrize(
    ("event", "error"),
    [
        ("error", {"errorMessage": "text", "errorType": "errorString"}),
        ("my error", {"errorMessage": "mine", "errorType": "myError"}),
    ],
)
def test_errors_are_those_of_awss_library(function, event, error):  # A.4
    assert error_of(function.invoke(event)) == error


def test_a_panic_is_told_with_its_stack_and_ends_the_process(function):  # A.4
    starts = function.environment.cold_starts
    error = error_of(function.invoke("panic"))
    assert (error["errorMessage"], error["errorType"]) == ("unexpected", "string")
    assert any(frame["label"] == "handle" for frame in error["stackTrace"])
    assert function.invoke("print").payload == b'"print"'
    assert function.environment.cold_starts == starts + 1


def test_an_exit_and_a_timeout_are_lambdas(function):  # A.4
    assert error_of(function.invoke("exit")) == exited("with error: exit status 3")
    assert error_of(function.invoke("sleep"))["errorType"] == "Sandbox.Timedout"


def test_the_context_is_complete(function):  # E.4
    context = '{"client":{"app_title":"app"},"custom":{"k":"v"}}'
    arn = function.configuration.function_arn
    result = function.environment.invoke(Invocation("id-1", b'"context"', arn, client_context=context))
    known = json.loads(result.payload)
    assert 0 < known.pop("remaining") <= 2000
    assert known == {"id": "id-1", "arn": arn, "custom": {"k": "v"}, "function": "fn", "memory": 256}
