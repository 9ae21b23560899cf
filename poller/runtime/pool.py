"""Warm execution environments of one function, and who gets the next one.

One thread per environment, `invoke-<function>-<n>`: it writes the event, reads the answer, calls back, and takes the
next waiting invocation, so nothing changes threads in between. `invoke-<function>-0` is started when there is
something to answer without an environment: throttles, and what is left when the pool stops.

What waits because all environments are taken is laid ahead into their pipes, so that no handler waits for its next
event. An environment that becomes free takes back what another has not begun: nothing waits behind a slow event while
somebody has time for it.

When the function's code was changed, `reload` begins a new generation: environments of an older one finish what they
have begun and no more.

Provisioned concurrency: so many environments are initialised at the start, never reaped, and initialised anew when
their process has died (`prewarming`). More come on demand.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from queue import Empty

from poller.faults.chance import InvocationFaults
from poller.model import FunctionConfiguration, Invocation, InvocationResult
from poller.runtime.answers import error_answer, stopped, throttled
from poller.runtime.control_groups import ControlGroups
from poller.runtime.environment_maker import EnvironmentMaker
from poller.runtime.environment_thread import Ahead, EnvironmentThread, Job, wait_for_ends
from poller.runtime.exit_watch import ExitWatch
from poller.runtime.handler_log import LogSink
from poller.runtime.initialization import INIT_TIMEOUT
from poller.runtime.late_answers import LateAnswers, OnResult
from poller.runtime.pool_stats import PoolStats
from poller.runtime.prewarming import Prewarming, ProvisionedConcurrency
from poller.runtime.roster import Roster

IDLE_TIMEOUT = 300.0
"""Seconds without work after which an environment is stopped."""

_LAST_BREATH = 5.0
"""Seconds that `stop` waits for threads whose processes are killed: only a callback that blocks can take longer."""

_log = logging.getLogger(__name__)


class FunctionPool:
    """Hands a function's invocations to its environments. Every method may be called from any thread."""

    def __init__(
        self,
        configuration: FunctionConfiguration,
        *,
        log: LogSink,
        log_streams: Callable[[str], LogSink] | None = None,
        faults: InvocationFaults | None = None,
        account_concurrency: int = 1000,
        idle_timeout: float = IDLE_TIMEOUT,
        init_timeout: float = INIT_TIMEOUT,
        provisioned: int = 0,
        freeze: bool = False,
        control_groups: ControlGroups | None = None,
        exits: ExitWatch | None = None,
    ) -> None:
        """Start nothing yet.

        Args:
            configuration: the function.
            log: takes the function's log lines, on the environments' threads.
            log_streams: gives what takes those of one environment instead, by the name of its log stream.
            faults: what goes wrong on purpose.
            account_concurrency: most environments of a function that reserves none (A.2).
            idle_timeout: seconds after which an environment without work is stopped.
            init_timeout: seconds of the init phase (E.3).
            provisioned: environments that are kept initialised, as far as the concurrency lets.
            freeze: whether processes of environments without work are stopped (E.3).
            control_groups: limit what its processes may use; without them `look_at_memory` does.
            exits: tells of processes that end while idle; without it the next invocation finds out.
        """
        self.configuration = configuration
        self._faults_on_purpose = faults
        self._environments = EnvironmentMaker(log, log_streams, faults, init_timeout, control_groups)
        self.idle_timeout = idle_timeout
        self.freeze = freeze
        self.exits = exits
        self._lock = threading.Lock()
        """Guards all that follows. Nothing blocks, calls back or writes while it is held."""
        self._roster = Roster(provisioned)
        self._bound(configuration.reserved_concurrent_executions, account_concurrency)
        self._answer = LateAnswers(configuration.function_name).give
        self._invocations = self._errors = self._throttles = self._faults = 0

    def start(self) -> None:
        """Accept invocations. Idempotent; a pool that was stopped stays stopped."""
        with self._lock:
            self._roster.running = not self._roster.stopped
            worker = None
            if self._roster.running and self.configuration.debug_port is not None and not self._roster.workers:
                worker = self._new_worker()
                worker.prepares = True
        if worker is not None:
            self._start(worker)
        self._replenish()

    def provision(self, provisioned: int) -> None:
        """Keep so many environments initialised from now on; those that are too many become ones on demand."""
        with self._lock:
            self._roster.provision(provisioned)
        self._replenish()

    def provisioned_concurrency(self) -> ProvisionedConcurrency:
        """How the provisioned concurrency stands."""
        with self._lock:
            return self._roster.provisioned_concurrency()

    def reserve(self, concurrency: int | None, account_concurrency: int) -> None:
        """Let the function reserve that from now on. Environments stay, save that those that are too many end."""
        if self.configuration.debug_port is not None:  # one at a time, for whoever debugs
            concurrency, account_concurrency = None if concurrency is None else min(concurrency, 1), 1
        workers = []
        with self._lock:
            self.configuration = replace(self.configuration, reserved_concurrent_executions=concurrency)
            for _ in range(self._bound(concurrency, account_concurrency)):
                workers.append(self._new_worker())
                workers[-1].inbox.put(self._roster.waiting.popleft())
        for worker in workers:
            self._start(worker)
        self._replenish()

    def submit(self, invocation: Invocation, on_result: OnResult, *, wait: bool) -> None:
        """Invoke when an environment is free. Does not block.

        `on_result` is called exactly once, on another thread, and must neither block nor raise; where the invocation
        names a driver, perhaps on that one's thread, when it next looks for answers. With `wait`
        the invocation queues, first come first served (event sources); without, it is answered with status 429 when
        no environment is free (A.3). A function with a concurrency of 0 is always throttled. A pool that does not
        run answers 500.
        """
        job = Job(invocation, on_result)
        if self._faults_on_purpose is not None and self._faults_on_purpose.throttles():
            with self._lock:
                self._throttles += 1
            self._answer([(on_result, throttled(invocation.request_id, self._reason))])
            return
        roster = self._roster
        then: Callable[[], object]
        with self._lock:
            if not roster.running:
                self._faults += 1
                answer = error_answer(invocation.request_id, 500, "The function is not running.")
                then = partial(self._answer, [(on_result, answer)])
            elif roster.idle:
                worker, driver = roster.idle.pop(), invocation.driver
                if driver is None or not (driver.is_here and worker.may_be_driven):
                    worker.inbox.put(job)
                    return
                then = partial(driver.take, worker, job)
            elif len(roster.workers) < roster.limit:
                worker = self._new_worker()
                worker.inbox.put(job)
                then = partial(self._start, worker)
            elif roster.limit and (roster.warming or (roster.leaving_extensions and not wait)):
                worker = (roster.warming or roster.leaving_extensions).pop(0)  # its init is this one's cold start
                worker.outdated = worker.generation != roster.generation
                worker.inbox.put(job)
                return
            elif wait and roster.limit:
                hungry = roster.wait(job)
                if hungry is None:
                    return
                then = hungry.wake
            else:
                self._throttles += 1
                then = partial(self._answer, [(on_result, throttled(invocation.request_id, self._reason))])
        then()

    def reload(self) -> None:
        """The function's code has changed: whatever is begun from now on runs in a new environment. Does not block.

        What is in work ends where it is. Nothing is lost or repeated.
        """
        with self._lock:
            self._roster.outdate()

    def look_at_memory(self) -> None:
        """As `memory.Watched`: of environments in work, since what is idle grows no more."""
        with self._lock:
            environments = [worker.environment for worker in self._roster.in_work()]
        for environment in environments:
            environment.look_at_memory()

    @property
    def generation(self) -> int:
        """How often the code was changed."""
        return self._roster.generation

    @property
    def busy(self) -> int:
        """Invocations in work. Asked before many a call, so without the lock: it may be one off."""
        return self._roster.busy

    def stats(self) -> PoolStats:
        """A snapshot."""
        with self._lock:
            return self._roster.stats(self._invocations, self._errors, self._throttles, self._faults)

    def stop(self, grace: float = 0.0) -> None:
        """Answer what waits with 500, let what runs finish for `grace` seconds, then kill it: it answers 500, too.

        Blocks until no process is left. Idempotent, also before and during `start`. Not to be called from a callback.
        """
        with self._lock:
            left, busy, warming, workers = self._roster.stop()
            self._faults += len(left)
            for worker in busy:
                if worker.prepares:  # nothing is in work there
                    worker.environment.kill()
        self._answer([(job.on_result, stopped(job.invocation.request_id)) for job in left])
        for worker in warming:
            worker.environment.kill()
        wait_for_ends(busy, grace)
        for worker in busy:
            with self._lock:  # it may be given a new one
                environment = worker.environment
            environment.kill()
        wait_for_ends(workers, _LAST_BREATH)
        for worker in workers:
            if not worker.ended.is_set():
                _log.error("%s does not end: its callback blocks", worker.name)

    def _bound(self, reserved: int | None, account_concurrency: int) -> int:
        """With the lock held: as `Roster.resize`."""
        kind = "Concurrent" if reserved is None else "ReservedFunctionConcurrent"
        self._reason = f"{kind}InvocationLimitExceeded"
        return self._roster.resize(account_concurrency if reserved is None else reserved)

    def _new_worker(self, prewarming: Prewarming | None = None) -> EnvironmentThread:
        """With the lock held."""
        number = self._roster.free_number()
        environment = self._environments.make(self.configuration, provisioned=prewarming is not None)
        self._roster.workers[number] = worker = EnvironmentThread(self, number, environment, prewarming)
        return worker

    def _renew(self, worker: EnvironmentThread) -> None:
        """Give a worker a new environment in place of one that was stopped."""
        with self._lock:
            stopped = worker.environment
            provisioned = worker.prewarming is not None
            worker.environment = self._environments.make(self.configuration, provisioned=provisioned)
            self._roster.renewed(worker, stopped.cold_starts)
            if stopped.killed:
                worker.environment.kill()

    def _replenish(self) -> None:
        """Start what the provisioned concurrency lacks."""
        while True:
            with self._lock:
                if not self._roster.lacks() or len(self._roster.workers) >= self._roster.limit:
                    return
                worker = self._new_worker(Prewarming())
                self._roster.warming.append(worker)
            if not self._start(worker):
                return

    def _start(self, worker: EnvironmentThread) -> bool:
        """Outside the lock: starting a thread waits for it. False when there is none; its job, if any, is answered."""
        try:
            worker.start()
        except RuntimeError as error:  # no threads left
            self._gone(worker)
            jobs: list[Job] = []
            with suppress(Empty):
                jobs += filter(None, [worker.inbox.get_nowait()])
            with self._lock:
                if not self._roster.workers:  # nobody will come for those that wait
                    jobs += self._roster.drain()
                self._faults += len(jobs)
            text = f"no thread for an environment: {error}"
            self._answer([(job.on_result, error_answer(job.invocation.request_id, 500, text)) for job in jobs])
            return False
        return True

    def _retire(self, worker: EnvironmentThread) -> bool:
        """As `Roster.retire`."""
        with self._lock:
            return self._roster.retire(worker)

    def _warm_up(self, worker: EnvironmentThread) -> bool:
        """As `Roster.warm_up`."""
        with self._lock:
            return self._roster.warm_up(worker)

    def _warmed_up(self, worker: EnvironmentThread) -> ProvisionedConcurrency | None:
        """As `Roster.warmed_up`; how things stand, if somebody wants to know: not when the pool stops."""
        with self._lock:
            self._roster.warmed_up(worker)
            return self._roster.provisioned_concurrency() if self._roster.running else None

    def _done(self, worker: EnvironmentThread, result: InvocationResult, *, lingers: bool) -> Job | None:
        """Count, and take the next waiting job, or wait for one; nothing before `_settled` where extensions leave."""
        with self._lock:
            self._faults += (is_fault := result.status >= 500)  # noqa: PLR2004
            self._invocations += not is_fault
            self._errors += not is_fault and result.function_error is not None
            following = None if lingers else self._roster.following(worker)
            if lingers:
                self._roster.linger(worker)
            leaves = worker in self._roster.leaving
        if leaves:
            self._replenish()  # before the callback, which may invoke again and take its place
        return following

    def _settled(self, worker: EnvironmentThread) -> Job | None:
        """As `Roster.settled`."""
        with self._lock:
            return self._roster.settled(worker)

    def _ready(self, worker: EnvironmentThread) -> Job | None:
        """A worker is prepared: as `_done`, but for the counts."""
        with self._lock:
            worker.prepares = False
            return self._roster.following(worker)

    def _ahead(self, worker: EnvironmentThread) -> Ahead | None:
        """As `Roster.lay`."""
        with self._lock:
            return self._roster.lay(worker)

    def _put_back(self, worker: EnvironmentThread) -> None:
        with self._lock:
            self._roster.put_back(worker)

    def _laid(self, worker: EnvironmentThread, ahead: Ahead, take_back: Callable[[], bool]) -> bool:
        """It is in the pipe; whether something waits to be laid as well. If not, somebody says so when it comes."""
        with self._lock:
            ahead.take_back = take_back
            # A stop or a reload that came while it was on its way could not take it back.
            left = [] if self._roster.running else self._roster.take_back(worker, all_of_them=True)
            if worker.generation != self._roster.generation:
                self._roster.wait_again(worker)
            self._faults += len(left)
            more = self._roster.has_more(worker)
        if left:
            self._answer([(job.on_result, stopped(job.invocation.request_id)) for job in left])
        return more

    def _gone(self, worker: EnvironmentThread) -> None:
        with self._lock:
            self._roster.gone(worker)
        worker.ended.set()
