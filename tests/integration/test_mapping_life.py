"""Mappings made, changed, switched off and deleted while the service runs, by AWS's own client (C.1, C.2, C.3)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from brokers import RABBITMQ_ARN, KafkaBroker, RabbitMQBroker
from integration.harness import group, stack
from integration.harness.ledger import Ledger, wait_until_committed
from integration.harness.runs import wait_for_invocations
from integration.harness.service import Service
from secure_brokers import PASSWORD, SecureKafka
from waiting import eventually

pytestmark = [
    pytest.mark.broker,
    pytest.mark.usefixtures("refused_connections"),
]

ARN = "arn:aws:secretsmanager:us-east-1:123456789012:secret:"
OPEN = [{"Type": "VPC_SUBNET", "URI": "subnet:subnet-0"}, {"Type": "VPC_SECURITY_GROUP", "URI": "security_group:sg-0"}]


def kafka_request(address: str, topic: str, **more: Any) -> dict[str, Any]:
    """A mapping of a topic on the function `Orders`, in provisioned mode with a window of 0."""
    return {
        "FunctionName": "Orders",
        "SelfManagedEventSource": {"Endpoints": {"KAFKA_BOOTSTRAP_SERVERS": [address]}},
        "SelfManagedKafkaEventSourceConfig": {"ConsumerGroupId": topic},
        "Topics": [topic],
        "SourceAccessConfigurations": OPEN,
        "MaximumBatchingWindowInSeconds": 0,
        "ProvisionedPollerConfig": {"MinimumPollers": 1, "MaximumPollers": 1},
        **more,
    }


def mq_request(queue: str, **more: Any) -> dict[str, Any]:
    """A mapping of a queue on the function `Orders` with a window of 0."""
    return {
        "FunctionName": "Orders",
        "EventSourceArn": RABBITMQ_ARN,
        "Queues": [queue],
        "SourceAccessConfigurations": [{"Type": "BASIC_AUTH", "URI": stack.SECRET}],
        "MaximumBatchingWindowInSeconds": 0,
        **more,
    }


class Lambda:
    """The service's calls, by boto3."""

    def __init__(self, service: Service) -> None:
        self.client = boto3.client(
            "lambda",
            endpoint_url=service.url,
            region_name="us-east-1",
            aws_access_key_id="any",
            aws_secret_access_key="any",
            config=Config(retries={"max_attempts": 1}),
        )

    def create(self, request: dict[str, Any]) -> str:
        """Make a mapping and wait for its state to settle; returns its UUID."""
        made = self.client.create_event_source_mapping(**request)
        self.wait(made["UUID"], "Disabled" if request.get("Enabled") is False else "Enabled")
        return str(made["UUID"])

    def update(self, uuid: str, **changes: Any) -> None:
        """Change a mapping and wait until it is done."""
        self.client.update_event_source_mapping(UUID=uuid, **changes)
        self.wait(uuid, "Disabled" if changes.get("Enabled") is False else "Enabled")

    def get(self, uuid: str) -> dict[str, Any]:
        return dict(self.client.get_event_source_mapping(UUID=uuid))

    def wait(self, uuid: str, state: str) -> None:
        eventually(lambda: self.get(uuid)["State"] == state, what=f"the state {state}")

    def is_gone(self, uuid: str) -> bool:
        try:
            self.get(uuid)
        except self.client.exceptions.ResourceNotFoundException:
            return True
        return False


@contextmanager
def serving(ledger: Ledger, **settings: Any) -> Iterator[tuple[Service, Lambda]]:
    """A service with the function `Orders` and no mapping."""
    function = stack.function(ledger, {})
    del function["Properties"]["Events"]
    with Service(ledger.path.parent, stack.template({"Orders": function}, TimeScale=5, **settings)) as service:
        yield service, Lambda(service)
        assert service.stop() == 0
        assert service.problems() == []


