"""The records that tell an on-failure destination what was given up, and why (D.1.4).

Pure: a `Discard` and the time in, dead letters out. Three shapes:

| Source | Destination | Shape |
|---|---|---|
| Kafka | `kafka://` | AWS's for a Kafka topic: one letter per record, its own key and headers, `payload` an object |
| Kafka | any other | AWS's for SQS, SNS and S3: one letter per batch, `payload` the whole event as escaped text |
| RabbitMQ | any | an extension, AWS has none: one letter per message, after the Kafka topic's shape |

The last one says `RabbitMQBatchInfo` with batchSize, eventSourceArn, queue, virtualHost, payloadSize and
recordInfo.messageId where the others say `KafkaBatchInfo`.

Every letter carries a second body without the payload, for a destination that refuses the size: that is what AWS sends
to SQS and SNS, and the offsets in it still lead to the record.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from poller.model import DeadLetter, Discard, Record
from poller.policy.error_headers import ErrorHeaders, KafkaOrigin, RabbitMQOrigin, Reporter, error_headers

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordContext:
    """What is the same for every record of one event source mapping."""

    function_name: str
    function_arn: str
    """Unqualified."""
    mapping_uuid: str
    event_source_arn: str | None
    """None for self-managed Kafka, which has no ARN: written as null (what AWS writes there is unverified)."""
    origin: KafkaOrigin | RabbitMQOrigin
    build_event: Callable[[Sequence[Record]], bytes]
    """`Source.build_event` as JSON: pure, one object."""
    error_headers: ErrorHeaders = "connect"
    qualifier: str = ""
    """Version or alias that the mapping names; empty for `$LATEST`."""


def dead_letters(discard: Discard, context: RecordContext, *, now: float, each_record: bool) -> list[DeadLetter]:
    """The letters for what a decision gave up, in the order of its records.

    Args:
        discard: the decision; its records may come from several shards.
        context: the mapping's side of the record.
        now: seconds since the epoch, the record's `timestamp`.
        each_record: the destination is a Kafka topic, which gets one letter per record. RabbitMQ messages always do.
    """
    if each_record or isinstance(context.origin, RabbitMQOrigin):
        return [_letter_of_record(discard, record, context, now) for record in discard.records]
    return [_letter_of_batch(discard, context, now)]


def _letter_of_record(discard: Discard, record: Record, context: RecordContext, now: float) -> DeadLetter:
    event = context.build_event([record])
    # AWS's sample of this shape qualifies the ARN; the batch's does not (D.1.4).
    envelope = _envelope(discard, f"{context.function_arn}:{context.qualifier or '$LATEST'}", now)
    info: dict[str, Any] = {"batchSize": 1, "eventSourceArn": context.event_source_arn}
    if isinstance(context.origin, KafkaOrigin):
        info |= {"bootstrapServers": context.origin.bootstrap_servers, "payloadSize": len(event)}
        info["recordInfo"] = {"offset": str(record.position), "timestamp": timestamp(record.timestamp)}
        envelope["KafkaBatchInfo"] = info
    else:
        info |= {"queue": context.origin.queue, "virtualHost": context.origin.virtual_host, "payloadSize": len(event)}
        info["recordInfo"] = {"messageId": record.message_id}
        envelope["RabbitMQBatchInfo"] = info
    body = _json(envelope)
    return DeadLetter(
        body=_with_payload(body, event),
        key=record.key,
        headers=(*record.headers, *_headers(discard, record, context, now)),
        without_payload=body,
    )


def _letter_of_batch(discard: Discard, context: RecordContext, now: float) -> DeadLetter:
    assert isinstance(context.origin, KafkaOrigin)
    event = context.build_event(discard.records)
    arn = f"{context.function_arn}:{context.qualifier}" if context.qualifier else context.function_arn
    envelope = _envelope(discard, arn, now)
    envelope["KafkaBatchInfo"] = {
        "batchSize": len(discard.records),
        "eventSourceArn": context.event_source_arn,
        "bootstrapServers": context.origin.bootstrap_servers,
        "payloadSize": len(event),
        "recordsInfo": _records_info(discard.records),
    }
    body = _json(envelope)
    return DeadLetter(
        body=_with_payload(body, _json(event.decode())),
        headers=_headers(discard, discard.records[0] if len(discard.records) == 1 else None, context, now),
        without_payload=body,
    )


def _envelope(discard: Discard, function_arn: str, now: float) -> dict[str, Any]:
    result = discard.result
    return {
        "requestContext": {
            # Nothing was asked of the function when no attempt was made, so there is no id to name.
            "requestId": "" if result is None else result.request_id,
            "functionArn": function_arn,
            # One spelling in both shapes. The guide's sample for Kafka topics says `RetriesExhausted` where its texts
            # and other samples say `RetryAttemptsExhausted`; which one the service writes there is unverified.
            "condition": discard.condition,
            "approximateInvokeCount": discard.attempts,
        },
        "responseContext": None
        if result is None
        else {
            "statusCode": result.status,
            "executedVersion": result.executed_version,
            # Null when retries were used up through partial batch responses (C.6).
            "functionError": result.function_error,
        },
        "version": "1.0",
        "timestamp": timestamp(int(now * 1000)),
    }


def _records_info(records: Sequence[Record]) -> dict[str, dict[str, str | None]]:
    """First and last record of each shard. Offsets are texts, as in the guide (unverified)."""
    info: dict[str, dict[str, str | None]] = {}
    for record in records:
        offset, time = str(record.position), timestamp(record.timestamp)
        shard = info.setdefault(record.shard, {"firstRecordOffset": offset, "lastRecordOffset": offset})
        shard.setdefault("firstRecordTimestamp", time)
        shard["lastRecordOffset"] = offset
        shard["lastRecordTimestamp"] = time
    return info


def _headers(
    discard: Discard, record: Record | None, context: RecordContext, now: float
) -> tuple[tuple[str, bytes], ...]:
    reporter = Reporter(context.function_name, context.function_arn, context.mapping_uuid, context.origin)
    time = timestamp(int(now * 1000)) or ""
    return error_headers(context.error_headers, discard, record, reporter, time=time)


def timestamp(milliseconds: int) -> str | None:
    """`2025-11-25T10:00:00.000Z`. None where there is no such time.

    A producer may set any 64-bit number, and 0 is a source's word for no timestamp (`Record.timestamp`). A strange one
    must not keep a record from its dead letter.
    """
    if milliseconds <= 0:
        return None
    try:
        time = _EPOCH + timedelta(milliseconds=milliseconds)
    except OverflowError:
        return None
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _with_payload(body: bytes, payload: bytes) -> bytes:
    """The payload is JSON already, and may be megabytes: put in as it stands, not encoded again."""
    return body[:-1] + b',"payload":' + payload + b"}"
