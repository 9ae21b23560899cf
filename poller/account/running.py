"""What runs of one function: a pool for each version that is invoked, and the concurrency that all of them share (A.2).

A published version's pool is made when it is first invoked. A pool costs nothing while it has no environment, and
those end by themselves when nothing comes. A version that changes, as `$LATEST` does, gets a new pool; the old one
finishes what it was given.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import NamedTuple

from poller.invocation_request import LATEST
from poller.model import FunctionConfiguration, Invocation, InvocationResult
from poller.runtime.late_answers import OnResult
from poller.runtime.pool import FunctionPool
from poller.runtime.pool_stats import PoolStats
from poller.runtime.prewarming import ProvisionedConcurrency

LOOK = 0.05
"""Seconds between two looks whether a pool that is given up has finished."""

NOT_PROVISIONED = ProvisionedConcurrency(0, 0, None)
"""Of a version that nobody provisioned, or that does not run yet."""

MakePool = Callable[[FunctionConfiguration], FunctionPool]

_log = logging.getLogger(__name__)


class _Job(NamedTuple):
    version: str
    invocation: Invocation
    on_result: OnResult


@dataclass(slots=True, eq=False)
class _Running:
    """One version's pool."""

    pool: FunctionPool
    entering: int = 0
    """Invocations that are just being handed over."""
    provisioned: int = 0
    """Environments that are kept initialised by calls."""


