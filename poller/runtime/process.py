"""One process group that runs a handler: its pipes, one exchange of frames under a deadline, its end.

The handler's process is not trusted to read, to answer, to close its output or to die when asked: no call here waits
longer than its deadline, whatever the other side does.
"""

from __future__ import annotations

import fcntl
import math
import os
import select
import signal
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic

from poller.runtime.frames import Frame, FrameError, FrameReader, FrameWriter

_PIPE_SIZE = 1024 * 1024
"""A large event goes over in a few system calls instead of a hundred."""
_CHUNK = 64 * 1024
_LOOK = 0.1
"""Seconds between looks whether the process lives: only for the case that something else holds its pipes open."""
_LAST_BREATH = 1.0
"""Seconds from the end of the reply pipe to the end of the process; then it is killed."""


class ProcessExited(Exception):  # noqa: N818 - an outcome of the handler, not a fault of ours
    """The process is gone, and so is its whole group."""

    def __init__(self, returncode: int, *, undelivered: bool) -> None:
        self.returncode = returncode
        self.undelivered = undelivered
        """The frame did not get out, so the handler cannot have seen the event."""
        super().__init__(exit_reason(returncode))


def exit_reason(returncode: int) -> str:
    """A.4's text for how a process ended; signals by the names that Lambda uses."""
    if returncode == 0:
        return "Runtime exited without providing a reason"
    if returncode > 0:
        return f"Runtime exited with error: exit status {returncode}"
    name = signal.strsignal(-returncode) or f"signal {-returncode}"
    return f"Runtime exited with error: signal: {name.lower()}"


