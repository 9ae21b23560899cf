"""The connection to the broker of asynchronous events where it cannot be: what is told, and that it ends."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from brokers import free_port

from poller.async_invoke.amqp_link import Link

pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # pika's, of refused connections


def trouble(url: str) -> tuple[str, str]:
    """Where a link says that it connects to, and why it cannot."""
    logging.getLogger("pika").setLevel(logging.CRITICAL)  # as the program does
    link = Link(url, lambda _: None, lambda: None)
    link.start()
    assert link.settled.wait(30)
    told = link.where, link.trouble
    assert link.alive
    link.stop(10)
    link.stop(10)  # idempotent
    assert not link.alive
    return told


@pytest.fixture
def no_tls() -> Iterator[int]:
    """A port of something that does not speak TLS."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            try:
                while True:
                    connection, _ = server.accept()
                    connection.recv(1)
                    connection.sendall(b"AMQP\0\0\x09\x01")
                    connection.close()
            except OSError:
                return

        threading.Thread(target=answer, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


def test_why_a_broker_cannot_be_reached_is_told_without_the_password(no_tls: int, tmp_path: Path) -> None:
    login = "poller:top-secret"
    for url, reason in [
        (f"amqp://{login}@127.0.0.1:{free_port()}/a%2Fb", "Connection refused"),
        (f"amqps://{login}@127.0.0.1:{no_tls}/%2F", "SSL"),
        (f"amqps://{login}@127.0.0.1:{no_tls}/%2F?cacertfile={tmp_path}/missing.pem", "No such file"),
    ]:
        where, told = trouble(url)
        assert reason in told
        assert "top-secret" not in where + told
    assert where == f"RabbitMQ at 127.0.0.1:{no_tls}, virtual host /"


def test_a_link_that_was_never_started_ends_as_well() -> None:
    link = Link("amqp://guest:guest@127.0.0.1:1/%2F", lambda _: None, lambda: None)
    link.stop(1)
    link.call(lambda: None)  # nobody is there to do it
