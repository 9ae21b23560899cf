"""Who may begin an event that already lies in a handler's pipe: its process, or somebody else who has time for it.

An event is laid into the pipe before the answer to the last one is read, so that a handler never waits for the poller.
But the event in front of it may take long. So each event that is laid ahead has a claim, an eventfd that holds one
token: the process takes the token before it begins, and whoever wants the event back takes it first or comes too late.
The kernel hands a token out once. What was not begun when a process died is known in the same way.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress

SLOTS = 4 if hasattr(os, "eventfd") else 0
"""Events that may lie ahead in one process's pipe. Without eventfds (not Linux) none do, and handlers wait a little."""


class Claims:
    """The claims of one process. Its owner's thread offers and settles; `take_back` is for any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        """Guards the descriptors against `close`."""
        self._unclaimed: set[int] = set()
        """After `close`: what the process had not begun."""
        self.free = list(range(SLOTS))
        """Slots that may be offered."""
        self._offered: set[int] = set()
        self._taken_back: set[int] = set()
        """Slots whose events the process has still to pass over."""
        self.fds: list[int] = []
        """For the process, in the order of the slots; empty once closed."""
        try:
            for _ in range(SLOTS):
                self.fds.append(os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC))
        except OSError:
            self.close()
            raise

    def offer(self) -> int:
        """A slot for an event that is about to be laid; one has to be free."""
        slot = self.free.pop()
        self._offered.add(slot)
        os.eventfd_write(self.fds[slot], 1)
        return slot

    def settle(self, slot: int) -> None:
        """The event of this slot was answered or passed over: the slot may be used again."""
        self._offered.discard(slot)
        self._taken_back.discard(slot)
        self.free.append(slot)

    def was_taken_back(self, slot: int) -> bool:
        """Whether the event of this slot was taken back, and is not settled. Any thread."""
        return slot in self._taken_back

    def take_back(self, slot: int) -> bool:
        """Whether the event is the caller's now: its process has not begun it, and will not."""
        with self._lock:
            if not self.fds:
                found = slot in self._unclaimed
                self._unclaimed.discard(slot)
                return found
            try:
                os.eventfd_read(self.fds[slot])
            except BlockingIOError:
                return False
            self._taken_back.add(slot)
            return True

    def close(self) -> None:
        """The process is gone: what it had not begun can be taken back from now on, for certain. Idempotent."""
        with self._lock:
            for slot, fd in enumerate(self.fds):
                if slot in self._offered:
                    with suppress(BlockingIOError):
                        os.eventfd_read(fd)
                        self._unclaimed.add(slot)
                os.close(fd)
            self.fds = []
