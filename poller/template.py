"""The SAM template: from a file to functions, mappings and settings, or to everything that is wrong with it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from poller import supported
from poller.async_invoke.configuration import AsyncConfiguration
from poller.async_wiring import wire_async
from poller.document import read
from poller.errors import ConfigError, Problem
from poller.exposure import concurrency_problems
from poller.faults.settings import unknown_names
from poller.fronts.apis import Api
from poller.fronts.url_config import FunctionUrl
from poller.function_settings import function_problems
from poller.intrinsics import Resolver
from poller.parameters import parameter_values
from poller.resources import EventSourceMapping, Function
from poller.runtime_support import supported as supported_functions
from poller.sam import FUNCTION, TRANSFORM, Translator
from poller.settings import SECTION, Settings, Sources, identity
from poller.settings import load as load_settings
from poller.template_http import http_problems
from poller.template_resources import ResourceReader
from poller.triggers.wiring import Triggers, wire_triggers
from poller.validation import closest, describe
from poller.wiring import counted_apart, unknown_extensions, wire

STACK_NAME = "poller"
"""`AWS::StackName`: there is no stack here."""


@dataclass(frozen=True, slots=True)
class Template:
    """What a template says, validated and complete."""

    path: Path
    functions: tuple[Function, ...]
    mappings: tuple[EventSourceMapping, ...]
    settings: Settings
    asynchronous: Mapping[str, AsyncConfiguration] = field(default_factory=dict)
    """By function, of those that have one; the others have AWS's defaults."""
    triggers: Triggers = field(default_factory=Triggers)
    """What starts functions by itself."""
    function_urls: tuple[FunctionUrl, ...] = ()
    apis: tuple[Api, ...] = ()
    event_invoke_configs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """The same in AWS's words, by function, of those whose configuration is declared."""
    warnings: tuple[Problem, ...] = ()
    """What works, but not as somebody may expect."""

    @property
    def state_folder(self) -> Path:
        """Absolute: StateFolder, relative to the template's folder."""
        return self.path.resolve().parent / self.settings.StateFolder


