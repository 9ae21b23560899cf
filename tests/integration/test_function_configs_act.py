"""What calls configure acts: boto3 configures and invokes, `poller run` does what it was told, at once."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from api_service import arn, aws_client
from async_rig import lines
from botocore.exceptions import ClientError
from handlers.rig import HANDLERS
from integration.harness.service import Service
from waiting import eventually

KAFKA = {
    "SelfManagedEventSource": {"Endpoints": {"KAFKA_BOOTSTRAP_SERVERS": ["127.0.0.1:1"]}},
    "Topics": ["orders"],
    "SourceAccessConfigurations": [
        {"Type": "VPC_SUBNET", "URI": "subnet:subnet-1"},
        {"Type": "VPC_SECURITY_GROUP", "URI": "security_group:sg-1"},
    ],
}
"""A mapping of a broker that nobody runs."""


class Account:
    """Functions of the template, which calls may change, and a client."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        code = {"Code": str(HANDLERS), "Handler": "noted.handler", "Runtime": "python3.13", "Timeout": 60}
        resources = {
            name: {
                "Type": "AWS::Lambda::Function",
                "Properties": {**code, "Environment": {"Variables": {"NOTES": str(folder / f"{name}.notes")}}},
            }
            for name in ("Meet", "Fails", "Ping", "Pong")
        }
        self.template = {"Resources": resources, "Metadata": {"Poller": {"TimeScale": 600, "AllowDrift": True}}}
        self.begin()

    def begin(self) -> None:
        self.service = Service(self.folder, self.template)
        self.service.__enter__()
        self.client = aws_client(self.service.url)

    def end(self) -> None:
        self.client.close()
        assert self.service.stop() == 0
        assert self.service.problems() == []
        self.service.__exit__(None, None, None)

    def attempts(self, function: str) -> list[dict[str, Any]]:
        return lines(self.folder / f"{function}.notes")

    def dropped(self) -> float:
        """Events that went round too often, of all functions."""
        found = re.findall(
            r"^poller_recursive_invocations_dropped_total{.*} (.+)$", self.service.get("metrics")[1], re.MULTILINE
        )
        return sum(map(float, found))

    def invoke(self, function: str, event: object, kind: str = "RequestResponse") -> dict[str, Any]:
        answer = self.client.invoke(FunctionName=function, InvocationType=kind, Payload=json.dumps(event))
        answer["Payload"].read()  # else the connection stays taken
        return dict(answer)


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    made = Account(tmp_path_factory.mktemp("account"))
    yield made
    made.end()


def throttled(call: Callable[[], object]) -> str:
    """The reason of a throttle; the call must be throttled."""
    with pytest.raises(ClientError) as caught:
        call()
    assert caught.value.response["Error"]["Code"] == "TooManyRequestsException"
    return str(caught.value.response["Reason"])


def test_reserved_concurrency_acts_at_once(account: Account, tmp_path: Path) -> None:  # E.3
    client, end = account.client, tmp_path / "end"
    before = client.get_account_settings()
    client.put_function_concurrency(FunctionName="Meet", ReservedConcurrentExecutions=0)
    reason = "ReservedFunctionConcurrentInvocationLimitExceeded"
    assert throttled(lambda: account.invoke("Meet", {})) == reason
    client.put_function_concurrency(FunctionName="Meet", ReservedConcurrentExecutions=1)
    assert client.get_function_concurrency(FunctionName="Meet")["ReservedConcurrentExecutions"] == 1
    limits = client.get_account_settings()["AccountLimit"]
    assert limits["UnreservedConcurrentExecutions"] == before["AccountLimit"]["UnreservedConcurrentExecutions"] - 1
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(account.invoke, "Meet", {"wait_for": str(end)})
        eventually(lambda: account.attempts("Meet"))
        assert throttled(lambda: account.invoke("Meet", {})) == reason
        client.delete_function_concurrency(FunctionName="Meet")
        assert account.invoke("Meet", {})["StatusCode"] == 200, "while the first one still runs"
        end.touch()
        assert first.result()["StatusCode"] == 200
    assert "ReservedConcurrentExecutions" not in client.get_function_concurrency(FunctionName="Meet")


