"""Dead letters read again: what the program writes, and what Kafka Connect, Spring Kafka and RabbitMQ write."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pika.spec import Basic, BasicProperties

from poller.dead_letters import amqp_headers
from poller.dead_letters.filters import Filter, age, due, moment, next_batch
from poller.dead_letters.letter import KafkaOriginal, KafkaPlace, Letter, RabbitMQOriginal, Verbatim
from poller.dead_letters.reading import LEFT_OUT, UNKNOWN, letter_of_line, letter_of_message, letter_of_record
from poller.model import DeadLetter, Discard, InvocationResult, Record
from poller.policy.error_headers import ErrorHeaders, KafkaOrigin, RabbitMQOrigin
from poller.policy.invocation_records import RecordContext, dead_letters
from poller.sources import kafka_event, rabbitmq_event
from poller.sources.kafka_run import record_head, to_run

NOW = 1_764_064_800.5  # 2025-11-25T10:00:00.5Z
FUNCTION_ARN = "arn:aws:lambda:us-east-1:123456789012:function:orders"
FAILED = InvocationResult(
    "request-1", b'{"errorMessage":"no price","errorType":"ValueError"}', function_error="Unhandled"
)
KAFKA = kafka_event.KafkaSettings(bootstrap_servers=["b1:9092", "b2:9092"], topic="orders", group_id="")
RABBITMQ = rabbitmq_event.RabbitMQSettings(queue="tasks", event_source_arn="arn:aws:mq:us-east-1:1:broker:b:1")
Headers = Sequence[tuple[str, bytes]]

HEADER_LISTS = st.lists(st.tuples(st.text(max_size=5), st.binary(max_size=8)), max_size=4)
CONTENTS = st.none() | st.binary(max_size=20)


def record(
    offset: int = 49, *, key: bytes | None = b"k", value: bytes | None = b"v", headers: Headers = (), partition: int = 3
) -> Record:
    (made,) = to_run(
        f"orders-{partition}",
        record_head("orders", partition),
        [offset],
        [(0, 1_764_064_741_304)],
        [key],
        [value],
        [list(headers)],
    ).records()
    return made


def message(body: bytes = b"{}", **properties: Any) -> Record:
    deliver = Basic.Deliver("c", 1, redelivered=False, exchange="", routing_key="tasks")
    made = BasicProperties(**properties)
    return rabbitmq_event.to_record(deliver, made, body, shard=RABBITMQ.shard, position=1, generation=0)


def letters_about(
    *records: Record, each_record: bool = True, error_headers: ErrorHeaders = "connect", **changes: Any
) -> list[DeadLetter]:
    is_message = records[0].shard == RABBITMQ.shard
    head = rabbitmq_event.event_head(RABBITMQ) if is_message else kafka_event.event_head(KAFKA)
    build = rabbitmq_event.build_event if is_message else kafka_event.build_event
    context = RecordContext(
        function_name="orders",
        function_arn=FUNCTION_ARN,
        mapping_uuid="0d0e",
        event_source_arn=None,
        origin=RabbitMQOrigin("tasks", "/") if is_message else KafkaOrigin(KAFKA.addresses, "group"),
        build_event=lambda some: build(head, some),
        error_headers=error_headers,
    )
    fields: dict[str, Any] = {"condition": "RetryAttemptsExhausted", "attempts": 3, "result": FAILED, **changes}
    return dead_letters(Discard(records, **fields), context, now=NOW, each_record=each_record)


def read(letter: DeadLetter, *, whole: bool = True) -> Letter:
    """As it comes from a topic."""
    body = letter.body if whole else letter.without_payload
    return letter_of_record("0:1", key=letter.key, value=body, headers=letter.headers, timestamp=0)


# --- our own, about Kafka records (D.1.4) -----------------------------------------------------------------------------


@given(CONTENTS, CONTENTS, HEADER_LISTS, st.sampled_from(["connect", "spring", "none"]))
@example(b"\x00\xff", b"", [("a", b"1"), ("a", b"\x80"), ("", b"")], "connect")
@example(None, None, [("__connect.errors.topic", b"elsewhere")], "none")
@example(b"k", b"v", [("kafka_dlt-original-topic", b"elsewhere")], "spring")
def test_a_letter_in_a_topic_gives_back_the_record_byte_for_byte(
    key: bytes | None, value: bytes | None, headers: Headers, error_headers: ErrorHeaders
) -> None:
    (letter,) = letters_about(record(key=key, value=value, headers=headers), error_headers=error_headers)
    found = read(letter)
    assert found.originals == (KafkaOriginal(KafkaPlace("orders", 3, 49), key, value, tuple(headers)),)
    assert (found.problem, found.key, found.origin) == ("", key, "orders-3 49")


@given(st.lists(st.tuples(CONTENTS, CONTENTS, HEADER_LISTS, st.integers(0, 2)), min_size=1, max_size=5))
def test_a_letter_about_a_batch_gives_back_every_record(
    contents: list[tuple[bytes | None, bytes | None, Headers, int]],
) -> None:
    records = [
        record(offset, key=key, value=value, headers=headers, partition=partition)
        for offset, (key, value, headers, partition) in enumerate(contents)
    ]
    (letter,) = letters_about(*records, each_record=False)
    for found in (
        letter_of_line("1", letter.body),
        letter_of_message("1", body=letter.body, properties={"headers": dict(letter.headers)}),
    ):
        assert {(each.place.offset, each.key, each.value, each.headers) for each in found.originals} == {
            (item.position, item.key, item.value, tuple(item.headers)) for item in records
        }
        assert (found.problem, found.size) == ("", len(records))


@pytest.mark.parametrize("kind", ["connect", "spring"])
def test_a_letter_tells_error_attempts_time_function_and_cluster(kind: ErrorHeaders) -> None:
    found = read(letters_about(record(), error_headers=kind)[0])
    assert (found.condition, found.error_type, found.error_message) == (
        "RetryAttemptsExhausted",
        "ValueError",
        "no price",
    )
    assert (found.attempts, found.time, found.function, found.request_id) == (3, NOW, "orders", "request-1")
    assert found.bootstrap_servers == "b1:9092,b2:9092"


@pytest.mark.parametrize(
    ("changes", "told"),
    [({}, "Unhandled"), ({"result": None, "condition": "RecordAgeExceeded"}, "RecordAgeExceeded")],
)
def test_without_error_headers_the_type_is_what_the_body_says(changes: dict[str, Any], told: str) -> None:
    assert read(letters_about(record(), error_headers="none", **changes)[0]).error_type == told


@pytest.mark.parametrize("kind", ["connect", "spring"])
def test_without_its_payload_a_letter_still_names_its_record(kind: ErrorHeaders) -> None:
    found = read(letters_about(record(), error_headers=kind)[0], whole=False)
    assert (found.originals, found.missing) == ((), (KafkaPlace("orders", 3, 49),))
    assert (found.origin, found.key, found.problem, found.size) == ("orders-3 49", b"k", LEFT_OUT, 1)


def test_without_payload_and_headers_nothing_tells_the_topic() -> None:
    found = read(letters_about(record(), error_headers="none")[0], whole=False)
    assert (found.missing, found.origin) == ((), "")
    assert found.problem.startswith(LEFT_OUT)


@pytest.mark.parametrize(("offsets", "count"), [((5, 6, 7), 3), ((5, 7), 0)])
def test_a_batch_without_its_payload_names_its_records_when_no_offset_is_left_out(
    offsets: Sequence[int], count: int
) -> None:
    (letter,) = letters_about(*(record(offset) for offset in offsets), each_record=False)
    assert letter.without_payload is not None
    found = letter_of_line("1", letter.without_payload)
    assert len(found.missing) == count
    assert found.problem


# --- our own, about RabbitMQ messages (D.2) ---------------------------------------------------------------------------

HEADER_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.binary(max_size=20),
    st.dictionaries(st.text("xyz-", max_size=5), HEADER_VALUES, max_size=4),
    st.integers(0, 253_402_300_799),
)
def test_a_letter_about_a_message_gives_back_body_properties_and_headers(
    body: bytes, headers: dict[str, Any], timestamp: int
) -> None:
    properties = {
        "content_type": "text/plain",
        "delivery_mode": 2,
        "priority": 0,
        "correlation_id": "c-1",
        "expiration": "60000",
        "message_id": "m-1",
        "timestamp": timestamp,
        "headers": headers,
    }
    (letter,) = letters_about(message(body, **properties))
    found = read(letter)
    assert found.originals == (RabbitMQOriginal("tasks", "/", body, properties),)
    assert (found.origin, found.key, found.problem) == ("queue tasks", b"m-1", "")


def test_a_header_that_is_no_text_comes_back_as_bytes() -> None:
    (letter,) = letters_about(message(headers={"raw": b"\xff\x00", "count": 7}))
    (original,) = read(letter).originals
    assert isinstance(original, RabbitMQOriginal)
    assert original.properties["headers"] == {"raw": b"\xff\x00", "count": 7}


def test_what_the_broker_added_on_the_way_does_not_come_back() -> None:
    (letter,) = letters_about(message(user_id="guest", headers={"x-delivery-count": 3, "trace": 1}))
    (original,) = read(letter).originals
    assert isinstance(original, RabbitMQOriginal)
    assert original.properties == {"headers": {"trace": 1}}


def test_a_message_without_its_payload_is_lost() -> None:
    found = read(letters_about(message(message_id="m-1"))[0], whole=False)
    assert (found.missing, found.origin) == ((), "queue tasks")
    assert "nowhere else" in found.problem


# --- others' ----------------------------------------------------------------------------------------------------------


def test_a_letter_of_kafka_connect_is_the_record_without_its_error_headers() -> None:  # F.1
    headers = [
        ("trace", b"1"),
        ("__connect.errors.topic", b"orders"),
        ("__connect.errors.partition", b"2"),
        ("__connect.errors.offset", b"7"),
        ("__connect.errors.exception.class.name", b"org.apache.kafka.connect.errors.DataException"),
    ]
    found = letter_of_record("0:1", key=b"k", value=b"not json", headers=headers, timestamp=1_764_064_800_000)
    assert found.originals == (KafkaOriginal(KafkaPlace("orders", 2, 7), b"k", b"not json", (("trace", b"1"),)),)
    assert (found.error_type, found.time) == ("org.apache.kafka.connect.errors.DataException", 1_764_064_800.0)


def test_a_letter_of_spring_kafka_has_its_numbers_in_big_endian_bytes() -> None:  # F.2
    headers = [
        ("kafka_dlt-original-topic", b"orders"),
        ("kafka_dlt-original-partition", (2).to_bytes(4, "big")),
        ("kafka_dlt-original-offset", (2**33).to_bytes(8, "big")),
        ("kafka_dlt-exception-fqcn", b"org.springframework.kafka.listener.ListenerExecutionFailedException"),
        ("kafka_dlt-exception-cause-fqcn", b"java.lang.IllegalStateException"),
        ("kafka_dlt-exception-message", b"no price"),
    ]
    found = letter_of_record("0:1", key=None, value=None, headers=headers, timestamp=-1)
    assert found.originals == (KafkaOriginal(KafkaPlace("orders", 2, 2**33), None, None),)
    assert (found.error_type, found.error_message) == ("java.lang.IllegalStateException", "no price")


DEATH = {"queue": "tasks", "reason": "rejected", "exchange": "", "count": 2, "routing-keys": ["tasks"]}


def test_a_message_of_a_dead_letter_exchange_is_itself_without_the_broker_s_headers() -> None:  # F.3
    properties = {
        "message_id": "m-1",
        "user_id": "guest",
        "delivery_mode": 2,
        "headers": {
            "trace": "1",
            "x-death": [{**DEATH, "time": datetime(2025, 11, 25, 10)}],  # noqa: DTZ001 - as pika gives it
            "x-first-death-queue": "tasks",
            "x-first-death-reason": "rejected",
            "x-first-death-exchange": "",
            "x-last-death-queue": "tasks",
            "x-delivery-count": 3,
        },
    }
    found = letter_of_message("1", body=b"{}", properties=properties)
    kept = {"message_id": "m-1", "delivery_mode": 2, "headers": {"trace": "1"}}
    assert found.originals == (RabbitMQOriginal("tasks", None, b"{}", kept),)
    assert (found.origin, found.condition, found.error_type) == ("queue tasks", "rejected", "rejected")
    assert (found.attempts, found.key, found.time) == (2, b"m-1", 1_764_064_800.0)


def test_a_value_that_pika_would_write_differently_is_kept_in_its_bytes() -> None:
    byte, fraction = b"b\x07", b"d" + struct.pack(">d", 2.5)
    table = b"\x01a" + fraction
    for content, value in ((byte, 7), (fraction, 2), (b"F" + struct.pack(">I", len(table)) + table, {"a": 2})):
        assert amqp_headers.decode(b"?" + content, 1) == (Verbatim(value, content), 1 + len(content))
        pieces: list[bytes] = []
        assert amqp_headers.encode(pieces, Verbatim(value, content)) == len(content)
        assert pieces == [content]
    assert amqp_headers.decode(b"S\x00\x00\x00\x01a", 0) == ("a", 6)


def test_what_the_broker_says_is_read_whatever_its_type() -> None:
    headers = {"x-death": Verbatim([DEATH], b"A"), "x-first-death-queue": "tasks", "n": Verbatim(7, b"l"), b"\xff": 1}
    found = letter_of_message("1", body=b"", properties={"headers": headers})
    kept = {"headers": {"n": Verbatim(7, b"l"), b"\xff": 1}}
    assert found.originals == (RabbitMQOriginal("tasks", None, b"", kept),)
    assert found.attempts == 2


def test_the_first_queue_a_message_died_in_is_its_origin_and_its_time_to_live_comes_back() -> None:  # F.3
    deaths = [
        {"queue": "parked", "reason": "maxlen", "count": 1},
        {"queue": "tasks", "reason": "expired", "count": 4, "original-expiration": "5000"},
    ]
    found = letter_of_message("1", body=b"", properties={"headers": {"x-death": deaths}})
    assert found.originals == (RabbitMQOriginal("tasks", None, b"", {"expiration": "5000"}),)
    assert (found.condition, found.attempts) == ("expired", 4)


# --- what is no dead letter -------------------------------------------------------------------------------------------

STRANGE = [
    None,
    b"",
    b"\xff\xfe",
    b"[]",
    b"{}",
    b'{"requestContext":{}}',
    b'{"requestContext":{},"KafkaBatchInfo":{}}',
    b'{"requestContext":{},"KafkaBatchInfo":{"recordsInfo":[]}}',
    b'{"requestContext":{},"KafkaBatchInfo":{},"payload":"{"}',
    b'{"requestContext":{},"KafkaBatchInfo":{},"payload":{"records":{"a-0":[{"topic":1}]}}}',
    b'{"requestContext":{},"KafkaBatchInfo":{},"payload":{"records":{}}}',
    b'{"requestContext":{},"RabbitMQBatchInfo":{}}',
    b'{"requestContext":{"condition":7,"requestId":[]},"timestamp":5,"KafkaBatchInfo":{},"payload":' + b"[" * 5000,
]


@pytest.mark.parametrize("body", STRANGE)
def test_what_is_no_dead_letter_is_told_and_cannot_be_redriven(body: bytes | None) -> None:
    for found in (
        letter_of_record("0:1", key=b"k", value=body, headers=[("trace", b"1")], timestamp=0),
        letter_of_message("1", body=body or b"", properties={}),
        letter_of_line("1", body or b""),
    ):
        assert found.problem
        assert (found.originals, found.missing) == ((), ())


@pytest.mark.parametrize(
    "headers",
    [
        [("__connect.errors.topic", b"orders")],
        [("__connect.errors.topic", b"\xff"), ("__connect.errors.partition", b"x"), ("__connect.errors.offset", b"")],
        [("kafka_dlt-original-topic", b"orders"), ("kafka_dlt-original-partition", b"1")],
    ],
)
def test_headers_that_name_no_place_are_no_origin(headers: Headers) -> None:
    found = letter_of_record("0:1", key=None, value=b"v", headers=headers, timestamp=0)
    assert (found.problem, found.originals) == (UNKNOWN, ())


@pytest.mark.parametrize("death", [7, "x", [7], [{}], [{"queue": "q"}], [{**DEATH, "count": "x"}], {"queue": "q"}])
def test_a_strange_x_death_is_no_origin(death: Any) -> None:
    assert letter_of_message("1", body=b"{}", properties={"headers": {"x-death": death}}).problem == UNKNOWN


@given(st.recursive(st.none() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)))
def test_no_json_in_an_on_failure_record_raises(payload: Any) -> None:
    for info in ("KafkaBatchInfo", "RabbitMQBatchInfo"):
        for content in (
            payload,
            {"records": payload},
            {"rmqMessagesByQueue": payload},
            {"records": {"a-0": [payload]}},
        ):
            body = {"requestContext": {"approximateInvokeCount": payload}, info: {"recordInfo": payload}}
            letter_of_line("1", json.dumps({**body, "payload": content}).encode())


# --- filters and pace -------------------------------------------------------------------------------------------------


def letter(**changes: Any) -> Letter:
    fields: dict[str, Any] = {"id": "0:1", "error_type": "ValueError", "error_message": "no price", "time": 1000.0}
    return Letter(**{**fields, **changes})


@pytest.mark.parametrize(
    ("wanted", "matches"),
    [
        (Filter(), True),
        (Filter(error="valueerror"), True),
        (Filter(error="price"), True),
        (Filter(error="Timeout"), False),
        (Filter(since=1000.0, until=1000.1), True),
        (Filter(since=1000.1), False),
        (Filter(until=1000.0), False),
        (Filter(key=b"k"), True),
        (Filter(key=b"K"), False),
        (Filter(key=b"other"), False),
    ],
)
def test_a_filter_wants_all_that_it_says(wanted: Filter, matches: bool) -> None:
    assert wanted.matches(letter(key=b"k")) is matches


def test_a_key_is_also_found_inside_a_batch() -> None:
    originals = tuple(KafkaOriginal(KafkaPlace("t", 0, offset), b"k-%d" % offset, b"") for offset in range(3))
    assert Filter(key=b"k-1").matches(letter(originals=originals))


def test_a_letter_without_a_time_is_in_no_span_of_time() -> None:
    assert not Filter(since=0.0).matches(letter(time=None))
    assert not Filter(until=9e9).matches(letter(time=None))


def test_moments_are_times_or_ages() -> None:
    assert moment("2h", 10_000.0) == 2_800.0
    assert moment("2025-11-25T10:00:00+00:00", 0.0) == datetime(2025, 11, 25, 10, tzinfo=UTC).timestamp()
    for wrong in ("yesterday", "-1h", "1w", "٣h", ""):
        with pytest.raises(ValueError, match="neither a time"):
            moment(wrong, 0.0)


@pytest.mark.parametrize(
    ("seconds", "text"), [(-5, "0s"), (59.9, "59s"), (60, "1m"), (7200, "2h"), (86_400 * 8.5, "8d")]
)
def test_ages_are_told_in_the_largest_unit_that_fits(seconds: float, text: str) -> None:
    assert age(seconds) == text


def test_the_pace_is_that_many_a_second() -> None:
    assert [due(sent, 10.0) for sent in (0, 10, 25)] == [0.0, 1.0, 2.5]
    assert due(1000, None) == 0.0
    assert [next_batch(rate, 100) for rate in (None, 0.5, 20.0, 1e6)] == [100, 1, 20, 100]
