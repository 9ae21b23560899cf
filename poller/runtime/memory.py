"""How much memory and how many threads processes have with all that they started, and the thread that looks (E.3).

On Lambda the kernel limits both, and here, too, where it lets us make control groups. Elsewhere a look ten times a
second does, as it needs no rights: what grows and shrinks again between two looks is not seen. Memory that processes
share counts once.
"""

from __future__ import annotations

import ctypes
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

_ROOM = 16 * 1024
"""Bytes that are read of a file at once."""

_SHORT = 2048
"""Bytes. A read that gives fewer has given all: where there is more, the kernel fills a page first."""

_at_hand = ctypes.PyDLL(None, use_errno=True)
"""The C library, called with the interpreter's lock: for what the kernel tells at once, in some 20 to 40 µs. A
busy poll loop had to hand the lock back after each call, and may wait a millisecond for it then."""

_at_work = ctypes.CDLL(None, use_errno=True)
"""The same without the lock: for what the kernel has to work for."""

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
    found: dict[int, Held] = {}
    waiting = list(pids)
    for process in waiting:  # grows on the way
        if process not in found and (alone := _held_alone(process)) is not None:
            found[process] = alone
            folder = f"/proc/{process}"
            waiting += _children(folder, [str(process)] if alone.threads == 1 else _threads(folder))
    if not found:
        return None
    memory = sum(alone.memory for alone in found.values())
    if memory > most and len(found) > 1:
        memory = sum(map(_proportional, found))
    return Held(memory, sum(alone.threads for alone in found.values()))


def threads_by_process(pid: int, proc: Path = Path("/proc")) -> dict[int, int]:
    """A process and its descendants, as far as their parents live, with their numbers of threads."""
    found: dict[int, int] = {}
    waiting = [pid]
    for process in waiting:  # grows on the way
        if threads := _threads(f"{proc}/{process}"):
            found[process] = len(threads)
            waiting += _children(f"{proc}/{process}", threads)
    return found


def _threads(folder: str) -> list[str]:
    """The numbers of a process's threads; none when it is gone. The first one's is its own."""
    try:
        return os.listdir(f"{folder}/task")  # noqa: PTH208 - names are all we want
    except OSError:
        return []


def _children(folder: str, threads: Iterable[str]) -> list[int]:
    """Processes that these threads of a process have started."""
    found: list[int] = []
    for thread in threads:
        with suppress(OSError):
            found += map(int, _read(f"{folder}/task/{thread}/children", _at_hand).split())
    return found


def _held_alone(pid: int) -> Held | None:
    """What one process holds by itself; None when it is gone.

    `status` has both, and its memory is that of `statm`. What `stat` tells is off by some pages (Linux 6.18).
    """
    try:
        status = _read(f"/proc/{pid}/status", _at_hand)
    except OSError:
        return None
    return Held(_number(status, b"VmRSS") * 1024, _number(status, b"Threads"))


def _proportional(pid: int) -> int:
    """Its part of what it shares with others, and what is its own."""
    try:
        rollup = _read(f"/proc/{pid}/smaps_rollup", _at_work)
    except OSError:
        alone = _held_alone(pid)
        return 0 if alone is None else alone.memory
    return _number(rollup, b"Pss") * 1024


def _number(text: bytes, name: bytes) -> int:
    """Of the line that begins so, and is not the first; 0 where there is none: a process that ends has no memory."""
    _, found, rest = text.partition(b"\n" + name + b":")
    return int(rest.split(maxsplit=1)[0]) if found else 0


def _read(path: str, library: ctypes.CDLL) -> bytes:
    """A file of the kernel's, in three calls of the C library."""
    file = library.open(path.encode(), os.O_RDONLY | os.O_CLOEXEC)
    if file < 0:
        raise _failed(path)
    try:
        text = b""
        room = ctypes.create_string_buffer(_ROOM)
        while True:
            length = library.read(file, room, _ROOM)
            if length < 0:
                raise _failed(path)
            text += ctypes.string_at(room, length)
            if length < _SHORT:
                return text
    finally:
        library.close(file)


def _failed(path: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number), path)


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
        elif _held_alone(os.getpid()) is None:
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
