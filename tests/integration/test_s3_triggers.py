"""Functions that a real S3 server starts, over its webhook, RabbitMQ and Kafka, and schedules beside them (B.6)."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from async_rig import lines
from brokers import KafkaBroker, RabbitMQBroker, unique
from handlers.rig import HANDLERS
from integration.harness.service import Service
from s3_gateway import start_s3_gateway
from waiting import eventually

BUCKET = "photos"


def template(folder: Path, *, schedule: bool = False, **settings: Any) -> dict[str, Any]:
    """A function that notes what it gets: of objects of the bucket whose keys end in `.jpg`."""
    events: dict[str, Any] = {
        "Upload": {
            "Type": "S3",
            "Properties": {
                "Bucket": {"Ref": "Photos"},
                "Events": ["s3:ObjectCreated:*", "s3:ObjectRemoved:Delete"],
                "Filter": {
                    "S3Key": {"Rules": [{"Name": "prefix", "Value": "in/"}, {"Name": "suffix", "Value": ".jpg"}]}
                },
            },
        }
    }
    if schedule:
        events["Tick"] = {"Type": "Schedule", "Properties": {"Schedule": "rate(1 minute)"}}
    function = {
        "CodeUri": str(HANDLERS),
        "Handler": "noted.handler",
        "Runtime": "python3.13",
        "Environment": {"Variables": {"NOTES": str(folder / "notes")}},
        "Events": events,
    }
    return {
        "Transform": "AWS::Serverless-2016-10-31",
        "Metadata": {"Poller": settings},
        "Resources": {
            "Photos": {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": BUCKET}},
            "Thumbnail": {"Type": "AWS::Serverless::Function", "Properties": function},
        },
    }


def told(folder: Path) -> list[tuple[str, str]]:
    """Name and key of each event that the function got, in order of arrival, once each."""
    events = {note["id"]: note["event"] for note in lines(folder / "notes")}
    records = [event["Records"][0] for event in events.values() if "Records" in event]
    return [(record["eventName"], record["s3"]["object"]["key"]) for record in records]


def keys(folder: Path) -> set[str]:
    return {key for name, key in told(folder) if name.startswith("ObjectCreated:")}


def notification(key: str) -> bytes:
    """As AWS would tell of a new object."""
    of_object = {"bucket": {"name": BUCKET}, "object": {"key": key}}
    return json.dumps(
        {"Records": [{"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": of_object}]}
    ).encode()


def test_a_server_s_webhook_starts_functions_and_a_schedule_runs_beside_it(tmp_path: Path) -> None:
    with Service(tmp_path, template(tmp_path, schedule=True, TimeScale=60)) as service:
        webhook = {"event-webhook-url": f"{service.url}/_events/s3"}
        with start_s3_gateway(tmp_path / "s3", webhook) as gateway:
            gateway.create_bucket(BUCKET)
            gateway.create_bucket("others")
            gateway.put(BUCKET, "in/a b+c%20/ü.jpg")
            gateway.put(BUCKET, "in/a.txt")
            gateway.put(BUCKET, "out/a.jpg")
            gateway.put("others", "in/a.jpg")
            gateway.client.copy_object(
                Bucket=BUCKET, Key="in/copy.jpg", CopySource={"Bucket": "others", "Key": "in/a.jpg"}
            )
            eventually(lambda: len(told(tmp_path)) >= 2)
            objects = [{"Key": "in/a b+c%20/ü.jpg"}, {"Key": "in/a.txt"}]
            gateway.client.delete_objects(Bucket=BUCKET, Delete={"Objects": objects})
            gateway.client.delete_object(Bucket=BUCKET, Key="in/copy.jpg")
            eventually(lambda: len(told(tmp_path)) >= 4)
        assert sorted(told(tmp_path)) == [
            ("ObjectCreated:Copy", "in/copy.jpg"),
            ("ObjectCreated:Put", "in/a+b%2Bc%2520/%C3%BC.jpg"),
            ("ObjectRemoved:Delete", "in/a+b%2Bc%2520/%C3%BC.jpg"),
            ("ObjectRemoved:Delete", "in/copy.jpg"),
        ]
        scheduled = eventually(
            lambda: [note["event"] for note in lines(tmp_path / "notes") if "detail-type" in note["event"]]
        )
        assert scheduled[0]["resources"] == ["arn:aws:events:us-east-1:123456789012:rule/ThumbnailTick"]
        assert service.stop() == 0
        assert service.problems() == []


def test_kill_9_right_after_the_webhook_s_answer_loses_nothing(tmp_path: Path) -> None:
    """What was answered with 200 is on the disk (B.1)."""
    sent = {f"in/{number}.jpg" for number in range(5)}
    with Service(tmp_path, template(tmp_path)) as service:
        for key in sent:
            with urllib.request.urlopen(f"{service.url}/_events/s3", notification(key), timeout=30) as answer:
                assert json.load(answer) == {"Events": 1}
        service.kill()
    with Service(tmp_path, template(tmp_path)) as service:
        eventually(lambda: keys(tmp_path) == sent)
        assert service.stop() == 0


def test_a_server_logs_in_to_a_service_that_checks_signatures(tmp_path: Path) -> None:
    settings = {"RequireSignature": True, "SignatureKeys": {"AKIDEXAMPLE": "s/e+c:ret"}}
    with Service(tmp_path, template(tmp_path, **settings)) as service:
        webhook = {"event-webhook-url": f"{service.url}/_events/s3".replace("://", "://AKIDEXAMPLE:s%2Fe%2Bc%3Aret@")}
        with start_s3_gateway(tmp_path / "s3", webhook) as gateway:
            gateway.create_bucket(BUCKET)
            gateway.put(BUCKET, "in/a.jpg")
            eventually(lambda: keys(tmp_path) == {"in/a.jpg"})
        with pytest.raises(urllib.error.HTTPError, match="403") as refused:
            urllib.request.urlopen(f"{service.url}/_events/s3", b"{}", timeout=30)
        refused.value.close()
        service.stop()


@pytest.mark.broker
def test_notifications_over_rabbitmq_start_functions(tmp_path: Path, rabbitmq: RabbitMQBroker) -> None:
    queue = rabbitmq.declare_queue(dead_letters=True)
    settings = {"S3Events": f"{rabbitmq.url.rstrip('/')}/{queue}"}
    over = {"event-rabbitmq-url": rabbitmq.url, "event-rabbitmq-exchange": "", "event-rabbitmq-routing-key": queue}
    with start_s3_gateway(tmp_path / "s3", over) as gateway:
        gateway.create_bucket(BUCKET)
        gateway.put(BUCKET, "in/before.jpg")
        rabbitmq.publish(queue, [b"nonsense"])
        with Service(tmp_path, template(tmp_path, **settings)) as service:
            eventually(lambda: keys(tmp_path) == {"in/before.jpg"})
            gateway.put(BUCKET, "in/after.jpg")
            eventually(lambda: keys(tmp_path) == {"in/before.jpg", "in/after.jpg"})
            assert service.state("S3Events")["Problem"] == ""
            service.stop()
            assert service.problems() == []
    assert rabbitmq.depth(queue) == 0
    assert [body for _, body in rabbitmq.drain(f"{queue}.dead")] == [b"nonsense"]


@pytest.mark.broker
def test_notifications_over_kafka_start_functions(
    tmp_path: Path, kafka: KafkaBroker, kafka_client: str, tell: Callable[..., None]
) -> None:
    topic = kafka.create_topic(name=unique("s3"))
    settings = {"S3Events": f"kafka://{kafka.address}/{topic}"}
    over = {"event-kafka-url": kafka.address, "event-kafka-topic": topic}
    with start_s3_gateway(tmp_path / "s3", over) as gateway:
        gateway.create_bucket(BUCKET)
        gateway.put(BUCKET, "in/before.jpg")
        with Service(tmp_path, template(tmp_path, **settings)) as service:
            eventually(lambda: keys(tmp_path) == {"in/before.jpg"})
            gateway.put(BUCKET, "in/after.jpg")
            eventually(lambda: keys(tmp_path) == {"in/before.jpg", "in/after.jpg"})
            assert service.stop() == 0
            assert service.problems() == []
    (committed,) = kafka.committed(topic, "poller-s3-events").values()
    tell(client=kafka_client, committed=committed)
    assert committed == len(kafka.read(topic)), "the server's test event included"


@pytest.mark.broker
def test_kill_9_while_notifications_are_read_loses_none(tmp_path: Path, rabbitmq: RabbitMQBroker) -> None:
    queue = rabbitmq.declare_queue()
    settings = {"S3Events": f"{rabbitmq.url.rstrip('/')}/{queue}"}
    sent = {f"in/{number}.jpg" for number in range(60)}
    rabbitmq.publish(queue, map(notification, sorted(sent)))
    with Service(tmp_path, template(tmp_path, **settings)) as service:
        eventually(lambda: keys(tmp_path))
        service.kill()
    with Service(tmp_path, template(tmp_path, **settings)) as service:
        eventually(lambda: keys(tmp_path) == sent)
        assert service.stop() == 0
    assert rabbitmq.depth(queue) == 0


@pytest.mark.broker
def test_a_queue_that_is_not_there_yet_is_told_of_and_read_once_it_is(tmp_path: Path, rabbitmq: RabbitMQBroker) -> None:
    queue = unique("later")
    settings = {"S3Events": f"{rabbitmq.url.rstrip('/')}/{queue}"}
    with Service(tmp_path, template(tmp_path, **settings)) as service:
        service.wait_for_problem("S3Events", f"{queue}.* does not exist")
        rabbitmq.declare_queue(name=queue)
        service.wait_until_ready()
        service.stop()
