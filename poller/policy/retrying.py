"""What becomes of a batch after its answer: attempts, ages, bisection, back-off (C.1, C.4, D.1.2, D.4). Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf
from zlib import crc32

from poller.model import Batch, Complete, Decision, Discard, InvocationResult, Record, Retry, Return
from poller.policy.reporting import Outcome

RETRY_ATTEMPTS_EXHAUSTED = "RetryAttemptsExhausted"
RECORD_AGE_EXCEEDED = "RecordAgeExceeded"
MAXIMUM_PAYLOAD_SIZE_EXCEEDED = "MaximumPayloadSizeExceeded"

WITHOUT_END = -1
"""MaximumRetryAttempts and MaximumRecordAgeInSeconds: no limit (C.1)."""

AGED_BEYOND_DOUBT = 0.01
"""Seconds by which a retry comes late that is only to find its records too old: timestamps are whole milliseconds."""

RETRIES_BEFORE_ON_FAILURE = 10
"""Retries of a Kafka mapping that sets no limit but has an on-failure destination (D.1.2)."""


@dataclass(frozen=True, slots=True)
class BackOff:
    """Growing pauses with a cap and a little jitter.

    The default gives 8 attempts within the first 60 seconds, as recorded of the real service (D.4).
    """

    first: float = 0.4
    """Seconds before the first retry; each further pause is twice as long."""
    cap: float = 60.0
    jitter: float = 0.1
    """Share by which a pause is lengthened or shortened, so that what failed together does not come back together."""
    time_scale: float = 1.0

    def pause(self, failures: int, seed: str) -> float:
        """Seconds to wait after that many failures (1 or more). The same seed gives the same jitter."""
        exponent = min(failures - 1, 32)
        spread = crc32(f"{seed}/{failures}".encode()) / 0xFFFF_FFFF * 2 - 1
        return min(self.cap, self.first * 2.0**exponent) * (1 + self.jitter * spread) / self.time_scale


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """The failure settings of one mapping."""

    redelivers: bool = False
    """A queue: failed messages go back to the broker, which counts deliveries; a stream's batch stays in its lane."""
    maximum_retry_attempts: int = WITHOUT_END
    maximum_record_age: float = WITHOUT_END
    """Seconds."""
    bisect_batch_on_function_error: bool = False
    back_off: BackOff = field(default_factory=BackOff)

    def decide(
        self, batch: Batch, outcome: Outcome, result: InvocationResult, *, now: float, wall: float
    ) -> list[Decision]:
        """What to do with every record of the batch; each one is in exactly one decision.

        Args:
            batch: as it was invoked; `attempt` is the number of the attempt that just ended.
            outcome: which of its records failed.
            result: the answer, for the on-failure record.
            now: monotonic seconds, from which pauses are counted.
            wall: seconds since the epoch, against which records age.
        """
        if not outcome.failed:
            return [Complete(batch.records)]
        decisions: list[Decision] = []
        failed = list(outcome.failed)
        if len(failed) < len(batch.records):
            kept_out = {id(record) for record in failed}
            decisions.append(Complete([record for record in batch.records if id(record) not in kept_out]))
        expired, failed = self.split_expired(failed, wall)
        if expired:
            decisions.append(Discard(expired, RECORD_AGE_EXCEEDED, batch.attempt, None))
        if failed:
            decisions += self._decide_failed(batch, failed, outcome, result, now, self._life_left(failed, wall))
        return decisions

    def split_expired(self, records: Sequence[Record], wall: float) -> tuple[list[Record], list[Record]]:
        """Records older than MaximumRecordAgeInSeconds, and the others. A record without a timestamp does not age."""
        if self.maximum_record_age == WITHOUT_END:
            return [], list(records)
        oldest = (wall - self.maximum_record_age / self.back_off.time_scale) * 1000
        expired = [record for record in records if 0 < record.timestamp < oldest]
        return expired, [record for record in records if not 0 < record.timestamp < oldest]

    def _life_left(self, records: Sequence[Record], wall: float) -> float:
        """Seconds until all of these are too old: no retry is worth waiting for beyond that."""
        if self.maximum_record_age == WITHOUT_END or not all(record.timestamp > 0 for record in records):
            return inf
        youngest = max(record.timestamp for record in records) / 1000
        return youngest + self.maximum_record_age / self.back_off.time_scale - wall + AGED_BEYOND_DOUBT

    def _decide_failed(  # noqa: PLR0917 - what `decide` was given, and what it has found
        self, batch: Batch, failed: list[Record], outcome: Outcome, result: InvocationResult, now: float, life: float
    ) -> list[Decision]:
        seed = f"{failed[0].shard}/{failed[0].position}"
        if not outcome.invoked:
            # C.4: a throttle or a service error is no attempt, whatever the source.
            throttles = batch.throttles + 1
            pause = min(self.back_off.pause(throttles, seed), life)
            return [Retry([self._again(batch, failed, batch.attempt, now + pause, throttles)])]
        if self.redelivers:
            return self._return_or_discard(failed, result, seed, now)
        if self.bisect_batch_on_function_error and outcome.thrown and len(batch.records) > 1:
            # C.4: splitting does not consume attempts. One that is left, as the others are too old, has its own try.
            middle = len(failed) // 2
            halves = [half for half in (failed[:middle], failed[middle:]) if half]
            return [Retry([self._again(batch, half, batch.attempt, now, 0) for half in halves])]
        if self._is_used_up(batch.attempt):
            return [Discard(failed, RETRY_ATTEMPTS_EXHAUSTED, batch.attempt, result)]
        pause = min(self.back_off.pause(batch.attempt, seed), life)
        return [Retry([self._again(batch, failed, batch.attempt + 1, now + pause, 0)])]

    def _return_or_discard(
        self, failed: list[Record], result: InvocationResult, seed: str, now: float
    ) -> list[Decision]:
        """A queue's messages have each their own count, as the broker may deliver them in other company."""
        decisions: list[Decision] = []
        by_attempt: dict[int, list[Record]] = {}
        for record in failed:
            by_attempt.setdefault(record.deliveries + 1, []).append(record)
        for attempt, records in sorted(by_attempt.items()):
            if self._is_used_up(attempt):
                decisions.append(Discard(records, RETRY_ATTEMPTS_EXHAUSTED, attempt, result))
            else:
                decisions.append(Return(records, now + self.back_off.pause(attempt, seed)))
        return decisions

    def _is_used_up(self, attempt: int) -> bool:
        return self.maximum_retry_attempts != WITHOUT_END and attempt > self.maximum_retry_attempts

    @staticmethod
    def _again(batch: Batch, records: Sequence[Record], attempt: int, not_before: float, throttles: int) -> Batch:
        same = len(records) == len(batch.records)
        event = batch.event if same and isinstance(batch.event, bytes) else None  # another one keeps more than these
        return Batch(records, batch.first_seen, attempt, throttles, not_before, event)
