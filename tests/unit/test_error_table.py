"""Both tables of A.4, row by row: what the caller of a Python function gets, on our pipes and on AWS's own client.

That both clients give the same of much else, to the byte: `test_both_clients.py`. Node.js: `test_node.py`. What the
platform sets of itself, without a runtime: `test_provided.py`.
"""

import importlib.util
import json
import os
import re
import signal
import sys
from typing import Any, NamedTuple

import pytest
from handlers.rig import Function, exited

from poller.model import Invocation

RUNTIME = f"python3.{sys.version_info[1]}"
AWS = pytest.param(
    "aws",
    marks=pytest.mark.skipif(
        importlib.util.find_spec("awslambdaric") is None and not os.environ.get("CI"),
        reason="AWS's client is not installed: it has wheels for Linux only",
    ),
)

MODULES = {
    "app": """
import os, signal, sys, time
def raises(event, context):
    raise ValueError("text")
def exits(event, context):
    sys.exit(event)
def leaves(event, context):
    os._exit(event)
def dies(event, context):
    os.kill(os.getpid(), event)
    time.sleep(60)
def sleeps(event, context):
    time.sleep(60)
def a_set(event, context):
    return {1}
def echo(event, context):
    return event
""",
    "raising": "import os\nraise ZeroDivisionError('at import')\n",
    "exiting": "import sys\nsys.exit()\n",
    "leaving": "import os\nos._exit(4)\n",
    "killed": "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n",
    "crashing": "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n",
    "broken": "def handler(event, context)\n    return 1\n",
    "needy": "import nowhere\n",
}


class Row(NamedTuple):
    situation: str
    handler: str
    error: dict[str, Any]
    """As the caller gets it; texts that end in … begin so, and CODE is the function's folder."""
    event: bytes = b"null"
    client_context: str | None = None
    timeout: float = 20.0


def timed_out(seconds):
    text = f"RequestId: id-1 Error: Task timed out after {seconds} seconds"
    return {"errorType": "Sandbox.Timedout", "errorMessage": text}


def of_runtime(error_type, message, request_id="", stack_trace=()):
    return {
        "errorMessage": message,
        "errorType": error_type,
        "requestId": request_id,
        "stackTrace": list(stack_trace),
    }


TABLE = [
    Row(
        "exception in the handler",
        "app.raises",
        of_runtime(
            "ValueError",
            "text",
            "id-1",
            ['  File "CODE/app.py", line 4, in raises\n    raise ValueError("text")\n'],
        ),
    ),
    Row("timeout", "app.sleeps", timed_out("1.00"), timeout=1.0),
    Row("sys.exit", "app.exits", exited("without providing a reason")),
    Row("sys.exit with a status", "app.exits", exited("with error: exit status 7"), b"7"),
    Row("os._exit", "app.leaves", exited("with error: exit status 3"), b"3"),
    Row("sys.exit at import", "exiting.handler", exited("without providing a reason")),
    Row("os._exit at import", "leaving.handler", exited("with error: exit status 4")),
    Row("killed", "app.dies", exited("with error: signal: killed"), b"%d" % signal.SIGKILL),
    Row("killed at import", "killed.handler", exited("with error: signal: killed")),
    Row("segmentation fault", "app.dies", exited("with error: signal: segmentation fault"), b"%d" % signal.SIGSEGV),
    Row("segmentation fault at import", "crashing.handler", timed_out("1.00"), timeout=1.0),
    Row(
        "no such module",
        "absent.handler",
        of_runtime("Runtime.ImportModuleError", "Unable to import module 'absent': No module named 'absent'"),
    ),
    Row(
        "the module's import is missing",
        "needy.handler",
        of_runtime("Runtime.ImportModuleError", "Unable to import module 'needy': No module named 'nowhere'"),
    ),
    Row(
        "no such function",
        "app.absent",
        of_runtime("Runtime.HandlerNotFound", "Handler 'absent' missing on module 'app'"),
    ),
    Row(
        "syntax error",
        "broken.handler",
        of_runtime(
            "Runtime.UserCodeSyntaxError",
            "Syntax error in module 'broken': …",
            stack_trace=['  File "CODE/broken.py" Line 1\n    def handler(event, context)\n'],
        ),
    ),
    Row(
        "handler without a dot",
        "handler",
        of_runtime(
            "Runtime.MalformedHandlerName", "Bad handler 'handler': not enough values to unpack (expected 2, got 1)"
        ),
    ),
    Row(
        "Python's own module",
        "sys.exit",
        of_runtime("Runtime.BuiltInModuleConflict", "Cannot use built-in module sys as a handler module"),
    ),
    Row(
        "an event that is no JSON",
        "app.echo",
        of_runtime("Runtime.UnmarshalError", "Unable to unmarshal input: …", "id-1"),
        b"{",
    ),
    Row(
        "a result that is no JSON",
        "app.a_set",
        of_runtime(
            "Runtime.MarshalError", "Unable to marshal response: Object of type set is not JSON serializable", "id-1"
        ),
    ),
    Row(
        "a client context that is no JSON",
        "app.echo",
        of_runtime("Runtime.LambdaContextUnmarshalError", "Unable to parse Client Context JSON: …", "id-1"),
        client_context="{",
    ),
]


