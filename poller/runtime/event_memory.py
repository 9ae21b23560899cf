"""Memory that this program shares with a handler's process, for events: a pipe copies them twice.

The kernel copies into a pipe page by page, and out of it again: 64 µs at either end for 100 records of 1 KiB. To put
them here takes 10 µs, and to read them nothing. The process' descriptor is read only, and the size is sealed: a handler
that goes out of its way could spoil events of its own function, and nothing else.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from contextlib import suppress

from poller.model import MAXIMUM_PAYLOAD
from poller.runtime.file_descriptors import UNTRACKED

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

    Nothing has room in it where the system has no such memory (Linux has) or does not give any.
    """

    def __init__(self) -> None:
        """Take descriptors, and no memory yet."""
        self._map: mmap.mmap | None = None
        self._held: list[tuple[int, int]] = []
        self._there = 0
        """Bytes, from the start on, that the system has given: those that it can not give are a SIGBUS when written."""
        self._fd = -1
        self.fd = -1
        """For the process. -1 where there is no memory."""
        if hasattr(os, "memfd_create"):
            try:
                self._open()
            except OSError:  # no descriptors, no /proc, not allowed: the pipe is there
                self.close()

    def _open(self) -> None:
        self._fd = os.memfd_create("events", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self._fd, SIZE)
        fcntl.fcntl(self._fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        self.fd = os.open(f"/proc/self/fd/{self._fd}", os.O_RDONLY | os.O_CLOEXEC)
        self._map = mmap.mmap(self._fd, SIZE, **UNTRACKED)

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

    def let_go(self, place: tuple[int, int]) -> None:
        """What `put` gave this for is needed no more: the process has read it."""
        self._held.remove(place)
        if not self._held and self._there > KEPT and self._map is not None:
            with suppress(OSError):  # not every system can give a part back
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
