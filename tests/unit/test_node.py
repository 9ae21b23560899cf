"""A Node.js handler shows what AWS's runtime for Node.js shows: results, error objects, context, console (A.4, E.4, E.5)."""

import json
import os
import re
import shutil

import pytest
from handlers.rig import HANDLERS, Function, error_of, exited

from poller.model import MAXIMUM_PAYLOAD, MAXIMUM_RESPONSE, Invocation
from poller.runtime.api_commands import NODE_BOOTSTRAP
from poller.runtime.toolchains import find

RUNTIME = "nodejs20.x"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


@pytest.fixture(scope="module", autouse=True)
def node():
    if find(RUNTIME) is None:
        assert not os.environ.get("CI"), "Node.js belongs to the machine that runs all tests (Debian: nodejs)"
        pytest.skip("there is no Node.js on this machine (Debian: nodejs)")


@pytest.fixture(scope="module")
def code(tmp_path_factory):
    folder = tmp_path_factory.mktemp("node")
    shutil.copy(HANDLERS / "node_handlers.js", folder / "app.js")
    (folder / "src").mkdir()
    (folder / "src" / "module.mjs").write_text(
        'import path from "node:path";\nexport const handler = async () => path.basename(import.meta.url);\n'
    )
    (folder / "src" / "common.cjs").write_text("exports.handler = async () => 'cjs';\n")
    (folder / "esm").mkdir()
    (folder / "esm" / "package.json").write_text('{"type": "module"}')
    (folder / "esm" / "index.js").write_text("export const handler = async () => 'esm';\nawait null;\n")
    (folder / "syntax.js").write_text("exports.handler = async ( => 1;\n")
    (folder / "missing.js").write_text("require('./nowhere');\n")
    (folder / "raises.js").write_text("throw new RangeError('not today');\n")
    (folder / "leaves.js").write_text("process.exit(3);\n")
    (folder / "rejects.mjs").write_text(
        "Promise.reject(new Error('at init'));\nawait new Promise((r) => setTimeout(r, 9e4));\n"
    )
    package = folder / "node_modules" / "library"
    package.mkdir(parents=True)
    (package / "index.js").write_text("exports.handler = async () => 'library';\n")
    return folder


@pytest.fixture(scope="module")
def function(code):
    """A function; the same one keeps its environment for the module."""
    made = {}

    def make(handler, **configuration):
        configuration = {"code": code, "runtime": RUNTIME, "timeout": 20.0, **configuration}
        key = (handler, repr(configuration))
        if key not in made:
            made[key] = Function(handler, **configuration)
        del made[key].lines[:]
        return made[key]

    yield make
    for one in made.values():
        one.environment.stop()


@pytest.mark.parametrize(
    ("handler", "payload"),
    [
        ("app.nested.deep.handler", b'"nested"'),
        ("src/module.handler", b'"module.mjs"'),
        ("src/common.handler", b'"cjs"'),
        ("/var/task/src/common.handler", b'"cjs"'),
        ("esm/index.handler", b'"esm"'),
        ("library.handler", b'"library"'),
    ],
)
def test_a_handler_is_found_in_commonjs_in_modules_and_in_packages(function, handler, payload):
    result = function(handler).invoke()
    assert (result.payload, result.function_error) == (payload, None)


@pytest.mark.parametrize(
    ("handler", "event", "payload"),
    [
        ("app.echo", {"a": [1, 2.5, True, None, "größer ✓"]}, '{"a":[1,2.5,true,null,"größer ✓"]}'),
        ("app.echo", b"", "{}"),
        ("app.nothing", None, "null"),  # A.1, G.5
        ("app.calledBack", None, '{"from":"callback"}'),
        ("app.succeeds", None, '"done"'),
        ("app.done", None, "[1]"),
        ("app.neither", None, "null"),
        ("app.twice", None, "1"),
        ("app.never", None, "null"),
    ],
)
def test_results_come_by_promise_callback_or_an_empty_event_loop(function, handler, event, payload):
    result = function(handler).invoke(event)
    assert (result.payload.decode(), result.function_error) == (payload, None)


@pytest.mark.parametrize("event", ["wait", "go"])
def test_a_callback_waits_for_the_event_loop_unless_told_not_to(function, tmp_path, event):
    note = tmp_path / "note"
    fn = function("app.eventLoop", environment={"NOTE": str(note)})
    assert fn.invoke(event).payload == b"true"
    assert note.exists() == (event == "wait")


