"""What an asynchronous event leaves behind: the record for its destination (B.3), the dead letter for its queue (B.4).

Pure: what happened and the time in, letters out.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from poller.model import DeadLetter, InvocationResult
from poller.policy.async_events import Ended, is_delay
from poller.policy.invocation_records import timestamp

MAXIMUM_ERROR_MESSAGE = 1024
"""Bytes of the dead letter's ErrorMessage (B.4)."""

# ErrorCode and ErrorMessage where no answer is known (a choice: AWS documents none).
_UNANSWERED = {
    "ZeroReservedConcurrency": ("429", "The function's reserved concurrency is 0."),
    "EventAgeExceeded": ("500", "The event is older than MaximumEventAgeInSeconds."),
}


@dataclass(frozen=True, slots=True)
class EndedEvent:
    """An event that ended, with all that its record tells."""

    request_id: str
    function_arn: str
    """Qualified: `:$LATEST` where the call had no qualifier."""
    payload: bytes
    ended: Ended
    result: InvocationResult | None
    """The last answer, also a throttle or a system error; None when there was none."""
    answer: InvocationResult | None
    """The last answer of the function itself; None when it never ran."""


def record(event: EndedEvent, *, now: float) -> bytes:
    """The invocation record (B.3).

    Args:
        event: what ended.
        now: seconds since the epoch.
    """
    body = _envelope(event, now)[:-1] + b',"requestPayload":' + _embedded(event.payload)
    answer = _shown_answer(event)
    if answer is not None:
        body += b',"responsePayload":' + _embedded(answer.payload)
    return body + b"}"


def record_letter(event: EndedEvent, *, now: float) -> DeadLetter:
    """The record for a destination that may refuse its size: then it goes without both payloads."""
    return DeadLetter(record(event, now=now), without_payload=_envelope(event, now))


def event_bridge_letter(
    event: EndedEvent, *, bus_arn: str, account: str, region: str, id_: str, now: float
) -> DeadLetter:
    """The event that a bus gets (B.3): the record is its `detail`."""
    letter = record_letter(event, now=now)
    head = {
        "version": "0",
        "id": id_,
        "detail-type": f"Lambda Function Invocation Result - {'Success' if event.ended.succeeded else 'Failure'}",
        "source": "lambda",
        "account": account,
        "time": f"{(timestamp(int(now * 1000)) or '')[:19]}Z",
        "region": region,
        "resources": [bus_arn, event.function_arn],
    }
    before = _json(head)[:-1] + b',"detail":'
    assert letter.without_payload is not None
    return DeadLetter(before + letter.body + b"}", without_payload=before + letter.without_payload + b"}")


def dead_letter(event: EndedEvent) -> DeadLetter:
    """The message for the dead-letter queue (B.4): the event unchanged, what went wrong in its headers."""
    code, message = _error(event)
    cut = message.encode(errors="replace")[:MAXIMUM_ERROR_MESSAGE].decode(errors="ignore")
    headers = {"RequestID": event.request_id, "ErrorCode": code, "ErrorMessage": cut}
    return DeadLetter(event.payload, headers=tuple((name, text.encode()) for name, text in headers.items()))


def _shown_answer(event: EndedEvent) -> InvocationResult | None:
    """None for ZeroReservedConcurrency, also where an attempt ran before the concurrency was taken away."""
    return None if event.ended.condition == "ZeroReservedConcurrency" else event.answer


def _envelope(event: EndedEvent, now: float) -> bytes:
    answer = _shown_answer(event)
    envelope: dict[str, Any] = {
        "version": "1.0",
        "timestamp": timestamp(int(now * 1000)),
        "requestContext": {
            "requestId": event.request_id,
            "functionArn": event.function_arn,
            "condition": event.ended.condition,
            "approximateInvokeCount": event.ended.attempts,
        },
    }
    if answer is not None:
        context: dict[str, Any] = {"statusCode": answer.status, "executedVersion": answer.executed_version}
        if answer.function_error is not None:
            context["functionError"] = answer.function_error
        envelope["responseContext"] = context
    return _json(envelope)


def _error(event: EndedEvent) -> tuple[str, str]:
    result = event.result
    if result is None:
        return _UNANSWERED.get(event.ended.condition, ("500", ""))
    try:
        told = json.loads(result.payload)
    except (ValueError, RecursionError):
        told = None
    key = "errorMessage" if not is_delay(result) else "message"
    text = told.get(key, told.get("Message")) if isinstance(told, dict) else None
    if text is None:
        text = "" if isinstance(told, dict) else result.payload[:MAXIMUM_ERROR_MESSAGE].decode(errors="replace")
    return str(result.status), text if isinstance(text, str) else json.dumps(text)


def _embedded(payload: bytes) -> bytes:
    """A payload inside the record: as it stands where it is JSON, `null` where there is none, else as a text."""
    if not payload:
        return b"null"
    try:
        json.loads(payload.decode())
    except RecursionError:  # nested too deep to be read here, and JSON for all that is known
        return payload
    except ValueError:
        return _json(payload.decode(errors="replace"))
    return payload


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
