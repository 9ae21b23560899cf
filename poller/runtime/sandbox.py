"""What an environment has beside its handler's protocol: a process that may be replaced, a folder, a peak of memory."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from time import monotonic

from poller.model import FunctionConfiguration
from poller.runtime.control_groups import ControlGroups
from poller.runtime.dialogue import Dialogue
from poller.runtime.freezing import Freezing
from poller.runtime.handler_log import HandlerLog
from poller.runtime.launch import Launch
from poller.runtime.limits import Limits
from poller.runtime.memory import MEGABYTE
from poller.runtime.telemetry_stream import Telemetry
from poller.runtime.temporary_folders import make_temporary_folder
from poller.runtime.variables import log_stream_name

_MEMORY_INTERVAL = 0.1
"""Seconds between two looks at the peak memory: a look costs as much as a small invocation."""


class Sandbox:
    """One process at a time, in a temporary folder that outlives it (E.3).

    For the environment's owner; only `kill`, `wake` and `look_at_memory` may be called from others.
    """

    def __init__(self, configuration: FunctionConfiguration, groups: ControlGroups | None = None) -> None:
        self.cold_starts = 0
        """Processes started so far."""
        self.dialogue: Dialogue | None = None
        """With the process that runs; None when there is none."""
        self.killed = threading.Event()
        self._last: Dialogue | None = None
        """The one that was started last: its extensions may outlive it, until `settle`."""
        self._reason = "failure"
        """Why it ended."""
        self._limits = Limits(configuration, groups)
        self._configuration = configuration
        self.log_stream = _log_stream(configuration)
        self.temporary: Path | None = None
        """The folder that is its `/tmp`; None until it is needed."""
        self._memory = 0
        self._memory_due = 0.0
        self._lock = threading.Lock()
        """Between `kill` and a process that is just starting: one of both sees the other."""
        self._woken = self._waker = -1
        self._freezing = Freezing()

    def start(self, launch: Launch, log: Callable[[], HandlerLog], telemetry: Telemetry) -> Dialogue:
        """Start a process after `settle`. Raises OSError; blocks for the start of a program."""
        self._discard_overfull()
        if self.temporary is None:
            self.temporary = make_temporary_folder(self._configuration.function_name)
        if self._woken < 0:
            woken, waker = os.pipe()
            for fd in (woken, waker):
                os.set_blocking(fd, False)
            self._woken, self._waker = woken, waker
        self._limits.prepare()
        try:
            dialogue = launch(
                replace(self._configuration, control_group=self._limits.control_group),
                log_stream=self.log_stream,
                temporary=self.temporary,
                log=log,
                telemetry=telemetry,
                wake=self._woken,
            )
        except BaseException:
            self._limits.end()
            raise
        self._limits.begin(dialogue)
        self.cold_starts += 1
        self._memory = 0
        with self._lock:
            self.dialogue = self._last = dialogue
            if self.killed.is_set():
                dialogue.kill()
        return dialogue

    def wake(self) -> None:
        """End the wait of the dialogue for a moment. Any thread, does not wait."""
        with self._lock, suppress(BlockingIOError):  # full: it is woken already
            if self._waker >= 0:
                os.write(self._waker, b"\0")

    def woke(self) -> None:
        """The wake was seen."""
        os.read(self._woken, 4096)

    def kill(self) -> None:
        """SIGKILL to the process group, and to each that would be started. Any thread, idempotent, no waiting."""
        self.killed.set()
        with self._lock:
            dialogue = self._last
        if dialogue is not None:
            dialogue.kill()
        self._limits.kill()

    def look_at_memory(self) -> None:
        """Kill the process if it holds more than it may, with all that it started. Any thread."""
        if (dialogue := self.dialogue) is not None:
            self._limits.look(dialogue, self.temporary, monotonic())

    def ended(self) -> bool:
        """The process has ended by itself. Whether it was killed for holding too much memory. Idempotent.

        What is left of it ends in `settle`.
        """
        self._discard_overfull()
        return self._limits.out_of_memory

    @property
    def exceeded(self) -> bool:
        """Whether the process that runs, or ran last, was killed with all beside it, as it had more than it may."""
        return self._limits.exceeded

    def freeze(self) -> None:
        """Stop the processes until `thaw` or `reset`. Idempotent."""
        self._freezing.freeze(self.dialogue)

    def thaw(self) -> None:
        """Let stopped processes go on. Idempotent."""
        self._freezing.thaw()

    def reset(self, grace: float = 0.0, *, reason: str = "failure") -> None:
        """End the process; the next one is started in the same temporary folder.

        Its extensions live on until `settle`, which tells them the reason.
        """
        self.thaw()  # a stopped process would not see the end of file
        if self.dialogue is not None:
            self._reason = reason
            self.dialogue.close(grace)
            self.dialogue = None

    @property
    def lingers(self) -> bool:
        """Whether the process has ended, and extensions of it have still to leave."""
        return self.dialogue is None and self._last is not None and self._last.extended

    def settle(self) -> None:
        """After the end of the process: let its extensions leave, for up to 2 s if there are any. Idempotent.

        Whatever is left then of both ends with their control group, if they have one.
        """
        if self.dialogue is None and self._last is not None:
            try:
                self._last.leave(self._reason)
            finally:
                self._reason = "failure"
                with self._lock:
                    self._last = None
                self._limits.end()

    def close(self, *, folder: bool) -> None:
        """Let go what a next process would need, after `reset`; the temporary folder only if asked. Idempotent."""
        self.settle()
        with self._lock:
            for fd in {self._woken, self._waker} - {-1}:
                os.close(fd)
            self._woken = self._waker = -1
        if folder:
            self._discard()

    def _discard_overfull(self) -> None:
        """A folder that holds too much goes: the next process would be killed for it again."""
        if self._limits.overfull:
            self._discard()

    def _discard(self) -> None:
        if self.temporary is not None:
            shutil.rmtree(self.temporary, ignore_errors=True)
            self.temporary = None

    def sample_memory(self) -> None:
        """Look at the peak memory of the process."""
        self._memory = max(self._memory, self._limits.peak_memory(self.dialogue))
        self._memory_due = monotonic() + _MEMORY_INTERVAL

    def initialized(self) -> None:
        """Look now, and again after the first invocation, which is told for itself."""
        self.sample_memory()
        self._memory_due = 0.0

    def memory(self, now: float) -> int:
        """Megabytes at the peak, rounded up; looks if the last look is long ago at this monotonic time."""
        if now >= self._memory_due:
            self.sample_memory()
        return -(-self._memory // MEGABYTE)


def _log_stream(configuration: FunctionConfiguration) -> str:
    named = configuration.function_name if configuration.logging.log_group else ""
    return log_stream_name(configuration.version, named)
