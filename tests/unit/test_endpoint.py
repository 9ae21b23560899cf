"""The door of Lambda's API and its operations, without a network: who may call, how much, and what is not built."""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry

from poller.api import call, event_source_mappings
from poller.api.call import Memory
from poller.api.endpoint import Door, Endpoint, host_name
from poller.api.health import application
from poller.api.invocations import READ_HERE, Invocations
from poller.api.operation_table import OPERATIONS
from poller.api.operations import BUILT, operation_of
from poller.api_errors import ApiError
from poller.errors import PollerError
from poller.model import MAXIMUM_PAYLOAD, Invocation, InvocationResult

INVOKE = "/2015-03-31/functions/f/invocations"
STREAM = "/2021-11-15/functions/f/response-streaming-invocations"


class Pool:
    """Answers with the event, or with what it is told."""

    def __init__(self) -> None:
        self.invoked: list[Invocation] = []
        self.answer: InvocationResult | None = None

    def submit(self, invocation: Invocation, on_result: Callable[[InvocationResult], None], *, wait: bool) -> None:
        assert not wait
        self.invoked.append(invocation)
        on_result(self.answer or InvocationResult(invocation.request_id, invocation.payload, log_tail=b"log"))


class Functions:
    account_id, region = "123456789012", "us-east-1"

    def __init__(self) -> None:
        self.only = Pool()
        self.full = False

    def pool(self, function_name: str, qualifier: str = "") -> Any:
        return self.only if function_name == "f" else None

    def at_account_limit(self, function_name: str, qualifier: str = "") -> bool:
        return self.full


class Queue:
    def __init__(self) -> None:
        self.accepted: list[tuple[object, ...]] = []

    def accept(self, *given: object) -> str:
        self.accepted.append(given)
        return "the-event-s-own-id"


class Service:
    """The endpoint with functions and mappings that do nothing."""

    def __init__(self, door: Door | None = None, queue: Queue | None = None, refusal: str = "") -> None:
        self.functions = Functions()
        plane: Any = None
        app = application(CollectorRegistry(), list, lambda: True, calls=event_source_mappings.routes(plane))
        self.endpoint = Endpoint(app, refusal or Invocations(self.functions, queue or Queue()), door)

    def ask(
        self, method: str = "POST", path: str = INVOKE, headers: Mapping[str, str] | None = None, **given: Any
    ) -> httpx.Response:
        async def run() -> httpx.Response:
            transport = httpx.ASGITransport(self.endpoint, raise_app_exceptions=False)  # type: ignore[arg-type]
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:9001") as client:
                return await client.request(method, path, headers=headers, **given)

        return asyncio.run(run())


def told(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.headers["x-amzn-ErrorType"]


# --- who may call --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [INVOKE, STREAM, "/2015-03-31/event-source-mappings", "/2015-03-31/functions"])
def test_a_web_page_may_call_nothing(path: str) -> None:
    service = Service()
    answer = service.ask(path=path, headers={"Origin": "https://elsewhere.example"}, content=b"{}")
    assert told(answer) == (403, "AccessDeniedException")
    assert answer.json() == {"Message": "Calls from web pages are not accepted.", "Type": "User"}
    assert service.functions.only.invoked == []


@pytest.mark.parametrize("path", [INVOKE, "/2015-03-31/event-source-mappings"])
@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:9001", "127.0.0.1.evil.example", "localhost.example", ""]
)
def test_a_name_that_is_not_the_service_s_is_refused_as_anybody_could_point_it_here(path: str, host: str) -> None:
    service = Service(Door(["poller.internal"]))
    answer = service.ask(path=path, headers={"Host": host}, content=b"{}")
    assert told(answer) == (403, "AccessDeniedException")
    assert "Hosts" in answer.json()["Message"]
    assert service.functions.only.invoked == []


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.0.0.1:9001", "192.0.2.7", "[::1]:9001", "localhost", "LOCALHOST:1", "a.localhost:9001",
     "poller.internal", "Poller.Internal:9001"],
)  # fmt: skip
def test_addresses_localhost_and_the_names_of_the_settings_are_the_service_s(host: str) -> None:
    assert Service(Door(["Poller.internal", ""])).ask(headers={"Host": host}).status_code == 200


