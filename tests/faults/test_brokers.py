"""Brokers that hang, topics and queues that go and come back, partitions that are added: it recovers by itself.

Brokers that are killed and restarted: tests/integration/test_at_least_once.py, test_kafka_dies_and_comes_back and
test_rabbitmq_dies_and_comes_back.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from brokers import KafkaBroker, RabbitMQBroker
from faults.tally import Tally, either
from integration.harness import stack
from integration.harness.ledger import Ledger, letters_in_topic, wait_until_committed
from integration.harness.runs import (
    BATCH,
    PARTITIONS,
    PREFETCH,
    Run,
    assert_balanced,
    assert_queue_balanced,
    container_of,
    finish_queue,
    reading_topic,
)
from waiting import eventually

pytestmark = [
    pytest.mark.broker,
    pytest.mark.usefixtures("refused_connections"),
]

PAUSES = either([1, 10], [1, 10, 60])
"""Seconds."""
BRIEF, TOLD = 5, 30
"""Seconds: a shorter pause is not noticed, one of this length is told."""
MAPPINGS = ("Orders.Source", "Tasks.Source")


def test_brokers_that_hang_are_waited_for_and_nothing_is_lost(
    kafka: KafkaBroker, rabbitmq: RabbitMQBroker, ledgers: Callable[[str], Ledger], tally: Tally
) -> None:
    topic, dead = kafka.create_topic(PARTITIONS), kafka.create_topic()
    queue = rabbitmq.declare_queue(dead_letters=True)
    orders, tasks = ledgers("orders"), ledgers("tasks")
    report = {"MaximumRetryAttempts": 3, "FunctionResponseTypes": ["ReportBatchItemFailures"]}
    event = stack.kafka_event(kafka, topic, dead_letters=dead, BatchSize=BATCH, **report)
    template = stack.template(
        {"Orders": stack.function(orders, event), "Tasks": stack.function(tasks, stack.mq_event(queue))},
        extensions={"Tasks": report},
        endpoints={stack.RABBITMQ_ARN: rabbitmq.url},
        TimeScale=5,
    )
    with Run(orders.path.parent, orders, template).service() as service:
        for seconds in PAUSES:
            handled = len(orders.handlings()), len(tasks.handlings())
            orders.produce(kafka, topic, 1000, poison=0.02, work=0.005)
            tasks.publish(rabbitmq, queue, 400, poison=0.02, work=0.003)
            orders.wait_for(handled[0] + 100)
            tasks.wait_for(handled[1] + 50)
            with container_of(kafka).paused(), container_of(rabbitmq).paused():
                time.sleep(seconds)  # the fault itself
                if seconds >= TOLD:
                    service.wait_for_problem("Orders.Source", kafka.address)
                    service.wait_for_problem("Tasks.Source", "RabbitMQ at 127.0.0.1")
                    assert service.readyz()[0] == 503
                    assert service.metric("mapping_enabled", "Orders.Source") == 0
                    assert service.metric("polling_error_count_total", "Tasks.Source") >= 1
            kafka.wait_until_ready()
            wait_until_committed(kafka, topic, topic)
            service.wait_until_ready()
            for mapping in MAPPINGS:
                assert service.metric("mapping_enabled", mapping) == 1
                if seconds <= BRIEF:
                    assert service.metric("polling_error_count_total", mapping) == 0
            tally.fault(f"both brokers hang for {seconds} s", 2)
        finish_queue(tasks, rabbitmq, queue, service)
    letters = letters_in_topic(kafka, dead)
    tally.dead_letters += len(letters) + assert_queue_balanced(tasks, rabbitmq, queue).total()
    assert_balanced(orders, letters)
    assert orders.out_of_order() == []  # C.4
    assert tasks.duplicates() <= PREFETCH * len(PAUSES)


def test_a_topic_that_is_deleted_and_made_again_is_told_and_read_from_its_start(
    kafka: KafkaBroker, ledger: Ledger, tally: Tally
) -> None:
    topic = kafka.create_topic(PARTITIONS)
    run = reading_topic(ledger, kafka, topic)
    ledger.produce(kafka, topic, 100)
    with run.service() as service:
        wait_until_committed(kafka, topic, topic)
        kafka.delete_topic(topic)
        service.wait_for_problem("Orders.Source", f"topic {topic} does not exist")
        assert service.readyz()[0] == 503
        assert service.metric("mapping_enabled", "Orders.Source") == 0
        assert not kafka.has_topic(topic)
        kafka.create_topic(PARTITIONS, name=topic)
        ledger.produce(kafka, topic, 40)  # fewer than before: an old position would skip them
        ledger.wait_until_handled()
        wait_until_committed(kafka, topic, topic)
        service.wait_until_ready()
        assert service.stop() == 0
        assert service.problems() == []
    assert ledger.duplicates() == 0
    tally.fault("topic deleted and made again")


def test_partitions_that_are_added_are_taken_up_by_a_running_poller(
    kafka: KafkaBroker, ledger: Ledger, tally: Tally
) -> None:
    topic = kafka.create_topic(2)
    run = reading_topic(ledger, kafka, topic)
    with run.service() as service:
        ledger.produce(kafka, topic, 40, partitions=2)
        wait_until_committed(kafka, topic, topic)
        kafka.add_partitions(topic, 6)
        ledger.produce(kafka, topic, 120, partitions=6)
        wait_until_committed(kafka, topic, topic)
        eventually(
            lambda: service.get("metrics")[1].count('poller_offset_lag{function="Orders"') == 6, what="six shards"
        )
        assert service.stop() == 0
        assert service.problems() == []
    assert ledger.missing() == set()
    assert ledger.duplicates() == 0
    assert ledger.out_of_order() == []
    tally.fault("partitions added")