@pytest.fixture(scope="module")
def code(tmp_path_factory):
    folder = tmp_path_factory.mktemp("code")
    for name, text in MODULES.items():
        (folder / f"{name}.py").write_text(text)
    return folder


@pytest.fixture(scope="module")
def invoke(code):
    """Invokes on an environment of each handler and client, kept for the module."""
    made = {}

    def run(client, handler, event=b"null", client_context=None, timeout=20.0):
        key = (client, handler, timeout)
        if key not in made:
            made[key] = Function(handler, code=code, runtime=RUNTIME, runtime_client=client, timeout=timeout)
        arn = made[key].configuration.function_arn
        return made[key].environment.invoke(Invocation("id-1", event, arn, client_context=client_context))

    yield run
    for one in made.values():
        one.environment.stop()


def shape(error, code):
    """An error as the table has it."""
    text = json.dumps(error).replace(str(code), "CODE")
    return json.loads(text)


@pytest.mark.parametrize("client", ["poller", AWS])
@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.situation)
def test_the_caller_gets_the_row_s_error(invoke, code, row, client):  # A.4
    result = invoke(client, row.handler, row.event, row.client_context, row.timeout)
    assert (result.status, result.function_error) == (200, "Unhandled")
    error = shape(json.loads(result.payload), code)
    expected = dict(row.error)
    start, more, _ = expected["errorMessage"].partition("…")
    if more and re.fullmatch(re.escape(start) + ".+", error["errorMessage"]):
        expected["errorMessage"] = error["errorMessage"]
    assert error == expected
    assert list(error) == list(expected), "in this order"


@pytest.mark.parametrize("client", ["poller", AWS])
def test_an_exception_at_import_has_no_request_id_and_shows_importlib(invoke, code, client):  # A.4, G.7
    error = shape(json.loads(invoke(client, "raising.handler").payload), code)
    frames = error.pop("stackTrace")
    assert error == {"errorMessage": "at import", "errorType": "ZeroDivisionError", "requestId": ""}
    assert any("importlib" in frame for frame in frames)
    assert frames[-1].startswith('  File "CODE/raising.py", line 2, in <module>\n')


@pytest.mark.parametrize("client", ["poller", AWS])
def test_after_each_end_of_a_process_the_next_event_has_a_new_one(invoke, client):  # E.3
    for handler, event in [("app.exits", b"1"), ("app.leaves", b"3"), ("app.dies", b"%d" % signal.SIGKILL)]:
        for _ in range(2):
            assert "Runtime.ExitError" in invoke(client, handler, event).payload.decode()
    assert invoke(client, "app.echo", b'"well"').payload == b'"well"'
