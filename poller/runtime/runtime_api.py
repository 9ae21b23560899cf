"""Lambda's Runtime API (E.1): which call is allowed when, what it answers, and what it means. Pure.

A runtime asks for an event, answers it, asks for the next one. What it may do then is a table:

    state           next            response, error   init/error   restore/next   restore/error
    Started         Ready           -                 InitError    Restoring      -
    Restoring       Ready           -                 -            -              RestoreError
    Ready           Ready           -                 -            -              -
    Running         Running *       ResponseSent      -            -              -
    ResponseSent    Ready           -                 -            -              -
    InitError       -               -                 -            -              -
    RestoreError    -               -                 -            -              -

    *  the same event again    -  403 InvalidStateTransition

Ready becomes Running when an event is there: a call for one waits until then. A response to another event than the one
in work is 400, whatever the state.
"""

from __future__ import annotations

import base64
import binascii
import re
from enum import Enum
from typing import NamedTuple

from poller.model import MAXIMUM_RESPONSE
from poller.runtime.answers import compact
from poller.runtime.frames import Frame
from poller.runtime.http_wire import RESPONSE_MODE, Reply, Request

VERSION = "/2018-06-01"
TOO_LARGE = "Function.ResponseSizeTooLarge"
MAXIMUM_STREAM = 200 * 1024 * 1024
"""Bytes of a streamed response (A.1)."""

ERROR_TYPE = "lambda-runtime-function-error-type"
ERROR_BODY = "lambda-runtime-function-error-body"
INVOCATION_ID = "lambda-runtime-invocation-id"
JSON = (("Content-Type", "application/json"),)
ACCEPTED = Reply(202, JSON, b'{"status":"OK"}\n')


class State(Enum):
    """Of a runtime; the values are AWS's names."""

    STARTED = "Started"
    INIT_ERROR = "InitError"
    READY = "Ready"
    RUNNING = "Running"
    RESTORING = "Restoring"
    RESPONSE_SENT = "RuntimeResponseSentState"
    RESTORE_ERROR = "RuntimeRestoreErrorState"


class Call(Enum):
    """What a runtime asks for; the values are AWS's names of the state that it leads to."""

    NEXT = "Ready"
    RESPONSE = "InvocationResponse"
    ERROR = "InvocationErrorResponse"
    INIT_ERROR = "InitError"
    RESTORE_NEXT = "RestoreReady"
    RESTORE_ERROR = "RuntimeRestoreErrorState"


TRANSITIONS = {
    (State.STARTED, Call.NEXT): State.READY,
    (State.STARTED, Call.INIT_ERROR): State.INIT_ERROR,
    (State.STARTED, Call.RESTORE_NEXT): State.RESTORING,
    (State.RESTORING, Call.NEXT): State.READY,
    (State.RESTORING, Call.RESTORE_ERROR): State.RESTORE_ERROR,
    (State.READY, Call.NEXT): State.READY,
    (State.RUNNING, Call.NEXT): State.RUNNING,
    (State.RUNNING, Call.RESPONSE): State.RESPONSE_SENT,
    (State.RUNNING, Call.ERROR): State.RESPONSE_SENT,
    (State.RESPONSE_SENT, Call.NEXT): State.READY,
}

_CALLS = {
    "/runtime/invocation/next": ("GET", Call.NEXT),
    "/runtime/init/error": ("POST", Call.INIT_ERROR),
    "/runtime/restore/next": ("GET", Call.RESTORE_NEXT),
    "/runtime/restore/error": ("POST", Call.RESTORE_ERROR),
}
_OF_AN_INVOCATION = re.compile(r"/runtime/invocation/([^/]+)/(response|error)")


class Event(NamedTuple):
    """One event as `next` gives it."""

    request_id: str
    invocation_id: str
    payload: bytes
    deadline: float
    """Seconds since the epoch."""
    invoked_function_arn: str
    trace_id: str
    client_context: str | None = None
    cognito_identity: str | None = None
    streamed: bool = False
    """Whether the caller takes a stream, which may be longer than a response."""

    def reply(self) -> Reply:
        """The answer to `next`."""
        headers = [
            ("Content-Type", "application/json"),
            ("Lambda-Runtime-Aws-Request-Id", self.request_id),
            ("Lambda-Runtime-Deadline-Ms", str(int(self.deadline * 1000))),
            ("Lambda-Runtime-Invoked-Function-Arn", self.invoked_function_arn),
            ("Lambda-Runtime-Trace-Id", self.trace_id),
            ("Lambda-Runtime-Invocation-Id", self.invocation_id),
        ]
        if self.client_context:
            headers.append(("Lambda-Runtime-Client-Context", in_a_header(self.client_context)))
        if self.cognito_identity:
            headers.append(("Lambda-Runtime-Cognito-Identity", in_a_header(self.cognito_identity)))
        return Reply(200, tuple(headers), self.payload)


