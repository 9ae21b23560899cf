"""A function's extensions in one environment: their API, their programs, and what an event becomes when one fails."""

from __future__ import annotations

import math
import select
from collections.abc import Callable, Mapping
from time import monotonic, time

from poller.model import FunctionConfiguration
from poller.runtime.answers import compact
from poller.runtime.api_server import ApiServer
from poller.runtime.extension_processes import ExtensionProcesses, programs
from poller.runtime.extensions_api import IDENTIFIER, NEXT, ExtensionsApi
from poller.runtime.frames import Frame
from poller.runtime.handler_log import HandlerLog
from poller.runtime.http_wire import Request
from poller.runtime.runtime_api import Answer, Event
from poller.runtime.telemetry_stream import Telemetry

SHUTDOWN_GRACE = 2.0
"""Seconds from SHUTDOWN to SIGKILL where there are external extensions (E.3)."""
_FLUSH = 0.5
"""Seconds for the last telemetry before SHUTDOWN: an extension that ends with that could not take it any more."""


class ExtensionHost:
    """Used on the environment's thread; `kill` is for any.

    Args:
        configuration: of the function.
        log: the log of the invocation in work.
        poll: that of the environment's thread.
        telemetry: whom to tell what happens.
    """

    def __init__(
        self,
        configuration: FunctionConfiguration,
        *,
        log: Callable[[], HandlerLog],
        poll: select.poll,
        telemetry: Telemetry,
    ) -> None:
        self._configuration = configuration
        self._log = log
        self._poll = poll
        self._telemetry = telemetry
        self._paths = programs(configuration.layers)
        self._api = ExtensionsApi(configuration, [path.name for path in self._paths])
        self._processes: ExtensionProcesses | None = None
        self._subscribed = 0

    def start(self, variables: Mapping[str, str]) -> None:
        """Start the programs. Raises OSError: one cannot be started; none is left then."""
        if self._paths:
            self._processes = ExtensionProcesses(
                self._paths, folder=self._configuration.code, variables=variables, output=self._said, poll=self._poll
            )

    @property
    def pids(self) -> tuple[int, ...]:
        """The numbers of the programs' processes. Any thread."""
        processes = self._processes  # which its own thread may let go meanwhile
        return () if processes is None else processes.pids

    @property
    def ready(self) -> bool:
        """Whether the init of all is over."""
        return self._api.ready

    @property
    def idle(self) -> bool:
        """Whether all are done with the event before; until then the next one waits (E.3)."""
        return self._api.idle

    @property
    def registered(self) -> bool:
        """Whether there are any, external or internal."""
        return self._api.registered

    @property
    def running(self) -> bool:
        """Whether there are programs, which have to be told of the end: see `shut_down`."""
        return self._processes is not None

    def handle(self, request: Request) -> Answer | None:
        """Answer a call of the Extensions API; None when it is of another."""
        answer = self._api.handle(request)
        for wanted in self._api.subscriptions[self._subscribed :]:
            self._telemetry.subscribe(wanted)
        self._subscribed = len(self._api.subscriptions)
        states, self._api.states = self._api.states, []
        for state in states:
            self._telemetry.tell("platform.extension", state)
        return answer

    def answered(self, frame: Frame) -> None:
        """Take note of the answer to an event."""
        self._telemetry.produced = len(frame.payload)

    def runtime_is_ready(self) -> None:
        """Nobody in the handler's process may register any more."""
        self._api.closed = True

    def init_is_over(self) -> None:
        """Nobody may subscribe any more."""
        self._api.initialized = True

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
        self._announce(told, server)

    def shut_down(self, reason: str, server: ApiServer) -> None:
        """Tell of the end, wait for the programs to leave, and kill what is left. Blocks for 2 s at most; idempotent.

        Nothing but the programs and the server may be in the poll any more. Programs that did not register for
        SHUTDOWN are killed at once, as on Lambda.

        Args:
            reason: `spindown`, `timeout` or `failure`.
            server: what they are told by.
        """
        deadline = monotonic() + SHUTDOWN_GRACE
        self._telemetry.close(_FLUSH)
        if self._processes is not None:
            self._processes.kill(but=self._api.stays_until_told)
            epoch = int((time() + deadline - monotonic()) * 1000)
            self._announce({"eventType": "SHUTDOWN", "shutdownReason": reason, "deadlineMs": epoch}, server)
            self._processes.wait(deadline, lambda seconds: self._serve_all(seconds, server))
        self.end()

    def kill(self) -> None:
        """SIGKILL to all programs. Does not wait."""
        processes = self._processes
        if processes is not None:
            processes.kill()

    def end(self) -> None:
        """Nothing of them is left. Idempotent."""
        self._telemetry.close(0.0)
        if self._processes is not None:
            self._processes.end()
            self._processes = None

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

    def _serve_all(self, seconds: float, server: ApiServer) -> None:
        for fd, _ in self._poll.poll(math.ceil(seconds * 1000)):
            if server.owns(fd):
                server.serve(fd)
            elif self.owns(fd):
                self.serve(fd)

    def _said(self, chunk: bytes) -> None:
        self._log().output(chunk)
        self._telemetry.output(chunk, "extension")

    def _announce(self, told: Mapping[str, object], server: ApiServer) -> None:
        for due in self._api.announce(told):

            def waits(request: Request, identifier: str = due.identifier) -> bool:
                return request.path == NEXT and request.headers.get(IDENTIFIER) == identifier

            if server.answer_waiting(waits, due.reply):
                self._api.told(due.identifier)
