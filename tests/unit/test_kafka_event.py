"""The event of a Kafka source is exactly that of D.1.1."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode

import pytest
from aws_lambda_powertools.utilities.data_classes import KafkaEvent
from aws_lambda_powertools.utilities.parser.models import KafkaMskEventModel, KafkaSelfManagedEventModel
from confluent_kafka import TIMESTAMP_CREATE_TIME, TIMESTAMP_LOG_APPEND_TIME, Message
from hypothesis import given
from hypothesis import strategies as st
from kafka.consumer.fetcher import ConsumerRecord

from poller.model import Record
from poller.sources.kafka import KafkaSource
from poller.sources.kafka_event import KafkaSettings, build_event, event_head
from poller.sources.kafka_librdkafka_options import from_messages
from poller.sources.kafka_python_options import from_consumer_records
from poller.sources.kafka_run import record_head
from poller.sources.kafka_security import KafkaSecurity

SELF_MANAGED = KafkaSettings(["b1.example:9092", "b2.example:9092"], topic="orders", group_id="group")
MSK_ARN = "arn:aws:kafka:eu-west-1:123456789012:cluster/orders/0c4e-1"
MSK = KafkaSettings(
    ["b1.example:9092"], topic="orders", group_id="group", event_source="aws:kafka", event_source_arn=MSK_ARN
)


def consumed(
    value: bytes | None = b"value",
    key: bytes | None = None,
    headers: list[tuple[str, bytes | None]] | None = None,
    *,
    topic: str = "orders",
    partition: int = 0,
    offset: int = 15,
    timestamp: int = 1764064800000,
    timestamp_type: int = 0,
) -> ConsumerRecord:
    return ConsumerRecord(
        topic, partition, 0, offset, timestamp, timestamp_type, key, value, headers or [], None, -1, -1, -1
    )


def translated(record: ConsumerRecord) -> Record:
    shard, head = f"{record.topic}-{record.partition}", record_head(record.topic, record.partition)
    (found,) = from_consumer_records([record], shard, head).records()
    return found


def encoded(record: ConsumerRecord) -> dict[str, object]:
    parsed = json.loads(translated(record).encoded)
    assert isinstance(parsed, dict)
    return parsed


def event_of(*records: ConsumerRecord, settings: KafkaSettings = SELF_MANAGED) -> bytes:
    return build_event(event_head(settings), [translated(record) for record in records])


def test_the_event_is_the_one_of_the_specification() -> None:
    # D.1.1, the example
    event = event_of(consumed(b'{"id":1}', b"k1", [("source", b"web"), ("name", "mazë".encode())]))
    assert json.loads(event) == {
        "eventSource": "SelfManagedKafka",
        "bootstrapServers": "b1.example:9092,b2.example:9092",
        "records": {
            "orders-0": [
                {
                    "topic": "orders",
                    "partition": 0,
                    "offset": 15,
                    "timestamp": 1764064800000,
                    "timestampType": "CREATE_TIME",
                    "key": "azE=",
                    "value": "eyJpZCI6MX0=",
                    "headers": [{"source": [119, 101, 98]}, {"name": [109, 97, 122, -61, -85]}],
                }
            ]
        },
    }


def test_only_msk_has_an_event_source_arn() -> None:
    # D.1.1
    event = json.loads(event_of(consumed(), settings=MSK))
    assert event["eventSource"] == "aws:kafka"
    assert event["eventSourceArn"] == MSK_ARN
    assert "eventSourceArn" not in json.loads(event_of(consumed()))


def test_a_null_key_is_missing_and_an_empty_one_is_not() -> None:
    # D.1.1: key missing when null
    assert "key" not in encoded(consumed(key=None))
    assert encoded(consumed(key=b""))["key"] == ""


def test_a_tombstone_has_the_value_null_and_an_empty_value_has_not() -> None:
    # D.1.1: emit one of null and missing knowingly
    assert encoded(consumed(None))["value"] is None
    assert encoded(consumed(b""))["value"] == ""


def test_headers_keep_their_order_and_repeats() -> None:
    # D.1.1
    headers: list[tuple[str, bytes | None]] = [("b", b"1"), ("a", b"2"), ("b", b"3"), ("b", b"1")]
    assert encoded(consumed(headers=headers))["headers"] == [{"b": [49]}, {"a": [50]}, {"b": [51]}, {"b": [49]}]


def test_a_record_without_headers_has_an_empty_list() -> None:
    # D.1.1
    assert encoded(consumed())["headers"] == []


def test_header_bytes_are_signed() -> None:
    # D.1.1: `ë` is [-61, -85]
    assert encoded(consumed(headers=[("h", bytes(range(256)))]))["headers"] == [{"h": [*range(128), *range(-128, 0)]}]


def test_a_header_without_a_value_has_no_bytes() -> None:
    record = translated(consumed(headers=[("h", None)]))
    assert json.loads(record.encoded)["headers"] == [{"h": []}]
    assert record.headers == [("h", b"")]


@pytest.mark.parametrize(("timestamp_type", "name"), [(0, "CREATE_TIME"), (1, "LOG_APPEND_TIME")])
def test_the_timestamp_type_is_spelled_out(timestamp_type: int, name: str) -> None:
    # D.1.1
    assert encoded(consumed(timestamp_type=timestamp_type))["timestampType"] == name


def test_records_are_grouped_by_partition_in_the_order_of_their_offsets() -> None:
    # D.1.1: several partitions may share one event
    event = json.loads(
        event_of(
            consumed(partition=1, offset=7),
            consumed(partition=0, offset=3),
            consumed(partition=1, offset=8),
            consumed(partition=10, offset=0),
        )
    )
    offsets = {shard: [record["offset"] for record in records] for shard, records in event["records"].items()}
    assert offsets == {"orders-1": [7, 8], "orders-0": [3], "orders-10": [0]}


def test_a_record_keeps_what_dead_letters_need() -> None:
    record = translated(consumed(b"v", b"k", [("h", b"1")], partition=3, offset=9))
    assert (record.shard, record.position, record.timestamp) == ("orders-3", 9, 1764064800000)
    assert (record.key, record.value, record.headers) == (b"k", b"v", [("h", b"1")])
    assert record.deliveries == 0


def test_a_record_without_a_time_has_the_timestamp_zero() -> None:
    assert translated(consumed(timestamp=-1)).timestamp == 0


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


consumed_records = st.builds(
    consumed,
    value=st.none() | st.binary(max_size=400),
    key=st.none() | st.binary(max_size=40),
    headers=st.lists(st.tuples(texts, st.none() | st.binary(max_size=40)), max_size=4),
    topic=texts,
    partition=st.integers(0, 2**31 - 1),
    offset=st.integers(0, 2**63 - 1),
    timestamp=st.integers(-1, 2**63 - 1),
)


@given(consumed_records)
def test_both_clients_records_become_the_same(record: ConsumerRecord) -> None:
    message = Message(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        key=record.key,
        value=record.value,
        headers=list(record.headers) or None,
        timestamp=(TIMESTAMP_CREATE_TIME, record.timestamp),
    )
    shard, head = f"{record.topic}-{record.partition}", record_head(record.topic, record.partition)
    (found,) = from_messages([message], shard, head).records()
    assert found == translated(record)


@given(st.lists(consumed_records, min_size=1, max_size=5))
def test_records_that_come_together_are_as_each_by_itself(together: list[ConsumerRecord]) -> None:
    found = from_consumer_records(together, "orders-0", record_head("orders", 0)).records()
    assert found == [
        from_consumer_records([one], "orders-0", record_head("orders", 0)).records()[0] for one in together
    ]


@pytest.mark.parametrize(
    "other",
    [
        consumed(key=None),
        consumed(key=b""),
        consumed(None, key=b"k"),
        consumed(None),
        consumed(key=b"k", headers=[("a", None)]),
        consumed(key=b"k", timestamp=-1),
        consumed(key=b"k", timestamp_type=1),
    ],
)
@pytest.mark.parametrize("usual", [consumed(key=b"k"), consumed()])
def test_one_record_unlike_the_others_changes_nothing_of_them(usual: ConsumerRecord, other: ConsumerRecord) -> None:
    found = from_consumer_records([usual, other, usual], "orders-0", record_head("orders", 0)).records()
    assert found == [translated(usual), translated(other), translated(usual)]


def test_both_clients_number_the_kinds_of_timestamps_in_their_own_way() -> None:
    message = Message(topic="orders", partition=0, offset=1, value=b"v", timestamp=(TIMESTAMP_LOG_APPEND_TIME, 5))
    (found,) = from_messages([message], "orders-0", record_head("orders", 0)).records()
    assert json.loads(found.encoded)["timestampType"] == "LOG_APPEND_TIME"
    assert found == translated(consumed(b"v", offset=1, timestamp=5, timestamp_type=1))


@given(consumed_records)
def test_the_template_gives_what_json_would_give(record: ConsumerRecord) -> None:
    wanted: dict[str, object] = {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp": record.timestamp,
        "timestampType": "CREATE_TIME",
        "value": None if record.value is None else b64encode(record.value).decode(),
        "headers": [{name: list(memoryview(content or b"").cast("b"))} for name, content in record.headers],
    }
    if record.key is not None:
        wanted["key"] = b64encode(record.key).decode()
    assert encoded(record) == wanted
    # And it is as small as it can be, since 6 MB are counted from it (C.4).
    assert len(translated(record).encoded) == len(json.dumps(wanted, separators=(",", ":")))


@given(partitions=st.lists(st.integers(0, 2**31 - 1), unique=True, max_size=5), records=st.integers(1, 3))
def test_the_overhead_is_an_upper_bound_and_tight(partitions: list[int], records: int) -> None:
    # C.4: the event is no larger than the records with a comma each, and the overhead
    source = KafkaSource(SELF_MANAGED)
    taken = [translated(consumed(partition=partition)) for partition in partitions for _ in range(records)]
    event = bytes(source.build_event(taken))
    room = sum(len(record.encoded) + 1 for record in taken) + source.overhead(len(partitions))
    digits = sum(10 - len(str(partition)) for partition in partitions)
    assert len(event) == room - digits - (len(partitions) + bool(partitions))


def test_powertools_read_the_event() -> None:
    event = KafkaEvent(
        json.loads(event_of(consumed(b'{"id":1}', b"k1", [("name", "mazë".encode())]), consumed(None, partition=1)))
    )
    record, tombstone = event.records
    assert event.decoded_bootstrap_servers == ["b1.example:9092", "b2.example:9092"]
    assert (record.decoded_key, record.json_value) == (b"k1", {"id": 1})
    assert record.decoded_headers["name"] == "mazë".encode()
    assert tombstone.value is None
    assert tombstone.decoded_key is None


def test_powertools_models_parse_the_event() -> None:
    records = [consumed(b"plain", b"k1", [("h", b"\xff")]), consumed(b"other", partition=1)]
    own = KafkaSelfManagedEventModel.model_validate_json(event_of(*records))
    assert own.records["orders-0"][0].value == "plain"
    assert own.records["orders-0"][0].headers == [{"h": b"\xff"}]
    assert own.records["orders-1"][0].key is None
    msk = KafkaMskEventModel.model_validate_json(event_of(*records, settings=MSK))
    assert msk.eventSourceArn == MSK_ARN


def test_settings_do_not_show_their_secrets() -> None:
    settings = KafkaSettings(["b:9092"], "t", "g", security=KafkaSecurity("SASL_SSL", password="hush"))
    assert "hush" not in repr(settings)


def test_the_value_is_untouched_base64() -> None:
    content = bytes(range(256)) * 50
    assert b64decode(str(encoded(consumed(content))["value"])) == content


def test_a_record_that_tells_no_time_is_translated_with_minus_one() -> None:
    # Message formats from before Kafka 0.10 have none, and kafka-python says None.
    old = consumed()._replace(timestamp=None, timestamp_type=None)
    record, other = from_consumer_records([old, consumed()], "orders-0", record_head("orders", 0)).records()
    assert json.loads(record.encoded)["timestamp"] == -1
    assert record.timestamp == 0
    assert other.timestamp == 1764064800000