def load(
    path: Path,
    parameters: Mapping[str, str] | None = None,
    *,
    settings_file: Path | None = None,
    options: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Template:
    """Read a template. Blocks for about a second when it holds SAM functions, whose transform is AWS's own.

    Args:
        path: the template; relative paths in it are relative to its folder.
        parameters: values of its parameters; they win over POLLER_PARAMETER_<Name> of the environment.
        settings_file: YAML with settings, which win over those of the template.
        options: settings by name that win over all others.
        environment: variables, `os.environ` by default.

    Raises:
        ConfigError: every problem of template and settings at once.
        PollerError: AWS's transform broke down.
    """
    environment = os.environ if environment is None else environment
    document = read(path)
    return _Loading(document, Sources(path, settings_file, environment, options or {}), parameters or {}).run()


def empty(
    path: Path,
    *,
    settings_file: Path | None = None,
    options: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Template:
    """What there is without a template: an account in which only calls make something.

    Args:
        path: where a template would be; StateFolder is relative to its folder.
        settings_file: YAML with settings.
        options: settings by name that win over all others.
        environment: variables, `os.environ` by default.

    Raises:
        ConfigError: every problem of the settings at once.
    """
    sources = Sources(path, settings_file, os.environ if environment is None else environment, options or {})
    settings = load_settings(None, sources)
    problems = list(unknown_extensions(settings, []))
    if settings.S3Events.get_secret_value():
        problems.append(Problem("S3Events", "no function has an event of S3", "only a template's can: name it"))
    try:
        wire_async({}, (), (), settings, sources.folder)
    except ConfigError as error:
        problems += [replace(each, path=each.path.removeprefix(f"{SECTION}.")) for each in error.problems]
    if problems:
        raise ConfigError(problems)
    return Template(sources.template, (), (), settings)


class _Loading:
    """One run of `load`; problems gather on the way."""

    def __init__(self, document: Mapping[str, Any], sources: Sources, parameters: Mapping[str, str]) -> None:
        self._document = document
        self._sources = sources
        self._parameters = parameters
        self._problems: list[Problem] = []

    def run(self) -> Template:
        self._check_sections()
        resources = self._resources()
        values, wrong = parameter_values(self._document.get("Parameters"), self._parameters, self._sources.environment)
        self._problems += wrong
        account, region = self._identity(values)
        resolver = self._resolver(resources, values, account, region)
        resources = self._wanted(resources, resolver)
        uses_sam = any(resource["Type"] == FUNCTION for resource in resources.values())
        settings = None
        # AWS's library loads in the child while the parent reads on.
        translator = Translator(region) if uses_sam else None
        try:
            settings = self._settings(resolver)
            reader = ResourceReader(resolver, self._sources.folder, account, region, resources)
            reader.read(self._document.get("Globals"), translator)
        finally:
            if translator is not None:
                translator.close()
        self._problems += [*resolver.problems, *reader.problems]
        mappings: list[EventSourceMapping] = []
        asynchronous: dict[str, AsyncConfiguration] = {}
        triggers = Triggers()
        warnings: list[Problem] = []
        if settings is not None:
            self._problems += unknown_extensions(settings, reader.mapping_names)
            names = [item.FunctionName for item in reader.functions]
            self._problems += unknown_names(settings.Faults, names, reader.mapping_names, f"{SECTION}.Faults")
            reserved = {item.FunctionName: item.ReservedConcurrentExecutions for item in reader.functions}
            self._problems += concurrency_problems(reserved, settings)
            self._problems += http_problems(reader.http, reader.apis, settings)
            self._problems += function_problems(reserved, settings)
            named = [(item, reader.places[item.FunctionName]) for item in reader.functions]
            reader.functions, wrong, warnings = supported_functions(
                named, client=settings.RuntimeClient, strict=settings.StrictRuntime
            )
            self._problems += wrong
            try:
                mappings = wire(reader.mappings, settings, self._sources.folder)
                warnings += counted_apart(mappings)
            except ConfigError as error:
                self._problems += error.problems
            try:
                triggers = wire_triggers(reader.triggers, names, mappings, settings, self._sources.folder)
            except ConfigError as error:
                self._problems += error.problems
            try:
                asynchronous = wire_async(reader.asynchronous.declared, names, mappings, settings, self._sources.folder)
            except ConfigError as error:
                self._problems += error.problems
        if self._problems or settings is None:
            raise ConfigError(list(dict.fromkeys(self._problems)))
        configs = {
            name: item.config.model_dump(mode="json", exclude_unset=True)
            for name, item in reader.asynchronous.declared.items()
            if item.config.model_fields_set
        }
        return Template(
            self._sources.template,
            tuple(reader.functions),
            tuple(mappings),
            settings,
            asynchronous,
            triggers,
            tuple(url for url, _ in reader.http.urls.values()),
            tuple(reader.apis),
            configs,
            tuple(warnings),
        )

    def _problem(self, path: str, reason: str, suggestion: str = "") -> None:
        self._problems.append(Problem(path, reason, suggestion))

    def _check_sections(self) -> None:
        _, wrong = supported.check_names(
            self._document, "", supported=supported.SECTIONS, refused=supported.SECTIONS_REFUSED
        )
        self._problems += [
            Problem(problem.path, "unknown section", problem.suggestion)
            if problem.reason == "unknown property"
            else problem
            for problem in wrong
        ]
        for transform in self._transforms():
            if transform != TRANSFORM:
                self._problem("Transform", f"{describe(transform)} is not supported", f"supported: {TRANSFORM}")
        for name in ("Metadata", "Mappings", "Conditions"):
            if not isinstance(self._document.get(name, {}), dict):
                self._problem(name, f"{describe(self._document[name])} is not a mapping")

    def _transforms(self) -> list[Any]:
        transforms = self._document.get("Transform", [])
        return transforms if isinstance(transforms, list) else [transforms]

    def _section(self, name: str) -> Mapping[str, Any]:
        section = self._document.get(name)
        return section if isinstance(section, dict) else {}

    def _settings_section(self) -> Any:
        metadata = self._section("Metadata")
        for name in metadata:
            if name != "Poller" and name.lower() == "poller":
                self._problem(f"Metadata.{name}", "unknown section", "did you mean Poller?")
        return metadata.get("Poller")

    def _resources(self) -> dict[str, dict[str, Any]]:
        """Resources whose shape is right, by logical ID."""
        section = self._document.get("Resources")
        if not section or not isinstance(section, dict):
            wrong = "is missing" if "Resources" not in self._document else "names no resource"
            self._problem("Resources", wrong, "a template has at least one function")
            return {}
        found = {}
        for name, resource in section.items():
            path = f"Resources.{name}"
            if not isinstance(resource, dict):
                self._problem(path, f"{describe(resource)} is not a mapping with Type and Properties")
                continue
            for attribute in resource:
                if attribute not in supported.ATTRIBUTES:
                    near = closest(attribute, supported.ATTRIBUTES)
                    self._problem(f"{path}.{attribute}", "unknown attribute of a resource", near)
            if not isinstance(resource.get("Properties", {}), dict):
                self._problem(f"{path}.Properties", f"{describe(resource['Properties'])} is not a mapping")
            elif not isinstance(resource.get("Type"), str):
                self._problem(f"{path}.Type", "is missing")
            else:
                found[name] = {"Properties": {}, **resource}
        return found

    def _identity(self, parameters: Mapping[str, Any]) -> tuple[str, str]:
        section = self._section("Metadata").get("Poller")
        section = section if isinstance(section, dict) else {}
        given = {name: section[name] for name in ("AccountId", "Region") if name in section}
        return identity(Resolver(parameters).resolve(given, SECTION), self._sources)

    def _resolver(
        self, resources: Mapping[str, dict[str, Any]], parameters: Mapping[str, Any], account: str, region: str
    ) -> Resolver:
        references: dict[str, Any] = {
            "AWS::AccountId": account,
            "AWS::NoValue": None,
            "AWS::Partition": "aws",
            "AWS::Region": region,
            "AWS::StackId": f"arn:aws:cloudformation:{region}:{account}:stack/{STACK_NAME}/{STACK_NAME}",
            "AWS::StackName": STACK_NAME,
            "AWS::URLSuffix": "amazonaws.com",
            **parameters,
        }
        early = Resolver(dict(references), mappings=self._section("Mappings"), conditions=self._section("Conditions"))
        attributes = {}
        for name, resource in resources.items():
            named = (resource["Properties"].get(key) for key in supported.NAME_PROPERTIES)
            given = early.resolve(next((value for value in named if value is not None), None), "")
            parts = {"name": given or name, "logical": name, "region": region, "account": account, "partition": "aws"}
            references[name] = supported.REF_FORMATS.get(resource["Type"], "{name}").format(**parts)
            if resource["Type"] in supported.ARN_FORMATS:
                attributes[f"{name}.Arn"] = supported.ARN_FORMATS[resource["Type"]].format(**parts)
        return Resolver(references, attributes, self._section("Mappings"), self._section("Conditions"))

    def _wanted(self, resources: Mapping[str, dict[str, Any]], resolver: Resolver) -> dict[str, dict[str, Any]]:
        """Resources that are read here: of a supported type, with a condition that holds."""
        wanted = {}
        for name, resource in resources.items():
            path, kind = f"Resources.{name}", resource["Type"]
            if kind in supported.SERVERLESS and not self._transforms():
                self._problem("Transform", "is missing", f"{kind} needs Transform: {TRANSFORM}")
            if kind in supported.RESOURCES:
                condition = resource.get("Condition")
                if condition is None or resolver.condition(condition, f"{path}.Condition"):
                    wanted[name] = resource
            elif kind not in supported.PASSED_OVER:
                near = closest(kind, [*supported.RESOURCES, *supported.PASSED_OVER])
                hint = near or f"supported: {', '.join(supported.RESOURCES)}"
                self._problem(f"{path}.Type", f"{kind} is not supported", hint)
        return wanted

    def _settings(self, resolver: Resolver) -> Settings | None:
        before = resolver.failures
        section = self._settings_section()
        if section is not None:
            section = resolver.resolve(section, SECTION)
        if resolver.failures > before:
            section = _without_nulls(section)
        try:
            settings = load_settings(section, self._sources)
        except ConfigError as error:
            self._problems += error.problems
            return None
        return settings if resolver.failures == before else None


def _without_nulls(value: Any) -> Any:
    """What could not be resolved is left out, so that it is not reported a second time."""
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return value