class Answer(NamedTuple):
    """What becomes of a call."""

    reply: Reply | None
    """None: it waits for the next event."""
    outcome: Frame | None = None
    """What it means for the environment: `ready`, `init_error`, `response` or `error`."""


class RuntimeApi:
    """The state of one runtime. Used on the environment's thread."""

    def __init__(self) -> None:
        self.state = State.STARTED
        self._event: Event | None = None
        """The one in work, or the last one."""
        self._offered: Event | None = None
        """The one that nobody asked for yet."""
        self._streaming = False
        """Whether a response to the event in work goes to its caller while it comes: there can be no other."""

    @property
    def undelivered(self) -> bool:
        """Whether there is an event that nobody asked for yet."""
        return self._offered is not None

    def offer(self, event: Event, *, asked: bool) -> None:
        """The next event is there; `asked` when a call for one waits."""
        self._offered = event
        if asked and self.state is State.RESPONSE_SENT:  # it asked twice before
            self.state = State.READY

    def deliver(self) -> Reply | None:
        """The event for a call that waits; None when there is none, or the runtime has not asked."""
        if self.state is not State.READY or self._offered is None:
            return None
        self.state, self._event, self._offered = State.RUNNING, self._offered, None
        self._streaming = False
        return self._event.reply()

    def handle(self, request: Request) -> Answer:
        """Answer a call. Of a response that is too large only the size has to be right."""
        path = request.path.removeprefix(VERSION)
        if path == request.path:
            return Answer(not_found())
        if path == "/ping":
            return Answer(Reply(200, (("Content-Type", "text/plain"),), b"pong"))
        answered = _OF_AN_INVOCATION.fullmatch(path)
        if answered is not None:
            method, call = "POST", Call.RESPONSE if answered[2] == "response" else Call.ERROR
        elif path in _CALLS:
            method, call = _CALLS[path]
        else:
            return Answer(not_found())
        if request.method != method:
            return Answer(Reply(405, (("Allow", method),)))
        if answered is not None and (refused := self._no_such_invocation(request, answered[1])) is not None:
            return Answer(refused)
        return self._allowed(call, request)

    def refused(self, request: Request, reason: str) -> Answer:
        """Answer a call where no runtime may call at all, as one that the state does not allow; `reason` says why."""
        path = request.path.removeprefix(VERSION)
        answered = _OF_AN_INVOCATION.fullmatch(path)
        if path == request.path or (answered is None and path not in _CALLS):
            return self.handle(request)
        method, call = _CALLS.get(path, ("POST", Call.ERROR))
        if answered is not None and answered[2] == "response":
            call = Call.RESPONSE
        if request.method != method:
            return self.handle(request)
        return Answer(_not_allowed(self.state, call, reason))

    def begins_stream(self, request: Request) -> bool:
        """Whether a request, of which only the head is here, is a response that goes to its caller while it comes."""
        answered = _OF_AN_INVOCATION.fullmatch(request.path.removeprefix(VERSION))
        event = self._event
        if answered is None or answered[2] != "response" or event is None or not event.streamed:
            return False
        if request.method != "POST" or request.headers.get(RESPONSE_MODE) != "streaming":
            return False
        if self.state is not State.RUNNING or self._streaming or not request.path.startswith(VERSION):
            return False
        self._streaming = self._no_such_invocation(request, answered[1]) is None
        return self._streaming

    def gave_up(self, request: Request) -> Frame | None:
        """The client hung up in the middle of this request: what that means."""
        answered = _OF_AN_INVOCATION.fullmatch(request.path.removeprefix(VERSION))
        if answered is None or answered[2] != "response" or self._no_such_invocation(request, answered[1]) is not None:
            return None
        if self.state is not State.RUNNING or (self._streaming and not request.streamed):
            return None
        self.state = State.RESPONSE_SENT
        text = f"RequestId: {answered[1]} Error: The runtime hung up in the middle of its response"
        error_type = "Runtime.TruncatedResponse"
        return self._error(error_type, compact(errorType=error_type, errorMessage=text))

    def _no_such_invocation(self, request: Request, request_id: str) -> Reply | None:
        event = self._event
        if event is None or event.request_id != request_id:
            return refusal(400, "InvalidRequestID", "Invalid request ID")
        if request.headers.get(INVOCATION_ID, event.invocation_id) != event.invocation_id:
            return refusal(400, "InvalidInvocationId", "Invalid invocation ID")
        return None

    def _allowed(self, call: Call, request: Request) -> Answer:
        before = self.state
        after = TRANSITIONS.get((before, call))
        second = self._streaming and not request.streamed and call in {Call.RESPONSE, Call.ERROR}
        if after is None or second:
            return Answer(_not_allowed(before, call, "State transition is not allowed"))
        self.state = after
        return self._done(call, request, before)

    def _done(self, call: Call, request: Request, before: State) -> Answer:
        match call:
            case Call.NEXT:
                return self._next(before)
            case Call.RESTORE_NEXT:  # nothing is frozen here, so nothing is waited for
                return Answer(Reply(200, ()))
            case Call.INIT_ERROR | Call.RESTORE_ERROR:
                return Answer(ACCEPTED, _init_error(request))
            case Call.ERROR if request.size <= MAXIMUM_RESPONSE:
                return Answer(ACCEPTED, self._error(request.headers.get(ERROR_TYPE, ""), request.body))
            case Call.ERROR:
                return self._too_large(MAXIMUM_RESPONSE)
            case Call.RESPONSE:
                return self._response(request)

    def _next(self, before: State) -> Answer:
        ready = Frame({"type": "ready"}, b"") if before in {State.STARTED, State.RESTORING} else None
        if before is State.RUNNING:
            assert self._event is not None
            return Answer(self._event.reply())
        return Answer(self.deliver(), ready)

    def _response(self, request: Request) -> Answer:
        mode = request.headers.get(RESPONSE_MODE)
        if mode not in {None, "streaming"}:
            reply = refusal(400, "InvalidFunctionResponseMode", "Invalid function response mode")
            return Answer(reply, self._error("Runtime.InvalidResponseModeHeader", b""))
        assert self._event is not None
        limit = MAXIMUM_STREAM if mode and self._event.streamed else MAXIMUM_RESPONSE
        if request.size > limit:
            return self._too_large(limit)
        if ERROR_TYPE in request.trailers:  # it failed in the middle of its stream
            return Answer(ACCEPTED, self._error(request.trailers[ERROR_TYPE], _error_body(request)))
        header = {
            "type": "response",
            "request_id": self._event.request_id,
            "streamed": mode is not None,
            "content_type": request.headers.get("content-type", ""),
        }
        return Answer(ACCEPTED, Frame(header, request.body))

    def _too_large(self, limit: int) -> Answer:
        text = f"Exceeded maximum allowed payload size ({limit} bytes)."
        reply = refusal(413, "RequestEntityTooLarge", text)
        return Answer(reply, self._error(TOO_LARGE, _told_too_large(limit)))

    def _error(self, error_type: str, payload: bytes) -> Frame:
        assert self._event is not None
        header = {"type": "error", "request_id": self._event.request_id, "error_type": valid_error_type(error_type)}
        return Frame(header, payload)


