"""What hangs on functions, versions and aliases: texts and answers as the service was recorded with (B.2, E.3, A.3)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from account_rig import Account, configs_of, refused
from api_service import arn

from poller.account.configs import FunctionConfigs
from poller.account.documents import ForgettingDocuments
from poller.account.store import StoredDocuments
from poller.async_invoke.configuration import AsyncConfiguration, FunctionTarget
from poller.async_invoke.rows import destinations_of
from poller.errors import StateError

INVALID, MISSING, VALIDATION = (
    (400, "InvalidParameterValueException"),
    (404, "ResourceNotFoundException"),
    (400, "ValidationException"),
)
DERIVED = "The derived qualifier from the function name does not match the specified qualifier."
UUID = "1f3d8a4e-0000-4000-8000-000000000000"
MAPPING = f"arn:aws:lambda:us-east-1:123456789012:event-source-mapping:{UUID}"


@pytest.fixture
def account() -> Account:
    return Account()


@pytest.fixture
def configs(tmp_path: Path, account: Account) -> FunctionConfigs:
    return configs_of(tmp_path, account)


def to(success: str = "", failure: str = "") -> dict[str, Any]:
    given = {"OnSuccess": success, "OnFailure": failure}
    return {"DestinationConfig": {on: {"Destination": text} for on, text in given.items() if text}}


# --- event invoke configurations ------------------------------------------------------------------------------------


@pytest.mark.statement(25)
def test_a_configuration_with_nothing_set_is_refused(configs: FunctionConfigs) -> None:
    """G 25, B.2."""
    text = "You must specify at least one of error handling or destination setting."
    assert refused(configs.event_invoke.put, "f", None, {}) == (*INVALID, text)
    assert refused(configs.event_invoke.update, "f", None, {}) == (*INVALID, text)


@pytest.mark.statement(26)
@pytest.mark.parametrize(
    ("body", "field", "value", "constraint"),
    [
        ({"MaximumEventAgeInSeconds": 59}, "maximumEventAgeInSeconds", "59", "greater than or equal to 60"),
        ({"MaximumEventAgeInSeconds": 21_601}, "maximumEventAgeInSeconds", "21601", "less than or equal to 21600"),
        ({"MaximumRetryAttempts": 3}, "maximumRetryAttempts", "3", "less than or equal to 2"),
        ({"MaximumRetryAttempts": -1}, "maximumRetryAttempts", "-1", "greater than or equal to 0"),
    ],
)
def test_values_out_of_range_are_refused(
    configs: FunctionConfigs, body: dict[str, Any], field: str, value: str, constraint: str
) -> None:
    """G 26, B.2."""
    text = (
        f"1 validation error detected: Value '{value}' at '{field}' failed to satisfy constraint: "
        f"Member must have value {constraint}"
    )
    assert refused(configs.event_invoke.put, "f", None, body) == (*VALIDATION, text)


@pytest.mark.parametrize(
    ("name", "qualifier", "shown"),
    [
        ("f", None, "$LATEST"),
        ("f", "$LATEST", "$LATEST"),
        ("f:$LATEST", "$LATEST", "$LATEST"),
        ("f", "1", "1"),
        ("f:1", None, "1"),
        ("f:live", "live", "live"),
        (arn("f") + ":live", None, "live"),
    ],
)
def test_a_configuration_belongs_to_the_function_version_or_alias_that_is_named(
    configs: FunctionConfigs, name: str, qualifier: str | None, shown: str
) -> None:  # B.2
    calls = configs.event_invoke
    expected = {
        "DestinationConfig": {"OnSuccess": {}, "OnFailure": {}},
        "FunctionArn": f"{arn('f')}:{shown}",
        "LastModified": 17.0,
        "MaximumRetryAttempts": 1,
    }
    assert calls.put(name, qualifier, {"MaximumRetryAttempts": 1}) == expected
    assert calls.get(name, qualifier) == expected
    assert configs.asynchronous("f", "" if shown == "$LATEST" else shown) == AsyncConfiguration(1)
    assert configs.asynchronous("f", "2") == AsyncConfiguration()
    calls.delete(name, qualifier)
    assert refused(calls.get, name, qualifier) == (
        *MISSING,
        f"The function {arn('f')}:{shown} doesn't have an EventInvokeConfig",
    )


def test_put_removes_what_it_leaves_out_and_update_keeps_it(configs: FunctionConfigs) -> None:  # B.2
    calls = configs.event_invoke
    calls.put("f", None, {"MaximumRetryAttempts": 2, "MaximumEventAgeInSeconds": 60, **to(success=arn("g"))})
    updated = calls.update("f", None, {"MaximumRetryAttempts": 0})
    assert (updated["MaximumEventAgeInSeconds"], updated["MaximumRetryAttempts"]) == (60, 0)
    assert updated["DestinationConfig"] == {"OnSuccess": {"Destination": arn("g")}, "OnFailure": {}}
    assert configs.asynchronous("f").on_success is not None
    put = calls.put("f", None, {"MaximumRetryAttempts": 0})
    assert "MaximumEventAgeInSeconds" not in put
    assert put["DestinationConfig"] == {"OnSuccess": {}, "OnFailure": {}}
    assert configs.asynchronous("f") == AsyncConfiguration(0)


@pytest.mark.parametrize(
    ("name", "qualifier"), [("nobody", None), (arn("nobody"), None), ("f", "9"), ("f", "dead"), ("f:dead", None)]
)
def test_what_is_not_there_is_told(configs: FunctionConfigs, name: str, qualifier: str | None) -> None:  # B.2
    calls, body = configs.event_invoke, {"MaximumRetryAttempts": 1}
    shown = arn(name.rpartition("function:")[2]) + (f":{qualifier}" if qualifier else "")
    shown = shown if shown.rpartition(":")[2] in {"9", "dead"} else f"{shown}:$LATEST"
    assert refused(calls.put, name, qualifier, body) == (*MISSING, "The function doesn't exist.")
    assert refused(calls.update, name, qualifier, body) == (*MISSING, "The function doesn't exist.")
    none = (*MISSING, f"The function {shown} doesn't have an EventInvokeConfig")
    assert refused(calls.get, name, qualifier) == none
    assert refused(calls.delete, name, qualifier) == none
    assert refused(calls.put, "f:1", "2", body) == (*INVALID, DERIVED)


def test_an_update_needs_something_to_update(configs: FunctionConfigs) -> None:  # B.2
    text = f"The function {arn('f')}:live doesn't have an EventInvokeConfig"
    assert refused(configs.event_invoke.update, "f", "live", {"MaximumRetryAttempts": 1}) == (*MISSING, text)


SERVICE = "arn:aws:iam:us-east-1:123456789012:function:f"


ELSEWHERE = (arn("g").replace("us-east-1", "eu-west-1"), arn("g").replace("123456789012", "210987654321"))
"""Functions of another region and another account, though there is one of that name here."""


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (to(success=arn("f")), "You can't specify the function as a destination for itself."),
        (to(failure=arn("nobody")), f"The destination ARN {arn('nobody')} is invalid."),
        *((to(failure=other), f"The destination ARN {other} is invalid.") for other in ELSEWHERE),
        (to(failure=arn("g") + ":1"), f"The destination ARN {arn('g')}:1 is invalid."),
        (
            to(success=SERVICE),
            (
                f"The provided destination config DestinationConfig(onSuccess=OnSuccess(destination={SERVICE}), "
                "onFailure=null) is invalid."
            ),
        ),
        (
            to(success="arn:aws:s3:::bucket"),
            (
                "The provided destination config DestinationConfig(onSuccess=OnSuccess(destination=arn:aws:s3:::bucket), "
                "onFailure=null) is invalid."
            ),
        ),
        (
            to(failure="arn:aws:sqs:us-east-1:123456789012:q.fifo"),
            (
                "The provided destination config DestinationConfig(onSuccess=null, onFailure=OnFailure("
                "destination=arn:aws:sqs:us-east-1:123456789012:q.fifo)) is invalid."
            ),
        ),
    ],
)
def test_a_destination_that_cannot_be_one_is_refused(
    configs: FunctionConfigs, body: dict[str, Any], text: str
) -> None:  # B.2
    calls = configs.event_invoke
    calls.put("f", None, {"MaximumRetryAttempts": 1})
    before = calls.get("f", None)
    assert refused(calls.put, "f", None, body) == (*INVALID, text)
    assert refused(calls.update, "f", None, body) == (*INVALID, text)
    assert calls.get("f", None) == before


def test_a_destination_that_is_no_arn_is_refused_with_aws_s_pattern(configs: FunctionConfigs) -> None:  # B.2
    status, type_, text = refused(configs.event_invoke.put, "f", None, to(failure="arn:aws:_-/!lambda:x"))
    assert (status, type_) == VALIDATION
    assert text.startswith(
        "1 validation error detected: Value 'arn:aws:_-/!lambda:x' at 'destinationConfig.onFailure.destination' failed "
        "to satisfy constraint: Member must satisfy regular expression pattern: $|kafka://"
    )


def test_a_destination_may_be_another_function_s_version_or_an_address_whose_password_is_not_shown(
    configs: FunctionConfigs,
) -> None:
    calls = configs.event_invoke
    calls.put("g", None, to(success=arn("f") + ":live", failure="amqp://me:secret@127.0.0.1:5672/%2F/failed"))
    found = configs.asynchronous("g")
    assert found.on_success is not None
    assert found.on_success.target == FunctionTarget("f", "live")
    assert found.on_failure is not None
    shown = calls.get("g", None)["DestinationConfig"]
    assert shown["OnFailure"] == {"Destination": "amqp://me:***@127.0.0.1:5672/%2F/failed"}
    assert "secret" not in json.dumps(calls.listed("g", None, None))


def test_versions_and_aliases_with_a_configuration_are_named_as_their_records_are(configs: FunctionConfigs) -> None:
    for qualifier in ("live", "1", "$LATEST"):
        configs.event_invoke.put("f", qualifier, {"MaximumRetryAttempts": 1})
    names = configs.event_invoke.qualified()
    assert names == [destinations_of("f", "live"), destinations_of("f", "1")]
    configs.event_invoke.delete("f", "1")
    assert configs.event_invoke.qualified() == names[:1]


def test_configurations_are_listed_by_qualifier_in_pages(configs: FunctionConfigs) -> None:  # B.2
    calls = configs.event_invoke
    for qualifier in ("live", "1", "$LATEST"):
        calls.put("f", qualifier, {"MaximumRetryAttempts": 1})
    calls.put("g", None, {"MaximumRetryAttempts": 1})

    def qualifiers(answer: dict[str, Any]) -> list[str]:
        return [item["FunctionArn"].rpartition(":")[2] for item in answer["FunctionEventInvokeConfigs"]]

    assert qualifiers(calls.listed("f", None, None)) == ["$LATEST", "1", "live"]
    first = calls.listed("f", None, "2")
    assert (qualifiers(first), qualifiers(calls.listed("f", first["NextMarker"], "2"))) == (["$LATEST", "1"], ["live"])
    assert calls.listed("declared", None, None) == {"FunctionEventInvokeConfigs": []}
    assert refused(calls.listed, "nobody", None, None) == (*MISSING, "The function doesn't exist.")
    for wrong in ("0", "51", "-1", "9" * 5000):
        assert refused(calls.listed, "f", None, wrong)[:2] == VALIDATION
    assert refused(calls.listed, "f", None, "ten")[:2] == INVALID


# --- what the template declares ------------------------------------------------------------------------------------

OWNED = (
    409,
    "ResourceConflictException",
    "The function declared is declared by the template: change it there, or run with --allow-drift.",
)


def test_what_the_template_declares_is_shown_and_not_changed(tmp_path: Path) -> None:
    resources = {"declared": {"Handler": "basic.echo", "ReservedConcurrentExecutions": 7}}
    configs = configs_of(tmp_path, declared=resources)
    assert configs.concurrency.get("declared") == {"ReservedConcurrentExecutions": 7}
    assert refused(configs.concurrency.put, "declared", {"ReservedConcurrentExecutions": 1}) == OWNED
    assert refused(configs.concurrency.delete, "declared") == OWNED
    assert refused(configs.event_invoke.put, "declared", None, {"MaximumRetryAttempts": 1}) == OWNED
    assert refused(configs.recursion.put, "declared", {"RecursiveLoop": "Allow"}) == OWNED
    assert refused(configs.tags.tag, arn("declared"), {"Tags": {"a": "b"}}) == OWNED
    permission = {"StatementId": "s", "Action": "lambda:*", "Principal": "*"}
    assert refused(configs.policies.add, "declared", None, permission) == OWNED
    assert configs.concurrency.get("declared") == {"ReservedConcurrentExecutions": 7}


def test_with_allow_drift_it_is_changed_until_the_next_start(tmp_path: Path) -> None:
    documents, account = ForgettingDocuments(), Account()
    configs = configs_of(tmp_path, account, documents, AllowDrift=True)
    configs.concurrency.put("declared", {"ReservedConcurrentExecutions": 1})
    configs.event_invoke.put("declared", None, {"MaximumRetryAttempts": 0})
    assert account.reserved == {"declared": 1}
    assert configs.asynchronous("declared").maximum_retry_attempts == 0
    again = configs_of(tmp_path, account, documents, AllowDrift=True)
    assert again.concurrency.get("declared") == {"ReservedConcurrentExecutions": 7}
    assert again.asynchronous("declared") == AsyncConfiguration()


def test_what_of_the_template_goes_with_its_function_is_back_where_that_cannot_be_written(tmp_path: Path) -> None:
    configs = configs_of(tmp_path, AllowDrift=True)
    configs.concurrency.put("declared", {"ReservedConcurrentExecutions": 1})
    configs.event_invoke.put("declared", None, {"MaximumRetryAttempts": 0})
    assert configs.forget("declared") == [], "the disk has none of it"
    assert configs.concurrency.get("declared") == {}
    configs.recall()
    assert configs.concurrency.get("declared") == {"ReservedConcurrentExecutions": 1}
    assert configs.asynchronous("declared").maximum_retry_attempts == 0
    configs.forget("declared")  # this time it was written
    configs.forget("f")
    configs.recall()  # and this was not
    assert configs.concurrency.get("declared") == {}


def test_tags_that_cannot_be_written_bring_back_none_of_a_function_that_is_deleted(tmp_path: Path) -> None:
    configs = configs_of(tmp_path, AllowDrift=True)
    configs.tags.tag(arn("declared"), {"Tags": {"a": "b"}})
    configs.forget("declared")

    def create() -> None:
        with configs.tags.recalled_on(StateError):
            configs.tags.adopt("function:f", {"c": "d"})
            raise StateError("the disk is full")

    with pytest.raises(StateError):
        create()
    assert configs.tags.of_function("declared") == configs.tags.of_function("f") == {}


# --- reserved concurrency, recursion, account settings ---------------------------------------------------------------


def test_reserved_concurrency_is_put_read_and_deleted(configs: FunctionConfigs, account: Account) -> None:  # E.3
    calls = configs.concurrency
    assert calls.get("f") == {}
    for count in (1, 0):
        assert calls.put("f", {"ReservedConcurrentExecutions": count}) == {"ReservedConcurrentExecutions": count}
        assert (calls.get(arn("f")), account.reserved) == ({"ReservedConcurrentExecutions": count}, {"f": count})
    calls.delete("f")
    calls.delete("f")
    assert (calls.get("f"), account.reserved) == ({}, {"f": None})


def test_a_hundred_stay_unreserved(configs: FunctionConfigs) -> None:  # E.3, A.2
    calls = configs.concurrency
    text = (
        "Specified ReservedConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below "
        "its minimum value of [100]."
    )
    assert refused(calls.put, "f", {"ReservedConcurrentExecutions": 894}) == (*INVALID, text)
    calls.put("f", {"ReservedConcurrentExecutions": 893})  # of 1000; the template's function has 7
    assert refused(calls.put, "g", {"ReservedConcurrentExecutions": 1}) == (*INVALID, text)
    calls.put("f", {"ReservedConcurrentExecutions": 892})
    calls.put("g", {"ReservedConcurrentExecutions": 1})
    assert configs.settings.get() == {
        "AccountLimit": {
            "TotalCodeSize": 80530636800,
            "CodeSizeUnzipped": 262144000,
            "CodeSizeZipped": 52428800,
            "ConcurrentExecutions": 1000,
            "UnreservedConcurrentExecutions": 100,
        },
        "AccountUsage": {"TotalCodeSize": 5, "FunctionCount": 3},
    }


def test_reserved_concurrency_is_a_function_s_and_nobody_else_s(configs: FunctionConfigs) -> None:  # E.3
    text = (
        "This operation is permitted on Lambda functions only. Aliases and versions do not support this operation. "
        "Please specify either a function name or an unqualified function ARN."
    )
    calls, body = configs.concurrency, {"ReservedConcurrentExecutions": 1}
    assert refused(calls.put, f"{arn('f')}:live", body) == (*INVALID, text)
    assert refused(calls.delete, "f:1") == (*INVALID, text)
    missing = (*MISSING, f"Function not found: {arn('nobody')}:$LATEST")
    assert refused(calls.put, "nobody", {"ReservedConcurrentExecutions": 10_000}) == missing
    assert refused(calls.get, "nobody") == missing
    assert refused(calls.put, "f", {"ReservedConcurrentExecutions": -1})[:2] == VALIDATION
    assert refused(calls.put, "f", {})[:2] == VALIDATION


def test_no_function_has_a_code_signing_configuration(configs: FunctionConfigs) -> None:
    """Tools ask for it whenever they read a function, and take 501 for a failure."""
    assert configs.code_signing.get("f") == configs.code_signing.get(arn("f")) == {"FunctionName": "f"}
    assert refused(configs.code_signing.get, "nobody")[:2] == (404, "ResourceNotFoundException")


def test_a_function_runs_on_the_runtime_that_the_machine_has_and_nothing_else_is_said(configs: FunctionConfigs) -> None:
    auto = {"UpdateRuntimeOn": "Auto"}
    assert configs.runtime.get("f", None) == {**auto, "FunctionArn": arn("f")}
    assert configs.runtime.put("f", "1", auto) == {**auto, "FunctionArn": f"{arn('f')}:1"}
    told = (*INVALID, "UpdateRuntimeOn FunctionUpdate is not supported")
    assert refused(configs.runtime.put, "f", None, {"UpdateRuntimeOn": "FunctionUpdate"}) == told
    pinned = {"UpdateRuntimeOn": "Manual", "RuntimeVersionArn": f"arn:aws:lambda:us-east-1::runtime:{64 * 'a'}"}
    assert refused(configs.runtime.put, "f", None, pinned) == (*INVALID, "RuntimeVersionArn is not supported")
    missing = (*MISSING, f"Function not found: {arn('f')}:9")
    assert refused(configs.runtime.get, "f", "9") == missing
    assert refused(configs.runtime.get, "f", "live")[:2] == INVALID
    assert refused(configs.runtime.put, "f", None, {"UpdateRuntimeOn": "Never"})[:2] == VALIDATION
    assert refused(configs.runtime.put, "f", None, {})[:2] == VALIDATION


def test_loops_end_unless_they_are_allowed(configs: FunctionConfigs) -> None:  # B.5
    calls = configs.recursion
    assert calls.get("f") == {"RecursiveLoop": "Terminate"}
    text = (
        "1 validation error detected: Value 'InvalidValue' at 'recursiveLoop' failed to satisfy constraint: "
        "Member must satisfy enum value set: [Terminate, Allow]"
    )
    assert refused(calls.put, "f", {"RecursiveLoop": "InvalidValue"}) == (*VALIDATION, text)
    assert not configs.recursion.allowed("f")
    assert calls.put("f", {"RecursiveLoop": "Allow"}) == calls.get("f") == {"RecursiveLoop": "Allow"}
    assert configs.recursion.allowed("f")
    assert refused(calls.get, "f:1")[:2] == VALIDATION
    assert refused(calls.get, "nobody")[:2] == MISSING


def test_a_template_may_allow_loops(tmp_path: Path) -> None:  # B.5
    configs = configs_of(tmp_path, declared={"declared": {"Handler": "basic.echo", "RecursiveLoop": "Allow"}})
    assert configs.recursion.allowed("declared")
    assert configs.recursion.get("declared") == {"RecursiveLoop": "Allow"}


# --- tags ----------------------------------------------------------------------------------------------------------


def test_tags_are_added_overwritten_and_taken_away(configs: FunctionConfigs) -> None:
    calls = configs.tags
    assert calls.listed(arn("f")) == {"Tags": {}}
    calls.tag(arn("f"), {"Tags": {"a": "1", "b": "2"}})
    calls.tag(arn("f"), {"Tags": {"b": "3"}})
    assert configs.tags.of_function("f") == {"a": "1", "b": "3"}
    calls.untag(arn("f"), ["a", "never"])
    assert calls.listed(arn("f")) == {"Tags": {"b": "3"}}


def test_event_source_mappings_have_tags(configs: FunctionConfigs, account: Account) -> None:
    gone = (*MISSING, "The resource you requested does not exist.")
    assert refused(configs.tags.listed, MAPPING) == gone
    account.mappings[UUID] = False
    configs.tags.tag(MAPPING, {"Tags": {"a": "1"}})
    assert configs.tags.listed(MAPPING) == {"Tags": {"a": "1"}}
    account.mappings[UUID] = True
    text = f"The event source mapping {UUID} is declared by the template: change it there, or run with --allow-drift."
    assert refused(configs.tags.tag, MAPPING, {"Tags": {"a": "1"}})[2] == text


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"Tags": {}}, "An error occurred and the request cannot be processed."),
        ({}, "An error occurred and the request cannot be processed."),
        ({"Tags": {str(number): "" for number in range(51)}}, "Number of tags exceeds resource tag limit."),
        ({"Tags": {"aws:a": ""}}, "aws: prefixed tag key names are not allowed for external use."),
        ({"Tags": {"a": "\ud800"}}, "The tag 'a' is not text that can be written in UTF-8."),
    ],
)
def test_tags_that_cannot_be_are_refused(configs: FunctionConfigs, body: dict[str, Any], text: str) -> None:
    assert refused(configs.tags.tag, arn("f"), body) == (*INVALID, text)
    assert configs.tags.of_function("f") == {}


def test_the_fifty_first_tag_is_refused_and_the_fifty_stay(configs: FunctionConfigs) -> None:
    fifty = {f"{number}_key": "value" for number in range(50)}
    configs.tags.tag(arn("f"), {"Tags": fifty})
    assert refused(configs.tags.tag, arn("f"), {"Tags": {"one": "more"}})[2] == (
        "Number of tags exceeds resource tag limit."
    )
    configs.tags.tag(arn("f"), {"Tags": {"0_key": "other"}})
    assert len(configs.tags.of_function("f")) == 50


def test_tags_belong_to_functions_that_are_there(configs: FunctionConfigs) -> None:
    tags, text = {"Tags": {"a": "b"}}, "Tags on function aliases and versions are not supported. Please specify a "
    for name in (f"{arn('f')}:1", f"{arn('f')}:$LATEST", f"{arn('f')}:never"):
        assert refused(configs.tags.tag, name, tags) == (*INVALID, text + "function ARN.")
    assert refused(configs.tags.tag, arn("nobody"), tags) == (*MISSING, f"Function not found: {arn('nobody')}")
    status, type_, told = refused(configs.tags.tag, "arn:aws:something", tags)
    assert (status, type_) == VALIDATION
    assert told.startswith(
        "1 validation error detected: Value 'arn:aws:something' at 'resource' failed to satisfy constraint: Member "
        "must satisfy regular expression pattern: arn:(aws[a-zA-Z-]*):lambda:(eusc-)?"
    )
    told = "1 validation error detected: Value null at 'tagKeys' failed to satisfy constraint: Member must not be null"
    assert refused(configs.tags.untag, arn("f"), []) == (*VALIDATION, told)


# --- policies ------------------------------------------------------------------------------------------------------

S3 = {
    "StatementId": "s3",
    "Action": "lambda:InvokeFunction",
    "Principal": "s3.amazonaws.com",
    "SourceArn": "arn:aws:s3:::bucket",
}
STATEMENT = {
    "Sid": "s3",
    "Effect": "Allow",
    "Principal": {"Service": "s3.amazonaws.com"},
    "Action": "lambda:InvokeFunction",
    "Resource": arn("f"),
    "Condition": {"ArnLike": {"AWS:SourceArn": "arn:aws:s3:::bucket"}},
}


def test_a_permission_becomes_a_statement_of_the_policy(configs: FunctionConfigs) -> None:
    calls = configs.policies
    assert json.loads(calls.add("f", None, S3)["Statement"]) == STATEMENT
    first = calls.get("f", None)
    assert json.loads(first["Policy"]) == {"Version": "2012-10-17", "Id": "default", "Statement": [STATEMENT]}
    calls.add("f", None, {**S3, "StatementId": "s3_2", "RevisionId": first["RevisionId"]})
    second = calls.get("f", None)
    assert [item["Sid"] for item in json.loads(second["Policy"])["Statement"]] == ["s3", "s3_2"]
    assert second["RevisionId"] != first["RevisionId"]
    calls.remove("f", "s3", None, None)
    calls.remove("f", "s3_2", None, calls.get("f", None)["RevisionId"])
    assert refused(calls.get, "f", None) == (*MISSING, "The resource you requested does not exist.")


@pytest.mark.parametrize(
    ("given", "principal", "conditions"),
    [
        ({"Principal": "*", "SourceAccount": "123456789012"}, "*", {"AWS:SourceAccount": "123456789012"}),
        ({"Principal": "123456789012"}, {"AWS": "arn:aws:iam::123456789012:root"}, None),
        ({"Principal": "arn:aws:iam::123456789012:user/u"}, {"AWS": "arn:aws:iam::123456789012:user/u"}, None),
        ({"Principal": "*", "EventSourceToken": "amzn1.x"}, "*", {"lambda:EventSourceToken": "amzn1.x"}),
        (
            {"Principal": "*", "FunctionUrlAuthType": "NONE", "PrincipalOrgID": "o-1234567890"},
            "*",
            {"aws:PrincipalOrgID": "o-1234567890", "lambda:FunctionUrlAuthType": "NONE"},
        ),
    ],
)
def test_principals_and_conditions_are_written_as_iam_has_them(
    configs: FunctionConfigs, given: dict[str, str], principal: Any, conditions: dict[str, str] | None
) -> None:
    made = json.loads(configs.policies.add("f", None, {"StatementId": "s", "Action": "lambda:X", **given})["Statement"])
    assert made["Principal"] == principal
    assert made.get("Condition") == ({"StringEquals": conditions} if conditions else None)


def test_versions_and_aliases_have_policies_of_their_own(configs: FunctionConfigs) -> None:
    calls = configs.policies
    made = calls.add("f", "live", S3)
    assert json.loads(made["Statement"])["Resource"] == f"{arn('f')}:live"
    assert refused(calls.get, "f", None)[:2] == MISSING
    assert calls.get("f:live", None)["RevisionId"]
    assert refused(calls.add, "f", "$LATEST", S3) == (
        *INVALID,
        "We currently do not support adding policies for $LATEST.",
    )


def test_permissions_that_cannot_be_added_are_refused(configs: FunctionConfigs) -> None:
    add = configs.policies.add
    assert refused(add, "f", None, {**S3, "StatementId": "example.com"}) == (
        *VALIDATION,
        (
            "1 validation error detected: Value 'example.com' at 'statementId' failed to satisfy constraint: Member must "
            "satisfy regular expression pattern: ([a-zA-Z0-9-_]+)"
        ),
    )
    assert refused(add, "f", None, {**S3, "Principal": "invalid.nonaws.com"}) == (
        *INVALID,
        "The provided principal was invalid. Please check the principal and try again.",
    )
    assert refused(add, "nobody", None, S3) == (*MISSING, f"Function not found: {arn('nobody')}")
    assert refused(add, "f", "42", S3) == (*MISSING, f"Function not found: {arn('f')}:42")
    assert refused(add, "f", "valid-with-$-but-not", S3) == (
        *MISSING,
        f"Function not found: {arn('f')}:valid-with-$-but-not",
    )
    assert refused(add, "f", "dead", S3) == (*MISSING, f"Cannot find alias arn: {arn('f')}:dead")
    assert refused(add, "f:1", "2", S3) == (*INVALID, DERIVED)
    add("f", None, S3)
    assert refused(add, "f", None, S3) == (
        409,
        "ResourceConflictException",
        (
            "The statement id (s3) provided already exists. Please provide a new statement id, or remove the existing "
            "statement."
        ),
    )
    stale = {**S3, "StatementId": "other", "RevisionId": "stale"}
    assert refused(add, "f", None, stale) == (
        412,
        "PreconditionFailedException",
        (
            "The Revision Id provided does not match the latest Revision Id. Call the GetPolicy API to retrieve the latest "
            "Revision Id"
        ),
    )


def test_a_policy_has_an_end(configs: FunctionConfigs) -> None:
    long = {**S3, "SourceArn": "arn:aws:s3:::" + "b" * 9000}
    for sid in ("a", "b"):
        configs.policies.add("f", None, {**long, "StatementId": sid})
    assert refused(configs.policies.add, "f", None, {**long, "StatementId": "c"})[:2] == (
        400,
        "PolicyLengthExceededException",
    )


def test_permissions_that_are_not_there_cannot_be_removed(configs: FunctionConfigs) -> None:
    remove = configs.policies.remove
    assert refused(remove, "nobody", "s3", None, None) == (*MISSING, f"No policy found for: {arn('nobody')}")
    assert refused(remove, "f", "s3", "dead", None) == (*MISSING, f"Cannot find alias arn: {arn('f')}:dead")
    assert refused(remove, "f", "s3", None, None) == (*MISSING, "No policy is associated with the given resource.")
    configs.policies.add("f", None, S3)
    text = "Statement non-existent is not found in resource policy."
    assert refused(remove, "f", "non-existent", None, None) == (*MISSING, text)
    assert refused(remove, "f", "s3", None, "stale")[:2] == (412, "PreconditionFailedException")
    assert configs.policies.get("f", None)


# --- keeping and forgetting ----------------------------------------------------------------------------------------


def fill(configs: FunctionConfigs) -> None:
    configs.event_invoke.put("f", None, {"MaximumRetryAttempts": 1})
    configs.event_invoke.put("f", "live", {"MaximumRetryAttempts": 0, **to(success=arn("g"))})
    configs.concurrency.put("f", {"ReservedConcurrentExecutions": 3})
    configs.recursion.put("f", {"RecursiveLoop": "Allow"})
    configs.tags.tag(arn("f"), {"Tags": {"a": "b"}})
    configs.policies.add("f", None, S3)
    configs.policies.add("f", "live", S3)


def seen(configs: FunctionConfigs) -> list[Any]:
    calls = configs.event_invoke
    policies = [configs.policies.get("f", qualifier) for qualifier in (None, "live")]
    loop, tags = configs.recursion.get("f"), configs.tags.of_function("f")
    acted = [configs.asynchronous("f", qualifier) for qualifier in ("", "live")]
    return [calls.listed("f", None, None), configs.concurrency.of("f"), loop, tags, policies, acted]


def test_all_of_it_outlives_a_restart(tmp_path: Path) -> None:
    documents = StoredDocuments(tmp_path / "state")
    configs = configs_of(tmp_path, documents=documents)
    fill(configs)
    before = seen(configs)
    documents.close()
    documents = StoredDocuments(tmp_path / "state")
    assert seen(configs_of(tmp_path, documents=documents)) == before
    documents.close()


def test_what_hangs_on_a_deleted_function_goes_with_it(tmp_path: Path) -> None:
    documents = ForgettingDocuments()
    configs = configs_of(tmp_path, documents=documents)
    configs.event_invoke.put("g", None, {"MaximumRetryAttempts": 1})
    fill(configs)
    documents.change(configs.forget("f", "live"))
    assert refused(configs.policies.get, "f", "live")[:2] == MISSING
    assert configs.policies.get("f", None)
    documents.change(configs.forget("f"))
    for again in (configs, configs_of(tmp_path, documents=documents)):
        assert again.event_invoke.listed("f", None, None) == {"FunctionEventInvokeConfigs": []}
        assert (again.concurrency.of("f"), again.tags.of_function("f"), again.recursion.allowed("f")) == (
            None,
            {},
            False,
        )
        assert refused(again.policies.get, "f", None)[:2] == MISSING
        assert again.event_invoke.get("g", None)["MaximumRetryAttempts"] == 1


class FullDisk(ForgettingDocuments):
    """Writes nothing."""

    def change(self, changes: object) -> None:
        raise StateError("no space left")


def test_what_cannot_be_written_is_not_so(tmp_path: Path) -> None:
    account = Account()
    configs = configs_of(tmp_path, account, FullDisk())
    with pytest.raises(StateError):
        configs.concurrency.put("f", {"ReservedConcurrentExecutions": 3})
    with pytest.raises(StateError):
        configs.event_invoke.put("f", None, {"MaximumRetryAttempts": 1})
    with pytest.raises(StateError):
        configs.policies.add("f", None, S3)
    assert (configs.concurrency.get("f"), account.reserved) == ({}, {})
    assert configs.asynchronous("f") == AsyncConfiguration()
    assert refused(configs.policies.get, "f", None)[:2] == MISSING


def test_a_configuration_whose_address_is_gone_from_the_settings_still_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    queue = "arn:aws:sqs:us-east-1:123456789012:q"
    documents = ForgettingDocuments()
    configs = configs_of(tmp_path, documents=documents, Endpoints={queue: "kafka://127.0.0.1:9092/q"})
    configs.event_invoke.put("f", None, {"MaximumRetryAttempts": 0, **to(failure=queue)})
    assert configs.asynchronous("f").on_failure is not None
    monkeypatch.setattr("poller.async_wiring.find_spec", lambda _: None)
    again = configs_of(tmp_path, documents=documents)
    assert again.asynchronous("f") == AsyncConfiguration(0)
    assert "the destinations of f:$LATEST cannot be used" in caplog.text


def test_tags_that_a_resource_is_made_with_are_the_caller_s_to_write(configs: FunctionConfigs) -> None:
    assert configs.tags.adopt("function:f", None) == configs.tags.adopt("function:f", {}) == []
    [change] = configs.tags.adopt("function:f", {"a": "b"})
    assert (change.kind, change.key, change.document) == ("Tags", "function:f", {"Tags": {"a": "b"}})
    assert configs.tags.of_function("f") == {"a": "b"}
    configs.recall()  # it was not written
    assert configs.tags.of_function("f") == {}
    assert refused(configs.tags.adopt, "function:f", {"a": 1})[:2] == INVALID
