"""Delivers batches a second time that were handled well, as after a commit that was lost: a test of idempotency."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from poller.model import Batch, Decision, InvocationResult, Retry
from poller.policy.reporting import Outcome
from poller.policy.retrying import RetryPolicy


@dataclass(frozen=True, slots=True)
class DuplicatingPolicy:
    """Stands before a mapping's RetryPolicy. On the poller's thread."""

    retry: RetryPolicy
    happens: Callable[[], bool]
    """Whether the batch that was handled well now comes once more."""

    def decide(
        self, batch: Batch, outcome: Outcome, result: InvocationResult, *, now: float, wall: float
    ) -> list[Decision]:
        """As `RetryPolicy.decide`, save that a batch without failures may be invoked again, once."""
        if outcome.failed or batch.is_duplicate or not self.happens():
            return self.retry.decide(batch, outcome, result, now=now, wall=wall)
        again = Batch(batch.records, batch.first_seen, batch.attempt, 0, now, batch.event, is_duplicate=True)
        return [Retry([again])]
