"""What a template says of HTTP: function URLs (A.5), and events and resources that make APIs (A.6).

They are not handed to AWS's transform, which would make OpenAPI documents of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, TypeVar

from poller import supported_http
from poller.errors import ConfigError, Problem
from poller.fronts.apis import Api
from poller.fronts.routes import Route
from poller.fronts.url_config import FunctionUrl, UrlConfig, derived_id
from poller.http_resources import HttpApi, HttpApiEvent, RestApi, RestApiEvent
from poller.settings import SECTION, Settings
from poller.supported_http import FUNCTION_URL, HTTP_API, REST_API
from poller.validation import Model, closest, describe, join, parse, under

IMPLICIT = {"HttpApi": "ServerlessHttpApi", "Api": "ServerlessRestApi"}
"""Logical IDs of the APIs that SAM makes for events that name none."""
IMPLICIT_STAGE = "Prod"
"""Of the implicit REST API."""

_GLOBAL = {HTTP_API: "HttpApi", REST_API: "Api"}
_MODELS: Mapping[str, type[HttpApi | RestApi]] = {HTTP_API: HttpApi, REST_API: RestApi}
_EVENTS: Mapping[str, type[HttpApiEvent | RestApiEvent]] = {"HttpApi": HttpApiEvent, "Api": RestApiEvent}

M = TypeVar("M", bound=Model)
Checked = Callable[[Mapping[str, Any], str, Collection[str], Mapping[str, str], Collection[str]], dict[str, Any]]
"""Takes properties, their path, and names that are supported, refused and without effect; gives those that do
something, resolved, and reports the others."""


@dataclass(slots=True)
class _DeclaredApi:
    """An API while its routes are gathered."""

    kind: str
    properties: HttpApi | RestApi
    routes: dict[tuple[str, str], Route] = field(default_factory=dict)


class HttpReader:
    """Gathers what one template declares; `problems` is what is wrong with it.

    Args:
        account: for ids of URLs.
        region: likewise.
        checked: reads a set of properties.
    """

    def __init__(self, account: str, region: str, checked: Checked) -> None:
        self.problems: list[Problem] = []
        self.urls: dict[str, tuple[FunctionUrl, str]] = {}
        """By function, with the place in the template."""
        self._identity = (account, region)
        self._checked = checked
        self._globals: dict[str, dict[str, Any]] = {}
        self._apis: dict[str, _DeclaredApi] = {}
        """By logical ID."""
        self._missing: set[str] = set()
        """Logical IDs of APIs whose own problems are told already."""
        self._events: list[tuple[str, str, HttpApiEvent | RestApiEvent, str]] = []
        """Function, type of event, its properties, and its path in the template."""

    def read_globals(self, section: Mapping[str, Any]) -> None:
        """Read `HttpApi` and `Api` of Globals, which also hold for implicit APIs."""
        for kind, name in _GLOBAL.items():
            values = section.get(name) or {}
            path = f"Globals.{name}"
            if not isinstance(values, dict):
                self._problem(path, f"{describe(values)} is not a mapping")
                continue
            known = _MODELS[kind].model_fields.keys() - {"StageName"}
            refused = {**supported_http.APIS_REFUSED[kind], "StageName": "AWS takes it in an API, not in Globals"}
            self._globals[kind] = self._checked(values, path, known, refused, supported_http.APIS_WITHOUT_EFFECT[kind])

    def api(self, name: str, kind: str, values: Mapping[str, Any], path: str) -> None:
        """Read an AWS::Serverless::HttpApi or AWS::Serverless::Api."""
        model = _MODELS[kind]
        kept = self._checked(
            values,
            path,
            model.model_fields.keys(),
            supported_http.APIS_REFUSED[kind],
            supported_http.APIS_WITHOUT_EFFECT[kind],
        )
        self._declare(name, kind, kept, path)

    def url(self, function_name: str | None, values: Mapping[str, Any], path: str) -> None:
        """Read an AWS::Lambda::Url, whose function exists, or is None where that was told already."""
        if values.get("Qualifier") is not None:
            reason = f"not supported: versions and aliases ({describe(values['Qualifier'])})"
            self._problem(join(path, "Qualifier"), reason, "leave it out")
        own = {key: value for key, value in values.items() if key in UrlConfig.model_fields}
        self._url(function_name, own, path)

    def function_url(self, name: str, own: dict[str, Any], global_values: Mapping[str, Any], path: str) -> None:
        """Take FunctionUrlConfig out of a SAM function's properties, with that of Globals below it."""
        value, inherited = own.pop("FunctionUrlConfig", None), global_values.get("FunctionUrlConfig")
        place = join(path if value is not None else "Globals.Function", "FunctionUrlConfig")
        merged = inherited if value is None else _merged(inherited, value)
        if merged is None:
            return
        if isinstance(merged, dict):
            self._url(name, merged, place)
        else:
            self._problem(place, f"{describe(merged)} is not a mapping")

    def take_events(self, function_name: str, section: Any, path: str) -> Any:
        """Read a SAM function's HTTP events; gives its section without them."""
        if not isinstance(section, dict):
            return section
        others = {}
        for name, source in section.items():
            kind = source.get("Type") if isinstance(source, dict) else None
            if isinstance(source, dict) and isinstance(kind, str) and kind in _EVENTS:
                self._event(function_name, kind, source, join(path, name))
            else:
                others[name] = source
        return others

    def apis(self) -> list[Api]:
        """Every API with its routes, when all is read."""
        for function_name, kind, event, path in self._events:
            self._route(function_name, kind, event, path)
        made = [_api(name, declared) for name, declared in self._apis.items()]
        ids = [api.api_id for api in made]
        for name, api in zip(self._apis, made, strict=True):
            if ids.count(api.api_id) > 1:
                self._problem(f"Resources.{name}", f"another API has the id {api.api_id}, too", "rename one of them")
        return made

    def _problem(self, path: str, reason: str, suggestion: str = "") -> None:
        self.problems.append(Problem(path, reason, suggestion))

    def _parsed(self, model: type[M], values: Mapping[str, Any], where: Callable[[str], str]) -> M | None:
        try:
            return parse(model, values, where)
        except ConfigError as error:
            self.problems += error.problems
            return None

    def _declare(self, name: str, kind: str, kept: Mapping[str, Any], path: str) -> None:
        below = self._globals.get(kind, {})

        def where(field: str) -> str:
            top = re.split(r"[.\[]", field)[0]
            return join(f"Globals.{_GLOBAL[kind]}" if top in below and top not in kept else path, field)

        properties = self._parsed(_MODELS[kind], _merged(below, dict(kept)), where)
        if properties is None:
            self._missing.add(name)
        else:
            self._apis[name] = _DeclaredApi(_GLOBAL[kind], properties)

    def _url(self, function_name: str | None, values: Mapping[str, Any], place: str) -> None:
        config = self._parsed(UrlConfig, values, under(place))
        if config is None or function_name is None:
            return
        if function_name in self.urls:
            first = self.urls[function_name][1]
            self._problem(place, f"function {function_name} has a URL already", f"the first one is {first}")
            return
        url_id = derived_id(*self._identity, function_name, "")
        self.urls[function_name] = FunctionUrl(url_id, function_name, "", config, 0.0, 0.0, declared=True), place

    def _event(self, function_name: str, kind: str, source: Mapping[str, Any], path: str) -> None:
        for key in source:
            if key not in {"Type", "Properties"}:
                near = closest(key, ["Type", "Properties"])
                self._problem(join(path, key), "unknown attribute of an event", near)
        given = source.get("Properties", {})
        if not isinstance(given, dict):
            self._problem(join(path, "Properties"), f"{describe(given)} is not a mapping")
            return
        model = _EVENTS[kind]
        kept = self._checked(given, path, model.model_fields.keys(), supported_http.EVENTS_REFUSED[kind], ())
        if kind == "HttpApi" and ("Path" in given) != ("Method" in given):
            missing = "Method" if "Path" in given else "Path"
            self._problem(join(path, missing), "is missing", "Path and Method stand together, or neither does")
            return
        event = self._parsed(model, kept, under(path))
        if event is not None:
            self._events.append((function_name, kind, event, path))

    def _route(self, function_name: str, kind: str, event: HttpApiEvent | RestApiEvent, path: str) -> None:
        is_http = isinstance(event, HttpApiEvent)
        named = event.ApiId if isinstance(event, HttpApiEvent) else event.RestApiId
        name = named or IMPLICIT[kind]
        if name not in self._apis and named is None:
            sam_kind = HTTP_API if is_http else REST_API
            self._declare(name, sam_kind, {} if is_http else {"StageName": IMPLICIT_STAGE}, f"Globals.{kind}")
        api = self._apis.get(name)
        if api is None or api.kind != kind:
            if name not in self._missing:
                known = [key for key, declared in self._apis.items() if declared.kind == kind]
                reason = f"{name} is no {HTTP_API if is_http else REST_API} of this template"
                self._problem(join(path, "ApiId" if is_http else "RestApiId"), reason, closest(name, known))
            return
        route = Route(
            event.Method,
            event.Path,
            function_name,
            event.PayloadFormatVersion if isinstance(event, HttpApiEvent) else "1.0",
            event.TimeoutInMillis / 1000,
        )
        first = api.routes.setdefault((route.method, route.path), route)
        if first is not route:
            self._problem(path, f"{name} has a route {route.key} already, to function {first.function_name}")


