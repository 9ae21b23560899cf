"""Streamed responses reach their callers while the function still runs: Node's and any bootstrap's (A.1, A.5, E.1)."""

from __future__ import annotations

import base64
import http.client
import json
import os
import shutil
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from api_service import aws_client, served_with_apis
from handlers.rig import HANDLERS
from waiting import eventually

from poller.api import call as calls
from poller.runtime import api_server, runtime_api
from poller.runtime.toolchains import find
from poller.template import Template, load

MEGABYTE = 1024 * 1024
MUCH = 48
"""Megabytes: more than the kernel's buffers of all connections on the way take."""
HEAD = {"statusCode": 201, "headers": {"x-mine": "1"}}
PAGE = "application/vnd.awslambda.http-integration-response"

TEMPLATE = """
Transform: AWS::Serverless-2016-10-31
Globals:
  Function: {CodeUri: FOLDER, Timeout: 30, FunctionUrlConfig: {AuthType: NONE, InvokeMode: RESPONSE_STREAM}}
Resources:
  bootstrap: {Type: AWS::Serverless::Function, Properties: {Handler: any, Runtime: provided.al2023}}
  node: {Type: AWS::Serverless::Function, Properties: {Handler: app.handler, Runtime: nodejs20.x}}
  brief: {Type: AWS::Serverless::Function, Properties: {Handler: any, Runtime: provided.al2023, Timeout: 1}}
  held: {Type: AWS::Serverless::Function, Properties: {Handler: any, Runtime: provided.al2023, Timeout: 1}}
"""


class Service(NamedTuple):
    url: str
    template: Template
    client: Any

    def of(self, function: str) -> str:
        url_id = next(url.url_id for url in self.template.function_urls if url.function_name == function)
        return f"{self.url}/_url/{url_id}/"

    def events(self, function: str, steps: Any, **more: Any) -> Iterator[dict[str, Any]]:
        """The events that boto3 reads, as they come."""
        answer = self.client.invoke_with_response_stream(FunctionName=function, Payload=json.dumps(steps), **more)
        assert answer["ExecutedVersion"] == "$LATEST"
        return iter(answer["EventStream"])


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("streaming")
    program = folder / "bootstrap"
    program.write_text(f"#!{sys.executable}\n{(HANDLERS / 'streaming_bootstrap.py').read_text()}")
    program.chmod(0o755)
    shutil.copy(HANDLERS / "streaming_handlers.js", folder / "app.js")
    path = folder / "template.yaml"
    path.write_text(TEMPLATE.replace("FOLDER", str(folder)))
    template = load(path, environment={})
    with served_with_apis(template) as (url, _):
        yield Service(url, template, aws_client(url))


@pytest.fixture(params=["bootstrap", "node"])
def function(request: pytest.FixtureRequest) -> str:
    if request.param == "node" and find("nodejs20.x") is None:
        assert not os.environ.get("CI"), "Node.js belongs to the machine that runs all tests (Debian: nodejs)"
        pytest.skip("there is no Node.js on this machine (Debian: nodejs)")
    return str(request.param)


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    return tmp_path / "gate"


def appears(file: Path) -> str:
    """What stands in a file that a handler writes when it is so far."""
    return eventually(lambda: file.exists() and file.read_text(), what=f"something in {file}") or ""


def waiting(gate: Path) -> list[Any]:
    return [["write", "first"], ["wait", str(gate)], ["write", "second"]]


def without_reading(service: Service, function: str, steps: Any) -> socket.socket:
    """A client of a function's URL that has asked, and takes only what it is made to."""
    address = httpx.URL(service.of(function))
    body = json.dumps(steps).encode()
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.settimeout(25)
    client.connect((address.host, address.port))
    head = f"POST {address.path} HTTP/1.1\r\nHost: {address.host}:{address.port}\r\nContent-Length: {len(body)}\r\n\r\n"
    client.sendall(head.encode() + body)
    return client


def test_the_first_piece_is_at_a_url_s_client_before_the_handler_goes_on(
    service: Service, function: str, gate: Path
) -> None:
    """A.5: the handler waits for what only happens when its first piece has come."""
    with httpx.stream("POST", service.of(function), json=waiting(gate), timeout=25) as answer:
        pieces = answer.iter_raw()
        assert next(pieces) == b"first"
        assert answer.headers["content-type"] == (
            "text/plain" if function == "bootstrap" else "application/octet-stream"
        )
        gate.touch()
        assert b"".join(pieces) == b"second"


def test_status_and_headers_of_a_head_are_there_before_the_body(service: Service, function: str, gate: Path) -> None:
    """A.5."""
    said = ["write", json.dumps(HEAD) + "\0" * 8]
    begin = [["type", PAGE], said] if function == "bootstrap" else [["head", HEAD], ["write", ""]]
    steps = [*begin, ["write", "a"], ["wait", str(gate)], ["write", "b"]]
    with httpx.stream("POST", service.of(function), json=steps, timeout=25) as answer:
        assert (answer.status_code, answer.headers["x-mine"]) == (201, "1")
        gate.touch()
        assert b"".join(answer.iter_raw()) == b"ab"


