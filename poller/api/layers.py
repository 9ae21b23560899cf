"""The API's calls on layers over HTTP (A.7), for any client of AWS that is pointed here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from poller.account.packages import CODE_PATH
from poller.api.answers import refusal
from poller.api.call import Memory
from poller.api.functions import LONGEST_CODE, code_body
from poller.api.json_calls import answered, body_of, refusing
from poller.api_errors import invalid_parameter

if TYPE_CHECKING:
    from poller.account.layer_calls import Layers

PATH = "/2018-10-31/layers"
VERSIONS = PATH + "/{name:path}/versions"
VERSION = VERSIONS + "/{number}"
POLICY = VERSION + "/policy"
STATEMENT = POLICY + "/{sid}"

MEMORY = 256 * 1024 * 1024
"""Bytes that bodies with contents of layers may take together."""

Endpoint = Callable[[Request], Awaitable[Response]]


def routes(layers: Layers, readable: Callable[[str], str] = str) -> list[BaseRoute]:
    """The calls, on these layers.

    Args:
        layers: that are here.
        readable: makes a URL of this service one that whoever gets it may read for a while.
    """
    return _routes([*_policies(layers), *_versions(layers, readable)])


def refusing_routes(text: str) -> list[BaseRoute]:
    """Routes that answer every call with why it cannot be made here."""

    async def refuse(_: Request) -> Response:
        return refusal(invalid_parameter(text))

    paths = (STATEMENT, POLICY, VERSION, VERSIONS, PATH)
    return _routes((method, path, refuse) for path in paths for method in ("GET", "POST", "DELETE"))


def _versions(layers: Layers, readable: Callable[[str], str]) -> list[tuple[str, str, Endpoint]]:
    memory = Memory(MEMORY)

    def located(request: Request, answer: dict[str, Any]) -> dict[str, Any]:
        """The answer, with a URL in place of a path of this service."""
        content = answer["Content"]
        if content["Location"].startswith(CODE_PATH):
            content["Location"] = readable(str(request.base_url).rstrip("/") + content["Location"])
        return answer

    async def publish(request: Request) -> Response:
        with memory.held() as hold:
            body = await code_body(request, hold, LONGEST_CODE, " for the PublishLayerVersion operation")
            return await answered(201, lambda: located(request, layers.publish(_name(request), body)))

    async def listed(request: Request) -> Response:
        query = request.query_params
        if query.get("find") == "LayerVersion":
            return await answered(200, lambda: located(request, layers.get_by_arn(query.get("Arn"))))
        return await answered(200, lambda: layers.listed(*_filters(request)))

    async def listed_versions(request: Request) -> Response:
        return await answered(200, lambda: layers.listed_versions(_name(request), *_filters(request)))

    async def get(request: Request) -> Response:
        return await answered(200, lambda: located(request, layers.get(_name(request), _number(request))))

    async def delete(request: Request) -> Response:
        return await answered(204, lambda: layers.delete(_name(request), _number(request)))

    return [
        ("GET", VERSION, get),
        ("DELETE", VERSION, delete),
        ("POST", VERSIONS, publish),
        ("GET", VERSIONS, listed_versions),
        ("GET", PATH, listed),
    ]


def _policies(layers: Layers) -> list[tuple[str, str, Endpoint]]:
    policies = layers.policies

    async def add(request: Request) -> Response:
        body, revision = await body_of(request), request.query_params.get("RevisionId")
        return await answered(201, lambda: policies.add(_name(request), _number(request), body, revision))

    async def get(request: Request) -> Response:
        return await answered(200, lambda: policies.get(_name(request), _number(request)))

    async def remove(request: Request) -> Response:
        sid, revision = request.path_params["sid"], request.query_params.get("RevisionId")
        return await answered(204, lambda: policies.remove(_name(request), _number(request), sid, revision))

    return [("DELETE", STATEMENT, remove), ("POST", POLICY, add), ("GET", POLICY, get)]


def _routes(calls: Iterable[tuple[str, str, Endpoint]]) -> list[BaseRoute]:
    return [
        Route(path + end, refusing(endpoint), methods=[method]) for method, path, endpoint in calls for end in ("", "/")
    ]


def _filters(request: Request) -> tuple[str | None, str | None, str | None, str | None]:
    query = request.query_params
    names = ("CompatibleArchitecture", "CompatibleRuntime", "Marker", "MaxItems")
    architecture, runtime, marker, most = (query.get(name) for name in names)
    return architecture, runtime, marker, most


def _name(request: Request) -> str:
    name: str = request.path_params["name"]
    return name


def _number(request: Request) -> str:
    number: str = request.path_params["number"]
    return number
