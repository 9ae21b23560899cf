"""Sample events for trying out handlers. Built by the sources' own encoders, so they are what the engine sends."""

# mypy: allow-untyped-calls
# pika's annotations have gaps.

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from poller.sources.kafka_event import KafkaSettings, build_event, event_head
from poller.sources.kafka_run import CREATE_TIME, record_head, to_run
from poller.triggers.s3_events import event_of
from poller.triggers.s3_notifications import Notification
from poller.triggers.scheduled_events import Run
from poller.triggers.scheduled_events import scheduled_event as triggered

TIMESTAMP = 1_764_064_800_000
"""Milliseconds since the epoch of the first sample record: fixed, so that the same command gives the same event."""

BROKER_ARN = "arn:aws:mq:us-east-1:123456789012:broker:tasks:b-0c5dd2a4-3f5b-4f0e-9a43-8d0c6c1d7a11"


@dataclass(frozen=True, slots=True)
class _Reading:
    partition: int
    offset: int
    key: str
    value: str


def _reading(device: str, temperature: float, humidity: float, battery: int) -> str:
    reading = {"device": device, "temperature": temperature, "humidity": humidity, "battery": battery}
    return json.dumps({**reading, "time": "2025-11-25T10:00:00Z"})


def _invoice(number: str, lines: Sequence[Mapping[str, object]]) -> str:
    invoice = {"invoice": number, "currency": "EUR", "vat_percent": "19", "lines": lines}
    return json.dumps(invoice, ensure_ascii=False)


_READINGS = (
    _Reading(0, 15, "sensor-007", _reading("sensor-007", 21.5, 40.2, 87)),
    _Reading(0, 16, "sensor-007", _reading("sensor-007", 21.7, 40.1, 87)),
    _Reading(2, 9, "sensor-042", _reading("sensor-042", 4.0, 71.5, 12)),
)
_TASKS = (
    _invoice("inv-0001", [{"article": "Notebook", "quantity": 2, "price": "9.50"}]),
    _invoice("inv-0002", [{"article": "Café set", "quantity": 1, "price": "30.00"}]),
)


def kafka_event(
    *,
    topic: str,
    values: Sequence[str] = (),
    key: str | None = None,
    bootstrap_servers: str = "127.0.0.1:19092",
    stream_arn: str | None = None,
) -> bytes:
    """An event of D.1.1.

    Args:
        topic: of all records.
        values: one record each, in partition 0; without any, three readings in two partitions.
        key: of all records; with `values`, none by default.
        bootstrap_servers: comma-joined `host:port`.
        stream_arn: makes it an MSK event.
    """
    settings = KafkaSettings(
        bootstrap_servers=bootstrap_servers.split(","),
        topic=topic,
        group_id="",
        event_source="aws:kafka" if stream_arn else "SelfManagedKafka",
        event_source_arn=stream_arn,
    )
    readings = [_Reading(0, offset, key or "", value) for offset, value in enumerate(values)] or _READINGS
    records = []
    for number, reading in enumerate(readings):
        record_key = (key or reading.key) if key or not values else None
        shard = f"{topic}-{reading.partition}"
        records += to_run(
            shard,
            record_head(topic, reading.partition),
            offsets=[reading.offset],
            timestamps=[(CREATE_TIME, TIMESTAMP + number)],
            keys=[None if record_key is None else os.fsencode(record_key)],
            values=[os.fsencode(reading.value)],
            headers=[[] if values else [("trace", f"t-{number + 1:04}".encode())]],
        ).records()
    return build_event(event_head(settings), records)


def s3_event(*, bucket: str, key: str, name: str) -> bytes:
    """An event of B.6.

    Args:
        bucket: where it happened.
        key: of the object, not encoded.
        name: what happened, such as `ObjectCreated:Put`.
    """
    notification = Notification(
        os.fsencode(name).decode(errors="replace").removeprefix("s3:"),
        os.fsencode(bucket).decode(errors="replace"),
        os.fsencode(key).decode(errors="replace"),  # an argument may be anything
        principal="AIDAEXAMPLE",
        owner="A3NL1KOZZKEXAMPLE",
        source_address="127.0.0.1",
        request_id="C3D13FE58DE4C810",
        host_id="FMyUVURIY8",
        size=1024,
        etag="d41d8cd98f00b204e9800998ecf8427e",
        sequencer="0A1B2C3D4E5F678901",
    )
    return event_of(notification, "Orders.Upload", region="us-east-1", now=TIMESTAMP / 1000)


def scheduled_event(*, rule: str) -> bytes:
    """EventBridge's scheduled event of a rule of that name."""
    name = os.fsencode(rule).decode(errors="replace")
    run = Run("0d7b3a52-8f0e-4d2c-9a43-8d0c6c1d7a11", TIMESTAMP / 1000)
    return triggered(f"arn:aws:events:us-east-1:123456789012:rule/{name}", None, run)


def rabbitmq_event(
    *, queue: str, values: Sequence[str] = (), virtual_host: str = "/", broker_arn: str = BROKER_ARN
) -> bytes:
    """An event of D.2.

    Args:
        queue: where the messages come from.
        values: one message each; without any, two invoices.
        virtual_host: the queue's.
        broker_arn: `eventSourceArn`.
    """
    from pika.spec import Basic, BasicProperties  # noqa: PLC0415 - costs a tenth of a second

    from poller.sources.rabbitmq_event import RabbitMQSettings, build_event, event_head, to_record  # noqa: PLC0415

    settings = RabbitMQSettings(queue=queue, event_source_arn=broker_arn, virtual_host=virtual_host)
    records = [
        to_record(
            Basic.Deliver("poller", number, redelivered=False, exchange="", routing_key=queue),
            BasicProperties(
                content_type="application/json",
                delivery_mode=2,
                message_id=f"00000000-0000-4000-8000-{number:012}",
                timestamp=TIMESTAMP // 1000,
                headers={"trace": f"t-{number:04}", "attempt": 1},
            ),
            os.fsencode(value),  # an argument that is not UTF-8 is taken byte for byte
            shard=settings.shard,
            position=number,
            generation=0,
        )
        for number, value in enumerate(values or _TASKS, start=1)
    ]
    return build_event(event_head(settings), records)
