"""What producers may put into a broker: any of it becomes valid JSON from which the same bytes can be read."""

from __future__ import annotations

import json
import struct
from base64 import b64decode
from datetime import UTC
from decimal import Decimal
from typing import Any, NoReturn

from hypothesis import given
from hypothesis import strategies as st
from kafka.consumer.fetcher import ConsumerRecord
from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from pika.spec import Basic, BasicProperties

from fuzz.odd import no_hang, utf8_text
from fuzz.tally import tried
from poller.model import MAXIMUM_PAYLOAD
from poller.sources import amqp_table, kafka_header_names, kafka_run, rabbitmq_event
from poller.sources.kafka import KafkaSource
from poller.sources.kafka_event import KafkaSettings
from poller.sources.kafka_python_options import from_consumer_records
from poller.sources.rabbitmq import RabbitMQSource
from poller.sources.rabbitmq_event import RabbitMQSettings
from poller.sources.rabbitmq_records import RecordReader

amqp_table.install()
kafka_header_names.install()


def strict(text: bytes) -> Any:
    """JSON as others read it: no NaN, no lone surrogate in the bytes."""

    def refuse(name: str) -> NoReturn:
        raise AssertionError(f"{name} is not JSON")

    return json.loads(text.decode(), parse_constant=refuse)


def signed(content: bytes) -> list[int]:
    return [byte - 256 if byte > 127 else byte for byte in content]


# --- Kafka ---------------------------------------------------------------------------------------------------------

KAFKA = KafkaSource(KafkaSettings(("b:9092",), "t", "g"))

consumed = st.builds(
    ConsumerRecord,
    topic=st.just("t"),
    partition=st.integers(0, 3),
    leader_epoch=st.just(0),
    offset=st.integers(0, 2**63 - 1),
    timestamp=st.integers(-(2**63), 2**63 - 1),
    timestamp_type=st.sampled_from([0, 1]),
    key=st.none() | st.binary(max_size=30),
    value=st.none() | st.binary(max_size=100) | st.just(b"\xff" * 70_000),
    headers=st.lists(st.tuples(utf8_text, st.none() | st.binary(max_size=20)), max_size=5),
    checksum=st.none(),
    serialized_key_size=st.just(0),
    serialized_value_size=st.just(0),
    serialized_header_size=st.just(0),
)


@given(records=st.lists(consumed, min_size=1, max_size=5))
def test_any_kafka_records_make_an_event_that_gives_their_bytes_back(records: list[ConsumerRecord]) -> None:  # D.1.1
    tried("Kafka records", len(records))
    translated = [
        from_consumer_records([one], f"t-{one.partition}", kafka_run.record_head("t", one.partition)).records()[0]
        for one in records
    ]
    event = strict(bytes(KAFKA.build_event(translated)))
    seen = {shard: iter(items) for shard, items in event["records"].items()}
    for record, ours in zip(records, translated, strict=True):
        item = next(seen[f"t-{record.partition}"])
        assert item["offset"] == record.offset
        assert item["timestamp"] == record.timestamp
        assert ours.timestamp >= 0
        assert (b64decode(item["key"]) if "key" in item else None) == record.key
        assert (None if item["value"] is None else b64decode(item["value"])) == record.value
        assert item["headers"] == [{name: signed(content or b"")} for name, content in record.headers]


@given(
    headers=st.lists(st.tuples(st.binary(min_size=1, max_size=12), st.none() | st.binary(max_size=9)), max_size=4),
    key=st.none() | st.binary(max_size=9),
    value=st.none() | st.binary(max_size=40),
    timestamp=st.integers(0, 2**60),
)
def test_header_names_of_any_bytes_can_be_read(
    headers: list[tuple[bytes, bytes | None]], key: bytes | None, value: bytes | None, timestamp: int
) -> None:
    # Kafka's brokers do not look at the names, and not every client makes sure that they are UTF-8.
    tried("Kafka record batches")
    batch = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=0,
        is_transactional=0,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=1 << 20,
    )
    marked = [(f"<{number}>" + "x" * len(name), content) for number, (name, content) in enumerate(headers)]
    assert batch.append(0, timestamp=timestamp, key=key, value=value, headers=marked) is not None
    assert batch.append(1, timestamp=timestamp, key=key, value=value, headers=[]) is not None
    wire = bytes(batch.build())
    for number, (name, _) in enumerate(headers):
        mark = f"<{number}>".encode()
        wire = wire.replace(mark + b"x" * len(name), mark + name)
    first, second = DefaultRecordBatch(wire)
    assert (first.key, first.value, first.timestamp) == (key, value, timestamp)
    assert [content for _, content in first.headers] == [content for _, content in headers]
    assert [name for name, _ in first.headers] == [
        f"<{number}>" + name.decode(errors="replace") for number, (name, _) in enumerate(headers)
    ]
    assert (second.key, second.value, second.headers) == (key, value, [])


# --- RabbitMQ ------------------------------------------------------------------------------------------------------

RABBITMQ = RabbitMQSource(RabbitMQSettings("q", "arn:aws:mq:us-east-1:123456789012:broker:b:b-1"))


def short(content: bytes) -> bytes:
    return bytes([len(content)]) + content


