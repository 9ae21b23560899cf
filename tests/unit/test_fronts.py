"""Both fronts without a network and without functions: statuses and texts of all that can become of a request (A.5, A.6)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from front_requests import Account
from prometheus_client import CollectorRegistry

from poller.account.documents import ForgettingDocuments
from poller.api import call, function_urls
from poller.api.endpoint import Endpoint
from poller.api.health import application
from poller.api.signatures import Signatures
from poller.errors import StateError
from poller.fronts.api_front import ApiFront
from poller.fronts.apis import Api, Apis
from poller.fronts.cross_origin import Cors, RestCors
from poller.fronts.front_metrics import FrontMetrics
from poller.fronts.function_urls import FunctionUrls
from poller.fronts.routes import Route
from poller.fronts.serving import Fronts, base_of
from poller.fronts.url_config import FunctionUrl, UrlConfig
from poller.fronts.url_front import UrlFront
from poller.model import MAXIMUM_PAYLOAD, InvocationResult
from poller.runtime.answers import error_answer, throttled
from poller.settings import Settings
from poller.template import Template

ID = "abc"
PAGE = "https://page.example"
FAILED = InvocationResult("r", b'{"errorType":"ValueError"}', function_error="Unhandled")
KEYS = {"AKIDEXAMPLE": "secret"}


class Rig:
    """An ASGI application that is asked."""

    app: Any
    account: Account
    registry: CollectorRegistry

    def ask(self, method: str, path: str, headers: Any = None, **given: Any) -> httpx.Response:
        async def run() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:9001") as client:
                return await client.request(method, path, headers=headers, **given)

        return asyncio.run(run())

    def answers(self, *results: Any) -> None:
        """What the function answers next; bytes are what it returned."""
        made = [InvocationResult("r", result) if isinstance(result, bytes) else result for result in results]
        self.account.only.answers = made

    @property
    def event(self) -> Any:
        return json.loads(self.account.only.invoked[-1].payload)


class Urls(Rig):
    def __init__(self, signatures: Any = "there is no key", **config: Any) -> None:
        self.account, self.registry = Account(), CollectorRegistry()
        url = FunctionUrl(ID, "f", "", UrlConfig.model_validate({"AuthType": "NONE", **config}), 0, 0, declared=True)
        urls = FunctionUrls((url,), ForgettingDocuments(), self.account, allow_drift=False, now=lambda: 0.0)
        app = application(self.registry, list, lambda: True, calls=function_urls.routes(urls))
        self.app = Endpoint(app, "not here", urls=UrlFront(urls, self.account, signatures, FrontMetrics(self.registry)))

    def get(self, path: str = f"/_url/{ID}/", headers: Any = None) -> httpx.Response:
        return self.ask("GET", path, headers)


class Front(Rig):
    def __init__(self, *apis: Api) -> None:
        self.account, self.registry = Account(), CollectorRegistry()
        self.app = ApiFront(Apis(apis), self.account, FrontMetrics(self.registry))


def http_api(*routes: Route, **given: Any) -> Api:
    return Api("web", "HTTP", routes or (Route("ANY", "$default", "f"),), **given)


def rest_api(*routes: Route, **given: Any) -> Api:
    return Api("shop", "REST", routes or (Route("ANY", "/a", "f", "1.0", 29.0),), stage="Prod", **given)


# --- function URLs -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "host", "raw_path"),
    [
        (f"/_url/{ID}/a/b", "anything.example", "/a/b"),
        (f"/_url/{ID}/", "127.0.0.1:9001", "/"),
        (f"/_url/{ID}", "127.0.0.1:9001", "/"),
        (f"/_url/{ID}//a", "127.0.0.1:9001", "//a"),
        ("/a", f"{ID}.lambda-url.us-east-1.on.aws", "/a"),
        ("/metrics", f"{ID}.lambda-url.localhost:9001", "/metrics"),
        ("/2015-03-31/functions/f/invocations", f"{ID.upper()}.lambda-url.localhost", "/2015-03-31/functions/f/invocations"),
    ],
)  # fmt: skip
def test_a_url_is_found_by_path_or_host_and_everything_below_it_is_the_function_s(
    path: str, host: str, raw_path: str
) -> None:
    rig = Urls()
    answer = rig.get(path, {"Host": host, "Origin": PAGE})
    assert answer.status_code == 200
    assert rig.event["rawPath"] == raw_path
    assert rig.event["requestContext"]["domainName"] == f"{ID}.lambda-url.us-east-1.on.aws"


@pytest.mark.parametrize(
    ("path", "host"),
    [("/_url/other/", "127.0.0.1"), ("/_url/", "127.0.0.1"), ("/metrics", "other.lambda-url.localhost"),
     ("/2015-03-31/functions", "x.lambda-url.evil.example")],
)  # fmt: skip
def test_an_unknown_url_is_403_whatever_its_path_means_elsewhere(path: str, host: str) -> None:  # A.5
    answer = Urls().get(path, {"Host": host})
    assert (answer.status_code, answer.text) == (403, '{"Message":null}')
    assert answer.headers["x-amzn-ErrorType"] == "AccessDeniedException"


def test_the_control_plane_stays_closed_to_web_pages() -> None:
    answer = Urls().get("/2021-10-31/functions/f/url", {"Origin": PAGE})
    assert answer.status_code == 403
    assert "web pages" in answer.text
    assert Urls().get("/2021-10-31/functions/f/url", {"Host": "evil.example"}).status_code == 403


def test_the_request_id_of_the_answer_is_the_invocation_s() -> None:  # A.5
    rig = Urls()
    answer = rig.get()
    assert answer.headers["x-amzn-RequestId"] == rig.account.only.invoked[0].request_id
    assert answer.headers["x-amzn-RequestId"] == rig.event["requestContext"]["requestId"]
    assert answer.headers["x-amzn-trace-id"] == rig.event["headers"]["x-amzn-trace-id"]


def test_the_function_s_arn_has_no_qualifier() -> None:
    rig = Urls()
    rig.get()
    assert rig.account.only.invoked[0].invoked_function_arn == "arn:aws:lambda:us-east-1:123456789012:function:f"


@pytest.mark.statement(17)
@pytest.mark.parametrize("result", [FAILED, b'{"statusCode":99}', b'{"statusCode":200,"headers":{"a":"\\n"}}'])
def test_a_function_that_fails_or_returns_what_cannot_be_sent_is_502(result: Any) -> None:
    """G 17."""
    rig = Urls()
    rig.answers(result)
    answer = rig.get()
    assert (answer.status_code, answer.text) == (502, "Internal Server Error")


def test_why_a_response_cannot_be_sent_is_told_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    rig = Urls()
    rig.answers(b'{"statusCode":200,"body":{}}')
    rig.get()
    assert "function f returned what is no HTTP response: its body is an object" in caplog.text


def test_a_throttled_request_is_429_with_its_reason() -> None:  # A.5
    rig = Urls()
    rig.answers(throttled("r", "ReservedFunctionConcurrentInvocationLimitExceeded"))
    answer = rig.get()
    assert (answer.status_code, answer.headers["x-amzn-ErrorType"]) == (429, "TooManyRequestsException")
    assert answer.json()["Reason"] == "ReservedFunctionConcurrentInvocationLimitExceeded"
    assert answer.headers["retry-after"] == "1"
    rig.account.full = True
    assert rig.get().json()["Reason"] == "ConcurrentInvocationLimitExceeded"


def test_a_function_that_does_not_run_is_500() -> None:
    rig = Urls()
    rig.answers(error_answer("r", 500, "The function is not running."))
    answer = rig.get()
    assert (answer.status_code, answer.headers["x-amzn-ErrorType"]) == (500, "ServiceException")


def test_the_url_of_a_function_that_is_deleted_meanwhile_is_403() -> None:
    rig = Urls()
    rig.account.pool = lambda *_: None  # type: ignore[method-assign]
    assert rig.get().text == '{"Message":null}'


async def _chunks(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield b"x" * 65_536


def test_a_body_above_6_mb_is_refused_while_it_comes_in() -> None:
    for rig, text in ((Urls(), "6291456"), (Front(http_api()), "Request Entity Too Large")):
        answer = rig.ask("POST", f"/_url/{ID}/", content=_chunks(97))
        assert answer.status_code == 413
        assert text in answer.text
        assert rig.account.only.invoked == []


def test_a_body_that_base64_makes_too_large_is_refused() -> None:
    content = bytes(MAXIMUM_PAYLOAD * 3 // 4)
    for rig in (Urls(), Front(http_api()), Front(rest_api(binary_media_types=("*/*",)))):
        path = f"/_url/{ID}/" if isinstance(rig, Urls) else "/Prod/a"
        assert rig.ask("POST", path, {"content-type": "image/png"}, content=content).status_code == 413
        assert rig.account.only.invoked == []


def test_a_client_that_does_not_send_its_body_is_408(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call, "BODY_WITHIN", 0.01)

    async def never() -> AsyncIterator[bytes]:
        yield b"x"
        await asyncio.Event().wait()

    async def asked(rig: Rig, path: str) -> int:
        statuses: list[int] = []
        sent = never()

        async def receive() -> Any:
            return {"type": "http.request", "body": await anext(sent), "more_body": True}

        answered = asyncio.Event()

        async def send(message: Any) -> None:
            statuses.append(message.get("status"))
            answered.set()

        scope = {"type": "http", "method": "POST", "path": path, "headers": [(b"host", b"localhost")]}
        task = asyncio.ensure_future(rig.app(scope, receive, send))
        await answered.wait()
        task.cancel()
        return statuses[0]

    assert asyncio.run(asked(Urls(), f"/_url/{ID}/")) == 408
    assert asyncio.run(asked(Front(http_api()), "/a")) == 408


def test_a_preflight_is_answered_by_the_front_where_it_has_cors_and_else_by_the_function() -> None:
    headers = {"Origin": PAGE, "Access-Control-Request-Method": "PUT"}
    rig = Urls(Cors={"AllowOrigins": [PAGE], "AllowMethods": ["PUT"]})
    answer = rig.ask("OPTIONS", f"/_url/{ID}/", headers)
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, PAGE)
    assert rig.account.only.invoked == []
    bare = Urls()
    bare.ask("OPTIONS", f"/_url/{ID}/", headers)
    assert bare.event["requestContext"]["http"]["method"] == "OPTIONS"


def test_pages_may_read_errors_as_well() -> None:
    rig = Urls(Cors={"AllowOrigins": [PAGE]})
    rig.answers(b'"x"', FAILED, throttled("r", "ConcurrentInvocationLimitExceeded"))
    for status in (200, 502, 429):
        answer = rig.get(headers={"Origin": PAGE})
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (status, PAGE)
    assert "access-control-allow-origin" not in rig.get(headers={"Origin": "https://other.example"}).headers


FORBIDDEN = (
    "Forbidden. For troubleshooting Function URL authorization issues, see: "
    "https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html"
)


def test_with_aws_iam_an_unsigned_request_is_403() -> None:  # A.5
    rig = Urls(lambda: Signatures(KEYS, "us-east-1"), AuthType="AWS_IAM")
    answer = rig.get()
    assert (answer.status_code, answer.json()) == (403, {"Message": FORBIDDEN})
    assert rig.account.only.invoked == []


def test_with_aws_iam_and_no_keys_every_request_is_403_and_told_why() -> None:
    answer = Urls(AuthType="AWS_IAM").get(headers={"Authorization": "x"})
    assert (answer.status_code, answer.json()) == (403, {"Message": FORBIDDEN, "Explanation": "there is no key"})


def test_with_aws_iam_a_wrong_signature_is_403_in_aws_s_words() -> None:
    rig = Urls(lambda: Signatures(KEYS, "us-east-1"), AuthType="AWS_IAM")
    answer = rig.get(headers={"Authorization": "Bearer x"})
    assert (answer.status_code, answer.headers["x-amzn-ErrorType"]) == (403, "IncompleteSignatureException")
    assert rig.account.only.invoked == []


@pytest.mark.parametrize(
    ("returned", "status", "body"),
    [
        (b'{"hello": 1}', 200, b'{"hello":1}'),
        (b'{"statusCode": 404, "body": "gone"}', 404, b"gone"),
        (b'{"statusCode":201,"headers":{"x-a":"1"}}' + bytes(8) + b"streamed\x00\xff", 201, b"streamed\x00\xff"),
        (b'{"statusCode":204}', 204, b""),
        (b"{}" + bytes(8), 200, b""),
        (b"[" + bytes(8), 200, b"[" + bytes(8)),
    ],
)  # fmt: skip
def test_a_url_that_streams_sends_chunks_and_reads_a_head(returned: bytes, status: int, body: bytes) -> None:
    rig = Urls(InvokeMode="RESPONSE_STREAM")
    rig.answers(returned)
    answer = rig.get()
    assert (answer.status_code, answer.content) == (status, body)
    assert "content-length" not in answer.headers


@pytest.mark.parametrize("result", [FAILED, b'{"statusCode":1}' + bytes(8), b'{"statusCode":1}'])
def test_a_url_that_streams_fails_as_others_do(result: Any) -> None:
    rig = Urls(InvokeMode="RESPONSE_STREAM")
    rig.answers(result)
    assert (rig.get().status_code, rig.get().status_code) == (502, 200)


def test_a_stream_without_a_head_has_the_type_that_its_runtime_named() -> None:
    rig = Urls(InvokeMode="RESPONSE_STREAM")
    for named, shown in (("text/plain", "text/plain"), ("", "application/octet-stream")):
        rig.answers(InvocationResult("r", b'{"statusCode":404}', content_type=named, streamed=True))
        answer = rig.get()
        assert (answer.status_code, answer.content) == (200, b'{"statusCode":404}')
        assert answer.headers["content-type"] == shown
    assert rig.account.only.invoked[-1].response_stream
    assert not Urls().get().is_error


def test_a_head_means_nothing_where_answers_are_buffered() -> None:
    rig = Urls()
    rig.answers(b'{"statusCode":404}' + bytes(8) + b"x")
    assert rig.get().status_code == 200


def test_with_several_workers_every_call_on_urls_is_told_why_it_cannot_be_made() -> None:
    rig = Urls()
    calls = function_urls.refusing_routes("Not here.")
    rig.app = Endpoint(application(rig.registry, list, lambda: True, calls=calls), "not here")
    for method, path in (("POST", "url"), ("GET", "url"), ("PUT", "url"), ("DELETE", "url"), ("GET", "urls")):
        answer = rig.ask(method, f"/2021-10-31/functions/f/{path}")
        assert (answer.status_code, answer.json()["message"]) == (400, "Not here.")
    assert rig.get().status_code == 404  # and there is no function behind /_url/


def test_a_url_that_cannot_be_kept_is_not_made_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise StateError("the disk is full")

    monkeypatch.setattr(ForgettingDocuments, "change", full)
    answer = Urls().ask("POST", "/2021-10-31/functions/g/url", json={"AuthType": "NONE"})
    assert (answer.status_code, answer.headers["x-amzn-ErrorType"]) == (500, "ServiceException")
    assert answer.json()["Message"] == "Nothing was changed: the disk is full"


@pytest.mark.parametrize(
    ("bound", "base"),
    [("127.0.0.1:1", "http://127.0.0.1:1"), ("0.0.0.0:1", "http://127.0.0.1:1"), (":::1", "http://[::1]:1"),
     ("192.0.2.7:1", "http://192.0.2.7:1")],
)  # fmt: skip
def test_addresses_are_told_as_this_machine_reaches_them(bound: str, base: str) -> None:
    assert base_of(bound) == base


@pytest.mark.parametrize(
    ("address", "auth_type", "told"),
    [("0.0.0.0", "NONE", True), ("0.0.0.0", "AWS_IAM", False), ("127.0.0.1", "NONE", False)],
)
def test_urls_that_other_machines_may_call_unsigned_are_warned_of(
    caplog: pytest.LogCaptureFixture, address: str, auth_type: Any, told: bool
) -> None:
    url = FunctionUrl(ID, "f", "", UrlConfig(AuthType=auth_type), 0, 0, declared=True)
    template = Template(Path("template.yaml"), (), (), Settings(Bind=address), function_urls=(url,))
    Fronts(template, Account(), ForgettingDocuments(), CollectorRegistry()).start(f"{address}:9001")
    assert ("open to everybody who reaches 0.0.0.0" in caplog.text) is told


def test_a_page_may_read_what_is_refused_too() -> None:
    rig = Urls(Cors={"AllowOrigins": [PAGE]})
    answer = rig.ask("POST", f"/_url/{ID}/", {"Origin": PAGE, "Content-Length": "7000000"}, content=_chunks(1))
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (413, PAGE)


# --- APIs ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("api", "path", "result", "status", "message"),
    [
        (http_api(Route("GET", "/a", "f")), "/b", b"1", 404, "Not Found"),
        (rest_api(), "/Prod/b", b"1", 403, "Missing Authentication Token"),
        (rest_api(), "/a", b"1", 403, "Missing Authentication Token"),
        (http_api(), "/", FAILED, 502, "Internal Server Error"),
        (rest_api(), "/Prod/a", FAILED, 502, "Internal server error"),
        (rest_api(), "/Prod/a", b'{"no":"status"}', 502, "Internal server error"),
        (http_api(), "/", b'{"statusCode":7}', 502, "Internal Server Error"),
        (http_api(), "/", throttled("r", "X"), 500, "Internal Server Error"),
        (rest_api(), "/Prod/a", throttled("r", "X"), 500, "Internal server error"),
        (rest_api(), "/Prod/a", error_answer("r", 500, "x"), 500, "Internal server error"),
        (http_api(Route("ANY", "$default", "f", timeout=0.01)), "/", None, 503, "Service Unavailable"),
        (rest_api(Route("ANY", "/a", "f", "1.0", 0.01)), "/Prod/a", None, 504, "Endpoint request timed out"),
        (http_api(Route("ANY", "$default", "gone")), "/", b"1", 500, "Internal Server Error"),
        (rest_api(Route("ANY", "/a", "gone", "1.0")), "/Prod/a", b"1", 500, "Internal server error"),
    ],
)  # fmt: skip
def test_what_fails_has_a_status_and_a_text(api: Api, path: str, result: Any, status: int, message: str) -> None:  # A.6
    rig = Front(api)
    rig.answers(result)
    answer = rig.ask("GET", path)
    assert (answer.status_code, answer.json()) == (status, {"message": message})
    assert answer.headers["x-amzn-RequestId"]


def test_a_fault_of_our_own_is_500_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    rig = Front(http_api())

    def broken(*_: str) -> Any:
        raise ZeroDivisionError

    rig.account.pool = broken  # type: ignore[method-assign]
    answer = rig.ask("GET", "/")
    assert (answer.status_code, answer.json()) == (500, {"message": "Internal Server Error"})
    assert "ZeroDivisionError" in caplog.text


def test_payload_1_of_an_http_api_is_read_and_written_as_asked() -> None:
    rig = Front(http_api(Route("GET", "/a/{id}", "f", "1.0"), stage="dev", stage_variables={"k": "v"}))
    rig.answers(b'{"statusCode":200,"body":"x"}', b'{"hello":1}')
    answer = rig.ask("GET", "/dev/a/7%20")
    assert (answer.text, answer.headers["content-type"]) == ("x", "text/plain; charset=utf-8")
    assert (rig.event["version"], rig.event["path"], rig.event["pathParameters"]) == ("1.0", "/dev/a/7 ", {"id": "7 "})
    assert (rig.event["requestContext"]["stage"], rig.event["stageVariables"]) == ("dev", {"k": "v"})
    assert rig.ask("GET", "/dev/a/7").status_code == 502  # nothing is inferred


def test_a_rest_api_has_its_stage_before_the_path() -> None:
    rig = Front(rest_api(Route("POST", "/a/{id}", "f", "1.0")))
    rig.answers(b'{"statusCode":200,"multiValueHeaders":{"set-cookie":["a=1","b=2"]}}')
    answer = rig.ask("POST", "/Prod/a/7%20?q=1&q=2", {"X-H": "1"}, content=b"{}")
    assert answer.headers.get_list("set-cookie") == ["a=1", "b=2"]
    assert (rig.event["path"], rig.event["requestContext"]["path"]) == ("/a/7%20", "/Prod/a/7%20")
    assert (rig.event["pathParameters"], rig.event["body"]) == ({"id": "7%20"}, "{}")
    assert rig.event["requestContext"]["resourceId"] == "POST /a/{id}"


@pytest.mark.parametrize(
    ("types", "accept", "content_type", "decoded"),
    [((), "*/*", "image/png", False), (("image/*",), "image/png,*/*", "image/png", True), (("image/*",), "*/*", "image/png", False),
     (("*/*",), "text/html", "image/png", True), (("image/png",), "", "image/png", True)],
)  # fmt: skip
def test_a_rest_api_decodes_base64_for_clients_that_accept_the_type(
    types: tuple[str, ...], accept: str, content_type: str, decoded: bool
) -> None:  # A.6
    rig = Front(rest_api(binary_media_types=types))
    value = {"statusCode": 200, "headers": {"content-type": content_type}, "body": "AP8=", "isBase64Encoded": True}
    rig.answers(json.dumps(value).encode())
    assert rig.ask("GET", "/Prod/a", {"Accept": accept}).content == (b"\x00\xff" if decoded else b"AP8=")


def test_an_http_api_answers_preflights_everywhere() -> None:
    rig = Front(http_api(Route("GET", "/a", "f"), cors=Cors(AllowOrigins=(PAGE,))))
    answer = rig.ask("OPTIONS", "/nowhere", {"Origin": PAGE, "Access-Control-Request-Method": "GET"})
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (204, PAGE)
    rig.answers(b'{"statusCode":200,"headers":{"Access-Control-Allow-Origin":"*"}}')
    assert rig.ask("GET", "/a", {"Origin": PAGE}).headers.get_list("access-control-allow-origin") == [PAGE]
    assert rig.ask("GET", "/b", {"Origin": PAGE}).headers["access-control-allow-origin"] == PAGE


def test_a_rest_api_answers_options_on_its_paths_and_functions_answer_the_rest() -> None:
    routes = (Route("GET", "/a", "f", "1.0"), Route("OPTIONS", "/b", "f", "1.0"))
    rig = Front(rest_api(*routes, rest_cors=RestCors()))
    rig.answers(b'{"statusCode":299}', b'{"statusCode":200}')
    answer = rig.ask("OPTIONS", "/Prod/a")
    assert (answer.status_code, answer.headers["access-control-allow-methods"]) == (200, "GET,OPTIONS")
    assert rig.ask("OPTIONS", "/Prod/b").status_code == 299
    assert "access-control-allow-origin" not in rig.ask("GET", "/Prod/a", {"Origin": PAGE}).headers
    assert rig.ask("OPTIONS", "/Prod/c").status_code == 403


def test_of_several_apis_one_has_to_be_named() -> None:
    rig = Front(http_api(), rest_api())
    answer = rig.ask("GET", "/")
    assert answer.status_code == 404
    assert "/_api/<id>/" in answer.json()["message"]
    assert rig.ask("GET", "/", {"Host": "web.execute-api.localhost"}).status_code == 200
    assert rig.ask("GET", "/_api/web/x").status_code == 200
    assert rig.event["rawPath"] == "/x"
    rig.answers(b'{"statusCode":200}')
    assert rig.ask("GET", "/_api/shop/Prod/a").status_code == 200


def test_everything_is_behind_the_api_s_port_but_the_control_plane() -> None:
    rig = Front(http_api(Route("GET", "/a", "f")))
    for path in ("/metrics", "/healthz", "/2015-03-31/functions", f"/_url/{ID}/"):
        assert rig.ask("GET", path).status_code == 404


def test_requests_are_counted_by_what_they_go_to_and_how_they_end() -> None:
    urls, apis = Urls(), Front(http_api(Route("GET", "/a", "f")), rest_api())
    urls.answers(b"1", FAILED, throttled("r", "X"))
    for _ in range(3):
        urls.get()
    urls.get("/_url/unknown/")
    apis.ask("GET", "/_api/web/b")
    apis.ask("GET", "/_api/unknown/b")

    def counted(rig: Rig, front: str, name: str) -> list[float | None]:
        series = ("http_request_count", "http_4xx_count", "http_5xx_count")
        labels = {"front": front, "name": name}
        return [rig.registry.get_sample_value(f"poller_{each}_total", labels) for each in series]

    assert counted(urls, "url", "f") == [3, 1, 1]
    assert counted(apis, "http_api", "web") == [1, 1, None]
    assert counted(apis, "rest_api", "shop") == [None, None, None]
    latency = {"front": "url", "name": "f"}
    assert urls.registry.get_sample_value("poller_http_request_latency_seconds_count", latency) == 3