ERRORS = [  # handler, event, error type, message, first line of the trace
    ("app.throws", "error", "Error", "text", "Error: text"),
    ("app.throws", "type error", "TypeError", "bad type", "TypeError: bad type"),
    ("app.throws", "custom", "CustomError", "mine", "CustomError: mine"),
    ("app.throws", "string", "string", "just text", None),
    ("app.throws", "number", "number", "5", None),
    ("app.throws", "object", "object", "[object Object]", None),
    ("app.throws", "like", "Like", "an error", "Like: an error"),
    ("app.throws", "undefined", "string", "handled", None),
    ("app.throws", "empty", "Error", "", "Error"),
    ("app.throwsAtOnce", None, "Error", "at once", "Error: at once"),
    ("app.calledBackWithError", None, "RangeError", "called", "RangeError: called"),
    ("app.fails", None, "string", "a string", None),
    ("app.later", None, "Error", "later", "Error: later"),
    (
        "app.unseen",
        None,
        "Runtime.UnhandledPromiseRejection",
        "Error: unseen",
        "Runtime.UnhandledPromiseRejection: Error: unseen",
    ),
    ("app.circle", None, "Error", "Unable to stringify response body", "Error: Unable to stringify response body"),
    (
        "app.absent",
        None,
        "Runtime.HandlerNotFound",
        "app.absent is undefined or not exported",
        "Runtime.HandlerNotFound: app.absent is undefined or not exported",
    ),
    (
        "app.notAFunction",
        None,
        "Runtime.HandlerNotFound",
        "app.notAFunction is not a function",
        "Runtime.HandlerNotFound: app.notAFunction is not a function",
    ),
    ("nowhere.handler", None, "Runtime.ImportModuleError", "Error: Cannot find module 'nowhere'\n", None),
    ("missing.handler", None, "Runtime.ImportModuleError", "Error: Cannot find module './nowhere'\n", None),
    ("syntax.handler", None, "Runtime.UserCodeSyntaxError", "SyntaxError: ", None),
    ("handler", None, "Runtime.MalformedHandlerName", "Bad handler", "Runtime.MalformedHandlerName: Bad handler"),
    ("../app.handler", None, "Runtime.MalformedHandlerName", "'../app.handler' is not a valid handler name.", None),
    ("raises.handler", None, "RangeError", "not today", "RangeError: not today"),
    (
        "rejects.handler",
        None,
        "Runtime.UnhandledPromiseRejection",
        "Error: at init",
        "Runtime.UnhandledPromiseRejection: Error: at init",
    ),
    ("app.streamFails", None, "Error", "midway", "Error: midway"),
    (
        "app.typedTooLate",
        None,
        "Runtime.InvalidStreamingOperation",
        "Cannot set content-type, too late.",
        "Runtime.InvalidStreamingOperation: Cannot set content-type, too late.",
    ),
    (
        "app.streamsRequests",
        None,
        "Runtime.MalformedStreamingHandler",
        "Only response streaming is supported.",
        "Runtime.MalformedStreamingHandler: Only response streaming is supported.",
    ),
    ("app.streamNoPromise", None, "string", "Streaming does not support non-async handlers.", None),
    ("app.echo", b"{", "SyntaxError", "", None),
]


@pytest.mark.parametrize("row", ERRORS, ids=[f"{row[0]}-{row[1]}" for row in ERRORS])
def test_an_error_object_is_that_of_awss_runtime(function, row):  # A.4
    handler, event, error_type, message, first = row
    error = error_of(function(handler).invoke(event))
    assert list(error) == ["errorType", "errorMessage", "trace"]
    assert error["errorType"] == error_type
    assert error["errorMessage"].startswith(message)
    if first is not None:
        assert error["errorMessage"] == message
        assert error["trace"][0] == first
        assert all(line.startswith("    at ") for line in error["trace"][1:])
    if error_type in {"string", "number", "object"}:
        assert error["trace"] == []


@pytest.mark.parametrize(
    ("handler", "event", "text"),
    [
        ("app.exits", 3, "with error: exit status 3"),
        ("app.exits", 0, "without providing a reason"),
        ("leaves.handler", None, "with error: exit status 3"),
    ],
)
def test_an_exit_is_an_exit_error(function, handler, event, text):  # A.4
    assert error_of(function(handler).invoke(event)) == exited(text)


