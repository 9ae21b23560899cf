"""Where log files lie: `logs/<log group>/<log stream>` below the state folder, older parts with a number behind it.

A line of a file is one log event: a JSON object with `timestamp` (milliseconds since the epoch, as CloudWatch Logs has
it), `requestId` and `message`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

FOLDER = "logs"
"""In the state folder."""

_YEAR = re.compile(r"[0-9]{4}")
_STREAM = re.compile(r"(?P<name>.*\[[^\[\]/]+\][0-9a-f]{32})(?:\.(?P<part>[0-9]+))?")


class LogFile(NamedTuple):
    """One file of a log group."""

    path: Path
    stream: str
    """The log stream's name."""
    part: int | None
    """Its number, which grows; None for the one that is written."""
    size: int
    modified: float
    """Seconds since the epoch."""
    inode: int


def group_folder(state_folder: Path, log_group: str) -> Path:
    """The folder of a log group; no name leads out of the state folder."""
    parts = [part.replace(".", "%2E") if part in {".", ".."} else part for part in log_group.split("/") if part]
    return state_folder.joinpath(FOLDER, *parts)


def log_files(folder: Path) -> Iterator[LogFile]:
    """The files of a log group, in no order. What goes away meanwhile is left out.

    Streams begin with a year, so that a group whose name goes on behind this one's has none here.
    """
    pending = [(folder, "")]
    while pending:
        place, name = pending.pop()
        try:
            entries = list(os.scandir(place))
        except OSError:
            continue
        for entry in entries:
            if not name and not _YEAR.fullmatch(entry.name):
                continue
            below = f"{name}/{entry.name}" if name else entry.name
            try:
                if entry.is_dir(follow_symlinks=False):
                    pending.append((Path(entry.path), below))
                elif (found := _STREAM.fullmatch(below)) is not None:
                    status = entry.stat()
                    part = None if found["part"] is None else int(found["part"])
                    path = Path(entry.path)
                    yield LogFile(path, found["name"], part, status.st_size, status.st_mtime, status.st_ino)
            except OSError:
                continue
