"""What the threads of pools and destinations report to a poll loop, and how its waiting ends."""

from __future__ import annotations

import queue
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeVar

from poller.runtime.driving import MOMENT, Driver

T = TypeVar("T")


class Reports(Generic[T]):
    """One queue to one poller, one item per batch. `report` is for any thread, the rest for the poller's.

    Args:
        wake: ends a waiting poll of the source; for any thread.
        driver: of the poller, whose callbacks report too.
    """

    def __init__(self, wake: Callable[[], None], driver: Driver) -> None:
        self._wake = wake
        self._driver = driver
        self._items: queue.SimpleQueue[T] = queue.SimpleQueue()
        self.polling = False
        """The poller is in a poll that a report should end, or about to begin one."""

    def report(self, item: T) -> None:
        """Tell the poller; never blocks."""
        self._items.put(item)
        if self.polling:
            self._wake()
        elif self._driver.waiting:
            self._driver.wake()

    def empty(self) -> bool:
        """Whether nothing was reported."""
        return self._items.empty()

    def wait(self, timeout: float) -> list[T]:
        """Everything that was reported; waits for the first report at most `timeout` seconds.

        Where something is driven, no longer than a moment.
        """
        self._driver.collect()
        items: list[T] = []
        if timeout and self._items.empty():
            if self._driver.busy:
                self._drive(min(timeout, MOMENT))
            else:
                self._driver.release()  # nobody looks at what would be offered
                with suppress(queue.Empty):
                    items.append(self._items.get(timeout=timeout))
        while not self._items.empty():  # nobody else takes from it
            items.append(self._items.get_nowait())
        return items

    def _drive(self, timeout: float) -> None:
        self._driver.waiting = True  # before looking what was reported: what comes later ends the wait
        try:
            if self._items.empty():
                self._driver.wait(timeout)
        finally:
            self._driver.waiting = False
