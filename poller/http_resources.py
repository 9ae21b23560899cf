"""What a template says of HTTP: events of functions and APIs, with AWS's names, ranges and defaults (A.6). Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from poller.fronts.apis import DEFAULT_STAGE
from poller.fronts.cross_origin import Cors, RestCors
from poller.fronts.routes import METHODS, path_problem
from poller.validation import Integer, Model, Text, describe


def _path(value: str) -> str:
    problem = path_problem(value)
    if problem:
        raise ValueError(f"{describe(value)} {problem}")
    return value


def _method(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    method = "ANY" if value.lower() in {"any", "x-amazon-apigateway-any-method", "*"} else value.upper()
    if method not in METHODS:
        raise ValueError(f"{describe(value)} is not one of {', '.join(METHODS)}")
    return method


def _version(value: Any) -> Any:
    return str(value) if isinstance(value, float) else value  # YAML reads an unquoted 2.0 as a number


def _cors(value: Any) -> Any:
    """SAM's short forms: true is all origins, a text is one."""
    if value is True or value == "true":
        return {"AllowOrigins": ["*"]}
    return {"AllowOrigins": [value.strip("'")]} if isinstance(value, str) else value


def _credentials(value: Cors) -> Cors:
    if value.AllowCredentials and "*" in (value.AllowOrigins or ()):
        raise ValueError("AllowCredentials and all origins (*) do not go together: name the origins")
    return value


def _rest_cors(value: Any) -> Any:
    if value is True:
        return {}
    return {"AllowOrigin": value} if isinstance(value, str) else value


def _stage(value: str) -> str:
    if value != DEFAULT_STAGE and not re.fullmatch(r"[A-Za-z0-9_-]{1,128}", value):
        raise ValueError(f"{describe(value)} is no name of a stage: letters, digits, '-' and '_'")
    return value


RoutePath = Annotated[str, AfterValidator(_path)]
RouteMethod = Annotated[str, BeforeValidator(_method)]
Stage = Annotated[Text, AfterValidator(_stage)]


class HttpApiEvent(Model):
    """An event of type HttpApi."""

    Path: RoutePath = "$default"
    """Such as `/orders/{id}` or `/files/{proxy+}`. Without Path and Method the event takes what no other route does."""
    Method: RouteMethod = "ANY"
    """`ANY` is every method for which the path has no route of its own."""
    ApiId: Text | None = None
    """`!Ref` to an AWS::Serverless::HttpApi; without it the template's implicit API, whose stage is `$default`."""
    PayloadFormatVersion: Annotated[Literal["1.0", "2.0"], BeforeValidator(_version)] = "2.0"
    """Of the event and of what the function returns."""
    TimeoutInMillis: Annotated[Integer, Field(ge=50, le=30_000)] = 30_000
    """How long a client waits for the function. The function runs on."""


class RestApiEvent(Model):
    """An event of type Api."""

    Path: RoutePath
    """Such as `/orders/{id}` or `/files/{proxy+}`."""
    Method: RouteMethod
    """`ANY` is every method for which the path has no route of its own."""
    RestApiId: Text | None = None
    """`!Ref` to an AWS::Serverless::Api; without it the template's implicit API, whose stage is `Prod`."""
    TimeoutInMillis: Annotated[Integer, Field(ge=50, le=29_000)] = 29_000
    """How long a client waits for the function. The function runs on."""


class HttpApi(Model):
    """AWS::Serverless::HttpApi."""

    StageName: Stage = "$default"
    """The first part of every path; `$default` is none."""
    StageVariables: Mapping[str, Text] = Field(default_factory=dict)
    """The events' `stageVariables`."""
    CorsConfiguration: Annotated[Cors, BeforeValidator(_cors), AfterValidator(_credentials)] | None = None
    """Which web pages may call. `true` is all of them; a text is one origin."""


class RestApi(Model):
    """AWS::Serverless::Api."""

    StageName: Stage
    """The first part of every path."""
    Variables: Mapping[str, Text] = Field(default_factory=dict)
    """The events' `stageVariables`."""
    Cors: Annotated[RestCors, BeforeValidator(_rest_cors)] | None = None
    """What OPTIONS is answered with on every path without a route for it. A text is the origin."""
    BinaryMediaTypes: tuple[str, ...] = ()
    """Bodies of these types are base64 in events, and base64 of functions is decoded for who accepts them."""
