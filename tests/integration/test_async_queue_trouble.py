"""What holds for asynchronous events on a broker that goes away, refuses, or is tampered with (setting AsyncQueue)."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import boto3
import pytest
from async_rig import Rig, in_file, lines
from botocore.config import Config
from brokers import RabbitMQBroker
from handlers.rig import HANDLERS
from integration.harness.gateway import Gateway
from integration.harness.service import Service
from waiting import eventually

from poller.async_invoke.amqp_topology import Topology
from poller.async_invoke.configuration import AsyncConfiguration
from poller.errors import StateError

pytestmark = pytest.mark.broker

Make = Callable[..., Rig]


@pytest.fixture
def gateway(rabbitmq: RabbitMQBroker) -> Iterator[Gateway]:
    with Gateway(urlsplit(rabbitmq.url).netloc.rpartition("@")[2]) as one:
        one.open()
        yield one


def through(gateway: Gateway) -> str:
    return f"amqp://guest:guest@{gateway.address}"


def events_of(one: Rig) -> str:
    return Topology(one.account, "us-east-1").events("fn").name


def test_while_the_broker_is_away_events_are_refused_with_the_reason_and_those_before_wait(
    sharing: Make, gateway: Gateway, tmp_path: Path
) -> None:
    one = sharing(
        AsyncConfiguration(maximum_retry_attempts=1, on_failure=in_file(tmp_path / "failed")),
        queue=through(gateway),
        time_scale=20,
    )
    request_id = one.accept("fn", {"fail": "boom"})
    eventually(lambda: one.written_down() == 1)
    gateway.close()

    def refused() -> str:
        try:
            one.accept("fn", {})
        except StateError as error:
            return str(error)
        return ""

    text = eventually(refused)
    assert f"RabbitMQ at {gateway.address}, virtual host /" in text
    assert "guest" not in text
    gateway.open()
    [record] = eventually(lambda: lines(tmp_path / "failed"))
    assert record["requestContext"]["requestId"] == request_id
    assert one.invoker.alive()
    assert one.accept("fn", {})


def test_a_broker_that_is_not_there_at_the_start_holds_up_nothing_but_events(sharing: Make, gateway: Gateway) -> None:
    gateway.close()
    one = sharing(queue=through(gateway))
    with pytest.raises(StateError, match=r"Connection refused.*asynchronous events are not accepted"):
        one.accept("fn", {})
    gateway.open()
    eventually(lambda: not one.invoker._opened()[0]._link.trouble)  # type: ignore[attr-defined]
    one.accept("fn", {"number": 1})
    eventually(lambda: one.attempts("fn"))


def test_a_caller_of_the_api_gets_500_with_the_reason_and_202_once_the_broker_is_there(
    gateway: Gateway, tmp_path: Path
) -> None:
    """A.3: as boto3 sees `poller run`, which starts without its broker."""
    gateway.close()
    code = {"Code": str(HANDLERS), "Handler": "basic.echo", "Runtime": "python3.13", "FunctionName": "fn"}
    destinations = {"OnSuccess": {"Destination": "file:done"}}
    template = {
        "Resources": {
            "Fn": {"Type": "AWS::Lambda::Function", "Properties": code},
            "Config": {
                "Type": "AWS::Lambda::EventInvokeConfig",
                "Properties": {"FunctionName": "fn", "DestinationConfig": destinations},
            },
        },
        "Metadata": {"Poller": {"AsyncQueue": through(gateway), "AccountId": f"{random.randrange(10**12):012}"}},
    }
    with Service(tmp_path, template) as service:
        keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
        once = Config(retries={"total_max_attempts": 1})
        client = boto3.client("lambda", endpoint_url=service.url, config=once, **keys)

        def invoke() -> int:
            answer = client.invoke(FunctionName="fn", InvocationType="Event", Payload=b'{"number":1}')
            status: int = answer["StatusCode"]
            return status

        with pytest.raises(client.exceptions.ServiceException) as refused:
            invoke()
        assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 500
        assert f"The event was not accepted: RabbitMQ at {gateway.address}" in str(refused.value)
        assert "guest" not in str(refused.value)
        told = service.wait_for_problem("AsyncQueue", f"RabbitMQ at {gateway.address}.*Connection refused")
        assert told["State"] == "Enabled"
        gateway.open()

        def accepted() -> bool:
            try:
                return invoke() == 202
            except client.exceptions.ServiceException:
                return False

        eventually(accepted)
        service.wait_until_ready()
        assert service.state("AsyncQueue")["Problem"] == ""
        [record] = eventually(lambda: lines(tmp_path / "done"))
        assert record["responsePayload"] == {"number": 1}
        client.close()
        assert service.stop() == 0
        assert "guest" not in service.tail(1000)


def test_an_attempt_that_outlives_the_connection_is_not_made_again(
    sharing: Make, gateway: Gateway, tmp_path: Path
) -> None:
    """The broker gives the message out anew, and it is known here."""
    one = sharing(AsyncConfiguration(on_success=in_file(tmp_path / "done")), queue=through(gateway))
    ids = [one.accept("fn", {"wait_for": str(tmp_path / "gate")}) for _ in range(5)]
    eventually(lambda: len(one.attempts("fn")) == 5)
    gateway.close()
    eventually(lambda: one.invoker._opened()[0]._link.trouble)  # type: ignore[attr-defined]
    (tmp_path / "gate").touch()  # answers come while there is no connection
    gateway.open()
    eventually(lambda: len(lines(tmp_path / "done")) == 5)
    eventually(lambda: not one.waiting())
    assert sorted(attempt["id"] for attempt in one.attempts("fn")) == sorted(ids)


def test_a_queue_that_is_full_by_the_broker_s_policy_refuses_events(sharing: Make, rabbitmq: RabbitMQBroker) -> None:
    if rabbitmq.container is None:
        pytest.skip("no container: its policies are somebody else's")
    one = sharing(start=False)
    one.invoker.open()
    one.accept("fn", {})
    pattern, definition = f"^poller\\.{one.account}\\.", '{"max-length": 1}'
    rabbitmq.container.run("rabbitmqctl", "set_policy", "--apply-to", "queues", one.account, pattern, definition)

    def refused() -> str:
        try:
            one.accept("fn", {})
        except StateError as error:
            return str(error)
        return ""

    assert "did not confirm the event: refused: a full queue, or one without a leader" in eventually(refused)
    rabbitmq.container.run("rabbitmqctl", "clear_policy", one.account)


def test_a_queue_that_somebody_deletes_is_made_anew(sharing: Make, rabbitmq: RabbitMQBroker) -> None:
    one = sharing()
    one.accept("fn", {"number": 1})
    eventually(lambda: one.attempts("fn"))
    rabbitmq.delete_queue(events_of(one))

    def accepted() -> bool:
        try:
            one.accept("fn", {"number": 2})
        except StateError:  # what has just happened is not known here yet
            return False
        return True

    eventually(accepted)
    eventually(lambda: len(one.attempts("fn")) >= 2)


def test_a_queue_of_that_name_that_is_another_one_s_is_told(sharing: Make, rabbitmq: RabbitMQBroker) -> None:
    one = sharing(start=False)
    rabbitmq.declare_queue("classic", name=events_of(one))
    one.start()
    with pytest.raises(StateError, match=r"PRECONDITION_FAILED - inequivalent arg 'x-[a-z-]+' for queue"):
        one.accept("fn", {})
    assert one.invoker.alive()
    rabbitmq.delete_queue(events_of(one))

    def accepted() -> bool:
        try:
            one.accept("fn", {})
        except StateError:
            return False
        return True

    eventually(accepted)


def test_a_stranger_s_message_is_told_and_thrown_away(
    sharing: Make, rabbitmq: RabbitMQBroker, caplog: pytest.LogCaptureFixture
) -> None:
    one = sharing()
    one.accept("fn", {"number": 1})
    rabbitmq.publish(events_of(one), [b"hello"], headers={"function": "fn"})
    eventually(lambda: f"a message in the queue {events_of(one)} is thrown away: no event" in caplog.text)
    eventually(lambda: not one.waiting())
    assert one.invoker.alive()


def test_a_broker_that_is_low_on_memory_refuses_events_until_it_is_not(sharing: Make, rabbitmq: RabbitMQBroker) -> None:
    if rabbitmq.container is None:
        pytest.skip("no container: the broker is somebody else's")
    one = sharing(start=False)
    one.invoker.open()
    one.accept("fn", {})

    def refused() -> str:
        try:
            one.accept("fn", {})
        except StateError as error:
            return str(error)
        return ""

    rabbitmq.container.run("rabbitmqctl", "set_vm_memory_high_watermark", "0")
    assert "it takes nothing at the moment: low on memory" in eventually(refused)
    rabbitmq.container.run("rabbitmqctl", "set_vm_memory_high_watermark", "0.6")
    eventually(lambda: not refused())
