"""A Python function shows the same on both ways to run it: our pipes and AWS's own client (A.4, E.2, E.4, E.5)."""

import json
import os
import re
import shutil
import sys
from pathlib import Path

import pytest
from handlers.rig import HANDLERS, Function, error_of, exited, wait_until_gone

from poller.model import MAXIMUM_PAYLOAD, MAXIMUM_RESPONSE, Invocation, LoggingConfiguration

CLIENTS = ("poller", "aws")
RUNTIME = f"python3.{sys.version_info[1]}"

if not os.environ.get("CI"):
    pytest.importorskip("awslambdaric", reason="AWS's client is not installed: it has wheels for Linux only")

VARYING = [  # what differs between two runs of one thing
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{3})?Z", "TIME"),
    (r'"(\w+(?:Ms|UsedMB))":[\d.]+', r'"\1":N'),
    (r"\d{4}/\d\d/\d\d/\[\$LATEST\][0-9a-f]{32}", "STREAM"),
    (r"\d+\.\d\d ms", "N ms"),
    (r"Billed Duration: \d+ ms", "Billed Duration: N ms"),
    (r"Max Memory Used: \d+ MB", "Max Memory Used: N MB"),
    (r"0x[0-9a-f]+", "ADDRESS"),
    (r"repeated \d+ more times", "repeated N more times"),
    (r'(File \\*")[^"]*/(?:awslambdaric|runtime)/\w+\.py(\\*", line )\d+', r"\1CLIENT\2N"),
]


def steady(text):
    for pattern, name in VARYING:
        text = re.sub(pattern, name, text)
    return text


@pytest.fixture(scope="module")
def function():
    """A function with an environment of each client, kept for the module."""
    made = {}

    def make(handler, client, **configuration):
        key = (handler, client, repr(configuration))
        if key not in made:
            configuration = {"timeout": 20.0, "runtime": RUNTIME, **configuration}
            made[key] = Function(handler, runtime_client=client, **configuration)
        return made[key]

    yield make
    for one in made.values():
        one.environment.stop()


@pytest.fixture
def shown(function):
    """Everything that can be seen of an invocation, by client."""

    def run(handler, event=None, *, client_context=None, **configuration):
        seen = []
        for client in CLIENTS:
            fn = function(handler, client, **configuration)
            del fn.lines[:]
            payload = event if isinstance(event, bytes) else json.dumps(event).encode()
            arn = fn.configuration.function_arn
            result = fn.environment.invoke(Invocation("id-1", payload, arn, client_context=client_context))
            seen.append(
                {
                    "payload": steady(result.payload.decode("latin-1")),
                    "function error": result.function_error,
                    "status": result.status,
                    "tail": steady(result.log_tail.decode()),
                    "log": [steady(line) for line in fn.lines if not line.startswith("INIT_START")],
                    "init is told": result.init_duration is not None,
                    "duration is told": result.duration > 0,
                }
            )
        return seen

    return run


VALUES = ("decimal", "decimals", "decimal nan", "nan", "text", "bytes", "dict", "string", "set")
RESULTS = (
    "bytes inside", "not utf-8", "line separator", "keys", "tuple", "infinity", "emoji", "big", "slash",
    "object", "generator", "circle", "empty",
)  # fmt: skip


@pytest.mark.parametrize("runtime", ["python3.11", "python3.13"])
@pytest.mark.parametrize(
    ("handler", "event"),
    [
        *(("basic.values", name) for name in VALUES),
        *(("both.results", name) for name in RESULTS),
        ("basic.echo", {"a": [1, 2.5, True, None, "größer ✓"]}),
        ("basic.echo", b""),
        ("basic.nothing", None),
    ],
)
def test_a_result_has_the_same_bytes(shown, handler, event, runtime):  # A.4
    ours, theirs = shown(handler, event, runtime=runtime)
    assert ours == theirs


@pytest.mark.parametrize(
    ("handler", "event"),
    [
        ("failing.raises", None),
        ("failing.deep", None),
        ("both.chained", None),
        ("both.empty_message", None),
        ("both.recursion", None),
        ("both.bad_log_format", None),
        ("both.no_arguments", None),
        ("both.not_callable", None),
        ("basic.absent", None),
        ("absent.handler", None),
        ("at_import.handler", None),
        ("sys.exit", None),
        ("nothing", None),
        ("package/module.handler", None),
        ("package.module.handler", None),
    ],
)
def test_an_error_object_and_its_log_are_the_same(shown, handler, event):  # A.4, E.5
    ours, theirs = shown(handler, event)
    assert ours == theirs


@pytest.mark.parametrize(
    ("handler", "event", "runtime"),
    [
        ("basic.values", "lone surrogate", "python3.13"),
        ("failing.surrogate", None, "python3.13"),
        ("failing.surrogate", None, "python3.11"),
        ("failing.unprintable", None, RUNTIME),
    ],
)
def test_what_no_client_can_send_ends_the_process(shown, handler, event, runtime):  # A.4
    for one in shown(handler, event, runtime=runtime):
        assert json.loads(one["payload"]) == exited("with error: exit status 1")


