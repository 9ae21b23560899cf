"""The API's calls on function URL configurations over HTTP (A.5, A.3), for any client of AWS that is pointed here.

Who may call at all, `poller.api.endpoint` has looked at before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from poller.api.answers import refusal
from poller.api.call import path_of
from poller.api.json_calls import answered, body_of, max_items, refusing
from poller.api_errors import invalid_parameter

if TYPE_CHECKING:
    from poller.fronts.function_urls import FunctionUrls

PATH = "/2021-10-31/functions/{name:path}/url"
LIST_PATH = "/2021-10-31/functions/{name:path}/urls"

_PARTS = 5
"""Of a path, with the nothing before its first slash."""


def routes(urls: FunctionUrls) -> list[BaseRoute]:
    """The five calls on these URLs."""

    async def create(request: Request) -> Response:
        name, qualifier, body = _name(request), request.query_params.get("Qualifier"), await body_of(request)
        return await answered(201, lambda: urls.create(name, qualifier, body, _base(request)))

    async def get(request: Request) -> Response:
        name, qualifier = _name(request), request.query_params.get("Qualifier")
        return await answered(200, lambda: urls.get(name, qualifier, _base(request)))

    async def update(request: Request) -> Response:
        name, qualifier, body = _name(request), request.query_params.get("Qualifier"), await body_of(request)
        return await answered(200, lambda: urls.update(name, qualifier, body, _base(request)))

    async def delete(request: Request) -> Response:
        name, qualifier = _name(request), request.query_params.get("Qualifier")
        return await answered(204, lambda: urls.delete(name, qualifier))

    async def listed(request: Request) -> Response:
        name, query = _name(request), request.query_params
        return await answered(200, lambda: urls.listed(name, query.get("Marker"), max_items(query), _base(request)))

    return [
        Route(path, refusing(handler), methods=[method])
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
