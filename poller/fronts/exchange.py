"""What both fronts do with a request: take it in, invoke the function, send the reply. For the loop's thread only."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from typing import Any

from starlette.concurrency import run_in_threadpool

from poller.api.call import Call, Headers, path_of
from poller.api.invocations import READ_HERE, Functions
from poller.api.results import Results
from poller.api.streamed_response import StreamedResponse
from poller.api_errors import ApiError
from poller.fronts.events import encoded
from poller.fronts.http_protocol import NAMES
from poller.fronts.replies import NO_BODY, Reply
from poller.fronts.request import FrontRequest, text_of
from poller.fronts.streaming import Prelude
from poller.model import MAXIMUM_PAYLOAD, Invocation, InvocationResult
from poller.runtime.answers import throttled
from poller.runtime.late_answers import OnResult


class Exchange:
    """Requests to functions of an account."""

    def __init__(self, functions: Functions) -> None:
        self.functions = functions
        self._results = Results()

    def head(self, call: Call, path: str | None = None) -> FrontRequest:
        """The request without its body.

        Args:
            call: the request.
            path: without what only leads to the front; the whole one by default.
        """
        scope = call.scope
        raw = scope["headers"]
        names: list[bytes] = scope.get(NAMES) or [name for name, _ in raw]
        path = path_of(scope) if path is None else path
        client, server = scope.get("client") or ("127.0.0.1", 0), scope.get("server") or ("", 80)
        now = time.time()
        return FrontRequest(
            method=scope["method"],
            path=path if path.startswith("/") else f"/{path}",
            query=scope.get("query_string", b"").decode("latin-1"),
            headers=[(name.decode("latin-1"), text_of(value)) for name, (_, value) in zip(names, raw, strict=False)],
            body=b"",
            source_ip=client[0],
            scheme=scope.get("scheme", "http"),
            port=server[1] or 80,
            protocol=f"HTTP/{scope.get('http_version', '1.1')}",
            request_id=call.request_id,
            time=now,
            trace_id=f"Root=1-{int(now):08x}-{secrets.token_hex(12)}",
        )

    async def complete(self, call: Call, request: FrontRequest) -> FrontRequest:
        """The request with its body.

        Raises:
            ApiError: 413 as soon as it is known to be too large, 408 when it takes too long, 503 without memory.
            ConnectionError: the client went away.
        """
        return replace(request, body=await call.body(MAXIMUM_PAYLOAD, _too_large))

    async def invoke(
        self,
        request: FrontRequest,
        function_name: str,
        qualifier: str,
        build: Callable[[], Mapping[str, Any]],
        patience: float | None = None,
    ) -> InvocationResult | None:
        """What the function answers; None when it has not after `patience` seconds. That does not end it.

        Args:
            request: complete.
            function_name: of a function that exists.
            qualifier: an alias, or nothing.
            build: makes the event.
            patience: None waits as long as the function may run.

        Raises:
            ApiError: 413, the event is too large, which base64 makes of less than 6 MB; 409, the function cannot run.
            LookupError: the function is there no more.
        """
        answered, on_result = self._results.expect()
        await self._submit(request, function_name, qualifier, build, on_result=on_result)
        try:
            async with asyncio.timeout(patience):
                return await answered
        except TimeoutError:
            return None

    async def stream(
        self, request: FrontRequest, function_name: str, qualifier: str, build: Callable[[], Mapping[str, Any]]
    ) -> StreamedResponse:
        """As `invoke`, but for a caller that takes a stream: what the function answers while it still runs."""
        answered, on_result = self._results.expect()
        response = StreamedResponse(answered)
        await self._submit(request, function_name, qualifier, build, on_result=on_result, response=response)
        return response

    async def _submit(
        self,
        request: FrontRequest,
        function_name: str,
        qualifier: str,
        build: Callable[[], Mapping[str, Any]],
        *,
        on_result: OnResult,
        response: StreamedResponse | None = None,
    ) -> None:
        payload: bytes = await _aside(len(request.body), lambda: encoded(build()))
        if len(payload) > MAXIMUM_PAYLOAD:
            raise _too_large(None)
        functions = self.functions
        pool = functions.pool(function_name, qualifier)
        if pool is None:
            raise LookupError(function_name)
        if functions.at_account_limit(function_name, qualifier):
            on_result(throttled(request.request_id, "ConcurrentInvocationLimitExceeded"))
            return
        arn = f"arn:aws:lambda:{functions.region}:{functions.account_id}:function:{function_name}"
        called = f"{arn}:{qualifier}" if qualifier else arn
        pool.submit(Invocation(request.request_id, payload, called, response_stream=response), on_result, wait=False)


async def read(result: InvocationResult, reader: Callable[[bytes], Reply]) -> Reply:
    """What the function returned as a response; a large one is read while the loop goes on.

    Raises:
        NoResponse: it is none.
    """
    reply: Reply = await _aside(len(result.payload), lambda: reader(result.payload))
    return reply


async def send(call: Call, reply: Reply, extra: Headers = ()) -> None:
    """The whole reply at once."""
    await call.answer(reply.status, [*_raw(reply), *extra], reply.body)


async def send_in_pieces(
    call: Call,
    pieces: AsyncIterator[bytes],
    finish: Callable[[Reply], Reply],
    extra: Headers = (),
    *,
    head: Reply | None = None,
) -> None:
    """A reply whose body comes piece by piece, each as soon as it is there.

    Args:
        call: the request.
        pieces: of the response. Whoever has them while the function still runs gives an iterator that waits for them.
        finish: adds what the front has to say to the head.
        extra: further headers.
        head: status and headers; without it the pieces begin with one (`application/vnd.awslambda.http-…`).

    Raises:
        NoResponse: the head is none; nothing was sent.
        Exception: what the pieces raise. Nothing was sent if none of the body had come by then.
    """
    first, begun = head, b""
    if first is not None:
        # Not before there is some of the body, so that a function that fails at once is told by the status.
        begun = await anext(pieces, b"")
    else:
        prelude = Prelude()
        async for piece in pieces:
            first = prelude.feed(piece)
            if first is not None:
                break
        else:
            first = prelude.end()
    reply = finish(first)

    async def body() -> AsyncIterator[bytes]:
        if reply.status in NO_BODY:
            return
        for piece in (reply.body, begun):
            if piece:
                yield piece
        async for piece in pieces:
            if piece:
                yield piece

    await call.answer_in_pieces(reply.status, [*_raw(reply), *extra], body())


async def one_piece(payload: bytes) -> AsyncIterator[bytes]:
    """A result that is there already, as pieces."""
    yield payload


def _raw(reply: Reply) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in reply.headers]


async def _aside(size: int, work: Callable[[], Any]) -> Any:
    """Work on so many bytes: here if they are few, else on a thread."""
    return await run_in_threadpool(work) if size > READ_HERE else work()


def _too_large(_: int | None) -> ApiError:
    text = f"Request must be smaller than {MAXIMUM_PAYLOAD} bytes for the InvokeFunction operation"
    return ApiError(413, "RequestEntityTooLargeException", text)
