"""The thread of one environment: it invokes, calls back, and asks its pool for the next invocation."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

from poller.model import Invocation, InvocationResult
from poller.runtime.answers import error_answer
from poller.runtime.driving import LOOK, MOMENT, Driver
from poller.runtime.environment import SUSPENDED, ExecutionEnvironment
from poller.runtime.late_answers import OnResult, call_back
from poller.runtime.prewarming import Prewarming, init_timeout

if TYPE_CHECKING:
    from poller.runtime.dialogue import Dialogue
    from poller.runtime.pool import FunctionPool

_log = logging.getLogger(__name__)


class Job(NamedTuple):
    """An invocation, and whom its result goes to."""

    invocation: Invocation
    on_result: OnResult


@dataclass(slots=True, eq=False)
class Ahead:
    """An invocation in the pipe of an environment that has not begun it, as far as is known."""

    job: Job
    take_back: Callable[[], bool] | None = None
    """None until it is in the pipe."""


class EnvironmentThread(threading.Thread):
    """One environment and the thread that owns it."""

    def __init__(
        self,
        pool: FunctionPool,
        number: int,
        environment: ExecutionEnvironment,
        prewarming: Prewarming | None,
    ) -> None:
        super().__init__(name=f"invoke-{pool.configuration.function_name}-{number}", daemon=True)
        self.pool = pool
        self.number = number
        self.environment = environment
        self.prewarming = prewarming
        """None for an environment on demand. With the pool's lock."""
        self.ahead: deque[Ahead] = deque()
        """With the pool's lock."""
        self.laid_in = 0
        """The number of the process with them."""
        self.generation = pool.generation
        """Of its environment's code. With the pool's lock."""
        self.outdated = False
        """The next invocation is for a new environment."""
        self.inbox: SimpleQueue[Job | None] = SimpleQueue()
        self.ended = threading.Event()
        self._watched: Dialogue | None = None
        """The process whose end is told, and the last one that has ended. Only compared."""
        self._ended: Dialogue | None = None
        self._lost = False
        """It goes because its process has ended."""
        self.prepares = False
        """Whether init comes before there is an event, and is not over. With the pool's lock."""
        self.driver: Driver | None = None
        """Who owns the environment in place of this thread, which waits meanwhile."""
        self.quick = False
        """Whether the last invocation took no longer than a moment."""
        self._parked = False
        """Whether this thread waits and leaves the environment alone. With the pool's lock."""
        self._used = 0.0
        """Monotonic time of the last answer."""

    def lies_ahead(self, job: Job) -> Ahead:
        """One more invocation for its pipe. With the pool's lock."""
        self.ahead.append(Ahead(job))
        return self.ahead[-1]

    def run(self) -> None:
        """Jobs until there is none: the pool stops, or nothing came for the idle time."""
        try:
            if self.prepares:
                self._prepare()
                job = self.pool._ready(self) or self._next_job()  # noqa: SLF001 - a part of the pool
            else:
                job = self._next_job()
            while job is not None:
                result, following, lingers = self.invoke(job)
                call_back(job.on_result, result)
                if lingers or result.function_error:
                    self._settle()
                if lingers:
                    following = self.pool._settled(self)  # noqa: SLF001
                if following is None:
                    job = self._next_job()
                else:
                    job = self._park() if self._is_driven(following) else following
        finally:
            try:
                self.environment.stop(reason="failure" if self._lost else "spindown")
            finally:
                self.pool._gone(self)  # noqa: SLF001
                self.pool._replenish()  # noqa: SLF001

    def invoke(self, job: Job) -> tuple[InvocationResult, Job | None, bool]:
        """Invoke, and be free for the next: the result, the next invocation if there is one, whether extensions leave.

        For the environment's owner. Free first, then the callback: who invokes again from there finds this environment.
        Without a next one it is somebody else's from now on.
        """
        result = self._result(job, self._invoke)
        lingers = self.environment.lingers
        return result, self._done(result, lingers=lingers), lingers

    def take_answer(self, job: Job) -> tuple[InvocationResult, Job | None]:
        """As `invoke`, of what a driver has laid and got the plain response of: there are no extensions."""
        result = self._result(job, self.environment.answered)
        return result, self._done(result, lingers=False)

    def _done(self, result: InvocationResult, *, lingers: bool) -> Job | None:
        self._used = monotonic()
        self.quick = result.duration < MOMENT and result.status == 200 and not result.function_error  # noqa: PLR2004
        process = self.environment.process
        following = self.pool._done(self, result, lingers=lingers)  # noqa: SLF001 - a part of the pool
        if following is None and process is not None and process is self._ended:
            self._process_ended(process)  # it was told while this was in work
        return following

    def wake(self) -> None:
        """There is something to lay ahead. Any thread."""
        driver = self.driver
        if driver is not None and driver.is_here:
            driver.feed(self)
        else:
            self.environment.wake()

    @property
    def may_be_driven(self) -> bool:
        """Whether an idle environment may be driven. With the pool's lock."""
        pipe = self.environment.pipe if self._parked and self.quick else None
        return pipe is not None and pipe.has_room

    def _is_driven(self, following: Job) -> bool:
        """Whether who invokes drives this environment from here on, beginning with this invocation."""
        driver, pipe = following.invocation.driver, self.environment.pipe
        if driver is None or pipe is None or not self.drivable:
            return False
        if pipe.arrived(read=False) is not None:  # no descriptor would tell
            return False
        self._watch_exit()
        return driver.offer(self, following)

    @property
    def drivable(self) -> bool:
        """Whether the next invocation is likely to be quick, in this process. For the environment's owner."""
        return self.quick and not self.outdated and self.prewarming is None and not self.pool.freeze

    def _next_job(self) -> Job | None:
        """What comes to this worker; None when it shall end."""
        while (prewarming := self.prewarming) is not None:
            if self.environment.warm:
                prewarming.lives()  # also where an invocation did what had failed before
            elif prewarming.due(monotonic()):
                self._prewarm(prewarming)
            self._rest()
            with suppress(Empty):
                return self.inbox.get(timeout=prewarming.look_in(monotonic()))
        self._rest()
        return self._park()

    def _park(self) -> Job | None:
        """Leave the environment alone until there is a job for this thread; None when it shall end."""
        self._set_parked(to=not self.pool.freeze)
        idle_timeout = timeout = self.pool.idle_timeout
        while True:
            try:
                job = self.inbox.get(timeout=timeout)
            except Empty:
                timeout = self._used + idle_timeout - monotonic()
                if timeout <= 0:
                    if self.pool._retire(self):  # noqa: SLF001
                        return None
                    # It is driven, or a job was handed over in this very moment.
                    timeout = max(idle_timeout, LOOK)
            else:
                self._set_parked(to=False)
                return job

    def _set_parked(self, *, to: bool) -> None:
        with self.pool._lock:  # noqa: SLF001
            self._parked = to

    def _rest(self) -> None:
        """Nothing to do, as far as is known."""
        self._watch_exit()
        if self.pool.freeze and self.inbox.empty():
            self.environment.freeze()

    def _watch_exit(self) -> None:
        """Have it told when the process ends."""
        process = self.environment.process
        if process is not None and self.pool.exits is not None:
            if process is not self._watched:
                self._watched = process
                self.pool.exits.watch(process.pid, partial(self._process_ended, process))
            elif process is self._ended:
                self._process_ended(process)  # it was told before there was nothing to do

    def _process_ended(self, process: Dialogue) -> None:
        """Go with all that the process left, if nothing is in work here. Any thread."""
        self._ended = process
        with self.pool._lock:  # noqa: SLF001 - a part of the pool
            if self.environment.process is not process:
                return
            young = self.prewarming is not None and not self.prewarming.settled(monotonic())
            if young or not self.pool._roster.retire(self):  # noqa: SLF001
                return
        extra = {"function": self.pool.configuration.function_name}
        _log.info("the process of an idle environment has ended, so the environment goes", extra=extra)
        self._lost = True
        self.inbox.put(None)

    def _prewarm(self, prewarming: Prewarming) -> None:
        """Initialise the environment, unless it got a job: that does the same."""
        if not self.pool._warm_up(self):  # noqa: SLF001
            return
        prewarming.ready = False
        failure = self.prewarm(init_timeout(self.pool.configuration.timeout))
        prewarming.ended(failure, monotonic())
        stands = self.pool._warmed_up(self)  # noqa: SLF001
        if stands is None:
            return
        extra = {"function": self.pool.configuration.function_name}
        if failure is None:
            text = "%d of %d provisioned environments are initialised"
            _log.info(text, stands.available, stands.requested, extra=extra)
        else:
            text = "the init of a provisioned environment failed, next try in %g s: %s"
            _log.warning(text, prewarming.pause, failure, extra=extra)

    def prewarm(self, limit: float) -> str | None:
        """Initialise the environment; None, or what that failed with."""
        try:
            return self.environment.prewarm(limit)
        except Exception as error:  # noqa: BLE001 - logged, and told
            _log.exception("The init of an environment of %s", self.pool.configuration.function_name)
            self._abandon()
            return f"{type(error).__name__}: {error}"

    def _prepare(self) -> None:
        failure = self.prewarm(SUSPENDED)
        if failure is not None:
            _log.warning("its init failed: %s", failure, extra={"function": self.pool.configuration.function_name})

    def _invoke(self, invocation: Invocation) -> InvocationResult:
        if self.outdated:
            self.environment.stop()
            self.pool._renew(self)  # noqa: SLF001
        return self.environment.invoke(invocation, self.feed)

    def _result(self, job: Job, invoke: Callable[[Invocation], InvocationResult]) -> InvocationResult:
        invocation = job.invocation
        try:
            return invoke(invocation)
        except Exception as error:  # noqa: BLE001 - logged, and answered
            _log.exception("Invocation %s of %s", invocation.request_id, self.pool.configuration.function_name)
            self._abandon()
            return error_answer(invocation.request_id, 500, f"{type(error).__name__}: {error}")

    def _abandon(self) -> None:
        """Nothing is known of the process any more."""
        try:
            self.environment.stop(grace=0)
        except Exception:  # noqa: BLE001 - logged: who waits for an answer, and who comes next, must not suffer
            _log.exception("The end of an environment of %s", self.pool.configuration.function_name)
            self.pool._renew(self)  # noqa: SLF001

    def _settle(self) -> None:
        try:
            self.environment.settle()
        except Exception:  # noqa: BLE001 - logged: an event that was taken over meanwhile must not suffer
            _log.exception("The end of extensions of %s", self.pool.configuration.function_name)

    def feed(self) -> None:
        """Lay ahead what waits, as far as there is room. For the environment's owner."""
        if self.laid_in != self.environment.cold_starts:
            # What lies in the pipe of a process that is gone comes first.
            self.laid_in = self.environment.cold_starts
            self.pool._put_back(self)  # noqa: SLF001
        while self.environment.has_room():
            ahead = self.pool._ahead(self)  # noqa: SLF001
            if ahead is None:
                return
            take_back = self.environment.lay(ahead.job.invocation)
            if not self.pool._laid(self, ahead, take_back):  # noqa: SLF001
                return


def wait_for_ends(workers: Iterable[EnvironmentThread], seconds: float) -> None:
    """Wait until these have ended, all together no longer than that."""
    deadline = monotonic() + seconds
    for worker in workers:
        worker.ended.wait(max(0.0, deadline - monotonic()))
