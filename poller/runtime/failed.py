"""How an init or an invocation failed, and what its caller and its log are told of that (A.4)."""

from __future__ import annotations

import signal

from poller.model import FunctionConfiguration
from poller.runtime.answers import compact
from poller.runtime.frames import Frame, FrameError
from poller.runtime.handler_log import HandlerLog, error_type
from poller.runtime.launch import NoRuntimeError
from poller.runtime.process_group import NeverStarted, ProcessExited
from poller.runtime.runtime_api import TOO_LARGE
from poller.runtime.sandbox import Sandbox

OUT_OF_MEMORY = "Runtime.OutOfMemory"
"""What the log calls the end of a process that held too much; its caller is told of an exit (A.4)."""


class Failed(Exception):  # noqa: N818 - an outcome of the handler, not a fault of ours
    """Init or invocation ended with an error object of A.4."""

    def __init__(self, payload: bytes, failure: str, *, crash: int | None = None, seconds: float | None = None) -> None:
        self.payload = payload
        self.seconds = seconds
        """As the process told them, if it lived to tell."""
        self.failure = failure
        """`timeout`, or the type of the error."""
        self.crash = crash
        """Exit status, when the process ended by itself."""


def reported(name: str) -> str:
    """How REPORT names an error that a runtime or an extension reports."""
    return name if name.startswith("Extension.") else error_type(name)


def response(log: HandlerLog, sandbox: Sandbox, frame: Frame, request_id: str) -> Frame:
    """What a process has answered to this event, if it is the handler's response; else raises `Failed`."""
    kind = frame.header.get("type")
    if frame.header.get("request_id") == request_id:
        if kind == "response":
            return frame
        if kind == "error":
            payload = bytes(frame.payload)
            name = str(frame.header.get("error_type"))
            if frame.header.get("fatal"):
                if (killed := ended_beside(log, sandbox, request_id)) is not None:
                    raise killed
            elif name != TOO_LARGE and sandbox.dialogue is not None and not sandbox.dialogue.logs_errors:
                log.error(payload)
            raise Failed(payload, reported(name), seconds=seconds_of(frame))
    raise broken(log, sandbox, FrameError(f"unexpected frame {frame.header}"), request_id)


def seconds_of(frame: Frame) -> float:
    """How long the handler's process says that the event took: what comes on top is ours, not the function's."""
    seconds = frame.header.get("seconds")
    return seconds if isinstance(seconds, float) and seconds >= 0 else 0.0


def exited(log: HandlerLog, end: ProcessExited, request_id: str, *, out_of_memory: bool) -> Failed:
    """The process is gone; that is logged, too."""
    text = f"RequestId: {request_id} Error: {end}"
    error_type = OUT_OF_MEMORY if out_of_memory and end.returncode == -signal.SIGKILL else "Runtime.ExitError"
    log.exited(text, error_type)
    payload = compact(errorType="Runtime.ExitError", errorMessage=text)
    return Failed(payload, error_type, crash=end.returncode)


def broken(log: HandlerLog, sandbox: Sandbox, error: FrameError, request_id: str) -> Failed:
    """The process speaks no protocol any more: it is ended, and that is what the caller is told."""
    log.flush()
    log.emit(f"The function's process broke the protocol and is killed: {error}")
    assert sandbox.dialogue is not None
    end = ProcessExited(sandbox.dialogue.close(), undelivered=False)
    sandbox.dialogue = None
    return exited(log, end, request_id, out_of_memory=sandbox.ended())


def ended_beside(log: HandlerLog, sandbox: Sandbox, request_id: str) -> Failed | None:
    """An extension has ended: the process is ended, too. None when that was the extension's own doing.

    Where the environment had more than it may, all in it are killed, and an extension is often gone before the
    function's process, which has more memory to give back: that is an exit of the function all the same.
    """
    sandbox.reset()
    if not sandbox.exceeded:
        return None
    end = ProcessExited(-signal.SIGKILL, undelivered=False)
    return exited(log, end, request_id, out_of_memory=sandbox.ended())


def never_started(log: HandlerLog, reason: NeverStarted, request_id: str) -> Failed:
    """There is no program to start; that is logged, too."""
    text = f"RequestId: {request_id} Error: {reason}"
    log.exited(text, reason.error_type)
    return Failed(compact(errorType=reason.error_type, errorMessage=text), reason.error_type)


def explained(error: OSError, configuration: FunctionConfiguration) -> str:
    """Why no process could be started, where that is our own fault or the person's."""
    if isinstance(error, NoRuntimeError):
        return str(error)
    if not configuration.code.is_dir():
        return f"CodeUri {configuration.code} of function {configuration.function_name} is no folder"
    return f"cannot start a process for function {configuration.function_name}: {error}"
