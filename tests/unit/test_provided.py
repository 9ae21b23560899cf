"""Any executable `bootstrap` is a function: what its caller gets of it over the Runtime API (E.1, E.3, A.4)."""

import json
import os
import signal
import sys
from pathlib import Path

import pytest
from handlers.rig import HANDLERS, Function, descriptors, error_of, exited, is_running, wait_until_gone

from poller.model import MAXIMUM_RESPONSE, Invocation


@pytest.fixture
def code(tmp_path):
    program = tmp_path / "bootstrap"
    program.write_text(f"#!{sys.executable}\n{(HANDLERS / 'scripted_bootstrap.py').read_text()}")
    program.chmod(0o755)
    return tmp_path


@pytest.fixture
def function(code):
    made = []

    def make(**configuration):
        made.append(Function("anything", code=code, **{"runtime": "provided.al2023", "timeout": 20.0, **configuration}))
        return made[-1]

    yield make
    for one in made:
        one.environment.stop()


def test_it_is_asked_answered_and_used_again(function):
    fn = function()
    first, second = fn.invoke(["echo", {"a": 1}]), fn.invoke(["echo", None], request_id="id-2")
    assert (first.payload, second.payload) == (b'{"a": 1}', b"null")
    assert (first.status, first.function_error) == (200, None)
    assert first.init_duration > 0
    assert second.init_duration is None
    assert fn.lines[0].startswith("INIT_START Runtime Version: provided:al2023\tRuntime Version ARN: arn:aws:lambda:")
    assert [line.split(" ")[0] for line in fn.lines[1:]] == ["START", "END", "REPORT"] * 2
    assert fn.environment.cold_starts == 1


def test_it_gets_the_headers_of_the_event(function):
    fn = function(timeout=7.0)
    context = json.dumps({"custom": {"k": "ü"}})
    arn = f"{fn.configuration.function_arn}:$LATEST"
    seen = json.loads(fn.environment.invoke(Invocation("id-1", b'["headers"]', arn, client_context=context)).payload)
    assert 0 < seen.pop("remaining") <= 7000
    assert len(seen.pop("Lambda-Runtime-Invocation-Id")) == 32
    assert seen.pop("Lambda-Runtime-Trace-Id").startswith("Root=1-")
    assert int(seen.pop("Lambda-Runtime-Deadline-Ms"))
    assert json.loads(seen.pop("Lambda-Runtime-Client-Context")) == {"custom": {"k": "ü"}}
    assert seen == {"Lambda-Runtime-Aws-Request-Id": "id-1", "Lambda-Runtime-Invoked-Function-Arn": arn}


def test_the_cap_of_an_event_source_bounds_its_deadline(function):  # C.4
    fn = function(timeout=900.0)
    invocation = Invocation("id-1", b'["headers"]', fn.configuration.function_arn, timeout_cap=9.0)
    assert 0 < json.loads(fn.environment.invoke(invocation).payload)["remaining"] <= 9000


def test_an_error_object_is_the_payload_untouched(function):  # E.1
    fn = function()
    result = fn.invoke(["raw error", "Runtime.Mine", "no JSON at all"])
    assert (result.payload, result.function_error, result.status) == (b"no JSON at all", "Unhandled", 200)
    assert fn.report().endswith("\tStatus: error\tError Type: Runtime.Mine")
    fn.invoke(["raw error", "not of the pattern", "x"])
    assert fn.report().endswith("\tError Type: Function.Unknown")
    assert not any("no JSON" in line for line in fn.lines)  # what is logged of it is the runtime's business
    assert fn.environment.cold_starts == 1


def test_a_second_answer_is_403_and_changes_nothing(function):
    fn = function()
    assert fn.invoke(["twice"]).payload == b"0"
    assert fn.invoke(["echo", 2]).payload == b"2"
    assert "statuses [202, 403]" in fn.lines


def test_another_request_id_is_400(function):
    assert json.loads(function().invoke(["another id"]).payload) == [
        400,
        {"errorMessage": "Invalid request ID", "errorType": "InvalidRequestID"},
    ]


def test_asking_again_gives_the_same_event(function):
    assert function().invoke(["ask again"]).payload == b"true"