def test_metrics_and_health_are_for_everybody_who_reaches_the_port() -> None:
    for path in ("/metrics", "/healthz", "/readyz"):
        headers = {"Host": "evil.example", "Origin": "https://elsewhere.example"}
        assert Service().ask("GET", path, headers=headers).status_code == 200


@pytest.mark.parametrize(("host", "name"), [("a:1", "a"), ("[::1]:1", "::1"), ("::1", "::1"), ("", "")])
def test_a_host_is_read_with_or_without_its_port(host: str, name: str) -> None:
    assert host_name(host) == name


# --- operations ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "method", "uri"), OPERATIONS, ids=lambda text: text if text.isalpha() else "")
def test_every_operation_is_built_or_refused_by_its_name(name: str, method: str, uri: str) -> None:
    path = re.sub(r"\{\w+\}", "f", uri)
    assert operation_of(method, *path.partition("?")[::2]) == name
    if name in BUILT:
        return
    answer = Service().ask(method, path)
    assert told(answer) == (501, "NotImplementedException")
    assert answer.headers["x-amzn-RequestId"]
    assert name in answer.json()["message"]


def test_the_operations_are_those_of_aws_s_model() -> None:
    from docs import operations

    assert operations.TABLE.read_text() == operations.module(), "run .venv/bin/python docs/generate.py"
    assert {name for name, _, _ in OPERATIONS} >= BUILT


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/"), ("POST", "/favicon.ico"), ("PATCH", INVOKE), ("GET", INVOKE), ("POST", "/metrics/"),
     ("POST", "/2015-03-31/functions/a/b/invocations"), ("POST", "/2015-03-31/functions//invocations")],
)  # fmt: skip
def test_a_path_that_is_no_operation_is_404(method: str, path: str) -> None:
    answer = Service().ask(method, path)
    assert told(answer) == (404, "UnknownOperationException")
    assert uuid.UUID(answer.headers["x-amzn-RequestId"]).version == 4


def test_with_several_workers_a_call_is_told_why_it_cannot_be_made() -> None:
    answer = Service(refusal="Not here.").ask(content=b"{}")
    assert told(answer) == (400, "InvalidParameterValueException")
    assert answer.json() == {"message": "Not here.", "Type": "User"}


# --- Invoke --------------------------------------------------------------------------------------------------------


def test_the_path_may_be_percent_encoded_and_end_in_a_slash() -> None:  # A.1
    service = Service()
    arn = "arn%3Aaws%3Alambda%3Aus-east-1%3A123456789012%3Afunction%3Af"
    assert service.ask(path=f"/2015-03-31/functions/{arn}/invocations/?Qualifier=%24LATEST").status_code == 200
    assert service.functions.only.invoked[0].invoked_function_arn.endswith(":function:f:$LATEST")
    assert told(service.ask(path="/2015-03-31/functions/a%2Fb/invocations")) == (400, "ValidationException")


@pytest.mark.parametrize(
    ("headers", "field"),
    [({"X-Amz-Invocation-Type": "Sometimes"}, "invocationType"), ({"X-Amz-Log-Type": "Head"}, "logType")],
)
def test_a_header_with_a_value_of_its_own_is_refused(headers: dict[str, str], field: str) -> None:  # A.3
    answer = Service().ask(headers=headers)
    assert told(answer) == (400, "ValidationException")
    assert set(answer.json()) == {"message"}
    assert f"at '{field}' failed to satisfy constraint: Member must satisfy enum value set: [" in answer.text


@pytest.mark.parametrize("header", ["X-Amz-Tenant-Id", "X-Amz-Durable-Execution-Name"])
def test_a_header_that_would_mean_something_that_is_not_here_is_refused(header: str) -> None:
    service = Service()
    answer = service.ask(headers={header: "one"}, content=b"{}")
    assert told(answer) == (400, "InvalidParameterValueException")
    assert header in answer.json()["message"]
    assert service.functions.only.invoked == []


def test_a_stream_cannot_be_asynchronous() -> None:  # A.1
    answer = Service().ask(path=STREAM, headers={"X-Amz-Invocation-Type": "Event"})
    assert told(answer) == (400, "ValidationException")
    assert Service().ask(path=STREAM, headers={"X-Amz-Invocation-Type": "DryRun"}).status_code == 204


