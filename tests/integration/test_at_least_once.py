"""At least once, always: whatever is killed, stopped or restarted, nothing is lost and no offset passes unfinished work.

Every run keeps a ledger of what was produced and of every handling (`harness/ledger.py`). What the tests count is in the
report's properties (`pytest --junitxml`), and printed (`pytest -rP`).
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from brokers import Container, KafkaBroker, RabbitMQBroker, eventually
from integration.harness import group, stack
from integration.harness.ledger import (
    DeadLetter,
    Handling,
    Ledger,
    ids_of,
    letters_in_file,
    letters_in_topic,
    wait_until_committed,
)
from integration.harness.service import Service, handler_processes
from kafka import KafkaConsumer, TopicPartition

pytestmark = [
    pytest.mark.broker,
    # kafka-python forgets to close a socket with something left to send; the test's own clients do that at times.
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
    pytest.mark.usefixtures("refused_connections"),
]

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

    def service(self, **settings: str) -> Service:
        return Service(self.folder, self.template, **settings)


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> Callable[..., None]:
    def record(**counts: object) -> None:
        for name, count in counts.items():
            record_property(name, count)
        print(", ".join(f"{name}: {count}" for name, count in counts.items()))

    return record


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """The books; when the test is over no handler may be left behind."""
    kept = Ledger(tmp_path)
    yield kept
    wait_until_gone(kept)


def wait_until_gone(ledger: Ledger) -> None:
    """No handler's process is left, nor any that one has started."""
    try:
        eventually(lambda: not handler_processes(stack.mark(ledger)), timeout=5, what="the end of all handlers")
    finally:
        for pid in handler_processes(stack.mark(ledger)):
            os.kill(pid, signal.SIGKILL)


def reading_topic(
    ledger: Ledger, broker: KafkaBroker, topic: str, *, handler: str = "work.report", on_failure: str = "", **event: Any
) -> Run:
    given = {
        "BatchSize": BATCH,
        "MaximumRetryAttempts": 1,
        "FunctionResponseTypes": ["ReportBatchItemFailures"],
        **event,
    }
    functions = {"Orders": stack.function(ledger, stack.kafka_event(broker, topic, **given), handler=handler)}
    extensions = {"Orders": {"OnFailure": on_failure}} if on_failure else {}
    return Run(ledger.path.parent, ledger, stack.template(functions, extensions=extensions, TimeScale=5))


