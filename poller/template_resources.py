"""The template's functions and mappings: checked by name, translated by AWS's SAM transform, and built."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from poller import supported
from poller.api_errors import FUNCTION_MISSING
from poller.errors import ConfigError, Problem
from poller.fronts.apis import Api
from poller.function_names import named_function
from poller.handler_files import handler_problem
from poller.intrinsics import Resolver
from poller.resources import Function, event_source_mapping, function
from poller.runtime.layers import unpacked
from poller.runtime.runtimes import RUNTIMES, understood
from poller.sam import FUNCTION, TRANSFORM, Translator
from poller.settings import SECTION
from poller.template_async import AsyncReader
from poller.template_content import local_content
from poller.template_events import Event, EventReader
from poller.template_http import FUNCTION_URL, HTTP_API, REST_API, HttpReader
from poller.template_layers import CONTENT, LayerReader
from poller.template_triggers import TriggerReader
from poller.triggers.supported import TRIGGER_RESOURCES
from poller.validation import closest, describe, join, under
from poller.wiring import Declared

LAMBDA_FUNCTION = "AWS::Lambda::Function"
MAPPING = "AWS::Lambda::EventSourceMapping"

API_SERVERS = "KAFKA_BOOTSTRAP_SERVERS"

EXAMPLE_RUNTIME = [name for name in RUNTIMES if name.startswith("python")][-1]

CODE_IN_S3 = {"Bucket": "local", "Key": "local"}
"""Stands in for a local folder, which AWS's transform does not take."""

FUNCTION_NAMES = (supported.FUNCTION - supported.SERVERLESS_ONLY) | supported.LAMBDA_ONLY
"""Supported properties of AWS::Lambda::Function."""


