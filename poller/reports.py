"""What the threads of pools and destinations report to a poll loop, and how its waiting ends."""

from __future__ import annotations

import queue
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeVar

T = TypeVar("T")


class Reports(Generic[T]):
    """One queue to one poller, one item per batch. `report` is for any thread, the rest for the poller's.

    Args:
        wake: ends a waiting poll of the source; for any thread.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._items: queue.SimpleQueue[T] = queue.SimpleQueue()
        self.polling = False
        """The poller is in a poll that a report should end, or about to begin one."""

    def report(self, item: T) -> None:
        """Tell the poller; never blocks."""
        self._items.put(item)
        if self.polling:
            self._wake()

    def empty(self) -> bool:
        """Whether nothing was reported."""
        return self._items.empty()

    def wait(self, timeout: float) -> list[T]:
        """Everything that was reported; waits for the first report at most `timeout` seconds."""
        items: list[T] = []
        if timeout and self._items.empty():
            with suppress(queue.Empty):
                items.append(self._items.get(timeout=timeout))
        while not self._items.empty():  # nobody else takes from it
            items.append(self._items.get_nowait())
        return items
