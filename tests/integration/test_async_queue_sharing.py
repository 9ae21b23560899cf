"""What only a shared queue has: several programs, a broker that goes away, strangers' messages (setting AsyncQueue)."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pika
import pytest
from async_rig import Rig, eventually, in_file, lines
from botocore.config import Config
from brokers import RabbitMQBroker
from handlers.rig import HANDLERS
from integration.harness.gateway import Gateway
from integration.harness.service import Service
from secure_brokers import SecureRabbitMQ

from poller.async_invoke.amqp_topology import Topology
from poller.async_invoke.configuration import AsyncConfiguration
from poller.errors import StateError

pytestmark = pytest.mark.broker

Make = Callable[..., Rig]


@pytest.fixture
def rig(tmp_path: Path, rabbitmq: RabbitMQBroker) -> Iterator[Make]:
    """Makes programs; those with the same `account` share their queues."""
    logging.getLogger("pika").setLevel(logging.CRITICAL)  # as the program does
    made: list[Rig] = []

    def make(
        configuration: AsyncConfiguration | None = None,
        *,
        name: str = "one",
        start: bool = True,
        reserved: int | None = None,
        **values: Any,
    ) -> Rig:
        folder = tmp_path / name
        folder.mkdir()
        one = Rig(folder, **{"queue": rabbitmq.url, **values})
        one.add("fn", configuration, reserved_concurrent_executions=reserved)
        made.append(one)
        if start:
            one.start()
        return one

    yield make
    for one in made:
        one.stop()


@pytest.fixture
def gateway(rabbitmq: RabbitMQBroker) -> Iterator[Gateway]:
    with Gateway(urlsplit(rabbitmq.url).netloc.rpartition("@")[2]) as one:
        one.open()
        yield one


def through(gateway: Gateway) -> str:
    return f"amqp://guest:guest@{gateway.address}"


def events_of(one: Rig) -> str:
    return Topology(one.account, "us-east-1").events("fn").name


def test_an_accepted_event_is_a_persistent_message_in_its_function_s_queue(rig: Make, rabbitmq: RabbitMQBroker) -> None:
    """B.1: request id, attempts and the time of acceptance stand beside the payload, which is the body."""
    one = rig(start=False)
    one.invoker.open()
    request_id = one.invoker.accept("fn", "$LATEST", b'{"number" : 1}', '{"custom":{}}')
    ((properties, body),) = rabbitmq.drain(events_of(one))
    assert body == b'{"number" : 1}'
    assert (properties.message_id, properties.delivery_mode) == (request_id, pika.DeliveryMode.Persistent.value)
    headers = properties.headers
    assert abs(headers.pop("accepted-at") / 1_000_000 - one.clock.time()) < 60
    assert headers == {
        "function": "fn",
        "qualifier": "$LATEST",
        "attempts": 0,
        "delays": 0,
        "passes": 0,
        "client-context": '{"custom":{}}',
    }


def test_two_programs_work_off_one_queue_and_each_event_is_tried_once(rig: Make, tmp_path: Path) -> None:
    done = AsyncConfiguration(on_success=in_file(tmp_path / "done"))
    one = rig(done, name="one", reserved=2)
    two = rig(done, name="two", account=one.account, reserved=2)
    with ThreadPoolExecutor(8) as senders:
        ids = set(senders.map(lambda number: one.accept("fn", {"number": number}), range(200)))
    eventually(lambda: len(lines(tmp_path / "done")) >= 200 and not one.waiting() and not two.waiting())
    assert len(ids) == 200
    assert sorted(record["requestContext"]["requestId"] for record in lines(tmp_path / "done")) == sorted(ids)
    attempts = [*one.attempts("fn"), *two.attempts("fn")]
    assert sorted(attempt["id"] for attempt in attempts) == sorted(ids)
    assert one.attempts("fn")
    assert two.attempts("fn")


def test_what_a_program_leaves_unfinished_is_taken_by_another_one(rig: Make, tmp_path: Path) -> None:
    """The one that leaves gives back what it has not begun at once, and the rest when it ends."""
    done = AsyncConfiguration(on_success=in_file(tmp_path / "done"))
    one = rig(done, name="one")
    ids = {one.accept("fn", {"wait_for": str(tmp_path / "gate"), "number": number}) for number in range(30)}
    eventually(lambda: len(one.attempts("fn")) == 10)
    one.invoker.leave()
    two = rig(done, name="two", account=one.account)
    eventually(lambda: len(two.attempts("fn")) == 10)
    one.stop()
    (tmp_path / "gate").touch()
    eventually(lambda: len(lines(tmp_path / "done")) == 30)
    assert {record["requestContext"]["requestId"] for record in lines(tmp_path / "done")} == ids
    assert {attempt["id"] for attempt in two.attempts("fn")} == ids


def test_a_retry_may_be_another_program_s_and_counts_on(rig: Make, tmp_path: Path) -> None:
    failing = AsyncConfiguration(maximum_retry_attempts=1, on_failure=in_file(tmp_path / "failed"))
    one = rig(failing, name="one", time_scale=20)  # 3 s between two attempts
    request_id = one.accept("fn", {"fail": "boom"})
    eventually(lambda: one.written_down() == 1)
    one.stop()
    two = rig(failing, name="two", account=one.account, time_scale=600)
    [record] = eventually(lambda: lines(tmp_path / "failed"))
    assert record["requestContext"]["requestId"] == request_id
    assert record["requestContext"]["approximateInvokeCount"] == 2
    assert [len(program.attempts("fn")) for program in (one, two)] == [1, 1]


def test_while_the_broker_is_away_events_are_refused_with_the_reason_and_those_before_wait(
    rig: Make, gateway: Gateway, tmp_path: Path
) -> None:
    one = rig(
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
    assert f"RabbitMQ at {gateway.address}, virtual host /: " in text
    assert "guest" not in text
    gateway.open()
    [record] = eventually(lambda: lines(tmp_path / "failed"))
    assert record["requestContext"]["requestId"] == request_id
    assert one.invoker.alive()
    assert one.accept("fn", {})


def test_a_broker_that_is_not_there_at_the_start_holds_up_nothing_but_events(rig: Make, gateway: Gateway) -> None:
    gateway.close()
    one = rig(queue=through(gateway))
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
        gateway.open()

        def accepted() -> bool:
            try:
                return invoke() == 202
            except client.exceptions.ServiceException:
                return False

        eventually(accepted)
        [record] = eventually(lambda: lines(tmp_path / "done"))
        assert record["responsePayload"] == {"number": 1}
        client.close()
        assert service.stop() == 0
        assert "guest" not in service.tail(1000)


def test_an_attempt_that_outlives_the_connection_is_not_made_again(rig: Make, gateway: Gateway, tmp_path: Path) -> None:
    """The broker gives the message out anew, and it is known here."""
    one = rig(AsyncConfiguration(on_success=in_file(tmp_path / "done")), queue=through(gateway))
    ids = [one.accept("fn", {"wait_for": str(tmp_path / "gate")}) for _ in range(5)]
    eventually(lambda: len(one.attempts("fn")) == 5)
    gateway.close()
    eventually(lambda: one.invoker._opened()[0]._link.trouble)  # type: ignore[attr-defined]
    (tmp_path / "gate").touch()  # answers come while there is no connection
    gateway.open()
    eventually(lambda: len(lines(tmp_path / "done")) == 5)
    eventually(lambda: not one.waiting())
    assert sorted(attempt["id"] for attempt in one.attempts("fn")) == sorted(ids)


def test_a_queue_that_is_full_by_the_broker_s_policy_refuses_events(rig: Make, rabbitmq: RabbitMQBroker) -> None:
    if rabbitmq.container is None:
        pytest.skip("no container: its policies are somebody else's")
    one = rig(start=False)
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


def test_a_queue_that_somebody_deletes_is_made_anew(rig: Make, rabbitmq: RabbitMQBroker) -> None:
    one = rig()
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


def test_a_stranger_s_message_is_told_and_thrown_away(
    rig: Make, rabbitmq: RabbitMQBroker, caplog: pytest.LogCaptureFixture
) -> None:
    one = rig()
    one.accept("fn", {"number": 1})
    rabbitmq.publish(events_of(one), [b"hello"], headers={"function": "fn"})
    eventually(lambda: f"a message in the queue {events_of(one)} is thrown away: no event" in caplog.text)
    eventually(lambda: not one.waiting())
    assert one.invoker.alive()


def test_events_that_were_accepted_without_the_broker_are_told(rig: Make, caplog: pytest.LogCaptureFixture) -> None:
    before = rig(queue="", start=False)
    before.invoker.open()
    before.accept("fn", {})
    before.stop()
    after = Rig(before.folder, queue=rig(name="other").queue)
    after.invoker.open()
    assert "1 events or records wait in" in caplog.text
    assert "not worked off while AsyncQueue is set" in caplog.text
    after.stop()


def test_over_tls_with_a_name_and_a_virtual_host(
    secure_rabbitmq: SecureRabbitMQ, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    logging.getLogger("pika").setLevel(logging.CRITICAL)
    url = f"{secure_rabbitmq.secure_url()}?cacertfile={secure_rabbitmq.authority_file}"
    one = Rig(tmp_path, queue=url)
    one.add("fn", AsyncConfiguration(maximum_retry_attempts=1, on_failure=in_file(tmp_path / "failed")))
    one.start()
    one.accept("fn", {"fail": "boom"})
    [record] = eventually(lambda: lines(tmp_path / "failed"))
    assert record["requestContext"]["approximateInvokeCount"] == 2
    one.stop()
    password = urlsplit(url).password
    assert password
    assert f":{password}@" not in caplog.text
