"""What RabbitMQ's refusals mean, how a queue's type is learnt, and which frames settle messages (C.2, F.3)."""

from __future__ import annotations

from typing import Any

import pytest
from builders import record
from pika import exceptions as pika_errors

from poller.errors import SourceRejected, SourceUnavailable
from poller.model import Progress
from poller.sources.rabbitmq import RabbitMQSource
from poller.sources.rabbitmq_event import RabbitMQSettings
from poller.sources.rabbitmq_queue_type import queue_type
from poller.sources.rabbitmq_refusals import source_error

SETTINGS = RabbitMQSettings(queue="tasks", event_source_arn="arn", host="mq", password="hush")
AUTHN, AUTHZ, CONFIGURATION = "EVENT_SOURCE_AUTHN_ERROR", "EVENT_SOURCE_AUTHZ_ERROR", "ESM_CONFIG_NOT_VALID"


def closed(code: int, text: str) -> pika_errors.ChannelClosedByBroker:
    return pika_errors.ChannelClosedByBroker(code, text)


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (pika_errors.ProbableAuthenticationError(403, "ACCESS_REFUSED - Login was refused"), AUTHN, "the credentials"),
        (pika_errors.ProbableAccessDeniedError(530, "NOT_ALLOWED - vhost / not found"), CONFIGURATION, "host '/'"),
        (pika_errors.ProbableAccessDeniedError(530, "NOT_ALLOWED - access refused"), AUTHZ, "virtual host '/'"),
        (closed(404, "NOT_FOUND - no queue 'tasks' in vhost '/'"), CONFIGURATION, "does not exist on mq:5672; declare"),
        (
            closed(405, "RESOURCE_LOCKED - cannot obtain exclusive access"),
            CONFIGURATION,
            "declare it without exclusive",
        ),
        (closed(403, "ACCESS_REFUSED - queue 'tasks' in exclusive use"), CONFIGURATION, "an exclusive consumer"),
        (closed(403, "ACCESS_REFUSED - read access refused"), AUTHZ, "the user needs permission to read it"),
    ],
)
def test_a_refusal_has_its_reason_and_says_what_would_be_right(error: Exception, code: str, told: str) -> None:  # C.2
    refused = source_error(error, SETTINGS)
    assert isinstance(refused, SourceRejected)
    assert refused.code == code
    assert told in str(refused)
    assert "hush" not in str(refused)


@pytest.mark.parametrize(
    "error",
    [
        closed(404, "NOT_FOUND - home node of queue 'tasks' is down or inaccessible"),
        closed(406, "PRECONDITION_FAILED - unknown delivery tag 7"),
        pika_errors.StreamLostError("gone"),
        ConnectionResetError(),
    ],
)
def test_what_may_get_better_by_itself_is_no_refusal(error: Exception) -> None:
    unavailable = source_error(error, SETTINGS)
    assert isinstance(unavailable, SourceUnavailable)
    assert "RabbitMQ at mq:5672" in str(unavailable)


class FakeChannel:
    """Remembers what is sent; `refusal` is the broker's answer to basic.consume."""

    is_open = True

    def __init__(self, refusal: Exception | None = None) -> None:
        self.sent: list[tuple[Any, ...]] = []
        self._refusal = refusal

    def basic_qos(self, prefetch_count: int) -> None:
        self.sent.append(("qos", prefetch_count))

    def basic_consume(self, queue: str, _: Any, arguments: Any) -> None:
        self.sent.append(("consume", queue, arguments))
        if self._refusal:
            raise self._refusal

    def basic_reject(self, tag: int, *, requeue: bool) -> None:
        self.sent.append(("reject", tag, requeue))

    def basic_ack(self, tag: int, multiple: bool) -> None:
        self.sent.append(("ack", tag, multiple))

    def close(self) -> None:
        self.sent.append(("close",))


class FakeConnection:
    def __init__(self, channel: FakeChannel, product: str = "RabbitMQ", version: str = "4.1.2") -> None:
        self._impl = self
        self.server_properties = {"product": product, "version": version}
        self._channel = channel

    def channel(self) -> FakeChannel:
        return self._channel


def asked(channel: FakeChannel, **broker: str) -> str:
    return queue_type(FakeConnection(channel, **broker), "tasks")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("refusal", "expected"),
    [
        (closed(406, "invalid arg 'x-stream-offset' for queue 'tasks' of queue type rabbit_classic_queue"), "classic"),
        (closed(406, "invalid arg 'x-stream-offset' for queue 'tasks' of queue type rabbit_quorum_queue"), "quorum"),
        (closed(406, "in other words"), "unknown"),
        (None, "stream"),
    ],
)
def test_a_queue_s_type_is_what_the_broker_says_of_an_offset(refusal: Exception | None, expected: str) -> None:
    channel = FakeChannel(refusal)
    assert asked(channel) == expected
    assert channel.sent[:2] == [("qos", 1), ("consume", "tasks", {"x-stream-offset": "next"})]
    assert (("close",) in channel.sent) == (refusal is None)


@pytest.mark.parametrize(
    "broker", [{"version": "3.8.34"}, {"product": "LavinMQ", "version": "4.0.0"}, {"version": ""}], ids=str
)
def test_a_broker_that_would_begin_to_consume_is_not_asked(broker: dict[str, str]) -> None:
    channel = FakeChannel()
    assert asked(channel, **broker) == "unknown"
    assert channel.sent == []


def test_another_refusal_goes_to_the_caller() -> None:
    with pytest.raises(pika_errors.ChannelClosedByBroker, match="in exclusive use"):
        asked(FakeChannel(closed(403, "in exclusive use")))


def test_failed_messages_go_back_one_by_one_with_reject_and_never_with_nack() -> None:
    # F.3: since RabbitMQ 4.3 only reject counts towards the delivery limit
    source = RabbitMQSource(SETTINGS)
    channel = FakeChannel()
    source._channel = channel  # type: ignore[assignment]
    records = [record(tag, raw=(0, tag)) for tag in range(1, 6)]
    source._unsettled.add(range(1, 6))
    source.release(records[:2])
    source.reject(records[2:3])
    source.acknowledge(Progress(records=records[3:]))
    assert channel.sent == [("reject", 1, True), ("reject", 2, True), ("reject", 3, False), ("ack", 5, True)]
