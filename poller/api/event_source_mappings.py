"""The API's calls on event source mappings over HTTP (C.1, A.3), for any client of AWS that is pointed here.

The calls only start changes, so an answer waits for no broker. Who may call at all, `poller.api.endpoint` has looked at
before.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from poller.api.answers import refusal
from poller.api_errors import ApiError, invalid_parameter

if TYPE_CHECKING:
    from poller.control_plane import ControlPlane

PATH = "/2015-03-31/event-source-mappings"

LONGEST_BODY = 1024 * 1024
"""Bytes of a request; the largest that makes sense has ten patterns of 4,096 characters."""

_log = logging.getLogger(__name__)


def routes(plane: ControlPlane) -> list[BaseRoute]:
    """The five calls on this control plane."""

    async def create(request: Request) -> Response:
        body = await _body(request)
        return await _answer(202, lambda: plane.create_event_source_mapping(body))

    async def listed(request: Request) -> Response:
        query = request.query_params
        return await _answer(
            200,
            lambda: plane.list_event_source_mappings(
                query.get("EventSourceArn"), query.get("FunctionName"), query.get("Marker"), _max_items(query)
            ),
        )

    async def get(request: Request) -> Response:
        return await _answer(200, lambda: plane.get_event_source_mapping(request.path_params["identifier"]))

    async def update(request: Request) -> Response:
        body = await _body(request)
        identifier = request.path_params["identifier"]
        return await _answer(202, lambda: plane.update_event_source_mapping(identifier, body))

    async def delete(request: Request) -> Response:
        return await _answer(202, lambda: plane.delete_event_source_mapping(request.path_params["identifier"]))

    one = PATH + "/{identifier}"
    return [
        Route(path, _refusing(endpoint), methods=[method])
        for method, path, endpoint in (
            ("POST", PATH, create),
            ("POST", f"{PATH}/", create),  # as older clients spell it
            ("GET", PATH, listed),
            ("GET", f"{PATH}/", listed),
            ("GET", one, get),
            ("PUT", one, update),
            ("DELETE", one, delete),
        )
    ]


def refusing_routes(text: str) -> list[BaseRoute]:
    """Routes that answer every call with why it cannot be made here."""

    async def refuse(_: Request) -> Response:
        return refusal(invalid_parameter(text))

    methods = ["GET", "POST", "PUT", "DELETE"]
    return [Route(PATH, refuse, methods=methods), Route(PATH + "/{rest:path}", refuse, methods=methods)]


def _refusing(endpoint: Callable[[Request], Any]) -> Callable[[Request], Any]:
    async def call(request: Request) -> Response:
        try:
            answer: Response = await endpoint(request)
        except ApiError as error:
            _log.info("refused: %s %r: %r", request.method, request.url.path, str(error))
            return refusal(error)
        return answer

    return call


async def _answer(status: int, call: Callable[[], dict[str, Any]]) -> Response:
    return JSONResponse(await run_in_threadpool(call), status, {"x-amzn-RequestId": str(uuid.uuid4())})


async def _body(request: Request) -> dict[str, Any]:
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


def _max_items(query: Any) -> int | None:
    value = query.get("MaxItems")
    if value is None:
        return None
    try:
        return int(value)
    except ValueError:
        raise invalid_parameter(f"MaxItems is not a whole number: {value[:20]}") from None
