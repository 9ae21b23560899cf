"""Dead letters as JSON lines in a file: one body a line, appended.

Keys and headers are not written: what they say is in the body as well.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from poller.errors import DestinationError
from poller.model import DeadLetter


class FileDestination:
    """Appends to a file, which is made when it is not there; its folder has to be.

    The file is opened for each `send`, so moving it away (log rotation) is fine at any time. Several pollers may share
    one file: it is locked (flock) while one `send` writes, so that its lines stay together and whole.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def send(self, letters: Sequence[DeadLetter]) -> None:
        """Append, and return when the lines are on the disk; blocks.

        Raises:
            DestinationError: the file cannot be written. Some lines may be there; the next `send` starts a new line.
        """
        if not letters:
            return
        # A line feed in JSON can only be white space between its parts, never in a string.
        lines = b"".join(letter.body.replace(b"\n", b" ") + b"\n" for letter in letters)
        try:
            self._append(lines)
        except OSError as error:
            raise DestinationError(
                f"dead letters cannot be written to the file {self._path}: {error.strerror or error}"
            ) from error

    def close(self) -> None:
        """Nothing is kept open."""

    def _append(self, lines: bytes) -> None:
        is_new = not self._path.exists()
        descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            with suppress(OSError):  # no locks on this file system: then only lines that are written at once are safe
                fcntl.flock(descriptor, fcntl.LOCK_EX)  # until the descriptor is closed
            size = os.fstat(descriptor).st_size
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                lines = b"\n" + lines  # a crash or a full disk left half a line: keep it apart from ours
            while lines:
                lines = lines[os.write(descriptor, lines) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if is_new:
            self._sync_folder()

    def _sync_folder(self) -> None:
        """A new file's name is durable only once its folder is."""
        descriptor = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
