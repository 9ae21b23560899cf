"""Whether a topic can be read through kafka-python: the client waits in silence for what went away."""

# mypy: allow-untyped-calls
# kafka-python has no annotations.

from __future__ import annotations

import time

from kafka import KafkaConsumer
from kafka import errors as kafka_errors
from kafka.cluster import ClusterMetadata

from poller.errors import SourceError, SourceRejected, SourceUnavailable
from poller.sources.kafka_event import KafkaSettings
from poller.sources.kafka_python_client import Connections
from poller.sources.kafka_python_loop import wait_for
from poller.sources.kafka_refusals import ACCESS

_MISSING = kafka_errors.UnknownTopicOrPartitionError, kafka_errors.InvalidTopicError
"""What an answer says of a topic that does not exist; any other error is no answer about it."""

_TOPIC_MISSING = 5.0
"""Seconds a topic may be absent from the metadata while it is read: a broker that starts knows none at first."""


class TopicWatch:
    """The topic of one consumer, as its metadata tell. Used on its owner's thread."""

    def __init__(self, settings: KafkaSettings, connections: Connections) -> None:
        """Set up.

        Args:
            settings: of the source.
            connections: of the consumer; open while anything is asked here.
        """
        self._settings = settings
        self._connections = connections
        self.at_start: set[int] = set()
        """Partitions that the topic had when it was found, unless it was missing meanwhile."""
        self._trouble_since: tuple[type[SourceError], float] | None = None
        """What kind of trouble, and since when."""

    @property
    def _metadata(self) -> ClusterMetadata:
        assert self._connections.client is not None
        cluster: ClusterMetadata = self._connections.client.cluster
        return cluster

    def find(self) -> None:
        """Ask for the topic, which the consumer is subscribed to.

        Raises:
            SourceUnavailable: no answer within `connect_timeout`, or the brokers cannot be reached by the addresses
                that the first one gave.
            SourceRejected: it does not exist, or is not allowed.
        """
        topic, addresses = self._settings.topic, self._settings.addresses
        problem: Exception | None = None
        for _ in range(3):  # a topic that was made a moment ago may miss in the first answer
            answer = self._metadata.request_update()
            if not wait_for(self._connections.client, answer, self._settings.connect_timeout):
                raise SourceUnavailable(f"Kafka at {addresses} does not answer about topic {topic}")
            if (partitions := self._metadata.partitions_for_topic(topic)) is not None:
                self.at_start = set(partitions)
                return
            if topic in self._metadata.unauthorized_topics:
                raise ACCESS.rejected(f"Kafka at {addresses} does not allow topic {topic}")
            problem = answer.exception
        if problem is not None and not isinstance(problem, _MISSING):
            text = f"Kafka at {addresses} does not answer about topic {topic}: {problem}"
            raise self._connections.refused(addresses) or SourceUnavailable(text)
        raise SourceRejected(f"topic {topic} does not exist on {addresses}")

    def partitions(self) -> int | None:
        """Of the topic, as of the last metadata; None when there is no such topic."""
        found = self._metadata.partitions_for_topic(self._settings.topic)
        return len(found) if found else None

    def look(self, consumer: KafkaConsumer) -> None:
        """Look for trouble, after a poll that gave nothing.

        Raises:
            SourceUnavailable: the brokers were away for `session_timeout`, so membership is lost anyway.
            SourceRejected: the topic is gone, or something is refused.
        """
        topic, addresses = self._settings.topic, self._settings.addresses
        trouble: SourceError
        if consumer._coordinator.coordinator_unknown():  # noqa: SLF001 - there is no public way to ask
            if (refused := self._connections.refused(addresses)) is not None:
                raise refused
            patience = self._settings.session_timeout
            trouble = SourceUnavailable(f"no Kafka broker answers at {addresses} for group {self._settings.group_id}")
        elif self._metadata.partitions_for_topic(topic) is None:
            self.at_start.clear()  # if it comes back it is another topic, and all in it is new
            patience = _TOPIC_MISSING
            trouble = SourceRejected(f"topic {topic} does not exist any more on {addresses}")
        else:
            self._trouble_since = None
            return
        now = time.monotonic()
        if self._trouble_since is None or self._trouble_since[0] is not type(trouble):
            self._trouble_since = type(trouble), now
        if now - self._trouble_since[1] > patience:
            raise trouble
