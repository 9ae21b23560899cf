"""Functions and event source mappings of one account: what runs, what it is like, and the calls that change it (C.1).

The calls take and answer what the API's do, as plain values, and refuse with `ApiError`; whoever speaks HTTP or a
command line stands before them. They may be made from any thread; they do not wait for a broker.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from poller import mapping_calls
from poller.account.catalogue import Deleted
from poller.account.documents import Documents, ForgettingDocuments
from poller.account.environments import Invocable
from poller.account.setup import AccountFunctions
from poller.api_errors import FUNCTION_MISSING, error_of, in_use, invalid_parameter, mapping_missing
from poller.assembly import Assembly
from poller.async_invoke.lanes import AsyncFunction
from poller.clock import Clock
from poller.errors import ConfigError
from poller.function_names import named_function
from poller.function_pools import function_pools
from poller.mapping_runner import CLOSING, MappingRunner, State
from poller.metrics import FunctionSnapshot, MappingSnapshot, Metrics
from poller.policy.workers import PollerBounds, Share
from poller.resources import EventSourceMapping, Extensions, event_source_mapping
from poller.scaling import Scaler
from poller.shares import bounds_of, pollers_of, shares_of
from poller.template import Template
from poller.validation import parse
from poller.wiring import Declared, duplicates, wire_one

_EXTENSIONS = "the mapping's extensions"
"""Where errors say that an extension stands."""


class ControlPlane:
    """Functions and mappings of one account: a template's, or a worker's share of them, and those made by calls."""

    def __init__(
        self,
        template: Template,
        metrics: Metrics,
        clock: Clock,
        share: Share | None = None,
        documents: Documents | None = None,
    ) -> None:
        self._settings = template.settings
        self._folder = template.path.parent
        self._share = share or shares_of(template, 1)[0]
        self._metrics = metrics
        self.account_id = template.settings.AccountId
        self.region = template.settings.Region
        self._function_pools = function_pools(template.settings, template.state_folder)
        self.account = AccountFunctions(
            template, self._share, clock, documents or ForgettingDocuments(), self._function_pools.make
        )
        self._environments = self.account.environments
        self._assembly = Assembly(self._settings, metrics, clock, self._share, self._environments)
        self._calls = threading.Lock()
        """One change at a time."""
        self._runners = {mapping.UUID: self._runner(mapping) for mapping in template.mappings}
        """By UUID; replaced, never changed, so that anybody may look at any time."""
        self._scaler = Scaler(
            lambda: list(self._runners.values()),
            self._bounds,
            self._environments.stats,
            self._assembly,
        )

    def start(self) -> None:
        """Start pools, then what feeds them. Returns at once; brokers are connected to on the pollers' threads."""
        self._environments.start()
        self._function_pools.start(self._environments.pools)
        for runner in self._runners.values():
            runner.start()
        self._scaler.start()

    def stop(self, drain: Callable[[float], None] = lambda _: None) -> None:
        """Finish what is in work: sources first, as they wait for handlers and dead letters; both end after them.

        Args:
            drain: waits that many seconds at most for what others have handed to the pools; called before those stop.
        """
        self._scaler.stop()
        with self._calls:
            runners = list(self._runners.values())
        for runner in runners:
            runner.leave()
        grace_ends = time.monotonic() + self._settings.ShutdownGrace
        deadline = grace_ends + CLOSING
        for runner in runners:
            runner.join(deadline)
        drain(max(0.0, deadline - CLOSING - time.monotonic()))
        self._environments.stop(max(0.0, grace_ends - time.monotonic()))  # what was called directly is still in work
        self._function_pools.stop()

    def async_function(self, name: str, qualifier: str = "") -> AsyncFunction | None:
        """A function, version or alias as it is now, for an asynchronous event of it; None when there is none."""
        configuration, pool = self._environments.configuration(name), self._environments.target(name, qualifier)
        if configuration is None or pool is None:
            return None
        return AsyncFunction(configuration, self.account.asynchronous(name), pool)

    def alive(self) -> bool:
        """Whether every thread that was started still runs."""
        return all(runner.alive() for runner in self._runners.values())

    def mapping_states(self) -> list[dict[str, object]]:
        """Every mapping as `/readyz` shows it."""
        return [runner.status() for runner in self._runners.values()]

    def mappings(self) -> Iterable[MappingSnapshot]:
        """Every mapping as `/metrics` shows it."""
        return [runner.snapshot() for runner in self._runners.values()]

    def has(self, function_name: str, qualifier: str = "") -> bool:
        """As `Directory`."""
        return self.account.catalogue.has(function_name, qualifier)

    def is_declared(self, function_name: str) -> bool:
        """As `Directory`."""
        return self.account.catalogue.is_declared(function_name)

    def on_function_deleted(self, callback: Deleted, recall: Callable[[], None] = lambda: None) -> None:
        """As `Catalogue.on_deleted`: for what hangs on functions, versions and aliases."""
        self.account.catalogue.on_deleted(callback, recall)

    def reserve(self, function_name: str, concurrency: int | None) -> None:
        """Let that be a function's reserved concurrency from now on; None is none, 0 switches it off (E.3)."""
        self._environments.reserve(function_name, concurrency)

    def pool(self, function_name: str, qualifier: str = "") -> Invocable | None:
        """Where invocations of a function go, or of its version or alias; None when there is none.

        Raises:
            ApiError: 409, it cannot run.
        """
        self.account.catalogue.refuse_unready(function_name, qualifier)
        return self._environments.target(function_name, qualifier)

    def at_account_limit(self, function_name: str) -> bool:
        """Whether the functions that reserve no concurrency use up what the others leave (A.2), and this is one."""
        return self._environments.at_account_limit(function_name)

    def functions(self) -> Iterable[FunctionSnapshot]:
        """Every function as `/metrics` shows it."""
        return self._environments.snapshots()

    # --- calls ----------------------------------------------------------------------------------------------------

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
        """
        with self._calls:
            self._refuse_with_workers()
            identifier = str(uuid.uuid4())
            mapping = self._built({**request, "UUID": identifier}, identifier, self._extensions(extensions))
            runner = self._runner(mapping)
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
            ApiError: 404, or 400 with what is wrong.
        """
        with self._calls:
            runner = self._existing(identifier)
            self._refuse_with_workers()
            self._refuse_in_use(runner, "update")
            before = runner.mapping
            given = before.extensions if extensions is None else self._extensions(extensions)
            mapping = self._built(mapping_calls.merged(before, request), before.name, given, before)
            begun = runner.update(mapping, self._pollers_after(runner, mapping))
            return self._answer(runner, begun)

    def delete_event_source_mapping(self, identifier: str) -> dict[str, Any]:
        """DeleteEventSourceMapping: it stops within seconds, and is gone then.

        Returns:
            The configuration object of the 202 answer: Deleting.

        Raises:
            ApiError: 404, or 400 while another change is carried out.
        """
        with self._calls:
            runner = self._existing(identifier)
            self._refuse_with_workers()
            self._refuse_in_use(runner, "delete")
            runner.delete(lambda: self._forget(identifier))
            return self._answer(runner)

    def _built(
        self, values: Mapping[str, Any], name: str, extensions: Extensions, before: EventSourceMapping | None = None
    ) -> EventSourceMapping:
        """A complete mapping from AWS's properties.

        Raises:
            ApiError: everything that is wrong with it.
        """
        own = [field for field in values if not field[:1].isupper()]
        if own:
            raise invalid_parameter(f"unknown parameter: {', '.join(own)}")
        function_name, qualifier = named_function(str(values.get("FunctionName", "")))
        if not self.has(function_name, qualifier):
            raise invalid_parameter(
                FUNCTION_MISSING, f"there are {', '.join(self.account.catalogue.names()) or 'none'}"
            )
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

    def _existing(self, identifier: str) -> MappingRunner:
        runner = self._runners.get(identifier)
        if runner is None:
            raise mapping_missing()
        return runner

    def _refuse_in_use(self, runner: MappingRunner, call: str) -> None:
        if runner.state() not in {"Enabled", "Disabled"}:
            raise in_use(call)

    def _refuse_with_workers(self) -> None:
        if self._share.workers > 1:
            raise invalid_parameter("This is one of several workers, and has only its share of a mapping.")

    def _forget(self, identifier: str) -> None:
        with self._calls:
            gone = self._runners[identifier]
            self._runners = {key: runner for key, runner in self._runners.items() if key != identifier}
        self._metrics.forget(gone.mapping.name)

    def _answer(self, runner: MappingRunner, begun: State | None = None) -> dict[str, Any]:
        """The configuration object; `begun` is the state that a change began with, however soon it is over."""
        status = runner.status()
        return mapping_calls.configuration(
            runner.mapping,
            account_id=self._settings.AccountId,
            region=self._settings.Region,
            state=begun or str(status["State"]),
            reason=str(status["StateTransitionReason"]),
            result=str(status["LastProcessingResult"]),
            last_modified=runner.last_modified,
        )

    def _bounds(self, mapping: EventSourceMapping) -> PollerBounds | None:
        return self._share.bounds.get(mapping.name) if self._share.workers > 1 else bounds_of(mapping)

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
