"""Handlers written with AWS's libraries for Rust and Java run unchanged (E.1, A.4). `make languages`; not in `make test`."""

import json
from typing import NamedTuple

import pytest
from handlers.rig import Function, error_of, exited

from languages.build import built


class Language(NamedTuple):
    handler: str
    runtime: str
    error: dict[str, str]


LANGUAGES = {
    "rust": Language("bootstrap", "provided.al2023", {"errorMessage": "text"}),
    "java": Language(
        "example.Handler::handleRequest", "java17", {"errorMessage": "text", "errorType": "java.lang.RuntimeException"}
    ),
}


@pytest.fixture(scope="module", params=LANGUAGES)
def function(request):
    language = LANGUAGES[request.param]
    fn = Function(language.handler, code=built(request.param), runtime=language.runtime, timeout=5.0)
    fn.expected_error = language.error
    yield fn
    fn.environment.stop()


def test_a_result_is_the_payload(function):
    for event in ({"a": [1, "größer", None]}, [1, 2], "text"):
        assert json.loads(function.invoke(event).payload) == event
    assert function.environment.cold_starts == 1


def test_what_it_prints_is_in_its_log(function):
    function.invoke("print")
    assert "printed" in function.lines
    if function.configuration.runtime.startswith("java"):
        assert "logged\nin two lines" in function.lines  # one event


def test_an_error_is_that_of_awss_library(function):  # A.4
    error = error_of(function.invoke("error"))
    assert error | function.expected_error == error


def test_the_context_is_complete(function):  # E.4
    arn = function.configuration.function_arn
    assert json.loads(function.invoke("context").payload) == {"id": "id-1", "arn": arn, "function": "fn"}


def test_an_exit_and_a_timeout_are_lambdas(function):  # A.4
    assert error_of(function.invoke("exit")) == exited("with error: exit status 3")
    assert error_of(function.invoke("sleep"))["errorType"] == "Sandbox.Timedout"
    assert json.loads(function.invoke(1).payload) == 1


@pytest.mark.parametrize(
    ("variables", "megabytes", "collector"),
    [
        ({}, 435, "-XX:+UseSerialGC"),
        ({"JAVA_TOOL_OPTIONS": "-Xmx64m -XX:+UseParallelGC"}, 64, "-XX:+UseParallelGC"),
    ],
)
def test_java_has_the_memory_of_its_function_unless_a_person_says_otherwise(variables, megabytes, collector):
    java = LANGUAGES["java"]
    fn = Function(
        java.handler,
        code=built("java"),
        runtime=java.runtime,
        timeout=5.0,
        memory_size=512,
        environment=variables,
    )
    try:
        found = json.loads(fn.invoke("memory").payload)
    finally:
        fn.environment.stop()
    assert collector in found["options"]
    assert [option for option in found["options"] if option.endswith("GC")] == [collector]
    assert 0.9 * megabytes < found["megabytes"] <= megabytes  # without one of its survivor spaces
