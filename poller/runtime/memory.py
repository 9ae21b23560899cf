"""How much memory and how many threads processes have with all that they started, and the thread that looks (E.3).

On Lambda the kernel limits both, and here, too, where it lets us make control groups. Elsewhere a look ten times a
second does, as it needs no rights: what grows and shrinks again between two looks is not seen. Memory that processes
share counts once.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Protocol

INTERVAL = 0.1
"""Seconds between two looks."""

MEGABYTE = 1024 * 1024

_PAGE = os.sysconf("SC_PAGE_SIZE")

_log = logging.getLogger(__name__)


class Held(NamedTuple):
    """What processes hold together."""

    memory: int
    """Bytes."""
    threads: int


def held_by(pids: Iterable[int], most: int) -> Held | None:
    """What processes hold with all their descendants; None when they are gone or the system does not tell.

    Memory that is shared is counted for each at first, which is quick, and precisely only where that is more than
    `most`.
    """
    processes: dict[int, int] = {}
    for pid in pids:
        processes |= threads_by_process(pid)
    resident = [size for process in processes if (size := _resident(process)) is not None]
    if not resident:
        return None
    memory = sum(resident)
    if memory > most and len(resident) > 1:
        memory = sum(map(_proportional, processes))
    return Held(memory, sum(processes.values()))


def threads_by_process(pid: int, proc: Path = Path("/proc")) -> dict[int, int]:
    """A process and its descendants, as far as their parents live, with their numbers of threads."""
    found: dict[int, int] = {}
    waiting = [pid]
    for process in waiting:  # grows on the way
        try:
            tasks = os.listdir(f"{proc}/{process}/task")  # noqa: PTH208 - names are all we want
        except OSError:
            continue
        found[process] = len(tasks)
        for task in tasks:
            with suppress(OSError):
                waiting += map(int, Path(f"{proc}/{process}/task/{task}/children").read_bytes().split())
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
        by_kernel: where control groups are; None where there are none.
        reason: why there are none.
    """

    def __init__(
        self, watched: Callable[[], Iterable[Watched]], *, by_kernel: Path | None = None, reason: str = ""
    ) -> None:
        self._watched = watched
        self._by_kernel = by_kernel
        self._reason = reason
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="memory", daemon=True)

    def start(self) -> None:
        """Look from now on, where the system tells what processes hold. Says once in the log who enforces limits."""
        if self._by_kernel is not None:
            _log.info("MemorySize is enforced by the kernel, with control groups in %s", self._by_kernel)
        elif _resident(os.getpid()) is None:
            _log.warning("MemorySize is not enforced: this system does not tell what processes hold")
            return
        else:
            text = "MemorySize is enforced by a look at each busy environment's processes every %g s%s"
            _log.info(text, INTERVAL, self._reason and f", as {self._reason}")
        self._thread.start()

    def stop(self) -> None:
        """Look no more. Safe before `start`."""
        self._stopping.set()

    def _run(self) -> None:
        while not self._stopping.wait(INTERVAL):
            for pool in self._watched():
                try:
                    pool.look_at_memory()
                except Exception:  # noqa: BLE001 - logged: the limits of all others hang on this thread
                    _log.exception("A look at the memory of a function failed")
