"""Calls on event source mappings over HTTP: paths, statuses and errors as AWS's clients know them (A.3, C.1)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from poller.api.event_source_mappings import LONGEST_BODY, PATH, refusing_routes, routes
from poller.api_errors import ApiError, duplicate_arn, in_use, mapping_missing, violation


class Plane:
    """Answers every call with itself, or refuses it."""

    def __init__(self) -> None:
        self.refusal: ApiError | None = None

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: object) -> dict[str, object]:
            if self.refusal is not None:
                raise self.refusal
            return {"call": name, "arguments": list(arguments)}

        return call


def ask(
    method: str, path: str, plane: Plane | None = None, *, headers: Mapping[str, str] | None = None, **given: Any
) -> httpx.Response:
    made: Any = plane or Plane()

    async def run() -> httpx.Response:
        transport = httpx.ASGITransport(Starlette(routes=routes(made)))
        async with httpx.AsyncClient(transport=transport, base_url="http://poller") as client:
            return await client.request(method, path, headers=headers, **given)

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("method", "path", "status", "call", "arguments"),
    [
        ("POST", PATH, 202, "create_event_source_mapping", [{"BatchSize": 1}]),
        ("POST", f"{PATH}/", 202, "create_event_source_mapping", [{"BatchSize": 1}]),
        ("GET", PATH, 200, "list_event_source_mappings", [None, None, None, None]),
        (
            "GET",
            f"{PATH}/?EventSourceArn=a&FunctionName=f&Marker=m&MaxItems=7",
            200,
            "list_event_source_mappings",
            ["a", "f", "m", 7],
        ),
        ("GET", f"{PATH}/u-1", 200, "get_event_source_mapping", ["u-1"]),
        ("PUT", f"{PATH}/u-1", 202, "update_event_source_mapping", ["u-1", {"BatchSize": 1}]),
        ("DELETE", f"{PATH}/u-1", 202, "delete_event_source_mapping", ["u-1"]),
    ],
)
def test_each_call_has_its_path_and_status(
    method: str, path: str, status: int, call: str, arguments: list[object]
) -> None:  # C.1
    body = {"json": {"BatchSize": 1}} if method in {"POST", "PUT"} else {}
    answer = ask(method, path, **body)
    assert (answer.status_code, answer.json()) == (status, {"call": call, "arguments": arguments})
    assert answer.headers["x-amzn-RequestId"]


@pytest.mark.parametrize(
    ("error", "status", "body"),
    [
        (mapping_missing(), 404, {"Message": "The resource you requested does not exist.", "Type": "User"}),
        (
            in_use("delete"),
            400,
            {"Message": "Cannot delete the event source mapping because it is in use.", "Type": "User"},
        ),
        (duplicate_arn("a", "f", "u"), 409, {"message": duplicate_arn("a", "f", "u").text, "Type": "User"}),
        (violation(0, "BatchSize", "no"), 400, {"message": violation(0, "BatchSize", "no").text}),
        (
            ApiError(400, "InvalidParameterValueException", "Invalid filter pattern definition.", "a leaf is no array"),
            400,
            {"message": "Invalid filter pattern definition.", "Type": "User", "Explanation": "a leaf is no array"},
        ),
    ],
)
def test_a_refusal_has_aws_s_shape_and_what_we_know_beside_it(
    error: ApiError, status: int, body: dict[str, str]
) -> None:  # A.3
    plane = Plane()
    plane.refusal = error
    answer = ask("GET", f"{PATH}/u", plane)
    assert (answer.status_code, answer.json()) == (status, body)
    assert answer.headers["x-amzn-ErrorType"] == error.type


@pytest.mark.parametrize("content", [b"{", b"[]", b"1", b"\xff", b"[" * 100_000])
def test_a_body_that_is_no_json_object_is_refused(content: bytes) -> None:  # A.3
    answer = ask("POST", PATH, content=content)
    assert (answer.status_code, answer.headers["x-amzn-ErrorType"]) == (400, "InvalidRequestContentException")
    assert answer.json()["message"].startswith("Could not parse request body into json")


def test_a_body_beyond_the_limit_is_refused() -> None:
    answer = ask("POST", PATH, content=b" " * (LONGEST_BODY + 1))
    assert (answer.status_code, answer.headers["x-amzn-ErrorType"]) == (413, "RequestEntityTooLargeException")


def test_max_items_has_to_be_a_number() -> None:
    assert ask("GET", f"{PATH}?MaxItems=ten").status_code == 400


def test_where_no_call_can_be_made_every_one_is_told_why() -> None:
    async def run() -> list[httpx.Response]:
        transport = httpx.ASGITransport(Starlette(routes=refusing_routes("Not here.")))
        async with httpx.AsyncClient(transport=transport, base_url="http://poller") as client:
            return [await client.post(PATH, json={}), await client.delete(f"{PATH}/u-1")]

    for answer in asyncio.run(run()):
        assert (answer.status_code, answer.json()) == (400, {"message": "Not here.", "Type": "User"})
