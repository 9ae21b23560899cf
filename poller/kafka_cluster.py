"""Where a Kafka cluster is and how its topic is read, as models of the API (C.1)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from poller.validation import Model, in_pattern

_HOST = r"([a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9\-]*[a-zA-Z0-9])"
Server = Annotated[
    str,
    Field(max_length=300),
    in_pattern(
        r"[A-Za-z0-9._-]+:[0-9]{1,5}",
        "host:port; several servers are several items of the list",
        rf"^({_HOST}\.)*{_HOST}:[0-9]{{1,5}}",
    ),
]
ConsumerGroup = Annotated[
    str,
    Field(max_length=200),
    in_pattern(r"[a-zA-Z0-9-/*:_+=.@]+", "a consumer group's name", r"[a-zA-Z0-9-\/*:_+=.@-]*"),
]
Topic = Annotated[
    str,
    in_pattern(
        r"[a-zA-Z0-9_-][a-zA-Z0-9._-]{1,248}",
        "a topic: 2 to 249 letters, digits, . _ or -",
        r"[^.]([a-zA-Z0-9\-_.]+)",
    ),
]


class KafkaEndpoints(Model):
    """Where a cluster is."""

    KAFKA_BOOTSTRAP_SERVERS: Annotated[tuple[Server, ...], Field(min_length=1, max_length=10)]

    @model_validator(mode="before")
    @classmethod
    def _cloudformation_name(cls, values: Any) -> Any:
        if isinstance(values, dict) and "KafkaBootstrapServers" in values:
            values = {**values, "KAFKA_BOOTSTRAP_SERVERS": values["KafkaBootstrapServers"]}
            del values["KafkaBootstrapServers"]
        return values


class KafkaCluster(Model):
    """A Kafka cluster of one's own."""

    Endpoints: KafkaEndpoints


class KafkaEventSourceConfig(Model):
    """The consumer group."""

    ConsumerGroupId: ConsumerGroup | None = None


class SelfManagedKafkaConfig(KafkaEventSourceConfig):
    """What only a cluster of one's own has."""

    ConsumptionMode: Literal["Stream", "Queue"] = "Stream"
    """`Queue` is refused: share groups are not read here."""
