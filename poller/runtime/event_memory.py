"""Memory that this program shares with a handler's process, for events: a pipe copies them twice.

The kernel copies into a pipe page by page, and out of it again: 64 µs at either end for 100 records of 1 KiB. To put
them here takes 10 µs, and to read them nothing. The process cannot change what is here, nor its size. It answers events
in the order in which it got them, so what was put is let go in that order.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from collections import deque

from poller.model import MAXIMUM_PAYLOAD

LEAST = 4096
"""Bytes of an event that is put here; smaller ones are as quick in a frame."""
SIZE = 8 << 20
"""Bytes: an event of the greatest size has room, or several that are ordinary."""
KEPT = 4 << 20
"""Bytes that stay where nothing is held: to take them anew costs a busy handler of large batches a twentieth."""
_STEP = 64 << 10

assert MAXIMUM_PAYLOAD <= SIZE


class EventMemory:
    """Of one process. For its owner's thread.

    Where the system has no such memory (Linux has), nothing has room in it.
    """

    def __init__(self) -> None:
        """Take descriptors, and no memory yet. Raises OSError: there are none left."""
        self._map: mmap.mmap | None = None
        self._held: deque[tuple[int, int]] = deque()
        self._there = 0
        """Bytes, from the start on, that the system has given: those that it can not give are a SIGBUS when written."""
        self._fd = self.fd = -1
        if not hasattr(os, "memfd_create"):
            return
        self._fd = os.memfd_create("events", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(self._fd, SIZE)
            fcntl.fcntl(self._fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
            self._map = mmap.mmap(self._fd, SIZE)
            self.fd = os.open(f"/proc/self/fd/{self._fd}", os.O_RDONLY | os.O_CLOEXEC)
            """For the process: what may read. -1 where there is no memory."""
        except BaseException:
            self.close()
            raise

    def started(self) -> None:
        """The process has its descriptor: ours of it is not needed any more."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def put(self, content: bytes) -> tuple[int, int] | None:
        """Where it lies until `let_go`, from and to; None when it is small, or there is no room."""
        length = len(content)
        if length < LEAST or self._map is None:
            return None
        start = self._room(length)
        if start is None or (start + length > self._there and not self._grow(start + length)):
            return None
        place = (start, start + length)
        self._map[start : start + length] = content
        self._held.append(place)
        return place

    def let_go(self) -> None:
        """What was put first of all that is held is needed no more."""
        self._held.popleft()
        if not self._held and self._there > KEPT and self._map is not None:
            self._map.madvise(mmap.MADV_REMOVE, KEPT, self._there - KEPT)
            self._there = KEPT

    def close(self) -> None:
        """Give all back; nothing has room any more. Idempotent."""
        self.started()
        if self._map is not None:
            self._map.close()
            self._map = None
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _room(self, length: int) -> int | None:
        """Where so much is free, as near to the start as may be: what was used lately is in the processor's cache."""
        free = 0
        for start, end in sorted(self._held):  # as many as lie ahead, and one
            if start - free >= length:
                return free
            free = end
        return free if SIZE - free >= length else None

    def _grow(self, end: int) -> bool:
        there = min(SIZE, -(-end // _STEP) * _STEP)
        try:
            os.posix_fallocate(self._fd, self._there, there - self._there)
        except OSError:
            return False
        self._there = there
        return True
