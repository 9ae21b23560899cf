"""What calls hang on functions, versions and aliases that calls made: through boto3, over restarts, to their deletion."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from api_service import RUNTIME, arn, aws_client, served, template_of
from async_rig import lines
from botocore.exceptions import ClientError
from handlers.rig import HANDLERS
from packages import ROLE, request, zip_of
from waiting import eventually

from poller.account.documents import Change, ForgettingDocuments
from poller.account.store import StoredDocuments
from poller.api_errors import ApiError
from poller.clock import SystemClock
from poller.control_plane import ControlPlane
from poller.metrics import Metrics

NOTED = (HANDLERS / "noted.py").read_text()
PERMISSION = {"StatementId": "s3", "Action": "lambda:InvokeFunction", "Principal": "s3.amazonaws.com"}
KAFKA = {
    "SelfManagedEventSource": {"Endpoints": {"KAFKA_BOOTSTRAP_SERVERS": ["127.0.0.1:1"]}},
    "Topics": ["orders"],
    "SourceAccessConfigurations": [
        {"Type": "VPC_SUBNET", "URI": "subnet:subnet-1"},
        {"Type": "VPC_SECURITY_GROUP", "URI": "security_group:sg-1"},
    ],
}


DECLARED = {"declared": {"Handler": "basic.echo"}}


class Account:
    """What outlives a service: its folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.template = template_of(folder, DECLARED, TimeScale=600)

    @contextmanager
    def client(self) -> Iterator[Any]:
        """A service that begins with what is on the disk, and a client."""
        documents = StoredDocuments(self.folder / ".poller")
        with served(self.template, documents) as url:
            made = aws_client(url)
            yield made
            made.close()
        documents.close()

    def create(self, client: Any, name: str, **more: Any) -> None:
        """A function with version 1 and the alias `live` of it."""
        client.create_function(
            FunctionName=name,
            Role=ROLE,
            Runtime=RUNTIME,
            Handler="noted.handler",
            Code={"ZipFile": zip_of(("noted.py", NOTED))},
            Environment={"Variables": {"NOTES": str(self.folder / f"{name}.notes")}},
            Publish=True,
            **more,
        )
        client.create_alias(FunctionName=name, Name="live", FunctionVersion="1")


@pytest.fixture
def account(tmp_path: Path) -> Account:
    return Account(tmp_path)


class Documents(ForgettingDocuments):
    """Does something while the next change is being written."""

    during: Callable[[], None] | None = None

    def change(self, changes: Sequence[Change]) -> None:
        during, self.during = self.during, None
        if during is not None:
            during()
        super().change(changes)


def code_of(call: Any, **arguments: Any) -> str:
    """The error's name; the call must be refused."""
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    return str(caught.value.response["Error"]["Code"])


def test_it_outlives_a_restart_and_goes_with_the_function(account: Account) -> None:
    with account.client() as client:
        account.create(client, "f", Tags={"team": "a"})
        client.put_function_concurrency(FunctionName="f", ReservedConcurrentExecutions=0)
        client.put_function_event_invoke_config(FunctionName="f", Qualifier="live", MaximumRetryAttempts=0)
        client.put_function_recursion_config(FunctionName="f", RecursiveLoop="Allow")
        client.add_permission(FunctionName="f", Qualifier="1", **PERMISSION)
    with account.client() as client:
        assert code_of(client.invoke, FunctionName="f", Payload=b"{}") == "TooManyRequestsException"
        found = client.get_function(FunctionName="f")
        assert (found["Tags"], found["Concurrency"]) == ({"team": "a"}, {"ReservedConcurrentExecutions": 0})
        [config] = client.list_function_event_invoke_configs(FunctionName="f")["FunctionEventInvokeConfigs"]
        assert config["FunctionArn"] == f"{arn('f')}:live"
        assert client.get_function_recursion_config(FunctionName="f")["RecursiveLoop"] == "Allow"
        [statement] = json.loads(client.get_policy(FunctionName="f", Qualifier="1")["Policy"])["Statement"]
        assert statement["Resource"] == f"{arn('f')}:1"
        assert (
            client.put_runtime_management_config(FunctionName="f", UpdateRuntimeOn="Auto")["UpdateRuntimeOn"] == "Auto"
        )
        assert client.get_runtime_management_config(FunctionName="f", Qualifier="1")["FunctionArn"] == f"{arn('f')}:1"
        assert client.get_account_settings()["AccountUsage"]["FunctionCount"] == 2
        client.delete_alias(FunctionName="f", Name="live")
        assert client.list_function_event_invoke_configs(FunctionName="f")["FunctionEventInvokeConfigs"] == []
        client.delete_function(FunctionName="f")
        account.create(client, "f")
        for again in (client,):
            assert again.list_tags(Resource=arn("f"))["Tags"] == {}
            assert "ReservedConcurrentExecutions" not in again.get_function_concurrency(FunctionName="f")
            assert code_of(again.get_policy, FunctionName="f", Qualifier="1") == "ResourceNotFoundException"
        client.invoke(FunctionName="f", Payload=b"{}")["Payload"].read()
    with account.client() as client:
        assert "ReservedConcurrentExecutions" not in client.get_function_concurrency(FunctionName="f")
        assert client.get_function_recursion_config(FunctionName="f")["RecursiveLoop"] == "Terminate"