def http_problems(reader: HttpReader, apis: Sequence[Api], settings: Settings) -> Iterator[Problem]:
    """What of the fronts does not go together with the settings."""
    for url, place in reader.urls.values():
        if url.config.AuthType == "AWS_IAM":
            reason = unchecked(settings)
            if reason:
                yield Problem(join(place, "AuthType"), f"AWS_IAM: {reason}", "NONE lets everybody call")
    if settings.Workers > 1 and (reader.urls or apis):
        reason = f"is {settings.Workers}, and function URLs and APIs need one process"
        yield Problem(f"{SECTION}.Workers", reason, "set Workers to 1, or take FunctionUrlConfig and HTTP events out")


def unchecked(settings: Settings) -> str:
    """Why signatures cannot be checked; empty where they can."""
    if not settings.SignatureKeys:
        return "there is no key in SignatureKeys to check signatures with"
    return "" if find_spec("botocore") else "botocore is not installed, which computes signatures: poller[aws]"


def _api(name: str, declared: _DeclaredApi) -> Api:
    api_id = re.sub(r"[^a-z0-9]", "", name.lower())
    routes = tuple(declared.routes.values())
    properties = declared.properties
    if isinstance(properties, HttpApi):
        return Api(
            api_id,
            "HTTP",
            routes,
            properties.StageName,
            dict(properties.StageVariables),
            cors=properties.CorsConfiguration,
        )
    return Api(
        api_id,
        "REST",
        routes,
        properties.StageName,
        dict(properties.Variables),
        rest_cors=properties.Cors,
        binary_media_types=properties.BinaryMediaTypes,
    )


def _merged(below: Any, above: Any) -> Any:
    """As SAM merges Globals: mappings by key, lists one after the other, everything else replaced."""
    if isinstance(below, dict) and isinstance(above, dict):
        return {**below, **{key: _merged(below.get(key), value) for key, value in above.items()}}
    return [*below, *above] if isinstance(below, list) and isinstance(above, list) else above


__all__ = ["FUNCTION_URL", "HTTP_API", "REST_API", "HttpReader", "http_problems", "unchecked"]
