"""What becomes of records that are given up: a dead letter, the broker's own dead-lettering, or a known drop (D.1.4).

A part of the poll loop, on its thread: the lanes hold such records as in work until this file says that they are done,
so nothing is acknowledged before its dead letter is durable.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from poller.mapping_plan import MappingPlan, discard_text
from poller.model import Discard
from poller.policy.lane import Lane
from poller.policy.lanes import Lanes
from poller.sources import Source, as_queue

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Delivered:
    """The dead letters of a discard are durable."""

    lane: Lane
    discard: Discard


class GivingUp:
    """Carries discards out. Owned by the poller's thread.

    Args:
        source: rejects messages, where the broker dead-letters them itself.
        lanes: where the records are in work.
        report: brings a delivery back to the poller's thread, from the destination's.
    """

    def __init__(self, source: Source, lanes: Lanes, report: Callable[[Delivered], None]) -> None:
        self._queue = as_queue(source)
        self._lanes = lanes
        self._report = report
        self._sending: dict[int, Delivered] = {}
        """Discards whose letters are on their way, by the identity of their records."""

    def give_up(self, lane: Lane, discard: Discard, plan: MappingPlan) -> None:
        """Send a discard's letters, or else settle it now."""
        extra = {"mapping": plan.name}
        if plan.dead_letters is not None and plan.build_letters is not None:
            delivered = Delivered(lane, discard)
            self._sending[id(discard.records)] = delivered
            plan.dead_letters.submit(plan.build_letters(discard), lambda: self._report(delivered))
        elif self._queue is not None:
            self._queue.reject(discard.records)
            self._lanes.settle(lane, discard.records, acknowledge=False)
            plan.metrics.count("rejected_event_count", len(discard.records))
            _log.warning("%s, rejected, for the queue's dead-letter exchange", discard_text(discard), extra=extra)
        else:
            self._lanes.settle(lane, discard.records)
            plan.metrics.count("dropped_event_count", len(discard.records))
            _log.warning("%s, dropped: the mapping has no OnFailure destination", discard_text(discard), extra=extra)

    def finish(self, delivered: Delivered, plan: MappingPlan) -> None:
        """Settle a discard whose letters are durable; the second time that it is said, nothing happens."""
        discard = delivered.discard
        if self._sending.pop(id(discard.records), None) is None or delivered.lane not in self._lanes:
            return
        self._lanes.settle(delivered.lane, discard.records)
        plan.metrics.count("on_failure_destination_delivered_event_count", len(discard.records))
        _log.warning("%s, sent to the on-failure destination", discard_text(discard), extra={"mapping": plan.name})

    def send_again(self, plan: MappingPlan) -> None:
        """Give up anew what waits for a destination that is no longer the mapping's. Some may arrive at both."""
        waiting, self._sending = self._sending, {}
        for item in waiting.values():
            if item.lane in self._lanes:
                self.give_up(item.lane, item.discard, plan)

    def forget(self) -> None:
        """The connection is gone: what was on its way comes again from the broker."""
        self._sending.clear()
