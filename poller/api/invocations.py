"""Invoke, InvokeWithResponseStream and InvokeAsync over HTTP (A.1 to A.4).

All runs on the loop's thread, which waits for nobody: the pool of the function calls back when there is an answer, so
a request that waits costs a future, no thread. A client that goes away does not end its invocation, as on Lambda.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from starlette.concurrency import run_in_threadpool

from poller.api import response_events
from poller.api.call import JSON, Answer, Call, Head, Headers, refused
from poller.api.results import Expected, Results
from poller.api.streamed_response import StreamedResponse
from poller.api_errors import ApiError, invalid_parameter
from poller.errors import PollerError
from poller.invocation_request import (
    INVOCATION_TYPES,
    LOG_TYPES,
    MAXIMUM_ASYNCHRONOUS_PAYLOAD,
    MAXIMUM_INVOKE_ASYNC_PAYLOAD,
    STREAMED_TYPES,
    CalledFunction,
    called_function,
    chosen,
    client_context,
    function_missing,
    too_large,
)
from poller.invoker import no_json, why_no_json
from poller.model import MAXIMUM_PAYLOAD, Invocation, InvocationResult
from poller.runtime.answers import throttled
from poller.runtime.late_answers import OnResult

RETRY_AFTER = (b"retry-after", b"1")
"""Seconds after which a throttled client may try again; AWS's value is unverified."""

READ_HERE = 128 * 1024
"""Bytes of a payload that are looked at before the function gets it (A.3). Reading 6 MB of JSON takes 300 ms in which
nobody else is answered; the function's process reads it anyway, and says when it is none."""

LONGEST_REASON = 4096
"""Bytes of an error object in which the function's process says that it could not read its event: it is short."""

_REFUSED = {
    b"x-amz-tenant-id": "X-Amz-Tenant-Id cannot be given: functions have no tenant isolation here.",
    b"x-amz-durable-execution-name": "X-Amz-Durable-Execution-Name cannot be given: no function is durable here.",
}
"""Headers that would change what an invocation means."""

_PLACE = re.compile(r"(.*): line (\d+) column (\d+) \(char \d+\)", re.DOTALL)
"""In the text of Python's JSONDecodeError."""
_ERRORS = {413: b"RequestTooLargeException", 429: b"TooManyRequestsException"}


class Pool(Protocol):
    """What runs a function, or a version or alias of it."""

    def submit(self, invocation: Invocation, on_result: OnResult, *, wait: bool) -> None:
        """As `runtime.pool.FunctionPool`."""


class Functions(Protocol):
    """The functions of an account."""

    account_id: str
    region: str

    def pool(self, function_name: str, qualifier: str) -> Pool | None:
        """The environments of a function, a version or an alias; None when there is none.

        Raises:
            ApiError: 409, it cannot run.
        """

    def at_account_limit(self, function_name: str, qualifier: str) -> bool:
        """Whether the account's concurrency leaves nothing to this function, version or alias now (A.2)."""


class AsynchronousQueue(Protocol):
    """Takes events for `Event` (B.1)."""

    def accept(self, function_name: str, qualifier: str, payload: bytes) -> str:
        """Take an event and return its request id, once it is durable. On any thread; may block that long.

        Args:
            function_name: of a function that exists.
            qualifier: as the call gave it; empty when it gave none.
            payload: JSON of at most 1 MB, or nothing.

        Raises:
            PollerError: it is not durable, and so not accepted.
        """


@dataclass(frozen=True, slots=True)
class Asked:
    """What a call wants of which function."""

    called: CalledFunction
    pool: Pool
    kind: str
    context: str | None
    tail: bool