def test_an_event_that_is_no_json_is_the_same_type_of_error(shown):
    """Not the same text: AWS's client reads JSON with a library of its own."""
    ours, theirs = (json.loads(one["payload"]) for one in shown("basic.echo", b"{"))
    ours_text, their_text = ours.pop("errorMessage"), theirs.pop("errorMessage")
    assert ours == theirs
    assert ours_text.startswith("Unable to unmarshal input: Expecting property name enclosed in double quotes")
    assert their_text.startswith("Unable to unmarshal input: Expecting property name enclosed in double quotes")


def test_a_syntax_error_is_the_same(shown, tmp_path):  # A.4
    (tmp_path / "app.py").write_text("def handler(event, context)\n    return 1\n")
    ours, theirs = shown("app.handler", code=tmp_path)
    assert ours == theirs
    assert "Runtime.UserCodeSyntaxError" in ours["payload"]


@pytest.mark.parametrize(
    "client_context",
    [
        None,
        '{"client":{"app_title":"app"},"custom":{"k":1},"env":{"e":"2"}}',
        '{"custom":{"name":"größer"}}',
        '{\n "w3c": {"traceparent": "00-1-2-01", "unknown": "x", "baggage": 1}\n}',
        "null",
        "{",
    ],
)
def test_the_context_object_is_the_same(shown, client_context):  # E.4
    ours, theirs = shown("both.context", client_context=client_context)
    assert ours == theirs


def test_the_log_is_the_same(shown):  # E.5
    ours, theirs = shown("both.logs")
    assert ours == theirs
    assert "[WARNING]\tTIME\tid-1\twarned once" in ours["log"]
    assert "no newline" in ours["log"]
    assert "[WARNING]\tTIME\tid-1\ttwo\nlines" in ours["log"]
    assert "and no newline" in ours["log"]
    [traced] = [event for event in ours["log"] if "with its trace" in event]
    assert traced.endswith("\nValueError: seen")


def test_a_fork_may_log(shown):  # E.5
    ours, theirs = shown("both.logs_in_a_fork")
    assert ours == theirs
    assert "[WARNING]\tTIME\tid-1\tfrom the fork" in ours["log"]


def test_the_log_in_json_is_the_same(shown):  # E.5
    logging = LoggingConfiguration("JSON")
    ours, theirs = shown("both.logs", logging=logging)
    assert ours == theirs
    assert [json.loads(event)["message"] for event in ours["log"] if '"level"' in event] == [
        "warned once", "not shown", "failed", "with its trace", "two\nlines",
    ]  # fmt: skip


def test_the_variables_are_the_same_but_for_the_address_of_the_api(function):  # E.2
    seen = []
    for client in CLIENTS:
        environment = json.loads(function("both.environment", client, environment={"MINE": "x"}).invoke().payload)
        variables = environment["variables"]
        for name in ("AWS_LAMBDA_LOG_STREAM_NAME", "TMPDIR", "_X_AMZN_TRACE_ID"):
            assert variables.pop(name)
        assert re.fullmatch(r"127\.0\.0\.1:\d+", variables.pop("AWS_LAMBDA_RUNTIME_API"))
        seen.append(environment)
    assert seen[0] == seen[1]
    assert seen[0]["variables"]["MINE"] == "x"
    assert seen[0]["folder"] == str(HANDLERS)


@pytest.mark.parametrize("client", CLIENTS)
def test_variables_that_name_nothing_here_are_not_set(function, client, monkeypatch):  # E.2
    credentials = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    for name in credentials:
        monkeypatch.delenv(name, raising=False)
    environment = json.loads(function("both.environment", client, environment={"NOTHING": "more"}).invoke().payload)
    absent = {"PYTHONPATH", "NODE_PATH", "AWS_XRAY_DAEMON_ADDRESS", *credentials}
    assert not absent & environment["variables"].keys()


@pytest.mark.parametrize(("event", "text"), [(None, "without providing a reason"), (7, "with error: exit status 7")])
def test_an_exit_is_the_same(shown, event, text):  # A.4, G.9
    ours, theirs = shown("both.exits", event)
    assert ours == theirs
    assert json.loads(ours["payload"]) == exited(text)


@pytest.mark.parametrize("client", CLIENTS)
def test_globals_live_until_a_crash_or_timeout_and_an_error_is_none(function, client):  # E.3, G.10
    fn = function("both.warm", client, timeout=1.0)
    calls = []
    for event in ("go", "raise", "go", "exit", "go", "sleep", "go"):
        result = fn.invoke(event)
        calls.append(json.loads(result.payload) if result.function_error is None else result.function_error)
    assert calls == [1, "Unhandled", 3, "Unhandled", 1, "Unhandled", 1]
    assert fn.environment.cold_starts == 3


