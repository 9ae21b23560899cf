"""Statements 1 to 15 of part G, through AWS's own client (boto3) on the real service: a port, pools, processes.

On functions of the template, by the poller's own client for Python and by AWS's, and on the same ones made by calls.
"""

from __future__ import annotations

import base64
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from api_service import RUNTIME, arn, aws_client, served, template_of
from botocore.exceptions import ClientError
from handlers.rig import HANDLERS
from packages import ROLE
from waiting import eventually

from poller.account.function_requests import LOCAL_FOLDER

MAXIMUM_RESPONSE = 6_291_556
FUNCTIONS = {
    "echo": {"Handler": "basic.echo"},
    "nothing": {"Handler": "basic.nothing"},
    "count": {"Handler": "basic.count"},
    "large": {"Handler": "basic.large", "Timeout": 30},
    "context": {"Handler": "basic.describe_context"},
    "talk": {"Handler": "basic.talk"},
    "files": {"Handler": "basic.leave_file", "Timeout": 1},
    "raises": {"Handler": "failing.raises"},
    "exits": {"Handler": "failing.exits"},
    "import": {"Handler": "at_import.handler"},
    "one": {"Handler": "meeting.meet", "Timeout": 30, "ReservedConcurrentExecutions": 1},
}


@pytest.fixture(scope="module", params=["declared", "aws", "created"])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Functions of the template, and the same ones made by calls, save the one that reserves concurrency."""
    folder = tmp_path_factory.mktemp("service")
    if request.param == "aws" and not os.environ.get("CI"):
        pytest.importorskip("awslambdaric", reason="AWS's client is not installed: it has wheels for Linux only")
    if request.param != "created":
        with served(
            template_of(folder, FUNCTIONS, RuntimeClient="aws" if request.param == "aws" else "poller")
        ) as address:
            yield address
        return
    with served(template_of(folder, {"one": FUNCTIONS["one"]})) as address:
        made = aws_client(address)
        code = {"S3Bucket": LOCAL_FOLDER, "S3Key": str(HANDLERS)}
        for name, properties in FUNCTIONS.items():
            if name != "one":
                made.create_function(FunctionName=name, Role=ROLE, Runtime=RUNTIME, Code=code, **properties)
        made.close()
        yield address


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[Any]:
    made = aws_client(url)
    yield made
    made.close()


def headers(answer: dict[str, Any]) -> dict[str, str]:
    return answer["ResponseMetadata"]["HTTPHeaders"]


def payload(answer: dict[str, Any]) -> Any:
    return json.loads(answer["Payload"].read())


def refusal(call: Any, **arguments: Any) -> dict[str, Any]:
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    return caught.value.response


@pytest.mark.statement(1)
def test_what_the_handler_returns_is_the_body(client: Any) -> None:
    """G 1."""
    answer = client.invoke(FunctionName="echo", Payload=b'{"a": [1, "\\u00e4"]}')
    assert (answer["StatusCode"], answer["ExecutedVersion"]) == (200, "$LATEST")
    assert "FunctionError" not in answer
    assert payload(answer) == {"a": [1, "ä"]}
    assert headers(answer)["content-type"] == "application/json"


@pytest.mark.statement(2)
def test_an_event_is_taken_and_nothing_more_is_said(client: Any) -> None:
    """G 2."""
    answer = client.invoke(FunctionName="echo", InvocationType="Event", Payload=b"{}")
    assert (answer["StatusCode"], answer["Payload"].read()) == (202, b"")
    assert "ExecutedVersion" not in answer


@pytest.mark.statement(3)
def test_a_dry_run_runs_nothing(client: Any) -> None:
    """G 3."""
    before = payload(client.invoke(FunctionName="count"))["calls"]
    answer = client.invoke(FunctionName="count", InvocationType="DryRun")
    assert (answer["StatusCode"], answer["Payload"].read()) == (204, b"")
    assert "ExecutedVersion" not in answer
    assert payload(client.invoke(FunctionName="count"))["calls"] == before + 1


@pytest.mark.statement(4)
def test_the_log_tail_is_that_of_the_request(client: Any) -> None:
    """G 4."""
    answer = client.invoke(FunctionName="talk", LogType="Tail")
    log = base64.b64decode(answer["LogResult"])
    request_id = headers(answer)["x-amzn-requestid"]
    assert len(log) <= 4096
    lines = log.decode().splitlines()
    assert lines[0] == f"START RequestId: {request_id} Version: $LATEST"
    assert "printed" in lines
    assert f"END RequestId: {request_id}" in lines
    assert lines[-1].startswith(f"REPORT RequestId: {request_id}\tDuration: ")
    assert "LogResult" not in client.invoke(FunctionName="talk")


@pytest.mark.statement(5)
def test_nothing_returned_is_null(client: Any) -> None:
    """G 5."""
    assert client.invoke(FunctionName="nothing")["Payload"].read() == b"null"


@pytest.mark.statement(6)
def test_an_exception_is_a_200_with_an_error_object(client: Any) -> None:
    """G 6."""
    answer = client.invoke(FunctionName="raises")
    assert (answer["StatusCode"], answer["FunctionError"]) == (200, "Unhandled")
    error = payload(answer)
    assert list(error) == ["errorMessage", "errorType", "requestId", "stackTrace"]
    assert (error["errorMessage"], error["errorType"]) == ("text", "ValueError")
    assert error["requestId"] == headers(answer)["x-amzn-requestid"]


@pytest.mark.statement(7)
def test_a_module_that_raises_at_import_has_no_request_id(client: Any) -> None:
    """G 7."""
    answer = client.invoke(FunctionName="import")
    error = payload(answer)
    assert (answer["StatusCode"], answer["FunctionError"]) == (200, "Unhandled")
    assert (error["errorMessage"], error["requestId"]) == ("not today", "")


@pytest.mark.statement(8, 10)
def test_a_timeout_is_told_and_leaves_files_and_no_globals(client: Any) -> None:
    """G 8 and G 10."""
    assert payload(client.invoke(FunctionName="files", Payload=b'"run"')) == {"found": False, "calls": 1}
    answer = client.invoke(FunctionName="files", Payload=b'"sleep"')
    request_id = headers(answer)["x-amzn-requestid"]
    assert answer["FunctionError"] == "Unhandled"
    assert payload(answer) == {
        "errorType": "Sandbox.Timedout",
        "errorMessage": f"RequestId: {request_id} Error: Task timed out after 1.00 seconds",
    }
    assert payload(client.invoke(FunctionName="files", Payload=b'"run"')) == {"found": True, "calls": 1}


@pytest.mark.statement(9)
def test_an_exit_is_told(client: Any) -> None:
    """G 9."""
    answer = client.invoke(FunctionName="exits", Payload=b"0")
    error = payload(answer)
    assert (answer["FunctionError"], error["errorType"]) == ("Unhandled", "Runtime.ExitError")
    assert error["errorMessage"].endswith("Error: Runtime exited without providing a reason")


@pytest.mark.statement(11)
def test_a_response_too_large_is_refused_and_the_environment_stays(client: Any, request: pytest.FixtureRequest) -> None:
    """G 11. The result is a JSON text: two bytes more than its characters. AWS's client ends itself, as no answer is
    taken of it.
    """
    answer = client.invoke(FunctionName="large", Payload=str(MAXIMUM_RESPONSE - 2).encode())
    assert "FunctionError" not in answer
    assert len(answer["Payload"].read()) == MAXIMUM_RESPONSE
    answer = client.invoke(FunctionName="large", Payload=str(MAXIMUM_RESPONSE - 1).encode(), LogType="Tail")
    assert (answer["StatusCode"], answer["FunctionError"]) == (200, "Unhandled")
    assert payload(answer) == {
        "errorMessage": "Response payload size exceeded maximum allowed payload size (6291556 bytes).",
        "errorType": "Function.ResponseSizeTooLarge",
    }
    again = client.invoke(FunctionName="large", Payload=b"1", LogType="Tail")
    assert payload(again) == "x"
    if request.node.callspec.params["url"] != "aws":
        assert b"Init Duration" not in base64.b64decode(again["LogResult"]), "no new process"


@pytest.mark.statement(12)
@pytest.mark.parametrize(("qualifier", "told"), [({}, "$LATEST"), ({"Qualifier": "7"}, "7")])
def test_an_unknown_function_or_version_is_404(client: Any, qualifier: dict[str, str], told: str) -> None:
    """G 12."""
    for name in ["nobody"] if not qualifier else ["nobody", "echo"]:
        answer = refusal(client.invoke, FunctionName=name, **qualifier)
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 404
        assert answer["Error"]["Code"] == "ResourceNotFoundException"
        assert answer["Message"] == f"Function not found: {arn(name)}:{told}"
        assert answer["Type"] == "User"


@pytest.mark.statement(13)
@pytest.mark.parametrize("body", [b"{", b"{'a': 1}", b'{"a": "' + b"x" * 500_000], ids=["short", "quotes", "long"])
def test_a_body_that_is_not_json_is_400(client: Any, body: bytes) -> None:
    """G 13."""
    answer = refusal(client.invoke, FunctionName="echo", Payload=body)
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert answer["Error"]["Code"] == "InvalidRequestContentException"
    start = "Could not parse request body into json: Could not parse payload into json: "
    assert answer["message"].startswith(start)
    assert "\n at [Source: REDACTED; line: 1, column: " in answer["message"]


@pytest.mark.parametrize(
    ("body", "what", "column"),
    [(b'{"a": NaN}', "NaN", 7), (b'["NaN", "\\"NaN",\n -Infinity]', "-Infinity", 2), (b"Infinity", "Infinity", 1)],
)
def test_what_only_python_takes_for_a_number_is_no_json(
    client: Any, body: bytes, what: str, column: int
) -> None:  # A.3
    answer = refusal(client.invoke, FunctionName="echo", Payload=body)
    assert answer["Error"]["Code"] == "InvalidRequestContentException"
    assert f"into json: Non-standard token '{what}'\n" in answer["message"]
    assert answer["message"].endswith(f"; line: {body.count(10) + 1}, column: {column}]")


def test_json_may_have_a_byte_order_mark(client: Any) -> None:  # A.3
    answer = client.invoke(FunctionName="echo", Payload=b'\xef\xbb\xbf{"a": "NaN"}')
    assert (answer.get("FunctionError"), payload(answer)) == (None, {"a": "NaN"})


@pytest.mark.statement(14)
def test_reserved_concurrency_in_use_is_429(client: Any, url: str, tmp_path: Path) -> None:
    """G 14."""
    begun, end = tmp_path / "begun", tmp_path / "end"
    event = json.dumps({"begun": str(begun), "end": str(end)}).encode()
    first: list[Any] = []
    other = aws_client(url)
    thread = threading.Thread(target=lambda: first.append(payload(other.invoke(FunctionName="one", Payload=event))))
    thread.start()
    eventually(begun.exists)
    answer = refusal(client.invoke, FunctionName="one", Payload=event)
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 429
    assert answer["Error"]["Code"] == "TooManyRequestsException"
    assert answer["Reason"] == "ReservedFunctionConcurrentInvocationLimitExceeded"
    assert (answer["message"], answer["Type"]) == ("Rate Exceeded.", "User")
    assert answer["ResponseMetadata"]["HTTPHeaders"]["retry-after"] == "1"
    end.touch()
    thread.join()
    other.close()
    assert first == ["met"]


@pytest.mark.statement(15)
def test_two_qualifiers_that_differ_are_400(client: Any) -> None:
    """G 15."""
    answer = refusal(client.invoke, FunctionName="echo:$LATEST", Qualifier="1")
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert answer["Error"]["Code"] == "InvalidParameterValueException"
    assert answer["message"] == "The derived qualifier from the function name does not match the specified qualifier."


# --- beside the statements -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "qualifier", "invoked"),
    [
        ("context", None, arn("context")),
        ("context", "$LATEST", f"{arn('context')}:$LATEST"),
        ("context:$LATEST", "$LATEST", f"{arn('context')}:$LATEST"),
        ("123456789012:function:context", None, arn("context")),
        ("123456789012:context", None, arn("context")),
        (arn("context"), None, arn("context")),
        (f"{arn('context')}:$LATEST", None, f"{arn('context')}:$LATEST"),
    ],
)
def test_a_function_is_called_by_name_or_arn_and_its_own_arn_follows_the_call(
    client: Any, name: str, qualifier: str | None, invoked: str
) -> None:  # A.1
    given = {} if qualifier is None else {"Qualifier": qualifier}
    context = payload(client.invoke(FunctionName=name, **given))
    assert (context["invoked_function_arn"], context["function_name"]) == (invoked, "context")


def test_a_client_context_reaches_the_handler(client: Any) -> None:  # A.1
    context = {"client": {"app_title": "shop"}, "custom": {"k": "ü"}, "env": {"e": 1}}
    encoded = base64.b64encode(json.dumps(context).encode()).decode()
    answer = payload(client.invoke(FunctionName="context", ClientContext=encoded))
    assert answer["client"] == ["shop", {"k": "ü"}, {"e": 1}]


@pytest.mark.parametrize(
    ("function", "event", "error"),
    [("echo", b'{"a": 1}', None), ("large", b"300000", None), ("raises", b"{}", "Unhandled")],
)
def test_a_response_stream_has_chunks_and_an_end(client: Any, function: str, event: bytes, error: str | None) -> None:
    """A.1: the client checks lengths and checksums of every message."""
    answer = client.invoke_with_response_stream(FunctionName=function, Payload=event, LogType="Tail")
    assert (answer["StatusCode"], answer["ExecutedVersion"]) == (200, "$LATEST")
    *chunks, last = list(answer["EventStream"])
    whole = b"".join(chunk["PayloadChunk"]["Payload"] for chunk in chunks)
    complete = last["InvokeComplete"]
    assert base64.b64decode(complete["LogResult"]).startswith(b"START RequestId: ")
    assert complete.get("ErrorCode") == error
    if error is None:
        assert json.loads(whole) == (json.loads(event) if function == "echo" else "x" * 300_000)
        assert len(chunks) == (1 if function == "echo" else 3)
    else:
        assert whole == b""
        assert json.loads(complete["ErrorDetails"])["errorType"] == "ValueError"


def test_what_is_not_built_says_so(client: Any) -> None:
    answer = refusal(client.list_code_signing_configs)
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 501
    assert "ListCodeSigningConfigs" in answer["Error"]["Message"]
