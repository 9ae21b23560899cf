"""What a Python handler meets in its process, and what the caller gets of it: A.4, E.2, E.4, E.5."""

import json
import os
import sys
from pathlib import Path

import pytest

from poller.model import FunctionConfiguration, Invocation
from poller.runtime.bootstrap import Encoder, Fault, describe, load_handler
from poller.runtime.environment import ExecutionEnvironment

HANDLERS = Path(__file__).parents[1] / "handlers"


@pytest.fixture(scope="module")
def invoke():
    """Invoke a handler of tests/handlers (or of another folder).

    The same function runs in the same environment, unless the test wants to see its whole log.
    """
    environments = {}

    def run(handler, event=b"{}", *, code=HANDLERS, client_context=None, lines=None, **configuration):
        key = (code, handler, repr(configuration), id(lines))
        function = FunctionConfiguration("fn", code, handler, **configuration)
        if key not in environments:
            log = [] if lines is None else lines
            environments[key] = ExecutionEnvironment(function, lambda line, _: log.append(line))
        payload = event if isinstance(event, bytes) else json.dumps(event).encode()
        arn = function.function_arn
        return environments[key].invoke(Invocation("id-1", payload, arn, client_context=client_context))

    yield run
    for environment in environments.values():
        environment.stop()


def error_of(result):
    assert (result.status, result.function_error) == (200, "Unhandled")
    return json.loads(result.payload)


def test_an_exception_gives_the_four_keys_and_whole_frames_of_the_handler_only(invoke):  # A.4, G.6
    lines = []
    error = error_of(invoke("failing.raises", lines=lines))
    file = HANDLERS / "failing.py"
    frame = f'  File "{file}", line 10, in raises\n    raise ValueError("text")\n'
    assert list(error.items()) == [
        ("errorMessage", "text"),
        ("errorType", "ValueError"),
        ("requestId", "id-1"),
        ("stackTrace", [frame]),
    ]
    # E.5: one event, indented with no-break spaces
    assert (
        "[ERROR] ValueError: text\nTraceback (most recent call last):\n"
        f'\u00a0\u00a0File "{file}", line 10, in raises\n\u00a0\u00a0\u00a0\u00a0raise ValueError("text")'
    ) in lines


def test_every_frame_below_the_handler_is_in_the_trace(invoke):
    error = error_of(invoke("failing.deep"))
    assert [frame.split(", in ")[1].split("\n")[0] for frame in error["stackTrace"]] == ["deep", "_below"]
    assert error["errorMessage"] == "'größer'"


def test_an_exception_at_import_has_no_request_id_and_shows_importlib(invoke, tmp_path):  # A.4, G.7
    (tmp_path / "app.py").write_text("import os\nraise ZeroDivisionError('at import')\n")
    lines = []
    error = error_of(invoke("app.handler", code=tmp_path, lines=lines))
    assert list(error) == ["errorMessage", "errorType", "requestId", "stackTrace"]
    assert (error["errorMessage"], error["errorType"], error["requestId"]) == ("at import", "ZeroDivisionError", "")
    assert any("importlib" in frame for frame in error["stackTrace"])
    assert not any("bootstrap.py" in frame for frame in error["stackTrace"])
    assert error["stackTrace"][-1].startswith(f'  File "{tmp_path}/app.py", line 2, in <module>\n')
    # E.3: the init is reported and tried again with the invocation
    reports = [line for line in lines if line.startswith("INIT_REPORT")]
    assert [report.split("\t")[1] for report in reports] == ["Phase: init", "Phase: invoke"]


BAD_CODE = [  # handler, source of app.py, error type, message
    ("absent.handler", "", "Runtime.ImportModuleError", "Unable to import module 'absent': No module named 'absent'"),
    (
        "app.handler",
        "import nowhere",
        "Runtime.ImportModuleError",
        "Unable to import module 'app': No module named 'nowhere'",
    ),
    ("pkg/app.handler", "", "Runtime.ImportModuleError", "Unable to import module 'pkg/app': No module named 'pkg'"),
    ("app.absent", "", "Runtime.HandlerNotFound", "Handler 'absent' missing on module 'app'"),
    (
        "handler",
        "",
        "Runtime.MalformedHandlerName",
        "Bad handler 'handler': not enough values to unpack (expected 2, got 1)",
    ),
    ("sys.exit", "", "Runtime.BuiltInModuleConflict", "Cannot use built-in module sys as a handler module"),
]


