"""Floors: the least a Python program can do for the same job, with the same client and the same handler file.

`python -m tests.bench.floor HANDLER kafka|rabbitmq …` polls, builds the event of D.1.1 or D.2 in the cheapest way that
was found, sends it over the same kind of pipe to the same bootstrap, waits for the answer, and commits. One thread, one
handler, one batch in flight; no retries, no order of failures, no rebalances, no logs, no metrics. It prints `polling`
when it begins, and ends on SIGTERM.
"""

from __future__ import annotations

import argparse
import fcntl
import functools
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from binascii import b2a_base64
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from types import FrameType
from typing import Any, NoReturn

from poller.runtime.frames import Frame, FrameReader, FrameWriter
from poller.runtime.interpreter import BOOTSTRAP
from tests.bench.processes import FUNCTIONS

PIPE_SIZE = 1024 * 1024
"""As the product's pipes."""
COMMIT_INTERVAL = 1.0
"""Seconds."""


class Handler:
    """The handler's process behind two blocking pipes."""

    def __init__(self, name: str) -> None:
        event, self._event = os.pipe()
        self._reply, reply = os.pipe()
        output = os.dup(sys.stdout.fileno())
        for fd in (self._event, self._reply):
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
        variables = {"_HANDLER": f"handler.{name}", "LAMBDA_TASK_ROOT": str(FUNCTIONS), "TZ": ":UTC"}
        self.process = subprocess.Popen(
            [sys.executable, "-u", str(BOOTSTRAP), "marker", str(event), str(reply), str(output)],
            cwd=FUNCTIONS,
            env={**os.environ, **variables, "AWS_EXECUTION_ENV": "AWS_Lambda_python3.13"},
            pass_fds=(event, reply, output),
        )
        for fd in (event, reply, output):
            os.close(fd)
        self._reader = FrameReader()
        ready = self._receive()
        assert ready.header["type"] == "ready", ready

    def __call__(self, event: bytes) -> bytes | memoryview:
        """One invocation: the answer."""
        header = {
            "type": "invoke",
            "request_id": str(uuid.uuid4()),
            "limit": 30,
            "slot": None,
            "invoked_function_arn": "arn:aws:lambda:us-east-1:123456789012:function:Bench",
            "trace_id": "Root=1-00000000-000000000000000000000000;Parent=0000000000000000;Sampled=0",
            "client_context": None,
        }
        writer = FrameWriter(header, event)
        while not writer.write(self._event):
            pass
        answer = self._receive()
        assert answer.header["type"] == "response", answer
        return answer.payload

    def _receive(self) -> Frame:
        while (frame := self._reader.read(self._reply)) is None:
            pass
        return frame

    def close(self) -> None:
        os.close(self._event)
        self.process.wait()


# --- Kafka ---------------------------------------------------------------------------------------------------------


def kafka_event(head: bytes, partition: Any, records: Sequence[Any]) -> bytes:
    """The event of D.1.1 for one partition, from parts that are joined once: a value is copied twice in all."""
    start = b'{"topic":"%b","partition":%d,"offset":' % (partition.topic.encode(), partition.partition)
    parts = [head % (partition.topic.encode(), partition.partition)]
    for record in records:
        parts += (
            b'%b%d,"timestamp":%d,"timestampType":"CREATE_TIME","key":"%b","value":"'
            % (start, record.offset, record.timestamp, b2a_base64(record.key, newline=False)),
            b2a_base64(record.value, newline=False),
            b'","headers":[]}',
            b",",
        )
    parts[-1] = b"]}}"
    return b"".join(parts)


def run_kafka(handler: Handler, *, address: str, topic: str, group: str, batch_size: int) -> None:
    """Read a topic from its beginning. Batches are filled as the product fills them; 0 takes what a poll gives."""
    from kafka import KafkaConsumer, OffsetAndMetadata

    from poller.sources.kafka_event import KafkaSettings

    consumer = KafkaConsumer(
        topic,
        bootstrap_servers=address,
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        max_poll_records=max(500, batch_size),
        fetch_max_wait_ms=int(KafkaSettings([], "", "").fetch_max_wait * 1000),
        metrics_enabled=False,
    )
    head = b'{"eventSource":"SelfManagedKafka","bootstrapServers":"%b","records":{"%%b-%%d":[' % address.encode()
    buffers: dict[Any, list[Any]] = {}
    handled: dict[Any, OffsetAndMetadata] = {}
    last_commit = time.monotonic()
    _say_polling()
    try:
        while True:
            for partition, records in consumer.poll(timeout_ms=1000).items():
                buffer = buffers.setdefault(partition, [])
                buffer += records
                size = batch_size or len(buffer)
                while len(buffer) >= size > 0:
                    batch = buffer[:size]
                    del buffer[:size]
                    handler(kafka_event(head, partition, batch))
                    handled[partition] = OffsetAndMetadata(batch[-1].offset + 1, "", -1)
            if handled and time.monotonic() - last_commit >= COMMIT_INTERVAL:
                consumer.commit(handled)
                handled.clear()
                last_commit = time.monotonic()
    except _Stopped:
        if handled:
            consumer.commit(handled)
    finally:
        consumer.close(autocommit=False)


