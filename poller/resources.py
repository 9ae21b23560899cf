"""AWS's resources as models: names, ranges and defaults of the API (A.7, C.1). The only validation of their values.

The template builds these models, and so does whoever else creates a function or a mapping. `function` and
`event_source_mapping` are the constructors: they report every problem of a resource at once.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from poller.api_errors import at_least, at_most
from poller.endpoints import Target
from poller.environment_variables import FunctionEnvironment
from poller.errors import ConfigError, Problem
from poller.kafka_cluster import KafkaCluster, KafkaEventSourceConfig, SelfManagedKafkaConfig, Topic
from poller.logging_config import FunctionLoggingConfig, LoggingConfig
from poller.mapping_rules import Kind, broken_rules, kind_of
from poller.model import FunctionConfiguration
from poller.runtime.runtimes import RUNTIMES
from poller.runtime.toolchains import machine
from poller.sources.kafka_security import KafkaSecurity
from poller.supported import MAPPING_WITHOUT_EFFECT
from poller.validation import Boolean, Integer, Model, Number, Text, Violation, in_pattern, parse

FIRST_IN_MILLISECONDS = 1e11
"""Seconds of the year 5138: a greater time is one in milliseconds, of 1973 or later."""

_NAMESPACE = uuid.UUID("b2f1f0c4-6f0e-5d53-9a43-8d0c6c1d7a11")


def _runtime(value: str) -> str:
    if value in RUNTIMES:
        return value
    raise ValueError(f"the runtime {value} is not supported: {', '.join(RUNTIMES)}; this machine has {machine()}")


def _package_type(value: Any) -> Any:
    if value == "Image":
        raise ValueError("container images are not supported: give CodeUri, Handler and Runtime")
    return value


class FunctionStorage(Model):
    """An environment's temporary folder."""

    Size: Annotated[Integer, Field(ge=512, le=10_240)] = 512
    """MB."""


class Function(Model):
    """A function, as CreateFunction takes it (A.7); `Code` is a local folder, of an archive where it was unpacked."""

    FunctionName: Annotated[str, in_pattern("[a-zA-Z0-9-_]{1,64}", "1 to 64 letters, digits, '-' or '_'")]
    Code: Path
    """Folder with the handler's code, or a zip archive of it, such as a jar. An archive is unpacked at the start."""
    Handler: Annotated[str, Field(max_length=128), in_pattern(r"[^\s\0]+", "a handler, such as handler.handler")]
    Runtime: Annotated[str, AfterValidator(_runtime)]
    Timeout: Annotated[Integer, Field(ge=1, le=900)] = 3
    """Seconds."""
    MemorySize: Annotated[Integer, Field(ge=128, le=10_240)] = 128
    """MB."""
    EphemeralStorage: FunctionStorage = FunctionStorage()
    Environment: FunctionEnvironment = FunctionEnvironment()
    Layers: Annotated[tuple[Text, ...], Field(max_length=5)] = ()
    ReservedConcurrentExecutions: Annotated[Integer, Field(ge=0)] | None = None
    RecursiveLoop: Literal["Terminate", "Allow"] = "Terminate"
    """Whether events may go round among functions that are each other's destinations, or are stopped after 16 (B.5)."""
    LoggingConfig: FunctionLoggingConfig = LoggingConfig()
    PackageType: Annotated[Literal["Zip"], BeforeValidator(_package_type)] = "Zip"

    account_id: str = "123456789012"
    region: str = "us-east-1"
    runtime_client: Literal["poller", "aws"] = "poller"
    """The setting `RuntimeClient`."""
    layers: tuple[Path, ...] = ()
    """Folders and archives behind Layers, in their order."""

    def configuration(self) -> FunctionConfiguration:
        """What the runtime needs to know."""
        return FunctionConfiguration(
            function_name=self.FunctionName,
            code=self.Code,
            handler=self.Handler,
            runtime=self.Runtime,
            runtime_client=self.runtime_client,
            layers=self.layers,
            timeout=float(self.Timeout),
            memory_size=self.MemorySize,
            ephemeral_storage=self.EphemeralStorage.Size,
            environment=dict(self.Environment.Variables),
            reserved_concurrent_executions=self.ReservedConcurrentExecutions,
            account_id=self.account_id,
            region=self.region,
            logging=self.LoggingConfig.configuration(),
        )


class SourceAccessConfiguration(Model):
    """How to log in: the type says what the URI names (D.1.3)."""

    Type: str
    URI: Annotated[Text, Field(min_length=1, max_length=200)]


class EventFilter(Model):
    """One pattern (C.5)."""

    Pattern: Annotated[str, Field(max_length=4096)]


class EventFilters(Model):
    """Patterns of which one has to match. AWS's quota is 5 and can be raised to 10: there is no account here, so 10."""

    Filters: Annotated[tuple[EventFilter, ...], Field(max_length=10)] = ()


class FailureDestination(Model):
    """Where given-up records go."""

    Destination: str = ""


