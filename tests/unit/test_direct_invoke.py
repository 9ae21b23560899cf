"""The short way of an ordinary Invoke: the same answers as the long one, whatever comes in and however."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from starlette.applications import Starlette

from poller.api.endpoint import Endpoint
from poller.api.http_protocol import HttpProtocol
from poller.api.invocations import Invocations
from poller.api.server import HttpServer, bind
from poller.model import Invocation, InvocationResult
from poller.runtime.answers import throttled

INVOKE = "/2015-03-31/functions/{}/invocations"
NO_QUEUE: Any = None


class Pool:
    """Answers from another thread, what the event says."""

    def __init__(self) -> None:
        self.held: list[Callable[[], None]] = []
        self.arrived = threading.Semaphore(0)

    def submit(self, invocation: Invocation, on_result: Callable[[InvocationResult], None], *, wait: bool) -> None:
        event = invocation.payload
        if event == b'"throttle"':
            result = throttled(invocation.request_id, "ReservedFunctionConcurrentInvocationLimitExceeded")
        elif event == b'"fail"':
            result = InvocationResult(invocation.request_id, b"{}", function_error="Unhandled", log_tail=b"REPORT")
        elif event == b'"large"':
            result = InvocationResult(invocation.request_id, b"x" * 3_000_000)
        elif event == b'"break"':
            raise RuntimeError("no pool")
        else:
            result = InvocationResult(invocation.request_id, event, log_tail=b"REPORT")
        answer = partial(on_result, result)
        if event == b'"hold"':
            self.held.append(answer)
        else:
            threading.Thread(target=answer).start()
        self.arrived.release()


class Functions:
    account_id, region = "123456789012", "us-east-1"

    def __init__(self) -> None:
        self.one = Pool()

    def pool(self, function_name: str, qualifier: str = "") -> Any:
        return self.one if function_name == "f" else None

    def at_account_limit(self, function_name: str, qualifier: str = "") -> bool:
        return False


class Service(HttpServer):
    """One of its own, with or without the short way, that has little patience."""

    def __init__(self, *, short: bool, body_within: float = 60.0, keep_alive: float = 60.0) -> None:
        self.functions = Functions()
        endpoint = Endpoint(Starlette(), Invocations(self.functions, NO_QUEUE))
        assert endpoint.direct is not None
        self.begun: list[bytes] = []
        begin = endpoint.direct.begin

        def counted(method: bytes, url: bytes, headers: Any) -> Any:
            call = begin(method, url, headers)
            if call is not None:
                self.begun.append(url)
            return call

        endpoint.direct.begin = counted  # type: ignore[method-assign]
        super().__init__(endpoint, bind("127.0.0.1", 0))
        direct = endpoint.direct if short else None
        protocol: Any = partial(HttpProtocol, most=100, body_within=body_within, direct=direct)
        self._server.config.http = protocol
        self._server.config.timeout_keep_alive = keep_alive  # type: ignore[assignment]
        self.start()

    def connect(self) -> socket.socket:
        host, _, port = self.address.partition(":")
        return socket.create_connection((host, int(port)), timeout=30)

    def ask(self, *requests: bytes) -> bytes:
        """What comes back before the connection closes."""
        with self.connect() as client:
            for one in requests:
                client.sendall(one)
            return everything(client)


def everything(client: socket.socket) -> bytes:
    found = b""
    while piece := client.recv(65536):
        found += piece
    return found


def request(path: str = INVOKE.format("f"), body: bytes = b"[1]", method: str = "POST", **headers: str) -> bytes:
    given = {"Host": "localhost", "Content-Length": str(len(body)), "Connection": "close"}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in given.items() if value)
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode() + body


@pytest.fixture(scope="module")
def ways() -> Iterator[tuple[Service, Service]]:
    both = Service(short=True), Service(short=False)
    yield both
    for one in both:
        one.stop()


def parts(answer: bytes) -> tuple[bytes, set[bytes], bytes]:
    """Status line, headers, and body, without what is new in every answer."""
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *headers = re.sub(rb"(?i)\r\n(date|x-amzn-requestid): [^\r]+", b"", head).split(b"\r\n")
    return status, {line.lower() for line in headers}, body


SHORT = {
    "an event": request(),
    "nothing": request(body=b""),
    "a qualifier": request(INVOKE.format("f") + "?Qualifier=prod"),
    "a name with a percent": request(INVOKE.format("%66")),
    "an ARN": request(INVOKE.format("arn%3Aaws%3Alambda%3Aus-east-1%3A123456789012%3Afunction%3Af")),
    "a slash at the end": request(INVOKE.format("f") + "/"),
    "the type that is the default": request(X_Amz_Invocation_Type="RequestResponse"),
    "its log": request(X_Amz_Log_Type="Tail"),
    "a function that fails": request(body=b'"fail"', X_Amz_Log_Type="Tail"),
    "a throttle": request(body=b'"throttle"'),
    "a fault of ours": request(body=b'"break"'),
    "no JSON": request(body=b"{"),
    "no such function": request(INVOKE.format("g")),
    "no name": request(INVOKE.format("a%20b")),
    "a wrong log type": request(X_Amz_Log_Type="Head"),
    "a wrong context": request(X_Amz_Client_Context="?"),
    "a tenant": request(X_Amz_Tenant_Id="t"),
    "a web page": request(Origin="http://example.org"),
    "another host": request(Host="example.org"),
    "no host": request(Host=""),
}
LONG = {
    "a dry run": request(X_Amz_Invocation_Type="DryRun"),
    "no type": request(X_Amz_Invocation_Type="Later"),
    "a large event": request(body=b'"' + b"x" * 70_000 + b'"'),
    "chunks": request(body=b"3\r\n[1]\r\n0\r\n\r\n", Content_Length="", Transfer_Encoding="chunked"),
    "another method": request(method="PUT"),
    "an older HTTP": request().replace(b"HTTP/1.1", b"HTTP/1.0"),
    "two hosts, of which the first is a function URL's": request().replace(b"Host:", b"Host: u.lambda-url.x\r\nHost:"),
}


@pytest.mark.parametrize("one", [*SHORT.values(), *LONG.values()], ids=[*SHORT, *LONG])
def test_both_ways_give_the_same_answer(ways: tuple[Service, Service], one: bytes) -> None:
    short, long = (parts(way.ask(one)) for way in ways)
    assert short == long
    assert short[0].startswith(b"HTTP/1.1 ")


@pytest.mark.parametrize(
    ("one", "is_short"), [*((one, True) for one in SHORT.values()), *((one, False) for one in LONG.values())]
)
def test_what_is_ordinary_goes_the_short_way(ways: tuple[Service, Service], one: bytes, is_short: bool) -> None:
    ways[0].begun.clear()
    ways[0].ask(one)
    assert len(ways[0].begun) == is_short


def test_a_request_may_come_in_any_pieces(ways: tuple[Service, Service]) -> None:
    whole = request(body=b"[1, 2, 3]")
    for way in ways:
        with way.connect() as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for place in range(len(whole)):
                client.sendall(whole[place : place + 1])
            assert everything(client).endswith(b"\r\n\r\n[1, 2, 3]")


def test_requests_that_are_sent_at_once_are_answered_in_their_order(ways: tuple[Service, Service]) -> None:
    mixed = [
        request(body=b"1", Connection=""),
        request(body=b"2", Connection=""),
        request(body=b"3", Connection="", X_Amz_Invocation_Type="DryRun"),
        request(body=b"4", Connection=""),
        request(body=b"5"),
    ]
    for way in ways:
        answer = way.ask(b"".join(mixed))
        assert re.findall(rb"HTTP/1.1 (\d+)", answer) == [b"200", b"200", b"204", b"200", b"200"]
        assert re.findall(rb"\r\n\r\n(\d)", answer) == [b"1", b"2", b"4", b"5"]


@pytest.mark.parametrize("first", ["f", "g"])  # one is invoked, and there is none of the other: that is told at once
@pytest.mark.parametrize("ends", ["by its first request", "as the server stops"])
def test_what_comes_behind_the_last_request_of_a_connection_is_not_run(
    ways: tuple[Service, Service], first: str, ends: str
) -> None:
    way, pool = ways[0], ways[0].functions.one
    while pool.arrived.acquire(blocking=False):
        pass
    told = request(INVOKE.format(first), Connection="close" if ends == "by its first request" else "")
    behind = request() + request(X_Amz_Invocation_Type="DryRun")
    with way.connect() as client:
        if ends == "as the server stops":
            client.sendall(told[:-3])
            waiting: list[Any] = []
            while not waiting:
                connections: Any = list(way._server.server_state.connections)
                waiting = [one for one in connections if one.cycle is not None and one.cycle.more_body]
            told = told[-3:]
            [protocol] = waiting
            protocol.loop.call_soon_threadsafe(protocol.shutdown)
        client.sendall(told + behind)
        answers = everything(client)
    assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [b"200" if first == "f" else b"404"]
    assert b"connection: close" in answers
    assert parts(way.ask(request()))[2] == b"[1]"
    ran = 0
    while pool.arrived.acquire(blocking=False):
        ran += 1
    assert ran == (2 if first == "f" else 1)


def test_a_client_that_leaves_harms_nobody(ways: tuple[Service, Service]) -> None:
    way, pool = ways[0], ways[0].functions.one
    while pool.arrived.acquire(blocking=False):
        pass
    client = way.connect()
    client.sendall(request(body=b'"hold"'))
    assert pool.arrived.acquire(timeout=10)
    client.close()
    assert parts(way.ask(request()))[2] == b"[1]"  # the loop has seen it go
    pool.held.pop()()
    assert parts(way.ask(request()))[2] == b"[1]"


def test_a_body_that_never_ends_is_refused_in_time_and_its_connection_closed() -> None:
    way = Service(short=True, body_within=0.05)
    try:
        answer = way.ask(request(body=b"[1", Content_Length="3"))
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"x-amzn-errortype: RequestTimeoutException" in answer
        assert parts(way.ask(request()))[2] == b"[1]"
    finally:
        way.stop()


@pytest.mark.parametrize("short", [True, False])
def test_a_connection_with_nothing_to_ask_is_closed_and_one_that_waits_for_its_answer_is_not(short: bool) -> None:
    way = Service(short=short, keep_alive=0.05)
    pool = way.functions.one
    try:
        with way.connect() as waiting, way.connect() as idle:
            waiting.sendall(request(body=b'"hold"', Connection=""))
            idle.sendall(request(body=b"[2]", Connection=""))
            assert everything(idle).endswith(b"[2]")  # and its end
            for _ in range(2):
                assert pool.arrived.acquire(timeout=10)
            pool.held.pop()()
            assert everything(waiting).endswith(b'"hold"')
    finally:
        way.stop()


def test_a_large_answer_comes_whole(ways: tuple[Service, Service]) -> None:
    for way in ways:
        assert len(parts(way.ask(request(body=b'"large"')))[2]) == 3_000_000


def test_the_memory_of_a_call_is_given_back(ways: tuple[Service, Service]) -> None:
    way = ways[0]
    endpoint: Any = way._server.config.app
    left = endpoint._memory._left
    for body in (b"[1]", b"{", b'"fail"', b'"break"', b'"throttle"'):
        way.ask(request(body=body))
    assert endpoint._memory._left == left
