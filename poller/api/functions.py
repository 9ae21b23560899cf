"""The API's calls on functions, versions and aliases over HTTP (A.7), for any client of AWS that is pointed here.

A call may unpack 50 MB and wait for the disk, so it runs on a thread of its own; so does reading a large body.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Route

from poller.account.packages import CODE_PATH
from poller.api.answers import refusal
from poller.api.call import Memory
from poller.api.json_calls import LONGEST_BODY, answered, max_items, refusing
from poller.api_errors import NOT_FOUND, ApiError, invalid_parameter

if TYPE_CHECKING:
    from poller.account.setup import AccountFunctions

PATH = "/2015-03-31/functions"
ONE = PATH + "/{name}"

LONGEST_CODE = 70_167_211
"""Bytes of a request that brings code: 50 MB in base64, and its other members (recorded)."""
READ_HERE = 128 * 1024
"""Bytes that are read as JSON on the loop's thread."""

Endpoint = Callable[[Request], Awaitable[Response]]


def routes(account: AccountFunctions, readable: Callable[[str], str] = str) -> list[BaseRoute]:
    """The calls on these functions.

    Args:
        account: that has them.
        readable: makes a URL of this service one that whoever gets it may read for a while.
    """
    return [*_routes([*_functions(account, readable), *_versions(account), *_aliases(account)]), _code(account)]


def refusing_routes(text: str) -> list[BaseRoute]:
    """Routes that answer every call with why it cannot be made here."""

    async def refuse(_: Request) -> Response:
        return refusal(invalid_parameter(text))

    below = ("/configuration", "/code", "/versions", "/aliases", "/aliases/{alias}")
    return _routes(
        (method, path, refuse)
        for path in (PATH, ONE, *(ONE + end for end in below))
        for method in ("GET", "POST", "PUT", "DELETE")
    )


def _functions(account: AccountFunctions, readable: Callable[[str], str]) -> list[tuple[str, str, Endpoint]]:
    calls = account.functions

    memory = Memory()

    async def create(request: Request) -> Response:
        with memory.held() as hold:
            body = await code_body(request, hold, LONGEST_CODE, " for the CreateFunction operation")
            return await answered(201, lambda: calls.create_function(body))

    async def listed(request: Request) -> Response:
        query = request.query_params
        return await answered(
            200,
            lambda: calls.list_functions(
                query.get("FunctionVersion"), query.get("Marker"), max_items(request.query_params)
            ),
        )

    async def get(request: Request) -> Response:
        def call() -> dict[str, Any]:
            answer = calls.get_function(_name(request), _qualifier(request))
            code = answer["Code"]
            if code["Location"].startswith(CODE_PATH):
                code["Location"] = readable(str(request.base_url).rstrip("/") + code["Location"])
            return answer

        return await answered(200, call)

    async def get_configuration(request: Request) -> Response:
        return await answered(200, lambda: calls.get_function_configuration(_name(request), _qualifier(request)))

    async def update_code(request: Request) -> Response:
        with memory.held() as hold:
            body = await code_body(request, hold, LONGEST_CODE, " for the UpdateFunctionCode operation")
            return await answered(200, lambda: calls.update_function_code(_name(request), body))

    async def update_configuration(request: Request) -> Response:
        body = await code_body(request)
        return await answered(200, lambda: calls.update_function_configuration(_name(request), body))

    async def delete(request: Request) -> Response:
        return await answered(204, lambda: calls.delete_function(_name(request), _qualifier(request)))

    return [
        ("POST", PATH, create),
        ("GET", PATH, listed),
        ("GET", ONE, get),
        ("DELETE", ONE, delete),
        ("GET", ONE + "/configuration", get_configuration),
        ("PUT", ONE + "/configuration", update_configuration),
        ("PUT", ONE + "/code", update_code),
    ]


def _versions(account: AccountFunctions) -> list[tuple[str, str, Endpoint]]:
    calls = account.publishing

    async def publish(request: Request) -> Response:
        body = await code_body(request)
        return await answered(201, lambda: calls.publish_version(_name(request), body))

    async def listed(request: Request) -> Response:
        marker = request.query_params.get("Marker")
        return await answered(
            200, lambda: calls.list_versions_by_function(_name(request), marker, max_items(request.query_params))
        )

    return [("POST", ONE + "/versions", publish), ("GET", ONE + "/versions", listed)]


def _aliases(account: AccountFunctions) -> list[tuple[str, str, Endpoint]]:
    calls = account.publishing

    async def create(request: Request) -> Response:
        body = await code_body(request)
        return await answered(201, lambda: calls.create_alias(_name(request), body))

    async def listed(request: Request) -> Response:
        query = request.query_params
        return await answered(
            200,
            lambda: calls.list_aliases(
                _name(request), query.get("FunctionVersion"), query.get("Marker"), max_items(request.query_params)
            ),
        )

    async def get(request: Request) -> Response:
        return await answered(200, lambda: calls.get_alias(_name(request), request.path_params["alias"]))

    async def update(request: Request) -> Response:
        body = await code_body(request)
        return await answered(200, lambda: calls.update_alias(_name(request), request.path_params["alias"], body))

    async def delete(request: Request) -> Response:
        return await answered(204, lambda: calls.delete_alias(_name(request), request.path_params["alias"]))

    one = ONE + "/aliases/{alias}"
    return [
        ("POST", ONE + "/aliases", create),
        ("GET", ONE + "/aliases", listed),
        ("GET", one, get),
        ("PUT", one, update),
        ("DELETE", one, delete),
    ]


def _code(account: AccountFunctions) -> BaseRoute:
    """GetFunction's Code.Location: the zip as it was sent."""

    async def get(request: Request) -> Response:
        file = account.catalogue.packages.zip_of(request.path_params["digest"])
        if not await run_in_threadpool(file.is_file):
            return refusal(ApiError(404, NOT_FOUND, "There is no such package any more."))
        return FileResponse(file, media_type="application/zip")

    return Route(CODE_PATH + "/{digest}.zip", get, methods=["GET"])


def _routes(calls: Any) -> list[BaseRoute]:
    """As AWS spells them, and with a slash at the end, as older clients do."""
    return [
        Route(path + end, refusing(endpoint), methods=[method]) for method, path, endpoint in calls for end in ("", "/")
    ]


async def code_body(
    request: Request, hold: Callable[[int], None] = lambda _: None, limit: int = LONGEST_BODY, what: str = ""
) -> Any:
    """The JSON of a request, whatever it is.

    Args:
        request: whose body was not read.
        hold: told of bytes that come in; raises ApiError when there is no memory left.
        limit: bytes.
        what: stands behind the limit in the text.
    """
    text = f"Request must be smaller than {limit} bytes{what}"
    refused = ApiError(413, "RequestEntityTooLargeException", text)
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and (len(announced) > len(str(limit)) or int(announced) > limit):
        raise refused
    content = bytearray()
    async for chunk in request.stream():
        hold(len(chunk))
        content += chunk
        if len(content) > limit:
            raise refused
    return await run_in_threadpool(_read, content) if len(content) > READ_HERE else _read(content)


def _read(content: bytearray) -> Any:
    try:
        return json.loads(content or b"{}")
    except (ValueError, RecursionError) as error:
        text = f"Could not parse request body into json: {error}"
        raise ApiError(400, "InvalidRequestContentException", text) from None


def _name(request: Request) -> str:
    name: str = request.path_params["name"]
    return name


def _qualifier(request: Request) -> str | None:
    return request.query_params.get("Qualifier")