def test_a_chunked_body_is_one_payload(function):
    assert function().invoke(["chunked", '{"a"', ": 1", "}"]).payload == b'{"a": 1}'


def test_a_reply_above_the_ceiling_is_413_for_it_and_resets_nothing(function):  # A.2, G.11
    fn = function()
    assert error_of(fn.invoke(["large", MAXIMUM_RESPONSE + 1]))["errorType"] == "Function.ResponseSizeTooLarge"
    assert len(fn.invoke(["large", MAXIMUM_RESPONSE]).payload) == MAXIMUM_RESPONSE
    assert "status 413" in fn.lines
    assert fn.environment.cold_starts == 1


def test_hanging_up_in_the_middle_of_an_answer_is_a_truncated_response(function):
    fn = function()
    assert error_of(fn.invoke(["hang up"]))["errorType"] == "Runtime.TruncatedResponse"
    assert fn.invoke(["echo", 1]).payload == b"1"


def test_garbage_costs_a_connection_and_no_more(function):
    fn = function()
    assert fn.invoke(["garbage"]).payload == b'"recovered"'
    assert any("400 Bad Request" in line for line in fn.lines)


def test_a_page_that_made_itself_a_name_for_the_address_is_refused(function):
    fn = function()
    fn.invoke(["wrong host"])
    assert "403" in fn.lines


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (["exit", 0], "without providing a reason"),
        (["exit", 3], "with error: exit status 3"),
        (["kill", int(signal.SIGKILL)], "with error: signal: killed"),
        (["kill", int(signal.SIGSEGV)], "with error: signal: segmentation fault"),
    ],
)
def test_its_end_is_an_exit_error_and_the_next_call_works(function, event, text):  # A.4
    fn = function()
    assert error_of(fn.invoke(event)) == exited(text)
    assert fn.report().endswith("\tStatus: error\tError Type: Runtime.ExitError")
    assert fn.invoke(["echo", 1]).payload == b"1"


def test_a_large_answer_counts_though_it_exits_before_that_is_read(function):
    fn = function()
    for number in range(5):  # not each time is it gone before the last read
        result = fn.invoke(["answer and read nothing", 6_000_000], request_id=f"id-{number}")
        assert (result.function_error, len(result.payload)) == (None, 6_000_000)


def test_an_answer_counts_though_it_exits_right_after_it(function):
    fn = function()
    for _ in range(3):
        result = fn.invoke(["answer and exit", 4])
        assert (result.payload, result.function_error) == (b'"answered"', None)
    assert fn.environment.cold_starts == 3


def test_killed_between_two_invocations_costs_the_next_one_nothing_but_a_start(function):
    fn = function()
    fn.invoke(["echo", 1])
    os.kill(fn.pid, signal.SIGKILL)
    wait_until_gone(fn.pid)
    assert fn.invoke(["echo", 2]).payload == b"2"


def test_a_timeout_kills_the_whole_group(function):  # A.4, G.8
    fn = function(timeout=0.5)
    assert error_of(fn.invoke(["child"])) == {
        "errorType": "Sandbox.Timedout",
        "errorMessage": "RequestId: id-1 Error: Task timed out after 0.50 seconds",
    }
    wait_until_gone(int(fn.wait_for_line("child").split()[1]))
    assert fn.invoke(["echo", 1]).payload == b"1"


def test_an_init_error_is_reported_tried_again_and_the_payload(function):  # E.3
    fn = function(environment={"AT_INIT": "error"})
    result = fn.invoke(["echo", 1])
    assert (result.payload, result.function_error) == (b'{"errorMessage":"no","errorType":"X"}', "Unhandled")
    reports = [line.split("\t")[1:] for line in fn.lines if line.startswith("INIT_REPORT")]
    told = ["Status: error", "Error Type: Runtime.MyInit"]
    assert reports == [["Phase: init", *told], ["Phase: invoke", *told]]


def test_a_restore_error_is_an_init_error_and_restore_waits_for_nothing(function):
    fn = function(environment={"AT_INIT": "restore error"})
    assert fn.invoke(["echo", 1]).payload == b'{"errorMessage":"not restored"}'


def test_an_exit_at_init_is_an_exit_error(function):  # A.4
    fn = function(environment={"AT_INIT": "exit"})
    assert error_of(fn.invoke(["echo", 1])) == exited("with error: exit status 5")


