"""Extensions of a function whose handler gets its events over pipes: an address for their API, and their programs.

The environment's thread serves the address while it waits for the handler, as `ApiDialogue` does. An environment of a
function without extensions has a listening socket for it, and nothing else: no thread, and no work for an event.
"""

from __future__ import annotations

import select
from collections.abc import Callable, Mapping
from time import monotonic, time

from poller.model import FunctionConfiguration, Invocation
from poller.runtime.api_server import ApiServer
from poller.runtime.extension_host import ExtensionHost
from poller.runtime.frames import Frame
from poller.runtime.handler_log import HandlerLog
from poller.runtime.http_wire import Request
from poller.runtime.runtime_api import Answer, Event, RuntimeApi, State
from poller.runtime.telemetry_stream import Telemetry

_REFUSED = "events go to the handler's process over a pipe, and to no other (RuntimeClient: aws gives them out here)"


class ExtensionsBeside:
    """See `Beside` in `process`. Used on the environment's thread; `kill` is for any.

    Args:
        configuration: of the function.
        variables: of its processes, save the address.
        log: the log of the invocation in work.
        telemetry: whom to tell what happens.

    Raises:
        OSError: a program cannot be started, no ports or descriptors left. Nothing is left then.
    """

    def __init__(
        self,
        configuration: FunctionConfiguration,
        variables: Mapping[str, str],
        *,
        log: Callable[[], HandlerLog],
        telemetry: Telemetry,
    ) -> None:
        self._configuration = configuration
        self.poll = select.poll()
        self._runtime = RuntimeApi()
        self._host = ExtensionHost(configuration, log=log, poll=self.poll, telemetry=telemetry)
        self._server = ApiServer(self.poll, self._handle, lambda _: None, lambda _: None)
        self.variables = {**variables, "AWS_LAMBDA_RUNTIME_API": self._server.address}
        self._outcome: Frame | None = None
        self._awaited = self._initialized = False
        """Whether the process waits for the extensions; whether the init of all is over."""
        self._began = 0.0
        try:
            self._host.start(self.variables)
        except BaseException:
            self._server.close()
            raise

    @property
    def registered(self) -> bool:
        """Whether there are extensions, external or internal."""
        return self._host.registered

    @property
    def running(self) -> bool:
        """Whether there are programs that live on when the process has ended."""
        return self._host.running

    @property
    def pids(self) -> tuple[int, ...]:
        """The numbers of the programs' processes. Any thread."""
        return self._host.pids

    def owns(self, fd: int) -> bool:
        """Whether a ready descriptor is for `serve`."""
        return self._server.owns(fd) or self._host.owns(fd)

    def serve(self, fd: int) -> None:
        """Do what it is ready for."""
        if self._server.owns(fd):
            for outcome in self._server.serve(fd):
                self._outcome = outcome
        else:
            self._host.serve(fd)

    def outcome(self) -> Frame | None:
        """What an extension made of the event or of init by failing; or that what was awaited is here.

        Called whenever the process let itself be waited for: so whoever calls from within is answered, a bit later.
        """
        self._server.look()
        frame, self._outcome = self._outcome or self._host.failure(), None
        if frame is not None:
            kind = "error" if self._initialized else "init_error"
            return frame._replace(header={"type": kind, **frame.header, "seconds": monotonic() - self._began})
        if self._awaited and (self._host.idle if self._initialized else self._host.ready):
            self._awaited = False
            return Frame({"type": "ready"}, b"")
        return None

    def idle(self) -> bool:
        """Whether all extensions are done with the event before. Else `outcome` will tell."""
        self._began = monotonic()
        self._awaited = not self._host.idle
        return not self._awaited

    def runtime_is_ready(self) -> bool:
        """The process has imported its handler; whether the extensions are ready, too. Else `outcome` will tell."""
        self._runtime.state = State.READY
        self._host.runtime_is_ready()
        self._awaited = not self._host.ready
        return not self._awaited

    def init_is_over(self) -> None:
        """Of all."""
        self._initialized = True
        self._runtime.state = State.RUNNING  # served only while there is an event
        self._host.init_is_over()
        if not self._host.registered:
            self._server.rest()  # so that a poll has as little to do as if there were no server

    def invoke(self, invocation: Invocation, trace_id: str) -> None:
        """Tell of an event that went to the handler."""
        own = self._configuration.timeout
        event = Event(
            request_id=invocation.request_id,
            invocation_id="",
            payload=b"",
            deadline=time() + min(own, invocation.timeout_cap or own),
            invoked_function_arn=invocation.invoked_function_arn,
            trace_id=trace_id,
        )
        self._host.invoke(event, self._server)

    def answered(self, frame: Frame) -> None:
        """Take note of the answer to an event."""
        self._host.answered(frame)

    def leave(self, reason: str) -> None:
        """Tell of the end, wait up to 2 s, and let all go. The process's own descriptors have left the poll."""
        try:
            self._host.shut_down(reason, self._server)
        finally:
            self._server.close()

    def kill(self) -> None:
        """SIGKILL to all programs. Does not wait."""
        self._host.kill()

    def close(self) -> None:
        """Nothing is left, and nobody is told. Idempotent."""
        self._host.end()
        self._server.close()

    def _handle(self, request: Request) -> Answer:
        answer = self._host.handle(request)
        if answer is None:
            return self._runtime.refused(request, _REFUSED)
        if answer.outcome is None:
            return answer
        failed = answer.outcome.header
        return Answer(answer.reply, self._host.failed(failed["error_type"], failed["reason"]))
