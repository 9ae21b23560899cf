"""Control groups (cgroups v2) of execution environments: what their processes may use, and an end that none escapes.

A group holds one process of a function, its extensions, and all that they start, wherever it went. The kernel counts
for it what a virtual machine counts on Lambda: the processes' own memory (the interpreter's, too), what they keep in
files without a disk (`/dev/shm`, a `TMPDIR` on a tmpfs), kernel memory such as the buffers of pipes and sockets, and
pages of files on a disk that they read or wrote first; the last are let go when room is needed. Nothing is swapped.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from itertools import count
from pathlib import Path

from poller.runtime.cgroup_place import CONTROLLERS, LEAF, NoControlGroups, Place, find_place, members
from poller.runtime.memory import MEGABYTE, threads_by_process

PROCESSES = 1024
"""Most processes and threads of an environment (E.3)."""

_END = 2.0
"""Seconds that killed processes may take to leave their group. What stays is removed by the next service."""
_NAME = re.compile(r"poller-(\d+)-.+")

_log = logging.getLogger(__name__)


class ControlGroup:
    """The group of one process of an environment. Its environment's thread makes and ends it; the rest is for any.

    Args:
        path: its folder, which need not be there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def make(self, memory: int) -> None:
        """Make it, for so many bytes. Raises OSError: it cannot be made; nothing is left of it then."""
        self.path.mkdir()
        try:
            self._write("memory.max", memory)
            with suppress(FileNotFoundError):  # a kernel without swap
                self._write("memory.swap.max", 0)
            self._write("memory.oom.group", 1)
            self._write("pids.max", PROCESSES)
        except OSError:
            self.path.rmdir()
            raise

    def add(self, pid: int) -> None:
        """Take a process that was just started, and what it started meanwhile. Raises OSError."""
        tried: set[int] = set()  # one that has ended and is not reaped yet is never here
        while outside := {pid, *threads_by_process(pid)} - {*members(self.path)} - tried:
            for process in outside:
                self._take(process)
            tried |= outside  # what they start from now on is here, too

    def peak_memory(self) -> int | None:
        """Bytes at the peak; None where the kernel does not tell (before 5.19), or the group is gone."""
        with suppress(OSError, ValueError):
            return int((self.path / "memory.peak").read_text())
        return None

    def out_of_memory(self) -> bool:
        """Whether the kernel killed something in it for lack of memory."""
        with suppress(OSError):
            return count_of("oom_kill", (self.path / "memory.events").read_text()) > 0
        return False

    def kill(self) -> None:
        """SIGKILL to all in it, groups below it included. Does not wait."""
        with suppress(OSError):  # it is gone, and they with it
            if (self.path / "cgroup.kill").exists():  # Linux 5.14
                self._write("cgroup.kill", 1)
                return
            for pid in {pid for folder in self._folders() for pid in members(folder)} - {0}:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def end(self) -> None:
        """Kill what is in it and remove it. Waits for that, two seconds at most. Idempotent."""
        deadline = time.monotonic() + _END
        while self.path.exists():
            try:
                for folder in self._folders():
                    folder.rmdir()
            except FileNotFoundError:
                return
            except OSError as error:  # busy: something lives
                if time.monotonic() > deadline:
                    _log.warning("cannot remove the control group %s: %s", self.path, error)
                    return
                self.kill()
                time.sleep(0.001)

    def _folders(self) -> list[Path]:
        """Those below it, which the function may have made, before their parents; itself last."""
        return [Path(folder) for folder, _, _ in os.walk(self.path, topdown=False)]

    def _take(self, pid: int) -> None:
        with suppress(ProcessLookupError):  # it has ended
            self._write("cgroup.procs", pid)

    def _write(self, name: str, value: int) -> None:
        write(self.path / name, str(value))


class ControlGroups:
    """Makes the groups of a service's environments. Any thread."""

    def __init__(self, parent: Path) -> None:
        self.parent = parent
        self._numbers = count(1)

    def make(self, function_name: str, memory_size: int) -> ControlGroup:
        """A new group for a process of this function, which may hold `memory_size` megabytes. Raises OSError."""
        while True:
            group = ControlGroup(self.parent / f"poller-{os.getpid()}-{function_name}-{next(self._numbers)}")
            with suppress(FileExistsError):  # of a service that is gone and had our number
                group.make(memory_size * MEGABYTE)
                return group

    def remove_leftovers(self) -> int:
        """Remove groups of services that are gone: they were killed. Returns how many there were."""
        alive: set[int] = set()
        for folder in (self.parent / LEAF, self.parent):
            with suppress(OSError):
                alive.update(members(folder))
        left = [path for path in self.parent.iterdir() if (service := _service_of(path.name)) and service not in alive]
        for path in left:
            ControlGroup(path).end()
        return len(left)


def count_of(event: str, events: str) -> int:
    """How often something happened, from the text of `memory.events`; 0 for what it does not name."""
    counts = dict(line.split() for line in events.splitlines())
    return int(counts.get(event, 0))


def write(path: Path, text: str) -> None:
    """Write to a file of a control group, which is never made by that. Raises OSError."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def find_control_groups() -> ControlGroups:
    """Make ready for control groups: move this process into a leaf, switch the controllers on, remove leftovers.

    Before any other process or thread of the service matters: what it starts later is in the leaf, too, and finds the
    place by that.

    Raises:
        NoControlGroups: there is no place for them, or the kernel does not let us.
    """
    place = find_place()
    try:
        _occupy(place)
    except OSError as error:
        raise NoControlGroups(f"control groups cannot be made in {place.parent}: {error.strerror}") from None
    groups = ControlGroups(place.parent)
    if left := groups.remove_leftovers():
        _log.info("removed %d control groups that a killed service left", left)
    return groups


def _occupy(place: Place) -> None:
    if place.leaf is not None:
        place.leaf.mkdir(exist_ok=True)
        _move(members(place.parent), place.leaf)
    control = place.parent / "cgroup.subtree_control"
    if CONTROLLERS - set(control.read_text().split()):
        try:
            write(control, " ".join(f"+{name}" for name in sorted(CONTROLLERS)))
        except OSError:
            if place.leaf is not None:
                _move(members(place.leaf), place.parent)
                place.leaf.rmdir()
            raise


def _move(pids: Iterable[int], group: Path) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            write(group / "cgroup.procs", str(pid))


def _service_of(name: str) -> int | None:
    found = _NAME.fullmatch(name)
    return int(found[1]) if found else None
