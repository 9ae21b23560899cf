"""How much memory a process and all that it started hold, and the thread that sees to MemorySize (E.3).

On Lambda a kernel's control group kills what grows too large. Here a look ten times a second does, as it needs no
rights: what grows and shrinks again between two looks is not seen. Memory that processes share counts once.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

INTERVAL = 0.1
"""Seconds between two looks."""

MEGABYTE = 1024 * 1024

_PAGE = os.sysconf("SC_PAGE_SIZE")

_log = logging.getLogger(__name__)


def memory_of(pid: int, most: int) -> int | None:
    """Bytes that a process holds with all its descendants; None when it is gone or the system does not tell.

    What is shared is counted for each at first, which is quick, and precisely only where that is more than `most`.
    """
    tree = _tree(pid)
    resident = [size for process in tree if (size := _resident(process)) is not None]
    if not resident:
        return None
    total = sum(resident)
    if total <= most or len(resident) == 1:
        return total
    return sum(_proportional(process) for process in tree)


def _tree(pid: int) -> list[int]:
    found = [pid]
    for process in found:  # grows on the way
        try:
            tasks = os.listdir(f"/proc/{process}/task")  # noqa: PTH208 - names are all we want
        except OSError:
            continue
        for task in tasks:
            with suppress(OSError):
                found += map(int, Path(f"/proc/{process}/task/{task}/children").read_bytes().split())
    return found


def _resident(pid: int) -> int | None:
    try:
        return int(Path(f"/proc/{pid}/statm").read_bytes().split()[1]) * _PAGE
    except (OSError, IndexError):
        return None


def _proportional(pid: int) -> int:
    """Its part of what it shares with others, and what is its own."""
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_bytes()
    except OSError:
        return _resident(pid) or 0
    _, found, rest = rollup.partition(b"\nPss:")
    return int(rest.split(maxsplit=1)[0]) * 1024 if found else 0


class Watched(Protocol):
    """What the watch needs of a pool."""

    def look_at_memory(self) -> None:
        """Kill what is in work and holds too much. Does not block; raises nothing."""
        ...


class MemoryWatch:
    """The thread `memory`. Any thread may start and stop it, once.

    Args:
        watched: the pools as they are now.
    """

    def __init__(self, watched: Callable[[], Iterable[Watched]]) -> None:
        self._watched = watched
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="memory", daemon=True)

    def start(self) -> None:
        """Look from now on, where the system tells what processes hold."""
        if _resident(os.getpid()) is None:
            _log.warning("MemorySize is not enforced: this system does not tell what processes hold")
            return
        _log.info("MemorySize is enforced by a look at each busy environment's processes every %g s", INTERVAL)
        self._thread.start()

    def stop(self) -> None:
        """Look no more. Safe before `start`."""
        self._stopping.set()

    def _run(self) -> None:
        while not self._stopping.wait(INTERVAL):
            for pool in self._watched():
                pool.look_at_memory()
