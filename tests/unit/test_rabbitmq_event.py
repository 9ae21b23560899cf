"""The event of a RabbitMQ source is exactly that of D.2; deliveries are counted where the broker does not (F.3)."""

from __future__ import annotations

import json
from base64 import b64decode
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from aws_lambda_powertools.utilities.data_classes.rabbit_mq_event import RabbitMQEvent
from hypothesis import given
from hypothesis import strategies as st
from pika import BasicProperties
from pika.spec import Basic

from poller.model import Record
from poller.sources.rabbitmq import RabbitMQSource
from poller.sources.rabbitmq_event import (
    RabbitMQSettings,
    build_event,
    encode_header,
    encode_timestamp,
    event_head,
    to_record,
)
from poller.sources.rabbitmq_returned import ReturnedMessages

ARN = "arn:aws:mq:eu-west-1:123456789012:broker:b:b-1234"
NAMES = {
    "content_type": "contentType",
    "content_encoding": "contentEncoding",
    "headers": "headers",
    "delivery_mode": "deliveryMode",
    "priority": "priority",
    "correlation_id": "correlationId",
    "reply_to": "replyTo",
    "expiration": "expiration",
    "message_id": "messageId",
    "timestamp": "timestamp",
    "type": "type",
    "user_id": "userId",
    "app_id": "appId",
    "cluster_id": "clusterId",
}
"""The properties of AMQP's basic class, and their names in the event (D.2)."""
SETTINGS = RabbitMQSettings(queue="orders", event_source_arn=ARN)


def delivered(
    body: bytes = b"body", *, redelivered: bool = False, tag: int = 1, position: int = 1, **properties: Any
) -> Record:
    method = Basic.Deliver(consumer_tag="c", delivery_tag=tag, redelivered=redelivered, exchange="", routing_key="q")
    return to_record(method, BasicProperties(**properties), body, shard=SETTINGS.shard, position=position, generation=1)


def basic_properties(**properties: Any) -> dict[str, Any]:
    parsed = json.loads(delivered(**properties).encoded)["basicProperties"]
    assert isinstance(parsed, dict)
    return parsed


@pytest.mark.statement(40)
def test_the_event_is_the_one_of_the_specification() -> None:
    """D.2, the example; G 40."""
    record = delivered(
        b'{"id":1}',
        content_type="text/plain",
        headers={"h1": "v1", "n": 10},
        delivery_mode=1,
        priority=34,
        expiration="60000",
        timestamp=2021,
        user_id="u",
    )
    assert json.loads(build_event(event_head(SETTINGS), [record])) == {
        "eventSource": "aws:rmq",
        "eventSourceArn": ARN,
        "rmqMessagesByQueue": {
            "orders::/": [
                {
                    "basicProperties": {
                        "contentType": "text/plain",
                        "contentEncoding": None,
                        "headers": {"h1": {"bytes": [118, 49]}, "n": 10},
                        "deliveryMode": 1,
                        "priority": 34,
                        "correlationId": None,
                        "replyTo": None,
                        "expiration": "60000",
                        "messageId": None,
                        "timestamp": "Jan 1, 1970, 12:33:41 AM",
                        "type": None,
                        "userId": "u",
                        "appId": None,
                        "clusterId": None,
                        "bodySize": 8,
                    },
                    "redelivered": False,
                    "data": "eyJpZCI6MX0=",
                }
            ]
        },
    }


@pytest.mark.statement(40)
def test_unset_properties_are_null_and_all_are_there() -> None:
    """D.2: every property of AMQP's basic class; G 40."""
    properties = basic_properties()
    assert properties.pop("bodySize") == 4
    assert properties == dict.fromkeys(NAMES.values())


def test_every_property_is_shown_under_its_name() -> None:
    texts = {name: name for name in NAMES if name not in {"headers", "delivery_mode", "priority", "timestamp"}}
    properties = basic_properties(**texts)
    assert {name: properties[NAMES[name]] for name in texts} == texts


def test_the_redelivered_flag_is_shown() -> None:
    # D.2
    assert json.loads(delivered(redelivered=True).encoded)["redelivered"] is True


