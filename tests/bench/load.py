"""What is there to be read: realistic readings as JSON, in a topic or a queue of its own per measurement."""

from __future__ import annotations

import json
import random
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pika
from confluent_kafka import Producer

from tests.brokers import KafkaBroker, RabbitMQBroker, unique
from tests.waiting import eventually

PARTITIONS = 4
SMALLEST = 180
"""Bytes of a reading."""


def reading(size: int, chance: random.Random) -> bytes:
    """A device's reading as JSON of exactly so many bytes, 180 or more: a line of measured values and its context."""
    content = {
        "device": f"sensor-{chance.randrange(1000):04}",
        "time": "2025-11-25T10:00:00.000Z",
        "temperature": round(chance.uniform(-20, 40), 2),
        "humidity": round(chance.uniform(0, 100), 1),
        "battery": chance.randrange(101),
        "firmware": "4.2.1",
        "history": [],
        "site": "",
    }
    while (missing := size - 40 - len(json.dumps(content))) > 0:
        more = max(1, missing // 8)  # one takes eight bytes at most
        content["history"] += [round(chance.uniform(-20, 40), 2) for _ in range(more)]  # type: ignore[operator]
    content["site"] = "".join(chance.choices("abcdefghijklmnopqrstuvwxyz ", k=size - len(json.dumps(content))))
    encoded = json.dumps(content).encode()
    assert len(encoded) == size
    return encoded


@contextmanager
def topic(broker: KafkaBroker, *, size: int = 0, records: int = 0, partitions: int = PARTITIONS) -> Iterator[str]:
    """A topic with so many readings, as many in each partition; deleted afterwards."""
    name = broker.create_topic(partitions)
    try:
        if records:
            fill(broker, name, size=size, records=records, partitions=partitions)
        yield name
    finally:
        broker.delete_topic(name)


@contextmanager
def empty_topics(broker: KafkaBroker, number: int) -> Iterator[list[str]]:
    """So many topics of one partition, made in one request; deleted afterwards."""
    names = [unique("bench") for _ in range(number)]
    with broker.admin() as admin:
        admin.create_topics({name: {"num_partitions": 1, "replication_factor": 1} for name in names})
    try:
        yield names
    finally:
        with broker.admin() as admin:
            admin.delete_topics(names)


def values(size: int) -> list[bytes]:
    """Readings to be repeated: as many as make a difference, and 4 MB at most. Below 180 B just bytes."""
    chance = random.Random(size)
    if size < SMALLEST:
        return [chance.randbytes(size) for _ in range(1000)]
    return [reading(size, chance) for _ in range(max(4, min(1000, 4_000_000 // size)))]


def fill(broker: KafkaBroker, topic_name: str, *, size: int, records: int, partitions: int = PARTITIONS) -> None:
    """Append readings in turn to the partitions; returns when the broker has them all."""
    some = values(size)
    keyed = [(value, value[12:23] if size >= SMALLEST else b"device") for value in some]  # its device
    producer = Producer(
        {
            "bootstrap.servers": broker.address,
            "acks": 1,
            "linger.ms": 20,
            "batch.size": 256 * 1024,
            "message.max.bytes": 8 * 1024 * 1024,
            "queue.buffering.max.messages": 200_000,
        }
    )
    failures: list[Any] = []

    def delivered(error: Any, _message: Any) -> None:
        if error is not None:
            failures.append(error)

    for number in range(records):
        value, key = keyed[number % len(keyed)]
        while True:
            try:
                producer.produce(topic_name, value, key, number % partitions, on_delivery=delivered)
                break
            except BufferError:
                producer.poll(0.05)
        if number % 1000 == 0:
            producer.poll(0)
    producer.flush()
    if failures:
        raise RuntimeError(f"{len(failures)} records could not be produced: {failures[0]}")


@contextmanager
def queues(broker: RabbitMQBroker, number: int) -> Iterator[tuple[str, list[str]]]:
    """Durable classic queues, each of which gets what is sent to the exchange; deleted afterwards.

    Classic, because a quorum queue's log would be the limit of both, and hide what is ours.
    """
    exchange, names = unique("bench"), []
    try:
        with broker.channel() as channel:
            channel.exchange_declare(exchange, "fanout")
            for _ in range(number):
                names.append(broker.declare_queue("classic"))
                channel.queue_bind(names[-1], exchange)
        yield exchange, names
    finally:
        with suppress(pika.exceptions.AMQPError), broker.channel() as channel:
            channel.exchange_delete(exchange)
            for name in names:
                channel.queue_delete(name)


def publish(broker: RabbitMQBroker, exchange: str, names: list[str], *, size: int, messages: int) -> None:
    """Send transient messages, and wait until each of the queues has them."""
    some = values(size)
    now = int(time.time())
    connection = pika.BlockingConnection(pika.URLParameters(broker.url))
    try:
        channel = connection.channel()
        for number in range(messages):
            properties = pika.BasicProperties(
                content_type="application/json", delivery_mode=1, message_id=str(uuid.uuid4()), timestamp=now
            )
            channel.basic_publish(exchange, "", some[number % len(some)], properties)
    finally:
        connection.close()
    for name in names:
        eventually(lambda name=name: broker.depth(name) == messages, what=f"{messages} messages in {name}")  # type: ignore[misc]