def test_an_init_over_its_limit_runs_again_inside_the_invocation(code):  # E.3
    fn = Function(
        "x", code=code, runtime="provided.al2", timeout=20.0, environment={"AT_INIT": "slow once"}, init_timeout=2.0
    )
    result = fn.invoke(["echo", 1])
    fn.environment.stop()
    assert (result.payload, result.init_duration) == (b"1", None)
    assert any(line.startswith("INIT_REPORT") and line.endswith("Status: timeout") for line in fn.lines)


def test_what_it_prints_after_its_answer_comes_before_the_next_answer(function):
    fn = function()
    fn.invoke(["print after answer", "late"])
    fn.invoke(["echo", 1])
    assert "late" in fn.lines


def test_it_has_the_limits_and_variables_of_a_function(function, code, monkeypatch):  # E.2, E.3
    monkeypatch.setenv("RABBITMQ_PASSWORD", "secret")
    fn = function(environment={"MINE": "x"})
    assert fn.invoke(["limit"]).payload == b"1024"
    seen = json.loads(fn.invoke(["environment"]).payload)
    variables = seen["variables"]
    assert seen["folder"] == str(code)
    assert {name: variables[name] for name in ("_HANDLER", "MINE", "LAMBDA_TASK_ROOT")} == {
        "_HANDLER": "anything",
        "MINE": "x",
        "LAMBDA_TASK_ROOT": str(code),
    }
    assert variables["AWS_LAMBDA_RUNTIME_API"].startswith("127.0.0.1:")
    assert "AWS_EXECUTION_ENV" not in variables  # not defined for runtimes that are only an operating system
    assert "RABBITMQ_PASSWORD" not in variables


def test_it_may_clean_up_at_the_stop(function, tmp_path):  # E.3 Shutdown
    fn = function()
    fn.invoke(["at sigterm", str(tmp_path / "clean")])
    fn.environment.stop()
    assert (tmp_path / "clean").exists()


def test_stop_leaves_no_process_no_descriptor_and_no_folder(function):
    before = descriptors()
    fn = function()
    temporary = Path(json.loads(fn.invoke(["environment"]).payload)["variables"]["TMPDIR"])
    pid = fn.pid
    assert temporary.is_dir()
    fn.environment.stop()
    assert not is_running(pid)
    assert not temporary.exists()
    assert descriptors() == before


@pytest.mark.parametrize(
    ("content", "mode", "text"),
    [
        (None, 0, "Couldn't find valid bootstrap(s): [FOLDER/bootstrap]"),
        ("#!/bin/sh\n", 0o644, "fork/exec FOLDER/bootstrap: permission denied"),
        ("echo no first line\n", 0o755, "fork/exec FOLDER/bootstrap: exec format error"),
        ("#!/no/such/interpreter\n", 0o755, "fork/exec FOLDER/bootstrap: no such file or directory"),
    ],
)
def test_no_program_to_start_is_an_invalid_entry_point(tmp_path, content, mode, text):  # A.4
    if content is not None:
        (tmp_path / "bootstrap").write_text(content)
        (tmp_path / "bootstrap").chmod(mode)
    if mode == 0o644 and os.geteuid() == 0:
        assert not os.access(tmp_path / "bootstrap", os.X_OK)  # nobody may run it, root neither
    fn = Function("x", code=tmp_path, runtime="provided.al2023")
    error = error_of(fn.invoke())
    fn.environment.stop()
    assert error == {
        "errorType": "Runtime.InvalidEntrypoint",
        "errorMessage": f"RequestId: id-1 Error: {text.replace('FOLDER', str(tmp_path))}",
    }
    assert fn.report().endswith("\tStatus: error\tError Type: Runtime.InvalidEntrypoint")


def test_a_runtime_that_the_machine_has_not_is_our_own_fault_and_told(tmp_path, monkeypatch):
    monkeypatch.setattr("poller.runtime.launch.find", lambda _: None)
    result = Function("app.handler", code=tmp_path, runtime="java21").invoke()
    assert result.status == 500
    assert "there is nothing for java21 on this machine; it has " in json.loads(result.payload)["Message"]
