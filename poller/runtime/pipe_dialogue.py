"""Events on their way to a handler's process over pipes, and which answer belongs to which.

The process answers every event in the order in which it got them, be it only that it passed one over. For the
environment's owner, its thread or a `Driver`; what `lay` gives is for any thread.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from functools import partial
from time import monotonic

from poller.model import FunctionConfiguration, Invocation, Payload
from poller.runtime.driving import DRIVES
from poller.runtime.extensions_beside import ExtensionsBeside
from poller.runtime.frames import Frame, FrameError, FrameWriter
from poller.runtime.process import RuntimeProcess
from poller.runtime.variables import trace_id

_quote = json.encoder.encode_basestring_ascii
_COLUMNS = ',"columns":true'
_MEMORY = ',"memory":[%d,%d]'


class PipeDialogue:
    """One process and the events that it has not answered."""

    logs_errors = False

    def __init__(self, process: RuntimeProcess, configuration: FunctionConfiguration, beside: ExtensionsBeside) -> None:
        self.process = process
        self._timeout = configuration.timeout
        self._beside = beside
        self._told: ExtensionsBeside | None = None
        """The same after init, if there are extensions."""
        self._unanswered: deque[tuple[Invocation, int | None, float, tuple[int, int] | None]] = deque()
        """With the slot of its claim, if it was laid, the monotonic time at which it was sent, and where in memory its
        payload lies, if it does."""
        self._answered = 0.0

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self.process.pid

    @property
    def pids(self) -> tuple[int, ...]:
        """Of the process and of the extensions' programs. Any thread."""
        return (self.process.pid, *self._beside.pids)

    def initialized(self, deadline: float) -> Frame:
        """Wait for the end of init, of the process and of each extension."""
        frame = self.process.receive(deadline, None)
        if frame.header.get("type") != "ready":
            return frame
        if not self._beside.runtime_is_ready():
            frame = self.process.receive(deadline, None)
        self._beside.init_is_over()
        if self._beside.registered:
            self._told = self._beside
        return frame

    @property
    def pipe(self) -> PipeDialogue | None:
        """See `Dialogue.pipe`. There is none where extensions are told of each event when it begins."""
        return self if self._told is None and DRIVES else None

    def fileno(self) -> int:
        """Readable when the process has said something."""
        return self.process.fileno()

    @property
    def written(self) -> bool:
        """Whether all that was sent is in the pipe."""
        return self.process.written

    @property
    def has_room(self) -> bool:
        """Whether one more event may be laid: what was sent is all in the pipe, and there are not too many.

        There never is where extensions are told of each event when it begins.
        """
        return self.process.written and bool(self.process.claims.free) and self._told is None

    def lies(self, invocation: Invocation) -> bool:
        """Whether an event was laid, and neither answered nor taken back."""
        return self._sent(invocation) is not None

    def lay(self, invocation: Invocation) -> Callable[[], bool]:
        """Send an event behind those before it, if there are any; see `Dialogue.lay`."""
        claims = self.process.claims
        slot = claims.offer()
        self._send(invocation, slot)
        return partial(claims.take_back, slot)

    def prepare(self, invocation: Invocation) -> None:
        """See `Dialogue`."""
        if not isinstance(invocation.payload, bytes):
            _form(invocation.payload)

    def begin(self, invocation: Invocation) -> float:
        """Send an event, unless it was laid before; the monotonic time from which its own time counts."""
        if (sent := self._sent(invocation)) is not None:
            return max(sent[1], self._answered)  # the process went on by itself
        if self._told is None:
            self._send(invocation, None)
        return monotonic()

    def answer(self, invocation: Invocation, deadline: float, on_wake: Callable[[], None]) -> Frame:
        """Wait for the answer to an event that was begun. Raises as `RuntimeProcess.receive`."""
        if self._told is not None and (failed := self._invoke_extended(self._told, invocation, deadline, on_wake)):
            return failed
        while True:
            frame = self.process.receive(deadline, on_wake)
            answered, slot, _, place = self._unanswered.popleft()
            if place is not None and not frame.header.get("fatal"):  # then the process may be at it yet, until its end
                self.process.memory.let_go(place)
            if slot is not None:
                self.process.claims.settle(slot)
            if frame.header.get("type") == "skipped" and slot is not None:
                continue
            if answered is not invocation:
                raise FrameError("an event that was taken back was answered")
            self._answered = monotonic()
            if self._told is not None:
                self._told.answered(frame)
            return frame

    def arrived(self, *, read: bool) -> bool | None:
        """What the process has said to the first event. Does not block.

        Args:
            read: whether to look in the pipe, and not only at what was read with the last answer.

        Returns:
            True when it is a plain response, so that `answer` does not wait; False when it is something else, that may
            take `answer` a while; None when it is not there yet.
        """
        try:
            frame = self.process.peek(read=read)
        except (EOFError, OSError, FrameError):
            return False
        return None if frame is None else frame.header.get("type") == "response"

    def was_begun(self, invocation: Invocation, *, undelivered: bool) -> bool:
        """Whether a process that exited may have begun this event."""
        sent = self._sent(invocation)
        if sent is not None and sent[0] is not None:
            return not self.process.claims.take_back(sent[0])
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
        self._beside.kill()

    def close(self, grace: float = 0.0) -> int:
        """End the process group. Extensions live on until `leave`."""
        try:
            return self.process.close(grace)
        finally:
            if not self._beside.running:
                self._beside.close()

    @property
    def extended(self) -> bool:
        """Whether there are programs of extensions."""
        return self._beside.running

    def leave(self, reason: str) -> None:
        """Tell the extensions of the end, and let all go."""
        self._beside.leave(reason)

    def peak_memory(self) -> int | None:
        """Bytes at the peak."""
        return self.process.peak_memory()

    def _invoke_extended(
        self, told: ExtensionsBeside, invocation: Invocation, deadline: float, on_wake: Callable[[], None]
    ) -> Frame | None:
        """Give the event to the handler and to extensions, when those are done with the one before (E.3)."""
        if not told.idle():
            frame = self.process.receive(deadline, on_wake)
            if frame.header["type"] != "ready":
                return frame
        trace = self._send(invocation, None)
        told.invoke(invocation, trace)
        return None

    def _sent(self, invocation: Invocation) -> tuple[int | None, float] | None:
        """Slot and time of an event that is on its way, if it is; not where it was taken back since."""
        for sent, slot, when, _ in self._unanswered:
            if sent is invocation and (slot is None or not self.process.claims.was_taken_back(slot)):
                return slot, when
        return None

    def _send(self, invocation: Invocation, slot: int | None) -> str:
        """Its trace id."""
        columns, payload = _form(invocation.payload)
        place = self.process.memory.put(payload)
        self._unanswered.append((invocation, slot, monotonic(), place))  # not before: its time counts from here
        limit = min(self._timeout, invocation.timeout_cap or self._timeout)
        trace = trace_id()
        header = _header(invocation, limit, slot, trace, columns=columns, place=place)
        self.process.send(FrameWriter(header, payload if place is None else b""))
        return trace


def _form(payload: Payload) -> tuple[bool, bytes]:
    """What goes to the process: whether it is columns, and those, or JSON."""
    columns = None if isinstance(payload, bytes) else payload.columns()
    return (False, bytes(payload)) if columns is None else (True, columns)


def _header(
    invocation: Invocation, limit: float, slot: int | None, trace: str, *, columns: bool, place: tuple[int, int] | None
) -> bytes:
    """Of an event. Put together by hand: an encoder takes four times as long, and there is one in every invocation."""
    context = invocation.client_context
    return (
        f'{{"type":"invoke","request_id":{_quote(invocation.request_id)},"limit":{limit!r},'
        f'"invoked_function_arn":{_quote(invocation.invoked_function_arn)},"trace_id":"{trace}",'
        f'"client_context":{"null" if context is None else _quote(context)},"slot":{"null" if slot is None else slot}'
        f"{'' if place is None else _MEMORY % place}{_COLUMNS if columns else ''}}}"
    ).encode()
