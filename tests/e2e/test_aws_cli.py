"""The AWS CLI, as a process of its own, invokes functions of the service as it does on AWS."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from api_service import RUNTIME, arn, served, template_of
from e2e.aws_cli import Cli, aws_cli_or_skip
from packages import ROLE, describing, zip_of
from waiting import eventually

FUNCTIONS = {
    "echo": {"Handler": "basic.echo"},
    "talk": {"Handler": "basic.talk"},
    "raises": {"Handler": "failing.raises"},
    "zero": {"Handler": "basic.echo", "ReservedConcurrentExecutions": 0},
}


@pytest.fixture(scope="module")
def program() -> Path:
    return aws_cli_or_skip()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served(template_of(tmp_path_factory.mktemp("service"), FUNCTIONS)) as address:
        yield address


@pytest.fixture
def aws(program: Path, url: str, tmp_path: Path) -> Cli:
    return Cli(program, url, tmp_path)


def test_invoke_prints_the_status_and_writes_the_payload(aws: Cli) -> None:  # A.1
    done = aws("invoke", "--function-name", arn("echo"), "--payload", '{"a": 1}', "answer.json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == {"StatusCode": 200, "ExecutedVersion": "$LATEST"}
    assert json.loads(aws.answer()) == {"a": 1}


def test_the_log_s_tail_is_shown(aws: Cli) -> None:  # A.1
    done = aws(
        "invoke", "--function-name", "talk", "--log-type", "Tail", "--query", "LogResult", "--output", "text",
        "answer.json",
    )  # fmt: skip
    log = base64.b64decode(done.stdout).decode()
    assert log.startswith("START RequestId: ")
    assert "\nprinted\n" in log
    assert "\nREPORT RequestId: " in log


def test_a_function_that_fails_is_told_and_a_refused_call_ends_with_an_error(aws: Cli) -> None:  # A.3, A.4
    done = aws("invoke", "--function-name", "raises", "answer.json")
    assert (done.returncode, json.loads(done.stdout)["FunctionError"]) == (0, "Unhandled")
    assert json.loads(aws.answer())["errorMessage"] == "text"
    done = aws("invoke", "--function-name", "nobody", "answer.json")
    assert done.returncode != 0
    assert f"(ResourceNotFoundException) when calling the Invoke operation: Function not found: {arn('nobody')}" in (
        done.stderr
    )
    done = aws("invoke", "--function-name", "zero", "answer.json")
    assert done.returncode != 0
    assert "(TooManyRequestsException)" in done.stderr


def test_a_dry_run_answers_204(aws: Cli) -> None:  # A.1
    done = aws("invoke", "--function-name", "echo", "--invocation-type", "DryRun", "answer.json")
    assert json.loads(done.stdout) == {"StatusCode": 204}


def test_a_function_is_created_published_and_called_by_its_alias(aws: Cli, tmp_path: Path) -> None:  # A.7
    (tmp_path / "first.zip").write_bytes(describing("first"))
    (tmp_path / "second.zip").write_bytes(describing("second"))
    named = ("--function-name", "made")
    done = aws("create-function", *named, "--role", ROLE, "--runtime", RUNTIME, "--handler", "app.handler",
               "--zip-file", "fileb://first.zip", "--publish")  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert (json.loads(done.stdout)["State"], json.loads(done.stdout)["Version"]) == ("Pending", "1")
    assert aws("wait", "function-active-v2", *named).returncode == 0
    assert aws("create-alias", *named, "--name", "live", "--function-version", "1").returncode == 0
    assert aws("update-function-code", *named, "--zip-file", "fileb://second.zip").returncode == 0
    for qualifier, code in (("$LATEST", "second"), ("live", "first")):
        aws("invoke", *named, "--qualifier", qualifier, "answer.json")
        assert json.loads(aws.answer())["code"] == code
    refused = aws("delete-function", *named, "--qualifier", "live")
    assert "Deletion of aliases is not currently supported." in refused.stderr
    assert aws("delete-function", *named).returncode == 0
    assert "ResourceNotFoundException" in aws("get-function", *named).stderr


def test_a_layer_is_published_and_environments_are_provisioned(aws: Cli, tmp_path: Path) -> None:  # A.7, E.3
    (tmp_path / "layer.zip").write_bytes(zip_of(("python/greeting.py", "TEXT = 'hello'")))
    code = "import greeting\ndef handler(event, context):\n    return greeting.TEXT"
    (tmp_path / "code.zip").write_bytes(zip_of(("app.py", code)))
    done = aws("publish-layer-version", "--layer-name", "greetings", "--zip-file", "fileb://layer.zip")
    assert (done.returncode, done.stderr) == (0, "")
    layer = json.loads(done.stdout)["LayerVersionArn"]
    named = ("--function-name", "greets")
    done = aws("create-function", *named, "--role", ROLE, "--runtime", RUNTIME, "--handler", "app.handler",
               "--zip-file", "fileb://code.zip", "--layers", layer, "--publish")  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    which = (*named, "--qualifier", "1")
    done = aws("put-provisioned-concurrency-config", *which, "--provisioned-concurrent-executions", "1")
    assert json.loads(done.stdout)["Status"] == "IN_PROGRESS"
    eventually(lambda: json.loads(aws("get-provisioned-concurrency-config", *which).stdout)["Status"] == "READY")
    assert aws("delete-layer-version", "--layer-name", "greetings", "--version-number", "1").returncode == 0
    aws("invoke", *which, "answer.json")
    assert json.loads(aws.answer()) == "hello"


def test_a_call_that_is_not_built_is_told_by_its_name(aws: Cli) -> None:
    done = aws("list-code-signing-configs")
    assert done.returncode != 0
    assert "The operation ListCodeSigningConfigs of Lambda's API is not built." in done.stderr
