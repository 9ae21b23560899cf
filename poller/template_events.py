"""Events of a SAM function: validated before AWS's transform sees them, so that all problems are found at once."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from poller import supported, supported_http
from poller.errors import ConfigError, Problem
from poller.intrinsics import Resolver
from poller.resources import event_source_mapping
from poller.settings import SECTION
from poller.triggers.supported import TRIGGERS
from poller.validation import closest, describe, join


@dataclass(frozen=True, slots=True)
class Event:
    """One valid event."""

    function: str
    name: str
    kind: str
    source: Mapping[str, Any]
    """Type and properties, resolved, as the transform gets them."""

    @property
    def logical_id(self) -> str:
        """Of the mapping that AWS's transform makes of the event."""
        return self.function + self.name

    @property
    def mapping_name(self) -> str:
        """As the settings, the log and the metrics call the mapping."""
        return f"{self.function}.{self.name}"

    @property
    def path(self) -> str:
        """Where the event stands in the template."""
        return f"Resources.{self.function}.Properties.Events.{self.name}"

    def where(self, field: str) -> str:
        """Where a field of the mapping stands in the template, under the event's own name for it."""
        for own, moved in supported.EVENTS[self.kind].items():
            if field == moved or field.startswith((f"{moved}.", f"{moved}[")):
                return join(self.path, own + field[len(moved) :])
        return join(self.path, field)


@dataclass(frozen=True, slots=True)
class TriggerEvent:
    """One event that is for `template_triggers` to read; only its type has been looked at."""

    name: str
    kind: str
    properties: Any
    path: str
    unknown: tuple[str, ...]
    """Attributes beside Type and Properties."""


class EventReader:
    """Reads the events of one function.

    Args:
        function: its logical ID.
        resolver: for intrinsic functions.
        taken: logical IDs that are in use.
    """

    def __init__(self, function: str, resolver: Resolver, taken: set[str]) -> None:
        self.problems: list[Problem] = []
        self.mapping_names: list[str] = []
        self.triggers: list[TriggerEvent] = []
        """Events that are no event source mappings."""
        self._function = function
        self._resolver = resolver
        self._taken = taken

    def read(self, section: Any) -> list[Event]:
        """The valid ones."""
        path = f"Resources.{self._function}.Properties.Events"
        if not isinstance(section, dict):
            self.problems.append(Problem(path, f"{describe(section)} is not a mapping"))
            return []
        found = (self._event(name, event, join(path, name)) for name, event in section.items())
        return [event for event in found if event is not None]

    def _event(self, name: str, source: Any, path: str) -> Event | None:
        if isinstance(source, dict) and isinstance(kind := source.get("Type"), str) and kind in TRIGGERS:
            unknown = tuple(key for key in source if key not in {"Type", "Properties"})
            self.triggers.append(TriggerEvent(name, kind, source.get("Properties", {}), path, unknown))
            return None
        self.mapping_names.append(f"{self._function}.{name}")
        try:
            kind, properties = self._shape(source, path)
            event = Event(self._function, name, kind, {"Type": kind, "Properties": properties})
            self._validate(event, properties)
        except ConfigError as error:
            self.problems += error.problems
            return None
        if event.logical_id in self._taken:
            reason = f"AWS's transform would call the mapping {event.logical_id}, a logical ID that is in use"
            self.problems.append(Problem(path, reason, "rename the event"))
            return None
        self._taken.add(event.logical_id)
        return event

    def _shape(self, source: Any, path: str) -> tuple[str, dict[str, Any]]:
        """Type and supported properties, resolved."""
        kind = source.get("Type") if isinstance(source, dict) else None
        if not isinstance(source, dict) or not isinstance(kind, str) or kind not in supported.EVENTS:
            raise ConfigError([self._wrong_kind(source, kind, path)])
        given = source.get("Properties", {})
        wrong = [
            Problem(join(path, key), "unknown attribute of an event", closest(key, ["Type", "Properties"]))
            for key in source
            if key not in {"Type", "Properties"}
        ]
        if not isinstance(given, dict):
            raise ConfigError([*wrong, Problem(join(path, "Properties"), f"{describe(given)} is not a mapping")])
        kept, unknown = supported.check_names(
            given,
            path,
            supported=supported.EVENTS[kind],
            refused=supported.MAPPING_REFUSED,
            without_effect=supported.MAPPING_WITHOUT_EFFECT,
        )
        before = self._resolver.failures
        properties = {key: self._resolver.resolve(value, join(path, key)) for key, value in kept.items()}
        if wrong or unknown or self._resolver.failures > before:
            # Values are checked all the same where none is missing for a reason that is told already.
            if self._resolver.failures == before:
                try:
                    self._validate(Event(self._function, path.rpartition(".")[2], kind, {}), properties)
                except ConfigError as error:
                    unknown += error.problems
            raise ConfigError([*wrong, *unknown])
        return kind, properties

    def _wrong_kind(self, source: Any, kind: Any, path: str) -> Problem:
        known = ", ".join([*supported.EVENTS, *TRIGGERS, *supported_http.EVENTS])
        if not isinstance(source, dict):
            return Problem(path, f"{describe(source)} is not a mapping with Type and Properties")
        if isinstance(kind, str) and kind in supported.EVENTS_REFUSED:
            hint = supported.EVENTS_REFUSED_BECAUSE.get(kind, f"supported: {known}")
            return Problem(join(path, "Type"), f"events of type {kind} are not supported", hint)
        if kind is None:
            return Problem(join(path, "Type"), "is missing", f"supported: {known}")
        near = closest(str(kind), [*supported.EVENTS, *TRIGGERS, *supported_http.EVENTS, *supported.EVENTS_REFUSED])
        return Problem(join(path, "Type"), f"{describe(kind)} is no type of event", near or f"supported: {known}")

    def _validate(self, event: Event, properties: dict[str, Any]) -> None:
        """Build the mapping for its errors only; what counts is what AWS's transform makes of the event."""
        values: dict[str, Any] = {"FunctionName": self._function, "name": event.mapping_name}
        for key, value in properties.items():
            place = values
            *parents, last = supported.EVENTS[event.kind][key].split(".")
            for parent in parents:
                place = place.setdefault(parent, {})
            place[last] = copy.deepcopy(value)
        on_failure = values.get("DestinationConfig")
        if isinstance(on_failure, dict) and isinstance(on_failure.get("OnFailure"), dict):
            # SAM's own; it tells the transform which permission to write.
            on_failure["OnFailure"].pop("Type", None)
        extension = f"{SECTION}.EventSources.{event.mapping_name}"
        mapping = event_source_mapping(values, event.where, extension=extension)
        # CloudFormation reads "10" as a number where one is wanted; the transform looks at literal values only.
        for key in properties:
            value = getattr(mapping, key, None)
            if isinstance(value, int | float):
                properties[key] = value
