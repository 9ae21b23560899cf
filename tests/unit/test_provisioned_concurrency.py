"""Provisioned concurrency by calls (E.3): texts and limits on an account in memory, environments through boto3."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from account_rig import Account, configs_of, refused
from api_service import RUNTIME, arn, aws_client, served, template_of
from botocore.exceptions import ClientError
from packages import ROLE, zip_of
from waiting import eventually

from poller.account.aliases import Alias
from poller.account.configs import FunctionConfigs
from poller.account.configs_provisioned import INIT_FAILED, POINTED, TAKEN, UNPUBLISHED, WEIGHTED
from poller.account.documents import ForgettingDocuments
from poller.account.store import StoredDocuments

INVALID, MISSING, CONFLICT = (
    "InvalidParameterValueException",
    "ResourceNotFoundException",
    "ResourceConflictException",
)
NONE = "No Provisioned Concurrency Config found for this function"
NO_FUNCTION = "The function resource provided must be an alias or a published version."
ONE = {"ProvisionedConcurrentExecutions": 1}
HOW = """
import os
def handler(event, context):
    return {"type": os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"], "version": context.function_version}
"""


@pytest.fixture
def account() -> Account:
    return Account()


@pytest.fixture
def configs(tmp_path: Path, account: Account) -> FunctionConfigs:
    return configs_of(tmp_path, account)


def so_many(count: Any) -> dict[str, Any]:
    return {"ProvisionedConcurrentExecutions": count}


def test_it_is_put_on_versions_and_aliases_and_begins_in_progress(configs: FunctionConfigs, account: Account) -> None:
    answer = configs.provisioned.put("f", "live", so_many(3))
    assert answer == {
        "RequestedProvisionedConcurrentExecutions": 3,
        "AvailableProvisionedConcurrentExecutions": 0,
        "AllocatedProvisionedConcurrentExecutions": 0,
        "Status": "IN_PROGRESS",
        "LastModified": "1970-01-01T00:00:17.000+0000",
    }
    assert configs.provisioned.put("f", "2", ONE)["Status"] == "IN_PROGRESS"
    assert account.initialised == {"f": {"live": 3, "2": 1}}
    configs.provisioned.delete("f:2", None)
    assert account.initialised == {"f": {"live": 3}}
    assert configs.provisioned.delete("f", "1") is None


@pytest.mark.parametrize(("name", "qualifier"), [("f", "9"), ("f", "noalias"), ("nobody", "1"), ("nobody", "noalias")])
def test_what_is_not_there_is_told_by_its_arn(configs: FunctionConfigs, name: str, qualifier: str) -> None:  # E.3
    what = "Function not found" if qualifier.isdecimal() else "Cannot find alias arn"
    told = (404, MISSING, f"{what}: {arn(name)}:{qualifier}")
    calls = configs.provisioned
    assert refused(calls.put, name, qualifier, ONE) == told
    assert refused(calls.get, name, qualifier) == refused(calls.delete, name, qualifier) == told


def test_latest_has_none_and_neither_has_what_leads_there(configs: FunctionConfigs, account: Account) -> None:  # E.3
    assert refused(configs.provisioned.put, "f", "$LATEST", ONE) == (400, INVALID, UNPUBLISHED)
    assert refused(configs.provisioned.get, "f", "$LATEST") == (400, INVALID, NO_FUNCTION)
    assert refused(configs.provisioned.delete, "f", "$LATEST") == (400, INVALID, NO_FUNCTION)
    account.aliases = {"live": ("$LATEST",)}
    assert refused(configs.provisioned.put, "f", "live", ONE) == (400, INVALID, UNPUBLISHED)
    account.aliases = {"live": ("1", "2")}
    assert refused(configs.provisioned.put, "f", "live", ONE) == (400, INVALID, WEIGHTED)


def test_without_a_configuration_there_is_none(configs: FunctionConfigs) -> None:  # E.3
    assert refused(configs.provisioned.get, "f", "1") == (404, "ProvisionedConcurrencyConfigNotFoundException", NONE)
    assert configs.provisioned.listed("f", None, None) == {"ProvisionedConcurrencyConfigs": []}
    assert refused(configs.provisioned.listed, "nobody", None, None) == (
        404,
        MISSING,
        f"Function not found: {arn('nobody')}",
    )


@pytest.mark.parametrize(
    ("body", "value", "constraint"),
    [
        (so_many(0), "'0'", "Member must have value greater than or equal to 1"),
        ({}, "null", "Member must not be null"),
    ],
)
def test_a_number_that_cannot_be_is_refused(
    configs: FunctionConfigs, body: dict[str, Any], value: str, constraint: str
) -> None:  # A.3
    where = f"Value {value} at 'provisionedConcurrentExecutions' failed to satisfy constraint: {constraint}"
    told = (400, "ValidationException", f"1 validation error detected: {where}")
    assert refused(configs.provisioned.put, "f", "1", body) == told


def test_a_version_has_it_from_one_configuration_only(configs: FunctionConfigs, account: Account) -> None:  # E.3
    account.functions["f"].add("other")
    account.aliases = {"live": ("1",), "other": ("1",)}
    configs.provisioned.put("f", "live", ONE)
    assert refused(configs.provisioned.put, "f", "1", ONE) == (409, CONFLICT, POINTED)
    assert refused(configs.provisioned.put, "f", "other", ONE) == (409, CONFLICT, TAKEN)
    configs.provisioned.delete("f", "live")
    configs.provisioned.put("f", "1", ONE)
    assert refused(configs.provisioned.put, "f", "live", ONE) == (409, CONFLICT, TAKEN)


@pytest.mark.parametrize(
    ("alias", "told"),
    [
        (Alias("live", "2", ""), (409, CONFLICT, TAKEN)),
        (Alias("live", "$LATEST", ""), (400, INVALID, UNPUBLISHED)),
        (Alias("live", "1", "", {"2": 0.5}), (400, INVALID, WEIGHTED)),
    ],
)
def test_an_alias_that_has_it_cannot_go_just_anywhere(
    configs: FunctionConfigs, alias: Alias, told: tuple[int, str, str]
) -> None:
    configs.provisioned.check_alias("f", alias)
    configs.provisioned.put("f", "2", ONE)
    configs.provisioned.put("f", "live", ONE)
    assert refused(configs.provisioned.check_alias, "f", alias) == told


def test_no_more_than_the_function_reserves(configs: FunctionConfigs) -> None:  # E.3
    configs.concurrency.put("f", {"ReservedConcurrentExecutions": 5})
    configs.provisioned.put("f", "live", so_many(3))
    told = "Requested Provisioned Concurrency should not be greater than the reservedConcurrentExecution for function"
    assert refused(configs.provisioned.put, "f", "2", so_many(3)) == (400, INVALID, told)
    configs.provisioned.put("f", "2", so_many(2))
    told = "ReservedConcurrentExecutions  should not be lower than function's total provisioned concurrency [5]."
    assert refused(configs.concurrency.put, "f", {"ReservedConcurrentExecutions": 4}) == (400, INVALID, told)


def test_no_more_than_the_account_has_and_a_hundred_stay_for_all(tmp_path: Path) -> None:  # E.3, A.2
    configs = configs_of(tmp_path, AccountConcurrency=210)  # of which the template's function reserves 7
    above = "Specified ConcurrentExecutions for function is greater than account's unreserved concurrency [203]."
    assert refused(configs.provisioned.put, "f", "1", so_many(204)) == (400, INVALID, above)
    below = (
        "Specified ConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below its "
        "minimum value of [100]."
    )
    assert refused(configs.provisioned.put, "f", "1", so_many(104)) == (400, INVALID, below)
    configs.provisioned.put("f", "1", so_many(100))
    configs.provisioned.put("f", "1", so_many(103))  # in place of what it had
    assert refused(configs.provisioned.put, "f", "2", ONE) == (400, INVALID, below)
    reserved = below.replace("ConcurrentExecutions for", "ReservedConcurrentExecutions for")
    assert refused(configs.concurrency.put, "g", {"ReservedConcurrentExecutions": 1}) == (400, INVALID, reserved)
    configs.concurrency.put("f", {"ReservedConcurrentExecutions": 103})


def test_configurations_are_listed_by_qualifier_in_pages(configs: FunctionConfigs) -> None:
    configs.provisioned.put("f", "live", ONE)
    configs.provisioned.put("f", "2", so_many(2))
    first = configs.provisioned.listed("f", None, "1")
    second = configs.provisioned.listed("f", first["NextMarker"], "1")
    found = [item for page in (first, second) for item in page["ProvisionedConcurrencyConfigs"]]
    assert [item["FunctionArn"] for item in found] == [f"{arn('f')}:2", f"{arn('f')}:live"]
    assert [item["RequestedProvisionedConcurrentExecutions"] for item in found] == [2, 1]
    assert "NextMarker" not in second


def test_what_the_template_declares_has_none_by_calls(tmp_path: Path) -> None:
    account = Account(functions={"declared": {"1"}})
    status, kind, text = refused(configs_of(tmp_path, account).provisioned.put, "declared", "1", ONE)
    assert (status, kind, "declared by the template" in text) == (409, CONFLICT, True)


def test_it_goes_with_its_version_its_alias_or_its_function(tmp_path: Path) -> None:
    documents = ForgettingDocuments()
    configs = configs_of(tmp_path, documents=documents)
    configs.provisioned.put("f", "live", ONE)
    configs.provisioned.put("f", "2", ONE)
    documents.change(configs.forget("f", "live"))
    assert configs.provisioned.counts("f") == {"2": 1}
    documents.change(configs.forget("f"))
    assert documents.all("ProvisionedConcurrencyConfig") == configs.provisioned.counts("f") == {}


class Service:
    """What outlives a service, and a client of one that runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.template = template_of(folder, {"declared": {"Handler": "basic.echo"}})
        self.client: Any = None

    @contextmanager
    def running(self) -> Iterator[Any]:
        documents = StoredDocuments(self.folder / ".poller")
        with served(self.template, documents) as url:
            self.client = aws_client(url)
            yield self.client
            self.client.close()
        documents.close()

    def create(self, name: str, code: str = HOW) -> None:
        """With version 1."""
        self.client.create_function(
            FunctionName=name,
            Role=ROLE,
            Runtime=RUNTIME,
            Handler="app.handler",
            Code={"ZipFile": zip_of(("app.py", code))},
            Publish=True,
        )

    def stands(self, name: str, qualifier: str) -> Any:
        return self.client.get_provisioned_concurrency_config(FunctionName=name, Qualifier=qualifier)

    def ready(self, name: str, qualifier: str) -> bool:
        return bool(self.stands(name, qualifier)["Status"] == "READY")

    def invoked(self, name: str, qualifier: str) -> Any:
        return json.loads(self.client.invoke(FunctionName=name, Qualifier=qualifier)["Payload"].read())


def test_environments_are_initialised_follow_the_alias_and_come_again_after_a_restart(tmp_path: Path) -> None:  # E.3
    service = Service(tmp_path)
    with service.running() as client:
        service.create("f")
        client.create_alias(FunctionName="f", Name="live", FunctionVersion="1")
        begun = client.put_provisioned_concurrency_config(
            FunctionName="f", Qualifier="live", ProvisionedConcurrentExecutions=2
        )
        assert begun["ResponseMetadata"]["HTTPStatusCode"] == 202
        eventually(lambda: service.ready("f", "live"))
        assert service.stands("f", "live")["AvailableProvisionedConcurrentExecutions"] == 2
        assert service.invoked("f", "live") == {"type": "provisioned-concurrency", "version": "1"}
        assert service.invoked("f", "$LATEST")["type"] == "on-demand"
        client.update_function_configuration(FunctionName="f", Environment={"Variables": {"NEW": "x"}})
        client.publish_version(FunctionName="f")
        client.update_alias(FunctionName="f", Name="live", FunctionVersion="2")
        eventually(lambda: service.ready("f", "live"))
        assert service.invoked("f", "live") == {"type": "provisioned-concurrency", "version": "2"}
    with service.running() as client:
        eventually(lambda: service.ready("f", "live"))
        assert service.invoked("f", "live") == {"type": "provisioned-concurrency", "version": "2"}
        [listed] = client.list_provisioned_concurrency_configs(FunctionName="f")["ProvisionedConcurrencyConfigs"]
        assert (listed["FunctionArn"], listed["Status"]) == (f"{arn('f')}:live", "READY")
        client.delete_alias(FunctionName="f", Name="live")
        client.create_alias(FunctionName="f", Name="live", FunctionVersion="2")
        with pytest.raises(ClientError, match=NONE):
            service.stands("f", "live")


def test_an_init_that_fails_is_shown_and_the_version_can_be_deleted(tmp_path: Path) -> None:  # E.3
    service = Service(tmp_path)
    with service.running() as client:
        service.create("broken", "raise ValueError('no')")
        client.put_provisioned_concurrency_config(
            FunctionName="broken", Qualifier="1", ProvisionedConcurrentExecutions=1
        )
        eventually(lambda: service.stands("broken", "1")["Status"] == "FAILED")
        assert service.stands("broken", "1")["StatusReason"] == INIT_FAILED
        client.delete_function(FunctionName="broken", Qualifier="1")
        assert client.list_provisioned_concurrency_configs(FunctionName="broken")["ProvisionedConcurrencyConfigs"] == []
