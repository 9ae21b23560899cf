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
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from queue import Empty
from time import monotonic

from poller.faults.chance import InvocationFaults
from poller.model import MAXIMUM_PAYLOAD, FunctionConfiguration, Invocation, InvocationResult
from poller.runtime.answers import error_answer, throttled
from poller.runtime.environment import INIT_TIMEOUT, ExecutionEnvironment
from poller.runtime.environment_thread import Ahead, EnvironmentThread, Job
from poller.runtime.handler_log import LogSink
from poller.runtime.late_answers import LateAnswers, OnResult
from poller.runtime.prewarming import Prewarming, ProvisionedConcurrency, init_timeout

IDLE_TIMEOUT = 300.0
"""Seconds without work after which an environment is stopped."""

_LAST_BREATH = 5.0
"""Seconds that `stop` waits for threads whose processes are killed: only a callback that blocks can take longer."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PoolStats:
    """Counters since the pool was made, save the first three, which say how it is now (C.9)."""

    environments: int
    busy: int
    waiting: int
    cold_starts: int
    invocations: int
    """Answered by an environment; throttles are not among them."""
    errors: int
    """Invocations whose function failed (A.4)."""
    throttles: int
    faults: int
    """Answered with status 500: our own fault, or the pool was stopped."""
    provisioned: int = 0
    """Environments that are to be kept initialised now, and those of them that are."""
    provisioned_available: int = 0


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
        """
        self.configuration = configuration
        reserved = configuration.reserved_concurrent_executions
        self._limit = account_concurrency if reserved is None else reserved
        self._reason = (
            "ConcurrentInvocationLimitExceeded"
            if reserved is None
            else "ReservedFunctionConcurrentInvocationLimitExceeded"
        )
        self._sink = log
        self._log_streams = log_streams
        self._faults_on_purpose = faults
        self._idle_timeout = idle_timeout
        self._init_timeout = init_timeout
        self._freeze = freeze
        self._lock = threading.Lock()
        """Guards all that follows. Nothing blocks, calls back or writes while it is held."""
        self._running = self._stopped = False
        self.generation = 0
        """How often the code was changed."""
        self._workers: dict[int, EnvironmentThread] = {}
        self._leaving: set[EnvironmentThread] = set()
        self._idle: list[EnvironmentThread] = []
        """Taken from the end: provisioned ones stand behind those on demand."""
        self._provisioned = provisioned
        self._warming: list[EnvironmentThread] = []
        """In their init, without an invocation."""
        self._waiting: deque[Job] = deque()
        self._hungry: deque[EnvironmentThread] = deque()
        self._lying = 0
        """Invocations that lie ahead, of all workers."""
        self._answer = LateAnswers(configuration.function_name).give
        self._invocations = self._errors = self._throttles = self._faults = self._past_cold_starts = 0

    def start(self) -> None:
        """Accept invocations. Idempotent; a pool that was stopped stays stopped."""
        with self._lock:
            self._running = not self._stopped
            worker = None
            if self._running and self.configuration.debug_port is not None and not self._workers:
                worker = self._new_worker()
                worker.prepares = True
        if worker is not None:
            self._start(worker)
        self._replenish()

    def provision(self, provisioned: int) -> None:
        """Keep so many environments initialised from now on; those that are too many become ones on demand."""
        with self._lock:
            self._provisioned = provisioned
            kept = [worker for worker in self._workers.values() if worker.prewarming is not None]
            for worker in kept[provisioned:]:
                worker.prewarming = None
        self._replenish()

    def provisioned_concurrency(self) -> ProvisionedConcurrency:
        """How the provisioned concurrency stands."""
        with self._lock:
            return self._provisioned_concurrency()

    def submit(self, invocation: Invocation, on_result: OnResult, *, wait: bool) -> None:
        """Invoke when an environment is free. Does not block.

        `on_result` is called exactly once, on a thread of this pool, and must neither block nor raise. With `wait`
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
        with self._lock:
            if not self._running:
                self._faults += 1
                answer = error_answer(invocation.request_id, 500, "The function is not running.")
            elif self._idle:
                self._idle.pop().inbox.put(job)
                return
            elif len(self._workers) < self._limit:
                worker = self._new_worker()
                worker.inbox.put(job)
                answer = None
            elif self._limit and self._warming:
                worker = self._warming.pop(0)  # its init is this one's cold start
                worker.outdated = worker.generation != self.generation
                worker.inbox.put(job)
                return
            elif wait and self._limit:
                self._waiting.append(job)
                hungry = self._next_hungry()
                if hungry is not None:
                    hungry.environment.wake()
                return
            else:
                self._throttles += 1
                answer = throttled(invocation.request_id, self._reason)
        if answer is not None:
            self._answer([(on_result, answer)])
        else:
            self._start(worker)

    def reload(self) -> None:
        """The function's code has changed: whatever is begun from now on runs in a new environment. Does not block.

        What is in work ends where it is. Nothing is lost or repeated.
        """
        with self._lock:
            self.generation += 1
            for worker in self._idle:
                self._leave(worker)
                worker.inbox.put(None)
            self._idle.clear()
            for worker in self._workers.values():
                self._wait_again(worker)

    def look_at_memory(self) -> None:
        """As `memory.Watched`: of environments in work, since what is idle grows no more."""
        with self._lock:
            idle = set(self._idle)
            environments = [worker.environment for worker in self._workers.values() if worker not in idle]
        for environment in environments:
            environment.look_at_memory()

    @property
    def busy(self) -> int:
        """Invocations in work. Asked before many a call, so without the lock: it may be one off."""
        return len(self._workers) - len(self._idle) - len(self._warming)

    def stats(self) -> PoolStats:
        """A snapshot."""
        with self._lock:
            provisioned = self._provisioned_concurrency()
            return PoolStats(
                environments=len(self._workers),
                busy=self.busy,
                waiting=len(self._waiting) + self._lying,
                cold_starts=self._past_cold_starts + sum(w.environment.cold_starts for w in self._workers.values()),
                invocations=self._invocations,
                errors=self._errors,
                throttles=self._throttles,
                faults=self._faults,
                provisioned=0 if self._stopped else min(provisioned.requested, self._limit),
                provisioned_available=provisioned.available,
            )

    def stop(self, grace: float = 0.0) -> None:
        """Answer what waits with 500, let what runs finish for `grace` seconds, then kill it: it answers 500, too.

        Blocks until no process is left. Idempotent, also before and during `start`. Not to be called from a callback.
        """
        with self._lock:
            self._running, self._stopped = False, True
            left = [job for worker in self._workers.values() for job in self._take_back(worker, all_of_them=True)]
            left += self._waiting
            self._waiting.clear()
            self._faults += len(left)
            warming, self._warming = self._warming, []
            busy = [worker for worker in self._workers.values() if worker not in self._idle and worker not in warming]
            for worker in (*self._idle, *warming):
                worker.inbox.put(None)
            self._idle.clear()
            workers = [*self._workers.values(), *self._leaving]
            for worker in busy:
                if worker.prepares:  # nothing is in work there
                    worker.environment.kill()
        self._answer([(job.on_result, _stopped(job.invocation)) for job in left])
        for worker in warming:
            worker.environment.kill()
        _wait_for(busy, grace)
        for worker in busy:
            with self._lock:  # it may be given a new one
                environment = worker.environment
            environment.kill()
        _wait_for(workers, _LAST_BREATH)
        for worker in workers:
            if not worker.ended.is_set():
                _log.error("%s does not end: its callback blocks", worker.name)

    def _new_worker(self, prewarming: Prewarming | None = None) -> EnvironmentThread:
        """With the lock held. The lowest free number, so that threads' names stay few."""
        number = next(n for n in range(1, len(self._workers) + 2) if n not in self._workers)
        environment = self._new_environment(provisioned=prewarming is not None)
        self._workers[number] = worker = EnvironmentThread(self, number, environment, prewarming)
        return worker

    def _new_environment(self, *, provisioned: bool) -> ExecutionEnvironment:
        configuration = self.configuration
        if provisioned:
            configuration = replace(configuration, initialization_type="provisioned-concurrency")
        return ExecutionEnvironment(
            configuration,
            self._sink,
            log_streams=self._log_streams,
            faults=self._faults_on_purpose,
            init_timeout=self._init_timeout,
        )

    def _renew(self, worker: EnvironmentThread) -> None:
        """Give a worker a new environment in place of one that was stopped."""
        with self._lock:
            stopped = worker.environment
            self._past_cold_starts += stopped.cold_starts
            worker.environment = self._new_environment(provisioned=worker.prewarming is not None)
            worker.laid_in = 0
            worker.generation, worker.outdated = self.generation, False
            if stopped.killed:
                worker.environment.kill()

    def _replenish(self) -> None:
        """Start what the provisioned concurrency lacks."""
        while True:
            with self._lock:
                have = sum(worker.prewarming is not None for worker in self._workers.values())
                if not self._running or have >= self._provisioned or len(self._workers) >= self._limit:
                    return
                worker = self._new_worker(Prewarming())
                self._warming.append(worker)
            if not self._start(worker):
                return

    def _provisioned_concurrency(self) -> ProvisionedConcurrency:
        """With the lock held."""
        found = [worker.prewarming for worker in self._workers.values() if worker.prewarming is not None]
        failure = next((prewarming.failure for prewarming in found if prewarming.failure), None)
        return ProvisionedConcurrency(self._provisioned, sum(one.ready for one in found), failure)

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
                if not self._workers:  # nobody will come for those that wait
                    jobs += self._waiting
                    self._waiting.clear()
                self._faults += len(jobs)
            text = f"no thread for an environment: {error}"
            self._answer([(job.on_result, error_answer(job.invocation.request_id, 500, text)) for job in jobs])
            return False
        return True

    def _next_job(self, worker: EnvironmentThread) -> Job | None:
        """What comes to this worker; None when it shall end."""
        while (prewarming := worker.prewarming) is not None:
            if worker.environment.warm:
                prewarming.lives()  # also where an invocation did what had failed before
            elif prewarming.due(monotonic()):
                self._prewarm(worker, prewarming)
            self._rest(worker)
            with suppress(Empty):
                return worker.inbox.get(timeout=prewarming.look_in(monotonic()))
        self._rest(worker)
        try:
            return worker.inbox.get(timeout=self._idle_timeout)
        except Empty:
            with self._lock:
                if worker in self._idle:
                    self._idle.remove(worker)
                    self._leave(worker)  # at once: its place is free while its process still ends
                    return None
            return worker.inbox.get()  # a job was handed over in this very moment

    def _rest(self, worker: EnvironmentThread) -> None:
        """Nothing to do, as far as is known."""
        if self._freeze and worker.inbox.empty():
            worker.environment.freeze()

    def _prewarm(self, worker: EnvironmentThread, prewarming: Prewarming) -> None:
        """Initialise an environment, unless it got a job: that does the same."""
        with self._lock:
            if worker in self._idle:
                self._idle.remove(worker)
                self._warming.append(worker)
            elif worker not in self._warming:
                return
            prewarming.ready = False
        failure = worker.prewarm(init_timeout(self.configuration.timeout))
        with self._lock:
            prewarming.ended(failure, monotonic())
            if worker in self._warming:
                self._warming.remove(worker)
                if (job := self._following(worker)) is not None:
                    worker.inbox.put(job)
            requested, available, _ = self._provisioned_concurrency()
            if not self._running:
                return
        extra = {"function": self.configuration.function_name}
        if failure is None:
            _log.info("%d of %d provisioned environments are initialised", available, requested, extra=extra)
        else:
            text = "the init of a provisioned environment failed, next try in %g s: %s"
            _log.warning(text, prewarming.pause, failure, extra=extra)

    def _done(self, worker: EnvironmentThread, result: InvocationResult) -> Job | None:
        """Count, and take the next waiting job, or wait for one."""
        with self._lock:
            if result.status >= 500:  # noqa: PLR2004
                self._faults += 1
            else:
                self._invocations += 1
                self._errors += result.function_error is not None
            return self._following(worker)

    def _ready(self, worker: EnvironmentThread) -> Job | None:
        """A worker is prepared: as `_done`, but for the counts."""
        with self._lock:
            worker.prepares = False
            return self._following(worker)

    def _following(self, worker: EnvironmentThread) -> Job | None:
        """With the lock held: what a worker that is free does next; None when it is to wait for that."""
        worker.hungry = False
        if worker.ahead:
            self._lying -= 1
            return worker.ahead.popleft().job
        worker.outdated = worker.generation != self.generation
        if self._waiting:
            return self._waiting.popleft()
        for other in self._workers.values() if self._lying else ():
            if other.ahead and (jobs := self._take_back(other)):
                return jobs[0]
        if self._running and not worker.outdated:
            place = len(self._idle)
            if worker.prewarming is None:  # below those that are paid for anyway
                while place and self._idle[place - 1].prewarming is not None:
                    place -= 1
            self._idle.insert(place, worker)
        else:
            if self._running:
                self._leave(worker)
            worker.inbox.put(None)
        return None

    def _ahead(self, worker: EnvironmentThread) -> Ahead | None:
        """What waits, for a worker to lay ahead; it will be woken when there is nothing now."""
        with self._lock:
            if worker.generation != self.generation:
                return None
            # One that is too large is refused when its turn comes.
            if self._waiting and self._running and len(self._waiting[0].invocation.payload) <= MAXIMUM_PAYLOAD:
                self._lying += 1
                worker.ahead.append(Ahead(self._waiting.popleft()))
                return worker.ahead[-1]
            if not worker.hungry:
                worker.hungry = True
                self._hungry.append(worker)
        return None

    def _laid(self, worker: EnvironmentThread, ahead: Ahead, take_back: Callable[[], bool]) -> None:
        with self._lock:
            ahead.take_back = take_back
            # A stop or a reload that came while it was on its way could not take it back.
            left = [] if self._running else self._take_back(worker, all_of_them=True)
            if worker.generation != self.generation:
                self._wait_again(worker)
            self._faults += len(left)
        self._answer([(job.on_result, _stopped(job.invocation)) for job in left])

    def _put_back(self, worker: EnvironmentThread) -> None:
        with self._lock:
            self._lying -= len(worker.ahead)
            self._waiting.extendleft(ahead.job for ahead in reversed(worker.ahead))
            worker.ahead.clear()

    def _next_hungry(self) -> EnvironmentThread | None:
        """With the lock held."""
        while self._hungry:
            worker = self._hungry.popleft()
            if worker.hungry:
                worker.hungry = False
                if worker.generation == self.generation:
                    return worker
        return None

    def _take_back(self, worker: EnvironmentThread, *, all_of_them: bool = False) -> list[Job]:
        """With the lock held: the first invocation, or all, that lie ahead there and that its process has not begun."""
        taken: list[Job] = []
        for ahead in list(worker.ahead):
            if ahead.take_back is not None and ahead.take_back():
                worker.ahead.remove(ahead)
                self._lying -= 1
                taken.append(ahead.job)
                if not all_of_them:
                    break
        return taken

    def _wait_again(self, worker: EnvironmentThread) -> None:
        """With the lock held: what lies ahead there and was not begun waits as before, in its order."""
        self._waiting.extendleft(reversed(self._take_back(worker, all_of_them=True)))

    def _leave(self, worker: EnvironmentThread) -> None:
        """With the lock held. Idempotent."""
        if worker not in self._leaving:
            if worker in self._warming:
                self._warming.remove(worker)
            del self._workers[worker.number]
            self._leaving.add(worker)
            self._past_cold_starts += worker.environment.cold_starts

    def _gone(self, worker: EnvironmentThread) -> None:
        with self._lock:
            self._leave(worker)
            self._leaving.remove(worker)
        worker.ended.set()


def _stopped(invocation: Invocation) -> InvocationResult:
    return error_answer(invocation.request_id, 500, "The function was stopped before this invocation began.")


def _wait_for(workers: list[EnvironmentThread], seconds: float) -> None:
    deadline = monotonic() + seconds
    for worker in workers:
        worker.ended.wait(max(0.0, deadline - monotonic()))