@pytest.mark.parametrize("row", BAD_CODE, ids=[row[2] + row[0] for row in BAD_CODE])
def test_bad_code_is_named_by_the_runtime(tmp_path, monkeypatch, row):  # A.4
    handler, source, error_type, message = row
    (tmp_path / "app.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "app", raising=False)
    with pytest.raises(Fault) as fault:
        load_handler(handler)
    sys.modules.pop("app", None)
    assert describe(fault.value, "") == {
        "errorMessage": message,
        "errorType": error_type,
        "requestId": "",
        "stackTrace": [],
    }


def test_a_fault_of_the_code_is_the_callers_answer(invoke):  # A.4
    assert error_of(invoke("basic.absent"))["errorType"] == "Runtime.HandlerNotFound"


def test_a_syntax_error_shows_its_line(invoke, tmp_path):  # A.4
    file = tmp_path / "app.py"
    file.write_text("def handler(event, context)\n    return 1\n")
    error = error_of(invoke("app.handler", code=tmp_path))
    assert error["errorType"] == "Runtime.UserCodeSyntaxError"
    assert error["errorMessage"] == "Syntax error in module 'app': expected ':' (app.py, line 1)"
    assert error["stackTrace"] == [f'  File "{file}" Line 1\n    def handler(event, context)\n']


@pytest.mark.parametrize("event", [b"{", b"\xff\xfe", b"[1] 2"])
def test_an_event_that_is_not_json_is_an_unmarshal_error(invoke, event):  # A.4
    error = error_of(invoke("basic.echo", event))
    assert (error["errorType"], error["requestId"], error["stackTrace"]) == ("Runtime.UnmarshalError", "id-1", [])
    assert error["errorMessage"].startswith("Unable to unmarshal input: ")


def test_a_client_context_that_is_not_json_is_named(invoke):  # A.4
    error = error_of(invoke("basic.echo", client_context="{"))
    assert error["errorType"] == "Runtime.LambdaContextUnmarshalError"
    assert error["errorMessage"].startswith("Unable to parse Client Context JSON: ")


def test_a_result_that_is_not_json_is_a_marshal_error(invoke):  # A.4
    error = error_of(invoke("basic.values", "set"))
    assert (error["errorType"], error["requestId"]) == ("Runtime.MarshalError", "id-1")
    assert error["errorMessage"].startswith("Unable to marshal response: Object of type set is not")


@pytest.mark.parametrize(
    ("event", "runtime", "payload"),
    [
        ("dict", "python3.13", b'{"a": [1, 2.5, true, null]}'),
        ("string", "python3.13", b'"hello"'),
        ("decimal", "python3.13", b"1.10"),
        ("decimals", "python3.13", b'[0.1, {"total": 1E+3}]'),
        ("decimal nan", "python3.13", b"NaN"),
        ("nan", "python3.13", b"NaN"),
        ("text", "python3.12", '"größer ✓"'.encode()),
        ("text", "python3.11", b'"gr\\u00f6\\u00dfer \\u2713"'),
        ("bytes", "python3.13", b"\x00\xffraw"),
    ],
)
def test_a_result_is_encoded_as_lambda_does(invoke, event, runtime, payload):  # A.4
    result = invoke("basic.values", event, runtime=runtime)
    assert (result.payload, result.function_error, result.status) == (payload, None, 200)
    assert result.executed_version == "$LATEST"  # G.1


def test_no_result_is_null_and_no_payload_is_an_empty_object(invoke):  # A.1, G.5
    assert invoke("basic.nothing").payload == b"null"
    assert invoke("basic.echo", b"").payload == b"{}"


def test_an_encoder_of_an_unknown_runtime_escapes():
    assert Encoder("").dump("ö") == r'"\u00f6"'
    assert Encoder("AWS_Lambda_nodejs22.x").dump("ö") == r'"\u00f6"'


@pytest.mark.parametrize("handler", ["package.module.handler", "package/module.handler"])
def test_a_handler_may_be_in_a_package(invoke, handler):
    assert invoke(handler).payload == b'"package.module"'


def test_modules_named_like_the_runtimes_own_belong_to_the_handler(invoke, tmp_path):
    for name in ("frames", "bootstrap", "lambda_context", "process"):
        (tmp_path / f"{name}.py").write_text(f"name = 'my {name}'\n")
    (tmp_path / "app.py").write_text(
        "import bootstrap, frames, lambda_context, process\n"
        "def handler(event, context):\n"
        "    return [bootstrap.name, frames.name, lambda_context.name, process.name]\n"
    )
    expected = ["my bootstrap", "my frames", "my lambda_context", "my process"]
    assert json.loads(invoke("app.handler", code=tmp_path).payload) == expected


def test_the_context_object_is_complete(invoke):  # E.4
    client_context = {"client": {"app_title": "app"}, "custom": {"k": 1}, "env": {"e": "2"}}
    lines = []
    result = invoke(
        "basic.describe_context", client_context=json.dumps(client_context), memory_size=256, timeout=2.0, lines=lines
    )
    context = json.loads(result.payload)
    assert 0 < context.pop("remaining") <= 2000
    stream = context.pop("log_stream_name")
    assert stream.split("/")[3].startswith("[$LATEST]")
    assert context.pop("repr").startswith("LambdaContext([aws_request_id=id-1,log_group_name=/aws/lambda/fn,")
    assert context == {
        "aws_request_id": "id-1",
        "function_name": "fn",
        "function_version": "$LATEST",
        "invoked_function_arn": "arn:aws:lambda:us-east-1:123456789012:function:fn",
        "memory_limit_in_mb": "256",
        "log_group_name": "/aws/lambda/fn",
        "identity": [None, None],
        "client": ["app", {"k": 1}, {"e": "2"}],
        "tenant_id": None,
        "logged": None,
    }
    assert "through the context" in lines


def test_the_handler_sees_lambdas_variables_and_not_the_pollers(invoke, monkeypatch):  # E.2
    monkeypatch.setenv("RABBITMQ_PASSWORD", "secret")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA")
    monkeypatch.setenv("HOME", "/home/somebody")
    result = invoke(
        "basic.environment",
        lines=[],
        environment={"TABLE": "t", "TZ": "Europe/Berlin"},
        region="eu-central-1",
        runtime="python3.13",
        memory_size=512,
    )
    seen = json.loads(result.payload)
    variables = seen["variables"]
    assert "RABBITMQ_PASSWORD" not in variables
    assert variables.pop("AWS_LAMBDA_RUNTIME_API").startswith("127.0.0.1:")
    assert variables.pop("_X_AMZN_TRACE_ID").startswith("Root=1-")
    assert Path(variables.pop("TMPDIR")).is_absolute()
    assert variables.pop("AWS_LAMBDA_LOG_STREAM_NAME")
    expected = {
        "_HANDLER": "basic.environment",
        "AWS_REGION": "eu-central-1",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_EXECUTION_ENV": "AWS_Lambda_python3.13",
        "AWS_LAMBDA_FUNCTION_NAME": "fn",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
        "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/fn",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_ACCESS_KEY_ID": "AKIA",
        "LAMBDA_TASK_ROOT": str(HANDLERS),
        "PWD": str(HANDLERS),
        "LANG": "en_US.UTF-8",
        "LC_CTYPE": "C.UTF-8",
        "TZ": "Europe/Berlin",
        "HOME": "/home/somebody",
        "PATH": os.environ["PATH"],
        "TABLE": "t",
    }
    assert {name: variables.get(name) for name in expected} == expected
    assert seen["folder"] == str(HANDLERS)
    assert seen["path"][0] == str(HANDLERS)
    assert not any(path.endswith("poller/runtime") for path in seen["path"])
    assert len(seen["argv"]) == 1


def test_output_and_logging_become_lines_of_the_log(invoke):  # E.5
    lines = []
    assert invoke("basic.talk", lines=lines).payload == b'"ok"'
    assert lines[0].startswith("INIT_START Runtime Version: python:3.")
    assert lines[1] == "START RequestId: id-1 Version: $LATEST"
    assert lines[2:4] == ["printed", "to stderr"]
    level, time, request_id, message = lines[4].split("\t")
    assert (level, request_id, message) == ("[WARNING]", "id-1", "warned once")
    assert len(time) == len("2025-11-25T10:00:00.123Z")
    assert time.endswith("Z")
    assert lines[5:7] == ["no newline", "END RequestId: id-1"]
    assert lines[7].startswith("REPORT RequestId: id-1\tDuration: ")
    assert len(lines) == 8


def test_a_wrapper_gets_the_runtimes_command_line(invoke, tmp_path):  # E.2 AWS_LAMBDA_EXEC_WRAPPER
    wrapper = tmp_path / "wrapper"
    wrapper.write_text('#!/bin/sh\nexport WRAPPED=yes\nexec "$@"\n')
    wrapper.chmod(0o755)
    result = invoke("basic.environment", environment={"AWS_LAMBDA_EXEC_WRAPPER": str(wrapper)})
    assert json.loads(result.payload)["variables"]["WRAPPED"] == "yes"


def test_a_missing_wrapper_is_an_exit_with_status_127(invoke):  # A.4
    error = error_of(invoke("basic.echo", environment={"AWS_LAMBDA_EXEC_WRAPPER": "/no/such/wrapper"}))
    assert error["errorMessage"] == "RequestId: id-1 Error: Runtime exited with error: exit status 127"


def test_the_runtime_needs_nothing_but_the_standard_library():
    folder = Path(sys.modules[ExecutionEnvironment.__module__].__file__).parent
    for name in (
        "bootstrap.py",
        "event_columns.py",
        "frames.py",
        "lambda_context.py",
        "file_descriptors.py",
        "own_control_group.py",
    ):
        outside = [line for line in (folder / name).read_text().splitlines() if "import" in line and "poller" in line]
        # only for the type checker
        assert all(line.startswith("    from poller.runtime") for line in outside)
