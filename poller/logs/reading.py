"""Reads log files, beside the service that writes them: what is there, and then what is added."""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from poller.logs.places import LogFile, log_files


class LogEvent(NamedTuple):
    """One event of a log stream."""

    timestamp: int
    """Milliseconds since the epoch."""
    stream: str
    request_id: str
    """Empty for what belongs to no invocation."""
    message: str


class LogReader:
    """The events of one function. Keeps how far it has read each file.

    Args:
        folder: of the log group.
        prefix: what the last part of a log stream's name begins with.
    """

    def __init__(self, folder: Path, prefix: str = "") -> None:
        self._folder = folder
        self._prefix = prefix
        self._read: dict[int, int] = {}
        """By inode, which stays when a file is ended and gets a number."""

    def new_events(self, since: int = 0) -> Iterator[LogEvent]:
        """Events that were not given yet, in order of their times, none older than `since` (milliseconds)."""
        streams: dict[str, list[LogFile]] = {}
        for file in log_files(self._folder):
            if file.stream.rpartition("/")[2].startswith(self._prefix) and file.size > self._read.get(file.inode, 0):
                streams.setdefault(file.stream, []).append(file)
        for files in streams.values():
            files.sort(key=lambda file: (file.part is None, file.part or 0))
        merged = heapq.merge(*(self._events(files, since) for files in streams.values()))
        return (event for event in merged if event.timestamp >= since)

    def _events(self, files: list[LogFile], since: int) -> Iterator[LogEvent]:
        for file in files:
            if file.modified * 1000 < since - 1000:
                self._read[file.inode] = file.size
            else:
                yield from self._events_of(file)

    def _events_of(self, file: LogFile) -> Iterator[LogEvent]:
        try:
            with file.path.open("rb") as opened:
                opened.seek(self._read.get(file.inode, 0))
                for line in opened:
                    if not line.endswith(b"\n"):  # being written
                        return
                    self._read[file.inode] = self._read.get(file.inode, 0) + len(line)
                    if (event := _event(file.stream, line)) is not None:
                        yield event
        except FileNotFoundError:
            return  # removed, or ended: then it is found under its new name next time


def _event(stream: str, line: bytes) -> LogEvent | None:
    try:
        members = json.loads(line)
        return LogEvent(int(members["timestamp"]), stream, str(members["requestId"]), str(members["message"]))
    except (ValueError, LookupError, TypeError):  # cut off by a full disk
        return None
