"""Extensions: external ones start with the environment, are told of each event and of the end; internal ones register (E.3)."""

import json
import threading
import time

import pytest
from handlers.extension_rig import INVOKE, SHUTDOWN, api_with, call, children, refusal, register, told
from handlers.rig import HANDLERS, Function, error_of, is_running, wait_until_gone

from poller.model import FunctionConfiguration, Invocation
from poller.runtime import api_dialogue
from poller.runtime.extension_host import ExtensionHost
from poller.runtime.extensions_api import ExtensionsApi
from poller.runtime.http_wire import Request
from poller.runtime.pool import FunctionPool


def test_an_external_extension_registers_by_its_file_s_name_and_is_ready_when_it_asks():
    api = api_with("ext")
    assert not api.ready
    reply = register(api, lambda_extension_accept_feature="accountId").reply
    assert dict(reply.headers)["Lambda-Extension-Identifier"] == "i-0"
    assert json.loads(reply.body) == {
        "functionName": "fn",
        "functionVersion": "$LATEST",
        "handler": "a.b",
        "accountId": "123456789012",
    }
    assert "accountId" not in json.loads(register(api_with("ext")).reply.body)
    assert not api.ready
    assert call(api, "GET", "event/next", lambda_extension_identifier="i-0").reply is None
    assert api.ready


def test_it_is_told_which_version_of_the_function_runs():
    api = ExtensionsApi(FunctionConfiguration("fn", HANDLERS, "a.b", version="7"), ["ext"])
    assert json.loads(register(api).reply.body)["functionVersion"] == "7"


def test_events_come_in_order_to_those_who_registered_for_them():
    api = api_with("one", "two")
    register(api, "one", ["INVOKE"])
    register(api, "two", ["SHUTDOWN"])
    for identifier in ("i-0", "i-1"):
        call(api, "GET", "event/next", lambda_extension_identifier=identifier)
    [due] = api.announce(INVOKE)
    assert due.identifier == "i-0"
    assert json.loads(due.reply.body) == INVOKE
    api.told("i-0")
    api.announce({**INVOKE, "requestId": "id-2"})  # it is busy: its call comes later
    late = call(api, "GET", "event/next", lambda_extension_identifier="i-0").reply
    assert json.loads(late.body)["requestId"] == "id-2"
    assert dict(late.headers)["Lambda-Extension-Event-Identifier"]
    assert [due.identifier for due in api.announce(SHUTDOWN)] == ["i-1"]


def test_the_next_event_waits_for_those_who_are_told_of_events():  # E.3
    api = api_with("one", "two")
    register(api, "one", ["INVOKE"])
    register(api, "two", ["SHUTDOWN"])
    assert not api.idle
    call(api, "GET", "event/next", lambda_extension_identifier="i-0")
    assert api.idle
    api.announce(INVOKE)
    api.told("i-0")
    assert not api.idle
    call(api, "GET", "event/next", lambda_extension_identifier="i-0")
    assert api.idle


def test_one_that_hung_up_and_gets_its_event_later_is_at_work_then():  # E.3
    api = api_with("one")
    register(api, "one", ["INVOKE"])
    call(api, "GET", "event/next", lambda_extension_identifier="i-0")
    api.announce(INVOKE)  # nobody takes it: the call has hung up
    late = call(api, "GET", "event/next", lambda_extension_identifier="i-0").reply
    assert json.loads(late.body) == INVOKE
    assert not api.idle


def test_what_makes_no_sense_is_refused():
    api = api_with("ext")
    assert refusal(register(api, "")) == (403, "Extension.InvalidExtensionName")
    assert refusal(call(api, "POST", "register", b"{", lambda_extension_name="ext")) == (403, "InvalidRequestFormat")
    assert refusal(register(api, events=["OTHER"])) == (403, "Extension.InvalidEventType")
    assert refusal(register(api, "internal", ["SHUTDOWN"])) == (403, "Extension.InvalidEventType")
    register(api)
    assert refusal(register(api)) == (403, "Extension.InvalidExtensionState")
    assert refusal(call(api, "GET", "event/next")) == (403, "Extension.MissingExtensionIdentifier")
    unknown = call(api, "GET", "event/next", lambda_extension_identifier="nobody")
    assert refusal(unknown) == (403, "Extension.UnknownExtensionIdentifier")
    assert refusal(call(api, "POST", "init/error", lambda_extension_identifier="i-0")) == (
        403,
        "Extension.MissingHeader",
    )
    for number in range(9):
        assert register(api, f"internal-{number}", ["INVOKE"]).reply.status == 200
    assert refusal(register(api, "one-more", ["INVOKE"])) == (403, "Extension.TooManyExtensions")
    later = api_with()
    later.closed = True
    assert refusal(register(later, "late", ["INVOKE"])) == (403, "Extension.RegistrationClosed")
    assert call(api, "GET", "register").reply.status == 405
    assert call(api, "GET", "nothing").reply.status == 404
    assert api.handle(Request("GET", "/2018-06-01/ping", {}, b"", 0, {}, keep_alive=True)) is None


