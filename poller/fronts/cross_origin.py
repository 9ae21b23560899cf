"""What web pages of other origins may read (CORS): answers to a browser's preflight, headers of all others. Pure.

A function's own CORS headers do not count where a configuration says what is allowed, as on AWS.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from pydantic import Field

from poller.fronts.replies import JSON, Reply
from poller.fronts.request import FrontRequest
from poller.validation import Boolean, Integer, Model

PREFIX = "access-control-"

_Name = Annotated[str, Field(max_length=1024, pattern=r"^[^\x00-\x1f\x7f]*$")]
_Method = Annotated[str, Field(max_length=6, pattern=r"^(\*|[A-Za-z]*)$")]
_Origin = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[^\x00-\x1f\x7f]*$")]


class Cors(Model):
    """As function URLs and HTTP APIs have it; names are AWS's."""

    AllowCredentials: Boolean | None = None
    """Whether a page may send cookies and logins along."""
    AllowHeaders: Annotated[tuple[_Name, ...], Field(max_length=100)] | None = None
    """Headers that a page may send, `*` for all."""
    AllowMethods: Annotated[tuple[_Method, ...], Field(max_length=6)] | None = None
    """Methods that a page may use, `*` for all."""
    AllowOrigins: Annotated[tuple[_Origin, ...], Field(max_length=100)] | None = None
    """Pages of which origins: `https://a.example`, `https://*` or `*`."""
    ExposeHeaders: Annotated[tuple[_Name, ...], Field(max_length=100)] | None = None
    """Headers of an answer that a page may read."""
    MaxAge: Annotated[Integer, Field(ge=0, le=86_400)] | None = None
    """Seconds for which a browser may keep the answer to a preflight."""


class RestCors(Model):
    """As SAM has it for REST APIs: values of headers, in quotes of their own (`"'*'"`)."""

    AllowMethods: str | None = None
    """By default those of the path's routes."""
    AllowHeaders: str | None = None
    """Headers that a page may send."""
    AllowOrigin: str = "'*'"
    """The one origin."""
    MaxAge: str | Integer | None = None
    """Seconds for which a browser may keep the answer to a preflight."""
    AllowCredentials: Boolean | None = None
    """Whether a page may send cookies and logins along."""


def is_preflight(request: FrontRequest) -> bool:
    """Whether a browser asks before it sends a page's request."""
    asked = request.header("origin") is not None and request.header("access-control-request-method") is not None
    return request.method == "OPTIONS" and asked


def preflight(cors: Cors, request: FrontRequest, status: int) -> Reply:
    """The answer to a preflight; an origin that is not allowed gets one without permission."""
    allowed = _permission(cors, request.header("origin"))
    given = {
        f"{PREFIX}allow-methods": _listed(cors.AllowMethods),
        f"{PREFIX}allow-headers": _listed(cors.AllowHeaders),
        f"{PREFIX}max-age": "" if cors.MaxAge is None else str(cors.MaxAge),
    }
    said = [(name, value) for name, value in given.items() if value] if allowed else []
    return Reply(status, (*allowed.items(), *said, *_varies(cors)))


def shared(cors: Cors, request: FrontRequest, reply: Reply) -> Reply:
    """A reply with what a page of the request's origin may do with it."""
    kept = [(name, value) for name, value in reply.headers if not name.startswith(PREFIX)]
    allowed = _permission(cors, request.header("origin"))
    if allowed and cors.ExposeHeaders:
        allowed[f"{PREFIX}expose-headers"] = _listed(cors.ExposeHeaders)
    return Reply(reply.status, (*kept, *allowed.items(), *_varies(cors)), reply.body)


def rest_preflight(cors: RestCors, methods: Iterable[str]) -> Reply:
    """The answer of a REST API to OPTIONS: what SAM's mock integration says, whoever asks.

    Args:
        cors: the API's.
        methods: of the routes with that path.
    """
    found = {"OPTIONS", *methods}
    every = "DELETE,GET,HEAD,OPTIONS,PATCH,POST,PUT"
    given = {
        "allow-methods": _unquoted(cors.AllowMethods) or (every if "ANY" in found else ",".join(sorted(found))),
        "allow-headers": _unquoted(cors.AllowHeaders),
        "allow-origin": _unquoted(cors.AllowOrigin),
        "max-age": _unquoted(cors.MaxAge),
        "allow-credentials": "true" if cors.AllowCredentials else "",
    }
    headers = [(PREFIX + name, value) for name, value in given.items() if value]
    return Reply(200, (("content-type", JSON), *headers), b"{}\n")


def _permission(cors: Cors, origin: str | None) -> dict[str, str]:
    """The headers that permit an origin; none when it is not permitted."""
    allowed = cors.AllowOrigins or ()
    if origin is None or not any(_covers(pattern, origin) for pattern in allowed):
        return {}
    headers = {f"{PREFIX}allow-origin": "*" if "*" in allowed else origin}
    if cors.AllowCredentials:  # with `*` no browser accepts it: nobody shares logins with all pages by oversight
        headers[f"{PREFIX}allow-credentials"] = "true"
    return headers


def _varies(cors: Cors) -> list[tuple[str, str]]:
    """An answer that is for some origins only is not to be kept for others."""
    return [("vary", "Origin")] if cors.AllowOrigins and "*" not in cors.AllowOrigins else []


def _covers(pattern: str, origin: str) -> bool:
    pattern, origin = pattern.lower(), origin.lower()
    if pattern in {"http://*", "https://*"}:
        return origin.startswith(pattern[:-1])
    return pattern in {"*", origin}


def _listed(values: Iterable[str] | None) -> str:
    return ",".join(values or ())


def _unquoted(value: str | int | None) -> str:
    text = "" if value is None else str(value)
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] == "'" else text
