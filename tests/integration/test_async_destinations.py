"""Destinations and dead-letter queues of asynchronous invocations on real brokers, named by ARNs of AWS (B.3, B.4)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from async_rig import Rig
from brokers import KafkaBroker, RabbitMQBroker, unique
from handlers.rig import HANDLERS
from waiting import eventually

from poller.template import load

pytestmark = [
    pytest.mark.broker,
]

QUEUE = "arn:aws:sqs:us-east-1:123456789012:failed"
TOPIC = "arn:aws:sns:us-east-1:123456789012:dead"
BUS = "arn:aws:events:us-east-1:123456789012:event-bus/results"


@pytest.fixture
def rigs(tmp_path: Path) -> Iterator[Any]:
    """A rig of one function that is configured as a template says, with addresses behind its ARNs."""
    made: list[Rig] = []

    def make(endpoints: dict[str, str], config: dict[str, Any], **properties: Any) -> Rig:
        code = {"Code": str(HANDLERS), "Handler": "noted.handler", "Runtime": "python3.13"}
        content = {
            "Resources": {
                "Work": {"Type": "AWS::Lambda::Function", "Properties": {**code, **properties}},
                "Config": {
                    "Type": "AWS::Lambda::EventInvokeConfig",
                    "Properties": {"FunctionName": "Work", "MaximumRetryAttempts": 0, **config},
                },
            },
            "Metadata": {"Poller": {"Endpoints": endpoints}},
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


def to(success: str = "", failure: str = "") -> dict[str, Any]:
    return {"DestinationConfig": {"OnSuccess": {"Destination": success}, "OnFailure": {"Destination": failure}}}


@pytest.mark.statement(24)
def test_what_is_given_up_goes_to_a_topic_and_to_a_queue(
    rigs: Any, kafka: KafkaBroker, rabbitmq: RabbitMQBroker
) -> None:
    """B.3, B.4, G 24: the record to OnFailure, and the event itself, with three attributes, to the dead-letter queue."""
    topic, queue = kafka.create_topic(), rabbitmq.declare_queue()
    endpoints = {QUEUE: f"kafka://{kafka.address}/{topic}", TOPIC: f"{rabbitmq.url.rstrip('/')}//{queue}"}
    rig = rigs(endpoints, to(failure=QUEUE), DeadLetterConfig={"TargetArn": TOPIC})
    request_id = rig.invoker.accept("Work", "", b'{"fail" : "boom"}')
    eventually(lambda: rig.metric("async_events_dropped_total", "Work") and not rig.waiting())
    (record,) = kafka.read(topic)
    told = json.loads(record.value)
    assert (told["requestContext"]["requestId"], told["requestPayload"]) == (request_id, {"fail": "boom"})
    ((properties, body),) = rabbitmq.drain(queue)
    assert body == b'{"fail" : "boom"}'
    assert properties.headers == {"RequestID": request_id, "ErrorCode": "200", "ErrorMessage": "boom"}
    assert properties.delivery_mode == 2


def test_a_bus_is_a_topic_that_gets_its_events(rigs: Any, kafka: KafkaBroker) -> None:  # B.3
    topic = kafka.create_topic()
    rig = rigs({BUS: f"kafka://{kafka.address}/{topic}"}, to(success=BUS))
    rig.accept("Work", {"number": 7})
    eventually(lambda: rig.metric("async_event_age_seconds_count", "Work") and not rig.waiting())
    (found,) = kafka.read(topic)
    event = json.loads(found.value)
    assert event["detail-type"] == "Lambda Function Invocation Result - Success"
    assert event["resources"] == [BUS, "arn:aws:lambda:us-east-1:123456789012:function:Work:$LATEST"]
    assert event["detail"]["responsePayload"] == {"done": 7}


def test_a_record_waits_for_a_queue_that_is_not_there_and_arrives_once_it_is(
    rigs: Any, rabbitmq: RabbitMQBroker
) -> None:
    queue = unique("later")
    rig = rigs({QUEUE: f"{rabbitmq.url.rstrip('/')}//{queue}"}, to(failure=QUEUE))
    rig.accept("Work", {"fail": "boom"})
    eventually(lambda: rig.metric("destination_delivery_failures_total", "Work"))
    assert rig.waiting() == 1
    rabbitmq.declare_queue(name=queue)
    eventually(lambda: not rig.waiting())
    assert len(rabbitmq.drain(queue)) == 1
