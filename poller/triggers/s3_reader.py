"""The thread `s3-events`: reads notifications of S3 from a RabbitMQ queue or a Kafka topic.

A message is acknowledged when every event it starts is on the disk. What is no notification is rejected, so that a
queue may dead-letter it; on a topic it is passed over. While the disk does not work messages are held, and the
connection is kept.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Collection

from poller.clock import Clock
from poller.errors import LOGIN_REFUSED, PollerError, SourceError, SourceRejected
from poller.model import Progress, Record, Shard
from poller.policy.retrying import BackOff
from poller.sources import Listener, Source, as_queue
from poller.triggers.s3_intake import S3Intake
from poller.triggers.s3_notifications import NoNotification

LONGEST_WAIT = 1.0
"""Seconds of one poll: the connection wants attention as often as that."""

READ_AHEAD = 100
"""Messages of one poll at most: so many are taken in before the connection is looked after again."""

_log = logging.getLogger(__name__)


class S3Reader:
    """One consumer. `start` and `stop` may be called in any order and more than once; tests drive `open` and `step`.

    Args:
        source: not opened yet; nobody else's.
        place: what is read, for the log.
        intake: what takes notifications in.
        clock: for pauses.
    """

    def __init__(self, source: Source, place: str, intake: S3Intake, clock: Clock) -> None:
        self.started = False
        """Whether it has read at any time."""
        self.problem = ""
        """What is the matter; empty while it reads."""
        self._source = source
        self._queue = as_queue(source)
        self._place = place
        self._intake = intake
        self._clock = clock
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._assigned: set[Shard] = set()
        self._held: deque[Record] = deque()
        self._failures = 0
        self._paused = False
        self._not_before = 0.0
        self._login_refused = False
        self._reopening = BackOff(first=0.5, cap=30.0)

    def start(self) -> None:
        """Connect and read from now on; returns at once."""
        if self._thread is None and not self._stopping.is_set():
            self._thread = threading.Thread(target=self._run, name="s3-events", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Take nothing more; what was not acknowledged comes again. Blocks for seconds at most."""
        self._stopping.set()
        self._source.wake()
        if self._thread is not None:
            self._thread.join(timeout=10)

    def alive(self) -> bool:
        """Whether the thread still runs, if it was started."""
        return self._thread is None or self._stopping.is_set() or self._thread.is_alive()

    def _run(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            try:
                self.open()
                failures = 0
                while not self._stopping.is_set():
                    self.step()
            except SourceError as problem:
                failures += 1
                self._suspend(problem, self._reopening.pause(failures, self._place))
            except Exception:  # noqa: BLE001 - a fault of ours must not end the reading
                _log.exception("reading notifications of S3 failed; it starts again")
                failures += 1
                self._suspend(SourceError("internal error, see the log"), self._reopening.pause(failures, "fault"))
        self._close()

    def open(self) -> None:
        """Connect; the first half of `_run`.

        Raises:
            SourceError: nobody answers, or access is refused.
        """
        if self._login_refused:
            self._source.renew_login()
        self._source.open(Listener(self._on_assigned, self._on_revoked, self._on_lost))
        self.started, self.problem, self._login_refused = True, "", False
        _log.info("reads notifications of S3 from %s", self._place)

    def step(self) -> None:
        """Poll once, and take in what came. Waits a second at most, and for the disk.

        Raises:
            SourceError: the connection is lost.
        """
        pause = self._not_before - self._clock.monotonic() if self._held else LONGEST_WAIT
        self._held.extend(self._source.poll(max(0.0, min(LONGEST_WAIT, pause))))
        if self._held and self._clock.monotonic() >= self._not_before:
            self._take_in()

    def _take_in(self) -> None:
        done: list[Record] = []
        refused: list[Record] = []
        try:
            while self._held:
                record = self._held[0]
                (done if self._is_taken(record) else refused).append(record)
                self._held.popleft()
            self._failures, self.problem = 0, ""
        except PollerError as error:
            self._failures += 1
            pause = self._reopening.pause(self._failures, "disk")
            self._not_before = self._clock.monotonic() + pause
            self._source.pause(self._assigned)
            self._paused, self.problem = True, str(error)
            _log.error("a notification of S3 waits: %s; trying again in %.1f s", error, pause)
        if not self._failures:
            self._resume()
        if self._queue is not None:
            self._queue.reject(refused)
            self._queue.acknowledge(Progress(records=done))
        elif done or refused:
            positions = {record.shard: record.position + 1 for record in sorted([*done, *refused], key=_position)}
            self._source.acknowledge(Progress(positions=positions))

    def _is_taken(self, record: Record) -> bool:
        """Whether it was a notification.

        Raises:
            PollerError: what it starts is not durable.
        """
        try:
            self._intake.take(record.value or b"")
        except NoNotification as error:
            _log.warning("%s holds what is no notification of S3, and it is passed over: %s", self._place, error)
            return False
        return True

    def _resume(self) -> None:
        if self._paused:
            self._source.resume(self._assigned)
            self._paused = False

    def _suspend(self, problem: SourceError, pause: float) -> None:
        self.problem = str(problem)
        self._login_refused = isinstance(problem, SourceRejected) and problem.code == LOGIN_REFUSED
        _log.warning("notifications of S3: %s; trying again in %.1f s", problem, pause)
        self._close()
        self._stopping.wait(pause)

    def _close(self) -> None:
        self._held.clear()
        self._assigned.clear()
        self._paused, self._not_before = False, 0.0
        try:
            self._source.close()
        except SourceError as problem:
            _log.info("closing: %s", problem)

    # --- what the source tells, while this thread is inside one of its methods -------------------------------------

    def _on_assigned(self, shards: Collection[Shard]) -> None:
        self._assigned |= set(shards)

    def _on_revoked(self, shards: Collection[Shard]) -> Progress:
        """What is done was acknowledged at once."""
        self._on_lost(shards)
        return Progress()

    def _on_lost(self, shards: Collection[Shard]) -> None:
        self._held = deque(record for record in self._held if record.shard not in shards)
        self._assigned -= set(shards)


def _position(record: Record) -> int:
    return record.position
