"""Templates for the service under test, from parts: functions, their events, and the addresses behind ARNs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from brokers import RABBITMQ_ARN, KafkaBroker
from integration.harness.ledger import Ledger
from integration.harness.service import MARK

HANDLERS = Path(__file__).parents[1] / "handlers"
SECRET = "arn:aws:secretsmanager:us-east-1:123456789012:secret:tests"
_OPEN_CLUSTER = KafkaBroker("").access

Resource = dict[str, Any]

_held: dict[str, dict[str, str]] = {}
"""Of the brokers that events were made for: what secrets hold."""


def kafka_event(
    broker: KafkaBroker | str, topic: str, *, group: str | None = None, dead_letters: str = "", **properties: Any
) -> Resource:
    """A SelfManagedKafka event in provisioned mode with a window of 0.

    Args:
        broker: or the address of one.
        topic: to read.
        group: the consumer group; by default the topic's name.
        dead_letters: topic for what is given up.
        properties: further ones, of AWS.
    """
    is_address = isinstance(broker, str)
    if not is_address:
        _held.update(broker.secrets)
    given: Resource = {
        "KafkaBootstrapServers": [broker if is_address else broker.service_address],
        "Topics": [topic],
        "ConsumerGroupId": group or topic,
        "StartingPosition": "TRIM_HORIZON",
        "SourceAccessConfigurations": _OPEN_CLUSTER if is_address else broker.access,
        "BatchSize": 20,
        "MaximumBatchingWindowInSeconds": 0,
        "ProvisionedPollerConfig": {"MinimumPollers": 1, "MaximumPollers": 1},
    }
    if dead_letters:
        given["DestinationConfig"] = {"OnFailure": {"Destination": f"kafka://{dead_letters}"}}
    return {"Type": "SelfManagedKafka", "Properties": given | properties}


def mq_event(queue: str, *, broker_arn: str = RABBITMQ_ARN, **properties: Any) -> Resource:
    """An MQ event with a window of 0."""
    given = {
        "Broker": broker_arn,
        "Queues": [queue],
        "SourceAccessConfigurations": [{"Type": "BASIC_AUTH", "URI": SECRET}],
        "BatchSize": 20,
        "MaximumBatchingWindowInSeconds": 0,
    }
    return {"Type": "MQ", "Properties": given | properties}


def function(ledger: Ledger, event: Resource, *, handler: str = "work.report", **properties: Any) -> Resource:
    """A function of `handlers/` with one event, `Source`."""
    variables = {"LEDGER": str(ledger.path), MARK: mark(ledger)}
    given = {
        "CodeUri": str(HANDLERS),
        "Handler": handler,
        "Runtime": "python3.13",
        "Timeout": 60,
        "Environment": {"Variables": variables},
        "Events": {"Source": event},
    }
    return {"Type": "AWS::Serverless::Function", "Properties": given | properties}


def mark(ledger: Ledger) -> str:
    """Of the handlers that write to this ledger, for `handler_processes`."""
    return str(ledger.path)


def template(
    functions: Mapping[str, Resource],
    *,
    extensions: Mapping[str, Mapping[str, Any]] | None = None,
    endpoints: Mapping[str, str] | None = None,
    **settings: Any,
) -> Resource:
    """A whole template.

    Args:
        functions: by name; the mapping of `Orders` is `Orders.Source`.
        extensions: `EventSources` of the settings, by function.
        endpoints: addresses behind ARNs; RabbitMQ's broker is `RABBITMQ_ARN`.
        settings: further ones.
    """
    secrets = {arn: held for arn, held in _held.items() if f'"{arn}"' in json.dumps(functions)}
    if secrets:
        settings["Secrets"] = {**secrets, **settings.get("Secrets", {})}
    sources = {f"{name}.Source": dict(values) for name, values in (extensions or {}).items()}
    return {
        "Transform": "AWS::Serverless-2016-10-31",
        "Metadata": {"Poller": {"Endpoints": dict(endpoints or {}), "EventSources": sources, **settings}},
        "Resources": dict(functions),
    }
