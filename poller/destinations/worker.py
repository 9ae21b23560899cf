"""The thread that sends dead letters, so that no poll loop ever waits for a destination."""

from __future__ import annotations

import logging
import random
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from poller.clock import Clock
from poller.destinations import Destination
from poller.errors import DestinationError, DestinationRefused
from poller.model import DeadLetter

FIRST_DELAY = 0.5
"""Seconds before the first repetition; doubled for each further one."""

LONGEST_DELAY = 30.0
"""Seconds: the cap of the back-off."""

IDLE_CLOSE = 5.0
"""Seconds without letters after which the connection is closed: nobody serves its heartbeats while the thread waits."""

MAXIMUM_LETTERS = 500
"""Letters of one `send`, so that a long queue is acknowledged piece by piece."""

MAXIMUM_BYTES = 8 * 1024 * 1024
"""Bytes of one `send`; a single item may be larger."""

_log = logging.getLogger(__name__)


def jittered_delay(failures: int) -> float:
    """Seconds to wait after that many failures in a row: capped exponential, with half of it left to chance."""
    delay: float = min(FIRST_DELAY * 2.0 ** min(failures - 1, 10), LONGEST_DELAY)
    return delay * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, guards nothing


@dataclass(frozen=True, slots=True)
class _Item:
    letters: Sequence[DeadLetter]
    on_done: Callable[[], None]
    on_lost: Callable[[str], None] | None


