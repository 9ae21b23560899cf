"""Short ways to make records, batches and answers for tests."""

from __future__ import annotations

import json
from collections.abc import Sequence

from poller.model import Batch, InvocationResult, Record
from poller.records import Records
from poller.sources.kafka_run import record_head, to_run


def record(position: int, *, shard: str = "t-0", size: int = 10, **changes: object) -> Record:
    """A record whose JSON takes `size` bytes."""
    fields: dict[str, object] = {
        "shard": shard,
        "position": position,
        "timestamp": 1_764_064_800_000 + position,
        "key": None,
        "value": b"v",
        "headers": (),
        "encoded": b"1" * size,
    }
    return Record(**{**fields, **changes})  # type: ignore[arg-type]


def records(*positions: int, **changes: object) -> list[Record]:
    return [record(position, **changes) for position in positions]  # type: ignore[arg-type]


def by_columns(*positions: int, shard: str = "t-0", values: Sequence[bytes | None] = ()) -> Records:
    """Records as confluent-kafka's source gives them: made only where one is looked at."""
    topic, _, partition = shard.rpartition("-")
    numbers = len(positions)
    times = [(0, 1_764_064_800_000 + position) for position in positions]
    head = record_head(topic, int(partition))
    run = to_run(shard, head, positions, times, [None] * numbers, values or [b"v"] * numbers, [()] * numbers)
    return Records.of_runs([run])


def batch(*positions: int, attempt: int = 1, deliveries: int = 0, **changes: object) -> Batch:
    return Batch(records(*positions, deliveries=deliveries), first_seen=0.0, attempt=attempt, **changes)  # type: ignore[arg-type]


def answer(payload: object = None) -> InvocationResult:
    """A function that returned."""
    return InvocationResult("request", json.dumps(payload).encode())


def function_error(message: str = "boom") -> InvocationResult:
    """A function that raised (A.4)."""
    payload = json.dumps({"errorMessage": message, "errorType": "ValueError"}).encode()
    return InvocationResult("request", payload, function_error="Unhandled")


def throttled() -> InvocationResult:
    """A.3: 429."""
    return InvocationResult("request", b'{"Reason":"ReservedFunctionConcurrentInvocationLimitExceeded"}', status=429)


def positions(found: Sequence[Record]) -> list[int]:
    return [item.position for item in found]
