"""Requests of any kind to functions over HTTP, and functions that return anything: never a fault, never half an answer."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any

from front_requests import Account
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from fuzz.odd import any_json, any_text, no_hang
from fuzz.tally import tried
from poller.account.documents import ForgettingDocuments
from poller.api import function_urls
from poller.api.endpoint import Endpoint
from poller.api.health import application
from poller.fronts.api_front import ApiFront
from poller.fronts.apis import Api, Apis
from poller.fronts.cross_origin import Cors, RestCors
from poller.fronts.front_metrics import FrontMetrics
from poller.fronts.function_urls import FunctionUrls
from poller.fronts.routes import Route
from poller.fronts.url_config import FunctionUrl, UrlConfig
from poller.fronts.url_front import UrlFront
from poller.model import InvocationResult

CORS = Cors(AllowOrigins=("https://a.example", "http://*"), ExposeHeaders=("x",), MaxAge=1)
APIS = Apis(
    [
        Api("web", "HTTP", (Route("ANY", "$default", "f"), Route("GET", "/a/{b}", "f", "1.0")), cors=CORS),
        Api("dev", "HTTP", (Route("ANY", "/{proxy+}", "f"),), stage="dev"),
        Api("shop", "REST", (Route("ANY", "/{a}/{b+}", "f", "1.0"),), "Prod", rest_cors=RestCors(), binary_media_types=("image/*",)),
    ]
)  # fmt: skip


class Rig:
    def __init__(self) -> None:
        self.account = Account()
        config = UrlConfig(AuthType="NONE", Cors=CORS)
        urls = [
            FunctionUrl("plain", "f", "", config, 0, 0, declared=True),
            FunctionUrl(
                "stream", "g", "", UrlConfig(AuthType="NONE", InvokeMode="RESPONSE_STREAM"), 0, 0, declared=True
            ),
            FunctionUrl("signed", "f", "live", UrlConfig(AuthType="AWS_IAM"), 0, 0, declared=True),
        ]
        every = FunctionUrls(urls, ForgettingDocuments(), self.account, allow_drift=False, now=lambda: 0.0)
        metrics = FrontMetrics(CollectorRegistry())
        app = application(CollectorRegistry(), list, lambda: True)
        self.urls: Any = Endpoint(app, "not here", urls=UrlFront(every, self.account, "no keys", metrics))
        self.apis: Any = ApiFront(APIS, self.account, metrics)


RIG = Rig()

segment = st.sampled_from(["a", "b", "%2F", "%ff", "%", "..", "", "{b}", "é", "%00", "Prod", "dev"]) | st.text(
    st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="?#"), max_size=8
)
starts = st.sampled_from(
    [
        "/_url/plain",
        "/_url/stream",
        "/_url/signed",
        "/_url",
        "/_api/web",
        "/_api/dev/dev",
        "/_api/shop/Prod",
        "/_api/shop",
        "",
    ]
)
hosts = st.sampled_from(
    [b"localhost", b"plain.lambda-url.localhost", b"web.execute-api", b"shop.execute-api.x:1", b"[", b"\xff", b""]
)
names = st.sampled_from(
    ["origin", "content-type", "content-encoding", "cookie", "accept", "x-forwarded-for", "content-length", "access-control-request-method",
     "authorization", "user-agent"]
)  # fmt: skip
values = st.sampled_from(
    [b"https://a.example", b"application/json", b"image/png", b"gzip", b";;=", b",", b"9" * 40]
) | st.binary(max_size=20)
methods = st.sampled_from(["GET", "POST", "OPTIONS", "HEAD", "get", "X"])

returned = (
    st.binary(max_size=60)
    | any_json.map(lambda value: json.dumps(value).encode(errors="replace"))
    | st.fixed_dictionaries(
        {"statusCode": st.integers(90, 610) | any_json},
        optional={
            "headers": st.dictionaries(any_text, any_json, max_size=3) | any_json,
            "multiValueHeaders": st.dictionaries(any_text, any_json, max_size=3),
            "cookies": st.lists(any_text, max_size=3) | any_json,
            "body": any_text | any_json,
            "isBase64Encoded": st.booleans(),
        },
    ).map(lambda value: json.dumps(value).encode(errors="replace"))
    | st.builds(lambda head, body: json.dumps(head).encode(errors="replace") + bytes(8) + body, any_json, st.binary(max_size=20))
)  # fmt: skip


def answered(app: Any, scope: dict[str, Any], body: bytes, *, goes_away: bool = False) -> list[Any]:
    messages: list[Any] = []
    coming = (
        [{"type": "http.disconnect"}] if goes_away else [{"type": "http.request", "body": body, "more_body": False}]
    )

    async def receive() -> Any:
        return coming.pop(0) if coming else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        messages.append(message)

    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.CRITICAL)
    try:
        with no_hang():
            asyncio.run(app(scope, receive, send))
    finally:
        root.setLevel(level)
    return messages


def is_whole(messages: list[Any]) -> int:
    """The status of an answer that a server can send."""
    status: int = messages[0]["status"]
    assert 200 <= status <= 599
    for name, value in messages[0]["headers"]:
        assert name == name.lower()
        assert not set(b"\r\n\0") & set(name + value)
    sizes = [int(value) for name, value in messages[0]["headers"] if name == b"content-length"]
    body = b"".join(message["body"] for message in messages[1:])
    assert not sizes or sizes == [len(body)]
    assert not messages[-1].get("more_body")
    assert b"Traceback" not in body
    return status


def scope_of(method: str, path: str, query: bytes, headers: list[tuple[str, bytes]]) -> dict[str, Any]:
    raw = path.encode()
    return {
        "type": "http",
        "method": method,
        "path": raw.decode(errors="replace"),
        "raw_path": raw,
        "root_path": "",
        "scheme": "http",
        "server": ("127.0.0.1", 9001),
        "client": ("127.0.0.1", 5),
        "query_string": query,
        "headers": [(name.encode(), value) for name, value in headers],
    }


@given(
    method=methods,
    path=st.builds(lambda start, parts: start + "".join(f"/{part}" for part in parts), starts, st.lists(segment, max_size=4)),
    query=st.sampled_from([b"", b"a", b"a=1&a=2&&=", b"%zz=%ff", b"&" * 2000]) | st.binary(max_size=20),
    headers=st.lists(st.tuples(names, values), max_size=5),
    host=hosts,
    body=st.binary(max_size=60),
    goes_away=st.sampled_from([False, False, False, True]),
)  # fmt: skip
def test_any_request_is_answered_and_the_function_s_event_is_json(goes_away: bool, host: bytes, **given_: Any) -> None:
    body, headers = given_.pop("body"), [("host", host), *given_.pop("headers")]
    for kind, app in (("urls", RIG.urls), ("apis", RIG.apis)):
        RIG.account.only.invoked.clear()
        RIG.account.only.answers = [InvocationResult("r", b'{"statusCode":200}')]
        scope = scope_of(given_["method"], given_["path"] or "/", given_["query"], headers)
        messages = answered(app, scope, body, goes_away=goes_away)
        if not messages:
            assert goes_away
            continue
        status = is_whole(messages)
        tried(f"requests to {kind}: {status}")
        assert status < 500 or status == 501, status
        for invocation in RIG.account.only.invoked:
            event = json.loads(invocation.payload)
            assert event["isBase64Encoded"] in {True, False}
            assert isinstance(event.get("body"), str | None)


config = st.fixed_dictionaries(
    {"AuthType": st.sampled_from(["NONE", "AWS_IAM"]) | any_json},
    optional={
        "InvokeMode": st.sampled_from(["BUFFERED", "RESPONSE_STREAM"]) | any_json,
        "Cors": any_json
        | st.fixed_dictionaries(
            {},
            optional={
                "AllowOrigins": st.lists(any_text, max_size=3) | any_json,
                "AllowMethods": st.lists(any_text, max_size=7),
                "AllowCredentials": any_json,
                "MaxAge": any_json,
            },
        ),
    },
)


right = st.fixed_dictionaries(
    {"AuthType": st.sampled_from(["NONE", "AWS_IAM"])},
    optional={
        "InvokeMode": st.sampled_from(["BUFFERED", "RESPONSE_STREAM"]),
        "Cors": st.fixed_dictionaries(
            {},
            optional={
                "AllowOrigins": st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1), max_size=3),
                "MaxAge": st.integers(0, 86_400),
                "AllowCredentials": st.booleans(),
            },
        ),
    },
)  # fmt: skip


@given(
    body=right | config | any_json,
    method=st.sampled_from(["POST", "PUT", "GET", "DELETE"]),
    query=st.sampled_from([b"", b"Qualifier=live", b"Qualifier=%ff"]),
)
def test_any_configuration_is_taken_or_refused_and_what_is_shown_is_what_was_given(
    body: Any, method: str, query: bytes
) -> None:
    documents = ForgettingDocuments()
    urls = FunctionUrls((), documents, RIG.account, allow_drift=False, now=lambda: 0.0)
    app = Endpoint(application(CollectorRegistry(), list, lambda: True, calls=function_urls.routes(urls)), "not here")
    content = json.dumps(body).encode()
    statuses = []
    for each in ("POST", method, "GET"):
        scope = scope_of(each, "/2021-10-31/functions/f/url", query, [("host", b"localhost")])
        statuses.append(is_whole(answered(app, scope, content)))
        tried(f"calls on URLs: {statuses[-1]}")
        assert statuses[-1] < 500
    assert (statuses[0] == 201) == bool(documents.all("FunctionUrlConfig")) or method == "DELETE"
    assert [
        url.document() for url in FunctionUrls((), documents, RIG.account, allow_drift=False, now=lambda: 0.0).all()
    ] == [url.document() for url in urls.all()]


@given(payload=returned, failed=st.sampled_from([None, None, None, "Unhandled"]), accept=values)
def test_whatever_a_function_returns_is_an_answer_or_a_502(payload: bytes, failed: str | None, accept: bytes) -> None:
    places: list[tuple[Callable[..., Any], str]] = [
        (RIG.urls, "/_url/plain/"), (RIG.urls, "/_url/stream/"), (RIG.apis, "/_api/web/x"), (RIG.apis, "/_api/web/a/b"),
        (RIG.apis, "/_api/shop/Prod/a/b"),
    ]  # fmt: skip
    for app, path in places:
        RIG.account.only.answers = [InvocationResult("r", payload, function_error=failed)]
        headers = [("host", b"localhost"), ("accept", accept), ("origin", b"https://a.example")]
        status = is_whole(answered(app, scope_of("GET", path, b"", headers), b""))
        tried(f"results over HTTP: {status // 100}xx")
        assert failed is None or status == 502
