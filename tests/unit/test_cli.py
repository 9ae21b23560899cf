"""The command line: results on stdout, everything else on stderr, a named exit code, never a traceback."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from templates import _transform_in_process, document, write  # noqa: F401 - a fixture

from poller import service
from poller.api.server import PortInUse
from poller.cli import main
from poller.cli_options import ExitCode
from poller.cli_settings import FLAGS
from poller.errors import PollerError
from poller.runtime.toolchains import Found, Tool, find
from poller.settings import SCALARS, option


def run(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = main(arguments)
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture
def template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in SCALARS:
        monkeypatch.delenv(option(name).replace("--", "POLLER_").replace("-", "_").upper(), raising=False)
    return write(tmp_path, document())


@pytest.fixture(autouse=True)
def _has_every_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("poller.runtime_support.find", lambda name: find(name)._replace(exact=True))


def has_another_python(monkeypatch: pytest.MonkeyPatch) -> str:
    """Let the machine have one version only; returns what is told of that."""
    tool = Tool(sys.executable, "3.11")
    monkeypatch.setattr("poller.runtime_support.find", lambda _: Found(tool, exact=False))
    return f"there is no python3.13 on this machine: python 3.11 ({sys.executable}) runs it"


# --- validate ------------------------------------------------------------------------------------------------------


def test_validate_tells_what_a_template_holds(template: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(["validate", str(template)], capsys)
    assert (code, err) == (ExitCode.OK, "")
    assert out.splitlines() == [
        f"{template} is valid",
        f"  function Telemetry: app.handler in {template.parent}/code",
        f"  function Tasks: app.handler in {template.parent}/code",
        "  mapping Telemetry.Readings: SelfManagedKafka telemetry to Telemetry",
        "  mapping Tasks.Queue: MQ tasks to Tasks",
    ]


def test_validate_answers_a_program_in_json(template: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(["validate", str(template), "--json"], capsys)
    answer = json.loads(out)
    assert (code, answer["valid"], answer["problems"]) == (ExitCode.OK, True, [])
    assert [item["Name"] for item in answer["mappings"]] == ["Telemetry.Readings", "Tasks.Queue"]
    write(template.parent, document(readings={"BatchSize": 0}))
    code, out, err = run(["validate", str(template), "--json"], capsys)
    assert (code, err) == (ExitCode.BAD_CONFIGURATION, "")
    path = "Resources.Telemetry.Properties.Events.Readings.BatchSize"
    assert json.loads(out) == {"valid": False, "problems": [{"path": path, "reason": "0 is below 1", "suggestion": ""}]}


def test_what_another_version_runs_is_valid_with_a_warning(
    template: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = has_another_python(monkeypatch)
    paths = [f"Resources.{name}.Properties.Runtime" for name in ("Telemetry", "Tasks")]
    code, out, err = run(["validate", str(template)], capsys)
    assert (code, out.splitlines()[0]) == (ExitCode.OK, f"{template} is valid")
    assert err.splitlines() == [f"poller: warning: {path}: {told} (StrictRuntime: true refuses that)" for path in paths]
    code, out, err = run(["validate", str(template), "--json"], capsys)
    answer = json.loads(out)
    assert (code, err, answer["valid"], answer["problems"]) == (ExitCode.OK, "", True, [])
    assert [(item["path"], item["reason"]) for item in answer["warnings"]] == [(path, told) for path in paths]
    monkeypatch.setenv("POLLER_STRICT_RUNTIME", "true")
    code, out, err = run(["validate", str(template)], capsys)
    assert (code, out) == (ExitCode.BAD_CONFIGURATION, "")
    assert "StrictRuntime is true" in err


def test_several_consumers_of_a_queue_with_bounded_retries_are_valid_with_a_warning(
    template: Path, capsys: pytest.CaptureFixture[str]
) -> None:  # F.3
    def warned(**extension: int) -> list[str]:
        write(template.parent, document(settings={"EventSources": {"Tasks.Queue": extension}}))
        code, out, err = run(["validate", str(template)], capsys)
        assert (code, out.splitlines()[0]) == (ExitCode.OK, f"{template} is valid")
        return err.splitlines()

    assert warned(Concurrency=4, MaximumRetryAttempts=1) == warned(Concurrency=4) == []
    assert warned(Concurrency=1, MaximumRetryAttempts=5) == []
    assert warned(Concurrency=4, MaximumRetryAttempts=5) == [
        (
            "poller: warning: Metadata.Poller.EventSources.Tasks.Queue.Concurrency: if tasks is a classic queue, each of 4 "
            "consumers counts the attempts that it saw, so a message may be tried again up to 17 times instead of 5 "
            "(declare it with x-queue-type quorum, which counts by itself)"
        )
    ]


def test_an_invocation_without_a_service_warns_of_another_version(
    template: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = has_another_python(monkeypatch)
    code, out, err = run(["invoke", "Telemetry", "--template", str(template)], capsys)
    assert (code, out, err) == (ExitCode.OK, "{}\n", f"poller: warning: Telemetry: {told}\n")


def test_validate_tells_all_problems_on_stderr(template: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(template.parent, document(readings={"BatchSize": 0}, queue={"Queues": []}))
    code, out, err = run(["validate", str(template)], capsys)
    assert (code, out) == (ExitCode.BAD_CONFIGURATION, "")
    assert err.splitlines() == [
        "poller: Resources.Telemetry.Properties.Events.Readings.BatchSize: 0 is below 1",
        "poller: Resources.Tasks.Properties.Events.Queue.Queues: names 0 queues, exactly 1 is allowed",
        "poller: 2 problems",
    ]


def test_a_template_that_is_not_there_is_no_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "template.yaml"
    code, out, err = run(["validate", str(path)], capsys)
    assert (code, out) == (ExitCode.BAD_CONFIGURATION, "")
    assert err == f"poller: {path}: no such file (name the template, as in: poller validate path/to/template.yaml)\n"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["start"], "invalid choice: 'start'"),
        (["validate", "--parameter", "novalue"], "'novalue' is not NAME=VALUE"),
        (["generate-event"], "the following arguments are required: SOURCE"),
    ],
)
def test_wrong_usage_ends_with_2(arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == ExitCode.BAD_CONFIGURATION
    assert expected in capsys.readouterr().err


# --- run -----------------------------------------------------------------------------------------------------------


def test_run_hands_the_service_a_template_with_the_options_in_it(
    template: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    served: list[Any] = []
    monkeypatch.setattr(service, "run", lambda loaded: served.append(loaded) or 0)
    monkeypatch.setattr("poller.log.configure", lambda *_: None)
    names = [name for name in SCALARS if name != "AsyncQueue"]  # it does not go with several Workers
    values = dict.fromkeys(names, "2") | {
        "LogFiles": "true",
        "Reload": "false",
        "Debug": "",
        "EnforceMemory": "false",
        "LogFormat": "json",
        "LogLevel": "ERROR",
        "KafkaClient": "kafka-python",
        "RuntimeClient": "poller",
        "Region": "eu-west-1",
        "AccountId": "000000000007",
        "S3Events": "",  # with an address the template has to have an event of S3
        **dict.fromkeys(FLAGS, "True"),
        "RequireSignature": "False",
        "StrictRuntime": "False",  # or the version that is there would decide
    }
    given = {name: value for name, value in values.items() if value != "False"}
    options = [text for name, value in given.items() for text in (option(name), value) if text != "True"]
    assert run(["run", str(template), *options], capsys) == (ExitCode.OK, "", "")
    settings = served[0].settings
    assert {name: str(getattr(settings, name)).removesuffix(".0") for name in names} == values


def test_run_without_a_template_is_an_empty_account_with_the_settings_there_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    served: list[Any] = []
    monkeypatch.setattr(service, "run", lambda loaded: served.append(loaded) or 0)
    monkeypatch.setattr("poller.log.configure", lambda *_: None)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("POLLER_REGION", "eu-west-1")
    (tmp_path / "settings.yaml").write_text("Port: 7\nHosts: one\n")
    assert run(["run", "--settings", "settings.yaml", "--port", "0"], capsys) == (ExitCode.OK, "", "")
    [empty] = served
    assert (empty.functions, empty.mappings) == ((), ())
    assert (empty.settings.Port, empty.settings.Hosts, empty.settings.Region) == (0, "one", "eu-west-1")
    assert empty.state_folder == tmp_path / ".poller"
    (tmp_path / "settings.yaml").write_text("Prot: 7\nEventSources: {A.B: {}}\n")
    code, _, err = run(["run", "--settings", "settings.yaml"], capsys)
    assert code == ExitCode.BAD_CONFIGURATION
    assert "Prot: unknown property (did you mean Port?)" in err
    assert run(["run", "--parameter", "A=b"], capsys)[2] == (
        "poller: template.yaml: no such file (name the template, as in: poller run path/to/template.yaml)\n"
    )
    assert run(["run", "named.yaml"], capsys)[0] == ExitCode.BAD_CONFIGURATION
    assert len(served) == 1


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--async-queue", "http://x"], "AsyncQueue: must have the form amqp://user:password@host:5672"),
        (
            ["--async-queue", "amqp://u:p@h", "--workers", "2"],
            "Workers: is 2, and with AsyncQueue each program has one",
        ),
        (["--s3-events", "amqp://u:p@h/q"], "S3Events: no function has an event of S3"),
    ],
)
def test_settings_that_make_no_sense_are_refused_without_a_template_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, options: list[str], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = run(["run", *options], capsys)
    assert code == ExitCode.BAD_CONFIGURATION
    assert err.startswith(f"poller: {told}")


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (PortInUse("port 9001 is taken"), (ExitCode.PORT_IN_USE, "", "poller: port 9001 is taken\n")),
        (PollerError("it broke"), (ExitCode.FAILED, "", "poller: it broke\n")),
        (KeyboardInterrupt(), (ExitCode.INTERRUPTED, "", "")),
    ],
)
def test_run_ends_with_a_named_code(
    template: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    fault: BaseException,
    expected: tuple[int, str, str],
) -> None:
    def fail(_: Any) -> int:
        raise fault

    monkeypatch.setattr(service, "run", fail)
    monkeypatch.setattr("poller.log.configure", lambda *_: None)
    assert run(["run", str(template)], capsys) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("0", '--workers: "0" is below 1'),
        ("65", '--workers: "65" is above 64'),
        ("abc", '--workers: "abc" is neither a whole number nor auto'),
        ("1.5", '--workers: "1.5" is neither a whole number nor auto'),
    ],
)
def test_a_number_of_workers_that_cannot_be_is_told(
    template: Path, capsys: pytest.CaptureFixture[str], given: str, expected: str
) -> None:
    code, out, err = run(["run", str(template), "--workers", given], capsys)
    assert (code, out, err) == (ExitCode.BAD_CONFIGURATION, "", f"poller: {expected}\n")


# --- invoke --------------------------------------------------------------------------------------------------------


def test_invoke_prints_the_reply_and_nothing_else(
    template: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b'{"id": 1}')))
    code, out, err = run(["invoke", "Tasks", "--event", "-", "--template", str(template)], capsys)
    assert (code, json.loads(out), err) == (ExitCode.OK, {"id": 1}, "")


def test_invoke_shows_the_log_when_asked(template: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(["invoke", "Tasks", "--log", "--template", str(template)], capsys)
    assert (code, out) == (ExitCode.OK, "{}\n")
    assert "START RequestId:" in err
    assert "REPORT RequestId:" in err


def test_a_function_that_fails_gives_its_error_object_and_code_3(
    template: Path, capsys: pytest.CaptureFixture[str]
) -> None:  # A.4
    (template.parent / "code" / "app.py").write_text("def handler(event, context):\n    raise ValueError('no')\n")
    code, out, err = run(["invoke", "Tasks", "--template", str(template)], capsys)
    assert code == ExitCode.FUNCTION_ERROR
    assert json.loads(out)["errorType"] == "ValueError"
    assert err == "poller: the function failed (Unhandled)\n"
    code, out, _ = run(["invoke", "Tasks", "--json", "--template", str(template)], capsys)
    answer = json.loads(out)
    assert (code, answer["StatusCode"], answer["FunctionError"]) == (ExitCode.FUNCTION_ERROR, 200, "Unhandled")
    assert answer["Payload"]["errorMessage"] == "no"
    assert "REPORT" in answer["LogResult"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["Task"], "poller: Task: no such function (did you mean Tasks?)\n"),
        (
            ["Tasks", "--event", "nowhere.json"],
            "poller: --event nowhere.json: cannot be read: No such file or directory\n",
        ),
    ],
)
def test_invoke_refuses_what_is_not_there(
    template: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], expected: str
) -> None:
    assert run(["invoke", *arguments, "--template", str(template)], capsys) == (
        ExitCode.BAD_CONFIGURATION,
        "",
        expected,
    )


def test_an_event_that_is_not_json_is_the_user_s_mistake(
    template: Path, capsys: pytest.CaptureFixture[str]
) -> None:  # A.3
    (template.parent / "event.json").write_text("{")
    code, out, _ = run(
        ["invoke", "Tasks", "--event", str(template.parent / "event.json"), "--template", str(template)], capsys
    )
    assert code == ExitCode.BAD_CONFIGURATION
    assert json.loads(out)["message"].startswith("Could not parse request body into json")


# --- generate-event ------------------------------------------------------------------------------------------------


def test_a_kafka_event_has_several_records_in_their_partitions(capsys: pytest.CaptureFixture[str]) -> None:  # D.1.1
    code, out, err = run(["generate-event", "kafka", "--topic", "readings"], capsys)
    assert (code, err) == (ExitCode.OK, "")
    event = json.loads(out)
    assert event["eventSource"] == "SelfManagedKafka"
    assert {shard: len(records) for shard, records in event["records"].items()} == {"readings-0": 2, "readings-2": 1}
    first = event["records"]["readings-0"][0]
    assert base64.b64decode(first["key"]) == b"sensor-007"
    assert json.loads(base64.b64decode(first["value"]))["device"] == "sensor-007"
    assert first["headers"] == [{"trace": list(b"t-0001")}]


def test_records_of_one_s_own(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(
        ["generate-event", "kafka", "--value", "a", "--value", "ë", "--stream-arn", "arn:aws:kafka:x"], capsys
    )
    event = json.loads(out)
    assert (event["eventSource"], event["eventSourceArn"]) == ("aws:kafka", "arn:aws:kafka:x")
    records = event["records"]["telemetry-0"]
    assert [base64.b64decode(item["value"]).decode() for item in records] == ["a", "ë"]
    assert [item["offset"] for item in records] == [0, 1]
    assert "key" not in records[0]
    _, out, _ = run(["generate-event", "kafka", "--key", "k"], capsys)
    keys = {item["key"] for records in json.loads(out)["records"].values() for item in records}
    assert keys == {base64.b64encode(b"k").decode()}


def test_a_rabbitmq_event_has_several_messages(capsys: pytest.CaptureFixture[str]) -> None:  # D.2
    _, out, _ = run(["generate-event", "rabbitmq", "--queue", "q", "--virtual-host", "v"], capsys)
    event = json.loads(out)
    assert event["eventSource"] == "aws:rmq"
    messages = event["rmqMessagesByQueue"]["q::v"]
    assert len(messages) == 2
    assert messages[0]["basicProperties"]["messageId"] == "00000000-0000-4000-8000-000000000001"
    assert json.loads(base64.b64decode(messages[1]["data"]))["invoice"] == "inv-0002"


# --- start-up ------------------------------------------------------------------------------------------------------


def test_validate_loads_no_broker_client_and_help_not_even_the_models(template: Path) -> None:
    script = (
        "import sys\n"
        "from poller.cli import main\n"
        "heavy = {'kafka', 'pika', 'uvicorn', 'samtranslator', 'prometheus_client'}\n"
        "assert not (heavy | {'pydantic', 'yaml'}) & sys.modules.keys()\n"
        f"assert main(['validate', {str(template)!r}]) == 0\n"
        "assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()\n"
    )
    subprocess.run(
        [sys.executable, "-c", script],
        check=True,
        capture_output=True,
        env={"PYTHONPATH": ":".join(filter(None, sys.path))},
    )


def test_help_names_the_exit_codes() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "poller.cli", "--help"],
        check=True,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": ":".join(filter(None, sys.path))},
    )
    for code in ExitCode:
        assert f"\n  {int(code)} " in done.stdout


def test_a_reader_that_goes_away_is_no_traceback(template: Path) -> None:
    command = f"{sys.executable} -m poller.cli validate {template} --json | true"
    done = subprocess.run(
        ["/bin/sh", "-c", command],
        check=True,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": ":".join(filter(None, sys.path))},
    )
    assert done.stderr == ""


# --- triggers ------------------------------------------------------------------------------------------------------


def test_validate_tells_what_starts_functions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    schedule = {"ScheduleExpression": "rate(1 day)", "Targets": [{"Arn": {"Fn::GetAtt": ["Tasks", "Arn"]}, "Id": "a"}]}
    path = write(tmp_path, document(resources={"Daily": {"Type": "AWS::Events::Rule", "Properties": schedule}}))
    told = "  trigger Daily: arn:aws:events:us-east-1:123456789012:rule/Daily to Tasks"
    assert run(["validate", str(path)], capsys)[1].splitlines()[-1] == told
    assert json.loads(run(["validate", str(path), "--json"], capsys)[1])["triggers"][0]["FunctionName"] == "Tasks"


def test_generate_event_prints_events_of_triggers(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(["generate-event", "s3", "--key", "a b", "--name", "s3:ObjectRemoved:Delete"], capsys)
    (record,) = json.loads(out)["Records"]
    assert (record["eventName"], record["s3"]["object"]["key"]) == ("ObjectRemoved:Delete", "a+b")
    _, out, _ = run(["generate-event", "schedule", "--rule", "r"], capsys)
    assert json.loads(out)["resources"] == ["arn:aws:events:us-east-1:123456789012:rule/r"]
