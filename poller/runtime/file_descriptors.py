"""Most file descriptors of a function's process (E.3)."""

from __future__ import annotations

import resource
from contextlib import suppress

FILE_DESCRIPTORS = 1024


def limit_file_descriptors(pid: int) -> None:
    """Let a process that was just started open so many and no more, and so all that it starts. Any thread.

    Soft limit and hard: Node.js, Java and Go raise the first to the second by themselves. Where the system cannot limit
    another process (not Linux), the process keeps our limit. Python on pipes limits itself, in `bootstrap`.
    """
    if hasattr(resource, "prlimit"):
        with suppress(OSError, ValueError):  # it is gone already, or may have fewer
            _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
            most = FILE_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(FILE_DESCRIPTORS, hard)
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (most, most))
