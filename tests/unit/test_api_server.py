"""The sockets of an environment's Runtime API, where the system has no more of them."""

import errno
import select
import socket
import sys

import pytest
from handlers.rig import HANDLERS, Function

from poller.runtime import api_server
from poller.runtime.api_server import ApiServer
from poller.runtime.http_wire import Reply
from poller.runtime.runtime_api import Answer


@pytest.fixture
def full(monkeypatch):
    """Has `accept` fail so many times; says how often it was tried."""
    accept, tried = socket.socket.accept, []

    def set_up(times, number=errno.EMFILE):
        def fail(self):
            tried.append(number)
            if len(tried) <= times:
                raise OSError(number, "too many")
            return accept(self)

        monkeypatch.setattr(socket.socket, "accept", fail)
        return tried

    return set_up


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(api_server, "monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
def test_without_descriptors_a_connection_waits_ends_no_wait_meanwhile_and_is_told_once(full, clock, caplog, number):
    tried = full(2, number)
    poll = select.poll()
    server = ApiServer(poll, lambda _: Answer(Reply(200, (), b"hello")), lambda _: None, lambda _: None)
    host, port = server.address.split(":")
    with socket.create_connection((host, int(port))) as client:
        client.sendall(b"GET / HTTP/1.1\r\n\r\n")
        [(fd, _)] = poll.poll(10_000)
        assert server.serve(fd) == []
        assert server.deferred
        assert poll.poll(0) == []
        server.resume()
        assert len(tried) == 1  # it was just tried
        clock[0] += 0.1
        server.resume()
        assert (len(tried), poll.poll(0)) == (2, [])
        clock[0] += 0.1
        server.resume()
        assert not server.deferred
        [(fd, _)] = poll.poll(10_000)
        server.serve(fd)
        assert client.recv(1000).endswith(b"hello")
        with socket.create_connection((host, int(port))):
            [(fd, _)] = poll.poll(10_000)  # the next one ends a wait as ever
            server.serve(fd)
    server.close()
    [record] = caplog.records
    assert record.getMessage().startswith("a connection of a runtime or an extension waits: ")


def test_a_server_closes_or_rests_while_a_connection_waits_for_a_descriptor(full, clock):
    full(100)
    poll = select.poll()
    for _ in range(2):
        server = ApiServer(poll, lambda _: Answer(Reply(200, (), b"")), lambda _: None, lambda _: None)
        host, port = server.address.split(":")
        with socket.create_connection((host, int(port))):
            [(fd, _)] = poll.poll(10_000)
            server.serve(fd)
            server.rest()
            assert poll.poll(0) == []
            server.close()


def test_a_runtime_whose_connection_had_to_wait_gets_its_events(full, tmp_path):
    tried = full(2)
    program = tmp_path / "bootstrap"
    program.write_text(f"#!{sys.executable}\n{(HANDLERS / 'scripted_bootstrap.py').read_text()}")
    program.chmod(0o755)
    fn = Function("x", code=tmp_path, runtime="provided.al2023", timeout=20.0)
    try:
        assert fn.invoke(["echo", 1]).payload == b"1"
    finally:
        fn.environment.stop()
    assert len(tried) >= 3
