"""The API's calls on what hangs on functions, over HTTP: event invoke configurations, concurrency, tags, policies."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from poller.api.answers import refusal
from poller.api.json_calls import answered, body_of, refusing
from poller.api_errors import invalid_parameter

if TYPE_CHECKING:
    from poller.account.configs import FunctionConfigs

INVOKE_CONFIG = "/2019-09-25/functions/{name:path}/event-invoke-config"
RESERVE = "/2017-10-31/functions/{name:path}/concurrency"
RESERVED = "/2019-09-30/functions/{name:path}/concurrency"
PROVISIONED = "/2019-09-30/functions/{name:path}/provisioned-concurrency"
RECURSION = "/2024-08-31/functions/{name:path}/recursion-config"
RUNTIME = "/2021-07-20/functions/{name:path}/runtime-management-config"
CODE_SIGNING = "/2020-06-30/functions/{name:path}/code-signing-config"
POLICY = "/2015-03-31/functions/{name:path}/policy"
TAGS = "/2017-03-31/tags/{name:path}"
SETTINGS = "/2016-08-19/account-settings"

Endpoint = Callable[[Request], Awaitable[Response]]


def routes(configs: FunctionConfigs) -> list[BaseRoute]:
    """The calls, on these configurations."""
    return _routes(
        [
            *_event_invoke(configs),
            *_concurrency(configs),
            *_provisioned(configs),
            *_runtime(configs),
            *_policies(configs),
            *_tags(configs),
            ("GET", CODE_SIGNING, lambda request: answered(200, lambda: configs.code_signing.get(_name(request)))),
            ("GET", SETTINGS, lambda _: answered(200, configs.settings.get)),
        ]
    )


def refusing_routes(text: str) -> list[BaseRoute]:
    """Routes that answer every call with why it cannot be made here."""

    async def refuse(_: Request) -> Response:
        return refusal(invalid_parameter(text))

    paths = (f"{INVOKE_CONFIG}/list", INVOKE_CONFIG, RESERVE, RESERVED, RECURSION, PROVISIONED, RUNTIME, POLICY)
    methods = {CODE_SIGNING: ["GET"]}
    return [
        Route(path + end, refuse, methods=methods.get(path, ["GET", "POST", "PUT", "DELETE"]))
        for path in (*paths, POLICY + "/{sid:path}", TAGS, SETTINGS, CODE_SIGNING)
        for end in ("", "/")
    ]


def _event_invoke(configs: FunctionConfigs) -> list[tuple[str, str, Endpoint]]:
    calls = configs.event_invoke

    async def put(request: Request) -> Response:
        body = await body_of(request)
        return await answered(200, lambda: calls.put(_name(request), _query(request, "Qualifier"), body))

    async def update(request: Request) -> Response:
        body = await body_of(request)
        return await answered(200, lambda: calls.update(_name(request), _query(request, "Qualifier"), body))

    async def get(request: Request) -> Response:
        return await answered(200, lambda: calls.get(_name(request), _query(request, "Qualifier")))

    async def delete(request: Request) -> Response:
        return await answered(204, lambda: calls.delete(_name(request), _query(request, "Qualifier")))

    async def listed(request: Request) -> Response:
        marker, most = _query(request, "Marker"), _query(request, "MaxItems")
        return await answered(200, lambda: calls.listed(_name(request), marker, most))

    return [
        ("GET", f"{INVOKE_CONFIG}/list", listed),
        ("PUT", INVOKE_CONFIG, put),
        ("POST", INVOKE_CONFIG, update),
        ("GET", INVOKE_CONFIG, get),
        ("DELETE", INVOKE_CONFIG, delete),
    ]


def _concurrency(configs: FunctionConfigs) -> list[tuple[str, str, Endpoint]]:
    concurrency, recursion = configs.concurrency, configs.recursion

    async def put(request: Request) -> Response:
        body = await body_of(request)
        return await answered(200, lambda: concurrency.put(_name(request), body))

    async def get(request: Request) -> Response:
        return await answered(200, lambda: concurrency.get(_name(request)))

    async def delete(request: Request) -> Response:
        return await answered(204, lambda: concurrency.delete(_name(request)))

    async def put_recursion(request: Request) -> Response:
        body = await body_of(request)
        return await answered(200, lambda: recursion.put(_name(request), body))

    async def get_recursion(request: Request) -> Response:
        return await answered(200, lambda: recursion.get(_name(request)))

    return [
        ("PUT", RESERVE, put),
        ("DELETE", RESERVE, delete),
        ("GET", RESERVED, get),
        ("PUT", RECURSION, put_recursion),
        ("GET", RECURSION, get_recursion),
    ]


def _provisioned(configs: FunctionConfigs) -> list[tuple[str, str, Endpoint]]:
    calls = configs.provisioned

    async def put(request: Request) -> Response:
        body = await body_of(request)
        return await answered(202, lambda: calls.put(_name(request), _query(request, "Qualifier"), body))

    async def get(request: Request) -> Response:
        if _query(request, "List") == "ALL":
            marker, most = _query(request, "Marker"), _query(request, "MaxItems")
            return await answered(200, lambda: calls.listed(_name(request), marker, most))
        return await answered(200, lambda: calls.get(_name(request), _query(request, "Qualifier")))

    async def delete(request: Request) -> Response:
        return await answered(204, lambda: calls.delete(_name(request), _query(request, "Qualifier")))

    return [("PUT", PROVISIONED, put), ("GET", PROVISIONED, get), ("DELETE", PROVISIONED, delete)]


def _runtime(configs: FunctionConfigs) -> list[tuple[str, str, Endpoint]]:
    calls = configs.runtime

    async def put(request: Request) -> Response:
        body = await body_of(request)
        return await answered(200, lambda: calls.put(_name(request), _query(request, "Qualifier"), body))

    async def get(request: Request) -> Response:
        return await answered(200, lambda: calls.get(_name(request), _query(request, "Qualifier")))

    return [("PUT", RUNTIME, put), ("GET", RUNTIME, get)]


def _policies(configs: FunctionConfigs) -> list[tuple[str, str, Endpoint]]:
    policies = configs.policies

    async def add(request: Request) -> Response:
        body = await body_of(request)
        return await answered(201, lambda: policies.add(_name(request), _query(request, "Qualifier"), body))

    async def get(request: Request) -> Response:
        return await answered(200, lambda: policies.get(_name(request), _query(request, "Qualifier")))

    async def remove(request: Request) -> Response:
        qualifier, revision = _query(request, "Qualifier"), _query(request, "RevisionId")
        sid = request.path_params["sid"]
        return await answered(204, lambda: policies.remove(_name(request), sid, qualifier, revision))

    return [("POST", POLICY, add), ("GET", POLICY, get), ("DELETE", POLICY + "/{sid:path}", remove)]


def _tags(configs: FunctionConfigs) -> list[tuple[str, str, Endpoint]]:
    tags = configs.tags

    async def tag(request: Request) -> Response:
        body = await body_of(request)
        return await answered(204, lambda: tags.tag(_name(request), body))

    async def untag(request: Request) -> Response:
        keys = request.query_params.getlist("tagKeys")
        return await answered(204, lambda: tags.untag(_name(request), keys))

    async def listed(request: Request) -> Response:
        return await answered(200, lambda: tags.listed(_name(request)))

    return [("POST", TAGS, tag), ("DELETE", TAGS, untag), ("GET", TAGS, listed)]


def _routes(calls: list[tuple[str, str, Endpoint]]) -> list[BaseRoute]:
    return [
        Route(path + end, refusing(endpoint), methods=[method])
        for method, path, endpoint in calls
        for end in ("/", "")  # the first is how some clients spell it, and would else be part of a name
    ]


def _name(request: Request) -> str:
    name: str = request.path_params["name"]
    return name


def _query(request: Request, name: str) -> str | None:
    return request.query_params.get(name)
