"""The init of an environment's processes: ahead of an invocation, or inside one where that went wrong (E.3)."""

from __future__ import annotations

import signal
from collections.abc import Callable
from time import monotonic

from poller.model import FunctionConfiguration
from poller.runtime.debugger import HOST
from poller.runtime.failed import Failed, broken, ended_beside, exited, never_started, reported
from poller.runtime.frames import FrameError
from poller.runtime.handler_log import HandlerLog
from poller.runtime.launch import find_runtime
from poller.runtime.log_format import LogFormat
from poller.runtime.process_group import NeverStarted, ProcessExited
from poller.runtime.runtime_api import TOO_LARGE
from poller.runtime.sandbox import Sandbox
from poller.runtime.telemetry_stream import Telemetry, ToldFormat

INIT_TIMEOUT = 10.0
"""Seconds of the init phase; a longer init is stopped and run again inside the invocation (E.3)."""


class Initialization:
    """Whether an environment had its init, and how long that took. Owned by the environment's thread.

    Args:
        configuration: the function.
        sandbox: gets the process.
        log: gives the log of the invocation that is in work, or of the init itself.
        log_format: of these logs.
    """

    def __init__(
        self,
        configuration: FunctionConfiguration,
        sandbox: Sandbox,
        log: Callable[[], HandlerLog],
        log_format: LogFormat,
    ) -> None:
        self.log_format = log_format
        """Of the logs of the next invocations: one that tells subscribers, where the last init brought some."""
        self.done = False
        """Whether there was one, be it that it failed: then it is run again inside the invocation."""
        self.inside = 0.0
        """Seconds of an init inside the invocation that is in work: they are a part of its duration."""
        self._configuration = configuration
        self._sandbox = sandbox
        self._log = log
        self._reported = False
        self._duration: float | None = None
        self._telemetry = Telemetry()
        self._plain_format = log_format
        self._told_format = ToldFormat(log_format, self._telemetry, configuration)

    def to_report(self) -> float | None:
        """An invocation begins: seconds that init took, for the first REPORT; None for all that follow."""
        duration, self._duration = self._duration, None
        self.inside = 0.0
        self._reported = True
        return duration

    def forget(self) -> None:
        """The next process is the first of a new environment."""
        self.done = self._reported = False

    def phase(self, limit: float) -> str | None:
        """An init outside of an invocation; None, or what it failed with: then it is to be run again."""
        self.done = True
        started = monotonic()
        failure = None
        try:
            self._run(started + limit, "init")
        except TimeoutError:
            self._sandbox.reset(reason="timeout")
            failure = "timeout"
        except Failed as failed:
            failure = failed.failure
        seconds = monotonic() - started
        self._log().init_report("init", seconds, failure)
        if failure is None and not self._reported:
            self._duration = seconds
        return failure

    def inside_invocation(self, deadline: float) -> None:
        """An init that counts as a part of the invocation. Raises TimeoutError, Failed, OSError."""
        started, log = monotonic(), self._log()
        try:
            self._run(deadline, "invoke")
        except TimeoutError:
            log.init_report("invoke", monotonic() - started, "timeout")
            raise
        except Failed as failed:
            log.init_report("invoke", monotonic() - started, failed.failure)
            if failed.crash == -signal.SIGSEGV:
                # A.4: after a segmentation fault in init, Lambda lets the whole timeout elapse.
                self._sandbox.killed.wait(max(0.0, deadline - monotonic()))
                raise TimeoutError from None
            raise
        self.inside = monotonic() - started
        log.init_report("invoke", self.inside, None)

    def _run(self, deadline: float, phase: str) -> None:
        """Start the process and import the handler. Raises TimeoutError, Failed, OSError."""
        runtime, log, sandbox = find_runtime(self._configuration), self._log(), self._sandbox
        sandbox.settle()
        log.use(self._told_format)
        log.init_start(runtime.version, phase)
        if self._configuration.debug_port is not None:
            log.emit(f"waiting for a debugger at {HOST}:{self._configuration.debug_port}")
        try:
            dialogue = sandbox.start(runtime.launch, self._log, self._telemetry)
        except NeverStarted as error:
            raise never_started(log, error, log.request_id) from None
        try:
            frame = dialogue.initialized(deadline)
        except ProcessExited as end:
            sandbox.dialogue = None
            raise exited(log, end, log.request_id, out_of_memory=sandbox.ended()) from None
        except FrameError as error:
            raise broken(log, sandbox, error, log.request_id) from None
        sandbox.initialized()
        kind = frame.header.get("type")
        if kind == "init_error":
            payload = bytes(frame.payload)
            if frame.header.get("fatal"):
                if (killed := ended_beside(log, sandbox, log.request_id)) is not None:
                    raise killed
            elif not dialogue.logs_errors and frame.header.get("error_type") != TOO_LARGE:  # which it logged itself
                log.error(payload)
            sandbox.reset()
            raise Failed(payload, reported(str(frame.header.get("error_type"))))
        if kind != "ready":
            raise broken(log, sandbox, FrameError(f"unexpected frame {frame.header}"), log.request_id)
        self._telemetry.end_init()
        self.log_format = self._told_format if self._telemetry.wanted else self._plain_format
