"""Which properties of an event source mapping go with which source, and with one another (C.1, C.3, D.1, D.2). Pure.

Rules read the values as they were given, before the models of `poller.resources` do, so that one run finds all that
is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

from poller.access_rules import Broken, broken_access
from poller.api_errors import STARTING_POSITIONS, UNRECOGNIZED_SOURCE, UNSUPPORTED_DESTINATION, one_of, violation
from poller.supported import MAPPING_REFUSED
from poller.validation import describe, plural

Kind = Literal["SelfManagedKafka", "MSK", "MQ"]

_PROVISIONED = "add ProvisionedPollerConfig: {MinimumPollers: 1, MaximumPollers: 1}"

_NEED_PROVISIONED_MODE = (
    "MaximumRetryAttempts",
    "MaximumRecordAgeInSeconds",
    "BisectBatchOnFunctionError",
    "FunctionResponseTypes",
)
_FOR_MQ = {
    "MaximumRetryAttempts": "use {extension}.MaximumRetryAttempts",
    "MaximumRecordAgeInSeconds": "let messages expire on the broker: x-message-ttl of the queue, or their expiration",
    "BisectBatchOnFunctionError": "name the messages that failed: {extension}.FunctionResponseTypes",
    "FunctionResponseTypes": "use {extension}.FunctionResponseTypes",
}
"""The same properties for MQ, which has none of them on AWS, and what exists instead."""
_DESTINATION = re.compile(r"kafka://[^.][a-zA-Z0-9._-]{0,248}|arn:aws[a-zA-Z0-9-]*:(sqs|sns|s3):.+")


def kind_of(values: Mapping[str, Any]) -> Kind | None:
    """Which source a mapping reads, told from its ARN; None for a source that is not supported."""
    if values.get("SelfManagedEventSource"):
        return "SelfManagedKafka"
    match _service(values):
        case "kafka":
            return "MSK"
        case "mq":
            return "MQ"
    return None


def broken_rules(values: Mapping[str, Any], extension: str) -> Iterator[Broken]:
    """Every rule that the values break; `extension` is the path of the settings that extend this mapping."""
    for name in values:
        if name in MAPPING_REFUSED:
            yield name, f"not supported: {MAPPING_REFUSED[name]}", ""
    arn, self_managed = values.get("EventSourceArn"), values.get("SelfManagedEventSource")
    kind = kind_of(values)
    if arn and self_managed:
        yield "EventSourceArn", "stands beside SelfManagedEventSource; a mapping has one source", ""
    elif kind == "MQ":
        yield from _mq(values, extension)
    elif kind:
        yield from _kafka(values, kind, extension)
    elif arn:
        service = _service(values)
        yield (
            "EventSourceArn",
            f"{service or describe(arn)} is not supported as an event source",
            ("supported: MSK (arn:aws:kafka:…), MQ (arn:aws:mq:…) and SelfManagedEventSource"),
        )
    else:
        yield "", UNRECOGNIZED_SOURCE, "give EventSourceArn or SelfManagedEventSource"
    if kind:
        yield from _filters(values, "data" if kind == "MQ" else "value")


def _asks_for_nothing(value: Any) -> bool:
    """A default written out, which may stand anywhere."""
    return value is None or value is False or str(value) in {"-1", "false", "[]", "()"}


def _service(values: Mapping[str, Any]) -> str | None:
    parts = str(values.get("EventSourceArn") or "").split(":")
    return parts[2] if len(parts) >= 6 and parts[0] == "arn" else None  # noqa: PLR2004 - fields of an ARN


def _list(value: Any) -> Sequence[Any]:
    """The value if it is a list, else nothing: the model says that it should be one."""
    return value if isinstance(value, list | tuple) else ()


def _exactly_one(values: Mapping[str, Any], name: str, noun: str) -> Iterator[Broken]:
    given = values.get(name)
    if given is None:
        yield name, "is missing", f"name exactly one {noun}"
    elif isinstance(given, list | tuple) and len(given) != 1:
        yield name, f"names {plural(len(given), noun)}, exactly 1 is allowed", ""


def _kafka(values: Mapping[str, Any], kind: Kind, extension: str) -> Iterator[Broken]:
    yield from _exactly_one(values, "Topics", "topic")
    if values.get("Queues"):
        yield "Queues", "belongs to MQ; a Kafka source has Topics", ""
    yield from _kafka_config(values, kind)
    yield from _starting_position(values)
    yield from broken_access(values, kind)
    provisioned = values.get("ProvisionedPollerConfig")
    if isinstance(provisioned, dict):
        yield from _provisioned_mode(provisioned)
    if not provisioned:
        for name in _NEED_PROVISIONED_MODE:
            if not _asks_for_nothing(values.get(name)):
                yield name, "needs ProvisionedPollerConfig, as on AWS", _PROVISIONED
    yield from _kafka_destination(values, extension, provisioned=bool(provisioned))


def _kafka_config(values: Mapping[str, Any], kind: Kind) -> Iterator[Broken]:
    foreign = "AmazonManaged" if kind == "SelfManagedKafka" else "SelfManaged"
    if values.get(f"{foreign}KafkaEventSourceConfig"):
        own = "SelfManaged" if kind == "SelfManagedKafka" else "AmazonManaged"
        yield (
            f"{foreign}KafkaEventSourceConfig",
            f"belongs to another kind of source; use {own}KafkaEventSourceConfig",
            "",
        )
    for config in ("SelfManagedKafkaEventSourceConfig", "AmazonManagedKafkaEventSourceConfig"):
        given = values.get(config)
        if isinstance(given, dict) and "SchemaRegistryConfig" in given:
            yield f"{config}.SchemaRegistryConfig", f"not supported: {MAPPING_REFUSED['SchemaRegistryConfig']}", ""
        if isinstance(given, dict) and "ConsumptionMode" in given:
            yield from _consumption_mode(config, given["ConsumptionMode"])


def _consumption_mode(config: str, mode: Any) -> Iterator[Broken]:
    if config.startswith("AmazonManaged"):
        yield f"{config}.ConsumptionMode", "is for self-managed Kafka only, as on AWS", ""
    elif mode == "Queue":
        hint = "leave it out: topics are read as streams, by consumers of a group"
        yield f"{config}.ConsumptionMode", "not supported: Queue reads share groups, which is not built here", hint


def _starting_position(values: Mapping[str, Any]) -> Iterator[Broken]:
    position, timestamp = values.get("StartingPosition"), values.get("StartingPositionTimestamp")
    if position is not None and position not in STARTING_POSITIONS:
        text = violation(position, "StartingPosition", one_of(STARTING_POSITIONS)).text
        yield "StartingPosition", text, "it is case-sensitive" if str(position).upper() in STARTING_POSITIONS else ""
    elif position == "AT_TIMESTAMP" and timestamp is None:
        yield "StartingPositionTimestamp", "is missing", "AT_TIMESTAMP wants a time in seconds since 1970"
    elif position != "AT_TIMESTAMP" and timestamp is not None:
        yield "StartingPositionTimestamp", "belongs to AT_TIMESTAMP", "set StartingPosition: AT_TIMESTAMP"


def _provisioned_mode(config: Mapping[str, Any]) -> Iterator[Broken]:
    if "PollerGroupName" in config:
        yield "ProvisionedPollerConfig.PollerGroupName", "not supported: pollers are not grouped here", ""
    least, most = config.get("MinimumPollers", 1), config.get("MaximumPollers", 200)
    if str(least).isdigit() and str(most).isdigit() and int(most) < int(least):
        by_default = "" if "MaximumPollers" in config else " by default"
        yield "ProvisionedPollerConfig.MaximumPollers", f"{most}{by_default} is below MinimumPollers {least}", ""


def _kafka_destination(values: Mapping[str, Any], extension: str, *, provisioned: bool) -> Iterator[Broken]:
    field, destination = _destination(values)
    if not destination:
        return
    if not _DESTINATION.fullmatch(destination):
        hint = f"amqp://… and file:… stand in {extension}.OnFailure"
        yield field, f"{describe(destination)} is not kafka://topic nor an ARN of SQS, SNS or S3", hint
    elif destination.startswith("kafka://"):
        if not provisioned:
            yield field, "kafka:// needs ProvisionedPollerConfig, as on AWS", _PROVISIONED
        if destination.removeprefix("kafka://") in _list(values.get("Topics")):
            yield field, "is the topic that the mapping reads; given-up records would come back for ever", ""


def _destination(values: Mapping[str, Any]) -> tuple[str, str]:
    inner: Any = values.get("DestinationConfig")
    for name in ("OnFailure", "Destination"):
        inner = inner.get(name) if isinstance(inner, dict) else None
    return "DestinationConfig.OnFailure.Destination", inner if isinstance(inner, str) else ""


def _mq(values: Mapping[str, Any], extension: str) -> Iterator[Broken]:
    yield from _exactly_one(values, "Queues", "queue")
    for name in ("Topics", "StartingPosition", "StartingPositionTimestamp", "ProvisionedPollerConfig"):
        if values.get(name):
            yield name, "belongs to Kafka; MQ has no such property", ""
    for name in ("SelfManagedKafkaEventSourceConfig", "AmazonManagedKafkaEventSourceConfig"):
        if values.get(name):
            yield name, "belongs to Kafka; MQ has no such property", ""
    for name, instead in _FOR_MQ.items():
        if not _asks_for_nothing(values.get(name)):
            yield name, "AWS has no such property for MQ", instead.format(extension=extension)
    metrics = values.get("MetricsConfig")
    if isinstance(metrics, dict) and "KafkaMetrics" in _list(metrics.get("Metrics")):
        yield "MetricsConfig.Metrics", "KafkaMetrics belongs to Kafka", ""
    _, destination = _destination(values)
    if destination:
        yield "DestinationConfig", UNSUPPORTED_DESTINATION, f"use {extension}.OnFailure"
    yield from broken_access(values, "MQ")


def _filters(values: Mapping[str, Any], data_key: str) -> Iterator[Broken]:
    criteria = values.get("FilterCriteria")
    filters = _list(criteria.get("Filters") if isinstance(criteria, dict) else None)
    if not filters:
        return
    from poller.policy.filtering import compile_filters  # noqa: PLC0415 - most mappings have no filter

    check: Callable[[list[str], str], object] = compile_filters
    for index, item in enumerate(filters):
        pattern = item.get("Pattern") if isinstance(item, dict) else None
        if isinstance(pattern, str):
            try:
                check([pattern], data_key)
            except ValueError as error:
                yield f"FilterCriteria.Filters[{index}].Pattern", str(error), getattr(error, "detail", "")