def test_the_queue_and_virtual_host_are_the_key() -> None:
    # D.2: `<queue>::<vhost>`
    settings = RabbitMQSettings(queue='my "queue"', virtual_host="prod", event_source_arn=ARN)
    assert list(json.loads(build_event(event_head(settings), []))["rmqMessagesByQueue"]) == ['my "queue"::prod']


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("v1", {"bytes": [118, 49]}),
        ("ë", {"bytes": [-61, -85]}),
        (b"\xff", {"bytes": [-1]}),
        (10, 10),
        (-(2**63), -(2**63)),
        (True, True),
        (None, None),
        (1.5, 1.5),
        (float("nan"), None),
        (Decimal("1.25"), 1.25),
        (Decimal(3), 3),
        (datetime(1970, 1, 1, 12, 5, 9, tzinfo=UTC), "Jan 1, 1970, 12:05:09 PM"),
        ({"inner": "v", "n": 1}, {"inner": {"bytes": [118]}, "n": 1}),
        (["v", 1, [None]], [{"bytes": [118]}, 1, [None]]),
    ],
)
def test_headers_are_shown_by_their_type(value: Any, shown: Any) -> None:
    # D.2: strings and numbers; the others by decision
    assert json.loads(json.dumps(encode_header(value))) == shown
    assert type(encode_header(value)) is type(shown)


def test_the_death_of_a_message_is_shown_as_the_broker_tells_it() -> None:
    # F.3: x-death is an array of tables
    death = {"queue": "tasks", "reason": "rejected", "count": 1, "time": datetime(2025, 11, 25, 10, tzinfo=UTC)}
    shown = basic_properties(headers={"x-death": [death]})["headers"]["x-death"][0]
    assert shown["count"] == 1
    assert shown["time"] == "Nov 25, 2025, 10:00:00 AM"
    assert bytes(shown["reason"]["bytes"]) == b"rejected"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, None),
        (0, "Jan 1, 1970, 12:00:00 AM"),
        (2021, "Jan 1, 1970, 12:33:41 AM"),
        (1764064800, "Nov 25, 2025, 10:00:00 AM"),
        (1764075599, "Nov 25, 2025, 12:59:59 PM"),
        (1767225599, "Dec 31, 2025, 11:59:59 PM"),
        (1764064800000, None),  # milliseconds by mistake
        (2**64 - 1, None),
    ],
)
def test_timestamps_read_as_java_prints_them(seconds: int | None, shown: str | None) -> None:
    # D.2: `MMM d, yyyy, h:mm:ss AM/PM`, UTC
    assert encode_timestamp(seconds) == shown


