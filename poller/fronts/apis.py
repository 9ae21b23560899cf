"""The HTTP and REST APIs that a template makes (A.6), and which of them a request means. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from poller.fronts.cross_origin import Cors, RestCors
from poller.fronts.routes import Route, Routes

PREFIX = "/_api/"
HOST = ".execute-api"
DEFAULT_STAGE = "$default"


@dataclass(frozen=True, slots=True)
class Api:
    """One API with its routes."""

    api_id: str
    kind: Literal["HTTP", "REST"]
    routes: tuple[Route, ...]
    stage: str = DEFAULT_STAGE
    """The first part of every path; `$default` is none."""
    stage_variables: Mapping[str, str] = field(default_factory=dict)
    cors: Cors | None = None
    """Of an HTTP API."""
    rest_cors: RestCors | None = None
    """Of a REST API."""
    binary_media_types: tuple[str, ...] = ()
    """Of a REST API."""

    def path(self, route: str = "/") -> str:
        """A route's path with the stage before it."""
        return route if self.stage == DEFAULT_STAGE else f"/{self.stage}{route}"


class Arrival(NamedTuple):
    """An API, and the path of a request below its stage."""

    api: Api
    path: str
    staged_path: str
    """With the stage."""


class Apis:
    """All APIs of one port.

    A request means the API in its Host (`<id>.execute-api.…`), else the one in its path (`/_api/<id>/…`), else the
    only one there is.
    """

    def __init__(self, apis: Sequence[Api]) -> None:
        self.all = tuple(apis)
        self._by_id = {api.api_id: api for api in apis}
        self.routes = {api.api_id: Routes(api.routes, path_first=api.kind == "REST") for api in apis}

    def find(self, host: str, path: str) -> Api | None:
        """The API of a request.

        Args:
            host: name in its Host header, in lower case and without a port.
            path: percent-encoded.
        """
        api_id, found, rest = host.partition(HOST)
        if found and (not rest or rest.startswith(".")):
            return self._by_id.get(api_id)
        if path.startswith(PREFIX):
            return self._by_id.get(path.removeprefix(PREFIX).partition("/")[0])
        return self.all[0] if len(self.all) == 1 else None

    def arrival(self, api: Api, path: str) -> Arrival | None:
        """Where in its API a path leads; None when it is not below the API's stage."""
        named = f"{PREFIX}{api.api_id}"
        if path == named or path.startswith(f"{named}/"):
            path = path.removeprefix(named) or "/"
        if api.stage == DEFAULT_STAGE:
            return Arrival(api, path, path)
        stage = f"/{api.stage}"
        if path != stage and not path.startswith(f"{stage}/"):
            return None
        return Arrival(api, path.removeprefix(stage) or "/", path)
