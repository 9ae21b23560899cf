"""The API's calls on what hangs on functions, over HTTP: event invoke configurations, concurrency, tags, policies."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

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
Json = dict[str, Any]
"""What stands in a body."""


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
    return [
        ("GET", f"{INVOKE_CONFIG}/list", _page(calls.listed)),
        ("PUT", INVOKE_CONFIG, _qualified_body(200, calls.put)),
        ("POST", INVOKE_CONFIG, _qualified_body(200, calls.update)),
        ("GET", INVOKE_CONFIG, _qualified(200, calls.get)),
        ("DELETE", INVOKE_CONFIG, _qualified(204, calls.delete)),
    ]


def _concurrency(configs: FunctionConfigs) -> list[tuple[str, str, Endpoint]]:
    concurrency, recursion = configs.concurrency, configs.recursion
    return [
        ("PUT", RESERVE, _body(200, concurrency.put)),
        ("DELETE", RESERVE, _plain(204, concurrency.delete)),
        ("GET", RESERVED, _plain(200, concurrency.get)),
        ("PUT", RECURSION, _body(200, recursion.put)),
        ("GET", RECURSION, _plain(200, recursion.get)),
    ]


def _provisioned(configs: FunctionConfigs) -> list[tuple[str, str, Endpoint]]:
    calls = configs.provisioned
    one, all_of_them = _qualified(200, calls.get), _page(calls.listed)

    async def get(request: Request) -> Response:
        return await (all_of_them if _query(request, "List") == "ALL" else one)(request)

    return [
        ("PUT", PROVISIONED, _qualified_body(202, calls.put)),
        ("GET", PROVISIONED, get),
        ("DELETE", PROVISIONED, _qualified(204, calls.delete)),
    ]


def _runtime(configs: FunctionConfigs) -> list[tuple[str, str, Endpoint]]:
    calls = configs.runtime
    return [("PUT", RUNTIME, _qualified_body(200, calls.put)), ("GET", RUNTIME, _qualified(200, calls.get))]


def _policies(configs: FunctionConfigs) -> list[tuple[str, str, Endpoint]]:
    policies = configs.policies

    async def remove(request: Request) -> Response:
        qualifier, revision = _query(request, "Qualifier"), _query(request, "RevisionId")
        sid = request.path_params["sid"]
        return await answered(204, lambda: policies.remove(_name(request), sid, qualifier, revision))

    return [
        ("POST", POLICY, _qualified_body(201, policies.add)),
        ("GET", POLICY, _qualified(200, policies.get)),
        ("DELETE", POLICY + "/{sid:path}", remove),
    ]


def _tags(configs: FunctionConfigs) -> list[tuple[str, str, Endpoint]]:
    tags = configs.tags

    async def untag(request: Request) -> Response:
        keys = request.query_params.getlist("tagKeys")
        return await answered(204, lambda: tags.untag(_name(request), keys))

    return [("POST", TAGS, _body(204, tags.tag)), ("DELETE", TAGS, untag), ("GET", TAGS, _plain(200, tags.listed))]


# --- endpoints by what their calls take ------------------------------------------------------------------------------


def _plain(status: int, call: Callable[[str], Json | None]) -> Endpoint:
    """A name."""

    async def endpoint(request: Request) -> Response:
        return await answered(status, lambda: call(_name(request)))

    return endpoint


def _body(status: int, call: Callable[[str, Json], Json | None]) -> Endpoint:
    """A name and a body."""

    async def endpoint(request: Request) -> Response:
        body = await body_of(request)
        return await answered(status, lambda: call(_name(request), body))

    return endpoint


def _qualified(status: int, call: Callable[[str, str | None], Json | None]) -> Endpoint:
    """A name and a qualifier."""

    async def endpoint(request: Request) -> Response:
        return await answered(status, lambda: call(_name(request), _query(request, "Qualifier")))

    return endpoint


def _qualified_body(status: int, call: Callable[[str, str | None, Json], Json | None]) -> Endpoint:
    """A name, a qualifier and a body."""

    async def endpoint(request: Request) -> Response:
        body = await body_of(request)
        return await answered(status, lambda: call(_name(request), _query(request, "Qualifier"), body))

    return endpoint


def _page(call: Callable[[str, str | None, str | None], Json]) -> Endpoint:
    """A name, and where a page begins and ends."""

    async def endpoint(request: Request) -> Response:
        marker, most = _query(request, "Marker"), _query(request, "MaxItems")
        return await answered(200, lambda: call(_name(request), marker, most))

    return endpoint


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
