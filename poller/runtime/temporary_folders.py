"""Temporary folders (`TMPDIR` of environments, layers brought together), in one folder of this process.

That one goes at the end of the process. What ends by SIGKILL cannot remove it: the next process that needs temporary
folders does. It knows them by a lock (flock(2)) that the kernel lets go with the process that held it.
"""

from __future__ import annotations

import atexit
import fcntl
import logging
import os
import shutil
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

PREFIX = "poller-run-"
LOCK = "poller.lock"
"""The file in a process's folder that it has locked; a folder without it is none of ours and stays."""

_log = logging.getLogger(__name__)
_making = threading.Lock()
_own: tuple[Path, int] | None = None
"""This process's folder, and its lock's descriptor, open until the end. With the lock."""


def make_temporary_folder(name: str) -> Path:
    """A new, empty folder for this process, only for its user; whoever asked removes it when it is done with.

    Any thread. The first call also begins to remove, in a thread of its own, what processes that were killed left.

    Args:
        name: what the folder's name begins with.

    Raises:
        OSError: none can be made.
    """
    return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=_own_folder()))


def remove_leftovers(place: Path) -> int:
    """Remove the folders in `place` that processes of this user left; how many. Any thread; blocks for removing."""
    removed = 0
    with suppress(OSError), os.scandir(place) as entries:
        found = [Path(one) for one in entries if one.name.startswith(PREFIX) and one.is_dir(follow_symlinks=False)]
        for folder in found:
            with suppress(OSError):  # a process that lives, or gone meanwhile
                removed += _remove_if_left(folder)
    return removed


def _remove_if_left(folder: Path) -> bool:
    if folder.stat(follow_symlinks=False).st_uid != os.geteuid():
        return False
    lock = os.open(folder / LOCK, os.O_RDWR | os.O_NOFOLLOW)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for one in folder.iterdir():
            if one.name != LOCK:
                shutil.rmtree(one, ignore_errors=True)
        if [one.name for one in folder.iterdir()] != [LOCK]:  # the next process tries again
            return False
        shutil.rmtree(folder)
    finally:
        os.close(lock)
    return True


def _own_folder() -> Path:
    global _own  # noqa: PLW0603 - it is this process's, whoever asks
    with _making:
        if _own is None or not _own[0].exists():  # whoever tidies up all of /tmp takes it along
            _own = _locked_folder()
            threading.Thread(target=_tidy_up, args=[_own[0].parent], name="remove-leftovers", daemon=True).start()
        return _own[0]


def _tidy_up(place: Path) -> None:
    if removed := remove_leftovers(place):
        _log.info("temporary folders that killed processes left, removed: %d", removed)


def _locked_folder() -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        try:
            lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError:
            folder.rmdir()
            raise
        with suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if (folder / LOCK).exists():
                return folder, lock
        os.close(lock)  # another process found it before it was locked, and removes it


@atexit.register
def _remove_own() -> None:
    if _own is not None:
        shutil.rmtree(_own[0], ignore_errors=True)