def test_text_that_is_not_utf8_does_not_break_the_event() -> None:
    properties = basic_properties(app_id=b"\xff", headers={b"\xfe": "v"})
    assert properties["appId"] == "\ufffd"
    assert properties["headers"] == {"\ufffd": {"bytes": [118]}}


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
header_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | texts | st.binary(max_size=8) | st.datetimes(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@given(headers=st.dictionaries(texts, header_values, max_size=4), body=st.binary(max_size=200))
def test_any_message_gives_valid_json(headers: dict[str, Any], body: bytes) -> None:
    parsed = json.loads(delivered(body, headers=headers).encoded)
    assert b64decode(parsed["data"]) == body
    assert set(parsed["basicProperties"]["headers"]) == set(headers)


@given(bodies=st.lists(st.binary(max_size=50), min_size=1, max_size=5))
def test_the_overhead_is_exact(bodies: list[bytes]) -> None:
    # C.4
    source = RabbitMQSource(SETTINGS)
    records = [delivered(body) for body in bodies]
    room = sum(len(record.encoded) + 1 for record in records) + source.overhead(1)
    assert len(source.build_event(records)) == room - 1


def test_powertools_read_the_event() -> None:
    event = RabbitMQEvent(json.loads(build_event(event_head(SETTINGS), [delivered(b'{"id":1}', message_id="m")])))
    assert event.event_source_arn == ARN
    (message,) = event.rmq_messages_by_queue["orders::/"]
    assert message.json_data == {"id": 1}
    assert message.redelivered is False
    assert message.basic_properties.message_id == "m"
    assert message.basic_properties.body_size == 8


# --- records -------------------------------------------------------------------------------------------------------


def test_a_quorum_queue_counts_deliveries_itself() -> None:
    # F.3: x-delivery-count on redeliveries
    assert delivered().deliveries == 0
    assert delivered(redelivered=True, headers={"x-delivery-count": 3}).deliveries == 3
    # A publisher may have set the header, as on a dead letter that was moved back: the broker passes it on.
    assert delivered(headers={"x-delivery-count": 7}).deliveries == 0
    assert delivered(redelivered=True, headers={"x-delivery-count": "what a publisher wrote"}).deliveries == 0


def test_a_record_knows_its_message_id_and_time() -> None:
    record = delivered(message_id="m-1", timestamp=1764064800, tag=7, position=12)
    assert (record.message_id, record.timestamp, record.position) == ("m-1", 1764064800000, 12)
    assert (record.value, record.key, record.headers) == (b"body", None, ())


def test_returned_messages_of_a_classic_queue_are_counted_here() -> None:
    # F.3: classic queues have no count
    returned = ReturnedMessages()
    record = delivered(b"a")
    returned.add(record)
    again = delivered(b"a", redelivered=True, tag=2)
    assert returned.count(again) == 1
    returned.add(again._replace(deliveries=returned.count(again)))
    assert returned.count(delivered(b"a", redelivered=True)) == 2
    returned.forget([again])
    assert returned.count(delivered(b"a", redelivered=True)) == 1


def test_returned_messages_are_told_apart_by_id_else_by_content() -> None:
    returned = ReturnedMessages()
    returned.add(delivered(b"same", message_id="m-1", tag=1)._replace(deliveries=4))
    returned.add(delivered(b"same", app_id="x")._replace(deliveries=6))
    assert returned.count(delivered(b"other", message_id="m-1", redelivered=True)) == 5
    assert returned.count(delivered(b"same", app_id="x", redelivered=True)) == 7
    assert returned.count(delivered(b"same", app_id="y", redelivered=True)) == 1


def test_only_so_many_returned_messages_are_remembered() -> None:
    returned = ReturnedMessages(capacity=2)
    for body in (b"1", b"2", b"3"):
        returned.add(delivered(body)._replace(deliveries=8))
    assert [returned.count(delivered(body, redelivered=True)) for body in (b"1", b"2", b"3")] == [1, 9, 9]


# --- settings ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("amqp://mq", {"host": "mq", "port": 5672, "virtual_host": "/", "username": "guest", "tls": False}),
        ("amqps://mq", {"port": 5671, "tls": True}),
        ("amqp://mq:1234/prod", {"port": 1234, "virtual_host": "prod"}),
        ("amqp://mq/%2F", {"virtual_host": "/"}),
        ("amqp://me:p%40ss@mq", {"username": "me", "password": "p@ss"}),
    ],
)
def test_an_address_gives_the_settings(url: str, wanted: dict[str, object]) -> None:
    settings = RabbitMQSettings.from_url(url, queue="q", event_source_arn=ARN)
    assert {name: getattr(settings, name) for name in wanted} == wanted


def test_settings_beside_the_address_win() -> None:
    # D.2: VIRTUAL_HOST and BASIC_AUTH come from the mapping
    settings = RabbitMQSettings.from_url("amqp://mq/other", queue="q", event_source_arn=ARN, virtual_host="prod")
    assert settings.virtual_host == "prod"


@pytest.mark.parametrize("url", ["http://mq", "mq:5672", "amqp://"])
def test_another_address_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="amqp://host:port"):
        RabbitMQSettings.from_url(url, queue="q", event_source_arn=ARN)


def test_settings_do_not_show_the_password() -> None:
    settings = RabbitMQSettings.from_url("amqp://me:hush@mq", queue="q", event_source_arn=ARN)
    assert "hush" not in repr(settings)
