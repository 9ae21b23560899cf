"""A function's extensions in one environment: their API, their programs, and what an event becomes when one fails."""

from __future__ import annotations

import select
from collections.abc import Callable, Mapping
from time import time

from poller.model import FunctionConfiguration
from poller.runtime.answers import compact
from poller.runtime.api_server import ApiServer
from poller.runtime.extension_processes import ExtensionProcesses, programs
from poller.runtime.extensions_api import IDENTIFIER, NEXT, ExtensionsApi
from poller.runtime.frames import Frame
from poller.runtime.handler_log import HandlerLog
from poller.runtime.http_wire import Request
from poller.runtime.runtime_api import Answer, Event
from poller.runtime.telemetry import Lines, begun, done, event, report, subscribed
from poller.runtime.telemetry_sender import TelemetrySender

SHUTDOWN_GRACE = 2.0
"""Seconds from SHUTDOWN to SIGKILL where there are external extensions (E.3)."""


class ExtensionHost:
    """Used on the environment's thread; `kill` is for any.

    Args:
        configuration: of the function.
        log: the log of the invocation in work.
        poll: that of the environment's thread.
    """

    def __init__(
        self, configuration: FunctionConfiguration, *, log: Callable[[], HandlerLog], poll: select.poll
    ) -> None:
        self._configuration = configuration
        self._log = log
        self._poll = poll
        self._paths = programs(configuration.layers)
        self._api = ExtensionsApi(configuration, [path.name for path in self._paths])
        self._processes: ExtensionProcesses | None = None
        self._senders: list[TelemetrySender] = []
        self._lines = {"function": Lines(), "extension": Lines()}

    def start(self, variables: Mapping[str, str]) -> None:
        """Start the programs. Raises OSError: one cannot be started; none is left then."""
        if self._paths:
            self._processes = ExtensionProcesses(
                self._paths, folder=self._configuration.code, variables=variables, output=self._said, poll=self._poll
            )

    @property
    def pids(self) -> tuple[int, ...]:
        """The numbers of the programs' processes. Any thread."""
        return () if self._processes is None else self._processes.pids

    @property
    def ready(self) -> bool:
        """Whether the init of all is over."""
        return self._api.ready

    def handle(self, request: Request) -> Answer | None:
        """Answer a call of the Extensions API; None when it is of another."""
        answer = self._api.handle(request)
        for wanted in self._api.subscriptions[len(self._senders) :]:
            self._senders.append(TelemetrySender(wanted))
            self.tell("platform.telemetrySubscription", subscribed(wanted))
        return answer

    def output(self, chunk: bytes, kind: str = "function") -> None:
        """Tell of what was written."""
        if self._senders:
            for line in self._lines[kind].cut(chunk):
                self.tell(kind, line)

    def tell(self, kind: str, record: object) -> None:
        """Tell subscribers of an event."""
        for sender in self._senders:
            sender.put(event(kind, record, time()))

    def answered(self, frame: Frame, memory: Callable[[], int | None]) -> None:
        """Tell of the answer to an event; `memory` looks how many bytes there were at the peak."""
        if self._senders and "request_id" in frame.header:
            self.tell("platform.runtimeDone", done(frame))
            self.tell("platform.report", report(frame, self._configuration, memory()))

    def runtime_is_ready(self) -> None:
        """Nobody in the handler's process may register any more."""
        self._api.closed = True

    def owns(self, fd: int) -> bool:
        """Whether a ready descriptor is for `serve`."""
        return self._processes is not None and self._processes.owns(fd)

    def serve(self, fd: int) -> None:
        """Take what an extension wrote."""
        assert self._processes is not None
        self._processes.serve(fd)

    def invoke(self, going: Event, server: ApiServer) -> None:
        """Tell of an event that goes to the handler."""
        tracing = {"type": "X-Amzn-Trace-Id", "value": going.trace_id}
        told = {
            "eventType": "INVOKE",
            "deadlineMs": int(going.deadline * 1000),
            "requestId": going.request_id,
            "invokedFunctionArn": going.invoked_function_arn,
            "tracing": tracing,
        }
        self.tell("platform.start", begun(going.request_id))
        self._announce(told, server)

    def shut_down(self, server: ApiServer, serve: Callable[[float], None]) -> None:
        """Tell of the end, and wait for the programs to leave, `serve`ing meanwhile."""
        if self._processes is not None:
            for sender in self._senders:
                sender.stop(wait=True)
            deadline = int((time() + SHUTDOWN_GRACE) * 1000)
            told = {"eventType": "SHUTDOWN", "shutdownReason": "spindown", "deadlineMs": deadline}
            self._announce(told, server)
            self._processes.wait(SHUTDOWN_GRACE, serve)

    def kill(self) -> None:
        """SIGKILL to all programs. Does not wait."""
        if self._processes is not None:
            self._processes.kill()

    def end(self) -> None:
        """Nothing of them is left. Idempotent."""
        for sender in self._senders:
            sender.stop(wait=False)
        if self._processes is not None:
            self._processes.end()

    def failure(self) -> Frame | None:
        """What a program that ended makes of the event in work; None while all live."""
        reason = None if self._processes is None else self._processes.crashed()
        return None if reason is None else self.failed("Extension.Crash", reason)

    def failed(self, error_type: str, reason: str) -> Frame:
        """What an extension that failed makes of the event in work, or of init: the environment ends with it."""
        request_id = self._log().request_id
        text = f"RequestId: {request_id} Error: {reason}"
        header = {"request_id": request_id, "error_type": error_type, "fatal": True}
        return Frame(header, compact(errorType=error_type, errorMessage=text))

    def _said(self, chunk: bytes) -> None:
        self._log().output(chunk)
        self.output(chunk, "extension")

    def _announce(self, told: Mapping[str, object], server: ApiServer) -> None:
        for due in self._api.announce(told):

            def waits(request: Request, identifier: str = due.identifier) -> bool:
                return request.path == NEXT and request.headers.get(IDENTIFIER) == identifier

            if server.answer_waiting(waits, due.reply):
                self._api.told(due.identifier)
