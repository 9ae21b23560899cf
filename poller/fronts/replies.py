"""What a function returned as an HTTP response: payload 2.0 infers what is not said (A.5), 1.0 does not (A.6). Pure.

A reply that cannot be sent is refused whole, with the reason for the log: no part of it may be read by a client as
something that it is not, such as a header that holds a line's end.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

JSON = "application/json"

NO_BODY = frozenset({204, 205, 304})
"""Statuses that cannot have one."""

OURS = frozenset(
    {
        "connection",
        "content-length",
        "date",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "x-amzn-requestid",
    }
)
"""Headers that belong to the connection or to the front: a function's are passed over."""

_BLANKS = re.compile(r'("[^"\\]*(?:\\.[^"\\]*)*")|\s+', re.DOTALL)
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
_UNSENDABLE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


class NoResponse(Exception):  # noqa: N818 - what it says: the function's result is none
    """The result is no HTTP response; the text says why."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP response, ready to be sent."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    """Names in lower case."""
    body: bytes = b""


def inferred(payload: bytes, content_type: str = JSON) -> Reply:
    """A.5: an object with a statusCode says all itself; anything else is a body of JSON, a text without its quotes.

    Args:
        payload: what the function returned; what is not JSON is a body as it is.
        content_type: of a response that names none.

    Raises:
        NoResponse: it has a statusCode and cannot be sent.
    """
    try:
        text = payload.decode()
        result = json.loads(text)
    except (ValueError, RecursionError):  # also UnicodeDecodeError
        return Reply(200, (("content-type", "application/octet-stream"),), payload)
    if isinstance(result, dict) and "statusCode" in result:
        return _stated(result, content_type)
    body = result if isinstance(result, str) else compact(text)
    return Reply(200, (("content-type", JSON),), body.encode(errors="replace"))


def proxied(payload: bytes, content_type: str = JSON, *, decode: Callable[[str | None], bool] | None = None) -> Reply:
    """A.6: a response of payload 1.0, which has to be an object with a statusCode.

    Args:
        payload: what the function returned.
        content_type: of a response that names none.
        decode: whether base64 is decoded for a response of that content type; always by default.

    Raises:
        NoResponse: it is none, or cannot be sent.
    """
    try:
        result = json.loads(payload)
    except (ValueError, RecursionError):
        raise NoResponse("it is not JSON") from None
    if not isinstance(result, dict) or "statusCode" not in result:
        raise NoResponse("it is no object with a statusCode")
    return _stated(result, content_type, decode)


def stated_head(head: Mapping[str, Any]) -> Reply:
    """Status, headers and cookies of a streamed response, whose body comes afterwards.

    Raises:
        NoResponse: they cannot be sent.
    """
    return _stated({"statusCode": 200, **head, "body": ""}, "application/octet-stream")


def compact(text: str) -> str:
    """JSON without the blanks between its values; the values stay as they are written."""
    return _BLANKS.sub(lambda found: found[1] or "", text)


def _stated(result: Mapping[str, Any], content_type: str, decode: Callable[[str | None], bool] | None = None) -> Reply:
    status = _status(result["statusCode"])
    headers = list(_headers(result))
    given = next((value for name, value in headers if name == "content-type"), None)
    if given is None:
        headers.append(("content-type", content_type))
    cookies = _list(result.get("cookies"), "cookies")
    headers += [("set-cookie", _sendable("a cookie", cookie)) for cookie in cookies]
    body = result.get("body")
    if body is None:
        body = ""
    if not isinstance(body, str):
        raise NoResponse(f"its body is {_kind(body)}, not a text: encode it as JSON")
    content = body.encode(errors="replace")
    if result.get("isBase64Encoded") is True and (decode is None or decode(given)):
        try:
            content = base64.b64decode(content, validate=True)
        except binascii.Error:
            raise NoResponse("isBase64Encoded is true, and its body is no base64") from None
    if status in NO_BODY:
        content = b""
    return Reply(status, tuple(headers), content)


def _status(value: Any) -> int:
    if isinstance(value, str) and re.fullmatch(r"[1-5][0-9]{2}", value, re.ASCII):
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 100 <= value <= 599:  # noqa: PLR2004
        raise NoResponse("its statusCode is no number from 100 to 599")
    if value < 200:  # noqa: PLR2004
        raise NoResponse(f"its statusCode is {value}, after which a client waits for another response")
    return value


def _headers(result: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Those of `multiValueHeaders` before those of `headers`, of which the former win."""
    several = _mapping(result.get("multiValueHeaders"), "multiValueHeaders")
    names = {str(name).lower() for name in several}
    for name, values in several.items():
        for value in _list(values, f"the header {name!r} of multiValueHeaders"):
            yield from _header(name, value)
    for name, value in _mapping(result.get("headers"), "headers").items():
        if name.lower() not in names:
            yield from _header(name, value)


def _header(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if value is None or name.lower() in OURS:
        return
    if not _TOKEN.fullmatch(name):
        raise NoResponse(f"{name[:80]!r} is no header's name")
    yield name.lower(), _sendable(f"the header {name[:80]!r}", value)


def _sendable(what: str, value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return str(value)
    if not isinstance(value, str):
        raise NoResponse(f"{what} is {_kind(value)}, not a text")
    if _UNSENDABLE.search(value):
        raise NoResponse(f"{what} holds a line's end or another control character")
    return value.encode(errors="replace").decode().strip()


def _mapping(value: Any, what: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise NoResponse(f"{what}: {_kind(value)}, not an object")
    return value


def _list(value: Any, what: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise NoResponse(f"{what}: {_kind(value)}, not a list")
    return value


def _kind(value: Any) -> str:
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    return json.dumps(value)[:80]
