"""Which route of an API a request takes: exact paths before parameters before greedy ones before `$default`. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

DEFAULT = "$default"
ANY = "ANY"
METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", ANY)

_PART = re.compile(r"\{([A-Za-z0-9._:-]+)(\+?)\}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Route:
    """One way to a function."""

    method: str
    """One of METHODS."""
    path: str
    """Such as `/a/{id}` and `/a/{proxy+}`; `$default` takes what no other route does."""
    function_name: str
    payload_format: str = "2.0"
    timeout: float = 30.0
    """Seconds that a client waits for the function; the function has its own."""

    @property
    def key(self) -> str:
        """As events name it."""
        return DEFAULT if self.path == DEFAULT else f"{self.method} {self.path}"


@dataclass(frozen=True, slots=True)
class Match:
    """A route, and what its parameters stand for: as the path has it, percent-encoded."""

    route: Route
    parameters: Mapping[str, str]

    def decoded(self) -> dict[str, str]:
        """The parameters, percent-decoded."""
        return {name: unquote(value, errors="replace") for name, value in self.parameters.items()}


def path_problem(path: str) -> str:
    """What is wrong with a route's path; empty when nothing is."""
    if path == DEFAULT:
        return ""
    if not path.startswith("/"):
        return "does not start with a slash"
    parts = path.split("/")[1:]
    names = []
    for number, part in enumerate(parts):
        found = _PART.fullmatch(part)
        if found is None:
            if "{" in part or "}" in part:
                return f"has {part}, where a parameter is the whole part, such as {{id}} or {{proxy+}}"
            continue
        if found[2] and number < len(parts) - 1:
            return f"goes on after {part}, which takes all the rest"
        names.append(found[1])
    return "has a parameter twice" if len(set(names)) < len(names) else ""


class Routes:
    """The routes of one API."""

    def __init__(self, routes: Sequence[Route], *, path_first: bool = False) -> None:
        """Order them.

        Args:
            routes: with right paths; no two for the same method and path.
            path_first: as REST APIs have it: the best path is chosen whatever the method, and then has it or not.
                Else the best route that has the method, as HTTP APIs do.
        """
        self.all = tuple(routes)
        self._path_first = path_first
        self._ordered = sorted(routes, key=lambda route: (_rank(route.path), route.path, route.method == ANY))
        self._parts = {route.path: route.path.split("/")[1:] for route in routes}

    def match(self, method: str, path: str) -> Match | None:
        """The route of a request; its path is percent-encoded and starts with a slash."""
        parts = path.split("/")[1:]
        chosen: str | None = None
        for route in self._ordered:
            if chosen is not None and route.path != chosen:
                break
            parameters = {} if route.path == DEFAULT else _parameters(self._parts[route.path], parts)
            if parameters is None:
                continue
            if self._path_first:
                chosen = route.path
            if route.path == DEFAULT or route.method in {method, ANY}:
                return Match(route, parameters)
        return None

    def methods(self, path: str) -> list[str] | None:
        """The methods of the best path for a request; None when no route has such a path."""
        parts = path.split("/")[1:]
        for route in self._ordered:
            if route.path != DEFAULT and _parameters(self._parts[route.path], parts) is not None:
                return sorted({other.method for other in self.all if other.path == route.path})
        return None


def _rank(path: str) -> tuple[int, ...]:
    """Paths that match to their end before greedy ones, `$default` after all; among them text before a parameter."""
    if path == DEFAULT:
        return (2,)
    weights = [_weight(part) for part in path.split("/")[1:]]
    return (int(_GREEDY in weights), *weights)


_GREEDY = 2


def _weight(part: str) -> int:
    found = _PART.fullmatch(part)
    if found is None:
        return 0
    return _GREEDY if found[2] else 1


def _parameters(wanted: Sequence[str], given: Sequence[str]) -> dict[str, str] | None:
    found: dict[str, str] = {}
    for number, part in enumerate(wanted):
        match = _PART.fullmatch(part)
        if match is not None and match[2]:
            rest = "/".join(given[number:])
            return {**found, match[1]: rest} if rest else None
        if number >= len(given):
            return None
        if match is None:
            if part != given[number] and part != unquote(given[number]):
                return None
        elif not given[number]:
            return None
        else:
            found[match[1]] = given[number]
    return found if len(given) == len(wanted) else None