class Destinations(Model):
    """Only OnFailure exists for event source mappings."""

    OnFailure: FailureDestination = FailureDestination()


class ProvisionedPollers(Model):
    """Provisioned mode: consumers of the group, scaled by the lag (C.8)."""

    MinimumPollers: Annotated[Integer, Field(ge=1, le=200)] = 1
    """Least number, over all workers; never more than partitions."""
    MaximumPollers: Annotated[Integer, Field(ge=1, le=2000)] = 200
    """Most, over all workers; at least MinimumPollers."""


class EventMetrics(Model):
    """Which groups of metrics AWS shall write; here all of them are always on."""

    Metrics: Annotated[tuple[Literal["EventCount", "ErrorCount", "KafkaMetrics"], ...], Field(max_length=3)] = ()


def _record_age(seconds: int) -> int:
    text = f"{seconds} is neither -1 nor 60 to 604800"
    if seconds == -1 or 60 <= seconds <= 604_800:  # noqa: PLR2004 - the range of C.1
        return seconds
    if 0 <= seconds < 60:  # noqa: PLR2004 - in the range of AWS's model, and refused by the service all the same
        raise ValueError(text)
    raise Violation(text, at_least(-1) if seconds < 0 else at_most(604_800))


def _past(seconds: float) -> float:
    if seconds <= time.time():
        return seconds
    unit = "; it is a time in seconds since 1970, not in milliseconds" if seconds > FIRST_IN_MILLISECONDS else ""
    raise ValueError(f"{seconds:.15g} is in the future{unit}")


class Extensions(Model):
    """What AWS has no property for, from `EventSources` of the settings."""

    MaximumRetryAttempts: Annotated[Integer, Field(ge=-1, le=10_000)] = -1
    """Of an MQ message: redeliveries after the first one that failed; -1 is without end, as on AWS."""
    OnFailure: SecretStr | None = None
    """Where given-up records go: `kafka://…`, `amqp://…` or `file:…`."""
    FunctionResponseTypes: tuple[Literal["ReportBatchItemFailures"], ...] = ()
    """Of an MQ mapping; an item's identifier is its messageId."""
    Concurrency: Annotated[Integer, Field(ge=1, le=100)] = 1
    """Of an MQ mapping: consumers of its queue, each with one batch in work; 1 as on AWS. Over all workers."""
    ErrorHeaders: Literal["connect", "spring", "none"] = "connect"
    """Headers of a Kafka mapping's dead letters: those of Kafka Connect (F.1), those of Spring Kafka (F.2), or none."""
    EventGrouping: Literal["Partition", "Poller"] = "Partition"
    """Of a Kafka mapping: whose records one event holds. `Partition`: one partition's, and partitions run side by side.
    `Poller`: those of all partitions of a poller, which has one event in work at a time."""


