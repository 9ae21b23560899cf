"""The API's calls on event source mappings over HTTP (C.1, A.3), for any client of AWS that is pointed here.

The calls only start changes, so an answer waits for no broker. Who may call at all, `poller.api.endpoint` has looked at
before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from poller.api.answers import refusal
from poller.api.json_calls import LONGEST_BODY, answered, body_of, max_items, refusing
from poller.api_errors import invalid_parameter

if TYPE_CHECKING:
    from poller.event_source_mappings import EventSourceMappings

PATH = "/2015-03-31/event-source-mappings"

__all__ = ["LONGEST_BODY", "PATH", "refusing_routes", "routes"]


def routes(sources: EventSourceMappings) -> list[BaseRoute]:
    """The five calls on these mappings."""

    async def create(request: Request) -> Response:
        body = await body_of(request)
        return await answered(202, lambda: sources.create_event_source_mapping(body))

    async def listed(request: Request) -> Response:
        query = request.query_params
        return await answered(
            200,
            lambda: sources.list_event_source_mappings(
                query.get("EventSourceArn"), query.get("FunctionName"), query.get("Marker"), max_items(query)
            ),
        )

    async def get(request: Request) -> Response:
        return await answered(200, lambda: sources.get_event_source_mapping(request.path_params["identifier"]))

    async def update(request: Request) -> Response:
        body = await body_of(request)
        identifier = request.path_params["identifier"]
        return await answered(202, lambda: sources.update_event_source_mapping(identifier, body))

    async def delete(request: Request) -> Response:
        return await answered(202, lambda: sources.delete_event_source_mapping(request.path_params["identifier"]))

    one = PATH + "/{identifier}"
    return [
        Route(path, refusing(endpoint), methods=[method])
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
