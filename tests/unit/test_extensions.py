"""Extensions: external ones start with the environment, are told of each event and of the end; internal ones register (E.3)."""

import json
import sys
import time

import pytest
from handlers.rig import HANDLERS, Function, error_of, is_running
from templates import document, problems

from poller.model import FunctionConfiguration
from poller.runtime.extensions_api import ExtensionsApi
from poller.runtime.http_wire import Request
from poller.runtime.telemetry import Subscription, subscription

BASE = "/2020-01-01/extension/"
INVOKE = {"eventType": "INVOKE", "requestId": "id-1"}
SHUTDOWN = {"eventType": "SHUTDOWN"}


def call(api, method, path, body=b"", **headers):
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return api.handle(Request(method, BASE + path, names, body, len(body), {}, keep_alive=True))


def api_with(*external):
    numbers = iter(range(1000))
    return ExtensionsApi(FunctionConfiguration("fn", HANDLERS, "a.b"), external, lambda: f"i-{next(numbers)}")


def register(api, name="ext", events=("INVOKE", "SHUTDOWN"), **more):
    return call(api, "POST", "register", json.dumps({"events": events}).encode(), lambda_extension_name=name, **more)


def refusal(answer):
    return answer.reply.status, json.loads(answer.reply.body)["errorType"]


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


@pytest.fixture
def function(tmp_path):
    """A function of the Runtime API whose layer has an extension; `told` gives what that noted."""
    made = []
    for name, script in (("code/bootstrap", "scripted_bootstrap"), ("layer/extensions/watcher", "scripted_extension")):
        program = tmp_path / name
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(f"#!{sys.executable}\n{(HANDLERS / f'{script}.py').read_text()}")
        program.chmod(0o755)

    def make(extension=""):
        variables = {"NOTE": str(tmp_path / "note"), "EXTENSION": extension}
        fn = Function(
            "x", code=tmp_path / "code", runtime="provided.al2023", timeout=20.0, environment=variables,
            layers=(tmp_path / "layer",),
        )  # fmt: skip
        made.append(fn)
        return fn

    yield make
    for one in made:
        one.environment.stop()


def told(tmp_path):
    path = tmp_path / "note"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_an_external_extension_is_told_of_each_event_and_of_the_end(function, tmp_path):  # E.3
    fn = function()
    for number in (1, 2):
        assert fn.invoke(["echo", number], request_id=f"id-{number}").payload == str(number).encode()
    fn.environment.stop()
    registered, *events = told(tmp_path)
    known = {"functionName": "fn", "functionVersion": "$LATEST", "handler": "x", "accountId": "123456789012"}
    assert registered == ["registered", 200, known]
    first, second, last = (event for _, event in events)
    assert [first["requestId"], second["requestId"]] == ["id-1", "id-2"]
    assert first["eventType"] == "INVOKE"
    assert first["invokedFunctionArn"] == fn.configuration.function_arn
    assert first["tracing"]["type"] == "X-Amzn-Trace-Id"
    assert 0 < first["deadlineMs"] / 1000 - time.time() + 20 < 60
    assert (last["eventType"], last["shutdownReason"]) == ("SHUTDOWN", "spindown")
    assert "extension speaks" in fn.lines


def test_an_extension_has_the_file_descriptors_of_a_function(function, tmp_path):  # E.3
    assert function("limits").invoke(["echo", 1]).payload == b"1"
    assert told(tmp_path)[0] == ["files", 1024, 1024]


def test_an_extension_that_subscribed_gets_telemetry(function, tmp_path):
    fn = function("telemetry")
    fn.invoke(["print after answer", "late"], request_id="id-1")
    fn.invoke(["raw error", "X", "oh"], request_id="id-2")
    fn.environment.stop()
    events = told(tmp_path)
    assert ["subscribed", "OK"] in events
    telemetry = [event[2] for event in events if event[0] == "telemetry"]
    assert {event[1] for event in events if event[0] == "telemetry"} == {"/here"}
    assert [event["type"] for event in telemetry if event["type"].startswith("platform")] == [
        "platform.telemetrySubscription",
        *["platform.start", "platform.runtimeDone", "platform.report"] * 2,
    ]
    assert {event["type"]: event["record"] for event in telemetry if event["type"] in {"function", "extension"}} == {
        "function": "late",
        "extension": "extension speaks",
    }
    done = [event["record"] for event in telemetry if event["type"] == "platform.runtimeDone"]
    assert [(record["requestId"], record["status"]) for record in done] == [("id-1", "success"), ("id-2", "error")]
    report = next(event["record"] for event in telemetry if event["type"] == "platform.report")
    assert set(report["metrics"]) == {"durationMs", "billedDurationMs", "memorySizeMB", "maxMemoryUsedMB"}


