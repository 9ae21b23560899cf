"""The command line as a user types it, without any broker: answers on stdout, the rest on stderr, named exit codes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
from datetime import datetime
from pathlib import Path

import pytest
import yaml

POLLER = Path(sys.executable).with_name("poller")
RUNTIME = f"python3.{sys.version_info[1]}"
HANDLER = """
import json
from base64 import b64decode

def count(event, context):
    print("counting", context.function_name)
    values = [json.loads(b64decode(one["value"])) for some in event["records"].values() for one in some]
    return {"devices": sorted({value["device"] for value in values}), "records": len(values)}

def queues(event, context):
    return {queue: len(messages) for queue, messages in event["rmqMessagesByQueue"].items()}

def echo(event, context):
    return event

def fail(event, context):
    raise ValueError("no such device: Zoë")
"""
OPEN_CLUSTER = [
    {"Type": "VPC_SUBNET", "URI": "subnet:subnet-0"},
    {"Type": "VPC_SECURITY_GROUP", "URI": "security_group:sg-0"},
]
BROKER = "arn:aws:mq:us-east-1:000000000000:broker:tasks:b-1"
READINGS = {
    "Type": "SelfManagedKafka",
    "Properties": {
        "KafkaBootstrapServers": ["127.0.0.1:1"],
        "Topics": ["telemetry"],
        "SourceAccessConfigurations": OPEN_CLUSTER,
    },
}


def poller(
    *arguments: object, cwd: Path, stdin: str | None = None, **variables: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [POLLER, *map(str, arguments)],
        cwd=cwd,
        input=stdin,
        env=environment(**variables),
        text=True,
        encoding="utf-8",
        capture_output=True,
        timeout=60,
        check=False,
    )


def environment(**variables: str) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("POLLER_")} | variables


def function(handler: str, **properties: object) -> dict[str, object]:
    common = {"CodeUri": "code", "Handler": f"app.{handler}", "Runtime": RUNTIME}
    return {"Type": "AWS::Serverless::Function", "Properties": {**common, **properties}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project as a user has it: template.yaml and a folder with a handler."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "app.py").write_text(HANDLER, encoding="utf-8")
    resources = {
        "Telemetry": function("count", Events={"Readings": READINGS}),
        "Queues": function("queues"),
        "Echo": function("echo"),
        "Failing": function("fail"),
    }
    write(tmp_path, resources)
    return tmp_path


def write(folder: Path, resources: dict[str, object], **sections: object) -> None:
    template = {"Transform": "AWS::Serverless-2016-10-31", "Resources": resources, **sections}
    (folder / "template.yaml").write_text(yaml.safe_dump(template, sort_keys=False))


# --- help ----------------------------------------------------------------------------------------------------------


def test_help_names_every_command_and_exit_code(tmp_path: Path) -> None:
    done = poller("--help", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    for command in ("run", "validate", "invoke", "generate-event"):
        assert re.search(rf"^    {command}\s+\w", done.stdout, re.MULTILINE)
    assert re.findall(r"^  (\d+)  +", done.stdout, re.MULTILINE) == ["0", "1", "2", "3", "4", "130"]


@pytest.mark.parametrize("command", ["run", "validate", "invoke", "generate-event"])
def test_every_command_has_its_own_help(command: str, tmp_path: Path) -> None:
    done = poller(command, "--help", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: poller {command}")


@pytest.mark.parametrize("arguments", [[], ["start"], ["run", "--prot", "1"], ["invoke"]])
def test_wrong_usage_is_told_on_stderr_with_2(arguments: list[str], tmp_path: Path) -> None:
    done = poller(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "usage: poller" in done.stderr


# --- validate ------------------------------------------------------------------------------------------------------


def test_validate_answers_on_stdout(folder: Path) -> None:
    done = poller("validate", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == "template.yaml is valid"
    assert "  mapping Telemetry.Readings: SelfManagedKafka telemetry to Telemetry" in done.stdout.splitlines()


def test_validate_tells_every_problem_with_its_path(folder: Path) -> None:
    events = {"Readings": {**READINGS, "Properties": {**READINGS["Properties"], "BatchSize": 0, "Topic": "telemetry"}}}
    write(folder, {"Telemetry": function("count", Events=events, Timeout=0), "Echo": function("echo", CodeUri="cod")})
    done = poller("validate", cwd=folder)
    assert (done.returncode, done.stdout) == (2, "")
    for problem in (
        "Resources.Telemetry.Properties.Timeout: 0 is below 1",
        "Resources.Telemetry.Properties.Events.Readings.BatchSize: 0 is below 1",
        "Resources.Telemetry.Properties.Events.Readings.Topic: unknown property (did you mean Topics?)",
        "Resources.Echo.Properties.CodeUri: there is no cod",
    ):
        assert f"poller: {problem}" in done.stderr
    assert done.stderr.splitlines()[-1] == "poller: 4 problems"
    as_json = poller("validate", "--json", cwd=folder)
    assert (as_json.returncode, as_json.stderr) == (2, "")
    answer = json.loads(as_json.stdout)
    assert answer["valid"] is False
    assert len(answer["problems"]) == 4
    assert {tuple(problem) for problem in answer["problems"]} == {("path", "reason", "suggestion")}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("Resources: [", "template.yaml"),
        ("a: 1\n\tb: 2\n", "line 2"),
        ("just text", "template.yaml"),
        ("", "template.yaml"),
        (b"\xff\xfe\x00", "template.yaml"),
    ],
)
def test_what_is_no_template_is_told_without_a_traceback(tmp_path: Path, content: str | bytes, told: str) -> None:
    (tmp_path / "template.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    done = poller("validate", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_template_is_told_with_what_to_type(tmp_path: Path) -> None:
    done = poller("run", "template.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert "template.yaml: no such file (name the template, as in: poller run path/to/template.yaml)" in done.stderr


# --- invoke --------------------------------------------------------------------------------------------------------


def test_a_generated_event_can_be_piped_into_invoke(folder: Path) -> None:  # D.1.1
    event = poller("generate-event", "kafka", cwd=folder)
    assert (event.returncode, event.stderr) == (0, "")
    assert len(event.stdout.splitlines()) == 1
    done = poller("invoke", "Telemetry", "--event", "-", cwd=folder, stdin=event.stdout)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == {"devices": ["sensor-007", "sensor-042"], "records": 3}


def test_a_generated_rabbitmq_event_has_the_queue_that_was_asked_for(folder: Path) -> None:  # D.2
    event = poller("generate-event", "rabbitmq", "--queue", "orders", "--virtual-host", "shop", cwd=folder)
    done = poller("invoke", "Queues", "--event", "-", cwd=folder, stdin=event.stdout)
    assert json.loads(done.stdout) == {"orders::shop": 2}


def test_invoke_reads_the_event_from_a_file_and_gives_an_empty_one_without(folder: Path) -> None:
    (folder / "event.json").write_text('{"name": "Zoë"}', encoding="utf-8")
    assert json.loads(poller("invoke", "Echo", "--event", "event.json", cwd=folder).stdout) == {"name": "Zoë"}
    assert poller("invoke", "Echo", cwd=folder).stdout == "{}\n"


def test_a_function_that_fails_prints_its_error_object_and_ends_with_3(folder: Path) -> None:  # A.4
    done = poller("invoke", "Failing", cwd=folder)
    assert done.returncode == 3
    error = json.loads(done.stdout)
    assert list(error) == ["errorMessage", "errorType", "requestId", "stackTrace"]
    assert (error["errorType"], error["errorMessage"]) == ("ValueError", "no such device: Zoë")
    assert done.stderr == "poller: the function failed (Unhandled)\n"


def test_the_function_s_log_goes_to_stderr_when_asked_for(folder: Path) -> None:  # E.5
    event = poller("generate-event", "kafka", cwd=folder).stdout
    done = poller("invoke", "Telemetry", "--event", "-", "--log", cwd=folder, stdin=event)
    assert json.loads(done.stdout)["records"] == 3
    lines = [line.split()[0] for line in done.stderr.splitlines() if line.strip()]
    assert lines == ["INIT_START", "START", "counting", "END", "REPORT"]


def test_invoke_answers_a_program_in_json(folder: Path) -> None:  # A.1
    done = poller("invoke", "Failing", "--json", cwd=folder)
    assert done.returncode == 3
    answer = json.loads(done.stdout)
    assert (answer["StatusCode"], answer["FunctionError"], answer["ExecutedVersion"]) == (200, "Unhandled", "$LATEST")
    assert answer["Payload"]["errorType"] == "ValueError"
    assert "REPORT RequestId" in answer["LogResult"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["Telemetri"], "poller: Telemetri: no such function (did you mean Telemetry?)"),
        (["Echo", "--event", "absent.json"], "poller: --event absent.json: cannot be read: No such file or directory"),
        (["Echo", "--template", "absent.yaml"], "poller: absent.yaml: no such file (give --template PATH)"),
    ],
)
def test_invoke_tells_what_is_not_there(folder: Path, arguments: list[str], told: str) -> None:
    done = poller("invoke", *arguments, cwd=folder)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"{told}\n")


# --- run -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def unreachable(folder: Path) -> Path:
    """A project whose broker does not answer, as nothing does on port 1: the service runs, and says so."""
    secret = [{"Type": "BASIC_AUTH", "URI": "arn:aws:secretsmanager:us-east-1:000000000000:secret:tasks"}]
    event = {"Type": "MQ", "Properties": {"Broker": BROKER, "Queues": ["tasks"], "SourceAccessConfigurations": secret}}
    settings = {"Poller": {"Endpoints": {BROKER: "amqp://guest:guest@127.0.0.1:1"}}}
    write(folder, {"Tasks": function("queues", Events={"Queue": event})}, Metadata=settings)
    return folder


def start(folder: Path, *arguments: str, **variables: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [POLLER, "run", *arguments],
        cwd=folder,
        env=environment(**variables),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def read_until(process: subprocess.Popen[str], word: str) -> list[str]:
    """Lines of stderr up to the first one with the word."""
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if word in line:
            return lines
    raise AssertionError(f"no {word!r} in:\n{''.join(lines)}")


def test_the_log_is_json_lines_of_one_schema_where_stderr_is_no_terminal(unreachable: Path) -> None:
    with start(unreachable, POLLER_PORT="0") as process:
        lines = read_until(process, "trying again")
        process.send_signal(signal.SIGTERM)
        stdout, rest = process.communicate(timeout=20)
    assert (process.returncode, stdout) == (0, "")
    for text in [*lines, *rest.splitlines()]:
        line = json.loads(text)
        assert list(line)[:4] == ["time", "level", "logger", "message"]
        assert set(line) <= {"time", "level", "logger", "message", "mapping", "function", "requestId", "exception"}
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])
        assert datetime.fromisoformat(line["time"])
        assert line["level"] in {"DEBUG", "INFO", "WARNING", "ERROR"}
        assert "exception" not in line
    told = json.loads(lines[-1])
    assert told["mapping"] == "Tasks.Queue"
    assert told["message"].startswith("no connection to RabbitMQ at 127.0.0.1:1: ")


def test_text_logs_are_lines_for_a_person(unreachable: Path) -> None:
    with start(unreachable, "--port", "0", "--log-format", "text") as process:
        line = read_until(process, "trying again")[-1]
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
    assert process.returncode == 0
    assert re.match(r"\d\d:\d\d:\d\d\.\d{3} WARNING Tasks\.Queue  no connection to RabbitMQ", line)


def test_the_log_is_quiet_at_level_warning(unreachable: Path) -> None:
    with start(unreachable, "--port", "0", "--log-level", "WARNING") as process:
        lines = read_until(process, "trying again")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
    assert {json.loads(line)["level"] for line in lines} == {"WARNING"}


def test_parameters_come_from_options_and_the_environment(folder: Path) -> None:
    template = textwrap.dedent("""\
        Transform: AWS::Serverless-2016-10-31
        Parameters:
          Name: {Type: String}
        Resources:
          Echo:
            Type: AWS::Serverless::Function
            Properties: {CodeUri: code, Handler: app.echo, Runtime: python3.13, FunctionName: !Ref Name}
        """)
    (folder / "template.yaml").write_text(template)
    missing = poller("validate", cwd=folder)
    assert missing.returncode == 2
    assert "Parameters.Name" in missing.stderr
    named = poller("validate", "--parameter", "Name=mirror", cwd=folder)
    assert "  function mirror: app.echo" in named.stdout
    done = poller("invoke", "mirror", "--event", "-", cwd=folder, stdin="[1]", POLLER_PARAMETER_Name="mirror")
    assert (done.returncode, done.stdout) == (0, "[1]\n")
