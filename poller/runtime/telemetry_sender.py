"""Sends an extension the events that it subscribed to: a thread of its own, so that a slow listener holds nobody up."""

from __future__ import annotations

import http.client
import json
import threading
from collections import deque
from collections.abc import Mapping
from time import monotonic
from typing import Any

from poller.runtime.telemetry import Subscription, wants

_PATIENCE = 1.0
"""Seconds for one delivery; what does not arrive in it is dropped."""
_WAITING = 10_000
"""Events that may wait; the oldest are dropped beyond that."""


class TelemetrySender:
    """The thread `telemetry-<extension>`. `put` is for the environment's thread and does not wait."""

    def __init__(self, wanted: Subscription) -> None:
        self._wanted = wanted
        self._events: deque[Mapping[str, Any]] = deque(maxlen=_WAITING)
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=f"telemetry-{wanted.name}", daemon=True)
        self._thread.start()

    def put(self, event: Mapping[str, Any]) -> None:
        """Send an event in its time, if it was subscribed to."""
        if wants(self._wanted, event):
            with self._changed:
                self._events.append(event)
                self._changed.notify()

    def stop(self, *, wait: bool) -> None:
        """Send what waits, and end. With `wait` blocks for two deliveries at most. Idempotent."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if wait:
            self._thread.join(2 * _PATIENCE)

    def _run(self) -> None:
        while (batch := self._batch()) is not None:
            self._send(batch)

    def _batch(self) -> list[Mapping[str, Any]] | None:
        """What goes out together; None at the end."""
        with self._changed:
            while not self._events and not self._stopping:
                self._changed.wait()
            deadline = monotonic() + self._wanted.timeout
            while len(self._events) < self._wanted.maximum_items and not self._stopping:
                if (left := deadline - monotonic()) <= 0:
                    break
                self._changed.wait(left)
            batch: list[Mapping[str, Any]] = []
            size = 0
            while self._events and len(batch) < self._wanted.maximum_items:
                size += len(json.dumps(self._events[0]))
                if batch and size > self._wanted.maximum_bytes:
                    break
                batch.append(self._events.popleft())
        return batch or None

    def _send(self, batch: list[Mapping[str, Any]]) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._wanted.port, timeout=_PATIENCE)
        try:
            connection.request("POST", self._wanted.path, json.dumps(batch), {"Content-Type": "application/json"})
            connection.getresponse().read()
        except (OSError, http.client.HTTPException):  # it does not listen: so be it
            pass
        finally:
            connection.close()