def valid_error_type(name: str) -> str:
    """An error type as it is reported: one that does not match AWS's pattern is unknown (E.1)."""
    if re.fullmatch(r"(Runtime|Function)\.[A-Z][a-zA-Z]+", name):
        return name
    return "Runtime.Unknown" if name.startswith("Runtime.") else "Function.Unknown"


def _not_allowed(state: State, call: Call, reason: str) -> Reply:
    text = f"State transition from {state.value} to {call.value} failed for runtime. Error: {reason}"
    return refusal(403, "InvalidStateTransition", text)


def refusal(status: int, error_type: str, text: str) -> Reply:
    """An answer in AWS's form of an error."""
    return Reply(status, JSON, compact(errorMessage=text, errorType=error_type) + b"\n")


def not_found() -> Reply:
    """No such path."""
    return Reply(404, (("Content-Type", "text/plain; charset=utf-8"),), b"404 page not found\n")


def in_a_header(text: str) -> str:
    """JSON text as it may stand in a header: one line of ASCII.

    Other letters stand in strings only, where escapes mean the same, and line ends only where a space does as well.
    """
    return re.sub(r"[^ -~]", lambda letter: " " if letter[0] in "\t\n\r" else _escaped(letter[0]), text)


def _escaped(letter: str) -> str:
    units = letter.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[start : start + 4]}" for start in range(0, len(units), 4))


def _init_error(request: Request) -> Frame:
    """There is no 413 for it (E.1)."""
    if request.size > MAXIMUM_RESPONSE:
        return Frame({"type": "init_error", "error_type": TOO_LARGE}, _told_too_large(MAXIMUM_RESPONSE))
    error_type = valid_error_type(request.headers.get(ERROR_TYPE, ""))
    return Frame({"type": "init_error", "error_type": error_type}, request.body)


def _told_too_large(limit: int) -> bytes:
    text = f"Response payload size exceeded maximum allowed payload size ({limit} bytes)."
    return compact(errorMessage=text, errorType=TOO_LARGE)


def _error_body(request: Request) -> bytes:
    try:
        return base64.b64decode(request.trailers.get(ERROR_BODY, ""), validate=True)
    except (binascii.Error, ValueError):
        return b""
