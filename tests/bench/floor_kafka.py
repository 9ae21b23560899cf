"""Bare Kafka loops: the least that a Python program can do with either client to bring a topic's records as JSON.

The event is joined from parts made by a bytes template: with confluent-kafka that took 0.5 µs a record of 200 B and
1.1 µs of 1 KiB, where dicts, base64 as text and orjson took 0.65 and 1.4 µs. Up to four batches are on their way to the
handler, so that it never waits for its next one; what is handled is committed once a second.
"""

from __future__ import annotations

import time
from binascii import b2a_base64
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pybase64 import b64encode

from tests.bench.bare import Handler, Stopped, say_polling

COMMIT_INTERVAL = 1.0
"""Seconds."""
IN_FLIGHT = 4
"""Batches written to the handler's pipe and not answered yet."""
FETCH_WAIT = 10
"""Milliseconds that a broker with nothing new may hold a fetch of kafka-python, while a full topic is read: with the
default of 500 the partitions that end first hold up the rest. A loop that mostly waits keeps the default."""
QUEUE_BACKOFF = 10
"""Milliseconds after which librdkafka fills its queue again; with its default of a second the loop mostly waits."""


class Pipeline:
    """Events on their way to the handler, and what may be committed once they are answered."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._waiting: deque[tuple[Any, int]] = deque()
        self._last_commit = time.monotonic()
        self._handled: dict[Any, int] = {}

    def submit(self, event: bytes, partition: Any, position: int) -> None:
        """Write an event; before that, wait for the oldest answer if enough are on their way."""
        if len(self._waiting) == IN_FLIGHT:
            self._take()
        self._waiting.append((partition, position))
        self._handler.send(event)

    def due(self) -> dict[Any, int]:
        """Once a second: the positions to commit, by partition, after everything on its way was answered."""
        now = time.monotonic()
        if now - self._last_commit < COMMIT_INTERVAL:
            return {}
        self._last_commit = now
        while self._waiting:
            self._take()
        handled, self._handled = self._handled, {}
        return handled

    def _take(self) -> None:
        self._handler.receive()
        partition, position = self._waiting.popleft()
        self._handled[partition] = position


def cut(buffer: list[Any], batch_size: int) -> Iterator[list[Any]]:
    """Take the full batches off a buffer's front; a size of 0 takes all there is."""
    size = batch_size or len(buffer)
    while len(buffer) >= size > 0:
        batch = buffer[:size]
        del buffer[:size]
        yield batch


def event_head(address: str) -> bytes:
    return b'{"eventSource":"SelfManagedKafka","bootstrapServers":"%b","records":{"%%b-%%d":[' % address.encode()


def encode(head: bytes, topic: str, partition: int, rows: Iterable[tuple[int, int, bytes, bytes]]) -> bytes:
    """The event of D.1.1 for one partition, of (offset, timestamp, key, value) without headers."""
    name = topic.encode()
    start = b'{"topic":"%b","partition":%d,"offset":' % (name, partition)
    parts = [head % (name, partition)]
    for offset, timestamp, key, value in rows:
        parts += (
            b'%b%d,"timestamp":%d,"timestampType":"CREATE_TIME","key":"%b","value":"'
            % (start, offset, timestamp, b2a_base64(key, newline=False)),
            b64encode(value),
            b'","headers":[]}',
            b",",
        )
    parts[-1] = b"]}}"
    return b"".join(parts)


def run_kafka_python(handler: Handler, *, address: str, topic: str, group: str, batch_size: int) -> None:
    """Read a topic from its beginning."""
    from kafka import KafkaConsumer, OffsetAndMetadata

    consumer = KafkaConsumer(
        topic,
        bootstrap_servers=address,
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        max_poll_records=max(500, batch_size),
        fetch_max_wait_ms=FETCH_WAIT if batch_size else 500,
        metrics_enabled=False,
    )
    head = event_head(address)
    buffers: dict[Any, list[Any]] = {}
    pipeline = Pipeline(handler)
    say_polling()
    try:
        while True:
            for partition, records in consumer.poll(timeout_ms=1000).items():
                buffer = buffers.setdefault(partition, [])
                buffer += records
                for batch in cut(buffer, batch_size):
                    rows = [(record.offset, record.timestamp, record.key, record.value) for record in batch]
                    event = encode(head, partition.topic, partition.partition, rows)
                    pipeline.submit(event, partition, batch[-1].offset + 1)
            if due := pipeline.due():
                consumer.commit({where: OffsetAndMetadata(to, "", -1) for where, to in due.items()})
    except Stopped:
        pass
    finally:
        consumer.close(autocommit=False)


def run_confluent_kafka(handler: Handler, *, address: str, topic: str, group: str, batch_size: int) -> None:
    """Read a topic from its beginning."""
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer(
        {
            "bootstrap.servers": address,
            "group.id": group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "fetch.queue.backoff.ms": QUEUE_BACKOFF,
        }
    )
    consumer.subscribe([topic])
    head = event_head(address)
    most = max(500, batch_size)
    buffers: dict[int, list[Any]] = {}
    pipeline = Pipeline(handler)
    say_polling()
    try:
        while True:
            # It would wait for so many until the time is up; so it takes what is there, and waits for the first one.
            messages = consumer.consume(most, 0)
            if not messages and (first := consumer.poll(0.1)) is not None:
                messages = [first]
            for message in messages:
                if message.error():
                    raise RuntimeError(message.error())
                buffers.setdefault(message.partition(), []).append(message)
            for partition, buffer in buffers.items():
                for batch in cut(buffer, batch_size):
                    event = encode(head, topic, partition, _rows(batch))
                    pipeline.submit(event, partition, batch[-1].offset() + 1)
            if due := pipeline.due():
                offsets = [TopicPartition(topic, partition, to) for partition, to in due.items()]
                consumer.commit(offsets=offsets, asynchronous=False)
    except Stopped:
        pass
    finally:
        consumer.close()


def _rows(batch: Sequence[Any]) -> list[tuple[int, int, bytes, bytes]]:
    return [(message.offset(), message.timestamp()[1], message.key(), message.value()) for message in batch]
