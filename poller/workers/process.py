"""A worker's process as the supervisor has it: started, asked, listened to, ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe, wait
from typing import TYPE_CHECKING

from poller.workers.report import Report

if TYPE_CHECKING:
    from poller.workers.child import Orders

_CHUNK = 64 * 1024
_LONGEST_LINE = 16 * 1024 * 1024
"""Bytes that a line of a worker's log may have before it is passed on in pieces."""
_LAST_BREATH = 5.0
"""Seconds from the end of a worker's connection to its own; then it is killed."""


class WorkerProcess:
    """A started process. One thread listens to it and closes it; `ask`, `terminate` and `kill` are for any."""

    def __init__(self, program: Sequence[str] = ("-m", "poller.workers.child")) -> None:
        """Start it; blocks for the start of a program.

        Args:
            program: arguments of Python; the descriptors of connection and leash follow.

        Raises:
            OSError: no processes or descriptors left.
        """
        self._connection, theirs = Pipe()
        leash, self._leash = os.pipe()
        try:
            # -P: a file in the working folder must not pass for a module. A session of its own: Ctrl-C is the
            # supervisor's to hear, which then tells its workers.
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, "-P", *program, str(theirs.fileno()), str(leash)],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                stdin=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=(theirs.fileno(), leash),
                start_new_session=True,
            )
        except BaseException:
            os.close(self._leash)
            self._connection.close()
            raise
        finally:
            os.close(leash)
            theirs.close()
        assert self._process.stderr is not None
        self._log = self._process.stderr
        os.set_blocking(self._log.fileno(), False)
        self._log_open = True
        self._instructed = False
        self._pending = b""
        self._lock = threading.Lock()
        """Guards writes to the connection against its end, and reaping against signals."""
        self.pid = self._process.pid

    def instruct(self, orders: Orders) -> None:
        """Tell it what to do. Blocks until it reads, or ends: then it has no effect."""
        with suppress(OSError):
            self._connection.send(orders)
        self._instructed = True

    def ask(self) -> bool:
        """Ask for a report; whether it can answer. Not to be repeated before it does, or the pipe would fill."""
        with self._lock, suppress(OSError):
            if self._instructed and not self._connection.closed:
                self._connection.send_bytes(b"report")
                return True
        return False

    def listen(self, timeout: float) -> tuple[str, list[Report], bool]:
        """What came within that many seconds: whole lines of its log, reports, and whether it goes on."""
        watched: list[Connection | int] = [self._connection]
        if self._log_open:
            watched.append(self._log.fileno())
        reports: list[Report] = []
        lines, goes_on = "", True
        for ready in wait(watched, timeout):
            if ready is self._connection:
                try:
                    reports.append(self._connection.recv())
                except (EOFError, OSError):
                    goes_on = False
            else:
                lines += self._read_log() or ""
        return lines, reports, goes_on

    def terminate(self) -> None:
        """SIGTERM: it ends what is in work."""
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL; its handlers end with it."""
        self._send(signal.SIGKILL)

    def close(self) -> tuple[int, str]:
        """Its exit status (negative for a signal) and the rest of its log, once it has ended; after 5 s it is made to.

        No descriptor of it is left.
        """
        try:
            self._process.wait(_LAST_BREATH)
        except subprocess.TimeoutExpired:
            self.kill()
        with self._lock:
            status = self._process.wait()
            self._connection.close()
        rest = ""
        while self._log_open and (some := self._read_log()) is not None:
            rest += some
        if self._pending:
            rest += self._pending.decode(errors="replace") + "\n"  # killed within a line: the next one starts anew
        os.close(self._leash)
        self._log.close()
        return status, rest

    def _send(self, number: signal.Signals) -> None:
        with self._lock:
            if self._process.returncode is None:
                self._process.send_signal(number)

    def _read_log(self) -> str | None:
        """Whole lines, None when nothing more is there now; what is no line yet is kept."""
        try:
            chunk = os.read(self._log.fileno(), _CHUNK)
        except BlockingIOError:
            return None
        self._log_open = bool(chunk)
        whole, newline, rest = (self._pending + chunk).rpartition(b"\n")
        if len(rest) > _LONGEST_LINE:
            whole, newline, rest = whole + newline + rest, b"\n", b""
        self._pending = rest
        return (whole + newline).decode(errors="replace")


def exit_text(status: int) -> str:
    """How a process ended, for a person."""
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"signal {signal.Signals(-status).name}"
    except ValueError:
        return f"signal {-status}"