@pytest.mark.statement(20)
def test_the_next_event_is_treated_by_the_configuration_that_was_put(account: Account) -> None:
    """G 20, B.2: no retries and OnFailure, as a call puts them."""
    client = account.client

    def destination(name: str) -> dict[str, Any]:
        return {"OnFailure": {"Destination": f"file:{account.folder / name}"}}

    client.put_function_event_invoke_config(
        FunctionName="Fails", MaximumRetryAttempts=0, DestinationConfig=destination("first")
    )
    account.invoke("Fails", {"fail": "once"}, "Event")
    [record] = eventually(lambda: lines(account.folder / "first"))
    context = record["requestContext"]
    assert (context["condition"], context["approximateInvokeCount"]) == ("RetriesExhausted", 1)
    client.update_function_event_invoke_config(
        FunctionName="Fails", MaximumRetryAttempts=1, DestinationConfig=destination("second")
    )
    account.invoke("Fails", {"fail": "twice"}, "Event")
    [record] = eventually(lambda: lines(account.folder / "second"))
    assert record["requestContext"]["approximateInvokeCount"] == 2
    assert len(lines(account.folder / "first")) == 1
    client.delete_function_event_invoke_config(FunctionName="Fails")
    with pytest.raises(client.exceptions.ResourceNotFoundException) as caught:
        client.get_function_event_invoke_config(FunctionName="Fails")
    assert str(caught.value).endswith(f"The function {arn('Fails')}:$LATEST doesn't have an EventInvokeConfig")


def test_functions_that_hand_on_to_one_another_go_round_only_if_they_may(account: Account) -> None:  # B.5
    client = account.client
    for name, other in (("Ping", "Pong"), ("Pong", "Ping")):
        to = {"OnSuccess": {"Destination": arn(other)}}
        client.put_function_event_invoke_config(FunctionName=name, DestinationConfig=to)
        assert client.get_function_recursion_config(FunctionName=name)["RecursiveLoop"] == "Terminate"
    account.invoke("Ping", {}, "Event")

    def passes() -> int:
        return len(account.attempts("Ping")) + len(account.attempts("Pong"))

    eventually(lambda: passes() >= 17)
    eventually(lambda: account.dropped() == 1)
    assert passes() == 17, "the first one, and sixteen that were handed on"
    for name in ("Ping", "Pong"):
        client.put_function_recursion_config(FunctionName=name, RecursiveLoop="Allow")
    account.invoke("Ping", {}, "Event")
    eventually(lambda: passes() > 17 + 20)
    client.put_function_recursion_config(FunctionName="Ping", RecursiveLoop="Terminate")
    eventually(lambda: account.dropped() == 2)


def test_tags_and_policies_are_kept_and_shown(account: Account) -> None:
    client = account.client
    client.tag_resource(Resource=arn("Meet"), Tags={"team": "a", "size": "b"})
    client.untag_resource(Resource=arn("Meet"), TagKeys=["size"])
    assert client.list_tags(Resource=arn("Meet"))["Tags"] == {"team": "a"}
    with pytest.raises(client.exceptions.InvalidParameterValueException):
        client.tag_resource(Resource=arn("Meet") + ":$LATEST", Tags={"a": "b"})
    permission = {"Action": "lambda:InvokeFunction", "Principal": "s3.amazonaws.com"}
    client.add_permission(FunctionName="Meet", StatementId="s3", **permission)
    with pytest.raises(client.exceptions.ResourceConflictException):
        client.add_permission(FunctionName="Meet", StatementId="s3", **permission)
    with pytest.raises(client.exceptions.PreconditionFailedException):
        client.add_permission(FunctionName="Meet", StatementId="other", RevisionId="stale", **permission)
    [statement] = json.loads(client.get_policy(FunctionName=arn("Meet"))["Policy"])["Statement"]
    assert (statement["Sid"], statement["Principal"]) == ("s3", {"Service": "s3.amazonaws.com"})
    client.remove_permission(FunctionName="Meet", StatementId="s3")
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.get_policy(FunctionName="Meet")


def test_a_mapping_that_a_call_made_outlives_the_process(account: Account) -> None:  # C.1
    made = account.client.create_event_source_mapping(FunctionName="Meet", Tags={"team": "a"}, **KAFKA)
    uuid = made["UUID"]
    eventually(lambda: account.client.get_event_source_mapping(UUID=uuid)["State"] == "Enabled")
    account.client.update_event_source_mapping(UUID=uuid, Enabled=False, BatchSize=7)
    eventually(lambda: account.client.get_event_source_mapping(UUID=uuid)["State"] == "Disabled")
    before = account.client.get_event_source_mapping(UUID=uuid)
    account.client.close()
    account.service.kill()
    account.service.__exit__(None, None, None)
    account.begin()
    after = account.client.get_event_source_mapping(UUID=uuid)
    assert {**after, "ResponseMetadata": None} == {**before, "ResponseMetadata": None}
    assert account.client.list_tags(Resource=made["EventSourceMappingArn"])["Tags"] == {"team": "a"}
    account.client.delete_event_source_mapping(UUID=uuid)
    eventually(lambda: not account.client.list_event_source_mappings()["EventSourceMappings"])
