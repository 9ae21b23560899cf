"""A function's LoggingConfig as its handler, its log and its environment show it (E.2, E.5)."""

import json
import os
import re
import resource
import sys
from importlib.util import find_spec

import pytest
import templates
from api_service import template_of
from handlers.rig import HANDLERS, Function
from packages import request
from scripted import FakeClock
from unit.test_pool import Answers

from poller.account.function_requests import LOCAL_FOLDER
from poller.api_errors import ApiError
from poller.control_plane import ControlPlane
from poller.errors import ConfigError
from poller.metrics import Metrics
from poller.model import Invocation, LoggingConfiguration
from poller.resources import function as build

RUNTIME = f"python3.{sys.version_info[1]}"


@pytest.fixture
def function():
    made = []

    def make(handler, application="INFO", system="INFO", log_group=None, **configuration):
        config = LoggingConfiguration("JSON", application, system, log_group)
        made.append(Function(handler, logging=config, **configuration))
        return made[-1]

    yield make
    for one in made:
        one.environment.stop()


def application_lines(fn):
    return [json.loads(line) for line in fn.lines if line.startswith("{") and '"platform.' not in line]


def test_python_logging_is_json_with_what_extra_adds(function):
    fn = function("writing.levels")
    fn.invoke(request_id="id-7")
    info = next(line for line in application_lines(fn) if line.get("message") == "order 7")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", info.pop("timestamp"))
    assert info == {
        "level": "INFO", "message": "order 7", "logger": "orders", "requestId": "id-7", "customer": "c-1",
    }  # fmt: skip


def test_an_exception_that_is_logged_has_its_trace_its_type_and_its_place(function):
    fn = function("writing.caught")
    fn.invoke()
    (line,) = application_lines(fn)
    assert (line["errorType"], line["errorMessage"], line["level"]) == ("KeyError", "'x'", "ERROR")
    assert 'in caught\n    {}["x"]\n' in line["stackTrace"][0]
    assert re.fullmatch(r".*/writing\.py:caught:\d+", line["location"])


@pytest.mark.parametrize("handler", ["writing.levels", "writing.caught", "writing.fails"])
def test_awss_own_client_writes_the_same_members_in_the_same_order(function, handler):
    pytest.importorskip("awslambdaric", reason="AWS's client is not installed")

    def shown(client):
        fn = function(handler, application="DEBUG", runtime=RUNTIME, runtime_client=client)
        fn.invoke()
        times = r'"timestamp": ?"[^"]*"|\.\d{3}Z'
        return [re.sub(times, "TIME", line) for line in fn.lines if line.startswith("{") and '"platform.' not in line]

    ours = shown("poller")
    assert ours
    assert ours == shown("aws")


def test_an_exception_that_ends_the_invocation_is_one_json_line(function):
    fn = function("writing.fails")
    fn.invoke()
    (line,) = application_lines(fn)
    assert (line["level"], line["errorType"], line["errorMessage"], line["requestId"]) == (
        "ERROR", "ValueError", "why", "id-1",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("least", "shown"),
    [
        ("DEBUG", ["detail", "order 7", "bad", "plain", "own detail", "own error"]),
        ("INFO", ["order 7", "bad", "plain", "own error"]),
        ("ERROR", ["bad", "own error"]),
        ("FATAL", []),
    ],
)
def test_the_application_log_level_leaves_out_what_is_less_important(function, least, shown):
    fn = function("writing.levels", application=least, system="WARN")
    fn.invoke()
    found = [json.loads(line)["message"] if line.startswith("{") else line for line in fn.lines]
    assert found == shown


def test_the_log_of_an_invocation_in_json_goes_from_start_to_report(function):
    fn = function("writing.leaves", system="DEBUG")
    result = fn.invoke()
    types = [json.loads(line)["type"].removeprefix("platform.") for line in fn.lines]
    assert types == ["initStart", "initRuntimeDone", "initReport", "start", "runtimeDone", "report"]
    report = json.loads(fn.lines[-1])["record"]
    assert (report["status"], report["errorType"]) == ("error", "Runtime.ExitError")
    assert "initDurationMs" in report["metrics"]
    tail = result.log_tail.decode().splitlines()
    assert [json.loads(line)["type"] for line in (tail[0], tail[-1])] == ["platform.start", "platform.report"]


def test_the_handlers_environment_names_format_level_group_and_stream(function):
    fn = function("writing.environment", application="TRACE", log_group="shared/logs")
    found = json.loads(fn.invoke().payload)
    assert found["AWS_LAMBDA_LOG_FORMAT"] == "JSON"
    assert found["AWS_LAMBDA_LOG_LEVEL"] == "TRACE"
    assert found["AWS_LAMBDA_LOG_GROUP_NAME"] == "shared/logs"
    assert re.fullmatch(r"\d{4}/\d\d/\d\d/fn\[\$LATEST\][0-9a-f]{32}", found["AWS_LAMBDA_LOG_STREAM_NAME"])


def test_in_text_format_the_environment_has_neither_and_python_logs_from_warning_on():
    fn = Function("writing.environment")
    try:
        found = json.loads(fn.invoke().payload)
        assert set(found) == {"AWS_LAMBDA_LOG_GROUP_NAME", "AWS_LAMBDA_LOG_STREAM_NAME"}
        assert found["AWS_LAMBDA_LOG_GROUP_NAME"] == "/aws/lambda/fn"
    finally:
        fn.environment.stop()


