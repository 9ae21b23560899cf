"""One execution environment of a function: init, invoke under a deadline, reset, stop (E.3)."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import monotonic
from typing import NoReturn

from poller.faults.chance import InvocationFaults
from poller.faults.invocation import suffer
from poller.model import MAXIMUM_PAYLOAD, FunctionConfiguration, Invocation, InvocationResult
from poller.request_ids import new_request_id
from poller.runtime.answers import compact, error_answer
from poller.runtime.control_groups import ControlGroups
from poller.runtime.dialogue import Dialogue
from poller.runtime.failed import OUT_OF_MEMORY, Failed, broken, exited, explained, response, seconds_of
from poller.runtime.frames import Frame, FrameError
from poller.runtime.handler_log import HandlerLog, LogSink
from poller.runtime.initialization import INIT_TIMEOUT, Initialization
from poller.runtime.log_format import log_format
from poller.runtime.pipe_dialogue import PipeDialogue
from poller.runtime.process_group import ProcessExited
from poller.runtime.sandbox import Sandbox

STOP_GRACE = 0.5
"""Seconds from end of file to SIGKILL (E.3, Shutdown)."""
SUSPENDED = 1e6
"""Seconds of a timeout while somebody debugs: days, and not more than a system call takes."""

_log = logging.getLogger(__name__)


class ExecutionEnvironment:
    """Runs one invocation at a time in a process of its own, which is started when it is needed.

    Owned by one thread at a time, its own or a `Driver`'s; only `kill`, `wake`, `look_at_memory` and what `lay` gives
    may be called from others. Nothing of a handler's doing is raised: errors, timeouts and crashes are results.

    While one event is in work the next ones may be laid into the process's pipe, so that the handler need not wait for
    its next event. They are begun one by one; each is to be invoked like any other, in the order in which they were
    laid, and its time counts from its own beginning. One that the process did not begin, because it died or because it
    was taken back, is as if it had never been laid.
    """

    def __init__(
        self,
        configuration: FunctionConfiguration,
        log: LogSink,
        *,
        log_streams: Callable[[str], LogSink] | None = None,
        faults: InvocationFaults | None = None,
        init_timeout: float = INIT_TIMEOUT,
        control_groups: ControlGroups | None = None,
    ) -> None:
        self._configuration = configuration
        self._faults = faults
        self._init_timeout = init_timeout if configuration.debug_port is None else SUSPENDED
        self._sandbox = Sandbox(configuration, control_groups)
        self._sink = log_streams(self._sandbox.log_stream) if log_streams else log
        written = log_format(configuration)
        self._log = HandlerLog(self._sink, "", written)
        self._init = Initialization(configuration, self._sandbox, lambda: self._log, written)
        self._feed: Callable[[], None] = _nothing
        self._started = 0.0
        """Monotonic time from which the time of the event in work counts."""

    @property
    def cold_starts(self) -> int:
        """Processes started so far."""
        return self._sandbox.cold_starts

    @property
    def temporary_folder(self) -> Path | None:
        """What TMPDIR names; None before the first process."""
        return self._sandbox.temporary

    @property
    def log_stream(self) -> str:
        """Its name."""
        return self._sandbox.log_stream

    @property
    def killed(self) -> bool:
        """Whether `kill` was called."""
        return self._sandbox.killed.is_set()

    @property
    def process(self) -> Dialogue | None:
        """The process that runs, or has ended by itself while nothing was in work. Any thread may compare it."""
        return self._sandbox.dialogue

    @property
    def warm(self) -> bool:
        """Whether an initialised process waits for an event. For the owner while nothing is in work."""
        dialogue = self._sandbox.dialogue
        return dialogue is not None and dialogue.alive

    @property
    def lingers(self) -> bool:
        """Whether `settle` waits for extensions of a process that has ended. For the owner."""
        return self._sandbox.lingers

    def prewarm(self, limit: float) -> str | None:
        """Have a new process with the handler imported, ahead of any invocation. Blocks up to `limit` seconds.

        An init that fails is run again inside the first invocation, which tells of it.

        Returns:
            None when it is warm, else what its init failed with: `timeout`, a type of error, or what is wrong here.
        """
        # An id of its own, as its lines have on Lambda: there is no invocation yet.
        self._log = HandlerLog(self._sink, new_request_id(), self._init.log_format)
        try:
            self._sandbox.reset()
            failure = self._init.phase(limit)
        except OSError as error:
            return self._no_process(error)
        if failure is not None:
            self._sandbox.settle()  # the next try may be a minute away
        return failure

    def freeze(self) -> None:
        """Stop the processes until the next `invoke` or `stop`. Idempotent; for the owner while nothing is in work."""
        self._sandbox.freeze()

    def wake(self) -> None:
        """Have a running `invoke` ask for events to lay ahead. Any thread, does not wait."""
        self._sandbox.wake()

    def has_room(self) -> bool:
        """Whether one more event may be laid: what was sent is all in the pipe, and there are not too many.

        There never is where faults are made on purpose: what lies behind a crash must not have begun.
        """
        dialogue = self._sandbox.dialogue
        return dialogue is not None and self._faults is None and dialogue.has_room

    @property
    def pipe(self) -> PipeDialogue | None:
        """For a `Driver`, while it is the owner: events of its process. None where the environment's thread is needed.

        What was laid and answered there is to be taken with `answered`.
        """
        dialogue = self._sandbox.dialogue
        if dialogue is None or self._faults is not None or self._configuration.debug_port is not None:
            return None
        return dialogue.pipe

    def lay(self, invocation: Invocation) -> Callable[[], bool]:
        """Send an event behind the one in work; `has_room` says when. Does not block.

        Returns:
            What takes it back, for any thread: true when the event was not begun, and will not be.
        """
        assert self._sandbox.dialogue is not None
        return self._sandbox.dialogue.lay(invocation)

    def invoke(self, invocation: Invocation, feed: Callable[[], None] | None = None) -> InvocationResult:
        """Run the handler once. Blocks up to the function's timeout, and up to `init_timeout` more on a cold start.

        `feed` is called when the event is with the process, and after each `wake`, to `lay` what comes next.
        The result's status is 200 whatever the handler did, 413 when the event is too large (A.2), and 500 when the
        fault is ours: no interpreter, no code folder, no processes left, killed from outside by `kill`.
        """
        self._feed = feed or _nothing
        size = len(invocation.payload)
        if size > MAXIMUM_PAYLOAD:
            text = f"{size} byte payload is too large for the RequestResponse invocation type"
            return error_answer(invocation.request_id, 413, f"{text} (limit {MAXIMUM_PAYLOAD} bytes)")
        if invocation.response_stream is not None:
            invocation.response_stream.attach(self._configuration.version, self._sandbox.wake)
        self._sandbox.thaw()
        self._log = HandlerLog(self._sink, invocation.request_id, self._init.log_format)
        try:
            self._prepare(invocation)
            return self._run(invocation, self._exchange if self._faults is None else self._suffer)
        except OSError as error:
            return error_answer(invocation.request_id, 500, self._no_process(error))

    def answered(self, invocation: Invocation) -> InvocationResult:
        """What came of an event that was laid into `pipe`, and whose plain response has arrived there. Does not wait.

        For a `Driver`. As `invoke`, without what is for events that are not with the process yet.
        """
        self._log = HandlerLog(self._sink, invocation.request_id, self._init.log_format)
        return self._run(invocation, self._take)

    def look_at_memory(self) -> None:
        """Kill what holds more than MemorySize. Any thread, does not wait."""
        self._sandbox.look_at_memory()

    def kill(self) -> None:
        """End everything at once and for good; a running invocation answers 500. Any thread, idempotent, no waiting."""
        self._sandbox.kill()

    def stop(self, grace: float = STOP_GRACE, *, reason: str = "spindown") -> None:
        """End of file, `grace` seconds to leave, SIGKILL to the process group; the temporary folder goes, too.

        Idempotent, safe before the first invocation. An invocation after it starts anew.

        Args:
            grace: seconds.
            reason: that extensions are told: `spindown` or `failure`.
        """
        self._sandbox.reset(grace, reason=reason)
        self._sandbox.close(folder=True)
        self._init.forget()

    def settle(self) -> None:
        """After an answer: let extensions of a process that ended leave. Blocks for up to 2 s then, else not at all.

        Else it is done before the next process.
        """
        self._sandbox.settle()

    def _prepare(self, invocation: Invocation) -> None:
        """What takes nothing of the event's time."""
        if not self._init.done:
            self._init.phase(self._init_timeout)
        if self._sandbox.dialogue is None:
            self._sandbox.settle()
        else:
            self._sandbox.dialogue.prepare(invocation)

    def _run(self, invocation: Invocation, exchange: Callable[[Invocation, float], Frame]) -> InvocationResult:
        """The result of what `exchange` gives for the event and its seconds, with the log's lines of it."""
        configuration, log = self._configuration, self._log
        limit = min(configuration.timeout, invocation.timeout_cap or configuration.timeout)
        if configuration.debug_port is not None:
            limit = SUSPENDED
        init = self._init.to_report()
        self._started = started = monotonic()
        function_error = failure = None
        content_type, streamed = "", False
        try:
            frame = exchange(invocation, limit)
            payload, duration = bytes(frame.payload), min(self._init.inside + seconds_of(frame), limit)
            content_type, streamed = frame.header.get("content_type", ""), frame.header.get("streamed", False)
        except Failed as failed:
            told = failed.seconds
            duration = min(monotonic() - self._started if told is None else self._init.inside + told, limit)
            payload, failure = failed.payload, failed.failure
            function_error = "Unhandled"
        except TimeoutError:
            duration = limit
            self._sandbox.sample_memory()
            self._sandbox.reset(reason="timeout")
            log.timed_out(limit)
            text = f"RequestId: {invocation.request_id} Error: Task timed out after {limit:.2f} seconds"
            payload = compact(errorType="Sandbox.Timedout", errorMessage=text)
            failure, function_error = "timeout", "Unhandled"
        memory = self._sandbox.memory(started + duration)
        if failure == OUT_OF_MEMORY:
            memory = configuration.memory_size
        log.end(duration=duration, memory_size=configuration.memory_size, memory=memory, init=init, failure=failure)
        if function_error and self._sandbox.killed.is_set():
            return error_answer(invocation.request_id, 500, "The function is being stopped.")
        return InvocationResult(
            invocation.request_id,
            payload,
            function_error=function_error,
            executed_version=configuration.version,
            duration=duration,
            init_duration=init,
            log_tail=log.tail(),
            content_type=content_type,
            streamed=streamed,
        )

    def _suffer(self, invocation: Invocation, limit: float) -> Frame:
        """As `_exchange`, with what goes wrong on purpose."""
        fault = self._faults.next() if self._faults is not None else None
        if fault is None:
            return self._exchange(invocation, limit)
        self._log.begin()
        extra = {"function": self._configuration.function_name, "request_id": invocation.request_id}
        _log.info("fault on purpose: %s", fault, extra=extra)
        if self._sandbox.dialogue is None:
            self._init.inside_invocation(monotonic() + limit)

        def crash() -> NoReturn:
            if self._sandbox.dialogue is not None:
                self._sandbox.dialogue.close()
                self._sandbox.dialogue = None
            raise self._exited(ProcessExited(-signal.SIGKILL, undelivered=False), invocation.request_id)

        return suffer(fault, limit, partial(self._exchange, invocation), self._sandbox.killed.wait, crash)

    def _take(self, invocation: Invocation, limit: float) -> Frame:
        """The response that has arrived, to an event that was laid."""
        dialogue = self._sandbox.dialogue
        assert dialogue is not None
        self._started = started = dialogue.begin(invocation)
        self._log.begin(with_the_rest=True)
        return self._answer(dialogue, invocation, started + limit)

    def _exchange(self, invocation: Invocation, limit: float) -> Frame:
        """Init if the process is gone, hand over the event, give back the handler's response."""
        started = monotonic()
        for final in (False, True):
            if self._sandbox.dialogue is None:
                self._log.begin()
                self._init.inside_invocation(started + limit)
                # What is left of its time is the handler's, which may ask for it.
                invocation = invocation._replace(timeout_cap=max(0.0, started + limit - monotonic()))
            dialogue = self._sandbox.dialogue
            assert dialogue is not None
            self._started = started = min(started, dialogue.begin(invocation))
            self._log.begin()  # not before: the process is at work meanwhile
            self._feed()
            try:
                return self._answer(dialogue, invocation, started + limit)
            except ProcessExited as end:
                self._sandbox.dialogue = None
                begun = dialogue.was_begun(invocation, undelivered=end.undelivered)
                if begun or final or self._sandbox.killed.is_set():
                    raise self._exited(end, invocation.request_id) from None
                # It had died between two invocations: not this event's fault, nor of its time.
                self._sandbox.settle()
                started = monotonic()
        raise AssertionError("the second process is the last")

    def _answer(self, dialogue: Dialogue, invocation: Invocation, deadline: float) -> Frame:
        """The handler's response to an event that was begun. ProcessExited is the caller's."""
        try:
            frame = dialogue.answer(invocation, deadline, self._on_wake)
        except FrameError as error:
            raise broken(self._log, self._sandbox, error, invocation.request_id) from None
        return response(self._log, self._sandbox, frame, invocation.request_id)

    def _on_wake(self) -> None:
        self._sandbox.woke()
        self._feed()

    def _exited(self, end: ProcessExited, request_id: str) -> Failed:
        return exited(self._log, end, request_id, out_of_memory=self._sandbox.ended())

    def _no_process(self, error: OSError) -> str:
        """No process could be started: nothing is kept for it; why."""
        self._sandbox.reset()
        self._sandbox.close(folder=False)
        self._init.forget()
        return explained(error, self._configuration)


def _nothing() -> None:
    pass
