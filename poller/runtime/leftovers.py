"""Processes that a handler left outside its process group: daemons, and what was started in a session of its own.

On AWS they end with the environment. Here they are found by a variable that every process of an environment inherits.
One that was started without its parent's variables is not found.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

_ROUNDS = 5
"""A process may start another one while we look; one that keeps ahead of this many rounds is left."""


def kill_leftovers(variable: bytes) -> None:
    """SIGKILL to every process whose environment holds this `NAME=value`, which has to be unique. Takes milliseconds.

    Where there is no /proc, nothing is found.
    """
    for _ in range(_ROUNDS):
        found = [pid for pid in _processes() if _has(pid, variable)]
        if not found:
            return
        for pid in found:
            with suppress(OSError):
                descriptor = os.pidfd_open(pid)
                try:
                    if _has(pid, variable):  # its number may be another's by now; not any more from here on
                        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                finally:
                    os.close(descriptor)


def _processes() -> list[int]:
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208 - names are all we want
    except OSError:
        return []


def _has(pid: int, variable: bytes) -> bool:
    try:
        return variable in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:  # gone, or not ours to look at
        return False
