"""Headers beside an on-failure record: Kafka Connect's (F.1) or Spring Kafka's (F.2), and our own. Pure."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Literal

from poller.model import Discard, Record

ErrorHeaders = Literal["connect", "spring", "none"]
"""`connect`: Kafka Connect's headers (F.1), `spring`: Spring Kafka's (F.2), and our own beside either. `none`: the
record's own headers only."""

MAXIMUM_HEADER_LENGTH = 1024
"""Bytes of an error's type or message in a header. The bound of the dead-letter queue's ErrorMessage (B.4)."""

MAXIMUM_STACK_TRACE_LENGTH = 4096
"""Bytes of a stack trace in a header: as much as of a log that an invocation can answer with (A.1)."""

# What stands in for errorType and errorMessage when no attempt failed in the function itself.
_REASONS = {
    "RetryAttemptsExhausted": "The attempts to invoke the function are used up.",
    "RecordAgeExceeded": "The record is older than MaximumRecordAgeInSeconds.",
    "MaximumPayloadSizeExceeded": "The record alone makes an event over the payload limit of 6 MB.",
}

# A record's JSON begins with what is the source's own, so nothing of a producer's comes before it.
_TIME = re.compile(rb'"timestamp":(-?\d+),"timestampType":"(\w+)"')


@dataclass(frozen=True, slots=True)
class KafkaOrigin:
    """The records came from a Kafka topic."""

    bootstrap_servers: str
    """Comma-joined `host:port`, as in the event (D.1.1)."""
    consumer_group_id: str = ""


@dataclass(frozen=True, slots=True)
class RabbitMQOrigin:
    """The records came from a RabbitMQ queue."""

    queue: str
    virtual_host: str


@dataclass(frozen=True, slots=True)
class Reporter:
    """Who gave the records up."""

    function_name: str
    function_arn: str
    """Unqualified."""
    mapping_uuid: str
    origin: KafkaOrigin | RabbitMQOrigin


@dataclass(frozen=True, slots=True)
class _Error:
    """The last error, or why there was none."""

    type: str
    message: str
    stack_trace: str
    """Begins with type and message, as Java's do; frames follow where the function failed with some."""
    thrown: bool
    """In the function itself."""


def error_headers(
    kind: ErrorHeaders, discard: Discard, record: Record | None, reporter: Reporter, *, time: str
) -> tuple[tuple[str, bytes], ...]:
    """The headers of one letter.

    Args:
        kind: whose.
        discard: why the letter is written.
        record: the one that it is about; None for several, and then no place of origin is named.
        reporter: who writes it.
        time: when, as in the letter.
    """
    if kind == "none":
        return ()
    error = _error_of(discard)
    make = _spring if kind == "spring" else _connect
    ours = {
        "poller.errors.condition": discard.condition,
        "poller.errors.attempts": str(discard.attempts),
        "poller.errors.timestamp": time,
        "poller.errors.event-source-mapping": reporter.mapping_uuid,
    }
    if record is not None and isinstance(reporter.origin, RabbitMQOrigin):
        queue, virtual_host = reporter.origin.queue, reporter.origin.virtual_host
        ours = {"poller.errors.queue": queue, "poller.errors.virtual-host": virtual_host, **ours}
    headers = {**make(error, record, reporter), **{name: _utf_8(text) for name, text in ours.items()}}
    return tuple(headers.items())


def _connect(error: _Error, record: Record | None, reporter: Reporter) -> dict[str, bytes]:
    """F.1: every value a UTF-8 text. The function is the connector and its one task, 0."""
    texts: dict[str, str] = {}
    if record is not None and isinstance(reporter.origin, KafkaOrigin):
        topic, _, partition = record.shard.rpartition("-")
        texts = {"topic": topic, "partition": partition, "offset": str(record.position)}
    texts |= {
        "connector.name": reporter.function_name,
        "task.id": "0",
        "stage": "TASK_PUT",
        "class.name": reporter.function_arn,
        "exception.class.name": error.type,
        "exception.message": error.message,
    }
    headers = {name: _utf_8(text) for name, text in texts.items()}
    headers["exception.stacktrace"] = _utf_8(error.stack_trace, MAXIMUM_STACK_TRACE_LENGTH)
    return {f"__connect.errors.{name}": value for name, value in headers.items()}


def _spring(error: _Error, record: Record | None, reporter: Reporter) -> dict[str, bytes]:
    """F.2: numbers are big-endian, 4 bytes for a partition and 8 for the others; the rest is UTF-8."""
    headers: dict[str, bytes] = {}
    assert isinstance(reporter.origin, KafkaOrigin), "refused for MQ"
    if record is not None:
        topic, _, partition = record.shard.rpartition("-")
        milliseconds, kind = _time_of(record)
        headers = {
            "original-topic": _utf_8(topic),
            "original-partition": int(partition).to_bytes(4, "big", signed=True),
            "original-offset": record.position.to_bytes(8, "big", signed=True),
            "original-timestamp": milliseconds.to_bytes(8, "big", signed=True),
            "original-timestamp-type": _utf_8(kind),
        }
    headers["original-consumer-group"] = _utf_8(reporter.origin.consumer_group_id)
    headers["exception-fqcn"] = _utf_8(error.type)
    if error.thrown:
        # Spring's own listener wraps what a handler throws. Here both name the function's error, so that whoever looks
        # at one of them finds it.
        headers["exception-cause-fqcn"] = headers["exception-fqcn"]
    headers["exception-message"] = _utf_8(error.message)
    headers["exception-stacktrace"] = _utf_8(error.stack_trace, MAXIMUM_STACK_TRACE_LENGTH)
    return {f"kafka_dlt-{name}": value for name, value in headers.items()}


def _time_of(record: Record) -> tuple[int, str]:
    """Milliseconds as the broker gave them, and what they are by Kafka's name."""
    found = _TIME.search(record.encoded)
    if found is None:
        return record.timestamp, "CreateTime"
    return int(found[1]), "LogAppendTime" if found[2] == b"LOG_APPEND_TIME" else "CreateTime"


def _error_of(discard: Discard) -> _Error:
    """The function's own error where it has one (A.4)."""
    result = discard.result
    if result is None or result.function_error is None:
        if result is not None and result.status == 200:  # noqa: PLR2004 - as in HTTP
            kind, message = "ReportBatchItemFailures", "The function's reply does not report the record as handled."
        else:
            kind, message = discard.condition, _REASONS.get(discard.condition, "")
        return _Error(kind, message, f"{kind}: {message}", thrown=False)
    try:
        told = json.loads(result.payload)
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict):
        kind, message = result.function_error, result.payload[:MAXIMUM_HEADER_LENGTH].decode(errors="replace")
        return _Error(kind, message, f"{kind}: {message}", thrown=True)
    kind, message = _as_text(told.get("errorType")) or result.function_error, _as_text(told.get("errorMessage"))
    frames = told.get("stackTrace") or told.get("trace")  # Python's and Java's name, and Node's
    lines = [_as_text(frame).rstrip("\n") for frame in frames] if isinstance(frames, list) else []
    return _Error(kind, message, "\n".join([f"{kind}: {message}", *lines]), thrown=True)


def _as_text(value: object) -> str:
    """An errorType or errorMessage; runtimes other than Python's may put anything there."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)


def _utf_8(text: str, most: int = MAXIMUM_HEADER_LENGTH) -> bytes:
    """UTF-8, cut at a character's end. A lone surrogate, which JSON can carry, becomes a question mark."""
    value = text.encode(errors="replace")
    return value if len(value) <= most else value[:most].decode(errors="ignore").encode()
