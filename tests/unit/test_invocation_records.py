"""On-failure records (D.1.4) and the headers beside them (F.1)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poller.model import Discard, InvocationResult, Record
from poller.policy.error_headers import (
    MAXIMUM_HEADER_LENGTH,
    MAXIMUM_STACK_TRACE_LENGTH,
    KafkaOrigin,
    RabbitMQOrigin,
)
from poller.policy.invocation_records import RecordContext, dead_letters, timestamp

NOW = 1_764_064_800.0  # 2025-11-25T10:00:00Z
FUNCTION_ARN = "arn:aws:lambda:us-east-1:123456789012:function:telemetry"
RAISED = InvocationResult(
    "request-1",
    b'{"errorMessage":"too hot","errorType":"ValueError","stackTrace":["  File a, line 1\\n    f()\\n","  File b, line 2\\n"]}',
    function_error="Unhandled",
)


STACK_TRACE = "ValueError: too hot\n  File a, line 1\n    f()\n  File b, line 2"


def kafka_record(offset: int, *, shard: str = "orders-0", **changes: Any) -> Record:
    topic, _, partition = shard.rpartition("-")
    encoded = json.dumps({"topic": topic, "partition": int(partition), "offset": offset, "value": "djE="}).encode()
    fields = {"timestamp": 1_764_064_741_304 + offset, "key": b"k", "value": b"v1", "headers": (), "encoded": encoded}
    return Record(shard=shard, position=offset, **{**fields, **changes})


def kafka_event(records: Sequence[Record]) -> bytes:
    shards: dict[str, list[bytes]] = {}
    for record in records:
        shards.setdefault(record.shard, []).append(record.encoded)
    parts = (json.dumps(shard).encode() + b":[" + b",".join(found) + b"]" for shard, found in shards.items())
    return b'{"eventSource":"aws:kafka","records":{' + b",".join(parts) + b"}}"


def kafka_context(**changes: Any) -> RecordContext:
    fields: dict[str, Any] = {
        "function_name": "telemetry",
        "function_arn": FUNCTION_ARN,
        "mapping_uuid": "0d0e",
        "event_source_arn": "arn:aws:kafka:us-east-1:123456789012:cluster/c/1",
        "origin": KafkaOrigin("b1:9092,b2:9092", "the group"),
        "build_event": kafka_event,
    }
    return RecordContext(**{**fields, **changes})


def rabbitmq_context(**changes: Any) -> RecordContext:
    def build(records: Sequence[Record]) -> bytes:
        return b'{"rmqMessagesByQueue":{"tasks::/":[' + b",".join(record.encoded for record in records) + b"]}}"

    arn = "arn:aws:mq:us-east-1:123456789012:broker:tasks:b-1"
    return kafka_context(
        origin=RabbitMQOrigin("tasks", "/"), build_event=build, event_source_arn=arn, function_name="tasks", **changes
    )


def discard(*records: Record, result: InvocationResult | None = RAISED, **changes: Any) -> Discard:
    fields: dict[str, Any] = {"condition": "RetryAttemptsExhausted", "attempts": 2}
    return Discard(records or (kafka_record(49),), result=result, **{**fields, **changes})


def headers_of(decision: Discard, context: RecordContext | None = None, *, each_record: bool = True) -> dict[str, str]:
    (letter,) = dead_letters(decision, context or kafka_context(), now=NOW, each_record=each_record)
    return {name: value.decode() for name, value in letter.headers}


# --- D.1.4: the shape for a Kafka topic ------------------------------------------------------------------------------


def test_a_kafka_topic_gets_one_letter_per_failed_record_with_its_own_key() -> None:
    decision = discard(kafka_record(49, key=b"device-1"), kafka_record(50, key=None))
    letters = dead_letters(decision, kafka_context(), now=NOW, each_record=True)
    assert [letter.key for letter in letters] == [b"device-1", None]
    offsets = [json.loads(letter.body)["KafkaBatchInfo"]["recordInfo"]["offset"] for letter in letters]
    assert offsets == ["49", "50"]


def test_the_letter_for_a_kafka_topic_has_the_record_info_and_the_event_as_an_object() -> None:
    record = kafka_record(49)
    (letter,) = dead_letters(discard(record), kafka_context(), now=NOW, each_record=True)
    assert json.loads(letter.body) == {
        "requestContext": {
            "requestId": "request-1",
            "functionArn": f"{FUNCTION_ARN}:$LATEST",
            "condition": "RetryAttemptsExhausted",
            "approximateInvokeCount": 2,
        },
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
        "version": "1.0",
        "timestamp": "2025-11-25T10:00:00.000Z",
        "KafkaBatchInfo": {
            "batchSize": 1,
            "eventSourceArn": "arn:aws:kafka:us-east-1:123456789012:cluster/c/1",
            "bootstrapServers": "b1:9092,b2:9092",
            "payloadSize": len(kafka_event([record])),
            "recordInfo": {"offset": "49", "timestamp": "2025-11-25T09:59:01.353Z"},
        },
        "payload": json.loads(kafka_event([record])),
    }
    assert record.encoded in letter.body  # as it stood in the event, byte for byte


def test_a_self_managed_cluster_has_no_arn() -> None:
    (letter,) = dead_letters(discard(), kafka_context(event_source_arn=None), now=NOW, each_record=True)
    assert json.loads(letter.body)["KafkaBatchInfo"]["eventSourceArn"] is None


# --- D.1.4: the shape for SQS, SNS and S3 ----------------------------------------------------------------------------


@pytest.mark.statement(38)
def test_other_destinations_get_one_letter_per_batch_with_first_and_last_record_of_each_shard() -> None:
    """D.1.4, G 38."""
    records = [kafka_record(49), kafka_record(50), kafka_record(7, shard="orders-1"), kafka_record(51)]
    (letter,) = dead_letters(discard(*records), kafka_context(), now=NOW, each_record=False)
    body = json.loads(letter.body)
    assert body["requestContext"]["functionArn"] == FUNCTION_ARN
    assert body["requestContext"]["condition"] == "RetryAttemptsExhausted"
    assert body["KafkaBatchInfo"]["batchSize"] == 4
    assert body["KafkaBatchInfo"]["recordsInfo"] == {
        "orders-0": {
            "firstRecordOffset": "49",
            "lastRecordOffset": "51",
            "firstRecordTimestamp": "2025-11-25T09:59:01.353Z",
            "lastRecordTimestamp": "2025-11-25T09:59:01.355Z",
        },
        "orders-1": {
            "firstRecordOffset": "7",
            "lastRecordOffset": "7",
            "firstRecordTimestamp": "2025-11-25T09:59:01.311Z",
            "lastRecordTimestamp": "2025-11-25T09:59:01.311Z",
        },
    }
    assert letter.key is None


def test_the_letter_of_a_batch_is_the_record_of_the_specification_and_nothing_else() -> None:
    """D.1.4, first shape; AWS has the payload in S3 only, the rest is the same for SQS, SNS and S3."""
    records = [kafka_record(49), kafka_record(50)]
    (letter,) = dead_letters(discard(*records), kafka_context(), now=NOW, each_record=False)
    event = kafka_event(records)
    assert json.loads(letter.body) == {
        "requestContext": {
            "requestId": "request-1",
            "functionArn": FUNCTION_ARN,
            "condition": "RetryAttemptsExhausted",
            "approximateInvokeCount": 2,
        },
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
        "version": "1.0",
        "timestamp": "2025-11-25T10:00:00.000Z",
        "KafkaBatchInfo": {
            "batchSize": 2,
            "eventSourceArn": "arn:aws:kafka:us-east-1:123456789012:cluster/c/1",
            "bootstrapServers": "b1:9092,b2:9092",
            "payloadSize": len(event),
            "recordsInfo": {
                "orders-0": {
                    "firstRecordOffset": "49",
                    "lastRecordOffset": "50",
                    "firstRecordTimestamp": "2025-11-25T09:59:01.353Z",
                    "lastRecordTimestamp": "2025-11-25T09:59:01.354Z",
                }
            },
        },
        "payload": event.decode(),
    }


def test_the_payload_of_a_batch_is_the_whole_event_as_escaped_text() -> None:
    records = [kafka_record(49), kafka_record(50)]
    (letter,) = dead_letters(discard(*records), kafka_context(), now=NOW, each_record=False)
    body = json.loads(letter.body)
    assert body["payload"] == kafka_event(records).decode()
    assert body["KafkaBatchInfo"]["payloadSize"] == len(kafka_event(records))


# --- The shape for RabbitMQ, an extension ---------------------------------------------------------------------------


@pytest.mark.parametrize("each_record", [True, False])
def test_every_rabbitmq_message_gets_a_letter_of_its_own(each_record: bool) -> None:
    messages = [
        Record("tasks::/", 1, 0, None, b"x", (), b'{"data":"eA=="}', message_id="m-1"),
        Record("tasks::/", 2, 0, None, b"y", (), b'{"data":"eQ=="}'),
    ]
    letters = dead_letters(discard(*messages), rabbitmq_context(), now=NOW, each_record=each_record)
    bodies = [json.loads(letter.body) for letter in letters]
    assert bodies[0]["RabbitMQBatchInfo"] == {
        "batchSize": 1,
        "eventSourceArn": "arn:aws:mq:us-east-1:123456789012:broker:tasks:b-1",
        "queue": "tasks",
        "virtualHost": "/",
        "payloadSize": 53,
        "recordInfo": {"messageId": "m-1"},
    }
    assert bodies[0]["payload"] == {"rmqMessagesByQueue": {"tasks::/": [{"data": "eA=="}]}}
    assert bodies[1]["payload"] == {"rmqMessagesByQueue": {"tasks::/": [{"data": "eQ=="}]}}
    assert bodies[1]["RabbitMQBatchInfo"]["recordInfo"] == {"messageId": None}


def test_the_headers_of_a_rabbitmq_message_name_its_queue() -> None:
    message = Record("tasks::/", 1, 0, None, b"x", (), b"{}")
    headers = headers_of(discard(message), rabbitmq_context())
    assert headers["poller.errors.queue"] == "tasks"
    assert headers["poller.errors.virtual-host"] == "/"
    assert headers["__connect.errors.connector.name"] == "tasks"
    assert "__connect.errors.topic" not in headers


# --- What is the same in all shapes ---------------------------------------------------------------------------------


UNHANDLED = {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"}
CONDITIONS: list[tuple[str, InvocationResult | None, int, dict[str, Any] | None, str]] = [
    # condition, the last answer, attempts; responseContext, requestId
    ("RetryAttemptsExhausted", RAISED, 3, UNHANDLED, "request-1"),
    (
        "RetryAttemptsExhausted",
        InvocationResult("request-2", b'{"batchItemFailures":[]}'),
        1,
        {**UNHANDLED, "functionError": None},
        "request-2",
    ),
    ("RecordAgeExceeded", None, 8, None, ""),  # expired while it was retried (D.4)
    ("RecordAgeExceeded", None, 1, None, ""),  # too old on arrival
    ("MaximumPayloadSizeExceeded", None, 0, None, ""),
]


@pytest.mark.parametrize("each_record", [True, False])
@pytest.mark.parametrize("case", CONDITIONS)
def test_each_condition_has_its_count_and_its_response_context(
    case: tuple[str, InvocationResult | None, int, dict[str, Any] | None, str], each_record: bool
) -> None:  # D.1.4, C.6, D.4
    condition, result, attempts, response, request_id = case
    decision = discard(condition=condition, attempts=attempts, result=result)
    (letter,) = dead_letters(decision, kafka_context(), now=NOW, each_record=each_record)
    body = json.loads(letter.body)
    assert body["requestContext"] == {
        "requestId": request_id,
        "functionArn": FUNCTION_ARN + (":$LATEST" if each_record else ""),
        "condition": condition,
        "approximateInvokeCount": attempts,
    }
    assert body["responseContext"] == response


@pytest.mark.parametrize("each_record", [True, False])
def test_a_destination_that_refuses_the_size_can_have_the_record_without_its_payload(each_record: bool) -> None:
    (letter,) = dead_letters(discard(), kafka_context(), now=NOW, each_record=each_record)
    assert letter.without_payload is not None
    whole, reduced = json.loads(letter.body), json.loads(letter.without_payload)
    del whole["payload"]
    assert reduced == whole


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (1_764_064_800_000, "2025-11-25T10:00:00.000Z"),
        (1_764_064_800_007, "2025-11-25T10:00:00.007Z"),
        (1, "1970-01-01T00:00:00.001Z"),
        (0, None),  # the source does not know it
        (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
        (253_402_300_800_000, None),
        (-1, None),
        (2**63 - 1, None),
    ],
)
def test_timestamps_have_milliseconds_and_impossible_ones_are_null(milliseconds: int, text: str | None) -> None:
    assert timestamp(milliseconds) == text


def test_a_strange_timestamp_does_not_keep_a_record_from_its_letter() -> None:
    (letter,) = dead_letters(discard(kafka_record(1, timestamp=2**63 - 1)), kafka_context(), now=NOW, each_record=True)
    assert json.loads(letter.body)["KafkaBatchInfo"]["recordInfo"]["timestamp"] is None


# --- F.1: headers ---------------------------------------------------------------------------------------------------


def test_a_letter_of_one_record_names_origin_error_attempts_and_time_in_headers() -> None:
    assert headers_of(discard(kafka_record(49, shard="my-orders-3"))) == {
        "__connect.errors.topic": "my-orders",
        "__connect.errors.partition": "3",
        "__connect.errors.offset": "49",
        "__connect.errors.connector.name": "telemetry",
        "__connect.errors.task.id": "0",
        "__connect.errors.stage": "TASK_PUT",
        "__connect.errors.class.name": FUNCTION_ARN,
        "__connect.errors.exception.class.name": "ValueError",
        "__connect.errors.exception.message": "too hot",
        "__connect.errors.exception.stacktrace": STACK_TRACE,
        "poller.errors.condition": "RetryAttemptsExhausted",
        "poller.errors.attempts": "2",
        "poller.errors.timestamp": "2025-11-25T10:00:00.000Z",
        "poller.errors.event-source-mapping": "0d0e",
    }


TIMED = b'{"topic":"orders","partition":3,"offset":49,"timestamp":1764064741304,"timestampType":"%s","key":"azE="}'


@pytest.mark.parametrize(("told", "kind"), [(b"CREATE_TIME", b"CreateTime"), (b"LOG_APPEND_TIME", b"LogAppendTime")])
def test_spring_s_headers_are_those_of_its_recoverer_byte_for_byte(told: bytes, kind: bytes) -> None:  # F.2
    record = kafka_record(49, shard="my-orders-3", encoded=TIMED % told)
    (letter,) = dead_letters(discard(record), kafka_context(error_headers="spring"), now=NOW, each_record=True)
    assert dict(letter.headers) == {
        "kafka_dlt-original-topic": b"my-orders",
        "kafka_dlt-original-partition": b"\x00\x00\x00\x03",
        "kafka_dlt-original-offset": b"\x00\x00\x00\x00\x00\x00\x00\x31",
        "kafka_dlt-original-timestamp": bytes.fromhex("0000019aba73c7b8"),
        "kafka_dlt-original-timestamp-type": kind,
        "kafka_dlt-original-consumer-group": b"the group",
        "kafka_dlt-exception-fqcn": b"ValueError",
        "kafka_dlt-exception-cause-fqcn": b"ValueError",
        "kafka_dlt-exception-message": b"too hot",
        "kafka_dlt-exception-stacktrace": STACK_TRACE.encode(),
        "poller.errors.condition": b"RetryAttemptsExhausted",
        "poller.errors.attempts": b"2",
        "poller.errors.timestamp": b"2025-11-25T10:00:00.000Z",
        "poller.errors.event-source-mapping": b"0d0e",
    }


def test_spring_s_headers_of_what_no_attempt_failed_on_have_no_cause() -> None:  # F.2
    given_up = discard(kafka_record(2**40), result=None, condition="RecordAgeExceeded")
    (letter,) = dead_letters(given_up, kafka_context(error_headers="spring"), now=NOW, each_record=True)
    headers = dict(letter.headers)
    assert headers["kafka_dlt-original-offset"] == b"\x00\x00\x01\x00\x00\x00\x00\x00"
    assert headers["kafka_dlt-exception-fqcn"] == b"RecordAgeExceeded"
    assert "kafka_dlt-exception-cause-fqcn" not in headers


def test_spring_s_headers_of_a_letter_about_several_records_name_no_place() -> None:
    both = discard(kafka_record(49), kafka_record(50))
    (letter,) = dead_letters(both, kafka_context(error_headers="spring"), now=NOW, each_record=False)
    names = [name for name, _ in letter.headers if name.startswith("kafka_dlt-original")]
    assert names == ["kafka_dlt-original-consumer-group"]


def test_a_long_stack_trace_is_cut_and_node_s_is_read_as_well() -> None:
    payload = json.dumps({"errorType": "E", "errorMessage": "m", "trace": ["E: m", "    at x" * 5000]}).encode()
    headers = headers_of(discard(result=InvocationResult("r", payload, function_error="Unhandled")))
    trace = headers["__connect.errors.exception.stacktrace"]
    assert trace.startswith("E: m\nE: m\n    at x    at x")
    assert len(trace) == MAXIMUM_STACK_TRACE_LENGTH


def test_original_headers_stay_in_front_with_order_and_repeats() -> None:
    original = (("trace", b"\xff\x00"), ("trace", b"2"))
    (letter,) = dead_letters(discard(kafka_record(49, headers=original)), kafka_context(), now=NOW, each_record=True)
    assert letter.headers[:2] == original
    assert letter.headers[2][0] == "__connect.errors.topic"


def test_error_headers_can_be_switched_off_and_original_ones_stay() -> None:
    record = kafka_record(49, headers=(("trace", b"1"),))
    context = kafka_context(error_headers="none")
    (letter,) = dead_letters(discard(record), context, now=NOW, each_record=True)
    assert letter.headers == (("trace", b"1"),)
    (letter,) = dead_letters(discard(record), context, now=NOW, each_record=False)
    assert letter.headers == ()


def test_a_letter_of_a_batch_names_a_place_only_when_it_holds_one_record() -> None:
    assert headers_of(discard(kafka_record(49)), each_record=False)["__connect.errors.offset"] == "49"
    headers = headers_of(discard(kafka_record(49), kafka_record(50)), each_record=False)
    assert "__connect.errors.offset" not in headers
    assert headers["__connect.errors.exception.class.name"] == "ValueError"


# Last answer, condition → class name, message. A.4 for the payloads.
ERRORS: list[tuple[InvocationResult | None, str, str, str]] = [
    (None, "MaximumPayloadSizeExceeded", "MaximumPayloadSizeExceeded", "over the payload limit"),
    (None, "RecordAgeExceeded", "RecordAgeExceeded", "MaximumRecordAgeInSeconds"),
    (None, "SomethingNew", "SomethingNew", ""),
    (InvocationResult("r", b"{}", status=429), "RecordAgeExceeded", "RecordAgeExceeded", "older than"),
    (InvocationResult("r", b'{"batchItemFailures":[]}'), "RetryAttemptsExhausted", "ReportBatchItemFailures", "reply"),
    (
        InvocationResult("r", b'{"errorMessage":"2024 Task timed out"}', function_error="Unhandled"),
        "RetryAttemptsExhausted",
        "Unhandled",
        "2024 Task timed out",
    ),
    (
        InvocationResult("r", b'{"errorType":"E","errorMessage":{"a":1}}', function_error="Unhandled"),
        "RetryAttemptsExhausted",
        "E",
        '{"a": 1}',
    ),
    (InvocationResult("r", b"oops \xff", function_error="Unhandled"), "RetryAttemptsExhausted", "Unhandled", "oops �"),
    (InvocationResult("r", b"[1]", function_error="Unhandled"), "RetryAttemptsExhausted", "Unhandled", "[1]"),
    (InvocationResult("r", b"[" * 100_000, function_error="Unhandled"), "RetryAttemptsExhausted", "Unhandled", "[["),
]


@pytest.mark.parametrize(("result", "condition", "class_name", "message"), ERRORS)
def test_the_error_headers_tell_the_last_error_or_the_condition(
    result: InvocationResult | None, condition: str, class_name: str, message: str
) -> None:
    headers = headers_of(discard(result=result, condition=condition))
    assert headers["__connect.errors.exception.class.name"] == class_name
    assert message in headers["__connect.errors.exception.message"]


def test_a_long_error_message_is_cut_at_a_character() -> None:
    payload = json.dumps({"errorType": "E", "errorMessage": "x" + "ä" * 5000}).encode()
    headers = headers_of(discard(result=InvocationResult("r", payload, function_error="Unhandled")))
    assert headers["__connect.errors.exception.message"] == "x" + "ä" * ((MAXIMUM_HEADER_LENGTH - 1) // 2)


TEXT = st.text(st.characters(exclude_categories=()), max_size=20)  # lone surrogates included


@given(
    errors=st.dictionaries(st.sampled_from(["errorType", "errorMessage"]), TEXT | st.none() | st.integers()),
    payload=st.none() | st.binary(max_size=20),
    values=st.lists(st.binary(max_size=10), min_size=1, max_size=4),
    times=st.integers(-(2**63), 2**63 - 1),
    queue=TEXT,
)
def test_whatever_failed_the_letter_is_valid_json_with_utf_8_headers(
    errors: dict[str, Any], payload: bytes | None, values: list[bytes], times: int, queue: str
) -> None:
    answer = json.dumps(errors).encode() if payload is None else payload
    result = InvocationResult(queue, answer, function_error="Unhandled")
    records = [
        kafka_record(offset, timestamp=times, encoded=json.dumps({"value": value.hex()}).encode())
        for offset, value in enumerate(values)
    ]
    for context in (kafka_context(), rabbitmq_context(), kafka_context(origin=RabbitMQOrigin(queue, queue))):
        decision = discard(*records, result=result)
        one_each = dead_letters(decision, context, now=NOW, each_record=True)
        assert len(one_each) == len(records)
        for letter in one_each + dead_letters(decision, context, now=NOW, each_record=False):
            assert b"\n" not in letter.body
            assert isinstance(json.loads(letter.body), dict)
            for _, value in letter.headers:
                value.decode()
