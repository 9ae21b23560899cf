"""Telemetry on its way to one subscriber: gathered as it asked for, bounded, and what is dropped is told. Pure.

A batch goes out when it has `maxItems` events or `maxBytes` bytes, or when its first event has waited for `timeoutMs`.
While one is on its way the next ones are gathered, up to twice `maxBytes`: beyond that events are dropped, and an event
`platform.logsDropped` with their number stands before what comes next.
"""

from __future__ import annotations

import json
from collections import deque

from poller.runtime.telemetry import Event, Subscription, dropped, shaped

BEHIND = "Consumer seems to have fallen behind as it has not acknowledged receipt of logs."

_encode = json.JSONEncoder(separators=(",", ":")).encode


class TelemetryBuffer:
    """Events for one subscriber. With its sender's lock."""

    def __init__(self, wanted: Subscription) -> None:
        self._wanted = wanted
        self._events: deque[bytes] = deque()
        self._size = 0
        self._since = 0.0
        self._dropped: tuple[int, int, str] | None = None
        """Records, bytes and why."""

    def put(self, event: Event, now: float) -> bool:
        """Take an event, if it was subscribed to; whether it was. `now` is in monotonic seconds."""
        content = shaped(self._wanted, event)
        if content is None:
            return False
        encoded = _encode(content).encode()
        if self._events and self._size + len(encoded) > 2 * self._wanted.maximum_bytes:
            self.drop(1, len(encoded), BEHIND)
            return True
        self._tell_of_dropped(event.now)
        self._add(encoded, now)
        return True

    def drop(self, records: int, size: int, reason: str) -> None:
        """So much did not arrive, or will not."""
        before = self._dropped or (0, 0, reason)
        self._dropped = before[0] + records, before[1] + size, reason

    def due(self) -> float | None:
        """Monotonic time at which the next batch goes out; None while there is nothing."""
        if not self._events:
            return None
        full = len(self._events) >= self._wanted.maximum_items or self._size >= self._wanted.maximum_bytes
        return self._since if full else self._since + self._wanted.timeout

    def take(self, now: float, epoch: float) -> list[bytes]:
        """The next batch, each event as JSON; what stays has waited since `now`. `epoch` is the time of day."""
        self._tell_of_dropped(epoch)
        batch: list[bytes] = []
        size = 0
        while self._events and len(batch) < self._wanted.maximum_items:
            size += len(self._events[0])
            if batch and size > self._wanted.maximum_bytes:
                break
            self._size -= len(self._events[0])
            batch.append(self._events.popleft())
        self._since = now
        return batch

    def _add(self, encoded: bytes, now: float) -> None:
        if not self._events:
            self._since = now
        self._events.append(encoded)
        self._size += len(encoded)

    def _tell_of_dropped(self, epoch: float) -> None:
        if self._dropped is None:
            return
        content = shaped(self._wanted, Event("platform.logsDropped", dropped(*self._dropped), epoch))
        self._dropped = None
        if content is not None:
            encoded = _encode(content).encode()
            self._events.append(encoded)
            self._size += len(encoded)
