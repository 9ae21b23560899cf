"""Destinations and dead-letter queues of asynchronous invocations at SQS, SNS and EventBridge: real servers (B.3, B.4).

SQS is ElasticMQ; SNS and EventBridge are moto's, where a queue that is subscribed shows what arrived.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from async_rig import Rig
from aws_servers import Server, ServersUnavailable, elasticmq, moto
from brokers import unique
from handlers.rig import HANDLERS
from integration.harness.gateway import Gateway
from waiting import eventually

from poller.policy.async_deliveries import REFUSALS
from poller.template import load

pytestmark = [
    pytest.mark.broker,
    # botocore leaves sockets of connection attempts that failed to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
]

ARN = "arn:aws:{}:us-east-1:123456789012:{}"
FUNCTION = ARN.format("lambda", "function:Work")
NUMBER_OF_256_KB = 262_144


def _started(start: Callable[[Path], Server], folder: Path) -> Server:
    try:
        return start(folder)
    except ServersUnavailable as error:
        if os.environ.get("CI"):
            pytest.fail(f"in CI every test has to run: {error}")
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def sqs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = _started(elasticmq, tmp_path_factory.mktemp("sqs"))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = _started(moto, tmp_path_factory.mktemp("moto"))
    yield server
    server.stop()


class Place:
    """A queue, and how to see what arrived in it."""

    def __init__(self, client: Any, arn: str = "") -> None:
        self._client = client
        name = unique("queue")
        self.url = client.create_queue(QueueName=name)["QueueUrl"]
        self.arn = arn or ARN.format("sqs", name)
        self.queue_arn = ARN.format("sqs", name)

    def messages(self, count: int = 1) -> list[dict[str, Any]]:
        """Waits for so many."""
        found: list[dict[str, Any]] = []

        def enough() -> bool:
            answer = self._client.receive_message(
                QueueUrl=self.url, MessageAttributeNames=["All"], MaxNumberOfMessages=10
            )
            found.extend(answer.get("Messages", []))
            return len(found) >= count

        eventually(enough)
        return found

    def bodies(self, count: int = 1) -> list[Any]:
        return [json.loads(message["Body"]) for message in self.messages(count)]


@pytest.fixture
def queue(sqs: Server) -> Iterator[Place]:
    client = sqs.client("sqs")
    yield Place(client)
    client.close()


@pytest.fixture
def topic(others: Server) -> Iterator[Place]:
    """A topic; its messages arrive in the envelope of a notification."""
    topics, queues = others.client("sns"), others.client("sqs")
    place = Place(queues, topics.create_topic(Name=unique("topic"))["TopicArn"])
    topics.subscribe(TopicArn=place.arn, Protocol="sqs", Endpoint=place.queue_arn)
    yield place
    topics.close()
    queues.close()


@pytest.fixture
def bus(others: Server) -> Iterator[Place]:
    buses, queues = others.client("events"), others.client("sqs")
    name = unique("bus")
    place = Place(queues, buses.create_event_bus(Name=name)["EventBusArn"])
    buses.put_rule(Name=f"{name}-all", EventBusName=name, EventPattern=json.dumps({"source": ["lambda"]}))
    buses.put_targets(Rule=f"{name}-all", EventBusName=name, Targets=[{"Id": "1", "Arn": place.queue_arn}])
    yield place
    buses.close()
    queues.close()


@pytest.fixture
def rigs(tmp_path: Path, sqs: Server, others: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Rig]]:
    """A rig of one function that is configured as a template says, with the ordinary settings for addresses."""
    variables = {
        "AWS_ENDPOINT_URL_SQS": sqs.url,
        "AWS_ENDPOINT_URL_SNS": others.url,
        "AWS_ENDPOINT_URL_EVENTBRIDGE": others.url,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "127.0.0.1",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    made: list[Rig] = []

    def make(success: str = "", failure: str = "", dead_letters: str = "") -> Rig:
        properties = {"Code": str(HANDLERS), "Handler": "noted.handler", "Runtime": "python3.13"}
        dead = {"DeadLetterConfig": {"TargetArn": dead_letters}} if dead_letters else {}
        destinations = {"OnSuccess": {"Destination": success}, "OnFailure": {"Destination": failure}}
        config = {"FunctionName": "Work", "MaximumRetryAttempts": 0, "DestinationConfig": destinations}
        content = {
            "Resources": {
                "Work": {"Type": "AWS::Lambda::Function", "Properties": {**properties, **dead}},
                "Config": {"Type": "AWS::Lambda::EventInvokeConfig", "Properties": config},
            },
        }
        (tmp_path / "template.yaml").write_text(yaml.safe_dump(content))
        one = Rig(tmp_path)
        one.add("Work", load(tmp_path / "template.yaml").asynchronous["Work"])
        made.append(one)
        one.start()
        return one

    yield make
    for one in made:
        one.stop()


def failure_record(request_id: str, record: dict[str, Any]) -> dict[str, Any]:
    """B.3's record of an event that failed once; time and stack are the record's own."""
    return {
        "version": "1.0",
        "timestamp": record["timestamp"],
        "requestContext": {
            "requestId": request_id,
            "functionArn": f"{FUNCTION}:$LATEST",
            "condition": "RetriesExhausted",
            "approximateInvokeCount": 1,
        },
        "requestPayload": {"fail": "boom"},
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
        "responsePayload": {
            "errorMessage": "boom",
            "errorType": record["responsePayload"]["errorType"],
            "requestId": request_id,
            "stackTrace": record["responsePayload"]["stackTrace"],
        },
    }


def success_record(request_id: str, record: dict[str, Any]) -> dict[str, Any]:
    return {
        "version": "1.0",
        "timestamp": record["timestamp"],
        "requestContext": {
            "requestId": request_id,
            "functionArn": f"{FUNCTION}:$LATEST",
            "condition": "Success",
            "approximateInvokeCount": 1,
        },
        "requestPayload": {"number": 7},
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST"},
        "responsePayload": {"done": 7},
    }


@pytest.mark.statement(20)
@pytest.mark.statement(21)
def test_queues_get_the_records_of_success_and_failure(rigs: Callable[..., Rig], queue: Place, sqs: Server) -> None:
    """B.3, G 20, G 21."""
    client = sqs.client("sqs")
    failed = Place(client)
    rig = rigs(success=queue.arn, failure=failed.arn)
    good, bad = rig.accept("Work", {"number": 7}), rig.accept("Work", {"fail": "boom"})
    (message,) = queue.messages()
    record = json.loads(message["Body"])
    assert record == success_record(good, record)
    assert "MessageAttributes" not in message
    (record,) = failed.bodies()
    assert record == failure_record(bad, record)
    eventually(lambda: not rig.waiting())
    client.close()


def test_topics_get_the_record_as_their_message(rigs: Callable[..., Rig], topic: Place) -> None:  # B.3
    rig = rigs(success=topic.arn, failure=topic.arn)
    bad = rig.accept("Work", {"fail": "boom"})
    (notification,) = topic.bodies()
    record = json.loads(notification["Message"])
    assert record == failure_record(bad, record)
    good = rig.accept("Work", {"number": 7})
    (notification,) = topic.bodies()
    record = json.loads(notification["Message"])
    assert record == success_record(good, record)
    assert "MessageAttributes" not in notification


@pytest.mark.parametrize(("event", "outcome"), [({"number": 7}, "Success"), ({"fail": "boom"}, "Failure")])
def test_a_bus_gets_events_with_the_record_as_their_detail(
    rigs: Callable[..., Rig], bus: Place, event: dict[str, Any], outcome: str
) -> None:  # B.3
    rig = rigs(success=bus.arn, failure=bus.arn)
    request_id = rig.accept("Work", event)
    (told,) = bus.bodies()
    record = told.pop("detail")
    assert record == (success_record if outcome == "Success" else failure_record)(request_id, record)
    assert told["source"] == "lambda"
    assert told["detail-type"] == f"Lambda Function Invocation Result - {outcome}"
    assert told["resources"] == [bus.arn, f"{FUNCTION}:$LATEST"]


LONG = "\x1b[31m" + "ä" * 1000
"""As an error: 2,005 bytes, with a character that no attribute may have."""


@pytest.mark.statement(24)
def test_a_queue_for_dead_letters_gets_the_event_and_three_attributes(rigs: Callable[..., Rig], queue: Place) -> None:
    """B.4, G 24: the event unchanged; of the error the first kilobyte."""
    rig = rigs(dead_letters=queue.arn)
    payload = json.dumps({"fail": LONG}, indent=3).encode()
    request_id = rig.invoker.accept("Work", "", payload)
    (message,) = queue.messages()
    assert message["Body"].encode() == payload
    assert message["MessageAttributes"] == {
        "RequestID": {"DataType": "String", "StringValue": request_id},
        "ErrorCode": {"DataType": "Number", "StringValue": "200"},
        "ErrorMessage": {"DataType": "String", "StringValue": "\ufffd[31m" + "ä" * 509},
    }
    eventually(lambda: not rig.waiting())


@pytest.mark.statement(24)
def test_a_topic_for_dead_letters_gets_them_too_and_on_failure_its_record(
    rigs: Callable[..., Rig], topic: Place, queue: Place
) -> None:
    """B.4, G 24."""
    rig = rigs(failure=queue.arn, dead_letters=topic.arn)
    request_id = rig.accept("Work", {"fail": "boom"})
    (notification,) = topic.bodies()
    assert json.loads(notification["Message"]) == {"fail": "boom"}
    assert notification["MessageAttributes"] == {
        "RequestID": {"Type": "String", "Value": request_id},
        "ErrorCode": {"Type": "Number", "Value": "200"},
        "ErrorMessage": {"Type": "String", "Value": "boom"},
    }
    (record,) = queue.bodies()
    assert record == failure_record(request_id, record)


def test_a_record_over_the_size_that_is_taken_is_lost_and_counted_and_the_next_one_arrives(
    rigs: Callable[..., Rig], topic: Place, queue: Place, caplog: pytest.LogCaptureFixture
) -> None:
    """B.3, B.4: SNS takes 256 KB, and so does this SQS."""
    rig = rigs(failure=topic.arn, dead_letters=queue.arn)
    large = rig.accept("Work", {"fail": "boom", "padding": "x" * NUMBER_OF_256_KB})
    eventually(lambda: rig.metric("async_events_dropped_total", "Work") and not rig.waiting())
    assert rig.metric("destination_delivery_failures_total", "Work") == 1
    assert rig.metric("dead_letter_errors_total", "Work") == 1
    assert f"{large}: its record for OnFailure of Work" in caplog.text
    assert f"{large}: its record for DeadLetterQueue of Work" in caplog.text
    assert "xxx" not in caplog.text
    small = rig.accept("Work", {"fail": "boom"})
    (notification,) = topic.bodies()
    assert json.loads(notification["Message"])["requestContext"]["requestId"] == small
    (message,) = queue.messages()
    assert message["MessageAttributes"]["RequestID"]["StringValue"] == small


@pytest.mark.parametrize(
    "arn", [ARN.format("sqs", "nobody"), ARN.format("sns", "nobody"), ARN.format("events", "event-bus/nobody")]
)
def test_records_for_a_place_that_is_not_there_are_lost_after_a_few_tries(
    rigs: Callable[..., Rig], arn: str, caplog: pytest.LogCaptureFixture
) -> None:  # B.3
    rig = rigs(success=arn)
    ids = [rig.accept("Work", {"number": number}) for number in range(3)]
    eventually(lambda: rig.metric("async_event_age_seconds_count", "Work") == 3 and not rig.waiting())
    assert rig.metric("destination_delivery_failures_total", "Work") == REFUSALS + 2, (
        "the others are not tried so often"
    )
    assert all(f"{request_id}: its record for OnSuccess of Work" in caplog.text for request_id in ids)


def test_a_record_waits_for_a_server_that_is_down_and_arrives_once_it_is_up(
    rigs: Callable[..., Rig], queue: Place, sqs: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Gateway(sqs.address) as gateway:
        make = rigs
        monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", f"http://{gateway.address}")
        rig = make(failure=queue.arn)
        request_id = rig.accept("Work", {"fail": "boom"})
        eventually(lambda: rig.metric("destination_delivery_failures_total", "Work"))
        assert rig.waiting() == 1
        gateway.open()
        (record,) = queue.bodies()
        assert record == failure_record(request_id, record)
        eventually(lambda: not rig.waiting())
        rig.stop()