class RuntimeProcess:
    """A started process. One thread uses it, the one that made it; only `kill` may be called from others."""

    def __init__(
        self,
        command: Callable[[int, int], Sequence[str]],
        *,
        folder: Path,
        variables: Mapping[str, str],
        output: Callable[[bytes], None],
    ) -> None:
        """Start it; blocks for the start of a program, some milliseconds.

        Args:
            command: gives the command line for the descriptors of events and replies.
            folder: working folder.
            variables: its whole environment.
            output: takes what it writes to stdout and stderr, in chunks.

        Raises:
            OSError: no such program or folder, no processes or descriptors left.
        """
        pipes: list[int] = []
        try:
            for _ in range(4):
                pipes += os.pipe()
            event, self._event, self._reply, reply, self._output, output_end, leash, self._leash = pipes
            for fd in (self._event, self._reply):
                _enlarge(fd)
            self._process = subprocess.Popen(  # noqa: S603 - running the person's code is what this program is for
                command(event, reply),
                cwd=folder,
                env=dict(variables),
                stdin=subprocess.DEVNULL,
                stdout=output_end,
                stderr=output_end,
                pass_fds=(event, reply, leash),
                start_new_session=True,
            )
        except BaseException:
            for fd in pipes:
                os.close(fd)
            raise
        _hold(leash, self._process.pid)
        for fd in (event, reply, output_end, leash):
            os.close(fd)
        for fd in (self._event, self._reply, self._output):
            os.set_blocking(fd, False)
        self.pid = self._process.pid
        self._emit = output
        self._reader = FrameReader()
        self._lock = threading.Lock()
        """Guards reaping against `kill`: the number of a reaped process may already be somebody else's."""
        self._poll = select.poll()
        self._poll.register(self._reply, select.POLLIN)
        self._poll.register(self._output, select.POLLIN)
        self._output_open = True
        self._writer: FrameWriter | None = None
        self._waiting_for_room = False
        self._pending = bytearray(4)

    def exchange(self, writer: FrameWriter | None, deadline: float) -> Frame:
        """Send a frame, if there is one, and wait for the next one from the process.

        Raises:
            TimeoutError: the deadline (monotonic seconds) has passed. The process still runs: `close` it.
            ProcessExited: it ended, or closed its end of the protocol and was killed for that.
            FrameError: it sent something else than a frame: `close` it.
        """
        self._writer = writer
        if writer is not None:
            self._write(writer)
        while (wait := deadline - monotonic()) > 0:
            ready = self._poll.poll(math.ceil(min(wait, _LOOK) * 1000))
            for fd, _ in ready:
                if (frame := self._serve(fd)) is not None:
                    self.drain()
                    return frame
            if not ready and self._exited():
                # Its pipe is still open, in a process that the handler left behind. An answer may be in it.
                if (frame := self._read_reply()) is None:
                    raise self._end()
                self.drain()
                return frame
        raise TimeoutError

    def drain(self) -> None:
        """Hand out the output that is in the pipe now: all that was written before the frame that was just read.

        Not to the end of the pipe, since a process left behind may hold it open, or write for ever.
        """
        fcntl.ioctl(self._output, termios.FIONREAD, self._pending)
        left = int.from_bytes(self._pending, sys.byteorder)
        while left > 0:
            count = self._read_output(min(left, _CHUNK))
            if not count:
                return
            left -= count

    def close(self, grace: float = 0.0) -> int:
        """End the process group: end of file, `grace` seconds to leave, then SIGKILL. Returns the exit status.

        Idempotent. Nothing of the group is left after it, and no descriptor.
        """
        if self._event >= 0:
            os.close(self._event)
            self._event = -1
            if grace > 0 and not self._exited():
                self._wait_for_exit(monotonic() + grace)
            self._kill_and_reap()
            try:
                self.drain()
            finally:
                os.close(self._reply)
                os.close(self._output)
                os.close(self._leash)
        return self._process.returncode

    def kill(self) -> None:
        """SIGKILL to the whole group. Any thread, any time, does not wait."""
        with self._lock:
            self._kill()

    def peak_memory(self) -> int | None:
        """Bytes of memory at the peak; None when the process is gone or the system does not tell."""
        try:
            status = Path(f"/proc/{self.pid}/status").read_bytes()
        except OSError:
            return None
        _, found, rest = status.partition(b"VmHWM:")
        return int(rest.split(maxsplit=1)[0]) * 1024 if found else None

    def _serve(self, fd: int) -> Frame | None:
        """Do what a ready descriptor is ready for; the answer, if it is complete with that."""
        if fd == self._output:
            self._read_output(_CHUNK)
        elif fd == self._reply:
            frame = self._read_reply()
            if frame is not None and self._writer is not None:
                raise FrameError("an answer came before the event was read")
            return frame
        elif self._writer is not None:
            self._write(self._writer)
        return None

    def _write(self, writer: FrameWriter) -> None:
        """Write what goes out at once; for the rest, ask to be told when there is room."""
        try:
            while not writer.write(self._event):
                pass
        except BlockingIOError:
            if not self._waiting_for_room:
                self._waiting_for_room = True
                self._poll.register(self._event, select.POLLOUT)
            return
        except OSError:
            raise self._end() from None
        self._writer = None
        if self._waiting_for_room:
            self._waiting_for_room = False
            self._poll.unregister(self._event)

    def _read_reply(self) -> Frame | None:
        try:
            return self._reader.read(self._reply)
        except BlockingIOError:
            return None
        except EOFError:
            raise self._end() from None

    def _read_output(self, size: int) -> int:
        try:
            chunk = os.read(self._output, size)
        except BlockingIOError:
            return 0
        if chunk:
            self._emit(chunk)
        elif self._output_open:
            self._output_open = False
            self._poll.unregister(self._output)  # closed by the handler: else the poll would spin on it
        return len(chunk)

    def _end(self) -> ProcessExited:
        """The protocol is over: what became of the process."""
        if not self._exited():
            self._wait_for_exit(monotonic() + _LAST_BREATH)
        return ProcessExited(self.close(), undelivered=self._writer is not None)

    def _exited(self) -> bool:
        """Whether the process has ended, without reaping it: its number must stay taken until the group is killed."""
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def _wait_for_exit(self, deadline: float) -> None:
        """Wait for the end, taking its output meanwhile: its exit may block on that."""
        watched = select.poll()
        if self._output_open:
            watched.register(self._output, select.POLLIN)
        while not self._exited() and (wait := deadline - monotonic()) > 0:
            # Two milliseconds: an idle handler leaves in about ten.
            if watched.poll(math.ceil(min(wait, 0.002) * 1000)) and not self._read_output(_CHUNK):
                watched.unregister(self._output)

    def _kill(self) -> None:
        if self._process.returncode is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)

    def _kill_and_reap(self) -> None:
        with self._lock:
            self._kill()
            self._process.wait()


def _enlarge(fd: int) -> None:
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        with suppress(OSError):  # the user's share of pipe memory is used up: smaller pipes work, too
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, _PIPE_SIZE)


def _hold(leash: int, group: int) -> None:
    """Let the kernel kill the group when our end of this pipe closes: also when we are killed, in whatever it does.

    Nothing is ever written to the pipe, so its end is the only news of it; the signal of that is set on the open file,
    which the process shares. Where that cannot be done, a process left alone ends when it asks for its next event.
    """
    if hasattr(fcntl, "F_SETSIG"):
        with suppress(OSError):
            fcntl.fcntl(leash, fcntl.F_SETOWN, -group)
            fcntl.fcntl(leash, fcntl.F_SETSIG, signal.SIGKILL)
            fcntl.fcntl(leash, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
