"""The bare RabbitMQ loop: pika's blocking connection, prefetch of two batches, one `basic.ack` a batch."""

from __future__ import annotations

import functools
import signal
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from pybase64 import b64encode

from tests.bench.bare import Handler, Stopped, say_polling


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
            b64encode(body),
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
    say_polling()
    try:
        while True:
            connection.process_data_events(time_limit=1)
            while len(arrived) >= batch_size:
                batch = arrived[:batch_size]
                del arrived[:batch_size]
                # The bench ends the loop as soon as the handler has noted the last batch, which is to be settled still.
                signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
                handler(rabbitmq_event(head, batch))
                channel.basic_ack(batch[-1][0].delivery_tag, multiple=True)
                signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    except Stopped:
        connection.process_data_events(time_limit=0)
    finally:
        connection.close()
