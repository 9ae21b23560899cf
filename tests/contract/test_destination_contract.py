"""What every destination keeps to, whatever is behind it (poller.destinations.Destination)."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from brokers import KafkaBroker, RabbitMQBroker, unique
from secure_brokers import CERTIFICATE, SCRAM, SecureKafka, SecureRabbitMQ

from poller.destinations import Destination
from poller.destinations.file import FileDestination
from poller.destinations.kafka import KafkaDestination
from poller.destinations.memory import MemoryDestination
from poller.destinations.rabbitmq import RabbitMQDestination
from poller.errors import DestinationError
from poller.model import DeadLetter

LIMIT = 15.0
"""Seconds within which a missing target has to be told."""


@dataclass(frozen=True)
class Subject:
    """One kind of destination, and how a test looks behind it."""

    destination: Destination
    missing: Callable[[], Destination]
    """A destination whose target is not there."""
    arrived: Callable[[], list[DeadLetter]]
    """What is there, in order. May take it away."""
    keeps_keys: bool = False
    keeps_headers: bool = False


def _memory() -> Subject:
    def missing() -> Destination:
        destination = MemoryDestination()
        destination.failure = "there is no memory"
        return destination

    destination = MemoryDestination()
    return Subject(destination, missing, lambda: destination.letters, keeps_keys=True, keeps_headers=True)


def _file(folder: Path) -> Subject:
    path = folder / "dead letters.jsonl"

    def arrived() -> list[DeadLetter]:
        return [DeadLetter(line) for line in path.read_bytes().splitlines()]

    return Subject(FileDestination(path), lambda: FileDestination(folder / "missing" / "file"), arrived)


def _kafka(broker: KafkaBroker, door: str = "") -> Subject:
    topic = broker.create_topic()
    address, security = broker.address, None
    if isinstance(broker, SecureKafka):
        address, security = broker.address_of(door), broker.security(door)

    def arrived() -> list[DeadLetter]:
        return [DeadLetter(found.value, found.key, tuple(found.headers)) for found in broker.read(topic)]

    return Subject(
        KafkaDestination(address, topic, security=security),
        lambda: KafkaDestination(address, unique("missing"), security=security),
        arrived,
        keeps_keys=True,
        keeps_headers=True,
    )


def _rabbitmq(broker: RabbitMQBroker) -> Subject:
    queue = broker.declare_queue()
    url = broker.url
    if isinstance(broker, SecureRabbitMQ):
        url = f"{broker.secure_url()}?cacertfile={broker.authority_file}"

    def arrived() -> list[DeadLetter]:
        found = []
        for properties, body in broker.drain(queue):
            headers = (properties.headers or {}).items()
            values = ((name, value if isinstance(value, bytes) else value.encode()) for name, value in headers)
            found.append(DeadLetter(body, headers=tuple(values)))
        return found

    return Subject(
        RabbitMQDestination(url, "", queue),
        lambda: RabbitMQDestination(url, unique("missing"), "key"),
        arrived,
        keeps_headers=True,
    )


KINDS = [
    "memory",
    "file",
    pytest.param("kafka", marks=pytest.mark.broker),
    pytest.param("rabbitmq", marks=pytest.mark.broker),
]
SECURE_KINDS = [
    pytest.param("secure_kafka, SCRAM over TLS", marks=pytest.mark.broker),
    pytest.param("secure_kafka, client certificate", marks=pytest.mark.broker),
    pytest.param("secure_rabbitmq, TLS", marks=pytest.mark.broker),
]


@pytest.fixture(params=[*KINDS, *SECURE_KINDS])
def subject(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Subject]:
    kind, _, door = request.param.partition(", ")
    if kind == "memory":
        made = _memory()
    elif kind == "file":
        made = _file(tmp_path)
    elif kind.endswith("kafka"):
        made = _kafka(request.getfixturevalue(kind), SCRAM if "SCRAM" in door else CERTIFICATE)
    else:
        made = _rabbitmq(request.getfixturevalue(kind))
    yield made
    made.destination.close()


def letters(*names: str) -> list[DeadLetter]:
    return [DeadLetter(json.dumps({"letter": name}).encode()) for name in names]


def test_what_was_sent_is_there_in_order_when_send_returns(subject: Subject) -> None:
    sent = letters(*(str(number) for number in range(300)))
    subject.destination.send(sent)
    assert [letter.body for letter in subject.arrived()] == [letter.body for letter in sent]


def test_body_key_and_headers_arrive_byte_for_byte(subject: Subject) -> None:
    body = '{"text":"Maze\\u00eb ë","payload":{"bytes":"AP8="}}'.encode()
    headers = (("trace", b"1"), ("binary", b"\xff\x00"), ("unicode", "ë".encode()), ("empty", b""))
    subject.destination.send([DeadLetter(body, b"\x00key\xff", headers)])
    (arrived,) = subject.arrived()
    assert arrived.body == body
    if subject.keeps_keys:
        assert arrived.key == b"\x00key\xff"
    if subject.keeps_headers:
        assert sorted(arrived.headers) == sorted(headers)


def test_a_letter_without_key_or_headers_arrives(subject: Subject) -> None:
    subject.destination.send(letters("plain"))
    assert subject.arrived() == letters("plain")


def test_sending_after_close_connects_anew(subject: Subject) -> None:
    subject.destination.send(letters("before"))
    subject.destination.close()
    subject.destination.send(letters("after"))
    assert [letter.body for letter in subject.arrived()] == [letter.body for letter in letters("before", "after")]


def test_close_is_safe_before_sending_twice_and_after_an_error(subject: Subject) -> None:
    subject.destination.close()
    subject.destination.close()
    missing = subject.missing()
    with pytest.raises(DestinationError):
        missing.send(letters("lost"))
    missing.close()
    missing.close()


def test_no_letters_are_no_work(subject: Subject) -> None:
    subject.missing().close()
    subject.destination.send([])
    subject.destination.send(letters("one"))
    assert len(subject.arrived()) == 1


def test_a_missing_target_is_told_in_time_and_again_at_the_next_try(subject: Subject) -> None:
    missing = subject.missing()
    for _ in range(2):
        started = time.monotonic()
        with pytest.raises(DestinationError, match=r"missing|no memory"):
            missing.send(letters("lost"))
        assert time.monotonic() - started < LIMIT
    missing.close()
