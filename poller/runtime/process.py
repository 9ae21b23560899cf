"""A process group that runs a handler on pipes: frames out and in under a deadline.

The handler's process is not trusted to read, to answer, to close its output or to die when asked: no call here waits
longer than its deadline, whatever the other side does.
"""

from __future__ import annotations

import fcntl
import math
import os
import select
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Protocol

from poller.runtime.claims import Claims
from poller.runtime.event_memory import EventMemory
from poller.runtime.frames import Frame, FrameError, FrameReader, FrameWriter
from poller.runtime.output import Output
from poller.runtime.process_group import ProcessExited, ProcessGroup

_PIPE_SIZE = 1024 * 1024
"""A large event goes over in a few system calls instead of a hundred."""
_LOOK = 0.1
"""Seconds between looks whether the process lives: only for the case that something else holds its pipes open."""
_LAST_BREATH = 1.0
"""Seconds from the end of the reply pipe to the end of the process; then it is killed."""


class Beside(Protocol):
    """What is served on the environment's thread while that waits for the process."""

    poll: select.poll

    @property
    def running(self) -> bool:
        """Whether there are programs that live on when the process has ended."""
        ...

    def owns(self, fd: int) -> bool:
        """Whether a ready descriptor is for `serve`."""
        ...

    def serve(self, fd: int) -> None:
        """Do what it is ready for."""
        ...

    def outcome(self) -> Frame | None:
        """What ends the wait before the process answers."""
        ...