def test_a_timeout_is_lambdas(function):  # A.4, G.8
    error = error_of(function("app.slow", timeout=1.0).invoke())
    assert error == {
        "errorType": "Sandbox.Timedout",
        "errorMessage": "RequestId: id-1 Error: Task timed out after 1.00 seconds",
    }


def test_globals_live_until_nobody_caught_an_error(function):  # E.3
    fn = function("app.count")
    first, second = (json.loads(fn.invoke().payload) for _ in range(2))
    assert [first["calls"], second["calls"]] == [1, 2]
    assert first["pid"] == second["pid"]
    later = function("app.later")
    starts = later.environment.cold_starts
    later.invoke()
    later.invoke()
    assert later.environment.cold_starts == starts + 2


def test_the_context_object_is_complete(function):  # E.4
    fn = function("app.context", timeout=7.0, memory_size=256)
    invocation = Invocation("id-1", b"{}", fn.configuration.function_arn, client_context='{"custom":{"k":"ü"}}')
    context = json.loads(fn.environment.invoke(invocation).payload)
    assert 0 < context.pop("remaining") <= 7000
    assert context.pop("logStreamName").split("/")[3].startswith("[$LATEST]")
    assert context == {
        "callbackWaitsForEmptyEventLoop": True,
        "functionVersion": "$LATEST",
        "functionName": "fn",
        "memoryLimitInMB": "256",
        "logGroupName": "/aws/lambda/fn",
        "clientContext": {"custom": {"k": "ü"}},
        "invokedFunctionArn": "arn:aws:lambda:us-east-1:123456789012:function:fn",
        "awsRequestId": "id-1",
        "trace": "Root=",
    }
    wrong = fn.environment.invoke(Invocation("id-2", b"{}", fn.configuration.function_arn, client_context="{"))
    assert error_of(wrong)["errorMessage"].startswith("Cannot parse ClientContext as json: SyntaxError: ")


def test_the_handler_sees_lambdas_variables(function, code):  # E.2
    seen = json.loads(function("app.environment", environment={"MINE": "x"}).invoke().payload)
    variables = seen["variables"]
    assert seen["folder"] == variables["LAMBDA_TASK_ROOT"] == str(code)
    assert variables["AWS_EXECUTION_ENV"] == "AWS_Lambda_nodejs20.x"
    assert (variables["_HANDLER"], variables["MINE"]) == ("app.environment", "x")
    assert re.fullmatch(r"127\.0\.0\.1:\d+", variables["AWS_LAMBDA_RUNTIME_API"])
    assert "_LAMBDA_TELEMETRY_LOG_FD" not in variables


def test_each_call_of_the_console_is_one_line_of_the_log(function):  # E.5
    fn = function("app.logs")
    fn.invoke()
    lines = [TIME.sub("TIME", line) for line in fn.lines if not line.startswith(("INIT", "START", "END", "REPORT"))]
    assert lines == [
        "TIME\tid-1\tINFO\thello world { a: 1 }",
        "TIME\tid-1\tINFO\ttwo\nlines",
        "TIME\tid-1\tWARN\tcareful",
        "TIME\tid-1\tERROR\tlogged",
        "TIME\tid-1\tDEBUG\tfine",
        "TIME\tid-1\tTRACE\twhere",
        "raw",
    ]


def test_an_error_is_logged_as_awss_runtime_logs_it(function):  # E.5
    fn = function("app.throws")
    fn.invoke("custom")
    [line] = [line for line in fn.lines if "Invoke Error" in line]
    described = json.loads(TIME.sub("TIME", line).removeprefix("TIME\tid-1\tERROR\tInvoke Error \t"))
    assert described.pop("stack")[0] == "CustomError: mine"
    assert described == {"errorType": "CustomError", "errorMessage": "mine", "code": 7, "name": "CustomError"}
    assert fn.report().endswith("\tStatus: error\tError Type: Function.Unknown")


def test_an_error_of_init_is_logged_as_uncaught(function):  # E.5
    fn = function("raises.handler", environment={"ONCE": "MORE"})
    fn.invoke()
    assert any(re.fullmatch(r"\S+\tundefined\tERROR\tUncaught Exception \t\{.*", line) for line in fn.lines)
    reports = [line for line in fn.lines if line.startswith("INIT_REPORT")]
    assert [report.split("\t")[1] for report in reports] == ["Phase: init", "Phase: invoke"]


