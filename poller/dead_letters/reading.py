"""Reads dead letters of every make: ours, Kafka Connect's, Spring Kafka's, those of a dead-letter exchange. Pure.

| Make | Told by | Original |
|---|---|---|
| ours (D.1.4), wherever it lies | requestContext and KafkaBatchInfo or RabbitMQBatchInfo in the body | in `payload` |
| Kafka Connect (F.1) | the header `__connect.errors.topic` | the record itself, without those headers |
| Spring Kafka (F.2) | the header `kafka_dlt-original-topic` | the record itself, without those headers |
| a dead-letter exchange (F.3) | the header `x-death` | the message itself, without the broker's headers |

Whatever else lies there becomes a letter with a `problem`; nothing raises.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from poller.dead_letters.event_records import kafka_originals, own_headers, rabbitmq_originals
from poller.dead_letters.letter import (
    KafkaOriginal,
    KafkaPlace,
    Letter,
    RabbitMQOriginal,
    Verbatim,
    origin_of_records,
)
from poller.function_names import named_function

UNKNOWN = "no dead letter: where it came from is unknown"
LEFT_OUT = "its payload was left out for its size"

ERROR_HEADERS = re.compile(r"__connect\.errors\..*|poller\.errors\..*|kafka_dlt-.*")
"""Headers that a dead letter adds to those of the record."""

_CONNECT, _SPRING = "__connect.errors.", "kafka_dlt-"
_MALFORMED = (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError)

Headers = Sequence[tuple[str, bytes]]


def letter_of_record(
    id: str,  # noqa: A002 - as the field is called
    *,
    key: bytes | None,
    value: bytes | None,
    headers: Headers,
    timestamp: int,
) -> Letter:
    """What a record of a dead-letter topic is; the timestamp is in milliseconds."""
    time = timestamp / 1000 if timestamp > 0 else None
    texts = {name: content for name, content in headers if ERROR_HEADERS.fullmatch(name)}
    own = tuple((name, content) for name, content in headers if name not in texts)
    envelope = _envelope(value)
    if envelope is not None:
        return _read_ours(Letter(id=id, key=key, time=time), envelope, texts)
    letter = _with_error(Letter(id=id, key=key, time=time), texts)
    try:
        place = _place(texts)
    except _MALFORMED:
        place = None
    if place is None:
        return replace(letter, problem=UNKNOWN)
    return replace(
        letter, origin=str(place), originals=(KafkaOriginal(place, key, value, own),), condition=letter.error_type
    )


def letter_of_message(id: str, *, body: bytes, properties: Mapping[str, Any]) -> Letter:  # noqa: A002
    """What a message of a dead-letter queue is; properties by AMQP's names in snake case, unset ones missing."""
    given = properties.get("headers") or {}
    headers = {name: value.value if isinstance(value, Verbatim) else value for name, value in given.items()}
    time = float(properties["timestamp"]) if isinstance(properties.get("timestamp"), int) else None
    letter = Letter(id=id, time=time, key=_bytes(properties.get("message_id")))
    try:
        # The broker has the last word on where the message was last: an on-failure record can be dead-lettered, too.
        if headers.get("x-death"):
            return _read_death(letter, headers, body, properties)
        envelope = _envelope(body)
        if envelope is not None:
            texts = {name: _bytes(value) or b"" for name, value in headers.items() if ERROR_HEADERS.fullmatch(name)}
            return _read_ours(replace(letter, key=None), envelope, texts)
    except _MALFORMED:
        pass
    return replace(letter, problem=UNKNOWN)


def letter_of_line(id: str, line: bytes) -> Letter:  # noqa: A002 - as the field is called
    """What a line of a file is."""
    envelope = _envelope(line)
    return Letter(id=id, problem=UNKNOWN) if envelope is None else _read_ours(Letter(id=id), envelope, {})


def with_originals(letter: Letter, found: Sequence[KafkaOriginal]) -> Letter:
    """The letter with the records that it named, as they were read where they came from."""
    return replace(letter, originals=tuple(found), missing=(), problem="")


# --- our own -------------------------------------------------------------------------------------------------------


def _envelope(body: bytes | None) -> dict[str, Any] | None:
    """The body of an on-failure record, or nothing when it is none."""
    if body is None or not body.lstrip().startswith(b"{"):
        return None
    try:
        found = json.loads(body)
    except _MALFORMED:
        return None
    infos = [found.get("KafkaBatchInfo"), found.get("RabbitMQBatchInfo")]
    is_ours = isinstance(found.get("requestContext"), dict) and any(isinstance(info, dict) for info in infos)
    return found if is_ours else None


def _read_ours(letter: Letter, envelope: Mapping[str, Any], headers: Mapping[str, bytes]) -> Letter:
    context = envelope["requestContext"]
    response = envelope.get("responseContext")
    attempts = context.get("approximateInvokeCount")
    letter = _with_error(
        replace(
            letter,
            condition=_text(context.get("condition")),
            request_id=_text(context.get("requestId")),
            function=named_function(_text(context.get("functionArn")))[0],
            attempts=attempts if isinstance(attempts, int) else None,
            time=_moment(envelope.get("timestamp")) or letter.time,
        ),
        headers,
    )
    if not letter.error_type:
        error = response.get("functionError") if isinstance(response, dict) else None
        letter = replace(letter, error_type=_text(error) or letter.condition)
    try:
        if isinstance(envelope.get("RabbitMQBatchInfo"), dict):
            return _about_message(letter, envelope, envelope["RabbitMQBatchInfo"])
        return _about_records(letter, envelope, envelope["KafkaBatchInfo"], headers)
    except _MALFORMED:
        return replace(letter, problem=f"{UNKNOWN}: its contents are not those of an on-failure record")


