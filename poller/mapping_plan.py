"""What a poller is told to do, how it says it is, and how it tells what failed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from poller.errors import SourceError, SourceRejected
from poller.metrics import MappingMetrics
from poller.model import Batch, DeadLetter, Decision, Discard, Invocation, InvocationResult, Record, Shard
from poller.policy.batching import BatchingLimits
from poller.policy.reporting import Outcome

NO_RECORDS, OK, FAILED = "No records processed", "OK", "PROBLEM: Function call failed"
"""LastProcessingResult (C.2)."""

SHOWN_PAYLOAD = 500
"""Bytes of a failed invocation's payload in the log."""


class Pool(Protocol):
    """What the loop needs of `runtime.pool.FunctionPool`."""

    def submit(self, invocation: Invocation, on_result: Callable[[InvocationResult], None], *, wait: bool) -> None:
        """Never blocks; `on_result` is called once, on another thread or by the invocation's driver."""


class Policy(Protocol):
    """What the loop needs of `policy.retrying.RetryPolicy`."""

    def decide(
        self, batch: Batch, outcome: Outcome, result: InvocationResult, *, now: float, wall: float
    ) -> list[Decision]:
        """What to do with every record of the batch. Pure."""
        ...


class DeadLetters(Protocol):
    """What the loop needs of `destinations.worker.DestinationWorker`."""

    def submit(self, letters: Sequence[DeadLetter], on_done: Callable[[], None]) -> None:
        """Never blocks; `on_done` is called once all are durable, on another thread, or never."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How a poller stands with its broker: one value, so that whoever asks sees what belongs together."""

    polling: bool = False
    reason: str = "USER_INITIATED"
    """StateTransitionReason (C.2)."""
    problem: str = ""
    """Why it does not poll, for a person."""
    refusal: str | None = None
    """LastProcessingResult for as long as the broker refuses this poller; then the one before counts again."""

    def after(self, problem: SourceError) -> Standing:
        """What comes of a problem. One that refuses nothing leaves what was refused before as it was."""
        if isinstance(problem, SourceRejected):
            return Standing(reason=problem.code, problem=str(problem), refusal=problem.last_processing_result)
        return replace(self, polling=False, problem=str(problem))


@dataclass(slots=True)
class PollerState:
    """How a poller is; written by its thread, read by any."""

    standing: Standing = Standing()
    last_processing_result: str = NO_RECORDS
    lag: Mapping[Shard, int] | None = None
    """Records that are not finished, per shard (C.9); of a queue those that are ready."""
    held: int = 0
    filling: int = 0
    """Records that wait for nothing but their batch to be full or its window to end."""
    in_work: int = 0
    """Batches, and dead letters on their way."""
    partitions: int | None = None
    """Of the topic."""


@dataclass(frozen=True, slots=True)
class MappingPlan:
    """What one event source mapping does, the source apart: values and the things it hands work to."""

    name: str
    function_arn: str
    pool: Pool
    retry: Policy
    report_batch_item_failures: bool
    metrics: MappingMetrics
    dead_letters: DeadLetters | None = None
    build_letters: Callable[[Discard], Sequence[DeadLetter]] | None = None
    """Makes the on-failure records of a discard; given together with `dead_letters`."""
    revocation_grace: float = 1.0
    shutdown_grace: float = 30.0


@dataclass(frozen=True, slots=True)
class PollerChange:
    """What a poller does from its next batch on. What it has in work ends as it was begun."""

    plan: MappingPlan
    limits: BatchingLimits
    matches: Callable[[bytes | None], bool] | None = None
    """See `Lanes`; also asked again about what waits for a batch."""
    expired: Callable[[Sequence[Record], float], tuple[list[Record], list[Record]]] | None = None
    """See `Lanes`."""


def failure_text(batch: Batch, outcome: Outcome, result: InvocationResult) -> str:
    """One line about records that failed: which, which attempt, and why."""
    failed = outcome.failed
    if not outcome.invoked:
        why = f"not invoked, status {result.status}: {_shown(result.payload)}"
    elif outcome.thrown:
        why = f"the function failed: {_shown(result.payload)}"
    elif outcome.problem:
        why = f"{outcome.problem}: {_shown(result.payload)}"
    else:
        why = "named in batchItemFailures"
    attempt = batch.attempt + failed[0].deliveries
    extent = ", ".join(f"{shard} {first}..{last}" for shard, (first, last) in _extents(batch.records).items())
    return f"{len(failed)} of {len(batch.records)} records from {extent} failed, attempt {attempt}: {why}"


def discard_text(discard: Discard) -> str:
    """One line about records that are given up, for the caller to add where they go."""
    extents = ", ".join(f"{shard} {first} on" for shard, (first, _) in _extents(discard.records).items())
    return f"{len(discard.records)} records from {extents}: {discard.condition} after {discard.attempts} attempts"


def _extents(records: Sequence[Record]) -> dict[Shard, tuple[int, int]]:
    """First and last position of each shard."""
    ends: dict[Shard, tuple[int, int]] = {}
    for record in records:
        ends[record.shard] = ends.get(record.shard, (record.position,))[0], record.position
    return ends


def _shown(payload: bytes) -> str:
    text = payload[:SHOWN_PAYLOAD].decode(errors="replace")
    return text if len(payload) <= SHOWN_PAYLOAD else f"{text}… ({len(payload)} bytes)"
