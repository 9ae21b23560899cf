"""The HTTP and REST APIs of the template over HTTP (A.6), on a port of their own: an ASGI application.

Everybody may call them, from any web page and under any name: there is nothing else behind this port.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from time import monotonic
from typing import Any

from poller.api.call import Call, Memory, Receive, Scope, Send, host_name, path_of
from poller.api.invocations import Functions
from poller.api_errors import ApiError
from poller.fronts.apis import Api, Apis, Arrival
from poller.fronts.cross_origin import is_preflight, preflight, rest_preflight, shared
from poller.fronts.events import Target, matches, payload_1, payload_2, rest_event
from poller.fronts.exchange import Exchange, read, send
from poller.fronts.front_metrics import FrontMetrics
from poller.fronts.replies import NoResponse, Reply, inferred, proxied
from poller.fronts.request import FrontRequest, media_type
from poller.fronts.routes import Match
from poller.request_ids import new_request_id
from poller.runtime.answers import compact

PLAIN = "text/plain; charset=utf-8"
"""Of an HTTP API's response that names no type."""

_log = logging.getLogger(__name__)


def _message(status: int, text: str, *headers: tuple[str, str]) -> Reply:
    return Reply(status, (("content-type", "application/json"), *headers), compact(message=text))


NOT_FOUND = _message(404, "Not Found")
SEVERAL = _message(404, "Several APIs are here: call /_api/<id>/, or name <id>.execute-api.localhost as the host.")
NO_SUCH_ROUTE = {
    "HTTP": NOT_FOUND,
    "REST": _message(403, "Missing Authentication Token", ("x-amzn-errortype", "MissingAuthenticationTokenException")),
}
FAILED = {
    "HTTP": _message(502, "Internal Server Error"),
    "REST": _message(502, "Internal server error", ("x-amzn-errortype", "InternalServerErrorException")),
}
"""The function failed, or what it returned is no response."""
NOT_INVOKED = {
    "HTTP": _message(500, "Internal Server Error"),
    "REST": _message(500, "Internal server error", ("x-amzn-errortype", "InternalServerErrorException")),
}
"""Throttled, say."""
TIMED_OUT = {
    "HTTP": _message(503, "Service Unavailable"),
    "REST": _message(504, "Endpoint request timed out", ("x-amzn-errortype", "InternalServerErrorException")),
}
TOO_LARGE = {
    "HTTP": _message(413, "Request Entity Too Large"),
    "REST": _message(413, "Request Too Long", ("x-amzn-errortype", "RequestTooLargeException")),
}


def front_of(api: Api) -> str:
    """Label of an API's metrics."""
    return f"{api.kind.lower()}_api"


class ApiFront:
    """Answers requests to APIs. For the loop's thread only."""

    def __init__(self, apis: Apis, functions: Functions, metrics: FrontMetrics) -> None:
        self._apis = apis
        self._metrics = metrics
        self._exchange = Exchange(functions)
        self._memory = Memory()

    async def __call__(self, scope: Scope, receive: Receive, send_message: Send) -> None:
        """Answer one request."""
        call = Call(scope, receive, send_message, new_request_id(), self._memory)
        api = self._apis.find(host_name(call.header(b"host") or "").lower(), path_of(scope))
        began = monotonic()
        try:
            await send(call, await self._reply(call, api))
        except ApiError as error:
            assert api is not None  # without one, nothing is asked that could refuse
            reply = TOO_LARGE[api.kind] if error.status == 413 else _message(error.status, error.text)  # noqa: PLR2004
            await send(call, self._finished(api, self._exchange.head(call), reply))
        except ConnectionError:
            pass  # the client went away: there is nobody to answer
        except Exception:
            if call.begun:
                raise
            _log.exception("%s %r", scope["method"], path_of(scope))
            await send(call, NOT_INVOKED["HTTP" if api is None else api.kind])
        finally:
            call.close()
            if api is not None:
                self._metrics.answered(front_of(api), api.api_id, call.status, monotonic() - began)

    async def _reply(self, call: Call, api: Api | None) -> Reply:
        if api is None:
            return SEVERAL if len(self._apis.all) > 1 else NOT_FOUND
        request = self._exchange.head(call)
        if api.cors is not None and is_preflight(request):
            return preflight(api.cors, request, 204)
        arrival = self._apis.arrival(api, request.path)
        if arrival is None:
            return self._finished(api, request, NO_SUCH_ROUTE[api.kind])
        routes = self._apis.routes[api.api_id]
        found = routes.match(request.method, arrival.path)
        if api.rest_cors is not None and request.method == "OPTIONS":
            methods = routes.methods(arrival.path)
            if methods is not None and "OPTIONS" not in methods:
                return rest_preflight(api.rest_cors, methods)
        if found is None:
            return self._finished(api, request, NO_SUCH_ROUTE[api.kind])
        request = await self._exchange.complete(call, request)
        return self._finished(api, request, await self._function_s(request, arrival, found))

    def _finished(self, api: Api, request: FrontRequest, reply: Reply) -> Reply:
        return reply if api.cors is None else shared(api.cors, request, reply)

    async def _function_s(self, request: FrontRequest, arrival: Arrival, found: Match) -> Reply:
        """What the route's function has to say."""
        api, route = arrival.api, found.route
        request = replace(request, path=arrival.path if api.kind == "REST" else arrival.staged_path)
        target = self._target(arrival, found)
        build, reader = _translations(api, request, target, route.payload_format)
        try:
            result = await self._exchange.invoke(request, route.function_name, "", build, route.timeout)
        except (ApiError, LookupError) as error:
            if isinstance(error, ApiError) and error.status == 413:  # noqa: PLR2004
                raise
            return NOT_INVOKED[api.kind]  # the function was deleted, or cannot run now
        if result is None:
            _log.warning("%s: function %s has not answered after %g s", route.key, route.function_name, route.timeout)
            return TIMED_OUT[api.kind]
        if result.status != 200:  # noqa: PLR2004
            return NOT_INVOKED[api.kind]
        if result.function_error is not None:
            return FAILED[api.kind]
        try:
            return await read(result, reader)
        except NoResponse as error:
            _log.warning("function %s returned what is no HTTP response: %s", route.function_name, error)
            return FAILED[api.kind]

    def _target(self, arrival: Arrival, found: Match) -> Target:
        api, functions = arrival.api, self._exchange.functions
        rest = api.kind == "REST"
        return Target(
            account_id=functions.account_id,
            api_id=api.api_id,
            domain_name=f"{api.api_id}.execute-api.{functions.region}.amazonaws.com",
            stage=api.stage,
            route_key=found.route.key,
            resource=found.route.path,
            path_parameters=found.parameters if rest else found.decoded(),
            stage_variables=api.stage_variables,
            decoded=not rest,
            staged_path=arrival.staged_path,
        )


def _translations(
    api: Api, request: FrontRequest, target: Target, payload_format: str
) -> tuple[Callable[[], dict[str, Any]], Callable[[bytes], Reply]]:
    """What makes the event of a request, and what reads the function's result."""
    if api.kind == "HTTP":
        if payload_format == "2.0":
            return lambda: payload_2(request, target), lambda payload: inferred(payload, PLAIN)
        return lambda: payload_1(request, target), lambda payload: proxied(payload, PLAIN)
    binary = api.binary_media_types

    def decode(content_type: str | None) -> bool:
        """The client's Accept decides, as on AWS; where it has none, the response's own type."""
        accepted = request.header("accept")
        return matches(media_type(accepted or content_type), binary)

    return lambda: rest_event(request, target, binary), lambda payload: proxied(payload, decode=decode)