class RunningFunction:
    """One function's versions. Any thread; only `stop` blocks.

    Args:
        make_pool: of a version's configuration, whose reserved concurrency is the function's.
        on_finished: called when a pool that was given up has ended, on a thread of its own.
    """

    def __init__(
        self,
        configurations: Mapping[str, FunctionConfiguration],
        make_pool: MakePool,
        on_finished: Callable[[], None] = lambda: None,
    ) -> None:
        self._make_pool = make_pool
        self._on_finished = on_finished
        self._lock = threading.Lock()
        """Guards all that follows. Nothing is called while it is held, save a pool's making and its figures."""
        self.configurations = dict(configurations)
        """By version, not empty until the function is deleted; replaced, never changed."""
        self._some = next(iter(configurations.values()))
        """For pools that only refuse."""
        self.reserved = self._some.reserved_concurrent_executions
        """ReservedConcurrentExecutions, of all versions together."""
        self._pools: dict[str, _Running] = {}
        self._provisioned: Mapping[str, int] = {}
        """Environments that are kept initialised, by published version."""
        self.set_aside = 0
        """All of these: what other functions do not have of the account's concurrency (E.3)."""
        self._finishing: list[_Running] = []
        self._past: list[PoolStats] = []
        """The figures of pools that have ended, in one."""
        self._started = False
        self._stopping = threading.Event()
        self._in_work = 0
        """Of a function that reserves concurrency: what was handed to its pools and is not answered."""
        self._waiting: deque[_Job] = deque()
        """Waits because other versions have used up what the function reserves."""

    def start(self) -> None:
        """Accept invocations. Idempotent; what was stopped stays so."""
        with self._lock:
            self._started = not self._stopping.is_set()
            if LATEST in self.configurations and LATEST not in self._pools:
                self._pools[LATEST] = _Running(self._make_pool(self.configurations[LATEST]))
            for running in self._pools.values():
                running.pool.start()
            self._provide()

    def submit(self, version: str, invocation: Invocation, on_result: OnResult, *, wait: bool) -> None:
        """As `FunctionPool.submit`, to a version; one that there is not answers as a pool that does not run."""
        if self.reserved is None or self._stopping.is_set():
            self._hand_over(version, invocation, on_result, wait=wait)
            return
        job = _Job(version, invocation, on_result)
        with self._lock:
            others = len(self._pools) + len(self._finishing) - (version in self._pools)
            is_full = others and not self._has_room()
            if is_full and wait and self.reserved and not self._stopping.is_set():
                self._waiting.append(job)
                return
            self._in_work += not is_full
        if is_full:
            self._refuse(job)
        else:
            self._hand_over(*self._counted(job), wait=wait)

    def update(self, configurations: Mapping[str, FunctionConfiguration]) -> None:
        """Have these versions from now on. What was given to one that changes or goes is finished as it was."""
        with self._lock:
            before, self.configurations = self.configurations, dict(configurations)
            for item in configurations.values():
                self.reserved = item.reserved_concurrent_executions
            gone = [name for name in self._pools if before.get(name) != self.configurations.get(name)]
            given_up = [self._pools.pop(name) for name in gone]
            self._finishing += given_up
        for running in given_up:
            name = f"finish-{running.pool.configuration.function_name}"
            threading.Thread(target=self._finish, args=(running,), name=name, daemon=True).start()
        self._go_on()  # there may be more room than before

    def reserve(self, concurrency: int | None, account_concurrency: int) -> None:
        """Let all versions together have that concurrency from now on, or the account's. Environments stay warm."""
        with self._lock:
            self.reserved = concurrency
            self.configurations = {
                version: replace(item, reserved_concurrent_executions=concurrency)
                for version, item in self.configurations.items()
            }
            self._some = replace(self._some, reserved_concurrent_executions=concurrency)
            pools = [running.pool for running in self._pools.values()]
        for pool in pools:
            pool.reserve(concurrency, account_concurrency)
        self._go_on()

    def provision(self, counts: Mapping[str, int]) -> None:
        """Keep so many environments of published versions initialised from now on, and none of the others."""
        with self._lock:
            self._provisioned = dict(counts)
            self.set_aside = sum(counts.values())
            self._provide()

    def provisioned(self, version: str) -> ProvisionedConcurrency:
        """How the provisioned concurrency of a version stands."""
        with self._lock:
            running = self._pools.get(version)
        return NOT_PROVISIONED if running is None else running.pool.provisioned_concurrency()

    def pools(self) -> list[FunctionPool]:
        """Those that run, also those that only finish what they were given."""
        with self._lock:
            return [running.pool for running in (*self._pools.values(), *self._finishing)]

    def busy(self) -> int:
        """Invocations in work, of all versions. Asked before many a call."""
        with self._lock:
            busy = 0
            for running in self._pools.values():
                busy += running.pool.busy
            for running in self._finishing:
                busy += running.pool.busy
        return busy

    def taken(self) -> int:
        """Concurrency that others do not have: what is in work, and what is kept initialised beyond that."""
        return self.busy() + sum(map(self._free, self._provisioned))

    def has_free(self, version: str) -> bool:
        """Whether fewer invocations of a version are in work than environments of it are kept initialised."""
        return self._free(version) > 0

    def stats(self) -> PoolStats:
        """A snapshot over all versions, with what those did that are no more."""
        with self._lock:
            return _total([running.pool.stats() for running in (*self._pools.values(), *self._finishing)] + self._past)

    def folders(self) -> set[str]:
        """Code that something still runs on."""
        with self._lock:
            pools = [running.pool.configuration for running in (*self._pools.values(), *self._finishing)]
        found = (*self.configurations.values(), *pools)
        return {str(folder) for item in found for folder in (item.code, *item.layers)}

    def stop(self, grace: float = 0.0) -> None:
        """As `FunctionPool.stop`, of every pool."""
        deadline = time.monotonic() + grace
        self._stopping.set()
        with self._lock:
            self._started = False
            running = [*self._pools.values(), *self._finishing]
            waiting = list(self._waiting)
            self._waiting.clear()
        for item in running:
            item.pool.stop(max(0.0, deadline - time.monotonic()))
        for job in waiting:
            self._hand_over(*job, wait=True)  # to a pool that has stopped, which says so

    # --- inside -------------------------------------------------------------------------------------------------------

    def _free(self, version: str) -> int:
        running = self._pools.get(version)
        return max(0, self._provisioned.get(version, 0) - (0 if running is None else running.pool.busy))

    def _provide(self) -> None:
        """With the lock held: what is to be initialised of published versions, once there is something that runs."""
        if not self._started:
            return
        for version in self._provisioned:
            if version in self.configurations and version not in self._pools:
                self._pools[version] = running = _Running(self._make_pool(self.configurations[version]))
                running.pool.start()
        for version, running in self._pools.items():
            wanted = self._provisioned.get(version, 0)
            if version != LATEST and wanted != running.provisioned:  # the settings say that of `$LATEST`
                running.provisioned = wanted
                running.pool.provision(wanted)

    def _enter(self, version: str) -> _Running:
        """The pool of a version, which is not stopped while somebody enters."""
        with self._lock:
            running = self._pools.get(version)
            if running is None:
                configuration = self.configurations.get(version)
                if configuration is None:  # a pool that never starts: it answers, and says that it does not run
                    return _Running(self._make_pool(replace(self._some, version=version)), 1)
                running = self._pools[version] = _Running(self._make_pool(configuration))
                if self._started:
                    running.pool.start()
            running.entering += 1
            return running

    def _hand_over(self, version: str, invocation: Invocation, on_result: OnResult, *, wait: bool) -> None:
        running = self._enter(version)
        try:
            running.pool.submit(invocation, on_result, wait=wait)
        finally:
            with self._lock:
                running.entering -= 1

    def _counted(self, job: _Job) -> _Job:
        def on_result(result: InvocationResult) -> None:
            with self._lock:
                self._in_work -= 1
            self._go_on()
            job.on_result(result)

        return job._replace(on_result=on_result)

    def _has_room(self) -> bool:
        """With the lock held. A function that reserves 0 has some, for its pools refuse."""
        reserved = self.reserved
        return not reserved or self._in_work < reserved

    def _go_on(self) -> None:
        """Hand over what has waited, as far as there is room."""
        while True:
            with self._lock:
                if not self._waiting or not self._has_room():
                    return
                job = self._waiting.popleft()
                self._in_work += 1
            self._hand_over(*self._counted(job), wait=True)

    def _refuse(self, job: _Job) -> None:
        """429: a pool that may have no environment says so, on a thread of its own."""
        pool = self._make_pool(replace(self._some, reserved_concurrent_executions=0))
        pool.start()
        pool.submit(job.invocation, job.on_result, wait=False)
        with self._lock:
            self._past = [_total([*self._past, pool.stats()])]

    def _finish(self, running: _Running) -> None:
        while not self._stopping.wait(LOOK):
            with self._lock:
                entering = running.entering
            stats = running.pool.stats()  # afterwards: who was still entering is not in these figures for sure
            if not (entering or stats.busy or stats.waiting):
                break
        else:
            return  # `stop` ends it
        running.pool.stop()
        with self._lock:
            self._finishing.remove(running)
            self._past = [_total([*self._past, running.pool.stats()])]
        self._on_finished()


def _total(stats: list[PoolStats]) -> PoolStats:
    return PoolStats(*(sum(getattr(item, field.name) for item in stats) for field in fields(PoolStats)))