@pytest.mark.parametrize("client", CLIENTS)
def test_a_timeout_kills_the_handler_and_what_it_started(function, client):  # A.4, G.8
    fn = function("both.child_outlives", client, timeout=1.0)
    assert error_of(fn.invoke()) == {
        "errorType": "Sandbox.Timedout",
        "errorMessage": "RequestId: id-1 Error: Task timed out after 1.00 seconds",
    }
    wait_until_gone(int(fn.wait_for_line("child").split()[1]))
    assert fn.report().endswith("\tStatus: timeout")


def test_a_reply_above_the_ceiling_is_the_same_error_and_the_next_call_works(shown, function):  # A.2, G.11
    """AWS's client writes a traceback then and leaves, for the API answers it 413; our own goes on."""
    ours, theirs = shown("basic.large", MAXIMUM_RESPONSE - 1)
    assert ours["payload"] == theirs["payload"]
    assert json.loads(ours["payload"])["errorType"] == "Function.ResponseSizeTooLarge"
    for client in CLIENTS:
        assert len(function("basic.large", client).invoke(MAXIMUM_RESPONSE - 2).payload) == MAXIMUM_RESPONSE
    assert function("basic.large", "poller").environment.cold_starts == 1


@pytest.mark.parametrize("log_format", ["Text", "JSON"])
@pytest.mark.parametrize("client", CLIENTS)
def test_an_error_above_the_ceiling_is_in_the_log(function, tmp_path, client, log_format):  # A.2, E.5
    """And one of init is told as such, not as a broken protocol."""
    (tmp_path / "app.py").write_text("raise ValueError('m' * 7_000_000)\n")
    logging = LoggingConfiguration(log_format)
    begin = "[ERROR] ValueError: mmm" if log_format == "Text" else '{"timestamp": "'
    for fn in (
        function("failing.at_length", client, logging=logging),
        function("app.handler", client, code=tmp_path, logging=logging),
    ):
        result = fn.invoke()
        assert error_of(result)["errorType"] == "Function.ResponseSizeTooLarge"
        assert any(line.startswith(begin) and "mmm" in line for line in fn.lines)
        assert not any("protocol" in line for line in fn.lines)


@pytest.mark.parametrize("client", CLIENTS)
def test_an_event_of_6_mb_goes_through(function, client):  # A.2
    event = b'"' + b"x" * (MAXIMUM_PAYLOAD - 2) + b'"'
    assert function("basic.echo", client).invoke(event).payload == event


def test_a_wrapper_gets_the_command_line_and_a_missing_one_is_status_127(shown, tmp_path):  # E.2, A.4
    wrapper = tmp_path / "wrapper"
    wrapper.write_text('#!/bin/sh\nexport WRAPPED=yes\nexec "$@"\n')
    wrapper.chmod(0o755)
    ours, theirs = shown("both.environment", environment={"AWS_LAMBDA_EXEC_WRAPPER": str(wrapper)})
    assert all(json.loads(one["payload"])["variables"]["WRAPPED"] == "yes" for one in (ours, theirs))
    ours, theirs = shown("basic.echo", environment={"AWS_LAMBDA_EXEC_WRAPPER": "/no/such/wrapper"})
    assert json.loads(ours["payload"]) == json.loads(theirs["payload"]) == exited("with error: exit status 127")


@pytest.mark.parametrize("archived", [False, True])
def test_a_wrapper_of_a_layer_or_the_code_is_found_by_its_path_on_lambda(shown, tmp_path, archived):  # E.2
    code, layer = tmp_path / "code", tmp_path / "layer"
    for folder in (code, layer):
        folder.mkdir()
        (folder / "wrapper").write_text(f'#!/bin/sh\nexport WRAPPED={folder.name}\nexec "$@"\n')
        (folder / "wrapper").chmod(0o755)
    (code / "app.py").write_text("import os\ndef handler(event, context):\n    return os.environ['WRAPPED']\n")
    if archived:
        layer = Path(shutil.make_archive(str(layer), "zip", layer))
    for path, found in {"/opt/wrapper": '"layer"', "/var/task/wrapper": '"code"'}.items():
        wrapper = {"AWS_LAMBDA_EXEC_WRAPPER": path}
        for one in shown("app.handler", code=code, layers=(layer,), environment=wrapper):
            assert one["payload"] == found


def test_a_handler_may_come_with_a_layer(shown, tmp_path):  # E.2
    code, layer = tmp_path / "code", tmp_path / "layer"
    code.mkdir()
    (layer / "python" / "monitor").mkdir(parents=True)
    (layer / "python" / "monitor" / "handler.py").write_text("def wrapped(event, context):\n    return __name__\n")
    for one in shown("monitor.handler.wrapped", code=code, layers=(layer,)):
        assert one["payload"] == '"monitor.handler"'
