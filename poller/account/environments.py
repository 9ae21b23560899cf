"""What runs of an account's functions: where an invocation of a name and a qualifier goes, and the figures (A.2).

A qualifier is looked up anew for each invocation, so that whoever holds an `Invocable` follows updates and aliases:
callers, asynchronous events, and mappings from their next batch on.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from poller.account.aliases import Alias
from poller.account.running import NOT_PROVISIONED, RunningFunction
from poller.invocation_request import LATEST
from poller.log import FunctionLog
from poller.metrics import FunctionSnapshot
from poller.model import FunctionConfiguration, Invocation
from poller.policy.workers import Share
from poller.runtime.answers import error_answer
from poller.runtime.late_answers import OnResult
from poller.runtime.pool import FunctionPool
from poller.runtime.pool_stats import PoolStats
from poller.runtime.prewarming import ProvisionedConcurrency

MakeFunctionPool = Callable[[FunctionConfiguration, int], FunctionPool]

NO_FIGURES = PoolStats(0, 0, 0, 0, 0, 0, 0, 0)
"""Of a function that there is not."""


@dataclass(frozen=True, slots=True)
class Invocable:
    """A function as somebody calls it: takes invocations as a pool does, and is right after every update."""

    environments: Environments
    name: str
    qualifier: str
    """Empty, `$LATEST`, a version's number or an alias."""

    def submit(self, invocation: Invocation, on_result: OnResult, *, wait: bool) -> None:
        """As `FunctionPool.submit`. A function, version or alias that is no more answers 500."""
        self.environments.submit(self, invocation, on_result, wait=wait)


