"""How long a poller waits, and for what comes first: records, answers, or what is due. A part of the poll loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

from poller.committing import Committing
from poller.model import Record
from poller.policy.lanes import Lanes
from poller.reports import Reports
from poller.runtime.driving import MOMENT, Driver
from poller.sources import Source

LONGEST_WAIT = 1.0
"""Seconds: the connection wants attention (heartbeats, rebalances) at least this often."""

SHORTEST_SLICE, LONGEST_SLICE = 0.002, 0.02
"""Seconds of one poll while handlers run, for a client that can not be woken when they answer."""

T = TypeVar("T")


class Polling(Generic[T]):
    """The waits of one poller. Owned by its thread; times are monotonic seconds.

    Args:
        source: of the poller.
        lanes: what waits, is in work and comes again.
        committing: when a commit is due.
        reports: where answers come.
        driver: of the poller.
    """

    def __init__(
        self, source: Source, lanes: Lanes, committing: Committing, reports: Reports[T], driver: Driver
    ) -> None:
        self._source = source
        self._lanes = lanes
        self._committing = committing
        self._reports = reports
        self._driver = driver
        self._slice = SHORTEST_SLICE
        self._last_poll = float("-inf")

    def answered(self) -> None:
        """Handlers are quick, or were: the next polls are short again."""
        self._slice = SHORTEST_SLICE

    def poll(self, now: float, look_at: float, *, held_back: bool) -> tuple[Sequence[Record], float]:
        """What the source has, and for how many seconds answers are to be waited for now. Blocks until something comes.

        Args:
            now: the time.
            look_at: when the poller has something to do at the latest.
            held_back: all its shards are paused, so that nothing can come.
        """
        if held_back and not self._source.features.wakes and now - self._last_poll < LONGEST_WAIT:
            return (), self._longest_wait(now, look_at)  # polled now and then all the same, to keep membership
        self._last_poll = now
        if self._driver.busy:
            if records := self._source.poll(0):
                return records, 0.0
            if self._lanes.any_ready():
                return (), min(MOMENT, self._longest_wait(now, look_at))  # the next answer means more than a record
        self._driver.release()  # nobody would see to it
        self._reports.polling = True  # before looking what was reported: one that comes later wakes the poll
        wait = self._poll_wait(now, look_at)
        for_answers = self._for_answers(wait)
        self._reports.polling = wait > for_answers
        records = self._source.poll(wait - for_answers)
        self._reports.polling = False
        if records:
            return records, 0.0
        if self._lanes.is_busy():
            self._slice = min(self._slice * 1.5, LONGEST_SLICE)  # slow handlers get longer slices, to save CPU
        return (), for_answers

    def _longest_wait(self, now: float, look_at: float) -> float:
        """Seconds until something is due without any event before."""
        if not self._reports.empty():
            return 0.0
        wait = min(LONGEST_WAIT, look_at - now, self._committing.wait(now))
        if not self._committing.held_up and (due := self._lanes.next_due(now)) is not None:
            wait = min(wait, due - now)
        return max(0.0, wait)

    def _poll_wait(self, now: float, look_at: float) -> float:
        wait = self._longest_wait(now, look_at)
        if self._lanes.is_busy() and not self._source.features.wakes:
            wait = min(wait, self._slice)  # answers can not end this poll
        return wait

    def _for_answers(self, wait: float) -> float:
        """Seconds of such a wait for what comes first that are better spent on answers.

        A poll that nothing ends but records keeps answers waiting. While a batch stands ready behind one in work, the
        next answer means more than the next record; no longer than the shortest slice, as others are for other lanes.
        """
        if self._source.features.wakes or not 0 < wait <= SHORTEST_SLICE or not self._lanes.any_ready():
            return 0.0
        return wait
