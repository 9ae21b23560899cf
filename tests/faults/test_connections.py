"""Ten thousand connections that want nothing, and what the service does for those that want something."""

from __future__ import annotations

import json
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from handlers.rig import HANDLERS
from integration.harness.service import Service
from waiting import eventually

MANY = 10_000
WAVE = 500
OUR_OWN = 500
"""Descriptors that the tests' process needs besides."""
INVOKE = "/2015-03-31/functions/Echo/invocations"


@contextmanager
def descriptors() -> Iterator[int]:
    """How many connections this process may have; as many as the system allows, for as long as that lasts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        yield hard - OUR_OWN
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def is_refused(client: socket.socket) -> bool:
    """Whether the service has said so, or closed the connection."""
    client.setblocking(False)
    try:
        answer = client.recv(4096)
    except BlockingIOError:
        return False
    except ConnectionError:
        return True
    assert answer == b"" or answer.startswith(b"HTTP/1.1 503 "), answer
    return True


def test_ten_thousand_idle_connections_are_taken_or_refused_and_harm_nobody(tmp_path: Path) -> None:
    function = {"Code": str(HANDLERS), "Handler": "basic.echo", "Runtime": "python3.13"}
    template = {"Resources": {"Echo": {"Type": "AWS::Lambda::Function", "Properties": function}}}
    idle: list[socket.socket] = []
    refused = 0
    with descriptors() as most, Service(tmp_path, template) as service, httpx.Client(timeout=60) as known:
        url = service.url
        host, _, port = url.removeprefix("http://").partition(":")
        assert known.post(url + INVOKE, content=b"1").text == "1"
        try:
            for opened in range(min(MANY, most)):
                idle.append(socket.create_connection((host, int(port)), timeout=60))
                if opened % WAVE == WAVE - 1:
                    assert known.post(url + INVOKE, content=b"[2]").text == "[2]", "who was there goes on"
                    gone = [client for client in idle if is_refused(client)]
                    refused += len(gone)
                    for client in gone:
                        client.close()
                    idle = [client for client in idle if client not in set(gone)]
            assert known.get(f"{url}/healthz").status_code == 200
        finally:
            for client in idle:
                client.close()
        eventually(lambda: httpx.get(f"{url}/healthz", timeout=60).status_code == 200)
        assert json.loads(httpx.post(url + INVOKE, content=b"3", timeout=60).text) == 3
        assert len(idle) + refused == min(MANY, most)
        assert service.stop() == 0
        assert service.problems() == []


def test_where_descriptors_are_few_connections_leave_some_for_handlers(tmp_path: Path) -> None:
    function = {"Code": str(HANDLERS), "Handler": "basic.echo", "Runtime": "python3.13"}
    template = {"Resources": {"Echo": {"Type": "AWS::Lambda::Function", "Properties": function}}}
    few = ("prlimit", "--nofile=1024:1024")
    with Service(tmp_path, template, wrapped=few) as service, httpx.Client(timeout=60) as known:
        url = service.url
        host, _, port = url.removeprefix("http://").partition(":")
        assert known.get(f"{url}/healthz").status_code == 200
        idle = [socket.create_connection((host, int(port)), timeout=60) for _ in range(800)]
        try:
            assert known.post(url + INVOKE, content=b"1").text == "1", "its process is started now"
            eventually(lambda: sum(is_refused(client) for client in idle) >= 1)
        finally:
            for client in idle:
                client.close()
        eventually(lambda: httpx.get(f"{url}/healthz", timeout=60).status_code == 200)
        assert service.stop() == 0
        assert service.problems() == []
