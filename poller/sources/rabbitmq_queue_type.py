"""Of what type a queue is: AMQP has no question for that, but RabbitMQ says it in a refusal."""

# mypy: allow-untyped-calls
# pika's annotations have gaps.

from __future__ import annotations

import re
from typing import Any, Literal

import pika
from pika import exceptions as pika_errors

QueueType = Literal["classic", "quorum", "stream", "unknown"]

_PRECONDITION_FAILED = 406
_TOLD = re.compile(r"of queue type rabbit_(classic|quorum)_queue")
_FIRST_VERSION = (3, 9)
"""Of RabbitMQ with streams. Before, and in other brokers that speak AMQP, the question would begin to consume."""


def queue_type(connection: pika.BlockingConnection, queue: str) -> QueueType:
    """Ask on a channel of its own. Costs the broker a line in its log, so ask once. Blocks for the round trip.

    A consumer that says where it wants to begin in the stream is taken by a stream, and refused by other queues with
    their type in the text. Whoever refuses for another reason raises pika's error for it.
    """
    if _version(_server_properties(connection)) < _FIRST_VERSION:
        return "unknown"
    channel = connection.channel()
    try:
        channel.basic_qos(prefetch_count=1)
        channel.basic_consume(queue, lambda *_: None, arguments={"x-stream-offset": "next"})
    except pika_errors.ChannelClosedByBroker as error:
        if error.reply_code != _PRECONDITION_FAILED:
            raise
        told = _TOLD.search(str(error.reply_text))
        return told[1] if told else "unknown"  # type: ignore[return-value]  # one of the two
    channel.close()
    return "stream"


def _server_properties(connection: pika.BlockingConnection) -> dict[str, Any]:
    return connection._impl.server_properties or {}  # noqa: SLF001 - there is no public way to ask


def _version(properties: dict[str, Any]) -> tuple[int, ...]:
    """(0,) for what is not RabbitMQ."""
    if properties.get("product") != "RabbitMQ":
        return (0,)
    return tuple(int(part) for part in re.findall(r"\d+", str(properties.get("version", "")))[:2])