GOOD = {"types": ["function"], "destination": {"protocol": "HTTP", "URI": "http://sandbox.localdomain:8080"}}


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"{", "Expecting property name"),
        ({}, "the subscription has no 'types'"),
        ({**GOOD, "types": []}, "types are some of extension, function, platform"),
        ({**GOOD, "types": ["other"]}, "types are some of"),
        ({**GOOD, "destination": {"protocol": "TCP", "URI": "http://sandbox:1"}}, "the destination is HTTP"),
        ({**GOOD, "destination": {"protocol": "HTTP", "URI": "http://elsewhere:1"}}, "the destination is HTTP"),
        ({**GOOD, "destination": {"protocol": "HTTP", "URI": "http://sandbox:99999"}}, "Port out of range"),
        ({**GOOD, "buffering": {"timeoutMs": 1}}, "timeoutMs is 25 to 30000"),
        ([], "list indices"),
    ],
)
def test_a_subscription_that_makes_no_sense_is_told_why(body, text):
    api = api_with("ext")
    register(api)
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"lambda-extension-identifier": "i-0"}
    answer = api.handle(Request("PUT", "/2022-07-01/telemetry", headers, content, len(content), {}, keep_alive=True))
    assert refusal(answer) == (400, "ValidationError")
    assert text in json.loads(answer.reply.body)["errorMessage"]
    assert api.subscriptions == []


def test_a_subscription_has_defaults():
    assert subscription("ext", json.dumps(GOOD).encode()) == Subscription(
        "ext", frozenset({"function"}), 8080, "/", 10_000, 262_144, 1.0
    )


def test_the_logs_api_is_not_there_and_says_so():
    answer = api_with().handle(Request("PUT", "/2020-08-15/logs", {}, b"", 0, {}, keep_alive=True))
    assert refusal(answer) == (202, "Logs.NotSupported")


@pytest.mark.parametrize(
    ("extension", "error"),
    [
        ("crash", {"errorType": "Extension.Crash", "errorMessage": "RequestId: id-1 Error: exit status 4"}),
        ("init error", {"errorType": "Extension.InitError", "errorMessage": "RequestId: id-1 Error: Extension.Mine"}),
    ],
)
def test_an_extension_that_fails_at_init_fails_the_event(function, extension, error):
    fn = function(extension)
    assert error_of(fn.invoke(["echo", 1])) == error
    assert fn.report().endswith(f"\tError Type: {error['errorType']}")


def test_an_extension_that_ends_takes_its_environment_along(function):
    fn = function("crash at event")
    result = fn.invoke(["child"])  # the handler sleeps, so that the extension is first
    assert error_of(result) == {"errorType": "Extension.Crash", "errorMessage": "RequestId: id-1 Error: exit status 5"}
    assert not is_running(int(fn.wait_for_line("child").split()[1]))


def test_python_s_own_way_has_no_extensions_and_says_so(tmp_path):
    program = tmp_path / "layer" / "extensions" / "watcher"
    program.parent.mkdir(parents=True)
    program.touch()
    program.chmod(0o755)
    given = document(function={"Layers": [{"Ref": "Watching"}]})
    given["Resources"]["Watching"] = {"Type": "AWS::Serverless::LayerVersion", "Properties": {"ContentUri": "layer"}}
    assert problems(tmp_path, given) == [
        (
            "Resources.Telemetry.Properties.Layers: its extensions need Lambda's Runtime API, which our own client for "
            "Python does without (RuntimeClient: aws)"
        )
    ]