def test_a_streamed_response_is_one_payload(function):  # E.1
    assert function("app.stream").invoke().payload == b'a{"b":1}'
    page = function("app.page").invoke().payload
    assert page == b'{"statusCode":201,"headers":{"x-mine":"1"}}' + bytes(8) + b"body"


def test_6_mb_go_through_both_ways_and_more_is_an_error(function):  # A.2, G.11
    event = b'"' + b"x" * (MAXIMUM_PAYLOAD - 2) + b'"'
    assert function("app.echo").invoke(event).payload == event
    fn = function("app.large")
    assert len(fn.invoke(MAXIMUM_RESPONSE - 2).payload) == MAXIMUM_RESPONSE
    assert error_of(fn.invoke(MAXIMUM_RESPONSE))["errorType"] == "Function.ResponseSizeTooLarge"
    assert fn.invoke(1).payload == b'"x"'
    line = fn.wait_for_line("[ERROR] [")
    assert line.endswith("] LAMBDA_RUNTIME Failed to post handler success response. Http response code: 413.")
    assert fn.environment.cold_starts == 1


def test_a_stream_that_nobody_ends_is_waited_for_until_the_timeout(function):
    assert error_of(function("app.streamUnfinished", timeout=1.0).invoke())["errorType"] == "Sandbox.Timedout"


def test_from_node_24_on_only_promises_count(function):
    runtime = "nodejs24.x"
    error = error_of(function("app.calledBack", runtime=runtime).invoke())
    assert error["errorType"] == "Runtime.CallbackHandlerDeprecated"
    assert error["errorMessage"].startswith(
        "ERROR: AWS Lambda has removed support for callback-based function handlers"
    )
    assert function("app.neither", runtime=runtime).invoke().payload == b"3"
    assert function("app.echo", runtime=runtime).invoke({"a": 1}).payload == b'{"a":1}'
    assert "succeed" not in json.loads(function("app.context", runtime=runtime).invoke().payload)
    error = error_of(function("app.circle", runtime=runtime).invoke())
    assert error["errorType"] == "Runtime.JSONStringifyError"
    assert error["errorMessage"] == "Unable to stringify response body"


def test_aws_s_client_is_started_by_the_program_that_its_package_names(tmp_path):
    """A stand-in for it: the real one has to be compiled."""
    (tmp_path / "app.js").write_text("exports.handler = async () => process.argv.slice(2);\n")
    client = tmp_path / "node_modules" / "aws-lambda-ric"
    (client / "bin").mkdir(parents=True)
    (client / "bin" / "program.mjs").write_text(f"import {json.dumps(str(NODE_BOOTSTRAP))};\n")
    (client / "package.json").write_text('{"bin": {"aws-lambda-ric": "bin/program.mjs"}}')
    fn = Function("app.handler", code=tmp_path, runtime=RUNTIME, runtime_client="aws")
    assert fn.invoke().payload == b'["app.handler"]'
    (client / "package.json").write_text("{}")
    fn.environment.stop()
    assert error_of(fn.invoke())["errorType"] == "Runtime.InvalidEntrypoint"
    fn.environment.stop()


def test_a_wrapper_gets_the_command_line(function, tmp_path):  # E.2
    wrapper = tmp_path / "wrapper"
    wrapper.write_text('#!/bin/sh\nexport WRAPPED=yes\nexec "$@"\n')
    wrapper.chmod(0o755)
    fn = function("app.environment", environment={"AWS_LAMBDA_EXEC_WRAPPER": str(wrapper)})
    assert json.loads(fn.invoke().payload)["variables"]["WRAPPED"] == "yes"


@pytest.mark.parametrize("handler", ["/opt/nodejs/node_modules/monitor/index.wrapped", "monitor.wrapped"])
def test_a_handler_may_come_with_a_layer(function, tmp_path, handler):  # E.2
    """As monitoring products name theirs."""
    package = tmp_path / "nodejs" / "node_modules" / "monitor"
    package.mkdir(parents=True)
    (package / "index.js").write_text("exports.wrapped = async () => __filename;\n")
    assert json.loads(function(handler, layers=(tmp_path,)).invoke().payload) == str(package / "index.js")
