"""The calls on functions, versions and aliases as the service was recorded (A.3, A.7), on an account in memory."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from api_service import RUNTIME, arn, template_of
from packages import ROLE, describing, request, zip_of
from scripted import FakeClock

from poller.account.documents import Change, Documents, ForgettingDocuments
from poller.account.function_requests import LOCAL_FOLDER, NAME_PATTERN
from poller.account.setup import AccountFunctions
from poller.api_errors import ApiError
from poller.errors import StateError
from poller.invocation_request import FUNCTION_NAME_PATTERN
from poller.model import FunctionConfiguration
from poller.shares import shares_of

DECLARED = {"declared": {"Handler": "basic.echo", "Environment": {"Variables": {"AB": "c"}}}}
WRONG_REVISION = (
    412,
    "PreconditionFailedException",
    (
        "The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias API to retrieve the "
        "latest Revision Id"
    ),
)
INVALID, VALIDATION, MISSING = "InvalidParameterValueException", "ValidationException", "ResourceNotFoundException"
A65, A129, A170 = "a" * 65, "a" * 129, "a" * 170


def account_of(folder: Path, documents: Documents | None = None, **settings: Any) -> AccountFunctions:
    template = template_of(folder, DECLARED, **settings)
    return AccountFunctions(template, shares_of(template, 1)[0], FakeClock(), documents or ForgettingDocuments())


@pytest.fixture
def account(tmp_path: Path) -> Iterator[AccountFunctions]:
    made = account_of(tmp_path)
    yield made
    made.environments.stop(0)


@pytest.fixture
def function(account: AccountFunctions) -> AccountFunctions:
    """An account with the function f."""
    account.functions.create_function(request())
    return account


def refused(call: Callable[..., Any], *arguments: Any, **named: Any) -> tuple[int, str, str]:
    """Status, type and text; the call must be refused."""
    with pytest.raises(ApiError) as caught:
        call(*arguments, **named)
    return caught.value.status, caught.value.type, caught.value.text


def violation(value: str, field: str, constraint: str) -> str:
    return f"Value '{value}' at '{field}' failed to satisfy constraint: {constraint}"


def one(detail: str) -> tuple[int, str, str]:
    return 400, VALIDATION, f"1 validation error detected: {detail}"


# --- functions --------------------------------------------------------------------------------------------------------


def test_a_new_function_is_pending_with_aws_defaults_and_active_when_it_is_looked_at(account: AccountFunctions) -> None:
    content = describing("first")
    created = account.functions.create_function(request(content=content, Timeout=5, Environment={"Variables": {}}))
    revision, modified = created.pop("RevisionId"), created.pop("LastModified")
    assert re.fullmatch(r"[0-9a-f-]{36}", revision)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+0000", modified)
    assert created.pop("RuntimeVersionConfig")["RuntimeVersionArn"].startswith("arn:aws:lambda:us-east-1::runtime:")
    assert len(created.pop("CodeSha256")) == 44
    assert created == {
        "Architectures": ["x86_64"],
        "CodeSize": len(content),
        "Description": "",
        "Environment": {"Variables": {}},
        "EphemeralStorage": {"Size": 512},
        "FunctionArn": arn("f"),
        "FunctionName": "f",
        "Handler": "app.handler",
        "LoggingConfig": {"LogFormat": "Text", "LogGroup": "/aws/lambda/f"},
        "MemorySize": 128,
        "PackageType": "Zip",
        "Role": ROLE,
        "Runtime": RUNTIME,
        "SnapStart": {"ApplyOn": "None", "OptimizationStatus": "Off"},
        "State": "Pending",
        "StateReason": "The function is being created.",
        "StateReasonCode": "Creating",
        "Timeout": 5,
        "TracingConfig": {"Mode": "PassThrough"},
        "Version": "$LATEST",
    }
    found = account.functions.get_function_configuration("f")
    assert (found["State"], found["LastUpdateStatus"]) == ("Active", "Successful")
    assert "StateReason" not in found
    assert found["RevisionId"] != revision
    assert {key: found[key] for key in created if not key.startswith("State")} == {
        key: value for key, value in created.items() if not key.startswith("State")
    }


def test_the_size_of_the_temporary_folder_is_the_environments(function: AccountFunctions) -> None:  # E.3
    function.functions.update_function_configuration("f", {"EphemeralStorage": {"Size": 1024}})
    assert function.functions.get_function_configuration("f")["EphemeralStorage"] == {"Size": 1024}
    configuration = function.environments.configuration("f")
    assert configuration is not None
    assert configuration.ephemeral_storage == 1024


def test_updates_begin_in_progress_and_each_has_two_revisions(function: AccountFunctions) -> None:
    calls = function.functions
    revisions = [calls.get_function_configuration("f")["RevisionId"]]
    changed = calls.update_function_configuration(
        "f", {"Description": "Changed", "MemorySize": 512, "Timeout": 10, "Environment": {"Variables": {"EN": "a"}}}
    )
    code = calls.update_function_code("f", {"ZipFile": b64encode(describing("second")).decode()})
    for answer in (changed, code):
        assert (answer["State"], answer["LastUpdateStatus"]) == ("Active", "InProgress")
        assert answer["LastUpdateStatusReason"] == "The function is being created."
        assert answer["LastUpdateStatusReasonCode"] == "Creating"
        revisions.append(answer["RevisionId"])
    found = calls.get_function("f")["Configuration"]
    revisions.append(found["RevisionId"])
    assert len(set(revisions)) == 4
    assert (found["Description"], found["MemorySize"], found["Environment"]) == (
        "Changed",
        512,
        {"Variables": {"EN": "a"}},
    )
    assert found["LastUpdateStatus"] == "Successful"
    assert found["CodeSha256"] == code["CodeSha256"] != changed["CodeSha256"]


def test_a_dry_run_says_what_would_be_and_changes_nothing(function: AccountFunctions) -> None:
    before = function.functions.get_function("f")
    code = {"ZipFile": b64encode(describing("second")).decode(), "DryRun": True}
    answer = function.functions.update_function_code("f", code)
    assert answer["CodeSha256"] != before["Configuration"]["CodeSha256"]
    assert function.functions.get_function("f") == before
    assert len(list((function.catalogue.packages.zip_of("x").parent).glob("*.zip"))) == 1


def test_what_an_update_leaves_out_stays_and_an_empty_object_takes_away(account: AccountFunctions) -> None:
    account.functions.create_function(
        request(
            KMSKeyArn="arn:aws:kms:us-east-1:123456789012:key/k",
            VpcConfig={"SubnetIds": ["subnet-1"], "SecurityGroupIds": ["sg-1"]},
            TracingConfig={"Mode": "Active"},
        )
    )
    found = account.functions.update_function_configuration("f", {"Timeout": 7})
    assert (found["Timeout"], found["TracingConfig"]) == (7, {"Mode": "Active"})
    assert found["VpcConfig"] == {"SubnetIds": ["subnet-1"], "SecurityGroupIds": ["sg-1"]}
    nothing = {"VpcConfig": {"SubnetIds": [], "SecurityGroupIds": []}, "KMSKeyArn": ""}
    assert not {"VpcConfig", "KMSKeyArn"} & account.functions.update_function_configuration("f", nothing).keys()


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ({"LogFormat": "JSON"}, {"LogFormat": "JSON", "ApplicationLogLevel": "INFO", "SystemLogLevel": "INFO"}),
        (
            {"LogFormat": "JSON", "ApplicationLogLevel": "DEBUG"},
            {"LogFormat": "JSON", "ApplicationLogLevel": "DEBUG", "SystemLogLevel": "INFO"},
        ),
        ({"LogGroup": "cool_lambda"}, {"LogFormat": "Text", "LogGroup": "cool_lambda"}),
    ],
)
def test_a_part_of_a_logging_config_changes_that_part_and_levels_come_and_go_with_json(
    account: AccountFunctions, given: dict[str, str], shown: dict[str, str]
) -> None:
    """E.5, and what the service was recorded with."""
    account.functions.create_function(request())
    account.functions.update_function_configuration("f", {"LoggingConfig": given})
    expected = {"LogGroup": "/aws/lambda/f", **shown}
    assert account.functions.get_function_configuration("f")["LoggingConfig"] == expected
    entry = account.catalogue.get("f")
    assert entry is not None
    logging = entry.latest.configuration(FunctionConfiguration("f", Path(), "h.h")).logging
    assert (logging.log_format, logging.application_log_level) == (
        expected["LogFormat"],
        expected.get("ApplicationLogLevel", "INFO"),
    )
    assert logging.log_group == given.get("LogGroup")
    account.functions.update_function_configuration("f", {"LoggingConfig": {"LogFormat": "Text"}})
    assert account.functions.get_function_configuration("f")["LoggingConfig"] == {
        "LogFormat": "Text",
        "LogGroup": expected["LogGroup"],
    }


@pytest.mark.parametrize("call", ["update_function_code", "update_function_configuration", "publish_version"])
def test_another_revision_than_the_latest_is_refused(function: AccountFunctions, call: str) -> None:
    caller = function.publishing if call == "publish_version" else function.functions
    values = {"ZipFile": b64encode(describing("second")).decode()} if call == "update_function_code" else {}
    assert refused(getattr(caller, call), "f", {**values, "RevisionId": "wrong"}) == WRONG_REVISION
    latest = function.functions.get_function_configuration("f")["RevisionId"]
    assert getattr(caller, call)("f", {**values, "RevisionId": latest})


CREATE_REFUSALS: Sequence[tuple[Mapping[str, Any], tuple[int, str, str]]] = [
    ({"Role": ...}, (400, VALIDATION, ("1 validation error detected: Value null at 'role' failed to satisfy constraint: "
      "Member must not be null"))),
    ({"Role": "r1"}, one(violation("r1", "role", "Member must satisfy regular expression pattern: "
      r"arn:(aws[a-zA-Z-]*)?:iam::\d{12}:role/?[a-zA-Z_0-9+=,.@\-_/]+"))),
    ({"Architectures": ["x86_64", "arm64"]}, one(violation(
        "[x86_64, arm64]", "architectures", "Member must have length less than or equal to 1"))),
    ({"Architectures": ["X86_64"]}, one(violation("[X86_64]", "architectures",
      "Member must satisfy constraint: [Member must satisfy enum value set: [x86_64, arm64], Member must not be null]"))),
    ({"Timeout": 901}, one(violation("901", "timeout", "Member must have value less than or equal to 900"))),
    ({"MemorySize": 1}, one(violation("1", "memorySize", "Member must have value greater than or equal to 128"))),
    ({"EphemeralStorage": {"Size": 1}}, one(violation(
        "1", "ephemeralStorage.size", "Member must have value greater than or equal to 512"))),
    ({"Description": "d" * 257}, one(violation(
        "d" * 257, "description", "Member must have length less than or equal to 256"))),
    ({"Timeout": 0, "MemorySize": 1}, (400, VALIDATION, "2 validation errors detected: "
      + violation("0", "timeout", "Member must have value greater than or equal to 1") + "; "
      + violation("1", "memorySize", "Member must have value greater than or equal to 128"))),
    ({"Environment": {"Variables": {"1": "x"}}}, one(violation("***", "environment.variables",
      "Map keys must satisfy constraint: [Member must satisfy regular expression pattern: [a-zA-Z]([a-zA-Z0-9_])+]"))),
    ({"Code": {"ZipFile": b64encode(b"x").decode()}}, (400, INVALID,
      "Could not unzip uploaded file. Please check your file, then try to upload again.")),
    ({"Code": {}}, (400, INVALID, "Please provide a source for function code.")),
    ({"Code": {"S3Bucket": "other", "S3Key": "k"}}, (400, INVALID, ("Error occurred while GetObject. S3 Error Code: "
      "NoSuchBucket. S3 Error Message: The specified bucket does not exist"))),
    ({"Code": {"S3Bucket": LOCAL_FOLDER, "S3Key": "rel/ative"}}, (400, INVALID,
      "S3Key rel/ative is not the absolute path of a folder.")),
    ({"Code": {"S3Bucket": LOCAL_FOLDER, "S3Key": "/tmp", "S3ObjectVersion": "v"}}, (400, INVALID,
      "S3ObjectVersion says nothing about a folder of this machine (S3Bucket local-folder).")),
    ({"Code": {"S3Bucket": LOCAL_FOLDER, "S3Key": "/no/such/folder"}}, (400, INVALID,
      "There is no folder /no/such/folder.")),
    ({"Runtime": ...}, (400, INVALID, "Runtime is mandatory for functions created with deployment packages.")),
    ({"Colour": "red"}, (400, INVALID, "unknown parameter: Colour")),
    ({"Timeout": "3"}, (400, "SerializationException", "timeout is not a whole number.")),
    ({"FunctionName": "declared"}, (409, "ResourceConflictException", "Function already exist: declared")),
    ({"FunctionName": arn("f") + ":live"}, (400, INVALID, ("This operation is permitted on Lambda functions only. Aliases "
      "and versions do not support this operation. Please specify either a function name or an unqualified function ARN."))),
    ({"Layers": ["arn:aws:lambda:us-east-1:123456789012:layer:l:1"]}, (400, INVALID,
      "Layer version arn:aws:lambda:us-east-1:123456789012:layer:l:1 does not exist.")),
    ({"FileSystemConfigs": [{"Arn": "a", "LocalMountPath": "b"}]}, (400, INVALID, "FileSystemConfigs is not supported")),
    ({"DurableConfig": {"ExecutionTimeout": 1}}, (400, INVALID, "DurableConfig is not supported")),
    ({"SnapStart": {"ApplyOn": "PublishedVersions"}}, (400, INVALID, "SnapStart is not supported")),
    ({"PackageType": "Image"}, (400, INVALID, "PackageType Image is not supported")),
    ({"LoggingConfig": {"LogFormat": "Text", "SystemLogLevel": "WARN"}}, (400, INVALID,
      ('LogLevel is not supported when LogFormat is set to "Text". Remove LogLevel from your request or change the '
      'LogFormat to "JSON" and try again.'))),
    ({"DeadLetterConfig": {"TargetArn": "arn:aws:s3:::b"}}, (400, INVALID, ("DeadLetterConfig.TargetArn: is not the ARN of "
      "an SQS queue or SNS topic, FIFO ones excepted"))),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "expected"), CREATE_REFUSALS)
def test_a_function_that_cannot_be_is_refused_in_awss_words(
    account: AccountFunctions, tmp_path: Path, changes: Mapping[str, Any], expected: tuple[int, str, str]
) -> None:
    assert refused(account.functions.create_function, request(**changes)) == expected
    assert account.catalogue.names() == ["declared"]
    assert not list((tmp_path / ".poller").glob("code/*"))


def test_a_runtime_that_there_is_not_is_refused_with_those_that_there_are(account: AccountFunctions) -> None:
    status, type_, text = refused(account.functions.create_function, request(Runtime="PYTHON3.9"))
    assert (status, type_) == (400, INVALID)
    assert text.startswith(
        "Value PYTHON3.9 at 'runtime' failed to satisfy constraint: Member must satisfy enum value set: ["
    )
    assert text.endswith("] or be a valid ARN")


def test_the_platforms_variables_and_more_than_4_kb_are_refused(account: AccountFunctions) -> None:
    for variables, begin in (
        ({"AWS_REGION": "x"}, ("Lambda was unable to configure your environment variables because the environment variables "
         "you have provided contains reserved keys that are currently not supported for modification.")),
        ({"LARGE": "x" * 4090}, ("Lambda was unable to configure your environment variables because the environment variables "
         'you have provided exceeded the 4KB limit. String measured: {"LARGE":"xxxx')),
    ):  # fmt: skip
        answer = refused(account.functions.create_function, request(Environment={"Variables": variables}))
        assert answer[:2] == (400, INVALID)
        assert answer[2].startswith(begin)
    account.functions.create_function(request(Environment={"Variables": {"LARGE": "x" * (4096 - len('{"LARGE":""}'))}}))


def test_a_second_function_of_a_name_is_refused(function: AccountFunctions) -> None:
    answer = refused(function.functions.create_function, request())
    assert answer == (409, "ResourceConflictException", "Function already exist: f")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (A65, (400, INVALID, f"1 validation error detected: {violation(A65, 'functionName', 'Member must have length less than or equal to 64')}")),
        (f"f:{A129}a{'a' * 9}", one(violation(f"f:{A129}a{'a' * 9}", "functionName", "Member must have length less than or equal to 140"))),
        *((name, one(violation(name, "functionName", f"Member must satisfy regular expression pattern: {NAME_PATTERN}")))
          for name in ("*", "f!", arn("f") + ":1:2", "bad-account:function:f", "f:$LATES", "arn:aws:ec2:us-east-1:1:i")),
        ("arn:aws:lambda:eu-west-1:123456789012:function:f", (404, MISSING, "Functions from 'eu-west-1' are not reachable in this region ('us-east-1')")),
        ("210987654321:function:f", (403, "AccessDeniedException", "")),
    ],
)  # fmt: skip
def test_a_name_that_no_function_can_have_is_refused(
    account: AccountFunctions, name: str, expected: tuple[int, str, str]
) -> None:
    assert refused(account.functions.create_function, request(FunctionName=name)) == expected


@pytest.mark.parametrize(
    ("name", "qualifier", "expected"),
    [
        ("g", None, (404, MISSING, f"Function not found: {arn('g')}")),
        (A65, None, (404, MISSING, f"Function not found: {arn(A65)}")),
        ("function", None, (404, MISSING, f"Function not found: {arn('function')}")),
        ("f", "1221", (404, MISSING, f"Function not found: {arn('f')}:1221")),
        ("f:$latest", None, one(violation("f:$latest", "functionName", f"Member must satisfy regular expression pattern: {FUNCTION_NAME_PATTERN}"))),
        ("f", "$latest", (404, MISSING, f"Function not found: {arn('f')}:$latest")),
        ("g", "$LATEST", (404, MISSING, f"Function not found: {arn('g')}:$LATEST")),
        (arn("f") + ":1", "2", (400, INVALID, "The derived qualifier from the function name does not match the specified qualifier.")),
        ("f", A129, one(violation(A129, "qualifier", "Member must have length less than or equal to 128"))),
        ("*", None, one(violation("*", "functionName", f"Member must satisfy regular expression pattern: {FUNCTION_NAME_PATTERN}"))),
        ("arn:aws:lambda:eu-west-1:123456789012:function:f", None, (404, MISSING, "Functions from 'eu-west-1' are not reachable in this region ('us-east-1')")),
    ],
)  # fmt: skip
@pytest.mark.parametrize("call", ["get_function", "get_function_configuration"])
def test_a_function_that_is_not_there_is_not_found(
    function: AccountFunctions, call: str, name: str, qualifier: str | None, expected: tuple[int, str, str]
) -> None:
    assert refused(getattr(function.functions, call), name, qualifier) == expected


@pytest.mark.parametrize(
    ("name", "qualifier", "expected"),
    [
        ("g", None, (404, MISSING, f"Function not found: {arn('g')}")),
        ("g", "1221", (404, MISSING, f"Function not found: {arn('g')}")),
        ("g", A65, (400, INVALID, "Deletion of aliases is not currently supported.")),
        ("g", "$LATEST", (400, INVALID, "$LATEST version cannot be deleted without deleting the function.")),
        ("f:1", "2", (400, INVALID, "The derived qualifier from the function name does not match the specified qualifier.")),
        ("declared", None, (409, "ResourceConflictException", "The function declared is declared by the template: change it there, or run with --allow-drift.")),
    ],
)  # fmt: skip
def test_what_cannot_be_deleted_is_refused(
    function: AccountFunctions, name: str, qualifier: str | None, expected: tuple[int, str, str]
) -> None:
    assert refused(function.functions.delete_function, name, qualifier) == expected


def test_a_deleted_function_is_gone_with_its_code(function: AccountFunctions, tmp_path: Path) -> None:
    function.functions.delete_function("f")
    assert refused(function.functions.get_function, "f") == (404, MISSING, f"Function not found: {arn('f')}")
    assert list((tmp_path / ".poller" / "code").iterdir()) == []
    function.functions.create_function(request())


def test_functions_are_listed_by_name_page_by_page_and_with_all_versions(function: AccountFunctions) -> None:
    calls = function.functions
    function.publishing.publish_version("f", {})
    for number in range(52):
        calls.create_function(request(f"n{number:02}"))
    first = calls.list_functions()
    assert [item["FunctionName"] for item in first["Functions"]] == ["declared", "f", *(f"n{n:02}" for n in range(48))]
    second = calls.list_functions(marker=first["NextMarker"])
    assert [item["FunctionName"] for item in second["Functions"]] == ["n48", "n49", "n50", "n51"]
    assert "NextMarker" not in second
    assert not {"State", "LastUpdateStatus", "RuntimeVersionConfig"} & first["Functions"][1].keys()
    listed = calls.list_functions("ALL", max_items=3)["Functions"]
    assert [item["FunctionArn"] for item in listed] == [
        f"{arn('declared')}:$LATEST",
        f"{arn('f')}:$LATEST",
        f"{arn('f')}:1",
    ]
    assert refused(calls.list_functions, "invalid") == one(
        violation("invalid", "functionVersion", "Member must satisfy enum value set: [ALL]")
    )
    assert refused(calls.list_functions, None, None, 0)[1] == VALIDATION
    assert refused(calls.list_functions, None, "f:x", 5)[:2] == (400, INVALID)


def test_a_page_goes_on_where_the_one_before_ended_though_its_function_is_gone(function: AccountFunctions) -> None:
    for name in ("g", "h"):
        function.functions.create_function(request(name))
    marker = function.functions.list_functions(max_items=2)["NextMarker"]
    function.functions.delete_function("g")
    assert [item["FunctionName"] for item in function.functions.list_functions(marker=marker)["Functions"]] == ["h"]


def test_a_local_folder_is_code_as_it_is_at_any_time_and_a_version_of_it_stays(
    account: AccountFunctions, tmp_path: Path
) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "app.py").write_text("one = 1\n")
    account.functions.create_function(request(Code={"S3Bucket": LOCAL_FOLDER, "S3Key": str(folder)}))
    found = account.functions.get_function("f")
    assert found["Code"] == {"RepositoryType": "File", "Location": folder.as_uri()}
    assert found["Configuration"]["CodeSize"] == 8
    version = account.publishing.publish_version("f", {})
    (folder / "app.py").write_text("two = 2\n")
    [listed, _] = account.publishing.list_versions_by_function("f")["Versions"]
    latest = account.functions.get_function_configuration("f")
    assert listed["CodeSha256"] == latest["CodeSha256"]
    assert (
        latest["CodeSha256"]
        != version["CodeSha256"]
        == account.functions.get_function("f", "1")["Configuration"]["CodeSha256"]
    )
    copied = account.environments.configuration("f", "1")
    assert copied is not None
    assert (copied.code / "app.py").read_text() == "one = 1\n"
    assert account.publishing.publish_version("f", {})["Version"] == "2"


def test_tags_that_a_function_is_created_with_are_kept_beside_it(tmp_path: Path) -> None:
    documents = ForgettingDocuments()
    account = account_of(tmp_path, documents)
    account.functions.create_function(request(Tags={"team": "a"}))
    assert documents.all("Tags") == {"function:f": {"Tags": {"team": "a"}}}


# --- what the template declares ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        lambda account: account.functions.update_function_code("declared", request()["Code"]),
        lambda account: account.functions.update_function_configuration("declared", {"Timeout": 9}),
        lambda account: account.functions.delete_function("declared"),
        lambda account: account.publishing.publish_version("declared", {}),
        lambda account: account.publishing.create_alias("declared", {"Name": "a", "FunctionVersion": "$LATEST"}),
        lambda account: account.publishing.delete_alias("declared", "a"),
    ],
)
def test_what_the_template_declares_is_changed_with_allow_drift_only_and_until_the_next_start(
    tmp_path: Path, change: Callable[[AccountFunctions], Any]
) -> None:
    account = account_of(tmp_path)
    assert refused(change, account)[:2] == (409, "ResourceConflictException")
    documents = ForgettingDocuments()
    drifting = account_of(tmp_path, documents, AllowDrift=True)
    change(drifting)
    assert documents.all("Function") == documents.all("Alias") == {}
    assert account_of(tmp_path, documents).functions.get_function_configuration("declared")["Timeout"] == 3


def test_a_change_of_a_declared_function_answers_what_its_folder_holds(tmp_path: Path) -> None:
    calls = account_of(tmp_path, AllowDrift=True).functions
    changed = calls.update_function_configuration("declared", {"Timeout": 9})
    found = calls.get_function_configuration("declared")
    assert (changed["CodeSize"], changed["CodeSha256"]) == (found["CodeSize"], found["CodeSha256"])
    assert found["CodeSha256"]


def test_a_declared_function_shows_what_the_template_says(account: AccountFunctions) -> None:
    found = account.functions.get_function_configuration("declared")
    assert (found["Handler"], found["Environment"]) == ("basic.echo", {"Variables": {"AB": "c"}})
    assert (found["State"], found["Version"]) == ("Active", "$LATEST")
    assert found["CodeSize"] > 0


# --- versions ---------------------------------------------------------------------------------------------------------


def test_a_version_is_published_once_until_something_changes(function: AccountFunctions) -> None:
    publish, latest = function.publishing.publish_version, lambda: function.functions.get_function_configuration("f")
    before = latest()
    first = publish("f", {"Description": "First"})
    assert (first["Version"], first["FunctionArn"], first["Description"]) == ("1", f"{arn('f')}:1", "First")
    assert (first["State"], first["LastUpdateStatus"]) == ("Active", "Successful")
    revisions = {before["RevisionId"], first["RevisionId"], latest()["RevisionId"]}
    assert len(revisions) == 3
    assert publish("f", {"Description": "ignored"}) == first
    function.functions.update_function_configuration("f", {"Description": "Second"})
    second = publish("f", {})
    assert (second["Version"], second["Description"]) == ("2", "Second")
    listed = function.publishing.list_versions_by_function("f")["Versions"]
    assert [item["FunctionArn"] for item in listed] == [f"{arn('f')}:{version}" for version in ("$LATEST", "1", "2")]
    assert "State" not in listed[0]
    assert function.functions.get_function_configuration("f", "1") == first


def test_a_function_created_and_an_update_published_have_their_versions_at_once(account: AccountFunctions) -> None:
    created = account.functions.create_function(request(Publish=True))
    assert (created["Version"], created["FunctionArn"], created["State"]) == ("1", arn("f"), "Pending")
    revision = account.functions.get_function_configuration("f")["RevisionId"]
    assert account.publishing.publish_version("f", {})["Version"] == "1"
    assert account.functions.get_function_configuration("f")["RevisionId"] == revision
    code = {"ZipFile": b64encode(describing("second")).decode(), "Publish": True}
    updated = account.functions.update_function_code("f", code)
    assert (updated["Version"], updated["FunctionArn"], updated["State"]) == ("2", f"{arn('f')}:2", "Pending")
    assert account.functions.get_function_configuration("f", "2")["State"] == "Active"


def test_a_version_of_other_code_than_was_expected_is_not_published(function: AccountFunctions) -> None:
    sha = function.functions.get_function_configuration("f")["CodeSha256"]
    assert refused(function.publishing.publish_version, "f", {"CodeSha256": "other"}) == (
        400,
        INVALID,
        (
            f"CodeSHA256 (other) is different from current CodeSHA256 in $LATEST ({sha}). Please try again with the "
            "CodeSHA256 in $LATEST."
        ),
    )
    assert function.publishing.publish_version("f", {"CodeSha256": sha})["Version"] == "1"


def test_a_number_is_never_used_again(function: AccountFunctions) -> None:
    function.publishing.publish_version("f", {})
    function.functions.delete_function("f", "1")
    assert [item["Version"] for item in function.publishing.list_versions_by_function("f")["Versions"]] == ["$LATEST"]
    assert function.publishing.publish_version("f", {})["Version"] == "2"
    function.functions.delete_function("f", "1221")  # as on AWS, of no consequence


def test_versions_are_listed_by_number_page_by_page(function: AccountFunctions) -> None:
    for number in range(11):
        function.functions.update_function_configuration("f", {"Description": str(number)})
        function.publishing.publish_version("f", {})
    calls = function.publishing
    first = calls.list_versions_by_function("f", max_items=10)
    second = calls.list_versions_by_function("f", first["NextMarker"])
    assert [item["Version"] for item in first["Versions"]] == ["$LATEST", *map(str, range(1, 10))]
    assert [item["Version"] for item in second["Versions"]] == ["10", "11"]


# --- aliases ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def two(function: AccountFunctions) -> AccountFunctions:
    """f with versions 1 and 2."""
    function.publishing.publish_version("f", {})
    function.functions.update_function_configuration("f", {"Description": "2"})
    function.publishing.publish_version("f", {})
    return function


def test_an_alias_lives_as_it_does_on_aws(two: AccountFunctions) -> None:
    calls = two.publishing
    weights = {"AdditionalVersionWeights": {"2": 0.2}}
    created = calls.create_alias(
        "f", {"Name": "live", "FunctionVersion": "1", "Description": "custom", "RoutingConfig": weights}
    )
    revision = created["RevisionId"]
    assert created == {
        "AliasArn": f"{arn('f')}:live",
        "Name": "live",
        "FunctionVersion": "1",
        "Description": "custom",
        "RevisionId": revision,
        "RoutingConfig": weights,
    }
    assert calls.get_alias("f", "live") == created
    found = two.functions.get_function("f", "live")["Configuration"]
    assert (found["FunctionArn"], found["Version"]) == (f"{arn('f')}:live", "1")
    assert refused(calls.update_alias, "f", "live", {"RevisionId": "wrong"}) == WRONG_REVISION
    updated = calls.update_alias(
        "f", "live", {"RoutingConfig": {"AdditionalVersionWeights": {}}, "RevisionId": revision}
    )
    assert updated == {
        **{key: created[key] for key in created if key != "RoutingConfig"},
        "RevisionId": updated["RevisionId"],
    }
    assert updated["RevisionId"] != revision
    second = calls.create_alias("f", {"Name": "2024-01-02", "FunctionVersion": "2"})
    assert second["Description"] == ""
    assert calls.list_aliases("f") == {"Aliases": [second, updated]}
    assert calls.list_aliases("f", "1") == {"Aliases": [updated]}
    page = calls.list_aliases("f", max_items=1)
    assert calls.list_aliases("f", marker=page["NextMarker"]) == {"Aliases": [updated]}
    assert refused(two.functions.delete_function, "f", "1")[:2] == (409, "ResourceConflictException")
    calls.delete_alias("f", "live")
    calls.delete_alias("f", "live")  # recorded: 204
    assert calls.list_aliases("f") == {"Aliases": [second]}
    two.functions.delete_function("f", "1")


def _weights(**weights: float) -> dict[str, Any]:
    return {"RoutingConfig": {"AdditionalVersionWeights": {key.strip("_"): value for key, value in weights.items()}}}


RANGE = (
    "Map value must satisfy constraint: [Member must have value less than or equal to 1.0, Member must have value greater "
    "than or equal to 0.0, Member must not be null]"
)
WEIGHTS = "routingConfig.additionalVersionWeights"


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("g", {}, (404, MISSING, f"Function not found: {arn('g')}:1")),
        ("f", {"Name": "there"}, (409, "ResourceConflictException", f"Alias already exists: {arn('f')}:there")),
        ("f", {"Name": "2024"}, one(violation("2024", "name", "Member must satisfy regular expression pattern: (?!^[0-9]+$)([a-zA-Z0-9-_]+)"))),
        ("f", {"FunctionVersion": "10"}, (404, MISSING, f"Function not found: {arn('f')}:10")),
        ("f", _weights(_10=0.5), (404, MISSING, f"Function not found: {arn('f')}:10")),
        ("f", _weights(_1=0.5), (400, INVALID, "Invalid function version 1. Function version 1 is already included in routing configuration.")),
        ("f", _weights(_2=2), one(violation("{2=2.0}", WEIGHTS, RANGE))),
        ("f", _weights(_2=-1), one(violation("{2=-1.0}", WEIGHTS, RANGE))),
        ("f", _weights(_1=0.1, _2=0.1), (400, INVALID, "Number of items in AdditionalVersionWeights cannot be greater than 1")),
        ("f", {"RoutingConfig": {"AdditionalVersionWeights": {"$LATEST": 0.5}}}, one(violation("{$LATEST=0.5}", WEIGHTS, "Map keys must satisfy constraint: [Member must have length less than or equal to 1024, Member must have length greater than or equal to 1, Member must satisfy regular expression pattern: [0-9]+]"))),
        ("f", {"FunctionVersion": "$LATEST", **_weights(_1=0.5)}, (400, INVALID, "$LATEST is not supported for an alias pointing to more than 1 version")),
    ],
)  # fmt: skip
def test_an_alias_that_cannot_be_is_refused_in_awss_words(
    two: AccountFunctions, name: str, values: Mapping[str, Any], expected: tuple[int, str, str]
) -> None:
    two.publishing.create_alias("f", {"Name": "there", "FunctionVersion": "$LATEST"})
    assert refused(two.publishing.create_alias, name, {"Name": "new", "FunctionVersion": "1", **values}) == expected
    assert [item["Name"] for item in two.publishing.list_aliases("f")["Aliases"]] == ["there"]


def test_an_alias_that_is_not_there_has_a_text_for_each_call(two: AccountFunctions) -> None:
    missing = f"{arn('f')}:none"
    assert refused(two.publishing.get_alias, "f", "none") == (404, MISSING, f"Cannot find alias arn: {missing}")
    assert refused(two.publishing.update_alias, "f", "none", {}) == (404, MISSING, f"Alias not found: {missing}")


# --- what is kept -----------------------------------------------------------------------------------------------------


def test_everything_comes_back_as_it_was_answered(tmp_path: Path) -> None:
    documents = ForgettingDocuments()
    account = account_of(tmp_path, documents)
    account.functions.create_function(request(Environment={"Variables": {"AB": "ä"}}, Publish=True))
    account.functions.create_function(request("gone"))
    account.functions.update_function_code("f", {"ZipFile": b64encode(describing("second")).decode()})
    account.publishing.publish_version("f", {"Description": "two"})
    weights = {"AdditionalVersionWeights": {"2": 0.25}}
    account.publishing.create_alias("f", {"Name": "live", "FunctionVersion": "1", "RoutingConfig": weights})
    account.functions.delete_function("gone")

    def told(one: AccountFunctions) -> list[Any]:
        qualifiers = ("", "1", "2", "live")
        return [
            one.functions.list_functions("ALL"),
            [one.functions.get_function("f", qualifier or None) for qualifier in qualifiers],
            one.publishing.list_aliases("f"),
            [one.environments.configuration("f", qualifier) for qualifier in qualifiers],
        ]

    again = account_of(tmp_path, documents)
    assert told(again) == told(account)
    assert again.publishing.publish_version("f", {})["Version"] == "2"
    again.functions.update_function_configuration("f", {"Timeout": 9})
    assert again.publishing.publish_version("f", {})["Version"] == "3"


def test_a_function_whose_code_is_gone_is_failed_and_stops_nothing_else(tmp_path: Path) -> None:
    documents = ForgettingDocuments()
    account = account_of(tmp_path, documents)
    account.functions.create_function(request())
    account.functions.create_function(request("g", zip_of(("other.py", "x"))))
    folder = account.environments.configuration("f")
    assert folder is not None
    folder.code.rename(tmp_path / "away")
    again = account_of(tmp_path, documents)
    found = again.functions.get_function_configuration("f")
    assert (found["State"], found["StateReasonCode"]) == ("Failed", "InvalidZipFileException")
    assert str(folder.code) in found["StateReason"]
    assert refused(again.catalogue.refuse_unready, "f", "") == (
        409,
        "ResourceConflictException",
        "The operation cannot be performed at this time. The function is currently in the following state: Failed",
    )
    assert again.functions.get_function_configuration("g")["State"] == "Active"
    again.functions.update_function_code("f", request()["Code"])
    assert again.functions.get_function_configuration("f")["State"] == "Active"


def test_the_template_wins_over_a_function_of_the_same_name_that_calls_made(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    documents = ForgettingDocuments()
    account = account_of(tmp_path, documents)
    account.functions.create_function(request("later"))
    template = template_of(tmp_path, {"later": {"Handler": "basic.echo"}})
    again = AccountFunctions(template, shares_of(template, 1)[0], FakeClock(), documents)
    assert again.functions.get_function_configuration("later")["Handler"] == "basic.echo"
    assert "the template wins" in caplog.text


class FullDisk(ForgettingDocuments):
    full = False

    def change(self, changes: Sequence[Change]) -> None:
        if self.full:
            raise StateError("the disk is full")
        super().change(changes)


def test_what_cannot_be_kept_is_not_done(tmp_path: Path) -> None:
    documents = FullDisk()
    account = account_of(tmp_path, documents)
    recalled: list[str] = []

    def unreadable() -> None:
        raise StateError("the disk cannot be read")

    account.catalogue.on_deleted(lambda name, qualifier: [], unreadable)
    account.catalogue.on_deleted(lambda name, qualifier: [], lambda: recalled.append("all"))
    account.functions.create_function(request())
    account.publishing.publish_version("f", {})
    before = [account.functions.get_function("f"), account.publishing.list_versions_by_function("f")]
    documents.full = True
    code = {"ZipFile": b64encode(describing("second")).decode()}
    for call in (
        lambda: account.functions.create_function(request("g")),
        lambda: account.functions.update_function_code("f", code),
        lambda: account.functions.delete_function("f"),
        lambda: account.functions.delete_function("f", "1"),
        lambda: account.publishing.create_alias("f", {"Name": "a", "FunctionVersion": "1"}),
    ):
        with pytest.raises(StateError):
            call()
    assert [account.functions.get_function("f"), account.publishing.list_versions_by_function("f")] == before
    assert account.catalogue.names() == ["declared", "f"]
    assert len(recalled) == 5


def test_who_hangs_on_functions_is_told_of_what_goes_in_the_same_change(tmp_path: Path) -> None:
    documents = ForgettingDocuments()
    account = account_of(tmp_path, documents)
    account.functions.create_function(request(Publish=True))
    account.publishing.create_alias("f", {"Name": "live", "FunctionVersion": "$LATEST"})
    told: list[tuple[str, str]] = []

    def forget(name: str, qualifier: str) -> list[Change]:
        told.append((name, qualifier))
        return [Change("Url", f"{name}:{qualifier}", {"gone": True})]

    account.catalogue.on_deleted(forget)
    account.publishing.delete_alias("f", "live")
    account.functions.delete_function("f", "1")
    account.functions.delete_function("f")
    assert told == [("f", "live"), ("f", "1"), ("f", "")]
    assert list(documents.all("Url")) == ["f:live", "f:1", "f:"]
    assert documents.all("Function") == documents.all("Alias") == {}


def test_documents_that_are_none_of_ours_stop_nothing_else(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    documents = ForgettingDocuments()
    account_of(tmp_path, documents).functions.create_function(request("good"))
    documents.change(
        [
            Change("Function", "odd:$LATEST", {"Properties": 1}),
            Change("Function", "half:1", documents.all("Function")["good:$LATEST"]),
        ]
    )
    assert account_of(tmp_path, documents).catalogue.names() == ["declared", "good"]
    assert {"odd", "half"} <= {word for record in caplog.records for word in record.getMessage().split()}
