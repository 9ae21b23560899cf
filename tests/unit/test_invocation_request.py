"""What a call of Invoke may ask for, and the words for what it may not: as the service was recorded with (A.1, A.3)."""

from __future__ import annotations

import base64

import pytest

from poller.api_errors import ApiError
from poller.invocation_request import (
    FUNCTION_NAME_PATTERN,
    INVOCATION_TYPES,
    QUALIFIER_PATTERN,
    CalledFunction,
    called_function,
    chosen,
    client_context,
    function_missing,
)

ACCOUNT, REGION = "111111111111", "us-east-1"
ARN = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:my-function"
BAD_NAME = f"Member must satisfy regular expression pattern: {FUNCTION_NAME_PATTERN}"
BAD_QUALIFIER = f"Member must satisfy regular expression pattern: {QUALIFIER_PATTERN}"
TOO_LONG = "Member must have length less than or equal to"


def called(name: str, qualifier: str | None = None) -> CalledFunction:
    return called_function(name, qualifier, account_id=ACCOUNT, region=REGION)


def refused(name: str, qualifier: str | None = None) -> ApiError:
    with pytest.raises(ApiError) as caught:
        called(name, qualifier)
    return caught.value


@pytest.mark.parametrize(
    ("name", "qualifier", "found"),
    [
        ("my-function", None, CalledFunction("my-function", "", ARN)),
        ("my-function", "$LATEST", CalledFunction("my-function", "$LATEST", f"{ARN}:$LATEST")),
        ("my-function:7", None, CalledFunction("my-function", "7", f"{ARN}:7")),
        ("my-function:live", "live", CalledFunction("my-function", "live", f"{ARN}:live")),
        ("function:my-function", None, CalledFunction("my-function", "", ARN)),
        (f"{ACCOUNT}:function:my-function", None, CalledFunction("my-function", "", ARN)),
        (f"{ARN}:$LATEST", None, CalledFunction("my-function", "$LATEST", f"{ARN}:$LATEST")),
    ],
)
def test_a_function_is_named_in_each_of_aws_s_forms(name: str, qualifier: str | None, found: CalledFunction) -> None:
    assert called(name, qualifier) == found  # A.1


@pytest.mark.parametrize(
    "name",
    [
        "*",
        "my-function!",
        f"{ARN}:1:2",
        "invalid-account:function:my-function",
        "arn:aws:lambda:invalid-region:111111111111:function:my-function",
        "arn:aws:lambda:us-east-1::function:my-function",
        "arn:aws:lambda::111111111111:function:my-function",
        f"{ARN}:$LATES",
        "arn:aws:ec2:us-east-1:111111111111:instance:i-1234567890abcdef0",
        "function:my-function:$LATEST:extra",
        "arn:aws:lambda:us-east-1:123400000000@function:myfn",
        "größe",
        "my-function\n",
        "111111111111:function:\u0661",
    ],
)
def test_what_cannot_be_a_name_is_refused_with_the_recorded_text(name: str) -> None:  # A.3
    error = refused(name)
    assert (error.status, error.type) == (400, "ValidationException")
    assert error.text == (
        f"1 validation error detected: Value '{name}' at 'functionName' failed to satisfy constraint: {BAD_NAME}"
    )


@pytest.mark.parametrize(
    ("qualifier", "constraint"), [("invalid!", BAD_QUALIFIER), ("a" * 129, f"{TOO_LONG} 128")], ids=["signs", "length"]
)
def test_what_cannot_be_a_qualifier_is_refused_with_the_recorded_text(qualifier: str, constraint: str) -> None:  # A.3
    assert refused("my-function", qualifier).text == (
        f"1 validation error detected: Value '{qualifier}' at 'qualifier' failed to satisfy constraint: {constraint}"
    )


def test_all_that_is_wrong_is_told_at_once_the_qualifier_first() -> None:  # A.3
    name = f"arn:aws:lambda:invalid-region:111111111111:function:my-function-{'a' * 170}"
    assert refused(name, "a" * 129).text == (
        f"2 validation errors detected: Value '{'a' * 129}' at 'qualifier' failed to satisfy constraint: "
        f"{TOO_LONG} 128; Value '{name}' at 'functionName' failed to satisfy constraint: {BAD_NAME}"
    )


def test_a_name_is_not_empty_and_at_most_256_characters() -> None:  # A.1
    assert refused("a" * 257).text.endswith(f"'functionName' failed to satisfy constraint: {TOO_LONG} 256")
    assert "Member must have length greater than or equal to 1" in refused("").text
    assert "Member must have length greater than or equal to 1" in refused("f", "").text


@pytest.mark.parametrize(
    ("name", "qualifier", "told"),
    [
        ("a" * 65, None, f"{'a' * 65}:$LATEST"),
        ("my-function", "a" * 65, f"my-function:{'a' * 65}"),
        ("my-function", "$latest", "my-function:$latest"),
        (f"arn:aws:lambda:{REGION}:{ACCOUNT}:function", None, "function:$LATEST"),
    ],
)
def test_a_name_that_is_well_formed_and_nobody_s_is_404(name: str, qualifier: str | None, told: str) -> None:  # A.3
    error = function_missing(called(name, qualifier))
    assert (error.status, error.type) == (404, "ResourceNotFoundException")
    assert error.text == f"Function not found: arn:aws:lambda:{REGION}:{ACCOUNT}:function:{told}"


def test_another_region_is_not_reachable_and_another_account_has_no_functions() -> None:  # A.3
    error = refused(ARN.replace(REGION, "eu-west-1"))
    assert (error.status, error.type) == (404, "ResourceNotFoundException")
    assert error.text == "Functions from 'eu-west-1' are not reachable in this region ('us-east-1')"
    other = ARN.replace(ACCOUNT, "222222222222")
    assert refused(other).text == f"Function not found: {other}:$LATEST"


@pytest.mark.parametrize("name", ["my-function:$LATEST", f"{ARN}:$LATEST"])
def test_a_qualifier_in_the_name_and_another_beside_it_are_refused(name: str) -> None:  # A.1
    error = refused(name, "1")
    assert (error.status, error.type) == (400, "InvalidParameterValueException")
    assert error.text == "The derived qualifier from the function name does not match the specified qualifier."


def test_a_type_is_one_of_the_list() -> None:  # A.1
    assert chosen(None, "invocationType", INVOCATION_TYPES, "RequestResponse") == "RequestResponse"
    assert chosen("Event", "invocationType", INVOCATION_TYPES, "RequestResponse") == "Event"
    with pytest.raises(ApiError, match="Value 'event' at 'invocationType' failed to satisfy constraint: Member must"):
        chosen("event", "invocationType", INVOCATION_TYPES, "RequestResponse")


@pytest.mark.parametrize(
    "encoded",
    [
        "{}",
        "e30",
        base64.b64encode(b"[]").decode(),
        base64.b64encode(b"{").decode(),
        base64.b64encode(b"\xff").decode(),
    ],
)
def test_a_client_context_is_a_json_object_in_base64(encoded: str) -> None:  # A.1
    with pytest.raises(ApiError) as caught:
        client_context(encoded)
    assert (caught.value.status, caught.value.type) == (400, "InvalidRequestContentException")


def test_a_client_context_has_at_most_3583_bytes() -> None:  # A.1
    assert client_context(None) is None
    assert client_context("e30=") == "{}"
    longest = base64.b64encode(b'{"a":"%b"}' % (b"x" * 2678)).decode()
    assert len(longest) == 3584
    with pytest.raises(ApiError, match="'clientContext' failed to satisfy constraint: Member must have length less"):
        client_context(longest)
