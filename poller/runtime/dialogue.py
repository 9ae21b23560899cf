"""What an environment needs of a handler's process, whichever way the two speak: over pipes or Lambda's Runtime API."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from poller.model import Invocation
from poller.runtime.frames import Frame

if TYPE_CHECKING:
    from poller.runtime.pipe_dialogue import PipeDialogue


class Dialogue(Protocol):
    """One process, and the events that it has not answered.

    For the environment's owner: its thread, or a `Driver`. `kill` and what `lay` gives are for any thread. What waits
    raises

        TimeoutError: the deadline has passed, and the process still runs: `close` it.
        ProcessExited: it is gone.
        FrameError: it speaks no protocol any more: `close` it.

    Answers are frames with a `type` of `ready`, `init_error`, `response` or `error`, as `bootstrap` describes them.
    """

    @property
    def logs_errors(self) -> bool:
        """Whether the runtime writes its handler's errors to the log by itself."""
        ...

    @property
    def pid(self) -> int:
        """The number of the process."""
        ...

    @property
    def pids(self) -> tuple[int, ...]:
        """The numbers of the process and of the environment's extensions. Any thread."""
        ...

    @property
    def pipe(self) -> PipeDialogue | None:
        """Where somebody else than the environment's thread may lay events and take answers: see `Driver`."""
        ...

    @property
    def has_room(self) -> bool:
        """Whether one more event may be laid."""
        ...

    def initialized(self, deadline: float) -> Frame:
        """Wait for the end of init."""
        ...

    def lay(self, invocation: Invocation) -> Callable[[], bool]:
        """Send an event behind the one in work. Does not block; see `ExecutionEnvironment.lay`."""
        ...

    def prepare(self, invocation: Invocation) -> None:
        """Make of an event what `begin` or `lay` will send, since that takes nothing of the function's time."""
        ...

    def begin(self, invocation: Invocation) -> float:
        """Send an event, unless it was laid before; the monotonic time from which its own time counts."""
        ...

    def answer(self, invocation: Invocation, deadline: float, on_wake: Callable[[], None]) -> Frame:
        """Wait for the answer to an event that was begun; `on_wake` is called at each wake."""
        ...

    def was_begun(self, invocation: Invocation, *, undelivered: bool) -> bool:
        """Whether a process that exited may have begun this event; `undelivered` as its exit says."""
        ...

    @property
    def alive(self) -> bool:
        """Whether the process has not ended; not to be asked after `close`."""
        ...

    def signal(self, number: int) -> None:
        """A signal to the whole group. Any thread, any time, does not wait."""
        ...

    def kill(self) -> None:
        """SIGKILL to the whole group. Any thread, any time, does not wait."""
        ...

    def close(self, grace: float = 0.0) -> int:
        """Let it leave within `grace` seconds, kill what is left. Idempotent; gives the exit status.

        Its extensions live on until `leave`.
        """
        ...

    @property
    def extended(self) -> bool:
        """Whether there are programs of extensions, which `leave` waits for."""
        ...

    def leave(self, reason: str) -> None:
        """After `close`: tell its extensions of the end and why, give them 2 s, kill what is left. Idempotent.

        Args:
            reason: `spindown`, `timeout` or `failure`.
        """
        ...

    def peak_memory(self) -> int | None:
        """Bytes of memory at the peak; None when the process is gone or the system does not tell."""
        ...
