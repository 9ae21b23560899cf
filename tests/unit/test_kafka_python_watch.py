"""Whether a topic is there, as kafka-python's metadata tell."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from kafka import errors as kafka_errors
from kafka.future import Future

from poller.errors import SourceRejected, SourceUnavailable
from poller.sources.kafka_event import KafkaSettings
from poller.sources.kafka_python_client import Connections
from poller.sources.kafka_python_watch import TopicWatch

SETTINGS = KafkaSettings(["127.0.0.1:1"], topic="orders", group_id="group")


@pytest.fixture
def connections() -> Iterator[Connections]:
    """Of a client that asks nobody by itself."""
    connections = Connections()
    connections.make_on_owners_thread(bootstrap_servers=list(SETTINGS.bootstrap_servers))
    yield connections
    connections.close()


def find(connections: Connections, monkeypatch: pytest.MonkeyPatch, *answers: Future) -> None:
    assert connections.client is not None
    monkeypatch.setattr(connections.client.cluster, "request_update", iter(answers).__next__)
    TopicWatch(SETTINGS, connections).find()


def test_brokers_that_cannot_be_reached_by_their_advertised_addresses_do_not_mean_that_the_topic_is_missing(
    connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = [Future().failure(kafka_errors.KafkaConnectionError("refused")) for _ in range(3)]
    with pytest.raises(SourceUnavailable, match=r"does not answer about topic orders: .*refused"):
        find(connections, monkeypatch, *refused)


@pytest.mark.parametrize(
    "answer", [Future().success(None), Future().failure(kafka_errors.UnknownTopicOrPartitionError("orders"))]
)
def test_a_topic_that_no_broker_knows_does_not_exist(
    answer: Future, connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SourceRejected, match="topic orders does not exist"):
        find(connections, monkeypatch, answer, answer, answer)
