"""The event source mappings of one account: what runs for each, and the calls that change them (C.1, C.2).

The calls take and answer what the API's do, as plain values, and refuse with `ApiError`; whoever speaks HTTP or a
command line stands before them. They may be made from any thread; they do not wait for a broker. What they make
outlives a restart; what the template declares is changed only with AllowDrift, until the next start.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from poller import mapping_calls
from poller.account.configs_tags import MAPPING, Tags
from poller.account.directory import Directory
from poller.account.kept_mappings import KeptMapping, KeptMappings
from poller.api_errors import (
    FUNCTION_MISSING,
    ApiError,
    declared_by_template,
    error_of,
    in_use,
    invalid_parameter,
    mapping_missing,
)
from poller.assembly import Assembly
from poller.errors import ConfigError, StateError
from poller.function_names import named_function
from poller.mapping_runner import MappingRunner, State
from poller.policy.workers import PollerBounds
from poller.resources import EventSourceMapping, Extensions, event_source_mapping
from poller.shares import bounds_of, pollers_of
from poller.template import Template
from poller.validation import parse
from poller.wiring import Declared, duplicates, wire_one

_EXTENSIONS = "the mapping's extensions"
"""Where errors say that an extension stands."""

NOT_VALID = "ESM_CONFIG_NOT_VALID"
"""StateTransitionReason of a mapping that was kept and cannot be completed (C.2)."""
FUNCTION_NOT_VALID = "FUNCTION_CONFIG_NOT_VALID"
"""StateTransitionReason of a mapping whose function, version or alias is gone, or cannot run."""

_log = logging.getLogger(__name__)


class EventSourceMappings:
    """Those of the template, or a worker's share of them, and those that calls made.

    Args:
        template: what it declares.
        assembly: makes what runs.
        functions: of the account.
        kept: what calls made before.
        tags: of mappings.
    """

    def __init__(
        self, template: Template, assembly: Assembly, functions: Directory, kept: KeptMappings, tags: Tags
    ) -> None:
        self._settings = template.settings
        self._folder = template.path.parent
        self._assembly = assembly
        self._share = assembly.share
        self._functions = functions
        self.can_run: Callable[[str, str], bool] = functions.has
        """Whether there is such a function, or such a version or alias of it, and it runs."""
        self._kept = kept
        self._tags = tags
        self._declared = {mapping.UUID for mapping in template.mappings}
        self._faults: Mapping[str, str] = {}
        """Why a mapping that was kept cannot run, by UUID."""
        self._calls = threading.Lock()
        """One change at a time."""
        self._runners = {mapping.UUID: self._runner(mapping) for mapping in template.mappings}
        """By UUID; replaced, never changed, so that anybody may look at any time."""
        for identifier, item in kept.all():
            self._restore(identifier, item)

    def runners(self) -> list[MappingRunner]:
        """What runs now."""
        return list(self._runners.values())

    def settled_runners(self) -> list[MappingRunner]:
        """The same, once a change that is being made is through; nothing may be changed afterwards."""
        with self._calls:
            return list(self._runners.values())

    def has(self, identifier: str) -> bool:
        """Whether there is a mapping with this UUID."""
        return identifier in self._runners

    def is_declared(self, identifier: str) -> bool:
        """Whether the template declares it."""
        return identifier in self._declared

    def bounds(self, mapping: EventSourceMapping) -> PollerBounds | None:
        """How few and how many pollers it may have; None where nothing scales it."""
        return self._share.bounds.get(mapping.name) if self._share.workers > 1 else bounds_of(mapping)

    def create_event_source_mapping(
        self, request: Mapping[str, Any], extensions: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """CreateEventSourceMapping (C.1): a new mapping, on its way to Enabled, or Disabled at once.

        A broker that does not answer refuses nothing: the mapping tries on, and its state tells.

        Args:
            request: AWS's properties by name.
            extensions: what AWS has no property for, as `EventSources` of the settings has it.

        Returns:
            The configuration object of the 202 answer.

        Raises:
            ApiError: 400 or 409, with what is wrong (C.3).
            StateError: it cannot be kept, and so was not made.
        """
        with self._calls:
            self._refuse_with_workers()
            identifier = str(uuid.uuid4())
            values = {name: value for name, value in request.items() if name != "Tags"}
            mapping = self._built({**values, "UUID": identifier}, identifier, self._extensions(extensions))
            runner = self._runner(mapping)
            tags = self._tags.adopt(f"{MAPPING}:{identifier}", request.get("Tags"))
            with self._tags.recalled_on(StateError):
                runner.last_modified = self._kept.put(mapping, extensions, tags)
            self._runners = {**self._runners, mapping.UUID: runner}
            answer = self._answer(runner)  # before it starts: the 202 says Creating
            runner.start()
            return answer

    def get_event_source_mapping(self, identifier: str) -> dict[str, Any]:
        """GetEventSourceMapping: the configuration object of a mapping.

        Raises:
            ApiError: 404.
        """
        return self._answer(self._existing(identifier))

    def list_event_source_mappings(
        self,
        event_source_arn: str | None = None,
        function_name: str | None = None,
        marker: str | None = None,
        max_items: int | None = None,
    ) -> dict[str, Any]:
        """ListEventSourceMappings: at most 100 configuration objects, and `NextMarker` where there are more.

        Raises:
            ApiError: MaxItems out of range.
        """
        runners = self._runners
        shown, following = mapping_calls.page(
            [runner.mapping for runner in runners.values()],
            event_source_arn=event_source_arn,
            function=None if function_name is None else named_function(function_name),
            marker=marker,
            max_items=max_items,
        )
        answer: dict[str, Any] = {"EventSourceMappings": [self._answer(runners[mapping.UUID]) for mapping in shown]}
        return answer if following is None else {**answer, "NextMarker": following}

    def update_event_source_mapping(
        self, identifier: str, request: Mapping[str, Any], extensions: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """UpdateEventSourceMapping: acts from the next batch on; what is left out stays as it is (C.1).

        Args:
            identifier: the UUID.
            request: AWS's properties by name.
            extensions: in place of those the mapping has, if given.

        Returns:
            The configuration object of the 202 answer: Updating, Enabling or Disabling.

        Raises:
            ApiError: 404, 409 when the template declares it, or 400 with what is wrong.
            StateError: it cannot be kept, and so was not changed.
        """
        with self._calls:
            runner = self._changeable(identifier, "update")
            before = runner.mapping
            given = before.extensions if extensions is None else self._extensions(extensions)
            mapping = self._built(mapping_calls.merged(before, request), before.name, given, before)
            modified = None if self.is_declared(identifier) else self._kept.put(mapping, extensions)
            begun = runner.update(mapping, self._pollers_after(runner, mapping))
            if modified is not None:
                runner.last_modified = modified
                self._faults = {key: fault for key, fault in self._faults.items() if key != identifier}
            return self._answer(runner, begun)

    def delete_event_source_mapping(self, identifier: str) -> dict[str, Any]:
        """DeleteEventSourceMapping: it stops within seconds, and is gone then.

        Returns:
            The configuration object of the 202 answer: Deleting.

        Raises:
            ApiError: 404, 409 when the template declares it, or 400 while another change is carried out.
            StateError: it cannot be written, and so was not deleted.
        """
        with self._calls:
            runner = self._changeable(identifier, "delete")
            if not self.is_declared(identifier):
                with self._tags.recalled_on(StateError):
                    self._kept.remove(identifier, self._tags.forget_mapping(identifier))
            runner.delete(lambda: self._forget(identifier))
            return self._answer(runner)

    def _built(
        self,
        values: Mapping[str, Any],
        name: str,
        extensions: Extensions,
        before: EventSourceMapping | None = None,
        *,
        restored: bool = False,
    ) -> EventSourceMapping:
        """A complete mapping from AWS's properties.

        Args:
            values: the properties.
            name: of the mapping, for logs and metrics.
            extensions: what AWS has no property for.
            before: what it takes the place of.
            restored: it was there before, and stays although its function is gone (C.2).

        Raises:
            ApiError: everything that is wrong with it.
        """
        own = [field for field in values if not field[:1].isupper()]
        if own:
            raise invalid_parameter(f"unknown parameter: {', '.join(own)}")
        function_name, qualifier = named_function(str(values.get("FunctionName", "")))
        if not restored and not self._functions.has(function_name, qualifier):
            raise invalid_parameter(FUNCTION_MISSING, f"there are {', '.join(self._functions.names()) or 'none'}")
        try:
            mapping = event_source_mapping(
                {**values, "FunctionName": function_name, "qualifier": qualifier, "name": name},
                _as_it_is,
                extension=_EXTENSIONS,
            )
            wired = wire_one(Declared(mapping, _as_it_is), self._settings, self._folder, extensions)
        except ConfigError as error:
            raise error_of(error.problems) from None
        others = [runner.mapping for runner in self._runners.values() if runner.mapping is not before]
        if problems := list(duplicates([Declared(item, _as_it_is) for item in [*others, wired]], self._settings)):
            raise error_of(problems)
        return wired

    def _extensions(self, given: Mapping[str, Any] | None) -> Extensions:
        try:
            return parse(Extensions, given or {}, lambda field: f"{_EXTENSIONS}: {field}")
        except ConfigError as error:
            raise error_of(error.problems) from None

    def _restore(self, identifier: str, kept: KeptMapping) -> None:
        """Have a mapping again that a call made before this start."""
        values = {**kept.request, "UUID": identifier}
        try:
            mapping = self._built(values, identifier, self._extensions(kept.extensions), restored=True)
        except ApiError as error:
            _log.error("it cannot run with these settings, and is Disabled: %s", error, extra={"mapping": identifier})
            self._faults = {**self._faults, identifier: str(error)}
            function_name, qualifier = named_function(str(values["FunctionName"]))
            values |= {"FunctionName": function_name, "qualifier": qualifier, "name": identifier, "Enabled": False}
            mapping = EventSourceMapping.model_validate(values)
        runner = self._runner(mapping)
        runner.last_modified = kept.last_modified
        self._runners = {**self._runners, identifier: runner}

    def _existing(self, identifier: str) -> MappingRunner:
        runner = self._runners.get(identifier)
        if runner is None:
            raise mapping_missing()
        return runner

    def _changeable(self, identifier: str, call: str) -> MappingRunner:
        runner = self._existing(identifier)
        self._refuse_with_workers()
        if self.is_declared(identifier) and not self._settings.AllowDrift:
            raise declared_by_template(f"event source mapping {identifier}")
        if runner.state() not in {"Enabled", "Disabled"}:
            raise in_use(call)
        return runner

    def _refuse_with_workers(self) -> None:
        if self._share.workers > 1:
            raise invalid_parameter("This is one of several workers, and has only its share of a mapping.")

    def _forget(self, identifier: str) -> None:
        with self._calls:
            gone = self._runners[identifier]
            self._runners = {key: runner for key, runner in self._runners.items() if key != identifier}
        self._assembly.metrics.forget(gone.mapping.name)

    def _answer(self, runner: MappingRunner, begun: State | None = None) -> dict[str, Any]:
        """The configuration object; `begun` is the state that a change began with, however soon it is over."""
        status = runner.status()
        return mapping_calls.configuration(
            runner.mapping,
            account_id=self._settings.AccountId,
            region=self._settings.Region,
            state=begun or str(status["State"]),
            reason=self._reason(runner) or str(status["StateTransitionReason"]),
            result=str(status["LastProcessingResult"]),
            last_modified=runner.last_modified,
        )

    def _reason(self, runner: MappingRunner) -> str:
        """What stands in the way of a mapping here; empty when nothing does."""
        if runner.mapping.UUID in self._faults:
            return NOT_VALID
        if runner.mapping.Enabled and not self.can_run(*named_function(runner.mapping.FunctionName)):
            return FUNCTION_NOT_VALID
        return ""

    def _pollers_after(self, runner: MappingRunner, mapping: EventSourceMapping) -> int:
        """What was scaled up stays so, within its new bounds: an update is no reason to fall behind."""
        bounds = bounds_of(mapping)
        if bounds is None or not runner.mapping.Enabled:
            return pollers_of(mapping)
        most = runner.wanted if bounds.maximum is None else bounds.maximum
        return max(bounds.minimum, min(runner.wanted, most))

    def _runner(self, mapping: EventSourceMapping) -> MappingRunner:
        several = self._share.workers > 1
        return MappingRunner(
            mapping, self._assembly, self._share.pollers[mapping.name] if several else pollers_of(mapping)
        )


def _as_it_is(field: str) -> str:
    return field