class ResourceReader:
    """Reads the resources of one template.

    Args:
        resolver: for intrinsic functions; what it cannot resolve it keeps itself.
        folder: the template's.
        account: for ARNs.
        region: for ARNs.
        resources: those of a supported type, by logical ID.
    """

    def __init__(
        self, resolver: Resolver, folder: Path, account: str, region: str, resources: Mapping[str, dict[str, Any]]
    ) -> None:
        self.problems: list[Problem] = []
        self.functions: list[Function] = []
        self.places: dict[str, Callable[[str], str]] = {}
        """By function's name: turns a property's path into the path to show."""
        self.mappings: list[Declared] = []
        self.asynchronous = AsyncReader()
        self.triggers = TriggerReader(account, region, checked=self._checked, named_function=self._named_function)
        self.http = HttpReader(account, region, self._checked)
        self.apis: list[Api] = []
        self._layers = LayerReader(folder)
        self.mapping_names: list[str] = []
        """Of all mappings, also of those that have problems."""
        self._resolver = resolver
        self._folder = folder
        self._identity = {"account_id": account, "region": region}
        self._resources = resources
        self._globals: dict[str, Any] = {}
        self._events: dict[str, Event] = {}
        self._code: dict[str, Path] = {}
        self._kept_back: dict[str, dict[str, Any]] = {}
        self._unresolved: set[str] = set()
        """Paths of properties that are missing for a reason that is told already."""
        self._function_names = {
            str(resolver.resolve({"Ref": name}, "")): name
            for name, resource in resources.items()
            if resource["Type"] in {FUNCTION, LAMBDA_FUNCTION}
        }

    def read(self, global_section: Any, translator: Translator | None) -> None:
        """Read everything; what comes of it stands in the attributes."""
        self._read_globals(global_section)
        for name, resource in self._resources.items():
            if resource["Type"] in CONTENT:
                self._layer(name, resource)
        sam = self._read_resources()
        if sam and translator is not None:
            template: dict[str, Any] = {"Transform": TRANSFORM, "Resources": sam}
            if self._globals:
                known = {key: value for key, value in self._globals.items() if key not in supported.KEPT_BACK}
                code = {"CodeUri": CODE_IN_S3} if "CodeUri" in known else {}
                template["Globals"] = {"Function": {**known, **code}}
            self._read_translation(translator, template)
        names = [item.FunctionName for item in self.functions]
        for item in self.functions:
            if names.count(item.FunctionName) > 1:
                self._problem("Resources", f"two functions have the name {item.FunctionName}")
        self.apis = self.http.apis()
        self._report([*self.asynchronous.problems, *self.triggers.problems, *self.http.problems])
        self._report(self._layers.problems)

    def _read_resources(self) -> dict[str, Any]:
        """Read all but what AWS's transform has to see first, which is given: SAM functions."""
        sam: dict[str, Any] = {}
        for name, resource in self._resources.items():
            path = f"Resources.{name}.Properties"
            if resource["Type"] == FUNCTION:
                sam |= self._sam_function(name, resource["Properties"], path)
            elif resource["Type"] == LAMBDA_FUNCTION:
                self._plain_function(name, resource["Properties"], path)
            elif resource["Type"] == MAPPING:
                self._plain_mapping(name, resource["Properties"], path)
            elif resource["Type"] in TRIGGER_RESOURCES:
                self.triggers.resource(name, resource["Type"], resource["Properties"], path)
            elif resource["Type"] == FUNCTION_URL:
                self._function_url(resource["Properties"], path)
            elif resource["Type"] in {HTTP_API, REST_API}:
                self.http.api(name, resource["Type"], resource["Properties"], path)
            elif resource["Type"] not in CONTENT:
                self._event_invoke_config(resource["Properties"], path)
        return sam

    def _problem(self, path: str, reason: str, suggestion: str = "") -> None:
        self._report([Problem(path, reason, suggestion)])

    def _report(self, problems: Iterable[Problem]) -> None:
        self.problems += [problem for problem in problems if problem.path not in self._unresolved]

    def _checked(
        self,
        properties: Mapping[str, Any],
        path: str,
        known: Collection[str],
        refused: Mapping[str, str],
        without_effect: Collection[str],
    ) -> dict[str, Any]:
        """Supported properties, resolved; without those that could not be."""
        kept, wrong = supported.check_names(
            properties, path, supported=known, refused=refused, without_effect=without_effect
        )
        self.problems += wrong
        resolved = {}
        for name, value in kept.items():
            before = self._resolver.failures
            resolved[name] = self._resolver.resolve(value, join(path, name))
            if self._resolver.failures > before:
                del resolved[name]
                self._unresolved.add(join(path, name))
        return resolved

    def _read_globals(self, section: Any) -> None:
        if section is None:
            return
        if not isinstance(section, dict):
            self._problem("Globals", f"{describe(section)} is not a mapping")
            return
        known = ["Function", "HttpApi", "Api"]
        for name in section:
            if name not in known:
                reason = "not supported: Globals.Function, HttpApi and Api are"
                self._problem(f"Globals.{name}", reason, closest(name, known))
        self.http.read_globals(section)
        functions = section.get("Function") or {}
        if isinstance(functions, dict):
            self._globals = self._checked(
                functions,
                "Globals.Function",
                supported.FUNCTION - supported.FUNCTION_ONLY.keys(),
                {**supported.FUNCTION_REFUSED, **supported.FUNCTION_ONLY},
                supported.FUNCTION_WITHOUT_EFFECT.keys() - supported.FUNCTION_ONLY.keys(),
            )
        else:
            self._problem("Globals.Function", f"{describe(functions)} is not a mapping")

    def _sam_function(self, name: str, properties: Mapping[str, Any], path: str) -> dict[str, Any]:
        """The function as AWS's transform shall see it, or nothing when its code is not there."""
        kept = self._checked(
            {key: value for key, value in properties.items() if key != "Events"},
            path,
            supported.FUNCTION,
            {**supported.FUNCTION_REFUSED, "DeadLetterConfig": "AWS::Serverless::Function has DeadLetterQueue"},
            supported.FUNCTION_WITHOUT_EFFECT,
        )
        self.asynchronous.sam_function(self._name_of(name), kept, self._globals, path)
        self.http.function_url(self._name_of(name), kept, self._globals, path)
        others = self.http.take_events(self._name_of(name), properties.get("Events", {}), join(path, "Events"))
        events = EventReader(name, self._resolver, taken={*self._resources, *self._events})
        valid = events.read(others)
        self.problems += events.problems
        self.mapping_names += events.mapping_names
        for trigger in events.triggers:
            self.triggers.event(name, self._name_of(name), trigger)
        self._events |= {event.logical_id: event for event in valid}
        if any(key in properties for key in ("InlineCode", "ImageUri")):
            return {}
        is_global = "CodeUri" not in properties and "CodeUri" in self._globals
        code_path = join("Globals.Function" if is_global else path, "CodeUri")
        self._find_code(name, kept.get("CodeUri", self._globals.get("CodeUri")), code_path)
        self._hold_back(name, kept, path)
        kept["CodeUri"] = CODE_IN_S3
        kept["Events"] = {event.name: event.source for event in valid}
        return {name: {"Type": FUNCTION, "Properties": kept}}

    def _hold_back(self, name: str, kept: dict[str, Any], path: str) -> None:
        """Keep from AWS's transform what it would refuse without a path."""
        if "PackageType" in kept:
            self._kept_back[name] = {"PackageType": kept.pop("PackageType")}
        for key, example in (("Handler", "handler.handler"), ("Runtime", EXAMPLE_RUNTIME)):
            place = join(path, key)
            if key not in kept and key not in self._globals:
                self._problem(place, "is missing", f"such as {example}")
                self._unresolved.add(place)
                kept[key] = example

    def _find_code(self, name: str, value: Any, path: str) -> None:
        code = local_content(self._folder, value, "name the folder with the function's code, or a zip archive of it")
        if not isinstance(code, Path):
            self._problem(path, *code)
            return
        try:
            self._code[name] = code if code.is_dir() else unpacked(code)
        except OSError as error:
            self._problem(path, f"cannot be unpacked: {error}")

    def _read_translation(self, translator: Translator, template: Mapping[str, Any]) -> None:
        translation = translator.translate(template)
        self.problems += translation.problems
        # In the template's order; what the transform refused is missing.
        for name in template["Resources"]:
            values = translation.resources.get(name, {}).get("Properties")
            if values is not None:
                wanted = {key: values[key] for key in FUNCTION_NAMES & values.keys()}
                self._add_function(name, {**wanted, **self._kept_back.get(name, {})}, f"Resources.{name}.Properties")
        for event in self._events.values():
            values = translation.resources.get(event.logical_id, {}).get("Properties")
            if values is not None:
                wanted = {key: value for key, value in values.items() if key not in supported.MAPPING_WITHOUT_EFFECT}
                self._add_mapping(self._resolver.resolve(wanted, event.path), event.mapping_name, event.where)

    def _plain_function(self, name: str, properties: Mapping[str, Any], path: str) -> None:
        refused = {**supported.FUNCTION_REFUSED, **supported.LAMBDA_REFUSED}
        kept = self._checked(properties, path, FUNCTION_NAMES, refused, supported.FUNCTION_WITHOUT_EFFECT)
        self.asynchronous.lambda_function(self._name_of(name), kept, path)
        self._find_code(name, kept.get("Code"), join(path, "Code"))
        self._add_function(name, kept, path)

    def _add_function(self, name: str, values: Mapping[str, Any], path: str) -> None:
        own = self._resources[name]["Properties"]

        def where(field: str) -> str:
            top = field.partition(".")[0]
            return join("Globals.Function" if top in self._globals and top not in own else path, field)

        given = {"FunctionName": name, **values, **self._identity, "Code": self._code.get(name, self._folder)}
        given["layers"] = self._layers.folders(values.get("Layers"), where("Layers"))
        if name in self._code and isinstance(given.get("Handler"), str) and given.get("Runtime") in RUNTIMES:
            language = understood(given["Runtime"]).language
            wrong = handler_problem(language, given["Handler"], self._code[name], given["layers"])
            if wrong is not None:
                self._problem(where("Handler"), *wrong)
        try:
            built = function(given, where)
        except ConfigError as error:
            self._report(error.problems)
            return
        self.functions.append(built)
        self.places[built.FunctionName] = where

    def _plain_mapping(self, name: str, properties: Mapping[str, Any], path: str) -> None:
        self.mapping_names.append(name)
        kept = self._checked(
            properties, path, supported.MAPPING, supported.MAPPING_REFUSED, supported.MAPPING_WITHOUT_EFFECT
        )
        below = under(path)
        # CloudFormation has a spelling of its own for this one name of the API.
        self._add_mapping(kept, name, lambda field: below(field.replace(API_SERVERS, "KafkaBootstrapServers")))

    def _layer(self, name: str, resource: Mapping[str, Any]) -> None:
        path = f"Resources.{name}.Properties"
        arn = str(self._resolver.resolve({"Ref": name}, ""))
        self._layers.declare(arn, resource["Type"], self._resolver.resolve(resource["Properties"], path), path)

    def _event_invoke_config(self, properties: Mapping[str, Any], path: str) -> None:
        kept = self._checked(properties, path, supported.EVENT_INVOKE_CONFIG, {}, ())
        function_name = kept.get("FunctionName")
        place = join(path, "FunctionName")
        if not isinstance(function_name, str):
            self._problem(place, "is missing" if function_name is None else f"{describe(function_name)} is no name")
            return
        name = self._named_function(function_name, place)
        if name in self._function_names:
            self.asynchronous.event_invoke_config(name, kept, path)

    def _function_url(self, properties: Mapping[str, Any], path: str) -> None:
        kept = self._checked(properties, path, supported.FUNCTION_URL, {}, ())
        target, place = kept.get("TargetFunctionArn"), join(path, "TargetFunctionArn")
        name = None
        if isinstance(target, str):
            name = self._named_function(target, place)
        elif place not in self._unresolved:
            self._problem(place, "is missing" if target is None else f"{describe(target)} is no name")
        self.http.url(name if name in self._function_names else None, kept, path)

    def _name_of(self, logical_id: str) -> str:
        """A function's name."""
        return next((name for name, logical in self._function_names.items() if logical == logical_id), logical_id)

    def _add_mapping(self, values: Mapping[str, Any], name: str, where: Callable[[str], str]) -> None:
        values = {**values, "name": name}
        function_name = values.get("FunctionName")
        if isinstance(function_name, str):
            values["FunctionName"] = self._named_function(function_name, where("FunctionName"))
        try:
            mapping = event_source_mapping(values, where, extension=f"{SECTION}.EventSources.{name}")
        except ConfigError as error:
            self._report(error.problems)
            return
        self.mappings.append(Declared(mapping, where))

    def _named_function(self, text: str, path: str) -> str:
        """A function's name from what C.1 takes: a name, or a full or partial ARN, with `$LATEST` or without."""
        name, qualifier = named_function(text)
        if qualifier:
            self._problem(path, f"not supported: versions and aliases ({qualifier})")
        if name not in self._function_names:
            self._problem(path, FUNCTION_MISSING, closest(name, self._function_names))
        return name
