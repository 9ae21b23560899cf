"""One process group: its start, its output, its memory, its end. Whatever it is told with comes on top.

It is not trusted to close its output or to die when asked: nothing here waits longer than it is told to.
"""

from __future__ import annotations

import errno
import fcntl
import math
import os
import select
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic

from poller.runtime.leftovers import kill_leftovers
from poller.runtime.output import Output


class ProcessExited(Exception):  # noqa: N818 - an outcome of the handler, not a fault of ours
    """The process is gone, and so is its whole group."""

    def __init__(self, returncode: int, *, undelivered: bool) -> None:
        self.returncode = returncode
        self.undelivered = undelivered
        """The event did not get out, so the handler cannot have seen it."""
        super().__init__(exit_reason(returncode))


class NeverStarted(Exception):  # noqa: N818 - an outcome of the function, not a fault of ours
    """A program that the system cannot start: the function's own fault (A.4)."""

    error_type: str


class InvalidEntrypoint(NeverStarted):
    """The handler's, or it names none."""

    error_type = "Runtime.InvalidEntrypoint"


class ExtensionNotStarted(NeverStarted):
    """One of an extension."""

    error_type = "Extension.LaunchError"


NOT_EXECUTABLE = {errno.ENOEXEC, errno.EACCES, errno.ENOENT}
"""The program's own fault: it is none, none for this machine, not allowed to be one, or it has no interpreter."""


def exit_reason(returncode: int) -> str:
    """A.4's text for how a process ended; signals by the names that Lambda uses."""
    if returncode == 0:
        return "Runtime exited without providing a reason"
    if returncode > 0:
        return f"Runtime exited with error: exit status {returncode}"
    name = signal.strsignal(-returncode) or f"signal {-returncode}"
    return f"Runtime exited with error: signal: {name.lower()}"


class ProcessGroup:
    """A started process. One thread uses it, the one that made it; only `kill` may be called from others."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        folder: Path,
        variables: Mapping[str, str],
        output: Output,
        output_end: int,
        pass_fds: Sequence[int] = (),
    ) -> None:
        """Start it; blocks for the start of a program, some milliseconds.

        Args:
            command: what to run.
            folder: working folder.
            variables: its whole environment. The name of the log stream is the environment's own.
            output: the reading end of its output, which is closed with the group.
            output_end: the writing end, which stays the caller's to close.
            pass_fds: descriptors that it inherits besides.

        Raises:
            OSError: no such program or folder, no processes or descriptors left. Nothing was taken over.
        """
        leash, self._leash = os.pipe()
        try:
            self._process = subprocess.Popen(  # noqa: S603 - running the person's code is what this program is for
                command,
                cwd=folder,
                env=dict(variables),
                stdin=subprocess.DEVNULL,
                stdout=output_end,
                stderr=output_end,
                pass_fds=(leash, *pass_fds),
                start_new_session=True,
            )
            _hold(leash, self._process.pid)
        except BaseException:
            os.close(self._leash)
            raise
        finally:
            os.close(leash)
        self.pid = self._process.pid
        self.output = output
        self._mark = f"AWS_LAMBDA_LOG_STREAM_NAME={variables['AWS_LAMBDA_LOG_STREAM_NAME']}".encode()
        self._lock = threading.Lock()
        """Guards reaping against `kill`: the number of a reaped process may already be somebody else's."""

    def kill(self) -> None:
        """SIGKILL to the whole group. Any thread, any time, does not wait."""
        self.signal(signal.SIGKILL)

    def signal(self, number: int) -> None:
        """A signal to the whole group, if it was not reaped. Any thread, any time, does not wait."""
        with self._lock:
            self._signal(number)

    def end(self, *, leftovers: bool = True) -> int:
        """Kill and reap it, hand out the last of its output, close its descriptors. Returns the exit status.

        Nothing of the group is left after it, nor with `leftovers` of what else has the environment's variables:
        processes that left the group, and extensions. To be called once.
        """
        with self._lock:
            self._signal(signal.SIGKILL)
            self._process.wait()
        if leftovers:
            kill_leftovers(self._mark)
        try:
            self.output.drain()
        finally:
            self.output.close()
            os.close(self._leash)
        return self.returncode

    @property
    def returncode(self) -> int:
        """The exit status, after `end`."""
        return self._process.returncode

    def peak_memory(self) -> int | None:
        """Bytes of memory at the peak; None when the process is gone or the system does not tell."""
        try:
            status = Path(f"/proc/{self.pid}/status").read_bytes()
        except OSError:
            return None
        _, found, rest = status.partition(b"VmHWM:")
        return int(rest.split(maxsplit=1)[0]) * 1024 if found else None

    def exited(self) -> bool:
        """Whether the process has ended, without reaping it: its number must stay taken until the group is killed."""
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def status(self) -> int | None:
        """How it ended, as `returncode` has it, without reaping it; None while it lives."""
        found = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if found is None:
            return None
        return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status

    def wait_for_exit(self, deadline: float) -> None:
        """Wait for the end, taking its output meanwhile: its exit may block on that."""
        self.output.drain()
        watched = select.poll()
        if self.output.wanted:
            watched.register(self.output.fd, select.POLLIN)
        while not self.exited() and (wait := deadline - monotonic()) > 0:
            # Two milliseconds: an idle handler leaves in about ten.
            if watched.poll(math.ceil(min(wait, 0.002) * 1000)):
                self.output.drain()
                if not self.output.wanted:
                    watched.unregister(self.output.fd)

    def _signal(self, number: int) -> None:
        if self._process.returncode is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)


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