class Environments:
    """The pools of all functions. Any thread; only `stop` blocks.

    Args:
        account_concurrency: invocations at once of all functions (A.2).
        share: what this process runs of the functions that its limits name.
        make_pool: of a configuration, and of the most environments of a function that reserves none.
        chance: chooses versions by an alias's weights.
    """

    def __init__(
        self,
        account_concurrency: int,
        share: Share,
        make_pool: MakeFunctionPool | None = None,
        *,
        chance: random.Random | None = None,
    ) -> None:
        self._make_pool = make_pool or _made
        self._account_concurrency = account_concurrency
        self._share = share
        self._chance = chance or random.Random()  # noqa: S311 - nothing secret hangs on it
        self._lock = threading.Lock()
        self._functions: dict[str, RunningFunction] = {}
        """Replaced, never changed, as the next one."""
        self._aliases: dict[str, Mapping[str, Alias]] = {}
        self._deleted: list[RunningFunction] = []
        """That still finish what they were given."""
        self._unreserved: tuple[RunningFunction, ...] = ()
        """Those that reserve no concurrency; replaced, never changed."""
        self._for_unreserved = account_concurrency
        """What they have together."""
        self._reserved: dict[str, int | None] = {}
        """As calls have set it, in place of what a configuration says."""
        self._provisioned: dict[str, Mapping[str, int]] = {}
        """Environments that are kept initialised of a function, by version and alias; as calls have set it."""
        self._started = False
        self.on_finished: list[Callable[[], None]] = []
        """Called when a pool that was given up has ended: nothing runs on its code any more."""

    # --- what there is ------------------------------------------------------------------------------------------------

    def put(self, name: str, configurations: Mapping[str, FunctionConfiguration], aliases: Mapping[str, Alias]) -> None:
        """Have this function, with these versions and aliases, from now on."""
        with self._lock:
            if name in self._reserved:
                reserved = self._reserved[name]
                configurations = {
                    version: replace(item, reserved_concurrent_executions=reserved)
                    for version, item in configurations.items()
                }
            self._aliases = {**self._aliases, name: aliases}
            kept = {
                key: count
                for key, count in self._provisioned.get(name, {}).items()
                if key in {*aliases, *configurations}
            }
            self._provisioned[name] = kept
            function = self._functions.get(name)
            if function is None:
                function = RunningFunction(configurations, self._pool, self._finished)
                if self._started:
                    function.start()
                self._functions = {**self._functions, name: function}
                self._divide()
                return
        function.update(configurations)
        self.provision(name, kept)

    def remove(self, name: str) -> None:
        """Have it no more; what it was given is finished."""
        with self._lock:
            function = self._functions.get(name)
            if function is None:
                return
            self._functions = {key: item for key, item in self._functions.items() if key != name}
            self._aliases = {key: item for key, item in self._aliases.items() if key != name}
            self._reserved.pop(name, None)
            self._provisioned.pop(name, None)
            self._divide()
            self._deleted.append(function)
        function.update({})
        self._prune()

    def reserve(self, name: str, count: int | None) -> None:
        """Give a function that many of the account's concurrency, or what the others leave; of one that there is."""
        with self._lock:
            self._reserved[name] = count
            function = self._functions[name]
            function.reserved = count
            self._divide()
            left = self._for_unreserved
        function.reserve(count, max(0, left))

    def provision(self, name: str, counts: Mapping[str, int]) -> None:
        """Keep so many environments initialised, by version and alias; of a function that there is.

        An alias means the version that it leads to, also when it leads to another one later on.
        """
        with self._lock:
            self._provisioned[name] = counts
            function = self._functions[name]
            aliases = self._aliases[name]
        wanted: Counter[str] = Counter()
        for qualifier, count in counts.items():
            wanted[aliases[qualifier].version if qualifier in aliases else qualifier] += count
        function.provision(wanted)

    def provisioned(self, name: str, version: str) -> ProvisionedConcurrency:
        """How the provisioned concurrency of a version stands."""
        function = self._functions.get(name)
        return NOT_PROVISIONED if function is None else function.provisioned(version)

    def names(self) -> list[str]:
        """Of all functions that there are now."""
        return list(self._functions)

    def target(self, name: str, qualifier: str = "") -> Invocable | None:
        """Where invocations of it go; None when there is no such function, version or alias."""
        return Invocable(self, name, qualifier) if self._version(name, qualifier) is not None else None

    def configuration(self, name: str, qualifier: str = "") -> FunctionConfiguration | None:
        """Of the function, version or alias as it is now; of an alias with weights, its main version's."""
        function = self._functions.get(name)
        alias = self._aliases.get(name, {}).get(qualifier)
        version = alias.version if alias is not None else qualifier or LATEST
        return None if function is None else function.configurations.get(version)

    def submit(self, target: Invocable, invocation: Invocation, on_result: OnResult, *, wait: bool) -> None:
        """Invoke when an environment of the target is free. Does not block."""
        function = self._functions.get(target.name)
        version = self._version(target.name, target.qualifier)
        if function is None or version is None:
            answer = error_answer(invocation.request_id, 500, f"Function not found: {invocation.invoked_function_arn}")
            threading.Thread(target=on_result, args=(answer,), name="invoke-nobody", daemon=True).start()
        else:
            function.submit(version, invocation, on_result, wait=wait)

    def _version(self, name: str, qualifier: str) -> str | None:
        function = self._functions.get(name)
        if function is None:
            return None
        version = qualifier or LATEST
        if qualifier and (alias := self._aliases.get(name, {}).get(qualifier)) is not None:
            version = alias.choose(self._chance.random())
        return version if version in function.configurations else None

    # --- figures ------------------------------------------------------------------------------------------------------

    def at_account_limit(self, name: str, qualifier: str = "") -> bool:
        """Whether the functions that reserve no concurrency use up what the others leave (A.2), and this is one.

        A version always has what is kept initialised of it (E.3).
        """
        function = self._functions.get(name)
        if function is None or function.reserved is not None:
            return False
        if function.set_aside and function.has_free(self._version(name, qualifier) or ""):
            return False
        left = self._for_unreserved
        for one in self._unreserved:
            left -= one.taken() if one.set_aside else one.busy()
        return left <= 0

    def unreserved(self) -> int:
        """What functions that reserve no concurrency have together."""
        return self._for_unreserved

    def stats(self, name: str) -> PoolStats:
        """Of a function, over all its versions."""
        function = self._functions.get(name)
        return NO_FIGURES if function is None else function.stats()

    def snapshots(self) -> Iterable[FunctionSnapshot]:
        """Every function as `/metrics` shows it."""
        for name, function in self._functions.items():
            stats = function.stats()
            yield FunctionSnapshot(
                function=name,
                environments=stats.environments,
                busy=stats.busy,
                waiting=stats.waiting,
                cold_starts=stats.cold_starts,
                invocations=stats.invocations,
                errors=stats.errors,
                throttles=stats.throttles,
                provisioned_concurrency=stats.provisioned,
                provisioned_concurrency_available=stats.provisioned_available,
            )

    def pools(self) -> list[FunctionPool]:
        """Those that run, also those that only finish what they were given."""
        with self._lock:
            functions = [*self._functions.values(), *self._deleted]
        return [pool for function in functions for pool in function.pools()]

    def folders(self) -> set[str]:
        """Code that something runs on, or may at any time."""
        with self._lock:
            functions = [*self._functions.values(), *self._deleted]
        return {folder for function in functions for folder in function.folders()}

    # --- start and stop -----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Accept invocations."""
        with self._lock:
            self._started = True
            functions = list(self._functions.values())
        for function in functions:
            function.start()

    def stop(self, grace: float) -> None:
        """As `FunctionPool.stop`, of every pool."""
        deadline = time.monotonic() + grace
        with self._lock:
            self._started = False
            functions = [*self._functions.values(), *self._deleted]
        for function in functions:
            function.stop(max(0.0, deadline - time.monotonic()))

    def _divide(self) -> None:
        """With the lock held: what functions reserve, the others do not have (A.2)."""
        functions = self._functions.values()
        self._unreserved = tuple(function for function in functions if function.reserved is None)
        self._for_unreserved = self._account_concurrency - sum(function.reserved or 0 for function in functions)

    def _finished(self) -> None:
        self._prune()
        for callback in self.on_finished:
            callback()

    def _prune(self) -> None:
        with self._lock:
            self._deleted = [function for function in self._deleted if function.folders()]

    def _pool(self, configuration: FunctionConfiguration) -> FunctionPool:
        name = configuration.function_name
        reserved = configuration.reserved_concurrent_executions
        limit = self.unreserved()
        if self._share.workers > 1:
            limit = self._share.concurrency[name]
            if reserved:
                configuration = replace(configuration, reserved_concurrent_executions=limit)
        return self._make_pool(configuration, max(0, limit))


def _made(configuration: FunctionConfiguration, limit: int) -> FunctionPool:
    return FunctionPool(configuration, log=FunctionLog(configuration.function_name), account_concurrency=limit)
