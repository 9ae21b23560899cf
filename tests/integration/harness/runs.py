"""Runs: a topic or queue, a function on it, and how to wait for the work and balance the books afterwards."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from brokers import Container, KafkaBroker, RabbitMQBroker
from integration.harness import stack
from integration.harness.ledger import DeadLetter, Handling, Ledger, ids_of
from integration.harness.service import Service, handler_processes
from kafka import KafkaConsumer, TopicPartition
from waiting import eventually

BATCH, PARTITIONS = 20, 4
COMMITS = 0.1 + 0.4
"""Seconds: the interval between two commits of a stream, and what two busy cores may add to it."""
PREFETCH = 2 * BATCH


@dataclass
class Run:
    """One topic or queue, one function, and as many services as a test wants, one after or beside the other."""

    folder: Path
    ledger: Ledger
    template: stack.Resource

    def service(self, *, wrapped: Sequence[str] = (), **settings: str) -> Service:
        return Service(self.folder, self.template, wrapped=wrapped, **settings)


def wait_until_gone(ledger: Ledger) -> None:
    """No handler's process is left, nor any that one has started."""
    try:
        eventually(lambda: not handler_processes(stack.mark(ledger)), timeout=5, what="the end of all handlers")
    finally:
        for pid in handler_processes(stack.mark(ledger)):
            os.kill(pid, signal.SIGKILL)


def reading_topic(
    ledger: Ledger,
    broker: KafkaBroker,
    topic: str,
    *,
    handler: str = "work.report",
    on_failure: str = "",
    grouping: str = "Partition",
    **event: Any,
) -> Run:
    given = {
        "BatchSize": BATCH,
        "MaximumRetryAttempts": 1,
        "FunctionResponseTypes": ["ReportBatchItemFailures"],
        **event,
    }
    functions = {"Orders": stack.function(ledger, stack.kafka_event(broker, topic, **given), handler=handler)}
    extension = {"EventGrouping": grouping, **({"OnFailure": on_failure} if on_failure else {})}
    return Run(ledger.path.parent, ledger, stack.template(functions, extensions={"Orders": extension}, TimeScale=5))


def reading_queue(
    ledger: Ledger, broker: RabbitMQBroker, queue: str, *, whole: int | None = None, **extensions: Any
) -> Run:
    """A mapping of a queue; with `whole`, a batch waits until it has that many messages."""
    batches = {"BatchSize": BATCH} if whole is None else {"BatchSize": whole, "MaximumBatchingWindowInSeconds": 60}
    given = {"MaximumRetryAttempts": 1, "FunctionResponseTypes": ["ReportBatchItemFailures"], **extensions}
    template = stack.template(
        {"Tasks": stack.function(ledger, stack.mq_event(queue, **batches))},
        extensions={"Tasks": given},
        endpoints={stack.RABBITMQ_ARN: broker.service_url},
        TimeScale=5,
    )
    return Run(ledger.path.parent, ledger, template)


def items_of(letters: list[DeadLetter]) -> set[tuple[str, int]]:
    return {item for letter in letters for item in letter.items}


@contextmanager
def watch(broker: KafkaBroker, place: str | Path) -> Iterator[Callable[[], bool]]:
    """Gives a quick look whether a dead letter has come since, to a topic of one partition or to a file."""
    if isinstance(place, Path):
        size = place.stat().st_size if place.exists() else 0
        yield lambda: place.exists() and place.stat().st_size > size
        return
    consumer = KafkaConsumer(bootstrap_servers=broker.address, fetch_max_wait_ms=5)
    try:
        consumer.assign([TopicPartition(place, 0)])
        consumer.seek_to_end()
        consumer.position(TopicPartition(place, 0))
        yield lambda: bool(consumer.poll(timeout_ms=5))
    finally:
        consumer.close()


def assert_balanced(ledger: Ledger, letters: list[DeadLetter]) -> None:
    """Nothing lost, every poison record dead-lettered at least once, no good one."""
    dead = ids_of(letters)
    assert ledger.missing() == set()
    assert set(dead) == ledger.poison


def wait_for_invocations(service: Service, count: int) -> None:
    """Until that many have begun."""
    eventually(lambda: len(service.log("^START ")) >= count, what=f"{count} invocations")


def handled_by(service: Service, ledger: Ledger) -> int:
    return sum(one.poller == service.pid for one in ledger.handlings())


def finish_queue(ledger: Ledger, broker: RabbitMQBroker, queue: str, service: Service) -> None:
    """Wait until everything is settled, and stop."""
    ledger.wait_until_handled()
    eventually(lambda: broker.depth(f"{queue}.dead") >= len(ledger.poison), what="all poison rejected")
    eventually(lambda: not service.metric("held_event_count", "Tasks.Source"), what="nothing held")
    service.wait_until_ready()
    assert service.stop() == 0
    assert service.problems() == []


def assert_queue_balanced(ledger: Ledger, broker: RabbitMQBroker, queue: str) -> Counter[str]:
    """Nothing lost, all poison rejected, nothing waits. Gives how often each message was dead-lettered."""
    dead = Counter(properties.message_id for properties, _ in broker.drain(f"{queue}.dead"))
    assert ledger.missing() == set()
    assert set(dead) == ledger.poison
    assert broker.depth(queue) == 0
    return dead


def container_of(broker: KafkaBroker | RabbitMQBroker) -> Container:
    if broker.container is None:
        pytest.skip("the broker is not ours to stop")
    return broker.container


@dataclass(frozen=True)
class Kill:
    """One `kill -9`, and what the broker knew of the work."""

    pid: int
    committed: Mapping[str, int]

    def repeated(self, ledger: Ledger) -> list[Handling]:
        """What was handled there and is not committed: comes again."""
        return [
            one
            for one in ledger.handlings()
            if one.poller == self.pid and not one.poison and one.position >= self.committed.get(one.shard, 0)
        ]

    def long_finished(self, ledger: Ledger) -> list[Handling]:
        """Of these, what was neither in flight nor finished since the last commit: there must be none.

        By the clock of the work: a machine without time for the poller has none for its commits, either.
        """
        found = []
        ended = max((one.time for one in ledger.handlings() if one.poller == self.pid), default=0.0)
        for _, some in groupby(sorted(self.repeated(ledger), key=lambda one: one.shard), key=lambda one: one.shard):
            by_time = sorted(some, key=lambda one: one.time)
            found += [one for one in by_time[:-BATCH] if one.time < ended - COMMITS]
        return found
