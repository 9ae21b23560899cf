"""A response on its way from its environment's thread to the loop, in pieces and in bounded memory."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

from poller.model import InvocationResult

MOST_HELD = 512 * 1024
"""Bytes that lie here before the function has to wait; the last piece may go beyond by what one read gives."""


class StreamFailed(Exception):  # noqa: N818 - what failed is in it
    """The function failed in the middle of its response, or was stopped there."""

    def __init__(self, result: InvocationResult) -> None:
        super().__init__(f"the response of {result.request_id} ended before its end")
        self.result = result


class StreamedResponse:
    """A `ResponseStream` for an environment, and what comes of it for one coroutine on the loop that makes this.

    A client that is slow holds the function up: when there is no room, the environment reads no more of its response,
    while its timeout goes on. Where nobody takes any more (`leave`), pieces are thrown away and the function finishes.
    """

    def __init__(self, answered: asyncio.Future[InvocationResult]) -> None:
        """Wait for a response.

        Args:
            answered: gets the result of the invocation, after its last piece.
        """
        self.content_type = self.version = ""
        """As the runtime named it, and what it runs; both once it has begun."""
        self._answered = answered
        self._loop = asyncio.get_running_loop()
        self._come = asyncio.Event()
        """Something is new for the loop."""
        answered.add_done_callback(lambda _: self._come.set())
        self._wake: Callable[[], None] | None = None
        self._lock = threading.Lock()
        """Guards what follows."""
        self._begun = self._left = False
        self._told = False
        """Whether the loop knows of what is held."""
        self._held = bytearray()

    # --- for the environment's thread ------------------------------------------------------------------------------

    def attach(self, version: str, wake: Callable[[], None]) -> None:
        """As `ResponseStream`."""
        self.version, self._wake = version, wake

    def begin(self, content_type: str) -> None:
        """As `ResponseStream`."""
        self.content_type = content_type
        with self._lock:
            self._begun = True
        self._tell()

    def take(self, piece: bytes) -> None:
        """As `ResponseStream`."""
        with self._lock:
            if self._left:
                return
            self._held += piece
            told, self._told = self._told, True
        if not told:
            self._tell()

    @property
    def full(self) -> bool:
        """As `ResponseStream`."""
        return len(self._held) >= MOST_HELD

    def _tell(self) -> None:
        with suppress(RuntimeError):  # the service is stopping, and the loop has ended
            self._loop.call_soon_threadsafe(self._come.set)

    # --- for the loop's thread -------------------------------------------------------------------------------------

    async def begun(self) -> bool:
        """Wait until there are pieces to come: false when the response came, or failed, without any."""
        while not (self._begun or self._answered.done()):
            self._come.clear()
            await self._come.wait()
        return self._begun

    async def result(self) -> InvocationResult:
        """How it ended; waits for that."""
        return await self._answered

    async def pieces(self) -> AsyncIterator[bytes]:
        """What comes, as soon as it is there, until the response is complete.

        Raises:
            StreamFailed: it will never be.
        """
        while True:
            self._come.clear()
            ended = self._answered.done()  # asked first: the last piece comes before the result
            piece = self._taken()
            if piece:
                yield piece
            elif ended:
                break
            else:
                await self._come.wait()
        result = self._answered.result()
        if result.function_error is not None or result.status != 200:  # noqa: PLR2004
            raise StreamFailed(result)

    def leave(self) -> None:
        """Nobody takes any more. Idempotent."""
        with self._lock:
            self._left = True
        self._taken()

    def _taken(self) -> bytes:
        with self._lock:
            was_full = self.full
            piece, self._held = bytes(self._held), bytearray()
            self._told = False
        if was_full and self._wake is not None:
            self._wake()
        return piece
