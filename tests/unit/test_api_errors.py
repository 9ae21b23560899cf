"""Errors of the calls on event source mappings: the texts are those of AWS, and everything wrong is told at once."""

from __future__ import annotations

import pytest

from poller import api_errors
from poller.api_errors import ApiError, error_of, violation
from poller.errors import Problem

FUNCTION_ARN = "arn:aws:lambda:us-east-1:123456789012:function:f"


@pytest.mark.parametrize(
    ("error", "status", "kind", "text"),
    [
        (
            api_errors.mapping_missing(),
            404,
            "ResourceNotFoundException",
            "The resource you requested does not exist.",
        ),
        (
            api_errors.invalid_parameter(api_errors.UNRECOGNIZED_SOURCE),
            400,
            "InvalidParameterValueException",
            "Unrecognized event source.",
        ),
        (
            api_errors.invalid_parameter(api_errors.FUNCTION_MISSING),
            400,
            "InvalidParameterValueException",
            "Function does not exist",
        ),
        (
            violation("NOW", "StartingPosition", api_errors.one_of(api_errors.STARTING_POSITIONS)),
            400,
            "ValidationException",
            (
                "1 validation error detected: Value 'NOW' at 'startingPosition' failed to satisfy constraint: "
                "Member must satisfy enum value set: [LATEST, AT_TIMESTAMP, TRIM_HORIZON]"
            ),
        ),
        (
            api_errors.duplicate_kafka(("h1:9092", "h2:9092"), FUNCTION_ARN, "t", "u-1"),
            409,
            "ResourceConflictException",
            (
                f'An event source mapping with event source ("h1:9092,h2:9092"), function ("{FUNCTION_ARN}"), '
                'topics ("t") already exists. Please update or delete the existing mapping with UUID u-1'
            ),
        ),
        (
            api_errors.in_use("delete"),
            400,
            "ResourceInUseException",
            "Cannot delete the event source mapping because it is in use.",
        ),
    ],
)
def test_an_error_has_status_type_and_text_of_the_specification(
    error: ApiError, status: int, kind: str, text: str
) -> None:
    """C.3, C.2 and A.3."""
    assert (error.status, error.type, error.text) == (status, kind, text)


def test_all_values_out_of_range_are_told_in_one_text_as_on_aws() -> None:
    problems = [
        Problem("", "Unrecognized event source."),
        Problem("BatchSize", "0 is below 1", error=violation(0, "BatchSize", api_errors.at_least(1))),
        Problem(
            "FilterCriteria.Filters[1].Pattern",
            "has 5000 characters, 4096 are allowed",
            error=violation("x" * 100, "FilterCriteria.Filters[1].Pattern", api_errors.no_longer(4096)),
        ),
    ]

    error = error_of(problems)

    assert error.type == "ValidationException"
    assert error.text == (
        "2 validation errors detected: Value '0' at 'batchSize' failed to satisfy constraint: Member must have value "
        f"greater than or equal to 1; Value '{'x' * 79}…' at 'filterCriteria.filters.2.member.pattern' failed to "
        "satisfy constraint: Member must have length less than or equal to 4096"
    )
    assert str(error).endswith(
        "(Unrecognized event source.; BatchSize: 0 is below 1; "
        "FilterCriteria.Filters[1].Pattern: has 5000 characters, 4096 are allowed)"
    )


def test_a_text_of_aws_stands_first_and_what_else_is_wrong_behind_it() -> None:
    problems = [
        Problem("Queues", "belongs to MQ"),
        Problem(
            "SourceAccessConfigurations",
            api_errors.ACCESS_MISSING,
            "give a login",
            api_errors.invalid_parameter(api_errors.ACCESS_MISSING),
        ),
    ]

    error = error_of(problems)

    assert error.text == "Required 'sourceAccessConfigurations' parameter is missing."
    assert str(error) == f"{error.text} (give a login; Queues: belongs to MQ)"


def test_what_aws_has_no_text_for_is_an_invalid_parameter_in_our_words() -> None:
    error = error_of([Problem("Topics", "is missing", "name exactly one topic")])

    assert (error.status, error.type) == (400, "InvalidParameterValueException")
    assert str(error) == "Topics: is missing (name exactly one topic)"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "null"),
        (True, "'true'"),
        (["a", 1], "'[a, 1]'"),
        ({"password": "hunter2"}, "'{…}'"),
        ([{"password": "hunter2"}], "'[{…}]'"),
    ],
)
def test_a_wrong_value_is_repeated_but_not_what_may_hold_a_secret(value: object, shown: str) -> None:
    assert violation(value, "Topics", api_errors.no_longer(1)).text.startswith(
        f"1 validation error detected: Value {shown} at 'topics' failed"
    )


def test_server_names_keep_their_own_spelling_in_a_path() -> None:
    error = violation([], "SelfManagedEventSource.Endpoints.KAFKA_BOOTSTRAP_SERVERS", api_errors.no_shorter(1))

    assert "at 'selfManagedEventSource.endpoints.KAFKA_BOOTSTRAP_SERVERS' failed" in error.text


def test_equal_errors_are_equal_as_values() -> None:
    assert {api_errors.in_use("delete"), api_errors.in_use("delete")} == {api_errors.in_use("delete")}
    assert api_errors.in_use("delete") != api_errors.in_use("update")
