"""A process that asks for its events over Lambda's Runtime API (E.1), and what it answers.

The environment's thread serves the API itself, while it waits for an answer: nothing changes threads on the way of an
event. Between two invocations nobody is answered. That is no loss: a runtime then waits for its next event.
"""

from __future__ import annotations

import math
import os
import secrets
import select
import signal
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic, time

from poller.model import FunctionConfiguration, Invocation, ResponseStream
from poller.runtime.api_server import ApiServer
from poller.runtime.extension_host import ExtensionHost
from poller.runtime.file_descriptors import limit_file_descriptors
from poller.runtime.frames import Frame
from poller.runtime.handler_log import HandlerLog
from poller.runtime.http_wire import Request
from poller.runtime.output import Output
from poller.runtime.process_events import ProcessEvents
from poller.runtime.process_group import ProcessExited, ProcessGroup
from poller.runtime.runtime_api import VERSION, Answer, Event, RuntimeApi
from poller.runtime.telemetry_stream import Telemetry
from poller.runtime.variables import trace_id

NEXT = f"{VERSION}/runtime/invocation/next"

_LOOK = 0.1
"""Seconds between looks whether the process lives, where the kernel does not tell; and the programs of extensions."""


class ApiDialogue:
    """See `Dialogue`. Events are not laid ahead: a runtime asks for each."""

    logs_errors = True
    pipe = None
    has_room = False

    def __init__(
        self,
        configuration: FunctionConfiguration,
        command: Sequence[str],
        *,
        variables: Mapping[str, str],
        log: Callable[[], HandlerLog],
        telemetry: Telemetry,
        wake: int,
    ) -> None:
        """Start it; blocks for the start of a program, some milliseconds.

        Args:
            configuration: of the function.
            command: what to run.
            variables: its whole environment, save the address of the API.
            log: the log of the invocation in work.
            telemetry: whom to tell what happens.
            wake: a descriptor that ends a waiting `answer` for a moment when it becomes readable.

        Raises:
            OSError: no such program or folder, no processes, descriptors or ports left.
        """
        self._configuration = configuration
        self._events = ProcessEvents(log, telemetry)
        self._poll = select.poll()
        self._api = RuntimeApi()
        self._stream: ResponseStream | None = None
        """Of the event in work."""
        self._held: Event | None = None
        """Waits for extensions."""
        self._frames: deque[Frame] = deque()
        self._began = 0.0
        self._wake = wake
        self._closed = self._ended = False
        self._extensions = ExtensionHost(configuration, log=log, poll=self._poll, telemetry=telemetry)
        self._server = ApiServer(self._poll, self._handle, self._api.gave_up, self._stream_of)
        try:
            complete = {**variables, "AWS_LAMBDA_RUNTIME_API": self._server.address}
            self._extensions.start(complete)
            self._group = self._start(command, complete)
        except BaseException:
            self._extensions.end()
            self._server.close()
            raise
        self._watch(wake)
        self._output_watched = False
        self._exit = _exit_of(self._group.pid)
        if self._exit is not None:
            self._watch(self._exit)

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._group.pid

    @property
    def pids(self) -> tuple[int, ...]:
        """The numbers of the process and of the extensions."""
        return (self._group.pid, *self._extensions.pids)

    def initialized(self, deadline: float) -> Frame:
        """Wait for the first call for an event of the runtime and of each extension, or for an error."""
        frame = self._wait(deadline, None)
        while frame.header["type"] == "ready" and not self._extensions.ready and not self._frames:
            left = deadline - monotonic()  # once: a wait for a time below zero has no end
            if left <= 0:
                raise TimeoutError
            self._serve(min(_LOOK, left))
            self._look_at_extensions()
            if self._group.exited():
                raise ProcessExited(self.close(), undelivered=True)
        self._extensions.init_is_over()
        return self._answered(self._frames.popleft()) if self._frames else frame

    def lay(self, invocation: Invocation) -> Callable[[], bool]:  # noqa: ARG002 - as the protocol has it
        """Not called, as there never is room: one call of the API waits for one event."""
        raise AssertionError("laid an event where has_room is false")

    def prepare(self, invocation: Invocation) -> None:
        """See `Dialogue`."""
        bytes(invocation.payload)

    def begin(self, invocation: Invocation) -> float:
        """Give the event to the call that waits for one, or to the next."""
        self._serve(0)  # what came meanwhile: its call for this event, or that it hung up
        own = self._configuration.timeout
        limit = min(own, invocation.timeout_cap or own)
        event = Event(
            request_id=invocation.request_id,
            invocation_id=secrets.token_hex(16),
            payload=bytes(invocation.payload) or b"{}",  # A.1: an empty payload is legal
            deadline=time() + limit,
            invoked_function_arn=invocation.invoked_function_arn,
            trace_id=trace_id(),
            client_context=invocation.client_context,
            streamed=invocation.response_stream is not None,
        )
        self._stream = invocation.response_stream
        self._began = monotonic()
        self._ended = self._group.exited()
        self._held = event
        if not self._ended:  # else its last call may still lie here, and nobody would read the answer
            self._offer()
        return self._began

    def _offer(self) -> None:
        """Give the event to the runtime and to extensions, if those are done with the one before (E.3)."""
        event = self._held
        if event is None or not self._extensions.idle:
            return
        self._held = None
        self._api.offer(event, asked=self._server.waits(NEXT))
        self._extensions.invoke(event, self._server)
        if self._server.waits(NEXT) and (reply := self._api.deliver()) is not None:
            self._server.answer_waiting(lambda call: call.path == NEXT, reply)

    def answer(self, invocation: Invocation, deadline: float, on_wake: Callable[[], None]) -> Frame:  # noqa: ARG002
        """Wait for the answer to the event in work."""
        return self._wait(deadline, on_wake)

    def was_begun(self, invocation: Invocation, *, undelivered: bool) -> bool:  # noqa: ARG002
        """Whether the event went out."""
        return not undelivered

    @property
    def alive(self) -> bool:
        """Whether the process has not ended."""
        return not self._group.exited()

    def signal(self, number: int) -> None:
        """A signal to the process group."""
        self._group.signal(number)

    def kill(self) -> None:
        """SIGKILL to the process group."""
        self._group.kill()
        self._extensions.kill()

    def close(self, grace: float = 0.0) -> int:
        """SIGTERM and `grace` seconds to leave, then SIGKILL to the process group. Extensions live on until `leave`."""
        if not self._closed:
            self._closed = True
            if grace > 0 and not self._group.exited():
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(self._group.pid, signal.SIGTERM)
                self._group.wait_for_exit(monotonic() + grace)
            for fd in (self._wake, self._exit, self._group.output.fd if self._output_watched else None):
                if fd is not None:
                    self._poll.unregister(fd)
            try:
                self._group.end(leftovers=not self._extensions.running)
            finally:
                if self._exit is not None:
                    os.close(self._exit)
                if not self._extensions.running:
                    self._server.close()
        return self._group.returncode

    @property
    def extended(self) -> bool:
        """Whether there are programs of extensions."""
        return self._extensions.running

    def leave(self, reason: str) -> None:
        """Tell the extensions of the end, and let all go."""
        try:
            self._extensions.shut_down(reason, self._server)
        finally:
            self._server.close()

    def peak_memory(self) -> int | None:
        """Bytes at the peak."""
        return self._group.peak_memory()

    def _start(self, command: Sequence[str], variables: Mapping[str, str]) -> ProcessGroup:
        output_fd, output_end = os.pipe()
        try:
            os.set_blocking(output_fd, False)
            output = Output(output_fd, self._events.take)
            folder = Path(self._configuration.code)
            group = ProcessGroup(command, folder=folder, variables=variables, output=output, output_end=output_end)
        except BaseException:
            os.close(output_fd)
            raise
        finally:
            os.close(output_end)
        limit_file_descriptors(group.pid)
        return group

    def _wait(self, deadline: float, on_wake: Callable[[], None] | None) -> Frame:
        if self._ended:
            raise ProcessExited(self.close(), undelivered=True)
        while True:
            left = max(0.0, deadline - monotonic())
            if not self._frames:
                self._serve(left, on_wake)
                self._offer()
                self._look_at_extensions()
            if self._frames:
                return self._answered(self._frames.popleft())
            if self._group.exited():
                # A client may have written and gone in one breath: what lies in its connection is more than one read.
                while self._serve(0, on_wake) and not self._frames and monotonic() < deadline:
                    pass
                if not self._frames:
                    undelivered = self._held is not None or self._api.undelivered or self._server.unsent
                    raise ProcessExited(self.close(), undelivered=undelivered)
            elif left <= 0:
                raise TimeoutError

    def _handle(self, request: Request) -> Answer:
        answer = self._extensions.handle(request) or self._api.handle(request)
        outcome = answer.outcome
        if outcome is None or outcome.header["type"] not in {"ready", "extension"}:
            return answer
        if outcome.header["type"] == "ready":
            self._extensions.runtime_is_ready()
            return answer
        return Answer(answer.reply, self._extensions.failed(outcome.header["error_type"], outcome.header["reason"]))

    def _stream_of(self, request: Request) -> ResponseStream | None:
        if self._stream is None or not self._api.begins_stream(request):
            return None
        self._stream.begin(request.headers.get("content-type", ""))
        return self._stream

    def _look_at_extensions(self) -> None:
        failure = None if self._frames else self._extensions.failure()
        if failure is not None:
            self._frames.append(failure)

    def _answered(self, frame: Frame) -> Frame:
        self._group.output.drain()  # what it wrote before it answered
        kind = "error" if self._began else "init_error"
        answered = frame._replace(header={"type": kind, **frame.header, "seconds": monotonic() - self._began})
        self._extensions.answered(answered)
        return answered

    def _serve(self, seconds: float, on_wake: Callable[[], None] | None = None) -> bool:
        """Wait for something to do, and do it. Until an answer is there, output first.

        Returns:
            Whether clients of the API had something to say.
        """
        output = self._group.output
        if output.wanted != self._output_watched:
            self._output_watched = output.wanted
            if self._output_watched:
                self._watch(output.fd)
            else:
                self._poll.unregister(output.fd)
        told = self._exit is not None and not self._extensions.running and not self._server.deferred
        wait = seconds if told else min(seconds, _LOOK)
        ready = [fd for fd, _ in self._poll.poll(math.ceil(wait * 1000))]
        if output.fd in ready:
            output.read()
        said = False
        for fd in ready:
            if self._server.owns(fd):
                said = True
                self._frames.extend(self._server.serve(fd))
            elif self._extensions.owns(fd):
                self._extensions.serve(fd)
            elif fd == self._wake:
                if on_wake is None:
                    os.read(fd, 4096)  # what comes next looks anyway, and left there it would end every wait
                else:
                    on_wake()
        self._server.resume()
        return said

    def _watch(self, fd: int) -> None:
        self._poll.register(fd, select.POLLIN)


def _exit_of(pid: int) -> int | None:
    """A descriptor that becomes readable when the process ends; None where there are none such."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None
