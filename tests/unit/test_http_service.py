"""The service on its port, with clients that are slow, many, large, gone, or not who they say."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from api_service import aws_client, served, template_of
from botocore.exceptions import ClientError
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from waiting import eventually

from poller.api.endpoint import Endpoint
from poller.api.health import application
from poller.api.http_protocol import MAXIMUM_HEAD, HttpProtocol
from poller.api.invocations import Invocations
from poller.api.server import HttpServer, bind
from poller.model import Invocation, InvocationResult

INVOKE = "/2015-03-31/functions/{}/invocations"
MANY = 300


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    functions = {
        "echo": {"Handler": "basic.echo", "Timeout": 30},
        "meet": {"Handler": "meeting.meet", "Timeout": 30},
        "zero": {"Handler": "basic.echo", "ReservedConcurrentExecutions": 0},
    }
    with served(template_of(tmp_path_factory.mktemp("service"), functions)) as address:
        yield address


def connect(url: str) -> socket.socket:
    host, _, port = url.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=30)


def answer_of(client: socket.socket) -> bytes:
    """Head and body; they may come in pieces."""
    answer = b""
    while True:
        head, end, body = answer.partition(b"\r\n\r\n")
        if end and len(body) >= int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]):
            return answer
        piece = client.recv(65536)
        assert piece, answer
        answer += piece


def event(folder: Path) -> bytes:
    return json.dumps({"begun": str(folder / "begun"), "end": str(folder / "end")}).encode()


def request(path: str, body: bytes) -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def test_a_slow_client_holds_nobody_up(url: str) -> None:
    whole = request(INVOKE.format("echo"), b"[1, 2]")
    with connect(url) as slow:
        for place in range(0, len(whole) - 1, 40):
            slow.sendall(whole[place : min(place + 40, len(whole) - 1)])
            assert httpx.post(url + INVOKE.format("echo"), content=b"3").text == "3"
        slow.sendall(whole[-1:])
        assert answer_of(slow).endswith(b"[1, 2]")


def test_a_handler_that_takes_long_holds_nobody_up(url: str, tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as threads:
        long = threads.submit(httpx.post, url + INVOKE.format("meet"), content=event(tmp_path), timeout=60)
        eventually((tmp_path / "begun").exists)
        assert httpx.post(url + INVOKE.format("echo"), content=b"3").text == "3"
        (tmp_path / "end").touch()
        assert long.result().text == '"met"'


def test_a_client_that_goes_away_does_not_end_its_invocation(url: str, tmp_path: Path) -> None:
    with connect(url) as client:
        client.sendall(request(INVOKE.format("meet"), event(tmp_path)))
        eventually((tmp_path / "begun").exists)
    (tmp_path / "end").touch()
    eventually((tmp_path / "ended").exists)


def test_when_the_service_stops_what_is_in_work_ends_and_is_answered(tmp_path: Path) -> None:
    template = template_of(tmp_path, {"meet": {"Handler": "meeting.meet", "Timeout": 30}}, ShutdownGrace=30)
    with ThreadPoolExecutor(1) as threads:
        with served(template) as url:
            answer = threads.submit(httpx.post, url + INVOKE.format("meet"), content=event(tmp_path), timeout=60)
            eventually((tmp_path / "begun").exists)
            threading.Timer(0.05, (tmp_path / "end").touch).start()
        assert (answer.result().status_code, answer.result().text) == (200, '"met"')


def test_aws_s_client_that_sends_too_much_hears_why(url: str) -> None:  # A.2
    client = aws_client(url)
    with pytest.raises(ClientError) as caught:
        client.invoke(FunctionName="echo", Payload=b'"' + b"x" * 9_000_000 + b'"')
    client.close()
    answer = caught.value.response
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 413
    assert answer["Error"]["Code"] == "RequestTooLargeException"
    assert answer["message"].startswith("9000002 byte payload is too large for the RequestResponse invocation type")


def test_a_body_that_is_announced_too_large_is_refused_before_it_is_sent(url: str) -> None:
    head = f"POST {INVOKE.format('echo')} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 7000000\r\n\r\n".encode()
    with connect(url) as client:
        client.sendall(head)
        assert client.recv(65536).startswith(b"HTTP/1.1 413 ")


def test_a_head_without_an_end_is_refused(url: str) -> None:  # A.2
    with connect(url) as client:
        client.sendall(b"POST / HTTP/1.1\r\n")
        line = b"X-Filler: " + b"x" * 60_000 + b"\r\n"
        with suppress(ConnectionError):  # it may be closed before all is sent
            for _ in range(4 * MAXIMUM_HEAD // len(line)):
                client.sendall(line)
        with suppress(ConnectionError):
            assert client.recv(65536).startswith(b"HTTP/1.1 400 ")
        with suppress(ConnectionError):
            while client.recv(65536):
                pass
    assert httpx.get(f"{url}/healthz").status_code == 200


def test_a_head_of_ordinary_size_is_counted_anew_for_each_request(url: str) -> None:
    filler = {"X-Filler": "x" * 50_000}
    with httpx.Client() as client:
        for number in range(2 * MAXIMUM_HEAD // 50_000):
            answer = client.post(url + INVOKE.format("echo"), content=str(number), headers=filler)
            assert answer.text == str(number)


def test_a_long_query_is_read_like_a_short_one(url: str) -> None:  # A.2
    client = http.client.HTTPConnection(url.removeprefix("http://"), timeout=30)
    for qualifier, status in (("%24LATEST", 200), ("7", 404)):
        path = f"{INVOKE.format('echo')}?Qualifier={qualifier}&filler={'x' * 70_000}"
        client.request("POST", path, b"1")
        answer = client.getresponse()
        assert (answer.status, len(answer.read()) > 0) == (status, True)
    client.close()


def test_a_concurrency_of_zero_throttles_every_call(url: str) -> None:  # A.3
    answer = httpx.post(url + INVOKE.format("zero"), content=b"{}")
    assert (answer.status_code, answer.json()["Reason"]) == (429, "ReservedFunctionConcurrentInvocationLimitExceeded")


class Waiting:
    """A pool that answers when it has got so many invocations."""

    def __init__(self, number: int) -> None:
        self.threads = 0
        self._number = number
        self._got: list[tuple[Invocation, Callable[[InvocationResult], None]]] = []

    def submit(self, invocation: Invocation, on_result: Callable[[InvocationResult], None], *, wait: bool) -> None:
        self._got.append((invocation, on_result))
        if len(self._got) == self._number:
            self.threads = threading.active_count()
            threading.Thread(target=self._answer).start()

    def _answer(self) -> None:
        for invocation, on_result in self._got:
            on_result(InvocationResult(invocation.request_id, invocation.payload))


class Functions:
    account_id, region = "123456789012", "us-east-1"

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    def pool(self, function_name: str, qualifier: str = "") -> Any:
        return self._pool

    def at_account_limit(self, function_name: str, qualifier: str = "") -> bool:
        return False


no_queue: Any = None


def test_hundreds_of_connections_wait_side_by_side_without_a_thread_each() -> None:
    pool = Waiting(MANY)
    before = threading.active_count()
    server = HttpServer(Endpoint(Starlette(), Invocations(Functions(pool), no_queue)), bind("127.0.0.1", 0))
    server.start()
    clients = [connect(f"http://{server.address}") for _ in range(MANY)]
    try:
        for number, client in enumerate(clients):
            client.sendall(request(INVOKE.format("f"), str(number).encode()))
        for number, client in enumerate(clients):
            answer = answer_of(client)
            assert answer.startswith(b"HTTP/1.1 200 ")
            assert answer.endswith(f"\r\n\r\n{number}".encode())
        assert pool.threads <= before + 2
    finally:
        for client in clients:
            client.close()
        server.stop()


class Idle(HttpServer):
    """Has few connections at most, and little patience."""

    def __init__(self, most: int, longest_head: float, app: Any = None) -> None:
        app = app or Endpoint(application(CollectorRegistry(), list, lambda: True), "")
        super().__init__(app, bind("127.0.0.1", 0))
        protocol: Any = partial(HttpProtocol, most=most, longest_head=longest_head)
        self._server.config.http = protocol


def test_a_server_that_ticks_rarely_ends_when_it_is_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("poller.api.server.TICK", 3600.0)
    server = Idle(1, 60)
    server.start()
    assert httpx.get(f"http://{server.address}/healthz").status_code == 200
    server.stop()
    assert server._thread is not None
    assert not server._thread.is_alive()
    server.stop()


def test_a_server_that_is_told_to_end_before_its_loop_begins_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("poller.api.server.TICK", 3600.0)
    server = Idle(1, 60)
    server._server.config.load()
    server._server.end()
    asyncio.run(asyncio.wait_for(server._server.main_loop(), 30))
    server.stop()


def test_the_date_of_answers_is_told_anew_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("poller.api.server.TICK", 0.001)
    server = Idle(1, 60)
    server.start()
    try:
        answer = httpx.get(f"http://{server.address}/healthz")
        assert answer.headers["date"].endswith(" GMT")
        for _ in range(2):
            server._server.server_state.default_headers = []
            eventually(lambda: server._server.server_state.default_headers)
    finally:
        server.stop()


def test_connections_beyond_the_most_are_refused_and_those_that_are_there_go_on() -> None:
    server = Idle(3, 60)
    server.start()
    healthz = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    url = f"http://{server.address}"
    clients = [connect(url) for _ in range(3)]
    try:
        clients[0].sendall(healthz)
        assert answer_of(clients[0]).startswith(b"HTTP/1.1 200 ")
        for _ in range(2):
            with connect(url) as late:
                late.sendall(healthz)
                answer = answer_of(late)
                assert answer.startswith(b"HTTP/1.1 503 ")
                assert json.loads(answer.partition(b"\r\n\r\n")[2])["Type"] == "Service"
        clients[0].sendall(healthz)
        assert answer_of(clients[0]).startswith(b"HTTP/1.1 200 ")
        clients.pop().close()
        eventually(lambda: httpx.get(f"{url}/healthz").status_code == 200)
    finally:
        for client in clients:
            client.close()
        server.stop()


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HTTP/1.1\r\nHost: loc"])
def test_a_client_that_sends_no_whole_head_in_time_makes_room(sent: bytes) -> None:
    server = Idle(1, 0.05)
    server.start()
    try:
        with connect(f"http://{server.address}") as slow:
            slow.sendall(sent)
            assert slow.recv(100) == b""
        eventually(lambda: httpx.get(f"http://{server.address}/healthz").status_code == 200)
    finally:
        server.stop()


@pytest.mark.parametrize("sent", [b"\r\n", b"GET /healthz HTTP/1.1\r\nHost: loc"])
def test_a_head_that_begins_while_a_request_is_in_work_does_not_cut_that_off(sent: bytes) -> None:
    begun = threading.Event()

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        begun.set()
        await asyncio.sleep(0.3)  # longer than the head may take
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
        await send({"type": "http.response.body", "body": b"done"})

    server = Idle(1, 0.05, app)
    server.start()
    try:
        with connect(f"http://{server.address}") as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert begun.wait(10)
            client.sendall(sent)
            assert answer_of(client).endswith(b"done")
    finally:
        server.stop()


def test_the_account_s_concurrency_is_shared_by_functions_that_reserve_none(tmp_path: Path) -> None:  # A.2
    functions = {
        "meet": {"Handler": "meeting.meet", "Timeout": 30},
        "echo": {"Handler": "basic.echo"},
        "reserved": {"Handler": "basic.echo", "ReservedConcurrentExecutions": 1},
    }
    with served(template_of(tmp_path, functions, AccountConcurrency=2)) as url, ThreadPoolExecutor(1) as threads:
        long = threads.submit(httpx.post, url + INVOKE.format("meet"), content=event(tmp_path), timeout=60)
        eventually((tmp_path / "begun").exists)
        answer = httpx.post(url + INVOKE.format("echo"), content=b"1")
        assert (answer.status_code, answer.json()["Reason"]) == (429, "ConcurrentInvocationLimitExceeded")
        assert httpx.post(url + INVOKE.format("reserved"), content=b"1").status_code == 200
        (tmp_path / "end").touch()
        long.result()
        assert httpx.post(url + INVOKE.format("echo"), content=b"1").status_code == 200


def test_where_signatures_are_required_aws_s_client_needs_the_key(tmp_path: Path) -> None:
    template = template_of(
        tmp_path, {"echo": {"Handler": "basic.echo"}}, RequireSignature=True, SignatureKeys={"AKIDEXAMPLE": "example"}
    )
    with served(template) as url:
        client = aws_client(url)
        stranger = aws_client(url, aws_secret_access_key="guessed")
        arn = "arn:aws:lambda:us-east-1:123456789012:function:echo"
        for name in ("echo", f"{arn}:$LATEST"):
            assert client.invoke(FunctionName=name, Payload=b"[1]", LogType="Tail")["Payload"].read() == b"[1]"
        large = b'"' + b"x" * 200_000 + b'"'
        assert client.invoke(FunctionName="echo", Payload=large)["Payload"].read() == large
        assert client.list_event_source_mappings(FunctionName="echo")["EventSourceMappings"] == []
        for call in (lambda: stranger.invoke(FunctionName="echo"), stranger.list_event_source_mappings):
            with pytest.raises(ClientError) as caught:
                call()
            assert caught.value.response["Error"]["Code"] == "InvalidSignatureException"
            assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
        assert httpx.post(url + INVOKE.format("echo")).status_code == 403
        assert httpx.get(client.generate_presigned_url("list_event_source_mappings")).status_code == 200
        assert httpx.get(stranger.generate_presigned_url("list_event_source_mappings")).status_code == 403
        assert httpx.get(f"{url}/healthz").status_code == 200
        client.close()
        stranger.close()