def test_a_head_that_comes_in_pieces_is_sent_when_it_is_complete(service: Service, gate: Path) -> None:
    steps = [["type", PAGE], ["write", json.dumps(HEAD)], ["write", "\0" * 8], ["wait", str(gate)]]
    with httpx.stream("POST", service.of("bootstrap"), json=steps, timeout=25) as answer:
        assert answer.status_code == 201
        gate.touch()
        assert answer.read() == b""


def test_chunks_come_to_boto3_as_the_function_writes_them(service: Service, function: str, gate: Path) -> None:
    """A.1 InvokeWithResponseStream."""
    events = service.events(function, waiting(gate))
    assert next(events) == {"PayloadChunk": {"Payload": b"first"}}
    gate.touch()
    assert list(events) == [{"PayloadChunk": {"Payload": b"second"}}, {"InvokeComplete": {}}]


def test_an_error_in_the_middle_of_a_stream_ends_it_with_its_code(service: Service, function: str) -> None:
    """A.1: InvokeComplete has ErrorCode and ErrorDetails; what came before stays."""
    steps = [["write", "begun"], ["fail", "Function.Mine", {"errorType": "RangeError", "errorMessage": "midway"}]]
    chunk, last = service.events(function, steps, LogType="Tail")
    assert chunk == {"PayloadChunk": {"Payload": b"begun"}}
    complete = last["InvokeComplete"]
    assert base64.b64decode(complete["LogResult"]).startswith(b"START RequestId: ")
    assert complete["ErrorCode"] == "Unhandled"
    details = json.loads(complete["ErrorDetails"])
    assert (details["errorType"], details["errorMessage"]) == ("RangeError", "midway")


def test_an_error_in_the_middle_cuts_a_url_s_answer_off(service: Service, function: str) -> None:
    steps = [["write", "begun"], ["fail", "Function.Mine", {}]]
    came = []
    with httpx.stream("POST", service.of(function), json=steps, timeout=25) as answer:
        assert answer.status_code == 200
        with pytest.raises(httpx.RemoteProtocolError):
            came.extend(answer.iter_raw())
    assert came == [b"begun"]


def test_what_fails_before_the_first_piece_of_its_body_is_502(service: Service, function: str) -> None:
    """A.5: nothing has been sent, so the status can tell."""
    answer = httpx.post(service.of(function), json=[["fail", "Function.Mine", {}]], timeout=25)
    assert (answer.status_code, answer.text) == (502, "Internal Server Error")


def test_a_stream_without_a_body_is_an_empty_answer(service: Service, function: str) -> None:
    answer = httpx.post(service.of(function), json=[], timeout=25)
    assert (answer.status_code, answer.content) == (200, b"")


@pytest.mark.parametrize(("ending", "status", "body"), [([], 200, b"onetwo"), ([["fail", "Mine", {}]], 502, None)])
def test_a_client_of_http_1_0_gets_the_whole_at_its_end(
    service: Service, function: str, ending: list[Any], status: int, body: bytes | None
) -> None:
    """It knows no chunks (RFC 9112, 6.1)."""
    address = httpx.URL(service.of(function))
    steps = json.dumps([["write", "one"], ["write", "two"], *ending]).encode()
    with socket.create_connection((address.host, address.port or 80), timeout=25) as client:
        head = f"POST {address.path} HTTP/1.0\r\nHost: localhost\r\nContent-Length: {len(steps)}\r\n\r\n"
        client.sendall(head.encode() + steps)
        answer = http.client.HTTPResponse(client)
        answer.begin()
        assert (answer.status, answer.getheader("transfer-encoding")) == (status, None)
        assert answer.read() == (body if body is not None else b"Internal Server Error")


def test_what_fails_before_its_head_is_complete_is_502(service: Service) -> None:
    steps = [["type", PAGE], ["write", '{"statusCode":'], ["fail", "Function.Mine", {}]]
    assert httpx.post(service.of("bootstrap"), json=steps, timeout=25).status_code == 502
    steps = [["type", PAGE], ["write", "no head" + "\0" * 8]]
    assert httpx.post(service.of("bootstrap"), json=steps, timeout=25).status_code == 502


def test_the_timeout_counts_while_a_stream_is_on_its_way(service: Service, gate: Path) -> None:
    chunk, last = service.events("brief", waiting(gate))
    assert chunk == {"PayloadChunk": {"Payload": b"first"}}
    assert last["InvokeComplete"]["ErrorCode"] == "Unhandled"
    assert json.loads(last["InvokeComplete"]["ErrorDetails"])["errorType"] == "Sandbox.Timedout"


