"""Requests of any kind to Lambda's API: paths, queries, headers and bodies; never a 500, never a traceback."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from fuzz.odd import any_json, depths, nested, no_hang
from fuzz.tally import tried
from poller.api import event_source_mappings
from poller.api.endpoint import Door, Endpoint
from poller.api.health import application
from poller.api.invocations import Invocations
from poller.api.operation_table import OPERATIONS
from poller.api.server import HttpServer, bind
from poller.api.signatures import Signatures
from poller.api_errors import mapping_missing
from poller.model import Invocation, InvocationResult


class Pool:
    def submit(self, invocation: Invocation, on_result: Callable[[InvocationResult], None], *, wait: bool) -> None:
        on_result(InvocationResult(invocation.request_id, invocation.payload or b"null", log_tail=b"log"))


class Plane:
    """Functions of which one exists, and calls on mappings that are read and refused."""

    account_id, region = "123456789012", "us-east-1"

    def pool(self, function_name: str, qualifier: str = "") -> Any:
        return Pool() if function_name == "f" else None

    def at_account_limit(self, function_name: str, qualifier: str = "") -> bool:
        return False

    def __getattr__(self, name: str) -> Any:
        def call(*_: object) -> Any:
            raise mapping_missing()

        return call


class Queue:
    def accept(self, function_name: str, qualifier: str, payload: bytes) -> str:
        return "accepted"


def endpoint(door: Door | None = None) -> Endpoint:
    plane: Any = Plane()
    app = application(CollectorRegistry(), list, lambda: True, calls=event_source_mappings.routes(plane))
    return Endpoint(app, Invocations(plane, Queue()), door)


OPEN = endpoint()
SIGNED = endpoint(Door((), Signatures({"AKIDEXAMPLE": "secret"}, "us-east-1")))

SIGNATURE = (
    "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20251125/us-east-1/lambda/aws4_request, "
    f"SignedHeaders=host;x-amz-date, Signature={'0' * 64}"
)

printable = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=30)
segment = (
    st.sampled_from(
        ["f", "f:$LATEST", "%00", "..", ".", "%2e%2e%2f", "a%2Fb", "%ff%fe", "%", "%zz", "é", "f%3A1", "x" * 300]
    )
    | printable
)
paths = (
    st.sampled_from(
        [
            "/2015-03-31/functions/f/invocations",
            "/2021-11-15/functions/f%3A%24LATEST/response-streaming-invocations",
            "/2014-11-13/functions/f/invoke-async/",
            "/2015-03-31/event-source-mappings",
        ]
    )
    | st.builds(
        lambda operation, name: operation[2].replace("{FunctionName}", name).replace("{UUID}", name),
        st.sampled_from(OPERATIONS),
        segment,
    )
    | st.builds(
        lambda name, end: f"/2015-03-31/functions/{name}/invocations{end}", segment, st.sampled_from(["", "/", "//"])
    )
    | st.lists(segment, max_size=6).map(lambda parts: "/" + "/".join(parts))
)
queries = (
    st.sampled_from(["", "Qualifier", "Qualifier=", "Qualifier=%24LATEST", "MaxItems=x&MaxItems=9" * 50]) | printable
)
names = st.sampled_from(
    [
        "host",
        "origin",
        "x-other",
        "content-length",
        "x-amz-invocation-type",
        "x-amz-log-type",
        "x-amz-client-context",
        "authorization",
        "x-amz-date",
        "x-amz-content-sha256",
    ]
)
values = st.sampled_from(
    [
        "127.0.0.1",
        "[::1",
        "]:[",
        "Event",
        "DryRun",
        "RequestResponse",
        "Tail",
        "e30=",
        "bnVsbA==",
        "9" * 5000,
        "-1",
        "20251125T100000Z",
        SIGNATURE,
    ]
).map(str.encode) | st.binary(max_size=40)
bodies = (
    st.binary(max_size=60)
    | any_json.map(lambda value: json.dumps(value).encode(errors="replace"))
    | depths.map(nested)
    | st.sampled_from([b"", b"{", b"\xff\xfe1\x00", b"\xef\xbb\xbf{}", b"9" * 5000, b"NaN", b'"' + b"x" * 200_000])
)


@given(
    method=st.just("POST") | st.sampled_from(["POST", "GET", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "post", "X"]),
    path=paths,
    query=queries,
    headers=st.just({}) | st.dictionaries(names, values, max_size=5),
    body=bodies,
    pieces=st.integers(1, 5),
    ends=st.tuples(st.booleans(), st.sampled_from([False, False, True])),
)
@example("POST", "/2015-03-31/functions/f/invocations", "", {}, b"[" * 100_000, 1, (False, False))
@example("POST", "/2015-03-31/functions/f/invocations", "", {"content-length": b"\xb2"}, b"1", 1, (False, False))
def test_any_request_is_answered_and_nothing_breaks(  # noqa: PLR0917 - @example gives them by their place
    method: str,
    path: str,
    query: str,
    headers: dict[str, bytes],
    body: bytes,
    pieces: int,
    ends: tuple[bool, bool],
) -> None:
    goes_away, signed = ends
    messages: list[Any] = []
    size = len(body) // pieces + 1
    parts = [body[start : start + size] for start in range(0, len(body) or 1, size)]
    coming = [
        {"type": "http.request", "body": part, "more_body": number < len(parts) - 1}
        for number, part in enumerate(parts)
    ]
    if goes_away:
        coming[-1] = {"type": "http.disconnect"}

    async def receive() -> Any:
        return coming.pop(0) if coming else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        messages.append(message)

    given_headers = {"host": b"localhost", **headers}
    raw = path.partition("?")[0].encode()
    scope = {
        "type": "http",
        "method": method,
        "path": raw.decode(errors="replace"),
        "raw_path": raw,
        "root_path": "",
        "scheme": "http",
        "server": ("127.0.0.1", 9001),
        "query_string": (query + path.partition("?")[2]).encode(),
        "headers": [(name.encode(), value) for name, value in given_headers.items()],
    }
    root = logging.getLogger()
    with no_hang():
        level = root.level
        root.setLevel(logging.CRITICAL)
        try:
            asyncio.run((SIGNED if signed else OPEN)(scope, receive, send))
        finally:
            root.setLevel(level)
    if not messages:
        assert goes_away
        tried("requests: gone")
        return
    status = messages[0]["status"]
    tried(f"requests: {status}")
    answered = {name.lower(): value for name, value in messages[0]["headers"]}
    assert status < 500 or status in {501, 503}
    assert answered[b"x-amzn-requestid"]
    assert all("more_body" not in message or message["more_body"] in {True, False} for message in messages)
    assert not messages[-1].get("more_body")
    if status >= 400:
        assert answered[b"x-amzn-errortype"].endswith(b"Exception")
        content = b"".join(message["body"] for message in messages[1:])
        assert method == "HEAD" or json.loads(content)
        assert b"Traceback" not in content


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    server = HttpServer(endpoint(), bind("127.0.0.1", 0))
    server.start()
    yield int(server.address.rpartition(":")[2])
    server.stop()


lines = st.sampled_from(
    [
        b"POST /2015-03-31/functions/f/invocations HTTP/1.1",
        b"POST //[ HTTP/1.1",
        b"GET http://[::1 HTTP/1.1",
        b"POST http://elsewhere.example/2015-03-31/functions/f/invocations HTTP/1.1",
        b"CONNECT a:1 HTTP/1.1",
        b"OPTIONS * HTTP/1.1",
        b"GET /metrics HTTP/1.0",
        b"POST /\xff\xfe?\xff HTTP/1.1",
        b"PRI * HTTP/2.0",
        b"Host: localhost",
        b"Host: elsewhere.example",
        b"Content-Length: 2",
        b"Content-Length: -1",
        b"Content-Length: 99999999999999999999999",
        b"Transfer-Encoding: chunked",
        b"Transfer-Encoding: chunked, identity",
        b"Expect: 100-continue",
        b"Connection: Upgrade",
        b"Upgrade: websocket",
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
        b": none",
        b" folded",
        b"",
        b"2",
        b"{}",
        b"0",
        b"ffffffffffffffffff",
    ]
) | st.binary(max_size=30)


@given(st.lists(lines, max_size=12).map(b"\r\n".join))
def test_any_bytes_on_a_connection_are_answered_or_the_connection_is_closed(
    port: int, caplog: pytest.LogCaptureFixture, sent: bytes
) -> None:
    caplog.clear()
    answer = b""
    with no_hang(), socket.create_connection(("127.0.0.1", port), timeout=30) as client, suppress(ConnectionError):
        client.sendall(sent)
        client.shutdown(socket.SHUT_WR)
        while piece := client.recv(65536):
            answer += piece
    assert not answer or answer.startswith(b"HTTP/1.1 ")
    status = answer[9:12].decode()
    tried(f"connections: {status or 'closed'}")
    assert not status.startswith("5") or status == "501"
    assert "Traceback" not in caplog.text
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
