"""What only a shared queue has: several programs, a broker that goes away, strangers' messages (setting AsyncQueue)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pika
import pytest
from async_rig import Rig, in_file, lines
from brokers import RabbitMQBroker
from secure_brokers import SecureRabbitMQ
from waiting import eventually

from poller.async_invoke.amqp_topology import Topology
from poller.async_invoke.configuration import AsyncConfiguration

pytestmark = pytest.mark.broker

Make = Callable[..., Rig]


def events_of(one: Rig) -> str:
    return Topology(one.account, "us-east-1").events("fn").name


def test_an_accepted_event_is_a_persistent_message_in_its_function_s_queue(
    sharing: Make, rabbitmq: RabbitMQBroker
) -> None:
    """B.1: request id, attempts and the time of acceptance stand beside the payload, which is the body."""
    one = sharing(start=False)
    one.invoker.open()
    request_id = one.invoker.accept("fn", "$LATEST", b'{"number" : 1}')
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
    }


def test_an_event_that_goes_to_no_queue_is_published_again_once_its_queue_is_bound_anew(
    sharing: Make, rabbitmq: RabbitMQBroker
) -> None:
    """Bindings are deleted, and one that another program is making is confirmed before the broker routes by it."""
    one = sharing(start=False)
    one.invoker.open()
    before = one.invoker.accept("fn", "$LATEST", b"1")
    with rabbitmq.channel() as channel:
        queue = Topology(one.account, "us-east-1").events("fn")
        channel.queue_unbind(queue.name, queue.exchange, queue.binding_key)
    after = one.invoker.accept("fn", "$LATEST", b"2")
    assert [properties.message_id for properties, _ in rabbitmq.drain(events_of(one))] == [before, after]


def test_two_programs_work_off_one_queue_and_each_event_is_tried_once(sharing: Make, tmp_path: Path) -> None:
    done = AsyncConfiguration(on_success=in_file(tmp_path / "done"))
    one = sharing(done, name="one", reserved=2)
    two = sharing(done, name="two", account=one.account, reserved=2)
    with ThreadPoolExecutor(8) as senders:
        ids = set(senders.map(lambda number: one.accept("fn", {"number": number}), range(200)))
    eventually(lambda: len(lines(tmp_path / "done")) >= 200 and not one.waiting() and not two.waiting())
    assert len(ids) == 200
    assert sorted(record["requestContext"]["requestId"] for record in lines(tmp_path / "done")) == sorted(ids)
    attempts = [*one.attempts("fn"), *two.attempts("fn")]
    assert sorted(attempt["id"] for attempt in attempts) == sorted(ids)
    assert one.attempts("fn")
    assert two.attempts("fn")


def test_what_a_program_leaves_unfinished_is_taken_by_another_one(sharing: Make, tmp_path: Path) -> None:
    """The one that leaves gives back what it has not begun at once, and the rest when it ends."""
    done = AsyncConfiguration(on_success=in_file(tmp_path / "done"))
    one = sharing(done, name="one")
    ids = {one.accept("fn", {"wait_for": str(tmp_path / "gate"), "number": number}) for number in range(30)}
    eventually(lambda: len(one.attempts("fn")) == 10)
    one.invoker.leave()
    two = sharing(done, name="two", account=one.account)
    eventually(lambda: len(two.attempts("fn")) == 10)
    one.stop()
    (tmp_path / "gate").touch()
    eventually(lambda: len(lines(tmp_path / "done")) == 30)
    assert {record["requestContext"]["requestId"] for record in lines(tmp_path / "done")} == ids
    assert {attempt["id"] for attempt in two.attempts("fn")} == ids


def test_a_retry_may_be_another_program_s_and_counts_on(sharing: Make, tmp_path: Path) -> None:
    failing = AsyncConfiguration(maximum_retry_attempts=1, on_failure=in_file(tmp_path / "failed"))
    one = sharing(failing, name="one", time_scale=20)  # 3 s between two attempts
    request_id = one.accept("fn", {"fail": "boom"})
    eventually(lambda: one.written_down() == 1)
    one.stop()
    two = sharing(failing, name="two", account=one.account, time_scale=600)
    [record] = eventually(lambda: lines(tmp_path / "failed"))
    assert record["requestContext"]["requestId"] == request_id
    assert record["requestContext"]["approximateInvokeCount"] == 2
    assert [len(program.attempts("fn")) for program in (one, two)] == [1, 1]


def test_a_function_that_comes_while_the_program_runs_gets_its_events(sharing: Make) -> None:
    one = sharing()
    one.add("later")
    one.functions["later"].pool.start()  # type: ignore[attr-defined]
    request_id = one.accept("later", {"number": 1})
    [attempt] = eventually(lambda: one.attempts("later"))
    assert attempt["id"] == request_id


def test_events_that_were_accepted_without_the_broker_are_told(sharing: Make, caplog: pytest.LogCaptureFixture) -> None:
    before = sharing(queue="", start=False)
    before.invoker.open()
    before.accept("fn", {})
    before.stop()
    after = Rig(before.folder, queue=sharing(name="other").queue)
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
