"""Statements 19 to 24 of part G as a client of AWS sees them: boto3 invokes, `poller run` answers 202 and does the rest."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from async_rig import lines
from handlers.rig import HANDLERS
from integration.harness.service import Service
from waiting import eventually

DEAD = "arn:aws:sqs:us-east-1:123456789012:dead"
ARN = "arn:aws:lambda:us-east-1:123456789012:function:{}:$LATEST"
FUNCTIONS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "Retried": ({}, {}),
    "Once": ({}, {"MaximumRetryAttempts": 0}),
    "Aged": ({}, {"MaximumEventAgeInSeconds": 60}),
    "Zero": ({"ReservedConcurrentExecutions": 0}, {}),
    "Dead": ({"DeadLetterConfig": {"TargetArn": DEAD}}, {"MaximumRetryAttempts": 0}),
}
"""Properties and event invoke configuration of each."""


class Account:
    """The service, its functions and a client."""

    def __init__(self, folder: Path, service: Service) -> None:
        self.folder, self.service = folder, service
        keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
        self.client = boto3.client("lambda", endpoint_url=service.url, **keys)

    def invoke(self, function: str, event: object) -> str:
        """The request id of an event that was accepted."""
        answer = self.client.invoke(FunctionName=function, InvocationType="Event", Payload=json.dumps(event))
        assert answer["StatusCode"] == 202
        assert answer["Payload"].read() == b""
        request_id: str = answer["ResponseMetadata"]["RequestId"]
        return request_id

    def record(self, request_id: str) -> dict[str, Any]:
        """Of success or failure, once it is there."""

        def found() -> dict[str, Any] | None:
            records = [*lines(self.folder / "done"), *lines(self.folder / "failed")]
            return next((one for one in records if one["requestContext"]["requestId"] == request_id), None)

        record: dict[str, Any] = eventually(found)
        return record

    def attempts(self, request_id: str) -> list[dict[str, Any]]:
        return [note for note in lines(self.folder / "notes") if note["id"] == request_id]


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    folder = tmp_path_factory.mktemp("account")
    code = {"Code": str(HANDLERS), "Handler": "noted.handler", "Runtime": "python3.13"}
    variables = {"Environment": {"Variables": {"NOTES": str(folder / "notes")}}}
    destinations = {"OnSuccess": {"Destination": "file:done"}, "OnFailure": {"Destination": "file:failed"}}
    resources: dict[str, Any] = {}
    for name, (properties, config) in FUNCTIONS.items():
        resources[name] = {"Type": "AWS::Lambda::Function", "Properties": {**code, **variables, **properties}}
        values = {"FunctionName": name, "DestinationConfig": destinations, **config}
        resources[f"{name}Config"] = {"Type": "AWS::Lambda::EventInvokeConfig", "Properties": values}
    settings = {"TimeScale": 30, "Endpoints": {DEAD: "file:dead"}}
    template = {"Resources": resources, "Metadata": {"Poller": settings}}
    with Service(folder, template) as service:
        yield Account(folder, service)
        assert service.stop() == 0
        assert service.problems() == []


@pytest.mark.statement(2)
def test_an_event_is_answered_with_202_and_nothing_else(account: Account) -> None:
    """G 2."""
    answer = account.client.invoke(FunctionName="Once", InvocationType="Event", Payload=b"{}")
    assert (answer["StatusCode"], answer["Payload"].read()) == (202, b"")
    assert "ExecutedVersion" not in answer
    assert account.record(answer["ResponseMetadata"]["RequestId"])["requestContext"]["condition"] == "Success"


@pytest.mark.statement(19)
def test_three_attempts_with_one_request_id(account: Account) -> None:
    """G 19: pauses of 60 and 120 s, 30 times as short."""
    request_id = account.invoke("Retried", {"fail": "boom"})
    assert account.record(request_id)["requestContext"]["approximateInvokeCount"] == 3
    first, second, third = (attempt["at"] for attempt in account.attempts(request_id))
    assert second - first >= 60 / 30
    assert third - second >= 120 / 30


@pytest.mark.statement(20)
def test_one_attempt_without_retries(account: Account) -> None:
    """G 20."""
    request_id = account.invoke("Once", {"fail": "boom"})
    context = account.record(request_id)["requestContext"]
    assert (context["condition"], context["approximateInvokeCount"]) == ("RetriesExhausted", 1)
    assert len(account.attempts(request_id)) == 1


@pytest.mark.statement(21)
def test_a_success_is_told(account: Account) -> None:
    """G 21."""
    record = account.record(account.invoke("Once", {"number": 7}))
    assert record["requestContext"]["condition"] == "Success"
    assert record["requestContext"]["functionArn"] == ARN.format("Once")
    assert record["responsePayload"] == {"done": 7}


@pytest.mark.statement(22)
def test_an_age_of_60_leaves_no_time_for_a_retry(account: Account) -> None:
    """G 22."""
    context = account.record(account.invoke("Aged", {"fail": "boom"}))["requestContext"]
    assert (context["condition"], context["approximateInvokeCount"]) == ("EventAgeExceeded", 1)


@pytest.mark.statement(23)
def test_no_concurrency_means_no_attempt(account: Account) -> None:
    """G 23."""
    record = account.record(account.invoke("Zero", {}))
    context = record["requestContext"]
    assert (context["condition"], context["approximateInvokeCount"]) == ("ZeroReservedConcurrency", 0)
    assert not {"responseContext", "responsePayload"} & record.keys()


@pytest.mark.statement(24)
def test_a_dead_letter_queue_gets_the_event(account: Account) -> None:
    """G 24: its attributes are shown on a real broker, in test_async_destinations."""
    request_id = account.invoke("Dead", {"fail": "boom", "the": "event"})
    account.record(request_id)
    assert eventually(lambda: lines(account.folder / "dead")) == [{"fail": "boom", "the": "event"}]
