"""Writes functions' logs to files, in bounded space: what several environments say within `DELAY` goes out together."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from poller.logs.places import LogFile, group_folder, log_files
from poller.runtime.handler_log import LogSink

DELAY = 0.05
"""Seconds that an event may wait for others."""

MOST_WAITING = 4 * 1024 * 1024
"""Characters that wait before whoever says more has to write them itself: a handler that floods its log waits for the
disk then, and memory does not grow."""

PARTS = 8
"""Of what a log group may take: a file that grows larger than one part is ended, and the next one begun."""

_quote = json.encoder.encode_basestring

_log = logging.getLogger(__name__)


class _Group:
    def __init__(self, folder: Path, most: int) -> None:
        self.folder = folder
        self.most = most
        self.size: int | None = None
        """Bytes of all its files, as far as this process knows; None before the first look."""


class _Stream:
    def __init__(self, group: _Group, name: str) -> None:
        self.group = group
        self.path = group.folder / name
        self.said: list[tuple[float, str, str]] = []
        """With the writer's lock."""
        self.size = 0
        self.part = 0


class LogFiles:
    """The log files of one process. Any thread; what a log stream says is written by the thread `log-files`.

    Several processes may write to one group, each to streams of its own; each sees to it that the group keeps its
    bound. A disk that is full or cannot be written costs the events, and a warning: never an invocation.
    """

    def __init__(self, state_folder: Path, most: int) -> None:
        """Make nothing yet.

        Args:
            state_folder: where they lie, in `logs/`.
            most: bytes of one log group; the oldest files go first.
        """
        self._state_folder = state_folder
        self._most = most
        self._groups: dict[str, _Group] = {}
        self._lock = threading.Lock()
        """Guards what was said and not written."""
        self._writing = threading.Lock()
        """Held while files are written; taken before the other one."""
        self._dirty: list[_Stream] = []
        self._waiting = 0
        self._spoken = threading.Event()
        self._thread: threading.Thread | None = None
        self._failing = False

    def stream(self, log_group: str, log_stream: str) -> LogSink:
        """A sink for one log stream. Its file is made when something is said."""
        group = self._groups.setdefault(log_group, _Group(group_folder(self._state_folder, log_group), self._most))
        stream = _Stream(group, log_stream)

        def say(event: str, request_id: str) -> None:
            self._say(stream, event, request_id)

        return say

    def _say(self, stream: _Stream, event: str, request_id: str) -> None:
        with self._lock:
            if not stream.said:
                self._dirty.append(stream)
            stream.said.append((time.time(), request_id, event))
            self._waiting += len(event)
            flooded = self._waiting > MOST_WAITING
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="log-files", daemon=True)
                self._thread.start()
        if flooded:
            self.flush()
        elif not self._spoken.is_set():
            self._spoken.set()

    def _run(self) -> None:
        while True:
            self._spoken.wait()
            time.sleep(DELAY)
            self._spoken.clear()
            self.flush()

    def flush(self) -> None:
        """Write what was said. Blocks for the disk."""
        with self._writing:
            with self._lock:
                dirty, self._dirty, self._waiting = self._dirty, [], 0
                said = [(stream, stream.said) for stream in dirty]
                for stream in dirty:
                    stream.said = []
            for stream, events in said:
                try:
                    self._write(stream, events)
                except OSError as error:
                    self._fail(stream, error)
                else:
                    self._failing = False

    def _write(self, stream: _Stream, events: Iterable[tuple[float, str, str]]) -> None:
        content = "".join(
            f'{{"timestamp":{int(when * 1000)},"requestId":{_quote(request_id)},"message":{_quote(event)}}}\n'
            for when, request_id, event in events
        ).encode(errors="backslashreplace")
        if stream.size and stream.size + len(content) > stream.group.most // PARTS:
            stream.part += 1
            with suppress(FileNotFoundError):  # it was removed for want of space
                stream.path.rename(f"{stream.path}.{stream.part}")
            stream.size = 0
        self._make_room(stream.group, len(content))
        self._state_folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # what is below it is for nobody else, either
        stream.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(stream.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            with memoryview(content) as left:
                written = 0
                while written < len(content):
                    written += os.write(descriptor, left[written:])
        finally:
            os.close(descriptor)
        stream.size += len(content)

    def _make_room(self, group: _Group, wanted: int) -> None:
        """Remove the oldest files of a group when it would grow too large. Other processes may do the same."""
        if group.size is None:
            group.size = sum(file.size for file in log_files(group.folder))
        group.size += wanted
        if group.size <= group.most:
            return
        files = sorted(log_files(group.folder), key=_age)
        group.size = wanted + sum(file.size for file in files)
        for file in files:
            if group.size <= group.most - group.most // PARTS:
                break
            with suppress(OSError):
                file.path.unlink()
                group.size -= file.size
                with suppress(OSError):  # others lie in it
                    file.path.parent.rmdir()

    def _fail(self, stream: _Stream, error: OSError) -> None:
        if not self._failing:
            self._failing = True
            reason = error.strerror or str(error)
            _log.warning("the log file %s cannot be written: %s; its events are dropped", stream.path, reason)


def _age(file: LogFile) -> tuple[float, bool, int]:
    return file.modified, file.part is None, file.part or 0