# --- RabbitMQ ------------------------------------------------------------------------------------------------------


@functools.cache
def _date(timestamp: int) -> bytes:
    moment = datetime.fromtimestamp(timestamp, UTC)
    return f"{moment:%b} {moment.day}, {moment.year}, {moment.hour % 12 or 12}:{moment:%M:%S %p}".encode()


def rabbitmq_event(head: bytes, deliveries: Iterable[tuple[Any, Any, bytes]]) -> bytes:
    """The event of D.2 for messages that have the properties of `tests.bench.load.publish` and no others."""
    parts = [head]
    for method, properties, body in deliveries:
        parts += (
            b'{"basicProperties":{"contentType":"%b","contentEncoding":null,"headers":null,"deliveryMode":%d,'
            b'"priority":null,"correlationId":null,"replyTo":null,"expiration":null,"messageId":"%b","timestamp":"%b",'
            b'"type":null,"userId":null,"appId":null,"clusterId":null,"bodySize":%d},"redelivered":%b,"data":"'
            % (
                properties.content_type.encode(),
                properties.delivery_mode,
                properties.message_id.encode(),
                _date(properties.timestamp),
                len(body),
                b"true" if method.redelivered else b"false",
            ),
            b2a_base64(body, newline=False),
            b'"}',
            b",",
        )
    parts[-1] = b"]}}"
    return b"".join(parts)


def run_rabbitmq(handler: Handler, *, url: str, queue: str, batch_size: int) -> None:
    """Work a queue off with prefetch 200 and one `basic.ack` a batch."""
    import pika

    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    channel.basic_qos(prefetch_count=2 * batch_size)
    arrived: list[tuple[Any, Any, bytes]] = []
    channel.basic_consume(queue, lambda _, method, properties, body: arrived.append((method, properties, body)))
    head = b'{"eventSource":"aws:rmq","eventSourceArn":"bench","rmqMessagesByQueue":{"%b::/":[' % queue.encode()
    _say_polling()
    try:
        while True:
            connection.process_data_events(time_limit=1)
            while len(arrived) >= batch_size:
                batch = arrived[:batch_size]
                del arrived[:batch_size]
                handler(rabbitmq_event(head, batch))
                channel.basic_ack(batch[-1][0].delivery_tag, multiple=True)
    except _Stopped:
        connection.process_data_events(time_limit=0)
    finally:
        connection.close()


# --- the round trip ------------------------------------------------------------------------------------------------


def run_round_trips(handler: Handler, *, payload: bytes, number: int) -> None:
    """Print the nanoseconds of every round trip as a JSON array."""
    times = []
    for _ in range(number):
        began = time.perf_counter_ns()
        handler(payload)
        times.append(time.perf_counter_ns() - began)
    print(json.dumps(times))


# --- the program ---------------------------------------------------------------------------------------------------


class _Stopped(BaseException):
    """SIGTERM arrived."""


def _stop(_number: int, _frame: FrameType | None) -> NoReturn:
    raise _Stopped


def _say_polling() -> None:
    print("polling", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.floor", description=__doc__)
    parser.add_argument("handler")
    loops = parser.add_subparsers(dest="loop", required=True)
    kafka = loops.add_parser("kafka")
    for name in ("address", "topic", "group"):
        kafka.add_argument(f"--{name}", required=True)
    kafka.add_argument("--batch-size", type=int, required=True)
    rabbitmq = loops.add_parser("rabbitmq")
    for name in ("url", "queue"):
        rabbitmq.add_argument(f"--{name}", required=True)
    rabbitmq.add_argument("--batch-size", type=int, required=True)
    round_trips = loops.add_parser("round-trips")
    round_trips.add_argument("--payload", type=str.encode, required=True)
    round_trips.add_argument("--number", type=int, required=True)
    given = vars(parser.parse_args())
    handler = Handler(given.pop("handler"))
    loop = {"kafka": run_kafka, "rabbitmq": run_rabbitmq, "round-trips": run_round_trips}[given.pop("loop")]
    signal.signal(signal.SIGTERM, _stop)
    try:
        loop(handler, **given)
    finally:
        handler.close()


if __name__ == "__main__":
    main()
