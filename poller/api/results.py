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
from poller.runtime.driving import DRIVES, Driver

_log = logging.getLogger(__name__)


class Results:
    """For one loop at a time. What comes while the loop is busy comes in one piece."""

    def __init__(self) -> None:
        self._of_loop: _OfLoop | None = None

    def expect(self) -> tuple[asyncio.Future[InvocationResult], Expected]:
        """A future for the loop's thread, which calls this, and what gives it its result on any."""
        answered: asyncio.Future[InvocationResult] = asyncio.get_running_loop().create_future()

        def take(result: InvocationResult) -> None:
            if not answered.done():  # the service is stopping and has given this request up
                answered.set_result(result)

        return answered, self.handing(take)

    def handing(self, take: Callable[[InvocationResult], None]) -> Expected:
        """What hands a result, on any thread, to `take` on the loop's, which calls this."""
        loop = asyncio.get_running_loop()
        if self._of_loop is None or self._of_loop.loop is not loop:  # there is one loop, save in tests
            self._of_loop = _OfLoop(loop)
        return Expected(self._of_loop, take)


class Expected:
    """Takes one result, on any thread, and hands it over on the loop's."""

    __slots__ = ("_in_work", "_of_loop", "take")

    def __init__(self, of_loop: _OfLoop, take: Callable[[InvocationResult], None]) -> None:
        self.take = take
        self._of_loop = of_loop
        self._in_work = 0

    def __call__(self, result: InvocationResult) -> None:
        """Hand it over."""
        self._of_loop.hand_over(self, result)

    def drive(self) -> Driver | None:
        """For an invocation that is submitted now, on the loop's thread: who drives it there.

        None where no other is in work: to drive is cheaper, but a thread is quicker by what it does while the handler
        is at work.
        """
        self._in_work = 1
        self._of_loop.in_work += 1
        return self._of_loop.driver if self._of_loop.in_work > 1 else None

    def settle(self, result: InvocationResult) -> None:
        """On the loop's thread."""
        self._of_loop.in_work -= self._in_work
        self._in_work = 0
        self.take(result)


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
        self._come: deque[tuple[Expected, InvocationResult]] = deque()
        self._woken = False
        self.in_work = 0
        """Invocations that may be driven, and whose results have not come."""
        self._driver = Driver()
        if DRIVES:
            loop.add_reader(self._driver.fileno(), self._collect)

    @property
    def driver(self) -> Driver | None:
        """On the loop's thread."""
        if not DRIVES:
            return None
        self._driver.own()
        self._driver.awake = True
        return self._driver

    def hand_over(self, expected: Expected, result: InvocationResult) -> None:
        """Any thread."""
        self._come.append((expected, result))
        if not self._woken:
            self._woken = True
            self._wake()

    def _wake(self) -> None:
        if self._event >= 0:
            os.eventfd_write(self._event, 1)
            return
        with suppress(RuntimeError):  # the service is stopping, and the loop has ended
            self.loop.call_soon_threadsafe(self._settle)

    def _collect(self) -> None:
        self._woken = True  # by what is driven: it needs no other way
        try:
            self._driver.collect()
        finally:
            self._settle()

    def _woken_up(self) -> None:
        os.eventfd_read(self._event)
        self._settle()

    def _settle(self) -> None:
        self._woken = False  # first: what comes from here on wakes the loop again
        while self._come:
            expected, result = self._come.popleft()
            try:
                expected.settle(result)
            except Exception:  # noqa: BLE001 - logged; those that follow must not suffer
                _log.exception("The result of %s was not taken", result.request_id)
