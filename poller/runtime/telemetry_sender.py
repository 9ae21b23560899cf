"""Sends an extension the events that it subscribed to: a thread of its own, so that a slow listener holds nobody up."""

from __future__ import annotations

import http.client
import socket
import threading
from time import monotonic, time

from poller.runtime.telemetry import Event, Subscription
from poller.runtime.telemetry_buffer import TelemetryBuffer

_PATIENCE = 1.0
"""Seconds for one delivery; what does not arrive in it is dropped."""


class TelemetrySender:
    """The thread `telemetry-<extension>`. `put` and `stop` are for the environment's thread."""

    def __init__(self, wanted: Subscription) -> None:
        self.wanted = wanted
        self._buffer = TelemetryBuffer(wanted)
        self._changed = threading.Condition()
        self._stopping = False
        self._socket: socket.socket | None = None
        """Of a listener on TCP."""
        self._thread = threading.Thread(target=self._run, name=f"telemetry-{wanted.name}", daemon=True)
        self._thread.start()

    def put(self, event: Event) -> None:
        """Send an event in its time, if it was subscribed to. Does not wait."""
        with self._changed:
            if self._buffer.put(event, monotonic()):
                self._changed.notify()

    def stop(self) -> None:
        """Send what waits, and end. Does not wait; idempotent."""
        with self._changed:
            self._stopping = True
            self._changed.notify()

    def wait(self, seconds: float) -> None:
        """Wait for the end after `stop`."""
        self._thread.join(max(0.0, seconds))

    def _run(self) -> None:
        while batch := self._batch():
            failure = self._send(batch)
            if failure is not None:
                with self._changed:
                    size = sum(map(len, batch))
                    self._buffer.drop(len(batch), size, f"could not send events: {failure}")
                    if self._stopping:
                        break
        if self._socket is not None:
            self._socket.close()

    def _batch(self) -> list[bytes]:
        """What goes out together; empty at the end."""
        with self._changed:
            while not self._stopping:
                due, now = self._buffer.due(), monotonic()
                if due is not None and due <= now:
                    break
                self._changed.wait(None if due is None else due - now)
            return self._buffer.take(monotonic(), time())

    def _send(self, batch: list[bytes]) -> str | None:
        """Deliver it; None, or why that failed."""
        try:
            if self.wanted.path:
                return self._post(b"[" + b",".join(batch) + b"]")
            self._write(b"".join(event + b"\n" for event in batch))
        except (OSError, http.client.HTTPException) as error:
            if self._socket is not None:
                self._socket.close()
                self._socket = None
            return f"{type(error).__name__}: {error}".removesuffix(": ")
        return None

    def _post(self, content: bytes) -> str | None:
        connection = http.client.HTTPConnection("127.0.0.1", self.wanted.port, timeout=_PATIENCE)
        try:
            headers = {"Content-Type": "application/json"}
            connection.request(self.wanted.method, self.wanted.path, content, headers)
            answer = connection.getresponse()
            answer.read()
        finally:
            connection.close()
        return None if answer.status < http.HTTPStatus.BAD_REQUEST else f"the listener answered {answer.status}"

    def _write(self, content: bytes) -> None:
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self.wanted.port), timeout=_PATIENCE)
        self._socket.sendall(content)
