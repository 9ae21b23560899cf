"""The state folder: made for nobody else's eyes. Each of its files is used by one service at a time."""

from __future__ import annotations

import fcntl
import logging
import os
import stat
from pathlib import Path

from poller.errors import StateError, StateInUse

LOCK = "lock"
"""File that whoever uses the folder has locked; the process's number stands in it."""

FILE = "async.sqlite3"
"""File of the events and records."""

REFUSED = "asynchronous events are refused"
"""What it means for callers that this file cannot be used."""

_log = logging.getLogger(__name__)


class StateFolder:
    """A folder of which one file is this process's until `release`."""

    def __init__(self, path: Path, lock: str = LOCK, file: str = FILE, refused: str = REFUSED) -> None:
        """Make the folder if it is not there, and lock the file.

        Args:
            path: absolute.
            lock: name of the file that is locked.
            file: name of the file that it stands for.
            refused: what it means for callers that the file cannot be used.

        Raises:
            StateInUse: another service has it.
            StateError: it cannot be made or written.
        """
        self.path = path
        self.file = path / file
        self._refused = refused
        try:
            if not path.exists():
                path.mkdir(mode=0o700, parents=True, exist_ok=True)
                _sync(path.parent)
            elif stat.S_IMODE(path.stat().st_mode) & 0o077:
                _log.warning("the state folder %s can be read by others; chmod 700 %s", path, path)
            self._lock = os.open(path / lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise unusable(path, error.strerror or str(error), refused) from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.pread(self._lock, 20, 0).decode(errors="replace").strip()
            os.close(self._lock)
            if not isinstance(error, BlockingIOError):
                raise unusable(path, f"no locks there: {error.strerror}", refused) from None
            raise StateInUse(
                f"the state folder {path} is in use by another poller (process {owner or 'unknown'}): "
                "give this one a folder of its own with StateFolder or POLLER_STATE_FOLDER"
            ) from None
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)

    def make_file(self) -> None:
        """Make the file, readable by its owner only; SQLite gives its other files the same rights.

        Raises:
            StateError: it cannot be made.
        """
        try:
            os.close(os.open(self.file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            _sync(self.path)
        except OSError as error:
            raise unusable(self.path, error.strerror or str(error), self._refused) from None

    def release(self) -> None:
        """Let others have it. Idempotent."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def unusable(path: Path, reason: str, refused: str = REFUSED) -> StateError:
    """The error of a folder or file that cannot be used."""
    return StateError(
        f"the state in {path} cannot be used ({reason}): {refused}; "
        "mend it, or name another folder with StateFolder or POLLER_STATE_FOLDER"
    )


def _sync(folder: Path) -> None:
    """A new file's name is durable only once its folder is."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