def test_an_external_extension_is_told_of_each_event_and_of_the_end(extended_function, tmp_path):  # E.3
    fn = extended_function()
    for number in (1, 2):
        assert fn.invoke(["echo", number], request_id=f"id-{number}").payload == str(number).encode()
    fn.environment.stop()
    known = {"functionName": "fn", "functionVersion": "$LATEST", "handler": fn.configuration.handler}
    assert told(tmp_path, "registered") == [[200, {**known, "accountId": "123456789012"}]]
    first, second, last = (event for [event] in told(tmp_path, "event"))
    assert [first["requestId"], second["requestId"]] == ["id-1", "id-2"]
    assert first["eventType"] == "INVOKE"
    assert first["invokedFunctionArn"] == fn.configuration.function_arn
    assert first["tracing"]["type"] == "X-Amzn-Trace-Id"
    assert 0 < first["deadlineMs"] / 1000 - time.time() + 20 < 60
    assert (last["eventType"], last["shutdownReason"]) == ("SHUTDOWN", "spindown")
    assert "extension speaks" in fn.lines


def test_an_extension_has_the_file_descriptors_of_a_function(extended_function, tmp_path):  # E.3
    assert extended_function("limits").invoke(["echo", 1]).payload == b"1"
    assert told(tmp_path)[0] == ["files", 1024, 1024]


@pytest.mark.parametrize(
    ("event", "error", "reason"),
    [(["child"], "Sandbox.Timedout", "timeout"), (["exit", 3], "Runtime.ExitError", "failure")],
)
def test_after_a_timeout_or_crash_it_is_told_why_and_starts_anew(
    extended_function, tmp_path, event, error, reason
):  # E.3
    fn = extended_function()
    assert error_of(fn.invoke(event, timeout_cap=1.0 if reason == "timeout" else None))["errorType"] == error
    before = time.time()
    fn.environment.settle()
    [last] = told(tmp_path, "event")[-1]
    assert (last["eventType"], last["shutdownReason"]) == ("SHUTDOWN", reason)
    assert before + 1.99 < last["deadlineMs"] / 1000 <= time.time() + 2
    [[first]] = told(tmp_path, "pid")
    assert not is_running(first)
    if event == ["child"]:
        wait_until_gone(int(fn.wait_for_line("child").split()[1]))
    assert fn.invoke(["echo", 1], request_id="id-2").payload == b"1"
    assert len(told(tmp_path, "registered")) == 2
    fn.environment.stop()
    *_, [anew], [end] = told(tmp_path, "event")
    assert (anew["requestId"], end["shutdownReason"]) == ("id-2", "spindown")


def test_what_is_not_told_of_the_end_is_killed_at_once(extended_function, tmp_path):
    fn = extended_function("no shutdown", timeout=60.0)
    fn.invoke(["echo", 1])
    fn.environment.stop()
    [[pid]] = told(tmp_path, "pid")
    assert not is_running(pid)
    assert "SHUTDOWN" not in {event["eventType"] for [event] in told(tmp_path, "event")}


def test_the_caller_does_not_wait_for_extensions_to_leave(extended_configuration, tmp_path):  # E.3
    pool = FunctionPool(FunctionConfiguration("fn", **extended_configuration("stays")), log=lambda *_: None)
    pool.start()
    answered = threading.Event()
    living = []

    def on_result(_result):
        [[pid]] = told(tmp_path, "pid")
        living.extend([pid, is_running(pid)])
        answered.set()

    try:
        pool.submit(Invocation("id-1", b'["exit", 3]', pool.configuration.function_arn), on_result, wait=True)
        assert answered.wait(10)
        assert living[1]
    finally:
        pool.stop()
    wait_until_gone(living[0])


@pytest.mark.parametrize(
    ("extension", "error"),
    [
        ("crash", {"errorType": "Extension.Crash", "errorMessage": "RequestId: id-1 Error: exit status 4"}),
        ("init error", {"errorType": "Extension.InitError", "errorMessage": "RequestId: id-1 Error: Extension.Mine"}),
    ],
)
def test_an_extension_that_fails_at_init_fails_the_event(extended_function, extension, error):
    fn = extended_function(extension)
    assert error_of(fn.invoke(["echo", 1])) == error
    assert fn.report().endswith(f"\tError Type: {error['errorType']}")
    assert not any(line.startswith("{") for line in fn.lines)


