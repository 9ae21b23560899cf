"""Quick invocations, driven on the thread of whoever has the next one: a poll loop.

An environment has a thread of its own, which waits for its process. To wake it for an event, to be woken by it for the
answer, and to take turns with it for the interpreter's lock costs more than a small batch does. So whoever invokes a
quick handler again and again lays the events into its pipe and takes the answers out of it himself. What takes longer
than a moment, and all that is no plain response, goes to the environment's thread, which goes on where the driver was:
timeouts, crashes, errors and new processes are that thread's alone.
"""

from __future__ import annotations

import logging
import os
import select
import threading
import time
import weakref
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from poller.model import MAXIMUM_PAYLOAD
from poller.runtime.late_answers import OnResult, call_back

if TYPE_CHECKING:
    from poller.model import InvocationResult
    from poller.runtime.environment_thread import EnvironmentThread, Job
    from poller.runtime.pipe_dialogue import PipeDialogue

DRIVES = hasattr(select, "epoll") and hasattr(os, "eventfd")
"""Whether the system has what it takes (Linux has); else environments are their threads'."""
MOMENT = 0.002
"""Seconds that a driver waits for an answer, and that a quick handler takes at most."""
LOOK = 0.1
"""Seconds after which somebody else looks at what is driven. The owner may keep an invocation twice as long at most."""


@dataclass(slots=True, eq=False)
class _Driven:
    """An environment with the invocation that is in work."""

    worker: EnvironmentThread
    job: Job
    pipe: PipeDialogue
    fd: int
    """Readable when the process answers."""


_log = logging.getLogger(__name__)

_Answers = list[tuple[OnResult, "InvocationResult"]]