@pytest.mark.usefixtures("kafka_client")
def test_a_mapping_of_a_topic_lives_as_long_as_it_is_wanted(kafka: KafkaBroker, ledger: Ledger) -> None:  # C.2
    topic = kafka.create_topic(2)
    ledger.produce(kafka, topic, 200, partitions=2)
    with serving(ledger) as (_, aws):
        uuid = aws.create(kafka_request(kafka.address, topic, Enabled=False))
        assert kafka.committed(topic, topic) == {}, "Disabled, it reads nothing"
        aws.update(uuid, Enabled=True)
        ledger.wait_until_handled()
        wait_until_committed(kafka, topic, topic)
        assert aws.get(uuid)["LastProcessingResult"] == "OK"
        began = time.monotonic()
        aws.update(uuid, Enabled=False)
        assert time.monotonic() - began < 20, "Disabled takes effect within seconds"
        assert not group.members(kafka, topic)
        ledger.produce(kafka, topic, 200, partitions=2)
        aws.update(uuid, Enabled=True)
        ledger.wait_until_handled()
        wait_until_committed(kafka, topic, topic)
        assert aws.client.delete_event_source_mapping(UUID=uuid)["State"] == "Deleting"
        eventually(lambda: aws.is_gone(uuid), what="the end of the mapping")
        assert not group.members(kafka, topic)
    assert ledger.duplicates() == 0, "it goes on where it was"
    assert ledger.out_of_order() == []


@pytest.mark.usefixtures("kafka_client")
def test_a_mapping_that_a_call_made_goes_on_after_a_restart_where_it_was(
    kafka: KafkaBroker, ledger: Ledger
) -> None:  # C.1
    topic = kafka.create_topic(1)
    ledger.produce(kafka, topic, 20, partitions=1)
    request = kafka_request(kafka.address, topic)
    del request["SelfManagedKafkaEventSourceConfig"]
    with serving(ledger) as (_, aws):
        uuid = aws.create(request)  # its group is its UUID
        ledger.wait_until_handled()
        wait_until_committed(kafka, topic, uuid)
    ledger.produce(kafka, topic, 20, partitions=1)
    with serving(ledger) as (_, aws):
        ledger.wait_until_handled()
        wait_until_committed(kafka, topic, uuid)
        assert [item["UUID"] for item in aws.client.list_event_source_mappings()["EventSourceMappings"]] == [uuid]
    assert ledger.duplicates() == 0
    assert ledger.out_of_order() == []


@pytest.mark.usefixtures("kafka_client")
def test_updates_while_records_flow_lose_and_repeat_nothing(kafka: KafkaBroker, ledger: Ledger) -> None:  # C.1
    topic = kafka.create_topic(4)
    ledger.produce(kafka, topic, 2000, partitions=4, work=0.002)
    with serving(ledger) as (_, aws):
        uuid = aws.create(kafka_request(kafka.address, topic, BatchSize=10))
        for round_, size in enumerate((50, 7, 100, 20)):
            ledger.wait_for(300 * (round_ + 1))
            aws.update(uuid, BatchSize=size, MaximumBatchingWindowInSeconds=round_ % 2)
        ledger.wait_until_handled()
        wait_until_committed(kafka, topic, topic)
        assert aws.get(uuid)["BatchSize"] == 20
    assert ledger.duplicates() == 0
    assert ledger.out_of_order() == []


@pytest.mark.usefixtures("kafka_client")
def test_a_wrong_login_is_told_and_mended_by_an_update(secure_kafka: SecureKafka, ledger: Ledger) -> None:  # C.2, D.1.3
    topic = secure_kafka.create_topic(1)
    secrets = {
        ARN + "wrong": {"username": "poller", "password": "no"},
        ARN + "right": {"username": "poller", "password": PASSWORD},
        ARN + "authority": {"certificate": secure_kafka.authority_pem},
    }

    def access(login: str) -> list[dict[str, str]]:
        authority = {"Type": "SERVER_ROOT_CA_CERTIFICATE", "URI": ARN + "authority"}
        return [{"Type": "SASL_SCRAM_512_AUTH", "URI": ARN + login}, authority]

    ledger.produce(secure_kafka, topic, 10, partitions=1)
    with serving(ledger, Secrets=secrets) as (service, aws):
        request = kafka_request(secure_kafka.login_address, topic, SourceAccessConfigurations=access("wrong"))
        uuid = aws.create(request)
        told = aws.get(uuid)
        assert told["StateTransitionReason"] == "EVENT_SOURCE_AUTHN_ERROR"
        assert told["LastProcessingResult"] == "PROBLEM: SASL authentication failed"
        assert service.get("healthz")[0] == 200
        aws.update(uuid, SourceAccessConfigurations=access("right"))
        ledger.wait_until_handled()
        eventually(lambda: aws.get(uuid)["LastProcessingResult"] == "OK", what="the result of the first batch")
        assert aws.get(uuid)["StateTransitionReason"] == "USER_INITIATED"


