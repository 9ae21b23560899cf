"""Hands a poller's batches to the function, and says what answers mean for their records (C.4, C.6).

A part of the poll loop, on its thread; answers are reported by threads of the pool, or on this one by its driver.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from poller.clock import Clock
from poller.mapping_plan import FAILED, OK, MappingPlan, PollerState, failure_text
from poller.model import SOURCE_TIMEOUT_CAP, Batch, Decision, Invocation, InvocationResult
from poller.policy.lane import Lane
from poller.policy.reporting import read_outcome
from poller.records import newest_timestamp
from poller.request_ids import new_request_id
from poller.runtime.driving import Driver
from poller.sources import Source

_log = logging.getLogger(__name__)


class Answered(NamedTuple):
    """What the function said to a batch."""

    lane: Lane
    batch: Batch
    result: InvocationResult


class Invoking:
    """The way of batches to the function and back. Owned by the poller's thread.

    Args:
        source: makes events of records, and knows whether they are ordered.
        clock: ages of records are measured with.
        report: brings an answer to the poller's thread, from the pool's.
        driver: of the poller.
    """

    def __init__(self, source: Source, clock: Clock, report: Callable[[Answered], None], driver: Driver) -> None:
        self._source = source
        self._clock = clock
        self._report = report
        self._driver = driver

    def invoke(self, lane: Lane, batch: Batch, plan: MappingPlan, *, now: float, wall: float) -> None:
        """Hand a batch over. Does not wait: its answer is reported, once."""
        if batch.event is None:
            batch.event = self._source.build_event(batch.records)
        batch.request_id = new_request_id()
        metrics, number = plan.metrics, len(batch.records)
        metrics.count("invoked_event_count", number)
        if batch.attempt == 1 and not batch.throttles:
            metrics.observe(batch_size=number, batching_window_wait_seconds=now - batch.first_seen)
            if newest := newest_timestamp(batch.records):
                metrics.observe(iterator_age_seconds=wall - newest / 1000)
        self._driver.awake = True
        arn, driver = plan.function_arn, self._driver
        invocation = Invocation(batch.request_id, batch.event, arn, SOURCE_TIMEOUT_CAP, driver=driver)
        plan.pool.submit(invocation, partial(self._answered, lane, batch), wait=True)

    def _answered(self, lane: Lane, batch: Batch, result: InvocationResult) -> None:
        """On a thread of the pool, or on the poller's."""
        self._report(Answered(lane, batch, result))

    def judge(self, answered: Answered, plan: MappingPlan, state: PollerState, now: float) -> list[Decision]:
        """What becomes of the records of a batch that was answered; tells of those that failed."""
        _, batch, result = answered
        ordered = self._source.features.ordered
        outcome = read_outcome(batch.records, result, ordered=ordered, report=plan.report_batch_item_failures)
        plan.metrics.observe(invocation_duration_seconds=result.duration)
        if outcome.failed:
            extra = {"mapping": plan.name, "request_id": batch.request_id}
            _log.warning("%s", failure_text(batch, outcome, result), extra=extra)
            if outcome.invoked:
                plan.metrics.count("failed_invoke_event_count", len(batch.records))
            else:
                plan.metrics.count("invoke_error_count")
        state.last_processing_result = FAILED if outcome.thrown or outcome.problem else OK
        return plan.retry.decide(batch, outcome, result, now=now, wall=self._clock.time())
