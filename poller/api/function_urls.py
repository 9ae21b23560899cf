"""The API's calls on function URL configurations over HTTP (A.5, A.3), for any client of AWS that is pointed here.

Who may call at all, `poller.api.endpoint` has looked at before.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from poller.api.answers import refusal
from poller.api.call import path_of
from poller.api_errors import ApiError, invalid_parameter
from poller.errors import StateError

if TYPE_CHECKING:
    from poller.fronts.function_urls import FunctionUrls

PATH = "/2021-10-31/functions/{name:path}/url"
LIST_PATH = "/2021-10-31/functions/{name:path}/urls"

_PARTS = 5
"""Of a path, with the nothing before its first slash."""

LONGEST_BODY = 1024 * 1024
"""Bytes of a request; the largest that makes sense has some 300 names of 1,024 characters."""

_log = logging.getLogger(__name__)

Handler = Callable[[Request], Awaitable[Response]]


def routes(urls: FunctionUrls) -> list[BaseRoute]:
    """The five calls on these URLs."""

    async def create(request: Request) -> Response:
        name, qualifier, body = _name(request), request.query_params.get("Qualifier"), await _body(request)
        return await _answer(201, lambda: urls.create(name, qualifier, body, _base(request)))

    async def get(request: Request) -> Response:
        name, qualifier = _name(request), request.query_params.get("Qualifier")
        return await _answer(200, lambda: urls.get(name, qualifier, _base(request)))

    async def update(request: Request) -> Response:
        name, qualifier, body = _name(request), request.query_params.get("Qualifier"), await _body(request)
        return await _answer(200, lambda: urls.update(name, qualifier, body, _base(request)))

    async def delete(request: Request) -> Response:
        name, qualifier = _name(request), request.query_params.get("Qualifier")
        await run_in_threadpool(urls.delete, name, qualifier)
        return Response(status_code=204, headers={"x-amzn-RequestId": str(uuid.uuid4())})

    async def listed(request: Request) -> Response:
        name, query = _name(request), request.query_params
        return await _answer(200, lambda: urls.listed(name, query.get("Marker"), _max_items(query), _base(request)))

    return [
        Route(path, _refusing(handler), methods=[method])
        for method, path, handler in (
            ("POST", PATH, create),
            ("GET", PATH, get),
            ("PUT", PATH, update),
            ("DELETE", PATH, delete),
            ("GET", LIST_PATH, listed),
        )
    ]


def refusing_routes(text: str) -> list[BaseRoute]:
    """Routes that answer every call with why it cannot be made here."""

    async def refuse(_: Request) -> Response:
        return refusal(invalid_parameter(text))

    return [Route(PATH, refuse, methods=["GET", "POST", "PUT", "DELETE"]), Route(LIST_PATH, refuse, methods=["GET"])]


def _refusing(handler: Handler) -> Handler:
    async def call(request: Request) -> Response:
        try:
            return await handler(request)
        except ApiError as error:
            refused = error
        except StateError as error:  # the disk is full, say
            refused = ApiError(500, "ServiceException", str(error))
        _log.info("refused: %s %r: %r", request.method, path_of(request.scope), str(refused))
        return refusal(refused)

    return call


async def _answer(status: int, call: Callable[[], dict[str, Any]]) -> Response:
    return JSONResponse(await run_in_threadpool(call), status, {"x-amzn-RequestId": str(uuid.uuid4())})


def _name(request: Request) -> str:
    """The function's name or ARN, in whose percent-encoded form nothing separates."""
    parts = path_of(request.scope).rstrip("/").split("/")
    if len(parts) != _PARTS:
        raise HTTPException(404)
    return unquote(parts[3])


def _base(request: Request) -> str:
    """Under which the caller reaches this service, and so its function URLs. The door has looked at the name."""
    scheme, host = request.scope["scheme"], request.headers.get("host", "")
    return f"{scheme}://{host}"


async def _body(request: Request) -> dict[str, Any]:
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > LONGEST_BODY:
            raise ApiError(413, "RequestEntityTooLargeException", f"Request must be smaller than {LONGEST_BODY} bytes")
    try:
        body = json.loads(content or b"{}")
    except (ValueError, RecursionError) as error:
        text = f"Could not parse request body into json: {error}"
        raise ApiError(400, "InvalidRequestContentException", text) from None
    if not isinstance(body, dict):
        raise ApiError(400, "InvalidRequestContentException", "Could not parse request body into json: no object")
    return body


def _max_items(query: Any) -> int | None:
    value = query.get("MaxItems")
    if value is None:
        return None
    try:
        return int(value)
    except ValueError:
        raise invalid_parameter(f"MaxItems is not a whole number: {value[:20]}") from None