class DestinationWorker:
    """Owns a destination on the thread `destination-<name>`: sends in the order of `submit`, repeats until it works.

    What a destination refuses for good is repeated, too, unless whoever submits it can bear its loss (`on_lost`).

    `start` and `stop` may come in any order and any number of times; once stopped, a worker stays stopped.

    Args:
        destination: used by this worker's thread only.
        name: for the thread's name and the log.
        clock: measures pauses and the grace time.
        on_error: called on the worker's thread with the text of each failed `send`; for a metric and the state.
        delay: seconds to wait after so many failures in a row.
        idle_close: seconds without letters after which the destination is closed until the next one.
        one_by_one: the destination has nothing to gain from several letters in one `send`: each goes by itself, so
            that those before one that fails are not sent twice.
        is_lost: whether a letter that can be lost is given up, by its error and the failed sends in a row.
    """

    def __init__(
        self,
        destination: Destination,
        name: str,
        *,
        clock: Clock,
        on_error: Callable[[str], None],
        delay: Callable[[int], float] = jittered_delay,
        idle_close: float = IDLE_CLOSE,
        one_by_one: bool = False,
        is_lost: Callable[[DestinationError, int], bool] = lambda *_: False,
    ) -> None:
        self._destination = destination
        self._name = name
        self._clock = clock
        self._on_error = on_error
        self._delay = delay
        self._idle_close = idle_close
        self._one_by_one = one_by_one
        self._is_lost = is_lost
        self._singly = 0
        """Items among which is one that is refused, so that each of them is sent by itself."""
        self._thread: threading.Thread | None = None
        # Guards what follows. Never held while the destination or a callback runs.
        self._changed = threading.Condition()
        self._queue: deque[_Item] = deque()
        self._stopping = False
        self._given_up = False
        # Held while `on_done` runs, so that none starts after `stop` has returned.
        self._reporting = threading.RLock()

    def start(self) -> None:
        """Start the thread; what was submitted before is sent now."""
        with self._changed:
            if self._thread is None and not self._stopping:
                self._thread = threading.Thread(target=self._run, name=f"destination-{self._name}", daemon=True)
                self._thread.start()

    def submit(
        self,
        letters: Sequence[DeadLetter],
        on_done: Callable[[], None],
        on_lost: Callable[[str], None] | None = None,
    ) -> None:
        """Queue letters; from any thread, never blocks on the destination.

        `on_done` is called on the worker's thread once all of them are durable, and never when the worker stops before
        that: whoever waits for it leaves the origin unacknowledged. `on_lost` is called instead of it, with the reason,
        when the destination refuses them for good; without it they are sent again for ever. Both must be quick.
        """
        with self._changed:
            if not self._given_up:
                self._queue.append(_Item(tuple(letters), on_done, on_lost))
                self._changed.notify_all()

    @property
    def waiting(self) -> int:
        """Submitted items that are not durable yet; from any thread."""
        with self._changed:
            return len(self._queue)

    def stop(self, grace: float) -> None:
        """Send what is queued within `grace` seconds, then end the thread; blocks at most that long.

        A pause between repetitions is cut short once, so that everything gets a last try. What is not durable by then
        is given up without its `on_done`. A `send` that is under way cannot be interrupted: its thread ends with it,
        and reports nothing.
        """
        deadline = self._clock.monotonic() + grace
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(max(0.0, deadline - self._clock.monotonic()))
        with self._changed:
            self._given_up = True
            left = len(self._queue)
            self._queue.clear()
            self._changed.notify_all()
        with self._reporting:
            pass  # an `on_done` that had begun is over now
        if left:
            _log.warning(
                "destination %s: %d sends given up at the stop; their records stay unacknowledged", self._name, left
            )

    def _run(self) -> None:
        failures = 0
        while self._wait_for_work():
            items = self._next_items(single=self._one_by_one or failures > 0 or self._singly > 0)
            error = self._try_to_send(items)
            if error is None:
                failures = 0
                self._finish(items)
                continue
            failures += 1
            if len(items) == 1 and items[0].on_lost is not None and self._is_lost(error, failures):
                self._settle(partial(items[0].on_lost, str(error)))
            else:
                if isinstance(error, DestinationRefused):
                    self._singly = max(self._singly, len(items))
                self._pause(self._delay(failures))
        self._destination.close()

    def _wait_for_work(self) -> bool:
        """Wait until something is queued; closes the destination when that takes long. False at the end."""

        def is_over() -> bool:
            return bool(self._queue) or self._stopping

        with self._changed:
            is_idle = not self._changed.wait_for(is_over, self._idle_close)
        if is_idle:
            self._destination.close()
        with self._changed:
            self._changed.wait_for(is_over)
            return bool(self._queue)

    def _next_items(self, *, single: bool) -> list[_Item]:
        """What to send together. They stay queued until they are durable.

        One alone after a failure: it may be the only one that fails, and the others need not be sent twice.
        """
        items: list[_Item] = []
        letters = size = 0
        with self._changed:
            for item in self._queue:
                letters += len(item.letters)
                size += sum(len(letter.body) for letter in item.letters)
                if items and (single or letters > MAXIMUM_LETTERS or size > MAXIMUM_BYTES):
                    break
                items.append(item)
        return items

    def _try_to_send(self, items: Sequence[_Item]) -> DestinationError | None:
        try:
            self._destination.send([letter for item in items for letter in item.letters])
        except DestinationError as error:
            failure = error
        except Exception as error:  # noqa: BLE001 - a fault of ours must not end the thread, and the letters with it
            _log.exception("destination %s: unexpected error", self._name)
            failure = DestinationError(f"unexpected error: {error!r}")
        else:
            return None
        self._call(lambda: self._on_error(str(failure)))
        return failure

    def _finish(self, items: Sequence[_Item]) -> None:
        for item in items:
            if not self._settle(item.on_done):
                return

    def _settle(self, callback: Callable[[], None]) -> bool:
        """Take the first item out of the queue and tell of it; False when everything was given up meanwhile."""
        with self._reporting:
            with self._changed:
                if self._given_up:
                    return False
                self._queue.popleft()
            self._singly = max(0, self._singly - 1)
            self._call(callback)
        return True

    def _pause(self, seconds: float) -> None:
        """Wait, but no longer than until `stop` is called or gives up."""
        due = self._clock.monotonic() + seconds
        with self._changed:
            was_stopping = self._stopping
            while not self._given_up and self._stopping == was_stopping:
                left = due - self._clock.monotonic()
                if left <= 0:
                    return
                self._changed.wait(left)

    def _call(self, callback: Callable[[], None]) -> None:
        try:
            callback()
        except Exception:  # noqa: BLE001 - whatever it is, the next letters still have to be sent
            _log.exception("destination %s: a callback failed", self._name)
