"""At least once, always: whatever is killed, stopped or restarted, nothing is lost and no offset passes unfinished work.

Every run keeps a ledger of what was produced and of every handling (`harness/ledger.py`). What the tests count is in the
report's properties (`pytest --junitxml`), and printed (`pytest -rP`).
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import pytest
from brokers import KafkaBroker, RabbitMQBroker
from integration.harness import group
from integration.harness.ledger import (
    DeadLetter,
    Ledger,
    letters_in_file,
    letters_in_topic,
    wait_until_committed,
)
from integration.harness.runs import (
    BATCH,
    PARTITIONS,
    PREFETCH,
    Kill,
    assert_balanced,
    assert_queue_balanced,
    container_of,
    finish_queue,
    items_of,
    reading_queue,
    reading_topic,
    watch,
)
from secure_brokers import SCRAM
from waiting import eventually

pytestmark = [
    pytest.mark.broker,
    pytest.mark.usefixtures("refused_connections"),
]

KILLS = 4
"""Of a test; `tests/faults` has many more, at chosen moments."""

# --- kill -9 of the poller -----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("kafka_client")
def test_kill_9_at_random_moments_loses_nothing_of_a_topic(
    kafka: KafkaBroker, ledger: Ledger, tell: Callable[..., None]
) -> None:
    topic, dead = kafka.create_topic(PARTITIONS), kafka.create_topic()
    run = reading_topic(ledger, kafka, topic, dead_letters=dead)
    ledger.produce(kafka, topic, 3000, poison=0.01, work=0.001)
    chance = random.Random(3)
    kills: list[Kill] = []
    for number in range(KILLS):
        before = len(ledger.handlings())
        with run.service() as service:
            ledger.wait_for(before + chance.randrange(1, 400))
            service.kill()
        kills.append(Kill(service.pid, kafka.committed(topic, topic)))
        given_up = items_of(letters_in_topic(kafka, dead))
        assert ledger.unfinished_below(kills[-1].committed, given_up) == [], f"after kill {number}"
        if number < KILLS - 1:  # after the last one the session of the dead member has to time out by itself
            group.remove_members(kafka, topic)
    with run.service() as service:
        wait_until_committed(kafka, topic, topic)
        assert service.stop() == 0
        assert service.problems() == []
    letters = letters_in_topic(kafka, dead)
    assert_balanced(ledger, letters)
    assert ledger.out_of_order() == []  # C.4: the first handlings of a partition
    repeated = [kill.repeated(ledger) for kill in kills]
    assert ledger.duplicates() == sum(map(len, repeated))
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


@pytest.mark.secure
def test_kill_9_at_random_moments_loses_nothing_of_a_queue(
    rabbitmq: RabbitMQBroker, ledger: Ledger, tell: Callable[..., None]
) -> None:
    queue = rabbitmq.declare_queue(dead_letters=True)
    # The broker counts a killed consumer's messages as delivered (F.3): attempts enough for poison to be told by its own.
    run = reading_queue(ledger, rabbitmq, queue)
    ledger.publish(rabbitmq, queue, 1500, poison=0.01, work=0.001)
    chance = random.Random(4)
    for _ in range(KILLS):
        before = len(ledger.handlings())
        with run.service() as service:
            ledger.wait_for(before + chance.randrange(1, 200))
            service.kill()
    with run.service() as service:
        finish_queue(ledger, rabbitmq, queue, service)
    dead = assert_queue_balanced(ledger, rabbitmq, queue)
    assert set(dead.values()) == {1}  # rejecting is settling: never twice
    assert ledger.duplicates() <= KILLS * PREFETCH
    tell(produced=1500, kills=KILLS, lost=0, duplicates=ledger.duplicates(), duplicates_allowed=KILLS * PREFETCH)


@pytest.mark.secure(SCRAM)
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


@pytest.mark.usefixtures("kafka_client")
def test_kafka_dies_and_comes_back(kafka: KafkaBroker, ledger: Ledger, tell: Callable[..., None]) -> None:
    container = container_of(kafka)
    topic, dead = kafka.create_topic(PARTITIONS), kafka.create_topic()
    run = reading_topic(ledger, kafka, topic, dead_letters=dead)
    ledger.produce(kafka, topic, 2000, poison=0.01, work=0.005)
    with run.service() as service:
        ledger.wait_for(300)
        container.kill()
        try:
            state = service.wait_for_problem("Orders.Source", kafka.service_address)
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


@pytest.mark.usefixtures("kafka_client")
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
