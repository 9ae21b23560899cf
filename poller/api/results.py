"""Brings results of invocations from the pools' threads to the loop: a request that waits costs a future, no thread."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from poller.model import InvocationResult


class Results:
    """For one loop at a time. What comes while the loop is busy comes in one piece."""

    def __init__(self) -> None:
        self._of_loop: _OfLoop | None = None

    def expect(self) -> tuple[asyncio.Future[InvocationResult], Callable[[InvocationResult], None]]:
        """A future for the loop's thread, which calls this, and what gives it its result on any."""
        loop = asyncio.get_running_loop()
        if self._of_loop is None or self._of_loop.loop is not loop:  # there is one loop, save in tests
            self._of_loop = _OfLoop(loop)
        return self._of_loop.expect()


class _OfLoop:
    """Those that one loop waits for."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._come: deque[tuple[asyncio.Future[InvocationResult], InvocationResult]] = deque()
        self._woken = False

    def expect(self) -> tuple[asyncio.Future[InvocationResult], Callable[[InvocationResult], None]]:
        answered: asyncio.Future[InvocationResult] = self.loop.create_future()

        def on_result(result: InvocationResult) -> None:
            self._come.append((answered, result))
            if not self._woken:
                self._woken = True
                with suppress(RuntimeError):  # the service is stopping, and the loop has ended
                    self.loop.call_soon_threadsafe(self._settle)

        return answered, on_result

    def _settle(self) -> None:
        self._woken = False  # first: what comes from here on wakes the loop again
        while self._come:
            answered, result = self._come.popleft()
            if not answered.done():  # the service is stopping and has given this request up
                answered.set_result(result)
