"""What InvokeWithResponseStream answers (A.1): PayloadChunk events, and InvokeComplete at the end."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator

from poller.api.call import Headers
from poller.api.event_stream import CONTENT_TYPE, chunks, message
from poller.api.streamed_response import StreamedResponse, StreamFailed
from poller.model import InvocationResult


def headers(version: str) -> Headers:
    """Those of the answer; `version` is what was executed."""
    return [(b"content-type", CONTENT_TYPE), (b"x-amz-executed-version", version.encode())]


async def coming(response: StreamedResponse, *, tail: bool) -> AsyncIterator[bytes]:
    """Events of a stream that has begun, as it comes; with `tail` the last one has the end of the log."""
    try:
        async for piece in response.pieces():
            yield chunks(piece)
    except StreamFailed as failed:
        yield _complete(failed.result, tail=tail)
    else:
        yield _complete(await response.result(), tail=tail)


def whole(result: InvocationResult, *, tail: bool) -> bytes:
    """Events of a result that is complete; after a function error only InvokeComplete, with the error in it."""
    pieces = chunks(result.payload) if result.function_error is None else b""
    return pieces + _complete(result, tail=tail)


def _complete(result: InvocationResult, *, tail: bool) -> bytes:
    complete = {}
    if result.function_error is not None or result.status != 200:  # noqa: PLR2004 - stopped in the middle
        code = result.function_error or "ServiceException"
        complete = {"ErrorCode": code, "ErrorDetails": result.payload.decode(errors="replace")}
    if tail:
        complete["LogResult"] = base64.b64encode(result.log_tail).decode()
    return message("InvokeComplete", "application/json", json.dumps(complete, separators=(",", ":")).encode())