class RuntimeProcess:
    """A started process. Owned by one thread at a time; only `kill` may be called from others."""

    def __init__(
        self,
        command: Callable[[Sequence[str]], Sequence[str]],
        *,
        folder: Path,
        variables: Mapping[str, str],
        output: Callable[[bytes], None],
        wake: int,
        beside: Beside | None = None,
    ) -> None:
        """Start it; blocks for the start of a program, some milliseconds.

        Args:
            command: gives the command line, from the arguments that the bootstrap wants.
            folder: working folder.
            variables: its whole environment. The name of the log stream is the environment's own.
            output: takes what it writes to stdout and stderr, in chunks.
            wake: a descriptor that ends a waiting `receive` when it becomes readable.
            beside: what is served while `receive` waits.

        Raises:
            OSError: no such program or folder, no processes or descriptors left.
        """
        pipes: list[int] = []
        claims: Claims | None = None
        memory: EventMemory | None = None
        try:
            for _ in range(3):
                pipes += os.pipe()
            event, self._event, self._reply, reply, output_fd, output_end = pipes
            claims = Claims()
            memory = EventMemory()
            self._output = Output(output_fd, output)
            for fd in (self._event, self._reply):
                _enlarge(fd)
            descriptors = (event, reply, output_end, memory.fd, *claims.fds)
            self._group = ProcessGroup(
                command([self._output.marker.strip(b"\0").decode(), *map(str, descriptors)]),
                folder=folder,
                variables=variables,
                output=self._output,
                output_end=output_end,
                pass_fds=[fd for fd in descriptors if fd >= 0],
            )
        except BaseException:
            for fd in pipes:
                os.close(fd)
            for given in (claims, memory):
                if given is not None:
                    given.close()
            raise
        memory.started()
        for fd in (event, reply, output_end):
            os.close(fd)
        for fd in (self._event, self._reply, output_fd):
            os.set_blocking(fd, False)
        self.pid = self._group.pid
        self.claims = claims
        self.memory = memory
        self._reader = FrameReader()
        self._wake = wake
        self._beside = beside
        self._poll = select.poll() if beside is None else beside.poll
        self._poll.register(self._reply, select.POLLIN)
        self._poll.register(wake, select.POLLIN)
        self._output_watched = False
        self._peeked: Frame | None = None
        """Read, but not received."""
        self._broken: FrameError | None = None
        """What was no frame: it is read once."""
        self._writers: deque[FrameWriter] = deque()
        self.written = True
        """Whether all frames are out: what is sent now goes into the pipe, not into our memory."""
        self._waiting_for_room = self._deaf = False
        self._unanswered = 1
        """Frames that the process owes: one that it is ready, and then one for each that went out whole."""

    def send(self, writer: FrameWriter) -> None:
        """Write a frame, behind what still waits for room in the pipe. Does not block.

        That the process is gone shows in `receive`.
        """
        self._writers.append(writer)
        if len(self._writers) == 1:
            self._write()

    def fileno(self) -> int:
        """Readable when the process has said something, or is gone."""
        return self._reply

    def peek(self, *, read: bool) -> Frame | None:
        """The frame that `receive` would give at once, if there is one. Does not block.

        Args:
            read: whether to look in the pipe, and not only at what was read before.

        Raises:
            EOFError: the process has closed its end. So does every further call, and `receive` says what became of it.
            FrameError: it sent something else than a frame. So does `receive`.
        """
        if self._peeked is None and self._broken is None:
            try:
                self._peeked = self._reader.read(self._reply) if read else self._reader.buffered()
            except BlockingIOError:
                pass
            except FrameError as error:
                self._broken = error
        if self._broken is not None:
            raise self._broken
        return self._peeked

    def receive(self, deadline: float, on_wake: Callable[[], None] | None) -> Frame:
        """Wait for the next frame from the process, and hand out its output meanwhile.

        Args:
            deadline: monotonic seconds. An answer that has arrived by then counts, however late we look.
            on_wake: called when the descriptor `wake` became readable; it may send. None: what comes next looks anyway.

        Raises:
            TimeoutError: the deadline has passed. The process still runs: `close` it.
            ProcessExited: it ended, or closed its end of the protocol and was killed for that.
            FrameError: it sent something else than a frame: `close` it.
        """
        self._output.begin_event()
        self._watch_output()
        if (frame := self.peek(read=False)) is not None:
            self._peeked = None
            return self._answer(frame)
        while True:
            wait = max(0.0, deadline - monotonic())
            ready = [fd for fd, _ in self._poll.poll(math.ceil(min(wait, _LOOK) * 1000))]
            # Its answer first: output that comes with it may be the next event's already.
            if self._reply in ready and (frame := self._read_reply()) is not None:
                return self._answer(frame)
            for fd in ready:
                self._serve(fd, on_wake)
            if self._beside is not None and (frame := self._beside.outcome()) is not None:
                return frame
            if self._deaf and not self._unanswered:
                raise self._end()
            if not ready and self._group.exited():
                # Its pipe is still open, in a process that the handler left behind. An answer may be in it.
                if (frame := self._read_reply()) is None:
                    raise self._end()
                return self._answer(frame)
            if wait <= 0:
                raise TimeoutError

    def _answer(self, frame: Frame) -> Frame:
        if not self._unanswered:
            raise FrameError("an answer came before the event was read")
        self._unanswered -= 1
        self._output.end_event(marked=bool(frame.header.get("marked")))
        return frame

    def close(self, grace: float = 0.0) -> int:
        """End the process group: end of file, `grace` seconds to leave, then SIGKILL. Returns the exit status.

        Idempotent. Nothing of the group is left after it, nor of what left the group, and no descriptor. While
        programs run beside it, what left the group is theirs to end.
        """
        if self._event >= 0:
            if self._waiting_for_room:
                self._poll.unregister(self._event)
            os.close(self._event)
            self._event = -1
            if grace > 0 and not self._group.exited():
                self._group.wait_for_exit(monotonic() + grace)
            for fd in (self._reply, self._wake, self._output.fd if self._output_watched else None):
                if fd is not None:
                    self._poll.unregister(fd)  # what is beside goes on with this poll
            try:
                self._group.end(leftovers=self._beside is None or not self._beside.running)
            finally:
                os.close(self._reply)
                self.claims.close()
                self.memory.close()
        return self._group.returncode

    def exited(self) -> bool:
        """Whether the process has ended; not to be asked after `close`."""
        return self._group.exited()

    def signal(self, number: int) -> None:
        """A signal to the whole group. Any thread, any time, does not wait."""
        self._group.signal(number)

    def kill(self) -> None:
        """SIGKILL to the whole group. Any thread, any time, does not wait."""
        self._group.kill()

    def peak_memory(self) -> int | None:
        """Bytes of memory at the peak; None when the process is gone or the system does not tell."""
        return self._group.peak_memory()

    def _serve(self, fd: int, on_wake: Callable[[], None] | None) -> None:
        """Do what a ready descriptor is ready for, the answers apart."""
        if fd == self._output.fd:
            self._output.read()
            self._watch_output()
        elif fd == self._wake:
            if on_wake is None:
                os.read(fd, 4096)  # left there it would end every wait
            else:
                on_wake()
        elif self._beside is not None and self._beside.owns(fd):
            self._beside.serve(fd)
        elif fd != self._reply:
            self._write()

    def _watch_output(self) -> None:
        if self._output.wanted != self._output_watched:
            self._output_watched = not self._output_watched
            if self._output_watched:
                self._poll.register(self._output.fd, select.POLLIN)
            else:
                self._poll.unregister(self._output.fd)

    def _write(self) -> None:
        """Write what goes out at once; for the rest, ask to be told when there is room."""
        try:
            while self._writers:
                while not self._writers[0].write(self._event):
                    pass
                self._writers.popleft()
                self._unanswered += 1
        except BlockingIOError:
            self.written = False
            if not self._waiting_for_room:
                self._waiting_for_room = True
                self._poll.register(self._event, select.POLLOUT)
            return
        except OSError:
            self._deaf = True  # it will get nothing any more, but may still answer what it has got
        self.written = not self._writers
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

    def _end(self) -> ProcessExited:
        """The protocol is over: what became of the process."""
        if not self._group.exited():
            self._group.wait_for_exit(monotonic() + _LAST_BREATH)
        return ProcessExited(self.close(), undelivered=not self._unanswered)


def _enlarge(fd: int) -> None:
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        with suppress(OSError):  # the user's share of pipe memory is used up: smaller pipes work, too
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, _PIPE_SIZE)