class Driver:
    """Drives environments of any pools. Methods are for the thread that owns it unless they say otherwise.

    The owner has to `collect`, or `wait`, whenever it comes by, and to `release` before it waits for anything else.
    Where it cannot know that it will wait, somebody else does so after `LOOK`.
    """

    def __init__(self) -> None:
        self.awake = False
        """Whether environments may be offered: the owner comes by again, for all that is known. Set by the owner."""
        self.waiting = False
        """The owner is in `wait`, or about to begin it, and `wake` ends that. Set by the owner."""
        self._owner = 0
        self._lock = threading.RLock()
        """Guards what follows, and the environments that are driven. A callback may come here again."""
        self._driven: dict[int, _Driven] = {}
        """By the descriptor that their processes answer on."""
        self._open: _Descriptors | None = None
        """From the first environment on."""
        self._seen: dict[int, Job] = {}
        """What was in work when somebody looked."""
        self._told = False
        """Whether the log says that there were no descriptors left."""

    def own(self) -> None:
        """The calling thread is the owner from now on."""
        self._owner = threading.get_ident()

    def fileno(self) -> int:
        """Readable when there is something to `collect`. The same until `close`."""
        with self._lock:
            return self._descriptors().ready.fileno()

    @property
    def is_here(self) -> bool:
        """Whether the calling thread is the owner. Any thread."""
        return threading.get_ident() == self._owner

    @property
    def busy(self) -> bool:
        """Whether anything is driven. Any thread."""
        return bool(self._driven)

    def take(self, worker: EnvironmentThread, job: Job) -> None:
        """Drive an environment that was idle, and has the job now. Does not block."""
        with self._lock:
            if not self._begin(worker, job):
                worker.inbox.put(job)

    def offer(self, worker: EnvironmentThread, job: Job) -> bool:
        """Whether this has taken an environment over, with the job as its next one. On the environment's thread.

        It may have been given back at once: the job is in the inbox then.
        """
        with self._lock:
            if not self.awake or not self._begin(worker, job):
                return False
        if self.waiting:
            self.wake()
        return True

    def feed(self, worker: EnvironmentThread) -> None:
        """Lay ahead what waits, in an environment that has room."""
        with self._lock:
            for driven in self._driven.values():
                if driven.worker is worker:
                    worker.feed()
                    self._keep(driven)
                    return
        worker.environment.wake()  # it was released meanwhile

    def collect(self) -> None:
        """Take what was answered, and call back. Does not block."""
        if self._driven and self._open is not None:
            self._take(self._open.ready.poll(0))

    def wait(self, timeout: float) -> None:
        """As `collect`, once something was answered or `wake` was called, or after these seconds.

        What is not answered then takes longer than was expected, and is left to its thread.
        """
        ready = self._open.ready.poll(timeout) if self._open is not None else []
        self._take(ready)
        if not ready:
            self.release()

    def wake(self) -> None:
        """End a `wait`. Any thread, does not block."""
        with self._lock:
            if self._open is not None:
                os.eventfd_write(self._open.wake, 1)

    def release(self) -> None:
        """Leave all to the threads, until the owner is awake again. Any thread, idempotent, does not block."""
        if self.awake or self._driven:
            with self._lock:
                self.awake = False
                for driven in list(self._driven.values()):
                    self._hand_over(driven)

    def look(self) -> bool:
        """Leave to its thread what was in work at the last look already; whether anything is left. Any thread.

        The owner may be kept by its broker, or by what other environments say. Until it invokes again nothing is
        offered, so that nobody else waits for it.
        """
        if self._lock.acquire(blocking=False):  # else the owner has come by
            try:
                for driven in list(self._driven.values()):
                    if self._seen.get(driven.fd) is driven.job:
                        self.awake = False
                        self._hand_over(driven)
                self._seen = {fd: driven.job for fd, driven in self._driven.items()}
            finally:
                self._lock.release()
        return self.busy

    def close(self) -> None:
        """As `release`; nothing is held any more, and nobody owns it until `own`."""
        self._owner = 0
        self.release()
        with self._lock:
            if self._open is not None:
                self._open.close()
                self._open = None

    def _take(self, ready: list[tuple[int, int]]) -> None:
        answers: _Answers = []
        with self._lock:
            for fd, _ in ready:
                if (driven := self._driven.get(fd)) is not None:
                    try:
                        self._go_on(driven, answers)
                    except Exception:  # noqa: BLE001 - logged; those that were answered must not suffer
                        _log.exception("An environment of %s", driven.worker.pool.configuration.function_name)
                        self._hand_over(driven)
                elif self._open is not None and fd == self._open.wake:
                    with suppress(BlockingIOError):
                        os.eventfd_read(fd)
        for on_result, result in answers:  # without the lock: who invokes again from there needs it
            call_back(on_result, result)

    # --- with the lock ------------------------------------------------------------------------------------------------

    def _begin(self, worker: EnvironmentThread, job: Job) -> bool:
        """Whether it is taken over; not where there are no descriptors left."""
        pipe = worker.environment.pipe
        if pipe is None:
            return False
        driven = _Driven(worker, job, pipe, pipe.fileno())
        try:
            self._descriptors().ready.register(driven.fd, select.EPOLLIN)
        except OSError as error:
            if not self._told:
                _log.warning("environments are not driven: %s", error)
                self._told = True
            return False
        worker.driver = self
        self._driven[driven.fd] = driven
        self._lay(driven)
        _watch.look_after(self)
        return True

    def _lay(self, driven: _Driven) -> bool:
        """Have its job with its process; whether it is still driven."""
        invocation, pipe = driven.job.invocation, driven.pipe
        if not pipe.lies(invocation):
            # What was taken back keeps its place until the process has passed it over; the thread needs none.
            if len(invocation.payload) > MAXIMUM_PAYLOAD or not pipe.has_room:
                self._hand_over(driven)
                return False
            pipe.lay(invocation)
        driven.worker.feed()
        return self._keep(driven)

    def _keep(self, driven: _Driven) -> bool:
        """Whether it is still driven: not while an event is larger than the room there is."""
        if driven.pipe.written:
            return True
        self._hand_over(driven)
        return False

    def _go_on(self, driven: _Driven, answers: _Answers) -> None:
        """The process has said something."""
        worker = driven.worker
        arrived = driven.pipe.arrived(read=True)
        while arrived:
            result, following = worker.take_answer(driven.job)
            answers.append((driven.job.on_result, result))
            if following is None:  # it is idle, and may be somebody else's already
                self._forget(driven)
                return
            driven.job = following
            if following.invocation.driver is not self or not worker.drivable:
                self._hand_over(driven)
                return
            if not self._lay(driven):
                return
            arrived = driven.pipe.arrived(read=True)
        if arrived is not None:
            self._hand_over(driven)

    def _hand_over(self, driven: _Driven) -> None:
        if self._driven.get(driven.fd) is driven:
            self._forget(driven)
            driven.worker.driver = None
            driven.worker.inbox.put(driven.job)

    def _forget(self, driven: _Driven) -> None:
        del self._driven[driven.fd]
        with suppress(OSError):  # its thread has closed it meanwhile, so that it is gone from here as well
            self._descriptors().ready.unregister(driven.fd)

    def _descriptors(self) -> _Descriptors:
        if self._open is None:
            self._open = _Descriptors()
        return self._open


class _Descriptors:
    """What a driver waits with."""

    def __init__(self) -> None:
        self.ready = select.epoll()
        self.wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.ready.register(self.wake, select.EPOLLIN)
        self.close = weakref.finalize(self, self._close, self.ready, self.wake)
        """Idempotent. Also done when nobody has this any more, but not at the end: threads may still wake then."""
        self.close.atexit = False

    @staticmethod
    def _close(ready: select.epoll, wake: int) -> None:
        ready.close()
        os.close(wake)


class _Watch:
    """Looks at what is driven. One thread for all drivers, from the first one on."""

    def __init__(self) -> None:
        self._busy: set[Driver] = set()
        self._something = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def look_after(self, driver: Driver) -> None:
        """It drives something. Any thread."""
        if driver not in self._busy or self._thread is None:
            with self._lock:
                self._busy.add(driver)
                if self._thread is None:
                    thread = threading.Thread(target=self._run, name="driving", daemon=True)
                    with suppress(RuntimeError):  # no threads left: then the next one starts it
                        thread.start()
                        self._thread = thread
            self._something.set()

    def _run(self) -> None:
        while True:
            self._something.wait()
            time.sleep(LOOK)
            with self._lock:
                drivers, self._busy = self._busy, set()
                self._something.clear()
            for driver in drivers:
                try:
                    if driver.look():
                        self.look_after(driver)
                except Exception:  # noqa: BLE001 - logged; other drivers must not suffer
                    _log.exception("What is driven was not looked at")


_watch = _Watch()
