"""The events that a function gets for an HTTP request: payload 2.0 (A.5, A.6) and payload 1.0 (A.6). Pure."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from poller.fronts.request import FrontRequest, gathered, joined, last, media_type

TEXT = re.compile(
    r"text/.*|application/(json|xml|javascript|ecmascript|graphql|yaml|x-yaml|x-ndjson)|.+/.+\+(json|xml|yaml)"
)
"""Media types whose bodies go into payload 2.0 as they are. A form is not among them, on AWS neither."""

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request arrived: what an event says of that, beside the request."""

    account_id: str
    api_id: str
    domain_name: str
    stage: str = "$default"
    route_key: str = "$default"
    resource: str = ""
    """The route's path, such as `/a/{id}`."""
    path_parameters: Mapping[str, str] = field(default_factory=dict)
    stage_variables: Mapping[str, str] = field(default_factory=dict)
    authorizer: Mapping[str, Any] | None = None
    decoded: bool = False
    """Whether paths are percent-decoded in the event: an HTTP API's are."""
    staged_path: str = ""
    """The path with the stage before it, percent-encoded; empty where the path has it already."""


def encoded(event: Mapping[str, Any]) -> bytes:
    """An event as the function gets it."""
    return json.dumps(event, separators=(",", ":"), ensure_ascii=False).encode()


def payload_2(request: FrontRequest, target: Target) -> dict[str, Any]:
    """Payload 2.0: of function URLs and HTTP APIs."""
    path = _path(request.path, target)
    fields = [(name.lower(), value) for name, value in request.forwarded()]
    cookies = [cookie.strip() for name, value in fields if name == "cookie" for cookie in value.split(";")]
    body, is_base64 = _body(request.body, as_text=_is_text(request))
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": target.route_key,
        "rawPath": path,
        "rawQueryString": request.query,
        "cookies": [cookie for cookie in cookies if cookie],
        "headers": joined(field for field in fields if field[0] != "cookie"),
        "queryStringParameters": joined(request.parameters),
        "requestContext": {
            "accountId": target.account_id,
            "apiId": target.api_id,
            "authentication": None,
            "authorizer": target.authorizer,
            "domainName": target.domain_name,
            "domainPrefix": target.domain_name.partition(".")[0],
            "http": {
                "method": request.method,
                "path": path,
                "protocol": request.protocol,
                "sourceIp": request.source_ip,
                "userAgent": request.user_agent,
            },
            "requestId": request.request_id,
            "routeKey": target.route_key,
            "stage": target.stage,
            "time": _written(request.time),
            "timeEpoch": round(request.time * 1000),
        },
        "body": body,
        "pathParameters": target.path_parameters or None,
        "isBase64Encoded": is_base64,
        "stageVariables": target.stage_variables or None,
    }
    return {name: value for name, value in event.items() if value or name not in _LEFT_OUT}


_LEFT_OUT = {"cookies", "queryStringParameters", "body"}
"""Parts of payload 2.0 that are not there when they are empty."""


def payload_1(request: FrontRequest, target: Target) -> dict[str, Any]:
    """Payload 1.0 of HTTP APIs."""
    body, is_base64 = _body(request.body, as_text=_is_text(request))
    context = {
        **_context_1(request, target),
        "authorizer": {"claims": None, "scopes": None},
        "requestId": request.request_id,
        "resourceId": None,
    }
    return {"version": "1.0", **_event_1(request, target, context, body), "isBase64Encoded": is_base64}


def rest_event(request: FrontRequest, target: Target, binary_media_types: Iterable[str] = ()) -> dict[str, Any]:
    """The event of REST APIs: payload 1.0 without its version.

    Args:
        request: what was asked.
        target: where.
        binary_media_types: bodies of these go into the event as base64; all others as text.
    """
    binary = matches(media_type(request.header("content-type")), binary_media_types)
    if binary:
        body, is_base64 = _body(request.body, as_text=False)
    else:
        body, is_base64 = request.body.decode(errors="replace") or None, False
    context = {**_context_1(request, target), "requestId": request.request_id, "resourceId": target.route_key}
    return {**_event_1(request, target, context, body), "isBase64Encoded": is_base64}


def matches(media: str, patterns: Iterable[str]) -> bool:
    """Whether a media type is among some, of which `*` stands for all, and `image/*` for all images."""
    kind = media.partition("/")[0]
    return any(
        pattern in {"*/*", "*", media} or pattern == f"{kind}/*" for pattern in map(str.lower, binary_types(patterns))
    )


def binary_types(written: Iterable[str]) -> list[str]:
    """Media types as SAM lets them be written: `image~1png` is image/png."""
    return [text.replace("~1", "/") for text in written]


def _event_1(request: FrontRequest, target: Target, context: Mapping[str, Any], body: str | None) -> dict[str, Any]:
    fields = request.forwarded()
    parameters = request.parameters
    return {
        "resource": target.resource,
        "path": _path(request.path, target),
        "httpMethod": request.method,
        "headers": last(fields),
        "multiValueHeaders": gathered(fields, fold=True),
        "queryStringParameters": {name: values[-1] for name, values in gathered(parameters).items()} or None,
        "multiValueQueryStringParameters": gathered(parameters) or None,
        "requestContext": context,
        "pathParameters": dict(target.path_parameters) or None,
        "stageVariables": dict(target.stage_variables) or None,
        "body": body,
    }


def _context_1(request: FrontRequest, target: Target) -> dict[str, Any]:
    return {
        "accountId": target.account_id,
        "apiId": target.api_id,
        "domainName": target.domain_name,
        "domainPrefix": target.domain_name.partition(".")[0],
        "extendedRequestId": request.request_id,
        "httpMethod": request.method,
        "identity": {
            "sourceIp": request.source_ip,
            "userAgent": request.user_agent,
            **dict.fromkeys(
                (
                    "accessKey",
                    "accountId",
                    "caller",
                    "cognitoAuthenticationProvider",
                    "cognitoAuthenticationType",
                    "cognitoIdentityId",
                    "cognitoIdentityPoolId",
                    "principalOrgId",
                    "user",
                    "userArn",
                )
            ),
        },
        "path": _path(target.staged_path or request.path, target),
        "protocol": request.protocol,
        "requestTime": _written(request.time),
        "requestTimeEpoch": round(request.time * 1000),
        "resourcePath": target.resource,
        "stage": target.stage,
    }


def _path(path: str, target: Target) -> str:
    return unquote(path, errors="replace") if target.decoded else path


def _is_text(request: FrontRequest) -> bool:
    """What names no type is text if it can be."""
    media = media_type(request.header("content-type"))
    return not request.header("content-encoding") and (not media or TEXT.fullmatch(media) is not None)


def _body(body: bytes, *, as_text: bool) -> tuple[str | None, bool]:
    """The body in the event, and whether it is base64: what should be text and is none is, too."""
    if not body:
        return None, False
    if as_text:
        try:
            return body.decode(), False
        except UnicodeDecodeError:
            pass
    return base64.b64encode(body).decode(), True


def _written(seconds: float) -> str:
    """`25/Nov/2025:10:00:00 +0000`, whatever the locale."""
    at = datetime.fromtimestamp(seconds, UTC)
    return f"{at.day:02}/{MONTHS[at.month - 1]}/{at:%Y:%H:%M:%S} +0000"