def reading_queue(ledger: Ledger, broker: RabbitMQBroker, queue: str, **extensions: Any) -> Run:
    given = {"MaximumRetryAttempts": 1, "FunctionResponseTypes": ["ReportBatchItemFailures"], **extensions}
    template = stack.template(
        {"Tasks": stack.function(ledger, stack.mq_event(queue, BatchSize=BATCH))},
        extensions={"Tasks": given},
        endpoints={stack.RABBITMQ_ARN: broker.url},
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
    time: float
    committed: Mapping[str, int]

    def repeated(self, ledger: Ledger) -> list[Handling]:
        """What was handled there and is not committed: comes again."""
        return [
            one
            for one in ledger.handlings()
            if one.poller == self.pid and not one.poison and one.position >= self.committed.get(one.shard, 0)
        ]

    def long_finished(self, ledger: Ledger) -> list[Handling]:
        """Of these, what was neither in flight nor finished since the last commit: there must be none."""
        found = []
        for _, some in groupby(sorted(self.repeated(ledger), key=lambda one: one.shard), key=lambda one: one.shard):
            by_time = sorted(some, key=lambda one: one.time)
            found += [one for one in by_time[:-BATCH] if one.time < self.time - COMMITS]
        return found


# --- kill -9 of the poller -----------------------------------------------------------------------------------------


def test_kill_9_at_random_moments_loses_nothing_of_a_topic(
    kafka: KafkaBroker, ledger: Ledger, tell: Callable[..., None]
) -> None:
    topic, dead = kafka.create_topic(PARTITIONS), kafka.create_topic()
    run = reading_topic(ledger, kafka, topic, dead_letters=dead)
    ledger.produce(kafka, topic, 3000, poison=0.01, work=0.001)
    chance = random.Random(3)
    kills: list[Kill] = []
    for number in range(6):
        before = len(ledger.handlings())
        with run.service() as service:
            ledger.wait_for(before + chance.randrange(1, 400))
            service.kill()
        kills.append(Kill(service.pid, time.monotonic(), kafka.committed(topic, topic)))
        given_up = items_of(letters_in_topic(kafka, dead))
        assert ledger.unfinished_below(kills[-1].committed, given_up) == [], f"after kill {number}"
        if number < 5:  # after the last one the session of the dead member has to time out by itself
            group.remove_members(kafka, topic)
    with run.service() as service:
        wait_until_committed(kafka, topic, topic)
        assert service.stop() == 0
        assert service.problems() == []
    letters = letters_in_topic(kafka, dead)
    assert_balanced(ledger, letters)
    assert ledger.out_of_order() == []  # C.4: the first handlings of a partition
    repeated = [kill.repeated(ledger) for kill in kills]
    assert ledger.duplicates() <= sum(map(len, repeated))
    assert [kill.long_finished(ledger) for kill in kills] == [[]] * len(kills)
    tell(
        produced=3000,
        kills=len(kills),
        lost=0,
        duplicates=ledger.duplicates(),
        most_at_one_kill=max(map(len, repeated)),
        poison=len(ledger.poison),
        dead_letters=len(letters),
    )


def test_kill_9_at_random_moments_loses_nothing_of_a_queue(
    rabbitmq: RabbitMQBroker, ledger: Ledger, tell: Callable[..., None]
) -> None:
    queue = rabbitmq.declare_queue(dead_letters=True)
    # The broker counts a killed consumer's messages as delivered (F.3): attempts enough for poison to be told by its own.
    run = reading_queue(ledger, rabbitmq, queue)
    ledger.publish(rabbitmq, queue, 1500, poison=0.01, work=0.001)
    chance = random.Random(4)
    kills = 6
    for _ in range(kills):
        before = len(ledger.handlings())
        with run.service() as service:
            ledger.wait_for(before + chance.randrange(1, 200))
            service.kill()
    with run.service() as service:
        finish_queue(ledger, rabbitmq, queue, service)
    dead = assert_queue_balanced(ledger, rabbitmq, queue)
    assert set(dead.values()) == {1}  # rejecting is settling: never twice
    assert ledger.duplicates() <= kills * PREFETCH
    tell(produced=1500, kills=kills, lost=0, duplicates=ledger.duplicates(), duplicates_allowed=kills * PREFETCH)


@pytest.mark.parametrize("target", ["topic", "file"])
def test_kill_9_between_a_dead_letter_and_its_commit_repeats_the_letter(
    kafka: KafkaBroker, ledger: Ledger, target: str, tell: Callable[..., None]
) -> None:
    topic = kafka.create_topic()
    file = ledger.path.parent / "dead.jsonl"
    dead = kafka.create_topic() if target == "topic" else ""
    run = reading_topic(
        ledger, kafka, topic, dead_letters=dead, on_failure="" if dead else f"file:{file}", MaximumRetryAttempts=0
    )
    # One poison record in the middle of each batch of good ones.
    for _ in range(8):
        ledger.produce(kafka, topic, BATCH - 1, partitions=1)
        ledger.produce(kafka, topic, 1, partitions=1, poison=1.0)

    def letters() -> list[DeadLetter]:
        return letters_in_topic(kafka, dead) if dead else letters_in_file(file)

    between = at_risk = 0
    for number in range(8):
        with run.service() as service, watch(kafka, dead or file) as arrived:
            eventually(arrived, what=f"letter {number + 1}")
            service.kill()
        position = kafka.committed(topic, topic).get(f"{topic}-0", 0)
        given_up = items_of(letters())
        assert ledger.unfinished_below({f"{topic}-0": position}, given_up) == []
        uncommitted = sum(offset >= position for _, offset in given_up)
        between, at_risk = between + (uncommitted > 0), at_risk + uncommitted
        if between:
            break
        group.remove_members(kafka, topic)
    assert between, "no kill came between a dead letter and its commit"
    group.remove_members(kafka, topic)
    with run.service() as service:
        wait_until_committed(kafka, topic, topic)
        assert service.stop() == 0
    found = letters()
    assert_balanced(ledger, found)
    repeated = len(found) - len(ledger.poison)
    assert 1 <= repeated <= at_risk
    tell(target=target, kills_between=between, lost=0, letters_repeated=repeated, duplicates=ledger.duplicates())


# --- brokers that go away ------------------------------------------------------------------------------------------


def test_kafka_dies_and_comes_back(kafka: KafkaBroker, ledger: Ledger, tell: Callable[..., None]) -> None:
    container = container_of(kafka)
    topic, dead = kafka.create_topic(PARTITIONS), kafka.create_topic()
    run = reading_topic(ledger, kafka, topic, dead_letters=dead)
    ledger.produce(kafka, topic, 2000, poison=0.01, work=0.005)
    with run.service() as service:
        ledger.wait_for(300)
        container.kill()
        try:
            state = service.wait_for_problem("Orders.Source", kafka.address)
            assert service.readyz()[0] == 503
            assert state["State"] == "Enabled"
        finally:
            container.start()
            kafka.wait_until_ready()
        service.wait_until_ready()
        wait_until_committed(kafka, topic, topic)
        assert service.stop() == 0
        assert service.problems() == []
    assert_balanced(ledger, letters_in_topic(kafka, dead))
    assert ledger.out_of_order() == []
    tell(produced=2000, lost=0, duplicates=ledger.duplicates())


def test_rabbitmq_dies_and_comes_back(rabbitmq: RabbitMQBroker, ledger: Ledger, tell: Callable[..., None]) -> None:
    container = container_of(rabbitmq)
    # F.3: else the broker itself republishes without confirms, and its death may take a dead letter with it.
    queue = rabbitmq.declare_queue(
        dead_letters=True, x_dead_letter_strategy="at-least-once", x_overflow="reject-publish"
    )
    run = reading_queue(ledger, rabbitmq, queue)
    ledger.publish(rabbitmq, queue, 1000, poison=0.01, work=0.003)
    with run.service() as service:
        ledger.wait_for(100)
        container.kill()
        try:
            service.wait_for_problem("Tasks.Source", "RabbitMQ at 127.0.0.1")
            assert service.readyz()[0] == 503
        finally:
            container.start()
            rabbitmq.wait_until_ready()
        service.wait_until_ready()
        finish_queue(ledger, rabbitmq, queue, service)
    assert_queue_balanced(ledger, rabbitmq, queue)
    assert ledger.duplicates() <= PREFETCH
    tell(produced=1000, lost=0, duplicates=ledger.duplicates())


def test_kafka_hangs_for_three_seconds(kafka: KafkaBroker, ledger: Ledger, tell: Callable[..., None]) -> None:
    container = container_of(kafka)
    topic, dead = kafka.create_topic(PARTITIONS), kafka.create_topic()
    run = reading_topic(ledger, kafka, topic, dead_letters=dead)
    ledger.produce(kafka, topic, 1000, poison=0.01, work=0.005)
    with run.service() as service:
        ledger.wait_for(200)
        with container.paused():
            time.sleep(3)  # the fault itself
        wait_until_committed(kafka, topic, topic)
        service.wait_until_ready()
        assert service.stop() == 0
        assert service.problems() == []
    assert_balanced(ledger, letters_in_topic(kafka, dead))
    assert ledger.out_of_order() == []
    tell(produced=1000, lost=0, duplicates=ledger.duplicates())


def test_rabbitmq_hangs_for_three_seconds(rabbitmq: RabbitMQBroker, ledger: Ledger, tell: Callable[..., None]) -> None:
    container = container_of(rabbitmq)
    queue = rabbitmq.declare_queue(dead_letters=True)
    run = reading_queue(ledger, rabbitmq, queue)
    ledger.publish(rabbitmq, queue, 600, poison=0.01, work=0.003)
    with run.service() as service:
        ledger.wait_for(100)
        with container.paused():
            time.sleep(3)  # the fault itself
        finish_queue(ledger, rabbitmq, queue, service)
    assert_queue_balanced(ledger, rabbitmq, queue)
    assert ledger.duplicates() <= PREFETCH
    tell(produced=600, lost=0, duplicates=ledger.duplicates())


# --- two pollers ---------------------------------------------------------------------------------------------------


def test_a_second_poller_joins_and_the_first_one_leaves(
    kafka: KafkaBroker, ledger: Ledger, tell: Callable[..., None]
) -> None:
    topic = kafka.create_topic(PARTITIONS)
    run = reading_topic(ledger, kafka, topic)
    ledger.produce(kafka, topic, 4000, work=0.008)
    with run.service() as first:
        ledger.wait_for(200)
        with run.service() as second:
            group.wait_for_members(kafka, topic, 2)
            both = len(ledger.handlings())
            eventually(lambda: handled_by(second, ledger) >= 100, what="work of the second poller")
            assert first.stop() == 0
            assert len(group.members(kafka, topic)) == 1  # it left: nobody has to wait for its session to end
            left = len(ledger.handlings())
            wait_until_committed(kafka, topic, topic)
            assert second.stop() == 0
            assert first.problems() + second.problems() == []
    assert 200 < both < left < 4000
    assert ledger.missing() == set()
    assert ledger.out_of_order() == []  # C.4
    # Batches take less than RevocationGrace, so each ended and was committed before its partition moved.
    assert ledger.duplicates() == 0
    tell(produced=4000, lost=0, duplicates=0, by_first=handled_by(first, ledger), by_second=handled_by(second, ledger))


def test_a_batch_that_outlives_the_revocation_grace_is_handled_again_by_the_new_owner(
    kafka: KafkaBroker, ledger: Ledger
) -> None:
    topic = kafka.create_topic(2)
    run = reading_topic(ledger, kafka, topic)
    gate = ledger.path.parent / "gate"
    ledger.produce(kafka, topic, 2, partitions=2, gate=str(gate))
    ledger.produce(kafka, topic, 20, partitions=2)
    with run.service() as first:
        wait_for_invocations(first, 2)
        with run.service() as second:
            group.wait_for_members(kafka, topic, 2)
            wait_for_invocations(second, 1)
            gate.touch()
            wait_until_committed(kafka, topic, topic)
            assert (first.stop(), second.stop()) == (0, 0)
    assert ledger.missing() == set()
    moved = {one.shard for one in ledger.handlings() if one.poller == second.pid}
    assert len(moved) == 1
    repeated = [name for name, count in ledger.attempts().items() if count > 1]
    assert 1 <= len(repeated) <= BATCH
    assert ledger.out_of_order() == []


# --- graceful stop -------------------------------------------------------------------------------------------------


def test_sigterm_finishes_and_commits_what_is_in_flight_and_leaves_the_rest(
    kafka: KafkaBroker, rabbitmq: RabbitMQBroker, ledger: Ledger
) -> None:
    topic, queue = kafka.create_topic(PARTITIONS), rabbitmq.declare_queue()
    gate = ledger.path.parent / "gate"
    ledger.produce(kafka, topic, PARTITIONS, gate=str(gate))
    ledger.produce(kafka, topic, 200)
    ledger.publish(rabbitmq, queue, 1, gate=str(gate))
    ledger.publish(rabbitmq, queue, 100)
    functions = {
        "Orders": stack.function(ledger, stack.kafka_event(kafka, topic)),
        "Tasks": stack.function(ledger, stack.mq_event(queue)),
    }
    run = Run(ledger.path.parent, ledger, stack.template(functions, endpoints={stack.RABBITMQ_ARN: rabbitmq.url}))
    with run.service() as service:
        wait_for_invocations(service, PARTITIONS + 1)
        service.signal(signal.SIGTERM)
        service.wait_for_log("^stopping")
        assert set(group.members(kafka, topic).values()) == {PARTITIONS}  # the connection is kept alive meanwhile
        gate.touch()
        assert service.wait(timeout=10) == 0
    assert group.members(kafka, topic) == {}
    assert handler_processes(stack.mark(ledger)) == []
    handled = len(ledger.handlings())
    assert PARTITIONS + 1 <= handled <= (PARTITIONS + 1) * BATCH
    committed = kafka.committed(topic, topic)
    assert sum(committed.values()) == sum(one.position is not None for one in ledger.handlings())
    assert rabbitmq.depth(queue) == 101 - sum(one.position is None for one in ledger.handlings())
    assert service.log("^stopped$")
    assert service.problems() == []
    with run.service() as service:
        ledger.wait_until_handled()
        wait_until_committed(kafka, topic, topic)
        assert service.stop() == 0
    assert ledger.duplicates() == 0
    assert rabbitmq.depth(queue) == 0


def test_a_handler_that_outlives_the_shutdown_grace_is_killed_and_its_batch_comes_again(
    kafka: KafkaBroker, ledger: Ledger
) -> None:
    topic = kafka.create_topic(1)
    gate = ledger.path.parent / "gate"
    run = reading_topic(ledger, kafka, topic)
    ledger.produce(kafka, topic, 10, partitions=1, gate=str(gate))
    with run.service(POLLER_SHUTDOWN_GRACE="0.5") as service:
        wait_for_invocations(service, 1)
        assert service.stop(timeout=10) == 0
        assert service.log("did not end within the shutdown grace", mapping="Orders.Source")
        assert service.problems() == []
    assert handler_processes(stack.mark(ledger)) == []
    assert group.members(kafka, topic) == {}
    assert kafka.committed(topic, topic) == {}
    gate.touch()
    with run.service() as service:
        wait_until_committed(kafka, topic, topic)
        assert service.stop() == 0
    assert ledger.missing() == set()


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_it_at_once(kafka: KafkaBroker, ledger: Ledger, second: signal.Signals) -> None:
    topic = kafka.create_topic(1)
    run = reading_topic(ledger, kafka, topic)
    ledger.produce(kafka, topic, 1, partitions=1, gate=str(ledger.path.parent / "never"))
    with run.service() as service:
        wait_for_invocations(service, 1)
        service.signal(signal.SIGTERM)
        service.wait_for_log("^stopping")
        service.signal(second)
        assert service.wait(timeout=2) == 130
        assert service.log(f"second {second.name}: stopping at once")
    assert kafka.committed(topic, topic) == {}


def test_kill_9_takes_handlers_with_it(kafka: KafkaBroker, ledger: Ledger) -> None:
    topic = kafka.create_topic(PARTITIONS)
    run = reading_topic(ledger, kafka, topic)
    ledger.produce(kafka, topic, PARTITIONS, gate=str(ledger.path.parent / "never"))
    with run.service() as service:
        wait_for_invocations(service, PARTITIONS)
        assert len(handler_processes(stack.mark(ledger))) == PARTITIONS
        service.kill()
    wait_until_gone(ledger)