def test_the_account_s_concurrency_in_use_is_429() -> None:  # A.2, A.3
    service = Service()
    service.functions.full = True
    answer = service.ask(content=b"{}")
    assert told(answer) == (429, "TooManyRequestsException")
    assert answer.headers["Retry-After"] == "1"
    assert answer.json() == {
        "Reason": "ConcurrentInvocationLimitExceeded",
        "Type": "User",
        "message": "Rate Exceeded.",
    }
    assert service.functions.only.invoked == []


def test_a_fault_of_ours_is_a_500_in_aws_s_shape() -> None:  # A.3
    service = Service()
    service.functions.only.answer = InvocationResult("r", b'{"Type":"Service","Message":"no"}', status=500)
    answer = service.ask(content=b"{}")
    assert told(answer) == (500, "ServiceException")
    assert answer.json() == {"Type": "Service", "Message": "no"}


@pytest.mark.parametrize("path", [INVOKE, "/2015-03-31/event-source-mappings/u"])
def test_a_mistake_of_this_program_s_is_a_500_in_aws_s_shape_and_tells_nothing(
    path: str,
) -> None:
    service = Service()
    service.functions.only.submit = None  # type: ignore[method-assign,assignment]
    answer = service.ask("POST" if path == INVOKE else "GET", path, content=b"{}")
    assert told(answer) == (500, "ServiceException")
    assert answer.json() == {"Message": "An internal error; the log of the service has more.", "Type": "Service"}
    assert answer.headers["x-amzn-RequestId"]


def test_a_payload_of_6_mb_is_the_largest() -> None:  # A.2
    service = Service()
    body = b'"' + b"x" * (MAXIMUM_PAYLOAD - 2) + b'"'
    assert service.ask(content=body).status_code == 200
    answer = service.ask(content=body + b" ")
    assert told(answer) == (413, "RequestTooLargeException")
    assert answer.json()["message"] == (
        "6291457 byte payload is too large for the RequestResponse invocation type (limit 6291456 bytes)"
    )
    assert len(service.functions.only.invoked) == 1


def test_a_body_without_a_length_is_refused_while_it_comes_in() -> None:  # A.2
    sent: list[dict[str, Any]] = []
    taken = 0

    async def receive() -> dict[str, Any]:
        nonlocal taken
        taken += 1
        assert not sent or taken < 2000
        return {"type": "http.request", "body": b" " * 65536, "more_body": taken < 200}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            assert taken == 97, "as soon as there is one byte too many"
        sent.append(message)

    scope = {
        "type": "http", "method": "POST", "path": INVOKE, "raw_path": INVOKE.encode(), "query_string": b"",
        "headers": [(b"host", b"127.0.0.1")],
    }  # fmt: skip
    asyncio.run(Service().endpoint(scope, receive, send))
    assert sent[0]["status"] == 413
    assert (json.loads(sent[1]["body"])["Type"], taken) == ("User", 200), "and the rest is thrown away"


def test_a_client_that_goes_away_while_it_sends_is_nobody_to_answer() -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        raise AssertionError(message)

    scope = {
        "type": "http", "method": "POST", "path": INVOKE, "raw_path": INVOKE.encode(), "query_string": b"",
        "headers": [(b"host", b"127.0.0.1")],
    }  # fmt: skip
    service = Service()
    asyncio.run(service.endpoint(scope, receive, send))
    assert service.functions.only.invoked == []


