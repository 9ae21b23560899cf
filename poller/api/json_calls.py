"""What calls with JSON bodies share over HTTP: the body, the answer, and refusals in AWS's shape (A.3)."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from poller.api.answers import refusal
from poller.api.call import path_of
from poller.api_errors import ApiError, invalid_parameter
from poller.errors import PollerError
from poller.request_ids import new_request_id

LONGEST_BODY = 1024 * 1024
"""Bytes of a request; the largest that makes sense has ten patterns of 4,096 characters."""

NO_CONTENT = 204

_log = logging.getLogger(__name__)


def refusing(endpoint: Callable[[Request], Any]) -> Callable[[Request], Any]:
    """The endpoint, with what it raises as an answer."""

    async def call(request: Request) -> Response:
        try:
            answer: Response = await endpoint(request)
        except ClientDisconnect:
            raise
        except ApiError as error:
            _log.info("refused: %s %r: %r", request.method, path_of(request.scope), str(error))
            return refusal(error)
        except PollerError as error:  # the disk is full, say
            _log.error("%s %r: %s", request.method, path_of(request.scope), error)
            return refusal(ApiError(500, "ServiceException", f"Nothing was changed: {error}"))
        return answer

    return call


async def answered(status: int, call: Callable[[], Mapping[str, Any] | None]) -> Response:
    """What the call returns, on a thread that may block."""
    body = await run_in_threadpool(call)
    headers = {"x-amzn-RequestId": new_request_id()}
    if status == NO_CONTENT:
        return Response(status_code=status, headers=headers)
    # In ASCII: a lone surrogate, which a caller's JSON may hold, has no other form.
    content = json.dumps(body, separators=(",", ":"), allow_nan=False)
    return Response(content, status, headers, "application/json")


async def body_of(request: Request) -> dict[str, Any]:
    """The JSON object of a request; an empty body is an empty one.

    Raises:
        ApiError: 413 for one that is too large, 400 for one that is none.
    """
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > LONGEST_BODY:
            text = f"Request must be smaller than {LONGEST_BODY} bytes"
            raise ApiError(413, "RequestEntityTooLargeException", text)
    try:
        body = json.loads(content or b"{}")
    except (ValueError, RecursionError) as error:
        raise ApiError(
            400, "InvalidRequestContentException", f"Could not parse request body into json: {error}"
        ) from None
    if not isinstance(body, dict):
        raise ApiError(400, "InvalidRequestContentException", "Could not parse request body into json: no object")
    return body


def max_items(query: Mapping[str, str]) -> int | None:
    """The parameter MaxItems; None where there is none.

    Raises:
        ApiError: 400, it is no number.
    """
    value = query.get("MaxItems")
    if value is None:
        return None
    try:
        return int(value)
    except ValueError:
        raise invalid_parameter(f"MaxItems is not a whole number: {value[:20]}") from None
