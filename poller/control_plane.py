"""What an account has, put together: functions, what hangs on them, event source mappings, and how all of it runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from poller.account.catalogue import Deleted
from poller.account.configs import FunctionConfigs
from poller.account.configs_tags import FUNCTION
from poller.account.configs_usage import Usage
from poller.account.documents import Documents, ForgettingDocuments
from poller.account.environments import Invocable
from poller.account.kept_mappings import KeptMappings
from poller.account.setup import AccountFunctions
from poller.assembly import Assembly
from poller.async_invoke.lanes import AsyncFunction
from poller.clock import Clock
from poller.event_source_mappings import EventSourceMappings
from poller.function_pools import function_pools
from poller.mapping_runner import CLOSING
from poller.metrics import FunctionSnapshot, MappingSnapshot, Metrics
from poller.policy.workers import Share
from poller.runtime.prewarming import ProvisionedConcurrency
from poller.scaling import Scaler
from poller.shares import shares_of
from poller.template import Template


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
        documents = documents or ForgettingDocuments()
        self._settings = template.settings
        self._share = share or shares_of(template, 1)[0]
        self.account_id = template.settings.AccountId
        self.region = template.settings.Region
        self._function_pools = function_pools(template.settings, template.state_folder, self._share.provisioned)
        self.account = AccountFunctions(template, self._share, clock, documents, self._function_pools.make)
        self._environments = self.account.environments
        self._environments.on_finished.append(self._function_pools.ended)
        self._assembly = Assembly(self._settings, metrics, clock, self._share, self._environments)
        changing = self.account.catalogue.changing
        self.configs = FunctionConfigs(self, template, documents, clock.time, changing)
        self._attach(self.configs)
        kept = KeptMappings(documents, clock.time)
        self.sources = EventSourceMappings(template, self._assembly, self, kept, self.configs.tags)
        self.sources.can_run = self.account.catalogue.can_run
        self._scaler = Scaler(self.sources.runners, self.sources.bounds, self._environments.stats, self._assembly)

    def start(self) -> None:
        """Start pools, then what feeds them. Returns at once; brokers are connected to on the pollers' threads."""
        self._environments.start()
        self._function_pools.start(self._environments.pools)
        for runner in self.sources.runners():
            runner.start()
        self._scaler.start()

    def stop(self, drain: Callable[[float], None] = lambda _: None) -> None:
        """Finish what is in work: sources first, as they wait for handlers and dead letters; both end after them.

        Args:
            drain: waits that many seconds at most for what others have handed to the pools; called before those stop.
        """
        self._scaler.stop()
        runners = self.sources.settled_runners()
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
        queue = self.account.asynchronous(name).dead_letter_queue  # of the function, whatever was called
        found = self.configs.asynchronous(name, qualifier)
        found = replace(found, dead_letter_queue=queue) if queue is not None else found
        return AsyncFunction(configuration, found, pool, self.configs.recursion.allowed(name))

    def function_names(self) -> list[str]:
        """Whose asynchronous events or records may wait: functions, and versions and aliases with destinations."""
        return [*self._environments.names(), *self.configs.event_invoke.qualified()]

    def alive(self) -> bool:
        """Whether every thread that was started still runs."""
        return all(runner.alive() for runner in self.sources.runners())

    def mapping_states(self) -> list[dict[str, object]]:
        """Every mapping as `/readyz` shows it."""
        return [runner.status() for runner in self.sources.runners()]

    def mappings(self) -> Iterable[MappingSnapshot]:
        """Every mapping as `/metrics` shows it."""
        return [runner.snapshot() for runner in self.sources.runners()]

    def has(self, function_name: str, qualifier: str = "") -> bool:
        """As `Directory`."""
        return self.account.catalogue.has(function_name, qualifier)

    def names(self) -> list[str]:
        """As `Directory`."""
        return self.account.catalogue.names()

    def is_declared(self, function_name: str) -> bool:
        """As `Directory`."""
        return self.account.catalogue.is_declared(function_name)

    def has_mapping(self, identifier: str) -> bool:
        """As `Account`."""
        return self.sources.has(identifier)

    def is_declared_mapping(self, identifier: str) -> bool:
        """As `Account`."""
        return self.sources.is_declared(identifier)

    def reserve(self, function_name: str, concurrency: int | None) -> None:
        """As `Account`."""
        self._environments.reserve(function_name, concurrency)

    def leads_to(self, function_name: str, qualifier: str) -> tuple[str, ...]:
        """As `Account`."""
        entry = self.account.catalogue.get(function_name)
        alias = None if entry is None else entry.aliases.get(qualifier)
        return (qualifier,) if alias is None else alias.versions

    def provision(self, function_name: str, counts: Mapping[str, int]) -> None:
        """As `Account`."""
        self._environments.provision(function_name, counts)

    def provisioned(self, function_name: str, version: str) -> ProvisionedConcurrency:
        """As `Account`."""
        return self._environments.provisioned(function_name, version)

    def usage(self) -> Usage:
        """As `Account`."""
        account = self.account
        return Usage(len(account.catalogue.names()), account.functions.code_size() + account.layers.shelf.size())

    def on_function_deleted(self, callback: Deleted, recall: Callable[[], None] = lambda: None) -> None:
        """As `Catalogue.on_deleted`: for what hangs on functions, versions and aliases."""
        self.account.catalogue.on_deleted(callback, recall)

    def pool(self, function_name: str, qualifier: str = "") -> Invocable | None:
        """Where invocations of a function go, or of its version or alias; None when there is none.

        Raises:
            ApiError: 409, it cannot run.
        """
        self.account.catalogue.refuse_unready(function_name, qualifier)
        return self._environments.target(function_name, qualifier)

    def at_account_limit(self, function_name: str, qualifier: str = "") -> bool:
        """As `Environments.at_account_limit`."""
        return self._environments.at_account_limit(function_name, qualifier)

    def functions(self) -> Iterable[FunctionSnapshot]:
        """Every function as `/metrics` shows it."""
        return self._environments.snapshots()

    def _attach(self, configs: FunctionConfigs) -> None:
        """Let what hangs on functions come and go with them."""
        functions = self.account.functions
        self.on_function_deleted(configs.forget, configs.recall)
        functions.adopt_tags = lambda name, tags: configs.tags.adopt(f"{FUNCTION}:{name}", tags)
        functions.tags_of = configs.tags.of_function
        for name, count in configs.concurrency.reserved().items():
            if not self.is_declared(name):
                self.reserve(name, count)
        self.account.publishing.check_alias = configs.provisioned.check_alias
        for name in self.names():
            if counts := configs.provisioned.counts(name):
                self.provision(name, counts)