def test_nothing_is_hung_on_a_function_while_it_is_being_deleted(tmp_path: Path) -> None:
    documents = Documents()
    plane = ControlPlane(template_of(tmp_path, DECLARED), Metrics(), SystemClock(), documents=documents)
    plane.account.functions.create_function(request("f"))
    found: list[str] = []

    def hang() -> None:
        try:
            plane.configs.concurrency.put("f", {"ReservedConcurrentExecutions": 1})
        except ApiError as error:
            found.append(error.type)

    late = threading.Thread(target=hang)

    def while_it_is_written() -> None:
        late.start()
        late.join(0.2)  # it has to wait for the deletion, or it would be over by now

    documents.during = while_it_is_written
    plane.account.functions.delete_function("f")
    late.join()
    assert found == ["ResourceNotFoundException"]
    assert documents.all("FunctionConcurrency") == documents.all("Function") == {}
    plane.stop()


def test_an_alias_has_its_own_retries_and_destination(account: Account, tmp_path: Path) -> None:  # B.2
    with account.client() as client:
        account.create(client, "f")
        to = {"OnFailure": {"Destination": f"file:{tmp_path / 'live'}"}}
        client.put_function_event_invoke_config(
            FunctionName="f", Qualifier="live", MaximumRetryAttempts=0, DestinationConfig=to
        )
        to = {"OnFailure": {"Destination": f"file:{tmp_path / 'latest'}"}}
        client.put_function_event_invoke_config(FunctionName="f", MaximumRetryAttempts=1, DestinationConfig=to)
        for qualifier in ("live", "$LATEST"):
            client.invoke(FunctionName="f", Qualifier=qualifier, InvocationType="Event", Payload=b'{"fail": "boom"}')
        for name, attempts, shown in (("live", 1, "live"), ("latest", 2, "$LATEST")):
            [record] = eventually(lambda name=name: lines(tmp_path / name))
            assert record["requestContext"]["approximateInvokeCount"] == attempts
            assert record["requestContext"]["functionArn"] == f"{arn('f')}:{shown}"


def test_a_mapping_of_an_alias_is_there_after_a_restart_and_outlives_its_function(account: Account) -> None:  # C.1, C.2
    with account.client() as client:
        account.create(client, "f")
        uuid = client.create_event_source_mapping(FunctionName="f:live", **KAFKA)["UUID"]
        eventually(lambda: client.get_event_source_mapping(UUID=uuid)["State"] == "Enabled")
        assert client.get_event_source_mapping(UUID=uuid)["StateTransitionReason"] == "USER_INITIATED"
        client.delete_function(FunctionName="f")
        assert client.get_event_source_mapping(UUID=uuid)["StateTransitionReason"] == "FUNCTION_CONFIG_NOT_VALID"
    with account.client() as client:
        found = client.get_event_source_mapping(UUID=uuid)
        assert found["FunctionArn"] == f"{arn('f')}:live"
        eventually(lambda: client.get_event_source_mapping(UUID=uuid)["State"] == "Enabled")
