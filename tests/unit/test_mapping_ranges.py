"""The table of parameters (C.1), row by row: defaults, the ends of each range, and what lies beyond them.

A wrong row says what `poller validate` writes, and what AWS's service model says of it (A.3).
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from mappings import GIVEN_UP, KAFKA, MQ, MSK, PATTERN, SOURCES, SQS, build, refusal, servers
from templates import NO_LOGIN, PROVISIONED, SECRET

from poller.api_errors import error_of

# --- C.1: defaults ---------------------------------------------------------------------------------------------------

DEFAULTS: list[tuple[str, str, Any]] = [
    *((source, "BatchSize", 100) for source in SOURCES),
    *((source, "MaximumBatchingWindowInSeconds", None) for source in SOURCES),  # 500 ms, which has no number (C.1)
    *((source, "MaximumRetryAttempts", -1) for source in SOURCES),
    *((source, "MaximumRecordAgeInSeconds", -1) for source in SOURCES),
    *((source, "BisectBatchOnFunctionError", False) for source in SOURCES),
    *((source, "FunctionResponseTypes", ()) for source in SOURCES),
    *((source, "filter_patterns", ()) for source in SOURCES),
    *((source, "on_failure", None) for source in SOURCES),
    *((source, "ProvisionedPollerConfig", None) for source in SOURCES),
    *((source, "Enabled", True) for source in SOURCES),
    (KAFKA, "StartingPosition", "TRIM_HORIZON"),
    (MSK, "StartingPosition", "TRIM_HORIZON"),
    (MQ, "virtual_host", "/"),
]


@pytest.mark.parametrize(("source", "name", "expected"), DEFAULTS)
def test_what_is_not_said_has_the_default_of_the_service(source: str, name: str, expected: Any) -> None:  # C.1
    assert getattr(build(source), name) == expected


@pytest.mark.parametrize("source", [KAFKA, MSK])
def test_the_consumer_group_is_the_uuid_unless_it_is_named(source: str) -> None:  # C.1, G 27
    assert build(source).consumer_group_id == build(source).UUID


def test_provisioned_mode_has_1_to_200_pollers_unless_it_says_more() -> None:  # C.1
    mapping = build(KAFKA, ProvisionedPollerConfig={"MinimumPollers": 200})
    assert mapping.ProvisionedPollerConfig is not None
    assert mapping.ProvisionedPollerConfig.MaximumPollers == 200


# --- C.1: the ends of each range are taken ---------------------------------------------------------------------------

TAKEN: list[tuple[str, dict[str, Any]]] = [
    *((source, {"BatchSize": size}) for source in SOURCES for size in (1, 10_000)),
    *((source, {"MaximumBatchingWindowInSeconds": seconds}) for source in SOURCES for seconds in (0, 300)),
    *((source, {"StartingPosition": name}) for source in (KAFKA, MSK) for name in ("TRIM_HORIZON", "LATEST")),
    *(
        (source, {"ProvisionedPollerConfig": PROVISIONED, **changes})
        for source in (KAFKA, MSK)
        for changes in (
            {"MaximumRetryAttempts": -1},
            {"MaximumRetryAttempts": 0},
            {"MaximumRetryAttempts": 10_000},
            {"MaximumRecordAgeInSeconds": -1},
            {"MaximumRecordAgeInSeconds": 60},
            {"MaximumRecordAgeInSeconds": 604_800},
            {"BisectBatchOnFunctionError": True},
            {"FunctionResponseTypes": ["ReportBatchItemFailures"]},
            {"FunctionResponseTypes": []},
            {"DestinationConfig": GIVEN_UP},
        )
    ),
    *((source, {"DestinationConfig": SQS}) for source in (KAFKA, MSK)),  # in both modes (D.1.2)
    *((source, {"DestinationConfig": {"OnFailure": {"Destination": ""}}}) for source in SOURCES),
    *((source, {"DestinationConfig": {"OnFailure": {}}}) for source in SOURCES),
    *((source, {"FilterCriteria": criteria}) for source in SOURCES for criteria in ({}, {"Filters": []})),
    (KAFKA, {"FilterCriteria": {"Filters": [{"Pattern": PATTERN}] * 5}}),
    (KAFKA, {"FilterCriteria": {"Filters": [{"Pattern": PATTERN}] * 10}}),  # the quota raised
    (KAFKA, {"FilterCriteria": {"Filters": [{"Pattern": json.dumps({"value": ["x" * 4081]})}]}}),
    (KAFKA, {"ProvisionedPollerConfig": {"MinimumPollers": 1, "MaximumPollers": 1}}),
    (KAFKA, {"ProvisionedPollerConfig": {"MinimumPollers": 200, "MaximumPollers": 200}}),
    (KAFKA, {"Topics": ["ab"]}),
    (KAFKA, {"Topics": ["t" * 249]}),
    (MQ, {"Queues": ["q"]}),
    (MQ, {"Queues": ["q" * 1000]}),
    (KAFKA, {"SelfManagedEventSource": servers(*(f"h{number}:9092" for number in range(10)))}),
    (KAFKA, {"SelfManagedKafkaEventSourceConfig": {"ConsumerGroupId": "g" * 200}}),
    (MSK, {"AmazonManagedKafkaEventSourceConfig": {"ConsumerGroupId": "g"}}),
    (KAFKA, {"SelfManagedKafkaEventSourceConfig": {"ConsumptionMode": "Stream"}}),
    (KAFKA, {"MetricsConfig": {"Metrics": ["EventCount", "ErrorCount", "KafkaMetrics"]}}),
    (MQ, {"MetricsConfig": {"Metrics": ["EventCount"]}}),
    (MQ, {"SourceAccessConfigurations": [{"Type": "BASIC_AUTH", "URI": SECRET}, {"Type": "VIRTUAL_HOST", "URI": "v"}]}),
    *((source, {"Enabled": False}) for source in SOURCES),
]


@pytest.mark.parametrize(("source", "changes"), TAKEN, ids=str)
def test_a_value_within_its_range_is_taken(source: str, changes: dict[str, Any]) -> None:  # C.1
    build(source, **changes)


# --- C.1: beyond a range: 400, with the words of the service's model (A.3) -------------------------------------------


def low(limit: int) -> str:
    return f"Member must have value greater than or equal to {limit}"


def high(limit: int) -> str:
    return f"Member must have value less than or equal to {limit}"


def longest(limit: int) -> str:
    return f"Member must have length less than or equal to {limit}"


def shortest(limit: int) -> str:
    return f"Member must have length greater than or equal to {limit}"


LONG_PATTERN = json.dumps({"value": ["x" * 4082]})
OUT_OF_RANGE: list[tuple[str, dict[str, Any], str, str]] = [
    # source, what is said, what `poller validate` writes, value, field and constraint of AWS
    *(
        row
        for source in SOURCES
        for row in (
            (source, {"BatchSize": 0}, "BatchSize: 0 is below 1", f"'0' at 'batchSize' {low(1)}"),
            (
                source,
                {"BatchSize": 10_001},
                "BatchSize: 10001 is above 10000",
                f"'10001' at 'batchSize' {high(10_000)}",
            ),
            (
                source,
                {"MaximumBatchingWindowInSeconds": -1},
                "MaximumBatchingWindowInSeconds: -1 is below 0",
                f"'-1' at 'maximumBatchingWindowInSeconds' {low(0)}",
            ),
            (
                source,
                {"MaximumBatchingWindowInSeconds": 301},
                "MaximumBatchingWindowInSeconds: 301 is above 300",
                f"'301' at 'maximumBatchingWindowInSeconds' {high(300)}",
            ),
        )
    ),
    (
        KAFKA,
        {"ProvisionedPollerConfig": PROVISIONED, "MaximumRetryAttempts": -2},
        "MaximumRetryAttempts: -2 is below -1",
        f"'-2' at 'maximumRetryAttempts' {low(-1)}",
    ),
    (
        KAFKA,
        {"ProvisionedPollerConfig": PROVISIONED, "MaximumRetryAttempts": 10_001},
        "MaximumRetryAttempts: 10001 is above 10000",
        f"'10001' at 'maximumRetryAttempts' {high(10_000)}",
    ),
    (
        KAFKA,
        {"ProvisionedPollerConfig": PROVISIONED, "MaximumRecordAgeInSeconds": -2},
        "MaximumRecordAgeInSeconds: -2 is neither -1 nor 60 to 604800",
        f"'-2' at 'maximumRecordAgeInSeconds' {low(-1)}",
    ),
    (
        KAFKA,
        {"ProvisionedPollerConfig": PROVISIONED, "MaximumRecordAgeInSeconds": 604_801},
        "MaximumRecordAgeInSeconds: 604801 is neither -1 nor 60 to 604800",
        f"'604801' at 'maximumRecordAgeInSeconds' {high(604_800)}",
    ),
    (
        KAFKA,
        {"ProvisionedPollerConfig": PROVISIONED, "FunctionResponseTypes": ["ReportItems"]},
        'FunctionResponseTypes[0]: "ReportItems" is not ReportBatchItemFailures',
        "'ReportItems' at 'functionResponseTypes.1.member' Member must satisfy enum value set: [ReportBatchItemFailures]",
    ),
    (
        KAFKA,
        {"ProvisionedPollerConfig": {"MinimumPollers": 0, "MaximumPollers": 0}},
        "ProvisionedPollerConfig.MinimumPollers: 0 is below 1",
        f"'0' at 'provisionedPollerConfig.minimumPollers' {low(1)}",
    ),
    (
        KAFKA,
        {"ProvisionedPollerConfig": {"MinimumPollers": 201, "MaximumPollers": 201}},
        "ProvisionedPollerConfig.MinimumPollers: 201 is above 200",
        f"'201' at 'provisionedPollerConfig.minimumPollers' {high(200)}",
    ),
    (
        KAFKA,
        {"ProvisionedPollerConfig": {"MinimumPollers": 1, "MaximumPollers": 2001}},
        "ProvisionedPollerConfig.MaximumPollers: 2001 is above ",
        f"'2001' at 'provisionedPollerConfig.maximumPollers' {high(2000)}",
    ),
    (
        KAFKA,
        {"FilterCriteria": {"Filters": [{"Pattern": PATTERN}] * 11}},
        "FilterCriteria.Filters: has 11 items, at most 10 may be there",
        f"at 'filterCriteria.filters' {longest(10)}",
    ),
    (
        KAFKA,
        {"FilterCriteria": {"Filters": [{"Pattern": LONG_PATTERN}]}},
        (
            "FilterCriteria.Filters[0].Pattern: Invalid filter pattern definition. "
            "(the pattern has 4097 characters; 4096 is the limit)"
        ),
        f"at 'filterCriteria.filters.1.member.pattern' {longest(4096)}",
    ),
    (
        KAFKA,
        {"Topics": ["one", "two"]},
        "Topics: names 2 topics, exactly 1 is allowed",
        f"'[one, two]' at 'topics' {longest(1)}",
    ),
    (
        MQ,
        {"Queues": ["one", "two"]},
        "Queues: names 2 queues, exactly 1 is allowed",
        f"'[one, two]' at 'queues' {longest(1)}",
    ),
    *(
        (
            KAFKA,
            {"Topics": [name]},
            f'Topics[0]: "{name[:78]}',
            r"at 'topics.1.member' Member must satisfy regular expression pattern: [^.]([a-zA-Z0-9\-_.]+)",
        )
        for name in (".a", "a b", "t", "t" * 250)
    ),
    (MQ, {"Queues": [""]}, "Queues[0]: is shorter than 1 character", f"'' at 'queues.1.member' {shortest(1)}"),
    (
        MQ,
        {"Queues": ["q" * 1001]},
        "Queues[0]: has 1001 characters, 1000 are allowed",
        f"at 'queues.1.member' {longest(1000)}",
    ),
    (
        KAFKA,
        {"SourceAccessConfigurations": [*NO_LOGIN, *[NO_LOGIN[0]] * 22]},
        "SourceAccessConfigurations: has 24 items, at most 23 may be there",
        f"at 'sourceAccessConfigurations' {longest(23)}",
    ),
    (
        MQ,
        {"SourceAccessConfigurations": [{"Type": "BASIC_AUTH", "URI": SECRET}, {"Type": "VIRTUAL_HOST", "URI": ""}]},
        "SourceAccessConfigurations[1].URI: is shorter than 1 character",
        f"'' at 'sourceAccessConfigurations.2.member.uri' {shortest(1)}",
    ),
    (
        MQ,
        {
            "SourceAccessConfigurations": [
                {"Type": "BASIC_AUTH", "URI": SECRET},
                {"Type": "VIRTUAL_HOST", "URI": "v" * 201},
            ]
        },
        "SourceAccessConfigurations[1].URI: has 201 characters, 200 are allowed",
        f"at 'sourceAccessConfigurations.2.member.uri' {longest(200)}",
    ),
    (
        KAFKA,
        {"SelfManagedEventSource": servers()},
        "SelfManagedEventSource.Endpoints.KAFKA_BOOTSTRAP_SERVERS: has 0 items, at least 1 must be there",
        f"'[]' at 'selfManagedEventSource.endpoints.KAFKA_BOOTSTRAP_SERVERS' {shortest(1)}",
    ),
    (
        KAFKA,
        {"SelfManagedEventSource": servers(*(f"h{number}:9092" for number in range(11)))},
        "SelfManagedEventSource.Endpoints.KAFKA_BOOTSTRAP_SERVERS: has 11 items, at most 10 may be there",
        f"at 'selfManagedEventSource.endpoints.KAFKA_BOOTSTRAP_SERVERS' {longest(10)}",
    ),
    (
        KAFKA,
        {"SelfManagedEventSource": servers("h1")},
        (
            'SelfManagedEventSource.Endpoints.KAFKA_BOOTSTRAP_SERVERS[0]: "h1" is not host:port; several servers are '
            "several items of the list"
        ),
        "'h1' at 'selfManagedEventSource.endpoints.KAFKA_BOOTSTRAP_SERVERS.1.member' Member must satisfy regular",
    ),
    (
        KAFKA,
        {"SelfManagedKafkaEventSourceConfig": {"ConsumerGroupId": "g" * 201}},
        "SelfManagedKafkaEventSourceConfig.ConsumerGroupId: has 201 characters, 200 are allowed",
        f"at 'selfManagedKafkaEventSourceConfig.consumerGroupId' {longest(200)}",
    ),
    (
        KAFKA,
        {"SelfManagedKafkaEventSourceConfig": {"ConsumptionMode": "Share"}},
        'SelfManagedKafkaEventSourceConfig.ConsumptionMode: "Share" is not Stream or Queue',
        (
            "'Share' at 'selfManagedKafkaEventSourceConfig.consumptionMode' "
            "Member must satisfy enum value set: [Stream, Queue]"
        ),
    ),
    (
        KAFKA,
        {"MetricsConfig": {"Metrics": ["Lag"]}},
        'MetricsConfig.Metrics[0]: "Lag" is not EventCount, ErrorCount or KafkaMetrics',
        (
            "'Lag' at 'metricsConfig.metrics.1.member' "
            "Member must satisfy enum value set: [EventCount, ErrorCount, KafkaMetrics]"
        ),
    ),
]


@pytest.mark.statement(32)
@pytest.mark.parametrize(("source", "changes", "told", "answered"), OUT_OF_RANGE, ids=lambda value: str(value)[:60])
def test_a_value_beyond_its_range_is_refused_in_the_words_of_the_service(
    source: str, changes: dict[str, Any], told: str, answered: str
) -> None:
    """C.1, A.3; G 32."""
    problems = refusal(source, **changes)
    assert [str(problem) for problem in problems if str(problem).startswith(told)]
    error = error_of(problems)
    assert (error.status, error.type) == (400, "ValidationException")
    assert error.text.startswith(("1 validation error detected: Value ", "2 validation errors detected: Value "))
    assert answered in error.text.replace("failed to satisfy constraint: ", "")
    assert told in str(error), "what validate says stands behind AWS's text"