@pytest.mark.parametrize(
    ("content", "mode", "reason"),
    [
        ("#!/bin/sh\nexec sleep 600\n", 0o644, "permission denied"),
        ("\x7fELF of another machine", 0o755, "exec format error"),
        ("#!/no/such/shell\n", 0o755, "no such file or directory"),
    ],
)
def test_an_extension_that_cannot_be_started_fails_the_event_and_leaves_no_other(
    extended_function, tmp_path, content, mode, reason
):
    fn = extended_function("stays")
    broken = tmp_path / "layer" / "extensions" / "zz-broken"
    broken.write_text(content)
    broken.chmod(mode)
    (tmp_path / "layer" / "extensions" / "folder").mkdir()  # which is none
    before = set(children())
    for _ in range(2):
        assert error_of(fn.invoke(["echo", 1])) == {
            "errorType": "Extension.LaunchError",
            "errorMessage": f"RequestId: id-1 Error: fork/exec /opt/extensions/zz-broken: {reason}",
        }
        assert fn.report().endswith("\tStatus: error\tError Type: Extension.LaunchError")
        assert set(children()) == before
    assert any(line.startswith("INIT_REPORT") and line.endswith("Extension.LaunchError") for line in fn.lines)
    broken.unlink()
    assert json.loads(fn.invoke(["echo", 1]).payload) == 1


def test_an_init_that_extensions_do_not_end_is_given_up_also_when_time_runs_out_between_two_looks(
    extended_function, monkeypatch
):
    later = [0.0]
    asked = ExtensionHost.ready.fget

    def ready(host):
        if later == [0.0] and asked(host):  # so that nothing more comes by itself
            later[:] = [0.0, 60.0]
        return False

    def clock():
        return time.monotonic() + (later.pop(0) if len(later) > 1 else later[0])

    monkeypatch.setattr(ExtensionHost, "ready", property(ready))
    monkeypatch.setattr(api_dialogue, "monotonic", clock)
    assert extended_function().environment.prewarm(2.0) == "timeout"


@pytest.mark.parametrize(
    ("extension", "error", "text"),
    [
        ("crash at event", "Extension.Crash", "exit status 5"),
        ("exit error", "Extension.ExitError", "Extension.Mine"),
    ],
)
def test_an_extension_that_ends_takes_its_environment_along(extended_function, extension, error, text):
    fn = extended_function(extension)
    result = fn.invoke(["child"])  # the handler sleeps, so that the extension is first
    assert error_of(result) == {"errorType": error, "errorMessage": f"RequestId: id-1 Error: {text}"}
    assert not fn.environment.warm
    for line in fn.lines:
        if line.startswith("child"):
            wait_until_gone(int(line.split()[1]))


@pytest.fixture
def python(tmp_path):
    """A Python function on pipes without external extensions."""
    made = []

    def make(**variables):
        environment = {"NOTE": str(tmp_path / "note"), **variables}
        fn = Function("extended.handler", timeout=20.0, environment=environment)
        made.append(fn)
        return fn

    yield make
    for one in made:
        one.environment.stop()


def test_an_extension_inside_a_python_handler_is_told_of_each_event(python, tmp_path):
    fn = python(INTERNAL="1")
    for number in (1, 2, 3):  # the answer does not wait for the extension, but the next event does
        assert fn.invoke(["echo", number], request_id=f"id-{number}").payload == str(number).encode()
    events = [event for [event] in told(tmp_path, "event")]
    assert [(event["eventType"], event["requestId"]) for event in events[:2]] == [
        ("INVOKE", "id-1"),
        ("INVOKE", "id-2"),
    ]


@pytest.mark.parametrize(
    ("method", "path", "status", "error"),
    [
        ("GET", "/2018-06-01/runtime/invocation/next", 403, "InvalidStateTransition"),
        ("POST", "/2018-06-01/runtime/invocation/id-1/response", 403, "InvalidStateTransition"),
        ("POST", "/2018-06-01/runtime/invocation/id-1/error", 403, "InvalidStateTransition"),
        ("POST", "/2018-06-01/runtime/init/error", 403, "InvalidStateTransition"),
        ("GET", "/2018-06-01/runtime/restore/next", 403, "InvalidStateTransition"),
        ("POST", "/2018-06-01/runtime/restore/error", 403, "InvalidStateTransition"),
        ("POST", "/2020-01-01/extension/event/next", 405, None),
        ("GET", "/2020-01-01/extension/event/next", 403, "Extension.MissingExtensionIdentifier"),
        ("GET", "/2018-06-01/ping", 200, None),
        ("POST", "/2018-06-01/runtime/invocation/next", 405, None),
        ("GET", "/2018-06-01/nothing", 404, None),
    ],
)
def test_beside_the_pipe_a_runtime_s_calls_are_refused_and_told_why(python, method, path, status, error):  # E.1
    found, body = json.loads(python().invoke(["call", method, path]).payload)
    assert found == status
    if error is not None:
        answer = json.loads(body)
        assert answer["errorType"] == error
        if error == "InvalidStateTransition":
            assert answer["errorMessage"].startswith("State transition from Running to ")
            assert answer["errorMessage"].endswith(
                " failed for runtime. Error: events go to the handler's process over a pipe, and to no other "
                "(RuntimeClient: aws gives them out here)"
            )
