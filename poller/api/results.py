"""Brings results of invocations from the pools' threads to the loop: a request that waits costs a future, no thread."""

from __future__ import annotations

import asyncio
import logging
import os
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from poller.model import InvocationResult

_log = logging.getLogger(__name__)


class Results:
    """For one loop at a time. What comes while the loop is busy comes in one piece."""

    def __init__(self) -> None:
        self._of_loop: _OfLoop | None = None

    def expect(self) -> tuple[asyncio.Future[InvocationResult], Callable[[InvocationResult], None]]:
        """A future for the loop's thread, which calls this, and what gives it its result on any."""
        answered: asyncio.Future[InvocationResult] = asyncio.get_running_loop().create_future()

        def take(result: InvocationResult) -> None:
            if not answered.done():  # the service is stopping and has given this request up
                answered.set_result(result)

        return answered, self.handing(take)

    def handing(self, take: Callable[[InvocationResult], None]) -> Callable[[InvocationResult], None]:
        """What hands a result, on any thread, to `take` on the loop's, which calls this."""
        loop = asyncio.get_running_loop()
        if self._of_loop is None or self._of_loop.loop is not loop:  # there is one loop, save in tests
            self._of_loop = _OfLoop(loop)
        return self._of_loop.handing(take)


class _OfLoop:
    """Those that one loop waits for.

    The loop's own way to be woken by a thread reads until there is no more, which gives the interpreter's lock up twice
    as often; an eventfd is read once. It lives as long as the loop, which there is one of.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._event = -1
        if hasattr(os, "eventfd"):
            self._event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
            weakref.finalize(self, os.close, self._event).atexit = False  # threads may still write then
            loop.add_reader(self._event, self._woken_up)
        self._come: deque[tuple[Callable[[InvocationResult], None], InvocationResult]] = deque()
        self._woken = False

    def handing(self, take: Callable[[InvocationResult], None]) -> Callable[[InvocationResult], None]:
        def on_result(result: InvocationResult) -> None:
            self._come.append((take, result))
            if not self._woken:
                self._woken = True
                self._wake()

        return on_result

    def _wake(self) -> None:
        if self._event >= 0:
            os.eventfd_write(self._event, 1)
            return
        with suppress(RuntimeError):  # the service is stopping, and the loop has ended
            self.loop.call_soon_threadsafe(self._settle)

    def _woken_up(self) -> None:
        os.eventfd_read(self._event)
        self._settle()

    def _settle(self) -> None:
        self._woken = False  # first: what comes from here on wakes the loop again
        while self._come:
            take, result = self._come.popleft()
            try:
                take(result)
            except Exception:  # noqa: BLE001 - logged; those that follow must not suffer
                _log.exception("The result of %s was not taken", result.request_id)
