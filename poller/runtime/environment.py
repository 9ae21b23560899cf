"""One execution environment of a function: init, invoke under a deadline, reset, stop (E.3)."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from time import monotonic

from poller.model import MAXIMUM_PAYLOAD, FunctionConfiguration, Invocation, InvocationResult
from poller.runtime.answers import compact, error_answer
from poller.runtime.dialogue import Dialogue
from poller.runtime.frames import Frame, FrameError
from poller.runtime.handler_log import HandlerLog, LogSink, error_type
from poller.runtime.interpreter import (
    Interpreter,
    command_line,
    environment_variables,
    find_interpreter,
    log_stream_name,
)
from poller.runtime.process import ProcessExited, RuntimeProcess

INIT_TIMEOUT = 10.0
"""Seconds of the init phase; a longer init is stopped and run again inside the invocation (E.3)."""
STOP_GRACE = 0.5
"""Seconds from end of file to SIGKILL (E.3, Shutdown)."""

_MEMORY_INTERVAL = 0.1
"""Seconds between two looks at the peak memory: a look costs as much as a small invocation."""


class _Failed(Exception):  # noqa: N818 - an outcome of the handler, not a fault of ours
    """Init or invocation ended with an error object of A.4."""

    def __init__(self, payload: bytes, failure: str, *, crash: int | None = None, seconds: float | None = None) -> None:
        self.payload = payload
        self.seconds = seconds
        """As the process told them, if it lived to tell."""
        self.failure = failure
        """`timeout`, or the type of the error."""
        self.crash = crash
        """Exit status, when the process ended by itself."""


class ExecutionEnvironment:
    """Runs one invocation at a time in a process of its own, which is started when it is needed.

    Owned by one thread at a time; only `kill`, `wake` and what `lay` gives may be called from others. Nothing of a
    handler's doing is raised: errors, timeouts and crashes are results.

    While one event is in work the next ones may be laid into the process's pipe, so that the handler need not wait for
    its next event. They are begun one by one; each is to be invoked like any other, in the order in which they were
    laid, and its time counts from its own beginning. One that the process did not begin, because it died or because it
    was taken back, is as if it had never been laid.
    """

    def __init__(
        self, configuration: FunctionConfiguration, log: LogSink, *, init_timeout: float = INIT_TIMEOUT
    ) -> None:
        self.cold_starts = 0
        """Processes started so far."""
        self._configuration = configuration
        self._sink = log
        self._init_timeout = init_timeout
        self._log = HandlerLog(log, "", configuration.version)
        self._log_stream = log_stream_name(configuration.version)
        self._temporary: Path | None = None
        self._dialogue: Dialogue | None = None
        self._initialized = False
        self._memory = 0
        self._memory_due = 0.0
        self._lock = threading.Lock()
        """Between `kill` and a process that is just starting: one of both sees the other."""
        self._killed = threading.Event()
        self._woken = self._waker = -1
        self._feed: Callable[[], None] = _nothing

    def wake(self) -> None:
        """Have a running `invoke` ask for events to lay ahead. Any thread, does not wait."""
        with self._lock, suppress(BlockingIOError):  # full: it is woken already
            if self._waker >= 0:
                os.write(self._waker, b"\0")

    def has_room(self) -> bool:
        """Whether one more event may be laid: what was sent is all in the pipe, and there are not too many."""
        return self._dialogue is not None and self._dialogue.has_room

    def lay(self, invocation: Invocation) -> Callable[[], bool]:
        """Send an event behind the one in work; `has_room` says when. Does not block.

        Returns:
            What takes it back, for any thread: true when the event was not begun, and will not be.
        """
        assert self._dialogue is not None
        return self._dialogue.lay(invocation)

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
        self._log = HandlerLog(self._sink, invocation.request_id, self._configuration.version)
        try:
            result = self._run(invocation)
        except OSError as error:
            self._reset()
            self._close_waker()
            self._initialized = False
            return error_answer(invocation.request_id, 500, self._explain(error))
        if self._killed.is_set() and result.function_error:
            return error_answer(invocation.request_id, 500, "The function is being stopped.")
        return result

    def kill(self) -> None:
        """End everything at once and for good; a running invocation answers 500. Any thread, idempotent, no waiting."""
        self._killed.set()
        with self._lock:
            dialogue = self._dialogue
        if dialogue is not None:
            dialogue.process.kill()

    def stop(self, grace: float = STOP_GRACE) -> None:
        """End of file, `grace` seconds to leave, SIGKILL to the process group; the temporary folder goes, too.

        Idempotent, safe before the first invocation. An invocation after it starts anew.
        """
        self._reset(grace)
        self._close_waker()
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)
            self._temporary = None
        self._initialized = False

    def _run(self, invocation: Invocation) -> InvocationResult:
        configuration, log = self._configuration, self._log
        limit = min(configuration.timeout, invocation.timeout_cap or configuration.timeout)
        init = None if self._initialized else self._init_phase()
        log.begin()
        started = monotonic()
        function_error = failure = None
        try:
            payload, duration = self._exchange(invocation, limit)
        except _Failed as failed:
            duration = min(monotonic() - started, limit) if failed.seconds is None else failed.seconds
            payload, failure = failed.payload, failed.failure
            function_error = "Unhandled"
        except TimeoutError:
            duration = limit
            self._sample_memory()
            self._reset()
            log.timed_out(limit)
            text = f"RequestId: {invocation.request_id} Error: Task timed out after {limit:.2f} seconds"
            payload = compact(errorType="Sandbox.Timedout", errorMessage=text)
            failure, function_error = "timeout", "Unhandled"
        if started + duration >= self._memory_due:
            self._sample_memory()
        memory = -(-self._memory // (1024 * 1024))
        log.end(duration=duration, memory_size=configuration.memory_size, memory=memory, init=init, failure=failure)
        return InvocationResult(
            invocation.request_id,
            payload,
            function_error=function_error,
            executed_version=configuration.version,
            duration=duration,
            init_duration=init,
            log_tail=log.tail(),
        )

    def _exchange(self, invocation: Invocation, limit: float) -> tuple[bytes, float]:
        """Init if the process is gone, hand over the event, give back the handler's answer and its seconds."""
        started = monotonic()
        for final in (False, True):
            if self._dialogue is None:
                self._init_inside_invocation(started + limit)
            dialogue = self._dialogue
            assert dialogue is not None
            started = min(started, dialogue.begin(invocation))
            self._feed()
            try:
                frame = dialogue.answer(invocation, started + limit, self._on_wake)
            except ProcessExited as exited:
                self._dialogue = None
                if not (dialogue.was_begun(invocation, exited) or final or self._killed.is_set()):
                    continue  # it had died between two invocations: not this event's fault
                raise self._exited(exited, invocation.request_id) from None
            except FrameError as error:
                raise self._broken(error, invocation.request_id) from None
            break
        return self._payload_of(frame, invocation.request_id), _seconds(frame)

    def _on_wake(self) -> None:
        os.read(self._woken, 4096)
        self._feed()

    def _payload_of(self, frame: Frame, request_id: str) -> bytes:
        kind = frame.header.get("type")
        payload = frame.payload if isinstance(frame.payload, bytes) else bytes(frame.payload)
        if frame.header.get("request_id") == request_id:
            if kind == "response":
                return payload
            if kind == "error":
                name = str(frame.header.get("error_type"))
                if name != "Function.ResponseSizeTooLarge":
                    self._log.error(payload)
                raise _Failed(payload, error_type(name), seconds=_seconds(frame))
        raise self._broken(FrameError(f"unexpected frame {frame.header}"), request_id)

    def _init_phase(self) -> float | None:
        """The first init of the environment; its seconds, or None when it failed and is to be run again."""
        self._initialized = True
        started = monotonic()
        try:
            self._initialize(started + self._init_timeout)
        except TimeoutError:
            self._reset()
            self._log.init_report("init", monotonic() - started, "timeout")
        except _Failed as failed:
            self._log.init_report("init", monotonic() - started, failed.failure)
        else:
            return monotonic() - started
        return None

    def _init_inside_invocation(self, deadline: float) -> None:
        started = monotonic()
        try:
            self._initialize(deadline)
        except TimeoutError:
            self._log.init_report("invoke", monotonic() - started, "timeout")
            raise
        except _Failed as failed:
            self._log.init_report("invoke", monotonic() - started, failed.failure)
            if failed.crash == -signal.SIGSEGV:
                # A.4: after a segmentation fault in init, Lambda lets the whole timeout elapse.
                self._killed.wait(max(0.0, deadline - monotonic()))
                raise TimeoutError from None
            raise

    def _initialize(self, deadline: float) -> None:
        """Start the process and import the handler. Raises TimeoutError, _Failed, OSError."""
        interpreter = find_interpreter(self._configuration.runtime)
        self._log.emit(f"INIT_START Runtime Version: python:{interpreter.version}")
        dialogue = self._start(interpreter)
        request_id = self._log.request_id
        try:
            frame = dialogue.process.receive(deadline, _nothing)
        except ProcessExited as exited:
            self._dialogue = None
            raise self._exited(exited, request_id) from None
        except FrameError as error:
            raise self._broken(error, request_id) from None
        self._sample_memory()
        self._memory_due = 0.0  # the first invocation is told for itself
        kind = frame.header.get("type")
        if kind == "init_error":
            self._reset()
            payload = bytes(frame.payload)
            self._log.error(payload)
            raise _Failed(payload, error_type(str(frame.header.get("error_type"))))
        if kind != "ready":
            raise self._broken(FrameError(f"unexpected frame {frame.header}"), request_id)

    def _start(self, interpreter: Interpreter) -> Dialogue:
        configuration = self._configuration
        if self._temporary is None:
            self._temporary = Path(tempfile.mkdtemp(prefix=f"{configuration.function_name}-"))
        if self._woken < 0:
            woken, waker = os.pipe()
            for fd in (woken, waker):
                os.set_blocking(fd, False)
            self._woken, self._waker = woken, waker
        variables = environment_variables(configuration, log_stream=self._log_stream, temporary=self._temporary)
        process = RuntimeProcess(
            partial(command_line, interpreter, configuration.environment),
            folder=configuration.code,
            variables=variables,
            output=self._output,
            wake=self._woken,
        )
        self.cold_starts += 1
        self._memory = 0
        with self._lock:
            self._dialogue = Dialogue(process, configuration)
            if self._killed.is_set():
                process.kill()
        return self._dialogue

    def _output(self, chunk: bytes) -> None:
        self._log.output(chunk)

    def _exited(self, exited: ProcessExited, request_id: str) -> _Failed:
        text = f"RequestId: {request_id} Error: {exited}"
        self._log.flush()
        self._log.emit(f"{text}\nRuntime.ExitError")
        payload = compact(errorType="Runtime.ExitError", errorMessage=text)
        return _Failed(payload, "Runtime.ExitError", crash=exited.returncode)

    def _broken(self, error: FrameError, request_id: str) -> _Failed:
        """The process speaks no protocol any more: it is ended, and that is what the caller is told."""
        self._log.flush()
        self._log.emit(f"The function's process broke the protocol and is killed: {error}")
        assert self._dialogue is not None
        exited = ProcessExited(self._dialogue.process.close(), undelivered=False)
        self._dialogue = None
        return self._exited(exited, request_id)

    def _reset(self, grace: float = 0.0) -> None:
        """End the process; the next invocation starts it anew, in the same temporary folder."""
        if self._dialogue is not None:
            self._dialogue.process.close(grace)
            self._dialogue = None

    def _close_waker(self) -> None:
        with self._lock:
            for fd in {self._woken, self._waker} - {-1}:
                os.close(fd)
            self._woken = self._waker = -1

    def _sample_memory(self) -> None:
        peak = self._dialogue.process.peak_memory() if self._dialogue is not None else None
        self._memory = max(self._memory, peak or 0)
        self._memory_due = monotonic() + _MEMORY_INTERVAL

    def _explain(self, error: OSError) -> str:
        configuration = self._configuration
        if not configuration.code.is_dir():
            return f"CodeUri {configuration.code} of function {configuration.function_name} is no folder"
        return f"cannot start a process for function {configuration.function_name}: {error}"


def _seconds(frame: Frame) -> float:
    """How long the handler's process says that the event took: what comes on top is ours, not the function's."""
    seconds = frame.header.get("seconds")
    return seconds if isinstance(seconds, float) and seconds >= 0 else 0.0


def _nothing() -> None:
    pass
