"""Hundreds of kafka-python consumers in one process: they take turns to open, and leave the interpreter's lock alone."""

from __future__ import annotations

import socket
import sys
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from kafka.net import manager

from poller.sources import kafka_python_loop
from poller.sources.kafka_python_client import Connections
from poller.sources.kafka_python_crowd import Crowd, Opening, opening_of
from poller.sources.kafka_python_loop import Selector, wait_for

LONG = 60.0


def in_thread(work: Any) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_one_consumer_more_than_there_are_places_waits_for_one_to_be_open() -> None:
    opening, opened = Opening(places=1), threading.Event()

    def open_another() -> None:
        with opening.place(LONG):
            opened.set()

    with opening.place(LONG):
        another = in_thread(open_another)
        assert not opened.is_set()
    another.join(LONG)
    assert opened.is_set()


def test_a_consumer_that_cannot_open_leaves_its_place() -> None:
    opening = Opening(places=1)
    with pytest.raises(OSError, match="refused"), opening.place(LONG):
        raise OSError("refused")
    with opening.place(LONG):
        pass


def test_behind_consumers_whose_broker_does_not_answer_nobody_waits_for_ever() -> None:
    opening, opened = Opening(places=1), threading.Event()

    def open_another() -> None:
        with opening.place(0.01):
            opened.set()

    with opening.place(LONG):
        in_thread(open_another)
        assert opened.wait(LONG)


def test_consumers_of_another_cluster_do_not_wait() -> None:
    assert opening_of(["a:9092"]) is opening_of(["a:9092"])
    assert opening_of(["a:9092"]) is not opening_of(["b:9092"])


def test_the_switch_interval_grows_with_the_consumers_and_comes_back() -> None:
    intervals: list[float] = []
    crowd = Crowd(intervals.append)
    for _ in range(500):
        crowd.join()
    assert intervals[0] == sys.getswitchinterval()  # a few consumers change nothing
    assert intervals[-1] == pytest.approx(0.05)
    for _ in range(500):
        crowd.leave()
    assert intervals[-1] == intervals[0]


def test_a_selector_with_no_time_to_wait_looks_only_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(kafka_python_loop, "time", SimpleNamespace(monotonic=lambda: clock.now))
    ours, theirs = socket.socketpair()
    with ours, theirs, Selector() as selector:
        selector.register(ours, 1)
        assert selector.select(0) == []
        theirs.send(b"x")
        assert selector.select(LONG)  # it may wait, so it looks
        assert selector.select(0) == []  # it looked a moment ago
        clock.now += 0.002
        assert selector.select(0)


def test_a_consumers_client_starts_no_thread_and_its_owner_can_wait_for_answers() -> None:
    connections = Connections()
    before = set(threading.enumerate())
    client = connections.make_on_owners_thread(bootstrap_servers="127.0.0.1:1")
    try:
        client._net.start()
        assert set(threading.enumerate()) == before
        answer = client._manager.call_soon(_answer)
        assert wait_for(client, answer, LONG)
        assert answer.value == "answer"
        assert not wait_for(client, client._manager.call_soon(lambda: client._net.sleep(LONG)), 0.01)
    finally:
        connections.close()


async def _answer() -> str:
    return "answer"


def test_what_the_socket_takes_is_written_and_read_at_once() -> None:
    connections = Connections()
    client = connections.make_on_owners_thread(bootstrap_servers="127.0.0.1:1")
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        transport = _transport(client, ours)
        transport.write(b"request")
        assert theirs.recv(100) == b"request"
        theirs.sendall(b"a" * 100_000)
        received = b""
        while len(received) < 100_000:
            piece, error = transport._sock_recv()
            assert error is None
            received += piece
        assert transport._sock_recv() == (b"", None)
        theirs.sendall(b"last words")
        theirs.close()
        assert transport._sock_recv() == (b"last words", None)
        assert transport._sock_recv()[1] is not None
        connections.close()


def _transport(client: Any, ours: socket.socket) -> Any:
    """A transport as the client builds it, on a socket that is there already."""

    async def connected(*_: Any, **__: Any) -> socket.socket:
        return ours

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manager, "create_connection", connected)
        building = client._manager.call_soon(
            client._manager._build_transport,
            SimpleNamespace(host="127.0.0.1", port=1),
        )
        assert wait_for(client, building, LONG)
    return building.value
