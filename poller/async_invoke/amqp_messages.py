"""Asynchronous events and their records as AMQP messages, and back (B.1, B.3). Pure: values in and out.

The body of an event that was not tried yet is its payload, and nothing else. After an attempt the function's last
answer stands behind it, and the last throttle or system error behind that; headers say how long each part is.
"""

# mypy: allow-untyped-calls
# pika's annotations have gaps.

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast, get_args

import pika

from poller.async_invoke.rows import Delivery, Kind, StoredEvent
from poller.model import DeadLetter, InvocationResult
from poller.policy.async_events import Standing

EVENT = "event"
"""The property `type` of an event; that of a record is its kind."""

_MICROSECONDS = 1_000_000


class NotOurs(Exception):  # noqa: N818 - reads as what it says
    """Somebody else has put this message into a queue of ours."""


def event_message(event: StoredEvent) -> tuple[pika.BasicProperties, bytes]:
    """An event as it is now."""
    parts = [event.payload]
    headers: dict[str, Any] = {
        "function": event.function,
        "qualifier": event.qualifier,
        "accepted-at": int(event.standing.accepted_at * _MICROSECONDS),
        "attempts": event.standing.attempts,
        "delays": event.standing.delays,
        "passes": event.passes,
    }
    if event.client_context is not None:
        headers["client-context"] = event.client_context
    for name, result in (("answer", event.answer), ("delay", event.delay)):
        if result is not None:
            parts.append(result.payload)
            head = [len(result.payload), result.status, result.function_error, result.executed_version]
            headers[name] = json.dumps(head)
    return _properties(event.request_id, EVENT, headers), b"".join(parts)


def read_event(properties: pika.BasicProperties, body: bytes, now: float) -> StoredEvent:
    """The event of a message; its time has come.

    Raises:
        NotOurs: it is none.
    """
    try:
        headers, request_id = _headers(properties, EVENT)
        delay, body = _result(request_id, headers.get("delay"), body)
        answer, body = _result(request_id, headers.get("answer"), body)
        context = headers.get("client-context")
        return StoredEvent(
            request_id,
            str(headers["function"]),
            str(headers["qualifier"]),
            body,
            Standing(headers["accepted-at"] / _MICROSECONDS, int(headers["attempts"]), int(headers["delays"])),
            now,
            None if context is None else str(context),
            int(headers["passes"]),
            answer,
            delay,
        )
    except (LookupError, TypeError, ValueError) as error:
        raise NotOurs(f"no event: {error!r}") from None


def record_message(delivery: Delivery) -> tuple[pika.BasicProperties, bytes]:
    """A record or dead letter for a destination."""
    letter = delivery.letter
    rest = letter.without_payload
    headers: dict[str, Any] = {
        "function": delivery.function,
        "made-at": int(delivery.made_at * _MICROSECONDS),
        "headers": json.dumps([[name, value.decode()] for name, value in letter.headers]),
        "body": len(letter.body),
        "has-short-form": rest is not None,
    }
    return _properties(delivery.request_id, delivery.kind, headers), letter.body + (rest or b"")


def read_record(properties: pika.BasicProperties, body: bytes) -> Delivery:
    """The record of a message.

    Raises:
        NotOurs: it is none.
    """
    try:
        headers, request_id = _headers(properties, *get_args(Kind))
        size = _within(int(headers["body"]), body)
        pairs = tuple((str(name), str(value).encode()) for name, value in json.loads(headers["headers"]))
        short = body[size:] if headers["has-short-form"] else None
        letter = DeadLetter(body[:size], None, pairs, short)
        kind = cast("Kind", properties.type)
        return Delivery(request_id, str(headers["function"]), kind, headers["made-at"] / _MICROSECONDS, letter)
    except (LookupError, TypeError, ValueError) as error:
        raise NotOurs(f"no record: {error!r}") from None


def _properties(request_id: str, type_: str, headers: Mapping[str, Any]) -> pika.BasicProperties:
    return pika.BasicProperties(
        content_type="application/octet-stream" if {"answer", "delay"} & headers.keys() else "application/json",
        delivery_mode=pika.DeliveryMode.Persistent,
        message_id=request_id,
        type=type_,
        app_id="poller",
        headers=dict(headers),
    )


def _headers(properties: pika.BasicProperties, *types: str) -> tuple[dict[str, Any], str]:
    if properties.app_id != "poller" or properties.type not in types or not properties.message_id:
        raise ValueError(f"type {properties.type!r} of {properties.app_id!r}")
    return dict(properties.headers or {}), str(properties.message_id)


def _result(request_id: str, head: object, body: bytes) -> tuple[InvocationResult | None, bytes]:
    """The answer at the end of a body, and what stands before it."""
    if head is None:
        return None, body
    size, status, function_error, executed_version = json.loads(str(head))
    before = len(body) - _within(int(size), body)
    return InvocationResult(request_id, body[before:], status, function_error, executed_version), body[:before]


def _within(size: int, body: bytes) -> int:
    if not 0 <= size <= len(body):
        raise ValueError(f"{size} of {len(body)} bytes")
    return size
