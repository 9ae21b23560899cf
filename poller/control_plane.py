"""What an account has, put together: functions, what hangs on them, event source mappings, and how all of it runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import replace

from poller.account.configs import FunctionConfigs
from poller.account.configs_usage import Usage, size_of
from poller.account.documents import Documents, ForgettingDocuments
from poller.account.kept_mappings import KeptMappings
from poller.assembly import Assembly
from poller.async_invoke.configuration import AsyncConfiguration
from poller.async_invoke.lanes import AsyncFunction
from poller.clock import Clock
from poller.event_source_mappings import EventSourceMappings
from poller.invocation_request import LATEST
from poller.log import FunctionLog
from poller.mapping_runner import CLOSING
from poller.metrics import FunctionSnapshot, MappingSnapshot, Metrics
from poller.model import FunctionConfiguration
from poller.policy.workers import Share
from poller.runtime.pool import FunctionPool, PoolStats
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
        self._documents = documents or ForgettingDocuments()
        self._settings = template.settings
        self._folder = template.path.parent
        self._share = share or shares_of(template, 1)[0]
        self._metrics = metrics
        self.account_id = template.settings.AccountId
        self.region = template.settings.Region
        configurations = {item.FunctionName: item.configuration() for item in template.functions}
        self._pools = {name: self._pool(configuration) for name, configuration in configurations.items()}
        self._reserved = {name: item.reserved_concurrent_executions for name, item in configurations.items()}
        self._divide_concurrency()
        self._assembly = Assembly(self._settings, metrics, clock, self._share, configurations, self._pools)
        self._asynchronous = template.asynchronous
        self.configs = FunctionConfigs(self, template, self._documents, clock.time)
        kept = KeptMappings(self._documents, clock.time)
        self.sources = EventSourceMappings(template, self._assembly, self, kept, self.configs.tags)
        self._scaler = Scaler(self.sources.runners, self.sources.bounds, self._stats, self._assembly)

    def start(self) -> None:
        """Start pools, then what feeds them. Returns at once; brokers are connected to on the pollers' threads."""
        for pool in self._pools.values():
            pool.start()
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
        for pool in self._pools.values():
            pool.stop(max(0.0, grace_ends - time.monotonic()))  # what was called directly is still in work

    def async_function(self, name: str, qualifier: str = "") -> AsyncFunction | None:
        """A function, version or alias as it is now, for an asynchronous event of it; None when there is none."""
        pool = self._pools.get(name)
        if pool is None or not self.has(name, qualifier):
            return None
        found = self.configs.asynchronous(name, qualifier)
        if (queue := self._asynchronous.get(name, AsyncConfiguration()).dead_letter_queue) is not None:
            found = replace(found, dead_letter_queue=queue)
        return AsyncFunction(pool.configuration, found, pool, self.configs.recursion.allowed(name))

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
        return function_name in self._pools and qualifier in {"", LATEST}

    def is_declared(self, function_name: str) -> bool:
        """As `Directory`."""
        return function_name in self._pools

    def has_mapping(self, identifier: str) -> bool:
        """As `Account`."""
        return self.sources.has(identifier)

    def is_declared_mapping(self, identifier: str) -> bool:
        """As `Account`."""
        return self.sources.is_declared(identifier)

    def reserve(self, function_name: str, concurrency: int | None) -> None:
        """As `Account`."""
        self._pools[function_name].reserve(concurrency, self._settings.AccountConcurrency)
        self._reserved[function_name] = concurrency
        self._divide_concurrency()

    def usage(self) -> Usage:
        """As `Account`."""
        return Usage(len(self._pools), sum(size_of(pool.configuration.code) for pool in self._pools.values()))

    def pool(self, function_name: str) -> FunctionPool | None:
        """The environments of a function, to invoke it directly; None when there is none of that name."""
        return self._pools.get(function_name)

    def at_account_limit(self, function_name: str) -> bool:
        """Whether the functions that reserve no concurrency use up what the others leave (A.2), and this is one."""
        unreserved = self._unreserved
        return function_name in unreserved and sum(pool.busy for pool in unreserved.values()) >= self._for_unreserved

    def functions(self) -> Iterable[FunctionSnapshot]:
        """Every function as `/metrics` shows it."""
        for name, pool in self._pools.items():
            stats = pool.stats()
            yield FunctionSnapshot(
                function=name,
                environments=stats.environments,
                busy=stats.busy,
                waiting=stats.waiting,
                cold_starts=stats.cold_starts,
                invocations=stats.invocations,
                errors=stats.errors,
                throttles=stats.throttles,
            )

    def _stats(self, function_name: str) -> PoolStats:
        pool = self._pools.get(function_name)
        return pool.stats() if pool is not None else PoolStats(0, 0, 0, 0, 0, 0, 0, 0)

    def _pool(self, configuration: FunctionConfiguration) -> FunctionPool:
        limit = self._share.concurrency[configuration.function_name]
        if configuration.reserved_concurrent_executions is not None:
            configuration = replace(configuration, reserved_concurrent_executions=limit)
        return FunctionPool(configuration, log=FunctionLog(configuration.function_name), account_concurrency=limit)

    def _divide_concurrency(self) -> None:
        """What functions reserve, the others do not have (A.2)."""
        self._unreserved = {name: self._pools[name] for name, count in self._reserved.items() if count is None}
        self._for_unreserved = self._settings.AccountConcurrency - sum(count or 0 for count in self._reserved.values())
