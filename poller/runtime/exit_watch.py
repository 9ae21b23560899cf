"""Tells when processes end that nobody waits for: those of idle environments, whose threads wait for an invocation."""

from __future__ import annotations

import logging
import os
import select
import threading
from collections.abc import Callable

CAN_WATCH = hasattr(os, "pidfd_open") and hasattr(select, "epoll")
"""Elsewhere the next event finds out."""

_log = logging.getLogger(__name__)


class ExitWatch:
    """The thread `exits`, from the first process on. Any thread may call; costs a descriptor for each process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watched: dict[int, Callable[[], None]] = {}
        """By the process's descriptor."""
        self._poll: select.epoll | None = None
        self._thread: threading.Thread | None = None
        self._woken = self._waker = -1
        self._stopped = False

    def watch(self, pid: int, ended: Callable[[], None]) -> None:
        """Have `ended` called, once, when this process has ended or if it has already. Does not block.

        Nothing happens after `stop`, and where there are no descriptors left.

        Args:
            pid: of a child that nobody has waited for.
            ended: called on the thread; must not block.
        """
        with self._lock:
            if self._stopped:
                return
            fd = -1
            try:
                poll = self._begun()
                fd = os.pidfd_open(pid)
                poll.register(fd, select.EPOLLIN)
            except (OSError, RuntimeError) as error:  # no descriptors, watches or threads left
                _log.debug("process %d is not watched: %s", pid, error)
                if fd >= 0:
                    os.close(fd)
                return
            self._watched[fd] = ended  # its end is not told before the lock is free

    def stop(self) -> None:
        """Tell nothing any more. Blocks for a callback that runs; not to be called from one. Idempotent."""
        with self._lock:
            self._stopped = True
            thread, self._thread = self._thread, None
            if thread is not None:
                os.close(self._waker)
        if thread is not None:
            thread.join()

    def _begun(self) -> select.epoll:
        """With the lock held."""
        if self._poll is None:
            poll = select.epoll()
            try:
                self._woken, self._waker = os.pipe()
                poll.register(self._woken, select.EPOLLIN)
                thread = threading.Thread(target=self._run, args=(poll,), name="exits", daemon=True)
                thread.start()
            except BaseException:
                poll.close()
                for fd in {self._woken, self._waker} - {-1}:
                    os.close(fd)
                self._woken = self._waker = -1
                raise
            self._poll, self._thread = poll, thread
        return self._poll

    def _run(self, poll: select.epoll) -> None:
        while not self._stopped:
            for fd, _ in poll.poll():
                if fd != self._woken:
                    self._tell(poll, fd)
        with self._lock:
            poll.close()
            for fd in (self._woken, *self._watched):
                os.close(fd)
            self._watched.clear()

    def _tell(self, poll: select.epoll, fd: int) -> None:
        with self._lock:
            ended = self._watched.pop(fd)
            poll.unregister(fd)
            os.close(fd)
        try:
            ended()
        except Exception:  # noqa: BLE001 - logged: those of all others hang on this thread
            _log.exception("The end of a process")
