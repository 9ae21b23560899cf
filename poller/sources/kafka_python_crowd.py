"""So that the threads of hundreds of kafka-python consumers in one process are not in each other's way."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

_PLACES = 4
"""Consumers of a cluster that open at once. One is a matter of the processor, and the rest is waiting for answers."""

_USUAL_INTERVAL = sys.getswitchinterval()
_INTERVAL_EACH = 0.0001
"""Seconds: 500 consumers make 50 ms."""


class Crowd:
    """How many consumers there are, for any thread; the interpreter's switch interval grows with them.

    A thread that waits for the interpreter's lock wakes once in each interval, to ask for it again. When a few dozen
    wait at once, the usual 5 ms keep the processor busy with nothing but that: 320 consumers of 500 opened, and then
    no more. Threads that wait for a broker give the lock up anyway, so others wait longer only for one that works.
    """

    def __init__(self, apply: Callable[[float], None] = sys.setswitchinterval) -> None:
        self._apply = apply
        self._lock = threading.Lock()
        self._size = 0

    def join(self) -> None:
        """One more."""
        self._change(1)

    def leave(self) -> None:
        """One that joined is gone."""
        self._change(-1)

    def _change(self, by: int) -> None:
        with self._lock:
            self._size += by
            self._apply(max(_USUAL_INTERVAL, self._size * _INTERVAL_EACH))


crowd = Crowd()
"""Of this process."""


class Opening:
    """Places for those that open; for any thread."""

    def __init__(self, places: int = _PLACES) -> None:
        self._places = places
        self._left = threading.Condition()
        self._taken = 0
        self._last_success = float("-inf")

    @contextmanager
    def place(self, patience: float) -> Iterator[None]:
        """Wait for a place, and have it for the block; a block that raises nothing is a success.

        Args:
            patience: seconds to wait without any success of the others. They may all be waiting for a broker that does
                not answer, which everyone should find out in time; so whoever waited that long goes on without a place.
        """
        with self._left:
            begun = time.monotonic()
            while self._taken >= self._places:
                left = max(begun, self._last_success) + patience - time.monotonic()
                if left <= 0:
                    break
                self._left.wait(left)
            self._taken += 1
        try:
            yield
            self._last_success = time.monotonic()
        finally:
            with self._left:
                self._taken -= 1
                self._left.notify()


_openings: dict[tuple[str, ...], Opening] = {}


def opening_of(bootstrap_servers: Sequence[str]) -> Opening:
    """The one of a cluster: others, which may not be reached, have theirs."""
    return _openings.setdefault(tuple(bootstrap_servers), Opening())