def long(content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + content


def number(kind: bytes, form: str, values: st.SearchStrategy[Any]) -> st.SearchStrategy[bytes]:
    return values.map(lambda value: kind + struct.pack(f">{form}", value))


floats32, floats64 = st.floats(width=32), st.floats()
wire_scalars = st.one_of(
    number(b"t", "B", st.integers(0, 255)),
    number(b"b", "b", st.integers(-128, 127)),
    number(b"B", "B", st.integers(0, 255)),
    number(b"s", "h", st.integers(-(2**15), 2**15 - 1)),
    number(b"u", "H", st.integers(0, 2**16 - 1)),
    number(b"I", "i", st.integers(-(2**31), 2**31 - 1)),
    number(b"i", "I", st.integers(0, 2**32 - 1)),
    number(b"l", "q", st.integers(-(2**63), 2**63 - 1)),
    number(b"L", "q", st.integers(-(2**63), 2**63 - 1)),
    number(b"f", "f", floats32),
    number(b"d", "d", floats64),
    number(b"T", "Q", st.sampled_from([0, 1_764_064_800, 1_764_064_800_000, 2**64 - 1]) | st.integers(0, 2**64 - 1)),
    st.builds(
        lambda scale, digits: b"D" + struct.pack(">Bi", scale, digits),
        st.integers(0, 255),
        st.integers(-(2**31), 2**31 - 1),
    ),
    st.binary(max_size=9).map(lambda content: b"S" + long(content)),
    st.binary(max_size=9).map(lambda content: b"x" + long(content)),
    st.just(b"V"),
)
short_names = st.binary(max_size=8)


def table(members: list[tuple[bytes, bytes]]) -> bytes:
    return b"F" + long(b"".join(short(name) + value for name, value in members))


wire_values = st.recursive(
    wire_scalars,
    lambda below: (
        st.lists(st.tuples(short_names, below), max_size=4).map(table)
        | st.lists(below, max_size=4).map(lambda items: b"A" + long(b"".join(items)))
    ),
    max_leaves=10,
)


def deep(depth: int, *, arrays: bool) -> bytes:
    value = b"V"
    for _ in range(depth):
        value = b"A" + long(value) if arrays else table([(b"a", value)])
    return value


deep_values = st.builds(
    lambda depth, arrays: deep(depth, arrays=arrays),
    st.sampled_from([50, 64, 65, 200, 400, 900, 5000]),
    arrays=st.booleans(),
)


def on_the_wire(headers: bytes) -> bytes:
    """Properties with nothing else."""
    return struct.pack(">H", BasicProperties.FLAG_HEADERS) + headers[1:]


@given(
    members=st.lists(st.tuples(short_names, wire_values | deep_values), max_size=5),
    body=st.binary(max_size=60),
    redelivered=st.booleans(),
)
def test_any_headers_on_the_wire_make_an_event_with_the_same_body(
    members: list[tuple[bytes, bytes]], body: bytes, redelivered: bool
) -> None:  # D.2
    tried("AMQP messages")
    with no_hang():
        properties = BasicProperties().decode(on_the_wire(table(members)))
        method = Basic.Deliver("c", 1, redelivered=redelivered, exchange="", routing_key="q")
        record = rabbitmq_event.to_record(method, properties, body, shard="q::/", position=1, generation=1)
        event = strict(RABBITMQ.build_event([record]))
        delivery = (1, redelivered, on_the_wire(table(members)), body)
        read = RecordReader("q::/").to_records([delivery, delivery], position=1, generation=1)
    assert [one.encoded for one in read] == [record.encoded] * 2
    [message] = event["rmqMessagesByQueue"]["q::/"]
    assert b64decode(message["data"]) == body
    assert set(message["basicProperties"]["headers"]) == {name.decode(errors="replace") for name, _ in members}


python_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | utf8_text
    | st.binary(max_size=9)
    | st.decimals()
    | st.datetimes(timezones=st.sampled_from([None, UTC]))
    | st.just(Decimal("1e-255")),
    lambda below: (
        st.lists(below, max_size=3)
        | st.tuples(below)
        | st.dictionaries(utf8_text | st.binary(max_size=5), below, max_size=3)
    ),
    max_leaves=8,
)


@given(value=python_values)
def test_any_value_that_a_client_may_decode_a_header_to_has_its_json(value: Any) -> None:
    tried("AMQP header values")
    strict(json.dumps(rabbitmq_event.encode_header(value)).encode())


odd_properties = st.builds(
    BasicProperties,
    **{
        name: st.none() | utf8_text | st.binary(max_size=9)
        for name in (
            "content_type",
            "content_encoding",
            "correlation_id",
            "reply_to",
            "expiration",
            "message_id",
            "type",
            "user_id",
            "app_id",
            "cluster_id",
        )
    },
    headers=st.none() | st.dictionaries(utf8_text, python_values, max_size=3),
    delivery_mode=st.none() | st.integers(0, 255),
    priority=st.none() | st.integers(0, 255),
    timestamp=st.none() | st.integers(0, 2**64 - 1),
)


@given(properties=odd_properties, count=st.none() | st.integers(-(2**63), 2**63 - 1) | utf8_text | st.booleans())
def test_any_properties_make_a_record(properties: BasicProperties, count: Any) -> None:
    tried("AMQP properties")
    if count is not None:
        properties.headers = {**(properties.headers or {}), "x-delivery-count": count}
    method = Basic.Deliver("c", 1, redelivered=True, exchange="", routing_key="q")
    record = rabbitmq_event.to_record(method, properties, b"", shard="q::/", position=1, generation=1)
    assert record.deliveries >= 0
    assert len(strict(record.encoded)["basicProperties"]) == 15
    assert len(record.encoded) < MAXIMUM_PAYLOAD