@pytest.mark.parametrize("path", [INVOKE, "/2015-03-31/event-source-mappings"])
def test_a_client_that_sends_its_body_drop_by_drop_is_408_after_a_minute(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(call, "BODY_WITHIN", 0.01)

    async def asked() -> tuple[int, dict[bytes, bytes]]:
        answered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        drops = iter([b"{"])

        async def receive() -> dict[str, Any]:
            drop = next(drops, None)
            if drop is None:
                await asyncio.Event().wait()
            return {"type": "http.request", "body": drop, "more_body": True}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                answered.set_result(message)

        scope = {
            "type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b"",
            "headers": [(b"host", b"127.0.0.1")],
        }  # fmt: skip
        task = asyncio.ensure_future(Service().endpoint(scope, receive, send))
        message = await answered
        task.cancel()
        return message["status"], dict(message["headers"])

    status, headers = asyncio.run(asked())
    assert (status, headers[b"x-amzn-errortype"]) == (408, b"RequestTimeoutException")


def test_bodies_take_no_more_memory_than_there_is_for_all_and_give_it_back() -> None:
    service = Service()
    service.endpoint._memory = Memory(1000)
    for _ in range(3):
        assert service.ask(content=b'"%b"' % (b"x" * 900)).status_code == 200
    answer = service.ask(content=b'"%b"' % (b"x" * 1000))
    assert told(answer) == (503, "ServiceUnavailableException")
    assert service.ask(content=b"1").status_code == 200


@pytest.mark.parametrize("size", [0, READ_HERE])
def test_what_the_function_s_process_could_not_read_is_the_caller_s_fault_if_it_was_not_read_here(size: int) -> None:
    service = Service()  # A.3
    error = {"errorType": "Runtime.UnmarshalError", "errorMessage": "Unable to unmarshal input: Extra data: line 1 column 9 (char 8)"}  # fmt: skip
    service.functions.only.answer = InvocationResult("r", json.dumps(error).encode(), function_error="Unhandled")
    answer = service.ask(content=b'"%b"' % (b"x" * size))
    if size:
        assert told(answer) == (400, "InvalidRequestContentException")
        assert answer.json()["message"] == (
            "Could not parse request body into json: Could not parse payload into json: Extra data\n"
            " at [Source: REDACTED; line: 1, column: 9]"
        )
    else:
        assert (answer.status_code, answer.json()) == (200, error)


def test_a_large_payload_s_function_error_is_the_function_s_own() -> None:
    service = Service()
    for own in (b'{"errorType":"ValueError"}', b'{"errorType":"Runtime.UnmarshalError"}', b"[]", b"null", b"no JSON"):
        service.functions.only.answer = InvocationResult("r", own, function_error="Unhandled")
        assert service.ask(content=b'"%b"' % (b"x" * READ_HERE)).content == own


# --- Event ---------------------------------------------------------------------------------------------------------


def test_an_event_is_answered_once_the_queue_has_it() -> None:  # A.1
    queue = Queue()
    answer = Service(queue=queue).ask(
        path=f"{INVOKE}?Qualifier=$LATEST",
        headers={"X-Amz-Invocation-Type": "Event", "X-Amz-Client-Context": "e30="},
        content=b"[1]",
    )
    assert (answer.status_code, answer.content) == (202, b"")
    assert "x-amz-executed-version" not in answer.headers
    assert answer.headers["x-amzn-RequestId"] == "the-event-s-own-id"
    assert queue.accepted == [("f", "$LATEST", b"[1]")], "the client context is for synchronous invocations only"


def test_invoke_async_is_an_event_by_another_path() -> None:  # A.1
    queue = Queue()
    answer = Service(queue=queue).ask(path="/2014-11-13/functions/f/invoke-async/", content=b"{}")
    assert (answer.status_code, answer.json()) == (202, {"Status": 202})
    assert queue.accepted == [("f", "", b"{}")]
    large = Service(queue=queue).ask(path="/2014-11-13/functions/f/invoke-async", content=b" " * (256 * 1024 + 1))
    assert told(large) == (413, "RequestTooLargeException")


def test_an_event_that_is_not_durable_is_a_fault_of_ours() -> None:  # B.1
    class Full(Queue):
        def accept(self, *given: object) -> str:
            raise PollerError("no space left")

    answer = Service(queue=Full()).ask(headers={"X-Amz-Invocation-Type": "Event"}, content=b"{}")
    assert told(answer) == (500, "ServiceException")
    assert answer.json() == {"Message": "The event was not accepted: no space left", "Type": "Service"}


@pytest.mark.parametrize(
    ("body", "refused"),
    [(b"{", (400, "InvalidRequestContentException")), (b" " * (1024 * 1024 + 1), (413, "RequestTooLargeException"))],
    ids=["no JSON", "above 1 MB"],
)
def test_an_event_that_cannot_be_one_is_not_queued(body: bytes, refused: tuple[int, str]) -> None:  # A.2
    queue = Queue()
    assert told(Service(queue=queue).ask(headers={"X-Amz-Invocation-Type": "Event"}, content=body)) == refused
    assert queue.accepted == []


def test_memory_that_is_taken_twice_is_refused() -> None:
    memory = Memory(10)
    memory.take(10)
    with pytest.raises(ApiError):
        memory.take(1)
    memory.give_back(10)
    memory.take(10)