class EventSourceMapping(Model):
    """A mapping, as CreateEventSourceMapping takes it (C.1). Lower-case fields are not AWS's."""

    UUID: str
    FunctionName: str
    Enabled: Boolean = True
    BatchSize: Annotated[Integer, Field(ge=1, le=10_000)] = 100
    MaximumBatchingWindowInSeconds: Annotated[Integer, Field(ge=0, le=300)] | None = None
    """None is the 500 ms that these sources have by default (C.1)."""
    EventSourceArn: str | None = None
    SelfManagedEventSource: KafkaCluster | None = None
    SelfManagedKafkaEventSourceConfig: SelfManagedKafkaConfig | None = None
    AmazonManagedKafkaEventSourceConfig: KafkaEventSourceConfig | None = None
    Topics: Annotated[tuple[Topic, ...], Field(max_length=1)] = ()
    Queues: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=1000)], ...], Field(max_length=1)] = ()
    StartingPosition: Literal["TRIM_HORIZON", "LATEST", "AT_TIMESTAMP"] = "TRIM_HORIZON"
    """Means nothing for MQ."""
    StartingPositionTimestamp: Annotated[Number, Field(ge=0), AfterValidator(_past)] | None = None
    """Seconds since the epoch, with AT_TIMESTAMP and only then."""
    MaximumRetryAttempts: Annotated[Integer, Field(ge=-1, le=10_000)] = -1
    MaximumRecordAgeInSeconds: Annotated[Integer, AfterValidator(_record_age)] = -1
    BisectBatchOnFunctionError: Boolean = False
    FunctionResponseTypes: tuple[Literal["ReportBatchItemFailures"], ...] = ()
    DestinationConfig: Destinations = Destinations()
    FilterCriteria: EventFilters = EventFilters()
    MetricsConfig: EventMetrics = EventMetrics()
    ProvisionedPollerConfig: ProvisionedPollers | None = None
    SourceAccessConfigurations: Annotated[tuple[SourceAccessConfiguration, ...], Field(max_length=23)] = ()

    name: str
    """`Function.Event` of the template, for logs and metrics and for `EventSources` of the settings."""
    qualifier: str = ""
    """Version or alias of the function; empty for `$LATEST`."""
    bootstrap_servers: tuple[str, ...] = ()
    """Of a Kafka mapping: where the cluster is, whatever the kind."""
    security: KafkaSecurity = KafkaSecurity()
    """Of a Kafka mapping: how the cluster is logged in to."""
    broker_url: SecretStr | None = None
    """Of an MQ mapping: `amqp://user:password@host:port/vhost`, complete and percent-encoded; `amqps://` may have
    `?cacertfile=path` behind it."""
    on_failure: Target | None = None
    """Where given-up records go, from DestinationConfig or the extension."""
    extensions: Extensions = Extensions()

    @property
    def kind(self) -> Kind:
        """Which source the mapping reads."""
        kind = kind_of({"EventSourceArn": self.EventSourceArn, "SelfManagedEventSource": self.SelfManagedEventSource})
        assert kind is not None, "refused by broken_rules"
        return kind

    @property
    def called_function(self) -> str:
        """The function's name, with its version or alias where it has one."""
        return f"{self.FunctionName}:{self.qualifier}" if self.qualifier else self.FunctionName

    @property
    def consumer_group_id(self) -> str:
        """Of a Kafka mapping: the group it has been given, else its UUID (C.1)."""
        config = self.SelfManagedKafkaEventSourceConfig or self.AmazonManagedKafkaEventSourceConfig
        return (config and config.ConsumerGroupId) or self.UUID

    @property
    def starting_timestamp(self) -> int | None:
        """Of a Kafka mapping with AT_TIMESTAMP: milliseconds since the epoch, as records have them."""
        seconds = self.StartingPositionTimestamp
        return None if seconds is None else round(seconds * 1000)

    @property
    def virtual_host(self) -> str:
        """Of an MQ mapping (D.2)."""
        return next((access.URI for access in self.SourceAccessConfigurations if access.Type == "VIRTUAL_HOST"), "/")

    @property
    def filter_patterns(self) -> tuple[str, ...]:
        """JSON texts of FilterCriteria."""
        return tuple(item.Pattern for item in self.FilterCriteria.Filters)

    @property
    def maximum_retry_attempts(self) -> int:
        """AWS's property for Kafka, the extension for MQ; -1 is without end."""
        return self.extensions.MaximumRetryAttempts if self.kind == "MQ" else self.MaximumRetryAttempts

    @property
    def report_batch_item_failures(self) -> bool:
        """Whether replies are read for partial failures (C.6): AWS's property for Kafka, the extension for MQ."""
        return bool(self.FunctionResponseTypes or self.extensions.FunctionResponseTypes)


def function(values: Mapping[str, Any], where: Callable[[str], str]) -> Function:
    """Build a function.

    Args:
        values: properties of the model by name.
        where: turns a property's path into the path to show.

    Raises:
        ConfigError: everything that is wrong with it.
    """
    return parse(Function, values, where)


def event_source_mapping(
    values: Mapping[str, Any], where: Callable[[str], str], *, extension: str
) -> EventSourceMapping:
    """Build a mapping.

    Args:
        values: AWS's properties by name, and `name`; UUID is made from them unless given.
        where: turns a property's path into the path to show.
        extension: path of the settings that extend this mapping, for errors that name what exists instead.

    Raises:
        ConfigError: everything that is wrong with it.
    """
    values = {name: value for name, value in values.items() if name not in MAPPING_WITHOUT_EFFECT}
    values.setdefault("UUID", mapping_uuid(values))
    problems = [
        Problem(where(field), reason, suggestion) for field, reason, suggestion in broken_rules(values, extension)
    ]
    try:
        mapping = parse(EventSourceMapping, values, where)
    except ConfigError as error:
        problems = _merged(problems, error.problems)
    if problems:
        raise ConfigError(problems)
    return mapping


def _merged(ruled: list[Problem], found: Sequence[Problem]) -> list[Problem]:
    """Problems of rules and of the model. A rule says more of the same property; what AWS says of it is the model's."""
    errors = {problem.path: problem.error for problem in found}
    paths = {problem.path for problem in ruled}
    return [
        *(replace(problem, error=problem.error or errors.get(problem.path)) for problem in ruled),
        *(problem for problem in found if problem.path not in paths),
    ]


def mapping_uuid(values: Mapping[str, Any]) -> str:
    """The same for the same function, source and topic, so that the default consumer group outlives a restart."""
    access = values.get("SourceAccessConfigurations")
    items = [item for item in access if isinstance(item, dict)] if isinstance(access, list | tuple) else []
    virtual_hosts = [item.get("URI") for item in items if item.get("Type") == "VIRTUAL_HOST"]
    source = values.get("EventSourceArn") or sorted(_servers_in(values.get("SelfManagedEventSource")))
    parts = [values.get("FunctionName"), source, values.get("Topics"), values.get("Queues"), virtual_hosts]
    return str(uuid.uuid5(_NAMESPACE, json.dumps(parts, sort_keys=True, default=str)))


def _servers_in(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        value = list(value.values())
    return [name for item in value for name in _servers_in(item)] if isinstance(value, list | tuple) else [str(value)]