def _about_records(
    letter: Letter, envelope: Mapping[str, Any], info: Mapping[str, Any], headers: Mapping[str, bytes]
) -> Letter:
    letter = replace(letter, bootstrap_servers=_text(info.get("bootstrapServers")))
    if "payload" not in envelope:
        places = _places(info, headers)
        problem = LEFT_OUT if places else f"{LEFT_OUT}, and nothing else tells which records it was about"
        return replace(letter, origin=origin_of_records(places), missing=tuple(places), problem=problem)
    payload = envelope["payload"]
    originals = tuple(kafka_originals(json.loads(payload) if isinstance(payload, str) else payload))
    key = originals[0].key if len(originals) == 1 else None
    origin = origin_of_records([original.place for original in originals])
    problem = "" if originals else f"{UNKNOWN}: it holds no records"
    return replace(letter, origin=origin, originals=originals, key=key, problem=problem)


def _places(info: Mapping[str, Any], headers: Mapping[str, bytes]) -> list[KafkaPlace]:
    """The records of a letter without its payload, where what is left of it tells exactly which they are."""
    if "recordInfo" in info:
        place = _place(headers)
        return [] if place is None else [place]
    places = []
    for shard, ends in info["recordsInfo"].items():
        topic, _, partition = shard.rpartition("-")
        first, last = int(ends["firstRecordOffset"]), int(ends["lastRecordOffset"])
        if last - first >= info["batchSize"]:
            return []  # not all records between the two were given up
        places += [KafkaPlace(topic, int(partition), offset) for offset in range(first, last + 1)]
    return places if len(places) == info["batchSize"] else []


def _about_message(letter: Letter, envelope: Mapping[str, Any], info: Mapping[str, Any]) -> Letter:
    queue, virtual_host = info["queue"], info["virtualHost"]
    letter = replace(letter, origin=f"queue {queue}", key=_bytes(info["recordInfo"]["messageId"]))
    if "payload" not in envelope:
        return replace(letter, problem=f"{LEFT_OUT}, and the message is nowhere else")
    originals = tuple(rabbitmq_originals(envelope["payload"], queue, virtual_host))
    return replace(letter, originals=originals, problem="" if originals else f"{UNKNOWN}: it holds no message")


# --- others' -------------------------------------------------------------------------------------------------------


def _place(headers: Mapping[str, bytes]) -> KafkaPlace | None:
    """Where the headers say that the record came from."""
    if f"{_CONNECT}topic" in headers:
        topic, partition, offset = (headers[_CONNECT + name].decode() for name in ("topic", "partition", "offset"))
        return KafkaPlace(topic, int(partition), int(offset))
    if f"{_SPRING}original-topic" in headers:
        topic, numbers = headers[f"{_SPRING}original-topic"].decode(), []
        for name, size in (("partition", 4), ("offset", 8)):
            content = headers[f"{_SPRING}original-{name}"]
            if len(content) != size:
                raise ValueError(f"{name} has not {size} bytes")
            numbers.append(int.from_bytes(content, "big", signed=True))
        return KafkaPlace(topic, *numbers)
    return None


def _with_error(letter: Letter, headers: Mapping[str, bytes]) -> Letter:
    def first(*names: str) -> str:
        return next((headers[name].decode(errors="replace") for name in names if headers.get(name)), "")

    return replace(
        letter,
        error_type=first(
            f"{_CONNECT}exception.class.name", f"{_SPRING}exception-cause-fqcn", f"{_SPRING}exception-fqcn"
        ),
        error_message=first(f"{_CONNECT}exception.message", f"{_SPRING}exception-message"),
    )


def _read_death(letter: Letter, headers: Mapping[str, Any], body: bytes, properties: Mapping[str, Any]) -> Letter:
    """F.3: newest entry first. The first queue it died in is the origin; what came after are stations on its way."""
    newest, oldest = headers["x-death"][0], headers["x-death"][-1]
    queue = _text(headers.get("x-first-death-queue")) or _text(oldest["queue"])
    reason = _text(headers.get("x-first-death-reason")) or _text(oldest["reason"])
    died = next((entry for entry in headers["x-death"] if (entry["queue"], entry["reason"]) == (queue, reason)), oldest)
    # The broker takes only the user_id that the publisher has logged in with.
    own = {name: value for name, value in properties.items() if name not in {"headers", "user_id"}}
    if kept := own_headers(properties["headers"]):
        own["headers"] = kept
    if "original-expiration" in died:
        own["expiration"] = _text(died["original-expiration"])
    time = newest.get("time")
    if isinstance(time, datetime):
        letter = replace(letter, time=(time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp())
    return replace(
        letter,
        origin=f"queue {queue}",
        condition=reason,
        error_type=reason,
        attempts=int(died["count"]),
        originals=(RabbitMQOriginal(queue, None, body, own),),
    )


def _moment(text: object) -> float | None:
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return value if isinstance(value, str) else ""


def _bytes(value: object) -> bytes | None:
    if isinstance(value, str):
        return value.encode(errors="replace")
    return value if isinstance(value, bytes) else None
