"""The environments of one pool, what each has to do, and what waits: who gets the next invocation.

State and decisions only. The pool holds its lock around everything here; nothing blocks, calls back or writes, save
that an event that lies in a pipe is claimed back.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from poller.model import MAXIMUM_PAYLOAD
from poller.runtime.pool_stats import PoolStats
from poller.runtime.prewarming import ProvisionedConcurrency

if TYPE_CHECKING:
    from poller.runtime.environment_thread import Ahead, EnvironmentThread, Job


class Stopping(NamedTuple):
    """What there was when the pool stopped."""

    left: list[Job]
    """Invocations that nobody has begun."""
    busy: list[EnvironmentThread]
    warming: list[EnvironmentThread]
    workers: list[EnvironmentThread]
    """All of them, also those that were leaving."""


class Roster:
    """Workers are environments with their threads."""

    def __init__(self, provisioned: int) -> None:
        """Nobody is here, and nothing runs.

        Args:
            provisioned: environments that are to be kept initialised.
        """
        self.running = self.stopped = False
        self.limit = 0
        """Environments at once."""
        self.generation = 0
        """How often the code was changed."""
        self.workers: dict[int, EnvironmentThread] = {}
        self.leaving: set[EnvironmentThread] = set()
        self.idle: list[EnvironmentThread] = []
        """Taken from the end: provisioned ones stand behind those on demand."""
        self.provisioned = provisioned
        self.warming: list[EnvironmentThread] = []
        """In their init, without an invocation."""
        self.leaving_extensions: list[EnvironmentThread] = []
        """Their processes have ended, and extensions of those take up to 2 s to leave: what waits is for others."""
        self.waiting: deque[Job] = deque()
        self.hungry: dict[EnvironmentThread, None] = {}
        """Those that have room for more, and found nothing; in that order."""
        self.lying = 0
        """Invocations that lie ahead, of all workers."""
        self._past_cold_starts = 0

    @property
    def busy(self) -> int:
        """Invocations in work."""
        return len(self.workers) - len(self.idle) - len(self.warming) - len(self.leaving_extensions)

    @property
    def cold_starts(self) -> int:
        """Processes started so far."""
        return self._past_cold_starts + sum(worker.environment.cold_starts for worker in self.workers.values())

    def stats(self, invocations: int, errors: int, throttles: int, faults: int) -> PoolStats:
        """A snapshot, with the pool's own counters."""
        provisioned = self.provisioned_concurrency()
        return PoolStats(
            environments=len(self.workers),
            busy=self.busy,
            waiting=len(self.waiting) + self.lying,
            cold_starts=self.cold_starts,
            invocations=invocations,
            errors=errors,
            throttles=throttles,
            faults=faults,
            provisioned=0 if self.stopped else min(provisioned.requested, self.limit),
            provisioned_available=provisioned.available,
        )

    def resize(self, limit: int) -> int:
        """Have so many environments at most; how many more there may be of which each has something to do.

        Idle ones that are too many go at once, others when they are free.
        """
        self.limit = limit
        while self.idle and len(self.workers) > limit:
            worker = self.idle.pop(0)
            self.leave(worker)
            worker.inbox.put(None)
        room = max(0, limit - len(self.workers))
        if room:
            for worker in self.workers.values():
                self.wait_again(worker)
        return min(len(self.waiting), room)

    def free_number(self) -> int:
        """For the next worker: the lowest, so that threads' names stay few."""
        return next(number for number in range(1, len(self.workers) + 2) if number not in self.workers)

    def in_work(self) -> list[EnvironmentThread]:
        """Workers that are not idle."""
        idle = set(self.idle)
        return [worker for worker in self.workers.values() if worker not in idle]

    def following(self, worker: EnvironmentThread) -> Job | None:
        """What a worker that is free does next; None when it is to wait for that."""
        self.hungry.pop(worker, None)
        if worker.ahead:
            self.lying -= 1
            return worker.ahead.popleft().job
        worker.outdated = worker.generation != self.generation
        # What waited when the limit became 0 is still done.
        crowded = self.running and len(self.workers) > self.limit and (self.limit > 0 or not self.waiting)
        if self.waiting and not crowded:
            return self.waiting.popleft()
        for other in self.workers.values() if self.lying and not crowded else ():
            if other.ahead and (jobs := self.take_back(other)):
                return jobs[0]
        if self.running and not worker.outdated and not crowded and not self._gives_way(worker):
            place = len(self.idle)
            if worker.prewarming is None:  # below those that are paid for anyway
                while place and self.idle[place - 1].prewarming is not None:
                    place -= 1
            worker.driver = None
            self.idle.insert(place, worker)
        else:
            if self.running:
                self.leave(worker)
            worker.inbox.put(None)
        return None

    def linger(self, worker: EnvironmentThread) -> None:
        """Extensions of its process that ended have still to leave: it is offered where nobody else is to be had."""
        self.hungry.pop(worker, None)
        self.put_back(worker)
        self.leaving_extensions.append(worker)

    def settled(self, worker: EnvironmentThread) -> Job | None:
        """They have left: as `following`; None also when it got something to do meanwhile."""
        if worker not in self.leaving_extensions:
            return None
        self.leaving_extensions.remove(worker)
        return self.following(worker)

    def lay(self, worker: EnvironmentThread) -> Ahead | None:
        """What waits, for a worker to lay ahead; it will be woken when there is nothing now."""
        if worker.generation != self.generation:
            return None
        # One that is too large is refused when its turn comes.
        if self.waiting and self.running and len(self.waiting[0].invocation.payload) <= MAXIMUM_PAYLOAD:
            self.lying += 1
            return worker.lies_ahead(self.waiting.popleft())
        self.hungry[worker] = None
        return None

    def has_more(self, worker: EnvironmentThread) -> bool:
        """Whether something waits for a worker that has just laid an event; else it will be woken, if it has room."""
        if not self.waiting and worker.generation == self.generation and worker.environment.has_room():
            self.hungry[worker] = None
        return bool(self.waiting)

    def put_back(self, worker: EnvironmentThread) -> None:
        """What lay ahead there waits again: its process is gone."""
        self.lying -= len(worker.ahead)
        self.waiting.extendleft(ahead.job for ahead in reversed(worker.ahead))
        worker.ahead.clear()

    def take_back(self, worker: EnvironmentThread, *, all_of_them: bool = False) -> list[Job]:
        """The first invocation, or all, that lie ahead there and that its process has not begun."""
        taken: list[Job] = []
        for ahead in list(worker.ahead):
            if ahead.take_back is not None and ahead.take_back():
                worker.ahead.remove(ahead)
                self.lying -= 1
                taken.append(ahead.job)
                if not all_of_them:
                    break
        return taken

    def wait_again(self, worker: EnvironmentThread) -> None:
        """What lies ahead there and was not begun waits as before, in its order."""
        self.waiting.extendleft(reversed(self.take_back(worker, all_of_them=True)))

    def wait(self, job: Job) -> EnvironmentThread | None:
        """An invocation for whoever is free first; a worker that has room for it, which is to be woken."""
        self.waiting.append(job)
        while self.hungry:
            worker = next(iter(self.hungry))
            del self.hungry[worker]
            if worker.generation == self.generation:
                return worker
        return None

    def retire(self, worker: EnvironmentThread) -> bool:
        """It was idle for too long: whether it still is, and goes. Its place is free at once."""
        if worker not in self.idle:
            return False
        self.idle.remove(worker)
        self.leave(worker)
        return True

    def leave(self, worker: EnvironmentThread) -> None:
        """It gets nothing any more; its thread and its process may still live. Idempotent."""
        if worker not in self.leaving:
            for place in (self.warming, self.leaving_extensions):
                if worker in place:
                    place.remove(worker)
            self.hungry.pop(worker, None)
            del self.workers[worker.number]
            self.leaving.add(worker)
            self._past_cold_starts += worker.environment.cold_starts

    def gone(self, worker: EnvironmentThread) -> None:
        """Nothing of it is left."""
        self.leave(worker)
        self.leaving.remove(worker)

    def renewed(self, worker: EnvironmentThread, cold_starts: int) -> None:
        """It has a new environment; the one before had so many cold starts."""
        self._past_cold_starts += cold_starts
        worker.laid_in = 0
        worker.generation, worker.outdated = self.generation, False

    def outdate(self) -> None:
        """The code was changed: who is idle goes, and what nobody has begun waits for another."""
        self.generation += 1
        for worker in self.idle:
            self.leave(worker)
            worker.inbox.put(None)
        self.idle.clear()
        for worker in self.workers.values():
            self.wait_again(worker)

    def stop(self) -> Stopping:
        """For good: send away who is idle or warms up."""
        self.running, self.stopped = False, True
        left = [job for worker in self.workers.values() for job in self.take_back(worker, all_of_them=True)]
        left += self.drain()
        warming, self.warming = self.warming, []
        resting = [*self.idle, *warming, *self.leaving_extensions]
        busy = [worker for worker in self.workers.values() if worker not in resting]
        for worker in resting:
            worker.inbox.put(None)
        self.idle.clear()
        self.leaving_extensions.clear()
        return Stopping(left, busy, warming, [*self.workers.values(), *self.leaving])

    def drain(self) -> list[Job]:
        """All that waits: it will not be done."""
        waiting = list(self.waiting)
        self.waiting.clear()
        return waiting

    # --- provisioned concurrency -----------------------------------------------------------------------------------

    def provision(self, provisioned: int) -> None:
        """Keep so many environments initialised from now on; those that are too many become ones on demand.

        Where there is no room, idle ones on demand go at once, others when they are free.
        """
        self.provisioned = provisioned
        kept = [worker for worker in self.workers.values() if worker.prewarming is not None]
        for worker in kept[provisioned:]:
            worker.prewarming = None
        lacking = min(provisioned, self.limit) - len(kept) - max(0, self.limit - len(self.workers))
        for worker in [one for one in self.idle if one.prewarming is None][: max(0, lacking)]:
            self.idle.remove(worker)
            self.leave(worker)
            worker.inbox.put(None)

    def lacks(self) -> bool:
        """Whether there are fewer than are to be kept initialised."""
        have = sum(worker.prewarming is not None for worker in self.workers.values())
        return self.running and have < self.provisioned

    def _gives_way(self, worker: EnvironmentThread) -> bool:
        """Whether one on demand takes a place that one lacks which is to be kept initialised."""
        return worker.prewarming is None and len(self.workers) >= self.limit and self.lacks()

    def warm_up(self, worker: EnvironmentThread) -> bool:
        """Whether it may initialise its environment now; not when it has got a job, which does the same."""
        if worker in self.idle:
            self.idle.remove(worker)
            self.warming.append(worker)
        return worker in self.warming

    def warmed_up(self, worker: EnvironmentThread) -> None:
        """Its init is over: it is idle, or has got a job meanwhile."""
        if worker in self.warming:
            self.warming.remove(worker)
            if (job := self.following(worker)) is not None:
                worker.inbox.put(job)

    def provisioned_concurrency(self) -> ProvisionedConcurrency:
        """How it stands."""
        found = [worker.prewarming for worker in self.workers.values() if worker.prewarming is not None]
        failure = next((prewarming.failure for prewarming in found if prewarming.failure), None)
        return ProvisionedConcurrency(self.provisioned, sum(one.ready for one in found), failure)
