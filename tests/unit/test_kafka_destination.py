"""What becomes of a Kafka client that failed: nothing of it may go on sending behind the worker's back."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from kafka.errors import KafkaTimeoutError

from poller.destinations import kafka
from poller.destinations.kafka import KafkaDestination
from poller.errors import DestinationError
from poller.model import DeadLetter
from poller.sources import kafka_python_client
from poller.sources.kafka_security import KafkaSecurity


class Client:
    """Stands for the library's network client."""

    def __init__(self, **options: Any) -> None:
        self.cluster = SimpleNamespace(config={"allow_auto_create_topics": True})
        self._manager = SimpleNamespace(_connect=None, _build_transport=None, config={"security_protocol": "PLAINTEXT"})
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


class Producer:
    """A producer that never delivers, and waits in `close` for what it has not delivered unless it is forced."""

    made: list[Producer]
    unreachable = False

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.client = options["kafka_client"]()
        self.forced = self.closed = False
        self._sender = SimpleNamespace(force_close=self._force_close)
        self.made.append(self)
        if self.unreachable:
            raise KafkaTimeoutError("Unable to bootstrap")

    def partitions_for(self, topic: str) -> set[int]:
        return {0}

    def send(self, topic: str, **message: Any) -> Any:
        raise KafkaTimeoutError("nothing moves")

    def close(self, timeout: float) -> None:
        if not self.forced:
            raise KafkaTimeoutError("Timeout waiting for future")
        self.closed = True

    def _force_close(self) -> None:
        self.forced = True


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Producer]:
    made: list[Producer] = []
    monkeypatch.setattr(Producer, "made", made, raising=False)
    monkeypatch.setattr(kafka, "KafkaProducer", Producer)
    monkeypatch.setattr(kafka_python_client, "KafkaNetClient", Client)
    return made


def test_a_client_with_letters_under_way_is_ended_by_force_and_replaced(made: list[Producer]) -> None:
    destination = KafkaDestination("b1:9092", "dead-letters")
    for _ in range(2):
        with pytest.raises(DestinationError, match="topic dead-letters at b1:9092: KafkaTimeoutError: nothing moves"):
            destination.send([DeadLetter(b"{}")])
    assert [(producer.forced, producer.closed) for producer in made] == [(True, True)] * 2


def test_a_client_that_could_not_connect_is_closed(made: list[Producer], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Producer, "unreachable", True)
    with pytest.raises(DestinationError, match="Unable to bootstrap"):
        KafkaDestination("b1:9092", "dead-letters").send([DeadLetter(b"{}")])
    assert made[0].client.closed == 1


def test_letters_are_acknowledged_by_all_replicas_in_order_and_topics_are_never_created(made: list[Producer]) -> None:
    security = KafkaSecurity("SASL_SSL", "SCRAM-SHA-512", "u", "p")
    with pytest.raises(DestinationError):
        KafkaDestination("b1:9092,b2:9092", "t", security=security).send([DeadLetter(b"{}")])
    (producer,) = made
    assert producer.options["bootstrap_servers"] == ["b1:9092", "b2:9092"]
    assert producer.options["acks"] == "all"
    assert producer.options["max_in_flight_requests_per_connection"] == 1
    assert producer.options["security_protocol"] == "SASL_SSL"  # D.1.4: as the source of the same cluster
    assert producer.options["sasl_mechanism"] == "SCRAM-SHA-512"
    assert producer.options["ssl_context"].check_hostname
    assert producer.client.cluster.config["allow_auto_create_topics"] is False
