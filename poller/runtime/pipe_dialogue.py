"""Events on their way to a handler's process over pipes, and which answer belongs to which.

The process answers every event in the order in which it got them, be it only that it passed one over. Used on the
environment's thread; what `lay` gives is for any.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from time import monotonic

from poller.model import FunctionConfiguration, Invocation
from poller.runtime.frames import Frame, FrameError, FrameWriter
from poller.runtime.process import RuntimeProcess
from poller.runtime.variables import trace_id


class PipeDialogue:
    """One process and the events that it has not answered."""

    logs_errors = False

    def __init__(self, process: RuntimeProcess, configuration: FunctionConfiguration) -> None:
        self.process = process
        self._configuration = configuration
        self._unanswered: deque[tuple[Invocation, int | None]] = deque()
        """With the slot of its claim, if it was laid ahead."""
        self._answered = 0.0

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self.process.pid

    @property
    def pids(self) -> tuple[int, ...]:
        """There are no extensions on pipes."""
        return (self.process.pid,)

    def initialized(self, deadline: float) -> Frame:
        """Wait for the end of init."""
        return self.process.receive(deadline, _nothing)

    @property
    def has_room(self) -> bool:
        """Whether one more event may be laid: what was sent is all in the pipe, and there are not too many."""
        return self.process.written and self.process.claims.free

    def lay(self, invocation: Invocation) -> Callable[[], bool]:
        """Send an event behind those before it; see `Dialogue.lay`."""
        claims = self.process.claims
        slot = claims.offer()
        self._send(invocation, slot)
        return partial(claims.take_back, slot)

    def begin(self, invocation: Invocation) -> float:
        """Send an event, unless it was laid before; the monotonic time from which its own time counts."""
        for laid, _ in self._unanswered:
            if laid is invocation:
                return self._answered  # the process went on by itself
        self._send(invocation, None)
        return monotonic()

    def answer(self, invocation: Invocation, deadline: float, on_wake: Callable[[], None]) -> Frame:
        """Wait for the answer to an event that was begun. Raises as `RuntimeProcess.receive`."""
        while True:
            frame = self.process.receive(deadline, on_wake)
            answered, slot = self._unanswered.popleft()
            if slot is not None:
                self.process.claims.settle(slot)
            if frame.header.get("type") == "skipped" and slot is not None:
                continue
            if answered is not invocation:
                raise FrameError("an event that was taken back was answered")
            self._answered = monotonic()
            return frame

    def was_begun(self, invocation: Invocation, *, undelivered: bool) -> bool:
        """Whether a process that exited may have begun this event."""
        for sent, slot in self._unanswered:
            if sent is invocation and slot is not None:
                return not self.process.claims.take_back(slot)
        return not undelivered

    @property
    def alive(self) -> bool:
        """Whether the process has not ended."""
        return not self.process.exited()

    def signal(self, number: int) -> None:
        """A signal to the process group."""
        self.process.signal(number)

    def kill(self) -> None:
        """SIGKILL to the process group."""
        self.process.kill()

    def close(self, grace: float = 0.0) -> int:
        """End the process group."""
        return self.process.close(grace)

    def peak_memory(self) -> int | None:
        """Bytes at the peak."""
        return self.process.peak_memory()

    def _send(self, invocation: Invocation, slot: int | None) -> None:
        own = self._configuration.timeout
        header = {
            "type": "invoke",
            "request_id": invocation.request_id,
            "limit": min(own, invocation.timeout_cap or own),
            "invoked_function_arn": invocation.invoked_function_arn,
            "trace_id": trace_id(),
            "client_context": invocation.client_context,
            "slot": slot,
        }
        self._unanswered.append((invocation, slot))
        self.process.send(FrameWriter(header, invocation.payload))


def _nothing() -> None:
    pass