def test_a_stream_that_is_no_http_any_more_is_truncated(service: Service) -> None:
    chunk, last = service.events("bootstrap", [["write", "begun"], ["garbage"]])
    assert chunk == {"PayloadChunk": {"Payload": b"begun"}}
    assert json.loads(last["InvokeComplete"]["ErrorDetails"])["errorType"] == "Runtime.TruncatedResponse"


def test_a_second_response_beside_a_stream_is_refused(service: Service, tmp_path: Path) -> None:
    """E.1: what the caller has cannot be taken back."""
    note = tmp_path / "status"
    events = list(service.events("bootstrap", [["write", "one"], ["another response", str(note)], ["write", "two"]]))
    assert b"".join(event["PayloadChunk"]["Payload"] for event in events[:-1]) == b"onetwo"
    assert events[-1] == {"InvokeComplete": {}}
    assert note.read_text() == "403"


def test_much_comes_through_as_it_is_though_the_function_is_faster_than_its_client(service: Service) -> None:
    """A.1: up to 200 MB, more than a response may have."""
    size, end = 0, b""
    steps = [["write", "a"], ["megabytes", MUCH], ["write", "z"]]
    with httpx.stream("POST", service.of("bootstrap"), json=steps, timeout=25) as answer:
        for piece in answer.iter_raw():
            size += len(piece)
            end = (end + piece)[-2:]
    assert (size, end) == (MUCH * MEGABYTE + 2, b"xz")


def test_a_stream_above_its_limit_ends_there_with_an_error(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A.1: 200 MB."""
    monkeypatch.setattr(api_server, "MAXIMUM_STREAM", MEGABYTE)
    monkeypatch.setattr(runtime_api, "MAXIMUM_STREAM", MEGABYTE)
    note = tmp_path / "status"
    *chunks, last = service.events("bootstrap", [["write", "a"], ["megabytes", 1], ["note the status", str(note)]])
    assert sum(len(chunk["PayloadChunk"]["Payload"]) for chunk in chunks) == MEGABYTE
    assert json.loads(last["InvokeComplete"]["ErrorDetails"]) == {
        "errorMessage": f"Response payload size exceeded maximum allowed payload size ({MEGABYTE} bytes).",
        "errorType": "Function.ResponseSizeTooLarge",
    }
    assert appears(note) == "413"


def test_a_client_that_takes_nothing_holds_the_function_up_until_its_timeout(service: Service, tmp_path: Path) -> None:
    written = tmp_path / "written"
    with without_reading(service, "held", [["write", "a"], ["megabytes", MUCH], ["touch", str(written)]]) as client:
        # The environment is busy until its timeout: a second invocation runs in another one, and ends after it.
        _, last = service.events("held", waiting(tmp_path / "never"))
        assert "Timedout" in last["InvokeComplete"]["ErrorDetails"]
        assert not written.exists()
        came = b""
        while piece := client.recv(MEGABYTE):
            came += piece
    assert came.startswith(b"HTTP/1.1 200 OK\r\n")
    assert not came.endswith(b"\r\n0\r\n\r\n")
    assert len(came) < MUCH * MEGABYTE


def test_a_client_that_goes_away_lets_the_function_finish(service: Service, tmp_path: Path, gate: Path) -> None:
    """A.1: its invocation goes on; what comes for it is thrown away."""
    note = tmp_path / "status"
    steps = [["write", "first"], ["wait", str(gate)], ["megabytes", MUCH], ["note the status", str(note)]]
    with httpx.stream("POST", service.of("bootstrap"), json=steps, timeout=25) as answer:
        assert next(answer.iter_raw()) == b"first"
    gate.touch()
    assert appears(note) == "202"


def test_a_client_that_takes_nothing_for_too_long_is_cut_off_and_the_function_finishes(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "TAKEN_WITHIN", 0.2)
    note = tmp_path / "status"
    with without_reading(service, "bootstrap", [["megabytes", MUCH], ["note the status", str(note)]]):
        assert appears(note) == "202"


def test_whoever_takes_no_stream_gets_it_whole(service: Service, function: str) -> None:
    """A.1: Invoke."""
    steps = [["write", "one"], ["write", "two"]]
    answer = service.client.invoke(FunctionName=function, Payload=json.dumps(steps))
    assert answer["Payload"].read() == b"onetwo"


def test_streams_of_several_callers_at_once_do_not_mix(service: Service, gate: Path) -> None:
    with ExitStack() as opened:
        answers = [
            opened.enter_context(httpx.stream("POST", service.of("bootstrap"), json=steps, timeout=25))
            for steps in ([["write", word], ["wait", str(gate)], ["write", word]] for word in "abc")
        ]
        pieces = [answer.iter_raw() for answer in answers]
        assert [next(piece) for piece in pieces] == [b"a", b"b", b"c"]
        gate.touch()
        assert [b"".join(piece) for piece in pieces] == [b"a", b"b", b"c"]