class Invocations:
    """The three operations on the functions of an account. For the loop's thread only."""

    def __init__(self, functions: Functions, queue: AsynchronousQueue) -> None:
        self._functions = functions
        self._queue = queue
        self._results = Results()

    async def invoke(self, call: Call, function_name: str) -> None:
        """Invoke."""
        asked = self.asked(call, function_name)
        if asked.kind == "Event":
            await self._queue_event(call, asked.called)  # the context is for synchronous invocations only (A.1)
            return
        payload = await self._payload(call, asked)
        if payload is None:
            return
        answered, on_result = self._results.expect()
        self._submit(call, asked, payload, on_result)
        await call.answer(*_answer(asked, payload, await answered))

    def asked(self, head: Head, function_name: str, types: Sequence[str] = INVOCATION_TYPES) -> Asked:
        """What a call wants.

        Raises:
            ApiError: 400 or 404.
        """
        called, pool = self._called(head, function_name)
        kind = chosen(head.header(b"x-amz-invocation-type"), "invocationType", types, "RequestResponse")
        tail = chosen(head.header(b"x-amz-log-type"), "logType", LOG_TYPES, "None") == "Tail"
        context = client_context(head.header(b"x-amz-client-context"))
        return Asked(called, pool, kind, context, tail=tail)

    def invoke_soon(self, head: Head, asked: Asked, payload: bytes, answer: Callable[[Answer], None]) -> None:
        """Invoke synchronously, for who waits for nothing: the answer comes on the loop's thread, after this returns.

        Raises:
            ApiError: 400, the payload is no JSON.
        """

        def take(result: InvocationResult) -> None:
            try:
                answer(_answer(asked, payload, result))
            except ApiError as error:
                answer(refused(error))

        self._submit(head, asked, payload, self._results.handing(take))

    async def invoke_with_response_stream(self, call: Call, function_name: str) -> None:
        """InvokeWithResponseStream: what the function streams as it comes, and what it returns when it has returned.

        Raises:
            ConnectionError: the client takes nothing any more.
        """
        asked = self.asked(call, function_name, STREAMED_TYPES)
        payload = await self._payload(call, asked)
        if payload is None:
            return
        answered, on_result = self._results.expect()
        response = StreamedResponse(answered)
        self._submit(call, asked, payload, on_result, response)
        try:
            if await response.begun():
                headers = response_events.headers(response.version)
                await call.answer_in_pieces(200, headers, response_events.coming(response, tail=asked.tail))
                return
        finally:
            response.leave()
        result = await answered
        if (refusal := _refusal(payload, result)) is not None:
            await call.answer(*refusal)
            return
        headers = response_events.headers(result.executed_version)
        await call.answer(200, headers, response_events.whole(result, tail=asked.tail))

    async def invoke_async(self, call: Call, function_name: str) -> None:
        """InvokeAsync, deprecated: `Event` by another path."""
        called, _ = self._called(call, function_name)
        limit = MAXIMUM_INVOKE_ASYNC_PAYLOAD
        await self._queue_event(call, called, limit=limit, headers=[JSON], answer=b'{"Status":202}')

    async def _payload(self, call: Call, asked: Asked) -> bytes | None:
        """The event; None when the call is answered already: a dry run."""
        payload = await call.body(MAXIMUM_PAYLOAD, lambda size: too_large(size, asked.kind, MAXIMUM_PAYLOAD))
        if asked.kind == "DryRun":
            await call.answer(204, (), b"")
            return None
        return payload

    def _called(self, head: Head, function_name: str) -> tuple[CalledFunction, Pool]:
        for header, text in _REFUSED.items():
            if header in head.headers:
                raise invalid_parameter(text)
        functions = self._functions
        called = called_function(
            function_name, head.parameter("Qualifier"), account_id=functions.account_id, region=functions.region
        )
        pool = functions.pool(called.name, called.qualifier)
        if pool is None:
            raise function_missing(called)
        return called, pool

    def _submit(
        self,
        head: Head,
        asked: Asked,
        payload: bytes,
        on_result: Expected,
        response: StreamedResponse | None = None,
    ) -> None:
        called = asked.called
        if len(payload) <= READ_HERE:
            _refuse_no_json(payload)
        if self._functions.at_account_limit(called.name, called.qualifier):
            on_result(throttled(head.request_id, "ConcurrentInvocationLimitExceeded"))
            return
        invocation = Invocation(
            head.request_id,
            payload,
            called.arn,
            client_context=asked.context,
            response_stream=response,
            driver=on_result.drive() if response is None else None,
        )
        asked.pool.submit(invocation, on_result, wait=False)

    async def _queue_event(
        self,
        call: Call,
        called: CalledFunction,
        *,
        limit: int = MAXIMUM_ASYNCHRONOUS_PAYLOAD,
        headers: Headers = (),
        answer: bytes = b"",
    ) -> None:
        payload = await call.body(limit, lambda size: too_large(size, "Event", limit))
        _refuse_no_json(payload)
        try:
            call.request_id = await run_in_threadpool(self._queue.accept, called.name, called.qualifier, payload)
        except ApiError:
            raise
        except PollerError as error:  # the disk is full, say
            raise ApiError(500, "ServiceException", f"The event was not accepted: {error}") from None
        await call.answer(202, headers, answer)


def _answer(asked: Asked, payload: bytes, result: InvocationResult) -> Answer:
    """What Invoke answers. Raises ApiError: 400, the function's process found that the payload is no JSON."""
    if (refusal := _refusal(payload, result)) is not None:
        return refusal
    headers = [JSON, (b"x-amz-executed-version", result.executed_version.encode())]
    if result.function_error is not None:
        headers.append((b"x-amz-function-error", result.function_error.encode()))
    if asked.tail:
        headers.append((b"x-amz-log-result", base64.b64encode(result.log_tail)))
    return 200, headers, result.payload


def _refusal(payload: bytes, result: InvocationResult) -> Answer | None:
    """The answer where the function was not run: its body, A.3's, is in the result. Raises as `_answer`."""
    if result.function_error is not None and len(payload) > READ_HERE:
        _refuse_unread(result)
    if result.status == 200:  # noqa: PLR2004
        return None
    headers = [JSON, (b"x-amzn-errortype", _ERRORS.get(result.status, b"ServiceException"))]
    if result.status == 429:  # noqa: PLR2004
        headers.append(RETRY_AFTER)
    return result.status, headers, result.payload


def _refuse_no_json(payload: bytes) -> None:
    reason = why_no_json(payload)
    if reason is not None:
        raise ApiError(400, "InvalidRequestContentException", reason)


def _refuse_unread(result: InvocationResult) -> None:
    """A large payload that the function's process could not read is the caller's fault, not the function's."""
    if len(result.payload) > LONGEST_REASON:
        return
    try:
        error = json.loads(result.payload)
        unread, text = error["errorType"] == "Runtime.UnmarshalError", str(error["errorMessage"])
    except (ValueError, LookupError, TypeError, RecursionError):  # the function's own words
        return
    if unread:
        reason = text.removeprefix("Unable to unmarshal input: ")
        found = _PLACE.fullmatch(reason)
        text = no_json(found[1], int(found[2]), int(found[3])) if found else no_json(reason)
        raise ApiError(400, "InvalidRequestContentException", text)
