"""What stands in the store: events that wait, and records that are on their way. Plain values and their columns."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from poller.model import DeadLetter, InvocationResult
from poller.policy.async_events import Standing, is_delay

Kind = Literal["OnSuccess", "OnFailure", "DeadLetterQueue"]
"""Which of a function's destinations a record is for."""

SCHEMA_VERSION = 1
"""`PRAGMA user_version` of the store's file."""

SCHEMA = """
CREATE TABLE events (
    id INTEGER PRIMARY KEY,
    request_id TEXT NOT NULL,
    function TEXT NOT NULL,
    qualifier TEXT NOT NULL,
    accepted_at REAL NOT NULL,
    due REAL NOT NULL,
    attempts INTEGER NOT NULL,
    delays INTEGER NOT NULL,
    passes INTEGER NOT NULL,
    client_context TEXT,
    answer_head TEXT,
    answer BLOB,
    delay_head TEXT,
    delay BLOB,
    payload BLOB NOT NULL
);
CREATE INDEX events_by_time ON events (function, due);
CREATE TABLE deliveries (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    request_id TEXT NOT NULL,
    function TEXT NOT NULL,
    kind TEXT NOT NULL,
    made_at REAL NOT NULL,
    headers TEXT NOT NULL,
    without_payload BLOB,
    body BLOB NOT NULL
);
CREATE INDEX deliveries_by_kind ON deliveries (function, kind, id);
"""
# A delivery's id is never used twice: whoever has read up to one of them misses no later one.

INSERT_EVENT = (
    "INSERT INTO events (request_id, function, qualifier, accepted_at, due, attempts, delays, passes, client_context, "
    "answer_head, answer, delay_head, delay, payload) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
INSERT_DELIVERY = (
    "INSERT INTO deliveries (request_id, function, kind, made_at, headers, without_payload, body) "
    "VALUES (?, ?, ?, ?, ?, ?, ?)"
)


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event that was accepted and has not ended."""

    request_id: str
    function: str
    qualifier: str
    """Empty where the call had none."""
    payload: bytes = field(repr=False)
    standing: Standing
    due: float
    """Not to be tried before, in seconds since the epoch."""
    client_context: str | None = None
    """Of an event that an earlier version accepted: only synchronous invocations have one (A.1)."""
    passes: int = 0
    """Functions that handed it on before, each by its destination (B.5)."""
    answer: InvocationResult | None = field(default=None, repr=False)
    """The function's last answer."""
    delay: InvocationResult | None = field(default=None, repr=False)
    """The throttle or system error since then."""
    id: int = 0
    """The row; 0 for one that is not in the store yet."""

    def values(self) -> tuple[Any, ...]:
        """In the order of `INSERT_EVENT`."""
        standing = self.standing
        return (
            self.request_id,
            self.function,
            self.qualifier,
            standing.accepted_at,
            self.due,
            standing.attempts,
            standing.delays,
            self.passes,
            self.client_context,
            *result_columns(self.answer),
            *result_columns(self.delay),
            self.payload,
        )

    @classmethod
    def of(cls, row: Sequence[Any]) -> StoredEvent:
        """From a whole row."""
        (id_, request_id, function, qualifier, accepted_at, due, attempts, delays, passes, context, *rest) = row
        answer_head, answer, delay_head, delay, payload = rest
        return cls(
            request_id,
            function,
            qualifier,
            payload,
            Standing(accepted_at, attempts, delays),
            due,
            context,
            passes,
            _result(request_id, answer_head, answer),
            _result(request_id, delay_head, delay),
            id_,
        )


@dataclass(frozen=True, slots=True)
class Delivery:
    """A record or dead letter of an event that ended, kept until its destination has it."""

    request_id: str
    function: str
    """Whose destination it is, as `destinations_of` names it."""
    kind: Kind
    made_at: float
    """Seconds since the epoch."""
    letter: DeadLetter = field(repr=False)
    id: int = 0

    def values(self) -> tuple[Any, ...]:
        """In the order of `INSERT_DELIVERY`."""
        headers = json.dumps([[name, value.decode()] for name, value in self.letter.headers])
        letter = self.letter
        return self.request_id, self.function, self.kind, self.made_at, headers, letter.without_payload, letter.body

    @classmethod
    def of(cls, row: Sequence[Any]) -> Delivery:
        """From a whole row."""
        id_, request_id, function, kind, made_at, headers, without_payload, body = row
        pairs = tuple((name, value.encode()) for name, value in json.loads(headers))
        return cls(request_id, function, kind, made_at, DeadLetter(body, None, pairs, without_payload), id_)


def destinations_of(function: str, qualifier: str) -> str:
    """The name under which records wait for the destinations of a function, or of its version or alias (B.2)."""
    return function if qualifier in {"", "$LATEST"} else f"{function}:{qualifier}"


def result_columns(result: InvocationResult | None) -> tuple[str | None, bytes | None]:
    """Two columns of an answer: what a record says of it, and its payload."""
    if result is None:
        return None, None
    head = [result.status, result.function_error, result.executed_version]
    return json.dumps(head), result.payload


def _result(request_id: str, head: str | None, payload: bytes | None) -> InvocationResult | None:
    if head is None:
        return None
    status, function_error, executed_version = json.loads(head)
    return InvocationResult(request_id, payload or b"", status, function_error, executed_version)


def answers_after(
    event: StoredEvent, result: InvocationResult
) -> tuple[InvocationResult | None, InvocationResult | None]:
    """The function's last answer, and the delay since then, once this result has come."""
    return (event.answer, result) if is_delay(result) else (result, None)
