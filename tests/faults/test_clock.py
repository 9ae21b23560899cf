"""A wall clock that jumps an hour, back and forth: windows, pauses and time-outs do not notice.

The rules one by one: tests/unit/test_clock_jumps.py.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from brokers import KafkaBroker, RabbitMQBroker
from faults.tally import Tally, either
from integration.harness import stack
from integration.harness.ledger import Ledger, letters_in_topic, wait_until_committed
from integration.harness.runs import BATCH, PARTITIONS, Run, assert_balanced, assert_queue_balanced, finish_queue
from integration.harness.service import Service
from waiting import eventually

pytestmark = pytest.mark.broker

JUMPS, HOUR = either(6, 40), 3600


@contextmanager
def with_clock(run: Run, file: Path) -> Iterator[Service]:
    """The service with `tests/faults/clock` as its clock, moved by what is in the file."""
    set_clock(file, 0)
    variables = {"PYTHONPATH": str(Path(__file__).with_name("clock")), "CLOCK_OFFSET_FILE": str(file)}
    with run.service(**variables) as service:
        yield service


def set_clock(file: Path, offset: int) -> None:
    """At once, as a clock is set: no reader sees an empty file."""
    new = file.with_suffix(".new")
    new.write_text(str(offset))
    new.rename(file)


def test_a_wall_clock_that_jumps_an_hour_holds_nothing_up_and_loses_nothing(
    kafka: KafkaBroker,
    rabbitmq: RabbitMQBroker,
    ledgers: Callable[[str], Ledger],
    tmp_path: Path,
    tally: Tally,
) -> None:
    topic, dead = kafka.create_topic(PARTITIONS), kafka.create_topic()
    queue = rabbitmq.declare_queue(dead_letters=True)
    orders, tasks = ledgers("orders"), ledgers("tasks")
    report = {"MaximumRetryAttempts": 2, "FunctionResponseTypes": ["ReportBatchItemFailures"]}
    window = {"BatchSize": BATCH, "MaximumBatchingWindowInSeconds": 1}
    event = stack.kafka_event(kafka, topic, dead_letters=dead, **window, **report)
    template = stack.template(
        {"Orders": stack.function(orders, event), "Tasks": stack.function(tasks, stack.mq_event(queue, **window))},
        extensions={"Tasks": report},
        endpoints={stack.RABBITMQ_ARN: rabbitmq.url},
    )
    clock = tmp_path / "clock"
    with with_clock(Run(tmp_path, orders, template), clock) as service:
        for number in range(JUMPS):
            orders.produce(kafka, topic, 50, poison=0.05, work=0.005)
            tasks.publish(rabbitmq, queue, 10, poison=0.05, work=0.005)
            set_clock(clock, HOUR * (1, 0, -1)[number % 3])
            tally.fault("the wall clock jumps an hour")
            time.sleep(0.7)  # the jump falls into windows, pauses and handlers
        # A wait that is measured with the wall clock would last an hour from here.
        wait_until_committed(kafka, topic, topic)
        samples = re.findall(
            r"^poller_(?:iterator_age|batching_window_wait)_seconds_sum\S* (\S+)$",
            service.get("metrics")[1],
            re.MULTILINE,
        )
        assert len(samples) == 4
        assert all(float(sample) >= 0 for sample in samples)
        waited, batches = (
            service.metric(f"batching_window_wait_seconds_{what}", "Orders.Source") for what in ("sum", "count")
        )
        assert waited < batches * 60
        finish_queue(tasks, rabbitmq, queue, service)
    letters = letters_in_topic(kafka, dead)
    assert_balanced(orders, letters)
    assert orders.out_of_order() == []
    assert orders.duplicates() == tasks.duplicates() == 0
    tally.dead_letters += len(letters) + assert_queue_balanced(tasks, rabbitmq, queue).total()
    eventually(lambda: not service.is_running(), what="its end")
