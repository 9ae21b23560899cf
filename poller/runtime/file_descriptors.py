"""Most file descriptors of a function's process (E.3). Also loaded inside of it, so: the standard library only."""

from __future__ import annotations

import fcntl
import os
import resource
import sys
from typing import Any

FILE_DESCRIPTORS = 1024

UNTRACKED: dict[str, Any] = {"trackfd": False} if sys.version_info >= (3, 13) else {}
"""For `mmap`, which keeps a descriptor of its own before Python 3.13."""

_OTHERS = 4
"""Places for what the process was given besides, which may be there: its leash, its events' memory."""


def limit_file_descriptors(pid: int) -> None:
    """Let a process that was just started open so many and no more, and so all that it starts. Any thread.

    Soft limit and hard: Node.js, Java and Go raise the first to the second by themselves. Where the system cannot limit
    another process (not Linux), the process keeps our limit. Python on pipes limits itself with `out_of_reach`.
    """
    if hasattr(resource, "prlimit"):
        try:
            _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
            most = FILE_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(FILE_DESCRIPTORS, hard)
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (most, most))
        except (OSError, ValueError):
            pass  # it is gone already, or may have fewer


def out_of_reach(*fds: int) -> list[int]:
    """Have our own descriptors above the limit that the handler will have, closed on exec; then set that limit.

    There they are out of reach of `os.closerange`, too. Those that the service had there already stay where they are:
    it passes on the numbers that it has itself, and has up to 13 for each environment.
    """
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    places = len(fds) + _OTHERS
    roomy = hard == resource.RLIM_INFINITY or hard >= FILE_DESCRIPTORS + places
    lowest = FILE_DESCRIPTORS if roomy else hard - places
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + places, hard))
    moved = [_above(fd, lowest) for fd in fds]
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, lowest))
    return moved


def _above(fd: int, lowest: int) -> int:
    if fd >= lowest:
        os.set_inheritable(fd, False)  # noqa: FBT003 - it has no name
        return fd
    moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, lowest)
    os.close(fd)
    return moved
