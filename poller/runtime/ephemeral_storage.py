"""EphemeralStorage (E.3): how much an environment's temporary folder holds, found out a little at a time.

On Lambda `/tmp` is a file system of that size, and what is too much fails with ENOSPC. Here it is a folder of a file
system that others use, too. One file cannot grow beyond the size: the kernel refuses that (EFBIG, or SIGXFSZ for
programs that do not ignore it). Many files together can, and are seen soon after.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from time import perf_counter

_PAUSE = 1.0
"""Seconds from the end of one count to the next."""
_SHARE = 0.02
"""Most of one processor that counting one folder takes; a folder with many files is counted less often."""
_SLICE = 0.002
"""Seconds that it counts at a time: other environments are looked at by the same thread."""
_BATCH = 64
"""Files between two looks at the clock."""


def limit_file_size(pid: int, size: int) -> None:
    """Let a process that was just started make no file longer than that many bytes, and so all that it starts.

    Where the system cannot limit another process (not Linux), files are only counted.
    """
    if hasattr(resource, "prlimit"):
        with suppress(OSError, ValueError):  # it is gone already, or may have less
            _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            most = size if hard == resource.RLIM_INFINITY else min(size, hard)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (most, most))


class StorageCount:
    """Counts one folder again and again. Used on one thread at a time."""

    def __init__(self) -> None:
        self._walk: Iterator[int] | None = None
        self._sum = 0
        self._taken = 0.0
        """Seconds that this count has taken."""
        self._due = 0.0

    def look(self, folder: Path, now: float) -> int | None:
        """Count on for a few milliseconds. Raises nothing.

        Args:
            folder: always the same.
            now: monotonic seconds.

        Returns:
            Bytes on the disk, when a count is complete; None in between.
        """
        if self._walk is None:
            if now < self._due:
                return None
            self._walk, self._sum, self._taken = sizes(folder), 0, 0.0
        began = perf_counter()
        complete = self._count(began + _SLICE)
        self._taken += perf_counter() - began
        if not complete:
            return None
        self._walk = None
        self._due = now + max(_PAUSE, self._taken / _SHARE)
        return self._sum

    def _count(self, until: float) -> bool:
        assert self._walk is not None
        while True:
            for _ in range(_BATCH):
                if (size := next(self._walk, None)) is None:
                    return True
                self._sum += size
            if perf_counter() > until:
                return False


def sizes(folder: Path) -> Iterator[int]:
    """Bytes on the disk of each file and folder below; a file with several names counts once, no link is followed."""
    linked: set[tuple[int, int]] = set()
    waiting = [os.fspath(folder)]
    while waiting:
        try:
            entries = os.scandir(waiting.pop())
        except OSError:  # removed meanwhile, or closed to us
            continue
        with entries:
            for entry in entries:
                with suppress(OSError):
                    found = entry.stat(follow_symlinks=False)
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    elif found.st_nlink > 1:
                        if (found.st_dev, found.st_ino) in linked:
                            continue
                        linked.add((found.st_dev, found.st_ino))
                    yield found.st_blocks * 512