def test_a_broker_that_does_not_answer_refuses_no_mapping(kafka: KafkaBroker, ledger: Ledger) -> None:  # C.2
    with serving(ledger) as (service, aws):
        uuid = aws.create(kafka_request("127.0.0.1:1", "orders"))
        eventually(lambda: service.state(uuid)["Problem"], what="the problem of a mapping without a broker")
        topic = kafka.create_topic(1)
        ledger.produce(kafka, topic, 10, partitions=1)
        aws.create(kafka_request(kafka.address, topic))
        ledger.wait_until_handled()
        aws.client.delete_event_source_mapping(UUID=uuid)
        eventually(lambda: aws.is_gone(uuid), what="the end of a mapping without a broker")


@pytest.mark.parametrize("kind", ["quorum", "classic"])
def test_a_disabled_queue_has_its_unhandled_messages_back_within_seconds(
    rabbitmq: RabbitMQBroker, ledger: Ledger, kind: str
) -> None:  # C.2, F.3
    queue = rabbitmq.declare_queue(kind)
    gate = ledger.path.parent / "gate"
    ledger.publish(rabbitmq, queue, 1, gate=str(gate))
    with serving(ledger, Endpoints={RABBITMQ_ARN: rabbitmq.url}) as (service, aws):
        uuid = aws.create(mq_request(queue, BatchSize=5))
        wait_for_invocations(service, 1)
        ledger.publish(rabbitmq, queue, 8)
        eventually(lambda: rabbitmq.depth(queue) == 0, what="messages that wait in the service")
        aws.client.update_event_source_mapping(UUID=uuid, Enabled=False)
        eventually(lambda: rabbitmq.depth(queue) == 8, timeout=4, what="the return of unhandled messages")
        gate.touch()  # what is in work may end
        aws.wait(uuid, "Disabled")
        assert rabbitmq.depth(queue) == 8, "the one in work is settled"
        aws.update(uuid, Enabled=True)
        ledger.wait_until_handled()
        eventually(lambda: rabbitmq.depth(queue) == 0, what="the last acknowledgement")
    assert ledger.duplicates() == 0


def test_a_queue_is_read_on_with_the_new_batch_size_and_nothing_comes_twice(
    rabbitmq: RabbitMQBroker, ledger: Ledger
) -> None:  # C.1
    queue = rabbitmq.declare_queue("quorum")
    ledger.publish(rabbitmq, queue, 300)
    with serving(ledger, Endpoints={RABBITMQ_ARN: rabbitmq.url}) as (service, aws):
        uuid = aws.create(mq_request(queue, BatchSize=2))
        ledger.wait_for(20)
        aws.update(uuid, BatchSize=50)
        ledger.wait_until_handled()
        gate = ledger.path.parent / "gate"
        before = len(service.log("^START "))
        ledger.publish(rabbitmq, queue, 1, gate=str(gate))
        wait_for_invocations(service, before + 1)
        ledger.publish(rabbitmq, queue, 50)
        eventually(lambda: rabbitmq.depth(queue) == 0, what="a whole batch that waits in the service")
        gate.touch()
        ledger.wait_until_handled()
        assert aws.get(uuid)["BatchSize"] == 50
    requests = {handling.id: handling.request for handling in ledger.handlings()}
    assert len({requests[name] for name in sorted(requests)[-50:]}) == 1, "fifty in one batch"


def test_boto3_knows_every_refusal_by_its_name(kafka: KafkaBroker, ledger: Ledger) -> None:  # C.3
    topic = kafka.create_topic(1)
    with serving(ledger) as (_, aws):
        client, request = aws.client, kafka_request(kafka.address, topic)
        uuid = aws.create(request)
        with pytest.raises(client.exceptions.ResourceConflictException, match=uuid):
            client.create_event_source_mapping(**request)
        with pytest.raises(client.exceptions.InvalidParameterValueException, match=r"Function does not exist$"):
            client.create_event_source_mapping(**{**request, "FunctionName": "no"})
        with pytest.raises(client.exceptions.ResourceNotFoundException, match="The resource you requested does not"):
            client.update_event_source_mapping(UUID="1f3d8a4e-0000-4000-8000-000000000000", BatchSize=1)
        with pytest.raises(ClientError, match=r"ValidationException.*'10001' at 'batchSize'"):
            client.update_event_source_mapping(UUID=uuid, BatchSize=10_001)
        [listed] = client.list_event_source_mappings(FunctionName="Orders")["EventSourceMappings"]
        assert listed["UUID"] == uuid
        assert listed["LastModified"].timestamp() == pytest.approx(time.time(), abs=3600)
