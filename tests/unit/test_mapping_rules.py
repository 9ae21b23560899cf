"""Which property goes with which source and mode (C.1, D.1.2, D.2), and the table of errors (C.3), row by row.

Each row says what `poller validate` writes, and what a call of the API answers.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest
from mappings import GIVEN_UP, KAFKA, MQ, MSK, SOURCES, SQS, refusal
from templates import PROVISIONED

from poller.api_errors import ApiError, error_of

# --- C.1: which source has which property; D.1.2: what needs provisioned mode ----------------------------------------


PROVISIONED_MODE = (
    "ProvisionedPollerConfig, as on AWS (add ProvisionedPollerConfig: {MinimumPollers: 1, MaximumPollers: 1})"
)


@dataclass(frozen=True)
class Refused:
    why: str
    source: str
    changes: dict[str, Any]
    told: list[str]
    text: str = ""
    """AWS's, where C.3 has one."""
    kind: str = "InvalidParameterValueException"


NO_PROPERTY = "AWS has no such property for MQ"
UNSUPPORTED = "Unsupported DestinationConfig parameter for given event source mapping type."

REFUSED = [
    # ... needs provisioned mode, in both kinds of Kafka
    *(
        Refused(f"{name} without provisioned mode", source, {name: value}, [f"{name}: needs {PROVISIONED_MODE}"])
        for source in (KAFKA, MSK)
        for name, value in (
            ("MaximumRetryAttempts", 0),
            ("MaximumRecordAgeInSeconds", 60),
            ("BisectBatchOnFunctionError", True),
            ("FunctionResponseTypes", ["ReportBatchItemFailures"]),
        )
    ),
    *(
        Refused(
            "kafka:// without provisioned mode",
            source,
            {"DestinationConfig": GIVEN_UP},
            [f"DestinationConfig.OnFailure.Destination: kafka:// needs {PROVISIONED_MODE}"],
        )
        for source in (KAFKA, MSK)
    ),
    Refused(
        "provisioned mode that was taken away",
        KAFKA,
        {"ProvisionedPollerConfig": {}, "MaximumRetryAttempts": 1},
        [f"MaximumRetryAttempts: needs {PROVISIONED_MODE}"],
    ),
    # ... is not for MQ; what exists instead is named
    *(
        Refused(f"{name} for MQ", MQ, {name: value}, [f"{name}: {NO_PROPERTY} ({instead})"])
        for name, value, instead in (
            ("MaximumRetryAttempts", 3, "use EXTENSION.MaximumRetryAttempts"),
            (
                "MaximumRecordAgeInSeconds",
                60,
                "let messages expire on the broker: x-message-ttl of the queue, or their expiration",
            ),
            ("BisectBatchOnFunctionError", True, "name the messages that failed: EXTENSION.FunctionResponseTypes"),
            ("FunctionResponseTypes", ["ReportBatchItemFailures"], "use EXTENSION.FunctionResponseTypes"),
        )
    ),
    *(
        Refused(
            "OnFailure for MQ",
            MQ,
            {"DestinationConfig": given},
            [f"DestinationConfig: {UNSUPPORTED} (use EXTENSION.OnFailure)"],
            UNSUPPORTED,
        )
        for given in (SQS, GIVEN_UP)
    ),
    *(
        Refused(f"{name} for MQ", MQ, {name: value}, [f"{name}: belongs to Kafka; MQ has no such property"])
        for name, value in (
            ("StartingPosition", "LATEST"),
            ("Topics", ["orders"]),
            ("ProvisionedPollerConfig", PROVISIONED),
            ("SelfManagedKafkaEventSourceConfig", {"ConsumerGroupId": "g"}),
            ("AmazonManagedKafkaEventSourceConfig", {"ConsumerGroupId": "g"}),
        )
    ),
    Refused(
        "KafkaMetrics for MQ",
        MQ,
        {"MetricsConfig": {"Metrics": ["KafkaMetrics"]}},
        ["MetricsConfig.Metrics: KafkaMetrics belongs to Kafka"],
    ),
    Refused("Queues for Kafka", KAFKA, {"Queues": ["q"]}, ["Queues: belongs to MQ; a Kafka source has Topics"]),
    # ... belongs to other sources, or is not built
    *(
        Refused(f"{name} for {source}", source, {name: value}, [f"{name}: not supported: {reason}"])
        for source in SOURCES
        for name, value, reason in (
            ("ParallelizationFactor", 2, "it belongs to Kinesis and DynamoDB streams"),
            ("TumblingWindowInSeconds", 60, "it belongs to Kinesis and DynamoDB streams"),
            (
                "ScalingConfig",
                {"MaximumConcurrency": 2},
                "it belongs to SQS; ReservedConcurrentExecutions of the function is a bound here, too",
            ),
            ("LoggingConfig", {"SystemLogLevel": "DEBUG"}, "the log's level is Metadata.Poller.LogLevel here"),
        )
    ),
    Refused(
        "pollers in a group",
        KAFKA,
        {"ProvisionedPollerConfig": {**PROVISIONED, "PollerGroupName": "g"}},
        ["ProvisionedPollerConfig.PollerGroupName: not supported: pollers are not grouped here"],
    ),
    *(
        Refused(
            "schema registry",
            source,
            {config: {"SchemaRegistryConfig": {}}},
            [
                f"{config}.SchemaRegistryConfig: not supported: records are handed over as they are, and no registry is asked"
            ],
        )
        for source, config in (
            (KAFKA, "SelfManagedKafkaEventSourceConfig"),
            (MSK, "AmazonManagedKafkaEventSourceConfig"),
        )
    ),
    Refused(
        "share groups",
        KAFKA,
        {"SelfManagedKafkaEventSourceConfig": {"ConsumptionMode": "Queue"}},
        [
            (
                "SelfManagedKafkaEventSourceConfig.ConsumptionMode: not supported: Queue reads share groups, which is not "
                "built here (leave it out: topics are read as streams, by consumers of a group)"
            )
        ],
    ),
    Refused(
        "consumption mode of MSK",
        MSK,
        {"AmazonManagedKafkaEventSourceConfig": {"ConsumptionMode": "Stream"}},
        ["AmazonManagedKafkaEventSourceConfig.ConsumptionMode: is for self-managed Kafka only, as on AWS"],
    ),
    Refused(
        "the other Kafka's configuration",
        MSK,
        {"SelfManagedKafkaEventSourceConfig": {"ConsumerGroupId": "g"}},
        [
            "SelfManagedKafkaEventSourceConfig: belongs to another kind of source; use AmazonManagedKafkaEventSourceConfig"
        ],
    ),
    # ... destinations
    *(
        Refused(
            "a destination of another kind",
            KAFKA,
            {"DestinationConfig": {"OnFailure": {"Destination": uri}}},
            [
                (
                    f'DestinationConfig.OnFailure.Destination: "{uri}" is not kafka://topic nor an ARN of SQS, SNS or S3 '
                    "(amqp://… and file:… stand in EXTENSION.OnFailure)"
                )
            ],
        )
        for uri in ("arn:aws:lambda:us-east-1:123456789012:function:f", "kafka://", "kafka://a/b", "file:dead.jsonl")
    ),
    Refused(
        "given-up records into the topic that is read",
        KAFKA,
        {
            "ProvisionedPollerConfig": PROVISIONED,
            "DestinationConfig": {"OnFailure": {"Destination": "kafka://orders"}},
        },
        [
            (
                "DestinationConfig.OnFailure.Destination: is the topic that the mapping reads; given-up records would come "
                "back for ever"
            )
        ],
    ),
    Refused(
        "what happens to good records",
        KAFKA,
        {"DestinationConfig": {"OnSuccess": {"Destination": "kafka://done"}}},
        ["DestinationConfig.OnSuccess: unknown property"],
    ),
    # ... the range of the service is smaller than that of its model
    *(
        Refused(
            f"an age of {age} s",
            KAFKA,
            {"ProvisionedPollerConfig": PROVISIONED, "MaximumRecordAgeInSeconds": age},
            [f"MaximumRecordAgeInSeconds: {age} is neither -1 nor 60 to 604800"],
        )
        for age in (0, 59)
    ),
    # ... exactly one topic or queue
    *(
        Refused("no topic", source, {"Topics": ...}, ["Topics: is missing (name exactly one topic)"])
        for source in (KAFKA, MSK)
    ),
    Refused("no topic", KAFKA, {"Topics": []}, ["Topics: names 0 topics, exactly 1 is allowed"]),
    Refused("no queue", MQ, {"Queues": ...}, ["Queues: is missing (name exactly one queue)"]),
    # --- C.3
    Refused(
        "no source at all",
        KAFKA,
        {"SelfManagedEventSource": ...},
        ["Unrecognized event source. (give EventSourceArn or SelfManagedEventSource)"],
        "Unrecognized event source.",
    ),
    *(
        Refused(
            "no list of logins",
            source,
            {"SourceAccessConfigurations": given},
            [f"SourceAccessConfigurations: Required 'sourceAccessConfigurations' parameter is missing. ({hint})"],
            "Required 'sourceAccessConfigurations' parameter is missing.",
        )
        for given in (..., [])
        for source, hint in (
            (KAFKA, "for a cluster without login give one VPC_SUBNET and one VPC_SECURITY_GROUP"),
            (MQ, "give Type: BASIC_AUTH and, as URI, the ARN of a secret"),
        )
    ),
    *(
        Refused(
            "bad StartingPosition",
            source,
            {"StartingPosition": name},
            [f"StartingPosition: {text}{hint}"],
            text,
            "ValidationException",
        )
        for source in (KAFKA, MSK)
        for name, hint in (("NOW", ""), ("latest", " (it is case-sensitive)"), (5, ""))
        for text in (
            (
                f"1 validation error detected: Value '{name}' at 'startingPosition' failed to satisfy constraint: "
                "Member must satisfy enum value set: [LATEST, AT_TIMESTAMP, TRIM_HORIZON]"
            ),
        )
    ),
    *(
        Refused(
            "bad filter",
            source,
            {"FilterCriteria": {"Filters": [{"Pattern": json.dumps({key: "bare"})}]}},
            [
                (
                    "FilterCriteria.Filters[0].Pattern: Invalid filter pattern definition. "
                    f'({key}: must be an array of values, such as ["bare"], or an object)'
                )
            ],
            "Invalid filter pattern definition.",
        )
        for source, key in ((KAFKA, "value"), (MSK, "value"), (MQ, "data"))
    ),
]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: f"{case.why}, {case.source}")
def test_what_does_not_go_together_is_refused_and_says_what_would(case: Refused) -> None:  # C.1, C.3, D.1.2, D.2
    problems = refusal(case.source, **case.changes)
    assert [str(problem) for problem in problems] == case.told
    error = error_of(problems)
    assert (error.status, error.type) == (400, case.kind)
    if case.text:
        assert error.text == case.text
        assert case.told == [str(error) if not problems[0].path else f"{problems[0].path}: {error}"], "the same words"
    assert isinstance(error, ApiError)


def test_everything_wrong_is_told_at_once_also_by_the_api() -> None:
    problems = refusal(KAFKA, BatchSize=0, Queues=["q"], SourceAccessConfigurations=...)
    error = error_of(problems)
    assert error.type == "ValidationException"
    for problem in problems:
        assert str(problem) in str(error)
