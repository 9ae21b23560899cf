"""What RabbitMQ does to its clients: closed connections, channel errors, alarms, deleted queues.

Each of them in detail, at the source's own methods: tests/integration/test_rabbitmq_source.py.
"""

from __future__ import annotations

from urllib.parse import urlsplit

import pika
import pytest
from brokers import RabbitMQBroker
from faults.tally import Tally, either
from integration.harness.gateway import Gateway
from integration.harness.ledger import Ledger, ids_of, read_letter
from integration.harness.runs import (
    BATCH,
    PREFETCH,
    assert_queue_balanced,
    container_of,
    finish_queue,
    reading_queue,
    wait_for_invocations,
)
from waiting import eventually

pytestmark = pytest.mark.broker

UNKNOWN_TAG = pika.frame.Method(1, pika.spec.Basic.Ack(4711)).marshal()
"""An acknowledgement of what was never delivered: a channel error of AMQP (406)."""


def test_connections_that_the_broker_closes_are_made_anew_and_stale_acknowledgements_dropped(
    rabbitmq: RabbitMQBroker, ledger: Ledger, tally: Tally
) -> None:
    closings = either(3, 20)
    queue = rabbitmq.declare_queue(dead_letters=True, x_delivery_limit=1000)
    run = reading_queue(ledger, rabbitmq, queue)
    with run.service() as service:
        for _ in range(closings):
            handled, seen = len(ledger.handlings()), len(service.lines)
            ledger.publish(rabbitmq, queue, 100, poison=0.02, work=0.003)
            ledger.wait_for(handled + BATCH)  # a batch is in work, others are finished
            container_of(rabbitmq).run("rabbitmqctl", "close_all_connections", "a test asks for it")
            service.wait_for_log("^polling", since=seen)
            tally.fault("RabbitMQ closes the connection")
        assert service.metric("polling_error_count_total", "Tasks.Source") >= closings
        finish_queue(ledger, rabbitmq, queue, service)
    dead = assert_queue_balanced(ledger, rabbitmq, queue)
    tally.dead_letters += dead.total()
    assert set(dead.values()) == {1}
    assert ledger.duplicates() <= closings * PREFETCH


def test_a_channel_that_the_broker_closes_under_a_batch_is_made_anew_and_its_late_answer_dropped(
    rabbitmq: RabbitMQBroker, ledger: Ledger, tally: Tally
) -> None:
    url = urlsplit(rabbitmq.url)
    queue = rabbitmq.declare_queue(dead_letters=True)
    gate = ledger.path.parent / "gate"
    ledger.publish(rabbitmq, queue, 10, gate=str(gate))
    with Gateway(f"{url.hostname}:{url.port}") as gateway:
        gateway.open()
        behind = RabbitMQBroker(f"amqp://{url.username}:{url.password}@{gateway.address}")
        with reading_queue(ledger, behind, queue, whole=10).service() as service:
            wait_for_invocations(service, 1)
            seen = len(service.lines)
            gateway.slip_in(UNKNOWN_TAG)
            service.wait_for_log("channel.* trying again|PRECONDITION_FAILED.* trying again", since=seen)
            service.wait_for_log("^polling", since=seen)
            wait_for_invocations(service, 2)
            gate.touch()  # the old batch answers, and so does the one that came instead
            # The service does not wait for the old one any more: once the queue is empty, a stop would cut it short.
            eventually(lambda: ledger.duplicates() == 10, what="the end of both batches")
            finish_queue(ledger, rabbitmq, queue, service)
    assert_queue_balanced(ledger, rabbitmq, queue)
    assert ledger.duplicates() == 10
    tally.fault("RabbitMQ closes the channel")


ALARMS = {
    "memory": (("set_vm_memory_high_watermark", "0"), ("set_vm_memory_high_watermark", "0.6")),
    "disk": (("set_disk_free_limit", "900000GB"), ("set_disk_free_limit", "50MB")),
}
"""How an alarm is raised, and how it ends."""


@pytest.mark.parametrize("resource", either(["memory"], ["memory", "disk"]))
def test_a_blocked_broker_gets_its_dead_letters_later_and_nothing_is_acknowledged_before(
    rabbitmq: RabbitMQBroker, ledger: Ledger, tally: Tally, resource: str
) -> None:
    container = container_of(rabbitmq)
    queue, letters = rabbitmq.declare_queue(), rabbitmq.declare_queue()
    run = reading_queue(ledger, rabbitmq, queue, OnFailure=f"amqp:////{letters}")
    ledger.publish(rabbitmq, queue, 100)
    # Behind the others: while their dead letters wait, so does the queue's only lane.
    ledger.publish(rabbitmq, queue, 3, poison=1.0)
    raised, ended = ALARMS[resource]
    container.run("rabbitmqctl", *raised)
    try:
        with run.service() as service:
            ledger.wait_until_handled()
            # `connection.blocked`: the send waits, then fails, and is tried again for as long as it takes.
            service.wait_for_log("dead letters for .* cannot be sent", mapping="Tasks.Source", timeout=60)
            assert service.metric("on_failure_destination_delivery_error_count_total", "Tasks.Source") >= 1
            assert rabbitmq.depth(letters) == 0
            eventually(lambda: service.metric("held_event_count", "Tasks.Source") == 3, what="only poison held")
            service.wait_until_ready()  # it reads, and what succeeds is acknowledged
            container.run("rabbitmqctl", *ended)
            eventually(lambda: rabbitmq.depth(letters) >= 1, timeout=90, what="the dead letters")
            eventually(lambda: not service.metric("held_event_count", "Tasks.Source"), timeout=90, what="nothing held")
            assert service.stop() == 0
            assert service.problems() == []
    finally:
        container.run("rabbitmqctl", *ended)
    found = [read_letter(body) for _, body in rabbitmq.drain(letters)]
    assert set(ids_of(found)) == ledger.poison
    assert ledger.missing() == set()
    assert rabbitmq.depth(queue) == 0
    assert ledger.duplicates() == 0
    tally.dead_letters += len(found)
    tally.fault(f"RabbitMQ's {resource} alarm")


def test_a_queue_that_is_deleted_under_a_batch_and_made_anew_is_read_again(
    rabbitmq: RabbitMQBroker, ledger: Ledger, tally: Tally
) -> None:
    queue = rabbitmq.declare_queue()
    run = reading_queue(ledger, rabbitmq, queue, whole=10)
    gate = ledger.path.parent / "gate"
    ledger.publish(rabbitmq, queue, 10, gate=str(gate))
    with run.service() as service:
        wait_for_invocations(service, 1)
        rabbitmq.delete_queue(queue)
        state = service.wait_for_problem("Tasks.Source", f"queue '{queue}' in virtual host '/' does not exist")
        assert state["StateTransitionReason"] == "ESM_CONFIG_NOT_VALID"  # C.2
        assert service.metric("mapping_enabled", "Tasks.Source") == 0
        gate.touch()
        ledger.wait_for(10)  # they are gone from the broker, yet what was in work ends
        rabbitmq.declare_queue(name=queue)
        ledger.publish(rabbitmq, queue, 50)
        ledger.wait_until_handled()
        service.wait_until_ready()
        eventually(lambda: not service.metric("held_event_count", "Tasks.Source"), what="nothing held")
        assert service.stop() == 0
        assert service.problems() == []
    assert rabbitmq.depth(queue) == 0
    assert ledger.duplicates() == 0
    tally.fault("queue deleted and made again")
