"""The RabbitMQ source against a real RabbitMQ: what the contract suite does not ask of every source."""

from __future__ import annotations

import json
import time
from typing import Any

import pika
import pytest
from aws_lambda_powertools.utilities.data_classes.rabbit_mq_event import RabbitMQEvent
from brokers import RABBITMQ_ARN, RabbitMQBroker, free_port, unique
from contract.source_harnesses import Calls, take
from integration.harness.queues import Opener
from waiting import eventually

from poller.errors import SourceRejected, SourceUnavailable
from poller.model import Progress
from poller.sources.rabbitmq import RabbitMQSource
from poller.sources.rabbitmq_event import RabbitMQSettings

pytestmark = pytest.mark.broker


def refusal(settings: RabbitMQSettings) -> SourceRejected:
    with pytest.raises(SourceRejected) as refused:
        RabbitMQSource(settings).open(Calls().listener())
    return refused.value


# --- opening -------------------------------------------------------------------------------------------------------


def test_a_missing_queue_is_told_and_not_declared(rabbitmq: RabbitMQBroker) -> None:
    # C.2, D.2: the queue is not created by the mapping
    settings = rabbitmq.settings(unique("missing"))
    for _ in range(2):
        refused = refusal(settings)
        assert str(refused) == (
            f"queue {settings.queue!r} in virtual host '/' does not exist on {settings.address}; "
            "declare it, as a mapping makes none"
        )
        assert refused.code == "ESM_CONFIG_NOT_VALID"


def test_wrong_credentials_are_told_and_not_shown(rabbitmq: RabbitMQBroker) -> None:
    # C.2
    refused = refusal(rabbitmq.settings("tasks", username="somebody", password="hush"))
    assert refused.code == "EVENT_SOURCE_AUTHN_ERROR"
    assert "refuses the credentials" in str(refused)
    assert "hush" not in str(refused)
    assert "somebody" not in str(refused)


def test_a_missing_virtual_host_is_told(rabbitmq: RabbitMQBroker) -> None:
    refused = refusal(rabbitmq.settings("tasks", virtual_host="nowhere"))
    assert refused.code == "ESM_CONFIG_NOT_VALID"
    assert "virtual host 'nowhere'" in str(refused)


def test_a_user_without_permission_is_told(rabbitmq: RabbitMQBroker) -> None:
    # C.2
    if rabbitmq.container is None:
        pytest.skip("a user has to be made inside the container")
    user, queue = unique("user"), rabbitmq.declare_queue()
    rabbitmq.container.run("rabbitmqctl", "add_user", user, "secret")
    refused = refusal(rabbitmq.settings(queue, username=user, password="secret"))
    assert (refused.code, "virtual host" in str(refused)) == ("EVENT_SOURCE_AUTHZ_ERROR", True)
    rabbitmq.container.run("rabbitmqctl", "set_permissions", user, "", "", "nothing")
    refused = refusal(rabbitmq.settings(queue, username=user, password="secret"))
    assert (refused.code, queue in str(refused)) == ("EVENT_SOURCE_AUTHZ_ERROR", True)


def test_an_exclusive_queue_of_another_connection_is_told(rabbitmq: RabbitMQBroker) -> None:
    with rabbitmq.channel() as channel:
        queue = unique("exclusive")
        channel.queue_declare(queue, exclusive=True)
        refused = refusal(rabbitmq.settings(queue))
    assert refused.code == "ESM_CONFIG_NOT_VALID"
    assert "exclusive" in str(refused)


@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-host.invalid"])
def test_an_unreachable_broker_is_named_within_seconds(host: str) -> None:
    port = free_port()
    source = RabbitMQSource(RabbitMQSettings(queue="tasks", event_source_arn=RABBITMQ_ARN, host=host, port=port))
    started = time.monotonic()
    with pytest.raises(SourceUnavailable, match=f"{host}:{port}"):
        source.open(Calls().listener())
    assert time.monotonic() - started < 10


# --- what is read --------------------------------------------------------------------------------------------------


