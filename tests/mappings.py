"""Event source mappings for tests: the least that each source wants, and a quick way to what is wrong with one."""

from __future__ import annotations

from typing import Any

import pytest
from templates import BROKER, NO_LOGIN, SECRET

from poller.errors import ConfigError, Problem
from poller.resources import EventSourceMapping, event_source_mapping
from poller.validation import under

KAFKA, MSK, MQ = "self-managed Kafka", "MSK", "MQ"
SOURCES: dict[str, dict[str, Any]] = {
    KAFKA: {
        "SelfManagedEventSource": {"Endpoints": {"KAFKA_BOOTSTRAP_SERVERS": ["h1:9092"]}},
        "Topics": ["orders"],
        "SourceAccessConfigurations": NO_LOGIN,
    },
    MSK: {"EventSourceArn": "arn:aws:kafka:us-east-1:123456789012:cluster/c/1", "Topics": ["orders"]},
    MQ: {
        "EventSourceArn": BROKER,
        "Queues": ["orders"],
        "SourceAccessConfigurations": [{"Type": "BASIC_AUTH", "URI": SECRET}],
    },
}
GIVEN_UP = {"OnFailure": {"Destination": "kafka://orders-dlq"}}
SQS = {"OnFailure": {"Destination": "arn:aws:sqs:us-east-1:123456789012:failed"}}
PATTERN = '{"value": {"a": [1]}}'


def servers(*names: str) -> dict[str, Any]:
    return {"Endpoints": {"KAFKA_BOOTSTRAP_SERVERS": list(names)}}


def build(source: str, **changes: Any) -> EventSourceMapping:
    values = {"name": "F.E", "FunctionName": "f", **SOURCES[source], **changes}
    kept = {name: value for name, value in values.items() if value is not ...}
    return event_source_mapping(kept, under(""), extension="EXTENSION")


def refusal(source: str, **changes: Any) -> tuple[Problem, ...]:
    with pytest.raises(ConfigError) as caught:
        build(source, **changes)
    return caught.value.problems