@pytest.mark.parametrize(
    "client",
    [
        "poller",
        pytest.param(
            "aws",
            marks=pytest.mark.skipif(
                find_spec("awslambdaric") is None and not os.environ.get("CI"), reason="AWS's client is not installed"
            ),
        ),
    ],
)
def test_a_handler_that_writes_100_mb_neither_blocks_nor_fills_the_memory(client):
    fn = Function("writing.much", timeout=120.0, runtime=RUNTIME, runtime_client=client)
    seen = [0]
    fn.environment._sink = lambda line, _: seen.__setitem__(0, seen[0] + len(line))
    try:
        fn.invoke(1)
        seen[0], before = 0, peak_memory()
        result = fn.invoke(100)
        assert result.payload == b'"written"'
        assert seen[0] > 100 * 1023 * 1024
        assert len(result.log_tail) == 4096
        assert len(fn.environment._log._tail) <= 4 * 4096
        assert peak_memory() - before < 32 * 1024 * 1024
    finally:
        fn.environment.stop()


def peak_memory():
    """Bytes that this process has held at once; what its tests held before counts, too."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def test_levels_that_a_call_sets_hold_from_the_next_invocation_on(tmp_path):  # E.5
    template = template_of(tmp_path, {"declared": {"Handler": "basic.echo"}}, Reload="false")
    plane = ControlPlane(template, Metrics(), FakeClock())
    plane.start()

    def shown():
        """What the handler's lines say, and the types of the platform's."""
        answers = Answers()
        plane.pool("f").submit(Invocation("id", b"null", "f"), answers, wait=True)
        lines = answers.wait(1)[0].log_tail.decode().splitlines()
        found = [json.loads(line) if line.startswith("{") else {"message": line} for line in lines]
        return [one.get("message") or one["type"].removeprefix("platform.") for one in found]

    def update(**config):
        plane.account.functions.update_function_configuration("f", {"LoggingConfig": config})

    try:
        code = {"S3Bucket": LOCAL_FOLDER, "S3Key": str(HANDLERS)}
        config = {"LogFormat": "JSON", "ApplicationLogLevel": "ERROR", "SystemLogLevel": "WARN"}
        plane.account.functions.create_function(request(Code=code, Handler="writing.levels", LoggingConfig=config))
        assert shown() == ["bad", "own error"]
        update(ApplicationLogLevel="DEBUG")
        assert shown() == ["detail", "order 7", "bad", "plain", "own detail", "own error"]
        update(ApplicationLogLevel="FATAL", SystemLogLevel="INFO")
        assert shown() == ["start", "report"]
        update(SystemLogLevel="DEBUG")
        assert shown() == ["start", "runtimeDone", "report"]
        update(LogFormat="Text")
        assert shown()[0].startswith("START RequestId: ")
        with pytest.raises(ApiError, match="LogLevel is not supported when LogFormat is set to"):
            update(ApplicationLogLevel="DEBUG")
    finally:
        plane.stop()


def test_a_logging_config_stands_in_a_function_or_in_globals_and_may_name_a_log_group_of_the_template(tmp_path):
    group = {"Group": {"Type": "AWS::Logs::LogGroup", "Properties": {"LogGroupName": "orders/logs"}}}
    own = {"LogFormat": "JSON", "LogGroup": {"Ref": "Group"}, "SystemLogLevel": "WARN"}
    common = {"Function": {"LoggingConfig": {"LogFormat": "JSON", "ApplicationLogLevel": "DEBUG"}}}
    content = templates.document(function={"LoggingConfig": own}, resources=group, Globals=common)
    found = {item.FunctionName: item.configuration() for item in templates.load(tmp_path, content).functions}
    assert found["Telemetry"].log_group == "orders/logs"
    assert found["Telemetry"].logging.system_log_level == "WARN"
    assert found["Tasks"].log_group == "/aws/lambda/Tasks"
    assert found["Tasks"].logging == LoggingConfiguration("JSON", "DEBUG")


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"LogFormat": "Json"}, 'LoggingConfig.LogFormat: "Json" is not Text or JSON'),
        ({"LogFormat": "JSON", "SystemLogLevel": "ERROR"}, "LoggingConfig.SystemLogLevel"),
        ({"ApplicationLogLevel": "INFO"}, 'LogLevel is not supported when LogFormat is set to "Text".'),
        ({"LogGroup": "a b"}, 'LoggingConfig.LogGroup: "a b" is not letters, digits and . - _ / #'),
        ({"LogGroup": ""}, "LoggingConfig.LogGroup: is shorter than 1 character"),
        ({"Format": "JSON"}, "LoggingConfig.Format: unknown property"),
    ],
)
def test_a_logging_config_that_means_nothing_is_refused(config, told, tmp_path):
    values = {"FunctionName": "F", "Code": tmp_path, "Handler": "h.h", "Runtime": "python3.13", "LoggingConfig": config}
    with pytest.raises(ConfigError) as refused:
        build(values, lambda field: field)
    assert told in str(refused.value)