@pytest.mark.statement(40)
def test_the_event_of_a_real_message_is_read_by_powertools(rabbitmq: RabbitMQBroker, opened_queue: Opener) -> None:
    """D.2, G 40."""
    queue = rabbitmq.declare_queue("classic")
    headers = {"h1": "v1", "n": 10, "flag": True, "none": None, "table": {"inner": "x"}, "list": [1, "ë"]}
    rabbitmq.publish(
        queue,
        [b'{"id":1}'],
        content_type="text/plain",
        headers=headers,
        delivery_mode=1,
        priority=34,
        expiration="60000",
        timestamp=2021,
        user_id="guest",
        message_id="m-1",
    )
    source = opened_queue(queue)
    (record,) = take(source, 1)
    event = json.loads(source.build_event([record]))
    assert event == {
        "eventSource": "aws:rmq",
        "eventSourceArn": RABBITMQ_ARN,
        "rmqMessagesByQueue": {
            f"{queue}::/": [
                {
                    "basicProperties": {
                        "contentType": "text/plain",
                        "contentEncoding": None,
                        "headers": {
                            "h1": {"bytes": [118, 49]},
                            "n": 10,
                            "flag": True,
                            "none": None,
                            "table": {"inner": {"bytes": [120]}},
                            "list": [1, {"bytes": [-61, -85]}],
                        },
                        "deliveryMode": 1,
                        "priority": 34,
                        "correlationId": None,
                        "replyTo": None,
                        "expiration": "60000",
                        "messageId": "m-1",
                        "timestamp": "Jan 1, 1970, 12:33:41 AM",
                        "type": None,
                        "userId": "guest",
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
    (message,) = RabbitMQEvent(event).rmq_messages_by_queue[f"{queue}::/"]
    assert message.json_data == {"id": 1}
    assert record.message_id == "m-1"


def test_a_message_without_body_or_properties_arrives(rabbitmq: RabbitMQBroker, opened_queue: Opener) -> None:
    queue = rabbitmq.declare_queue()
    rabbitmq.publish(queue, [b""])
    source = opened_queue(queue)
    event = json.loads(source.build_event(take(source, 1)))
    (message,) = event["rmqMessagesByQueue"][f"{queue}::/"]
    assert message["data"] == ""
    assert message["basicProperties"]["bodySize"] == 0
    assert message["basicProperties"]["headers"] is None


def test_messages_of_every_size_arrive_whole_and_in_order(rabbitmq: RabbitMQBroker, opened_queue: Opener) -> None:
    queue = rabbitmq.declare_queue("classic")
    frame = 131_072 - 8  # bytes of a body that one frame has room for
    sizes = [0, 1, frame - 1, frame, frame + 1, 5_000_000, 2 * frame, 1, 0]
    bodies = [bytes([number]) * size for number, size in enumerate(sizes)]
    rabbitmq.publish(queue, bodies, message_id="m-1")
    records = take(opened_queue(queue), len(bodies))
    assert [record.value for record in records] == bodies
    assert {record.message_id for record in records} == {"m-1"}


def test_no_more_than_the_prefetch_is_unsettled(rabbitmq: RabbitMQBroker, opened_queue: Opener) -> None:
    queue = rabbitmq.declare_queue()
    rabbitmq.publish(queue, [b"%d" % number for number in range(25)])
    source = opened_queue(queue, prefetch=10)
    taken = take(source, 10)
    assert source.poll(0.3) == []
    source.acknowledge(Progress(records=taken[:4]))
    assert len(take(source, 4)) == 4
    assert source.poll(0.3) == []


def test_a_long_run_is_acknowledged_around_a_gap(rabbitmq: RabbitMQBroker, opened_queue: Opener) -> None:
    queue = rabbitmq.declare_queue()
    rabbitmq.publish(queue, [b"%d" % number for number in range(100)])
    source = opened_queue(queue, prefetch=100)
    records = take(source, 100)
    source.acknowledge(Progress(records=[record for record in records if record.value != b"50"]))
    source.close()
    eventually(lambda: rabbitmq.depth(queue) == 1, what="the one message that is left")
    assert [body for _, body in rabbitmq.drain(queue)] == [b"50"]


# --- giving back ---------------------------------------------------------------------------------------------------


def test_a_rejected_message_carries_its_death(rabbitmq: RabbitMQBroker, opened_queue: Opener) -> None:
    # F.3
    queue = rabbitmq.declare_queue(dead_letters=True)
    rabbitmq.publish(queue, [b"bad"], message_id="m-1")
    source = opened_queue(queue)
    source.reject(take(source, 1))
    ((properties, body),) = eventually(lambda: rabbitmq.drain(f"{queue}.dead"), what="the dead letter")
    (death,) = properties.headers["x-death"]
    assert (body, properties.message_id) == (b"bad", "m-1")
    assert (death["queue"], death["reason"], death["count"]) == (queue, "rejected", 1)


def test_released_messages_count_towards_the_delivery_limit(rabbitmq: RabbitMQBroker, opened_queue: Opener) -> None:
    # F.3: over the limit a quorum queue dead-letters by itself
    queue = rabbitmq.declare_queue(dead_letters=True, x_delivery_limit=2)
    rabbitmq.publish(queue, [b"bad"])
    source = opened_queue(queue)
    for deliveries in range(3):
        (record,) = take(source, 1)
        assert record.deliveries == deliveries
        source.release([record])
    ((properties, _),) = eventually(lambda: rabbitmq.drain(f"{queue}.dead"), what="the dead letter")
    assert properties.headers["x-death"][0]["reason"] == "delivery_limit"


def test_a_classic_queue_is_counted_across_a_reconnection(rabbitmq: RabbitMQBroker, opened_queue: Opener) -> None:
    # F.3: the broker has only the redelivered flag
    queue = rabbitmq.declare_queue("classic")
    rabbitmq.publish(queue, [b"bad"])
    source = opened_queue(queue)
    for deliveries in range(2):
        (record,) = take(source, 1)
        assert record.deliveries == deliveries
        source.release([record])
    source.close()
    source.open(Calls().listener())
    (record,) = take(source, 1)
    assert record.deliveries == 2


# --- when things break ---------------------------------------------------------------------------------------------


def test_heartbeats_are_answered_while_nothing_is_taken(rabbitmq: RabbitMQBroker, opened_queue: Opener) -> None:
    queue = rabbitmq.declare_queue()
    rabbitmq.publish(queue, [b"slow"])
    source = opened_queue(queue, heartbeat=1, prefetch=1)
    (record,) = take(source, 1)
    until = time.monotonic() + 5  # the broker hangs up after two heartbeats
    while time.monotonic() < until:
        assert source.poll(0.5) == []
    source.acknowledge(Progress(records=[record]))
    source.close()
    assert rabbitmq.depth(queue) == 0


def test_a_queue_deleted_while_it_is_read_is_told(rabbitmq: RabbitMQBroker, opened_queue: Opener) -> None:
    queue = rabbitmq.declare_queue()
    source = opened_queue(queue)
    source.poll(0)
    rabbitmq.delete_queue(queue)
    with pytest.raises((SourceUnavailable, SourceRejected), match=queue):
        take(source, 1)
    source.close()
    assert refusal(rabbitmq.settings(queue)).code == "ESM_CONFIG_NOT_VALID"


def test_a_connection_that_the_broker_closes_is_told_and_made_anew(
    rabbitmq: RabbitMQBroker, opened_queue: Opener
) -> None:
    if rabbitmq.container is None:
        pytest.skip("connections are closed from inside the container")
    queue = rabbitmq.declare_queue()
    rabbitmq.publish(queue, [b"kept"])
    source = opened_queue(queue)
    (stale,) = take(source, 1)
    rabbitmq.container.run("rabbitmqctl", "close_all_connections", "a test asks for it")
    with pytest.raises(SourceUnavailable, match=source._settings.address):
        take(source, 1)
    source.wake()
    source.close()
    source.open(Calls().listener())
    (record,) = take(source, 1)
    assert (record.value, record.position) == (b"kept", stale.position + 1)
    source.acknowledge(Progress(records=[stale]))
    source.close()
    eventually(lambda: rabbitmq.depth(queue) == 1, what="the message back in its queue")


def test_a_broker_that_hangs_holds_nobody_up(rabbitmq: RabbitMQBroker, opened_queue: Opener) -> None:
    if rabbitmq.container is None:
        pytest.skip("this broker cannot be paused")
    queue = rabbitmq.declare_queue()
    source = opened_queue(queue, connect_timeout=1.0)
    with rabbitmq.container.paused():
        started = time.monotonic()
        assert source.poll(0.1) == []
        source.close()
        with pytest.raises(SourceUnavailable, match=source._settings.address):
            source.open(Calls().listener())
        assert time.monotonic() - started < 10
    source.open(Calls().listener())


def test_a_channel_that_the_broker_closes_is_told(rabbitmq: RabbitMQBroker, opened_queue: Opener) -> None:
    queue = rabbitmq.declare_queue()
    rabbitmq.publish(queue, [b"kept"])
    source = opened_queue(queue)
    take(source, 1)
    channel = source._channel
    assert channel is not None
    channel.basic_ack(4711)  # unknown delivery tag: a channel error of AMQP
    with pytest.raises(SourceUnavailable):
        take(source, 1)


def test_the_connection_shows_its_purpose(rabbitmq: RabbitMQBroker, opened_queue: Opener) -> None:
    queue = rabbitmq.declare_queue()
    source = opened_queue(queue)
    assert isinstance(source._connection, pika.BlockingConnection)
    if rabbitmq.container is not None:
        listed = rabbitmq.container.run("rabbitmqctl", "list_connections", "client_properties")
        assert f"poller: {queue}" in listed


def test_headers_that_the_client_cannot_read_do_not_end_the_connection(
    rabbitmq: RabbitMQBroker, opened_queue: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    # D.2: the message would come again after each reconnect, and the queue would be stuck
    encode = pika.data.encode_value

    def encode_raw(pieces: list[bytes], value: Any) -> int:
        if isinstance(value, bytes):
            pieces.append(value)
            return len(value)
        return encode(pieces, value)

    monkeypatch.setattr(pika.data, "encode_value", encode_raw)
    nested = b"V"
    for _ in range(2000):
        nested = b"F" + (len(nested) + 2).to_bytes(4, "big") + b"\x01a" + nested
    milliseconds = b"T" + (1_764_064_800_000).to_bytes(8, "big")
    queue = rabbitmq.declare_queue()
    with rabbitmq.channel() as channel:
        properties = pika.BasicProperties(headers={"when": milliseconds, "deep": nested})
        channel.basic_publish("", queue, b"odd", properties)
        channel.basic_publish("", queue, b"plain")
    source = opened_queue(queue)
    odd, plain = take(source, 2)
    assert (odd.value, plain.value) == (b"odd", b"plain")
    headers = json.loads(odd.encoded)["basicProperties"]["headers"]
    assert headers["when"] is None
    assert headers["deep"]
