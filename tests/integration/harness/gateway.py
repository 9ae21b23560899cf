"""A TCP port in front of a broker that a test opens and closes: an address where nobody answers, until somebody does.

Kafka's clients take only the first contact from it, since brokers name their own addresses; RabbitMQ's stay behind it.
"""

from __future__ import annotations

import queue
import selectors
import socket
import threading
from contextlib import suppress
from typing import Self

from brokers import free_port


class Gateway:
    """Closed at first. One thread carries the bytes of all connections.

    Args:
        target: `host:port` of the broker.
    """

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self._selector = selectors.DefaultSelector()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._slipped_in: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._near: set[object] = set()
        """The clients' ends."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        self._selector.close()

    def open(self) -> None:
        """Take connections from now on."""
        listener = socket.create_server(("127.0.0.1", self.port))
        self._selector.register(listener, selectors.EVENT_READ)
        self._ended.clear()
        self._thread = threading.Thread(target=self._carry, name=f"gateway-{self.port}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Refuse connections, and drop those that are there."""
        if self._thread is not None:
            self._ended.set()
            self._thread.join()
            self._thread = None
        for key in list(self._selector.get_map().values()):
            self._drop(key.fileobj)

    def slip_in(self, content: bytes) -> None:
        """Send the broker something in the client's name, on every connection, between two writes of the client."""
        self._slipped_in.put(content)

    def _carry(self) -> None:
        while not self._ended.is_set():
            while not self._slipped_in.empty():
                content = self._slipped_in.get()
                for key in list(self._selector.get_map().values()):
                    if key.data is not None and key.fileobj in self._near:
                        key.data.sendall(content)
            for key, _ in self._selector.select(0.02):
                assert isinstance(key.fileobj, socket.socket)
                if key.data is None:
                    self._accept(key.fileobj)
                else:
                    self._pass_on(key.fileobj, key.data)

    def _accept(self, listener: socket.socket) -> None:
        near, _ = listener.accept()
        try:
            far = socket.create_connection(self._target, timeout=5)
        except OSError:
            near.close()
            return
        self._near.add(near)
        self._selector.register(near, selectors.EVENT_READ, far)
        self._selector.register(far, selectors.EVENT_READ, near)

    def _pass_on(self, source: socket.socket, to: socket.socket) -> None:
        try:
            content = source.recv(65536)
            to.sendall(content)
        except OSError:
            content = b""
        if not content:
            self._drop(source)
            self._drop(to)

    def _drop(self, end: object) -> None:
        assert isinstance(end, socket.socket)
        self._near.discard(end)
        with suppress(KeyError, ValueError):
            self._selector.unregister(end)
        end.close()
