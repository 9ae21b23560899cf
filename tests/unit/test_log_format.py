"""What the platform writes to a function's log, in both formats and at every level (E.5)."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poller.model import FunctionConfiguration, LoggingConfiguration
from poller.runtime.log_format import JsonFormat, TextFormat, log_format
from poller.runtime.log_levels import APPLICATION_LEVELS, ApplicationLevel
from poller.runtime.platform_records import Report, runtime_version_arn

OK = Report("id-1", 0.00185, 128, 36, None, None)


def json_format(application="INFO", system="DEBUG"):
    logging = LoggingConfiguration("JSON", application, system)
    return log_format(FunctionConfiguration("Orders", None, "h.h", region="eu-west-1", logging=logging))


def members(events):
    found = [json.loads(event) for event in events]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", event.pop("time")) for event in found)
    return [(event["type"], event["record"]) for event in found]


def test_text_has_the_lines_of_lambda_with_tabs_between_their_parts():
    text = TextFormat("eu-west-1")
    arn = runtime_version_arn("eu-west-1", "python:3.13")
    assert re.fullmatch(r"arn:aws:lambda:eu-west-1::runtime:[0-9a-f]{64}", arn)
    assert text.init_start("python:3.13", "init") == (
        f"INIT_START Runtime Version: python:3.13\tRuntime Version ARN: {arn}",
    )
    assert text.start("id-1") == ("START RequestId: id-1 Version: $LATEST",)
    assert text.end(OK) == (
        "END RequestId: id-1",
        "REPORT RequestId: id-1\tDuration: 1.85 ms\tBilled Duration: 2 ms\tMemory Size: 128 MB\tMax Memory Used: 36 MB\t",
    )
    assert text.end(OK._replace(init=0.09913))[1].endswith("Max Memory Used: 36 MB\tInit Duration: 99.13 ms\t")


@pytest.mark.parametrize(
    ("failure", "shown"),
    [("timeout", "Status: timeout"), ("Runtime.ExitError", "Status: error\tError Type: Runtime.ExitError")],
)
def test_text_says_in_report_and_init_report_what_went_wrong(failure, shown):
    text = TextFormat()
    assert text.end(OK._replace(failure=failure))[1].endswith(f"\tMax Memory Used: 36 MB\t{shown}")
    assert text.init_end("init", 1.5, failure) == (f"INIT_REPORT Init Duration: 1500.00 ms\tPhase: init\t{shown}",)
    assert text.init_end("init", 1.5, None) == ()


def test_json_has_an_event_for_each_moment_of_an_environment():
    events = json_format()
    assert members(events.init_start("python:3.13", "init")) == [
        (
            "platform.initStart",
            {
                "initializationType": "on-demand",
                "phase": "init",
                "runtimeVersion": "python:3.13",
                "runtimeVersionArn": runtime_version_arn("eu-west-1", "python:3.13"),
                "functionName": "Orders",
                "functionVersion": "$LATEST",
            },
        )
    ]
    outcome = {"initializationType": "on-demand", "phase": "init", "status": "success"}
    assert members(events.init_end("init", 0.173778, None)) == [
        ("platform.initRuntimeDone", outcome),
        ("platform.initReport", {**outcome, "metrics": {"durationMs": 173.778}}),
    ]
    assert members(events.start("id-1")) == [("platform.start", {"requestId": "id-1", "version": "$LATEST"})]
    metrics = {"durationMs": 1.85, "billedDurationMs": 2, "memorySizeMB": 128, "maxMemoryUsedMB": 36}
    assert members(events.end(OK._replace(init=0.2))) == [
        ("platform.runtimeDone", {"requestId": "id-1", "status": "success", "metrics": {"durationMs": 1.85}}),
        (
            "platform.report",
            {"requestId": "id-1", "metrics": {**metrics, "initDurationMs": 200.0}, "status": "success"},
        ),
    ]


@pytest.mark.parametrize(
    ("failure", "outcome"),
    [
        ("timeout", {"status": "timeout"}),
        ("Function.Unknown", {"status": "failure", "errorType": "Function.Unknown"}),
        ("Runtime.ExitError", {"status": "error", "errorType": "Runtime.ExitError"}),
        ("Runtime.OutOfMemory", {"status": "error", "errorType": "Runtime.OutOfMemory"}),
    ],
)
def test_json_tells_a_handlers_error_from_an_end_of_its_process_and_a_timeout(failure, outcome):
    for _, record in members(json_format().end(OK._replace(failure=failure))):
        assert {name: record[name] for name in outcome} == outcome


@pytest.mark.parametrize(
    ("least", "ok", "failed"),
    [
        ("DEBUG", ["initStart", "initRuntimeDone", "initReport", "start", "runtimeDone", "report"], None),
        (
            "INFO",
            ["initStart", "start", "report"],
            ["initStart", "initRuntimeDone", "initReport", "start", "runtimeDone", "report"],
        ),
        ("WARN", [], ["initRuntimeDone", "initReport", "runtimeDone", "report"]),
    ],
)
def test_the_system_log_level_leaves_out_what_is_less_important(least, ok, failed):
    events = json_format(system=least)

    def shown(failure):
        found = events.init_start("v", "init") + events.init_end("init", 0.1, failure)
        found += events.start("id-1") + events.end(OK._replace(failure=failure))
        return [name.removeprefix("platform.") for name, _ in members(found)]

    assert shown(None) == ok
    assert shown("timeout") == (ok if failed is None else failed)


@pytest.mark.parametrize(
    ("line", "level"),
    [
        (b'{"timestamp":"2026-08-09T12:34:56.789Z","level":"ERROR","message":"boom"}', "ERROR"),
        (b'{"level":"debug","msg":"detail"}', "DEBUG"),
        (b'{"level":"WARNING"}', "WARN"),
        (b'{"level":"CRITICAL"}', "FATAL"),
        (b'{"level":"NOTICE"}', "INFO"),
        (b'{"level":3}', "INFO"),
        (b'{"msg":"x"}', "INFO"),
        (b'{"level":"ERROR"', "INFO"),
        (b'["level","ERROR"]', "INFO"),
        (b"hello", "INFO"),
        (b"", "INFO"),
    ],
)
def test_a_line_has_the_level_that_it_names_and_else_info(line, level):
    rank = APPLICATION_LEVELS.index(level)
    for number, least in enumerate(APPLICATION_LEVELS):
        assert ApplicationLevel(least).shows(line) == (number <= rank)


@given(st.binary(max_size=60), st.sampled_from(APPLICATION_LEVELS))
def test_no_line_is_too_odd_for_a_level(line, least):
    ApplicationLevel(least).shows(b"{" + line)


def test_an_error_object_is_one_json_line_unless_only_worse_is_shown():
    payload = b'{"errorMessage":"why","errorType":"ValueError","requestId":"id-1","stackTrace":["  File\\n"]}'
    (event,) = json_format().error(payload)
    found = json.loads(event)
    assert list(found) == ["timestamp", "level", "errorMessage", "errorType", "requestId", "stackTrace"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", found["timestamp"])
    assert found["level"] == "ERROR"
    assert json_format(application="FATAL").error(payload) == ()
    assert json_format().error(b"no json") == ("no json",)
    # A number that Python reads as infinity, which JSON cannot say.
    assert json_format().error(b'{"errorType": "E", "size": 1e999}') == ('{"errorType": "E", "size": 1e999}',)


def test_json_says_only_in_its_events_that_a_process_ended_or_timed_out():
    assert json_format().timed_out("id-1", 1.0) == ()
    assert json_format().exited("RequestId: id-1 Error: …", "Runtime.ExitError") == ()
    assert isinstance(json_format(), JsonFormat)
