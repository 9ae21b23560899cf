"""Which records of a batch failed: function errors, throttles and batchItemFailures (C.6). Pure."""

from __future__ import annotations

import json
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from poller.model import InvocationResult, Record

LONGEST_SHOWN = 200
"""Characters of a wrong itemIdentifier that the log repeats; it may be as long as a reply."""

_OK = 200


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an answer means for the records of its batch."""

    failed: Sequence[Record] = ()
    """In order; all of them when the batch failed as a whole."""
    invoked: bool = True
    """False for a throttle or a fault of ours: no attempt, the batch comes again (C.4)."""
    thrown: bool = False
    """The function raised, timed out or crashed: what a bisection answers to."""
    problem: str = ""
    """What is wrong with the reply, for the log; empty when nothing is."""


_ALL_WELL = Outcome()
"""The same for each batch that is handled well."""


class _BadReport(Exception):  # noqa: N818 - never leaves this file
    """The reply is not a valid partial batch response."""


def read_outcome(records: Sequence[Record], result: InvocationResult, *, ordered: bool, report: bool) -> Outcome:
    """Judge an answer.

    Args:
        records: the batch.
        result: what the function gave.
        ordered: a stream's items are named `{"partition": "<topic>-<n>", "offset": n}`, a queue's messages by their
            messageId (our extension).
        report: whether ReportBatchItemFailures is enabled; otherwise the reply is not looked at (C.6).
    """
    if result.status != _OK:
        return Outcome(failed=records, invoked=False)
    if result.function_error is not None:
        return Outcome(failed=records, thrown=True)
    if not report:
        return _ALL_WELL
    try:
        named = _named(result.payload)
        failed = _find(records, named, ordered=ordered)
    except _BadReport as problem:
        return Outcome(failed=records, problem=f"{problem}: the whole batch counts as failed")
    return Outcome(failed=failed)


def _named(payload: bytes) -> list[object]:
    """The item identifiers of a reply; none for the replies that mean success."""
    try:
        reply = json.loads(payload) if payload else None
    except ValueError:
        raise _BadReport("the reply is not JSON") from None
    except RecursionError:
        raise _BadReport("the reply is nested too deep to be read") from None
    if reply is None or reply == "":
        return []
    if not isinstance(reply, dict):
        raise _BadReport(f"the reply is a JSON {type(reply).__name__}, not an object with batchItemFailures")
    failures = reply.get("batchItemFailures")
    if failures is None:
        return []
    if not isinstance(failures, list):
        raise _BadReport("batchItemFailures is not a list")
    named = []
    for index, failure in enumerate(failures):
        if not isinstance(failure, dict) or failure.get("itemIdentifier") in (None, ""):
            raise _BadReport(f"batchItemFailures[{index}] has no itemIdentifier")
        named.append(failure["itemIdentifier"])
    return named


def _find(records: Sequence[Record], named: list[object], *, ordered: bool) -> Sequence[Record]:
    if not named:
        return ()
    known = {(record.shard, record.position) if ordered else record.message_id for record in records}
    keys = set()
    for identifier in named:
        key = _stream_key(identifier) if ordered else identifier
        if not isinstance(key, Hashable) or key not in known:
            raise _BadReport(f"itemIdentifier {_shown(identifier)} is not in the batch")
        keys.add(key)
    return [record for record in records if ((record.shard, record.position) if ordered else record.message_id) in keys]


def _shown(identifier: object) -> str:
    text = json.dumps(identifier)  # it was read from further out, so it is not nested too deep to be written
    return text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 1] + "…"


def _stream_key(identifier: object) -> tuple[object, object] | None:
    if not isinstance(identifier, dict):
        return None
    partition, offset = identifier.get("partition"), identifier.get("offset")
    if not isinstance(partition, str) or not isinstance(offset, int) or isinstance(offset, bool):
        return None
    return partition, offset
