"""Pollers that join, leave and stop: what is in flight ends where it began, and the rest goes on elsewhere."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest
from brokers import KafkaBroker, RabbitMQBroker
from integration.harness import group, stack
from integration.harness.ledger import Ledger, wait_until_committed
from integration.harness.runs import (
    BATCH,
    PARTITIONS,
    Run,
    handled_by,
    reading_topic,
    wait_for_invocations,
    wait_until_gone,
)
from integration.harness.service import handler_processes
from waiting import eventually

pytestmark = [
    pytest.mark.broker,
    pytest.mark.usefixtures("refused_connections"),
]

# --- two pollers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "clients",
    [
        ("kafka-python", "kafka-python"),
        ("confluent-kafka", "confluent-kafka"),
        ("kafka-python", "confluent-kafka"),  # as while an installation is changed over, copy by copy
        ("confluent-kafka", "kafka-python"),
    ],
    ids=" then ".join,
)
def test_a_second_poller_joins_and_the_first_one_leaves(
    kafka: KafkaBroker, ledger: Ledger, clients: tuple[str, str], tell: Callable[..., None]
) -> None:
    topic = kafka.create_topic(PARTITIONS)
    run = reading_topic(ledger, kafka, topic)
    ledger.produce(kafka, topic, 1000, work=0.008)
    with run.service(POLLER_KAFKA_CLIENT=clients[0]) as first:
        ledger.wait_for(200)
        with run.service(POLLER_KAFKA_CLIENT=clients[1]) as second:
            group.wait_for_members(kafka, topic, 2)
            ledger.produce(kafka, topic, 1000, work=0.008)  # enough for both, however long the joining took
            eventually(lambda: handled_by(second, ledger) >= 100, what="work of the second poller")
            assert first.stop() == 0
            assert len(group.members(kafka, topic)) == 1  # it left: nobody has to wait for its session to end
            before = handled_by(second, ledger)
            ledger.produce(kafka, topic, 500, work=0.008)
            wait_until_committed(kafka, topic, topic)
            assert handled_by(second, ledger) >= before + 500, "it reads the partitions of the first one, too"
            assert second.stop() == 0
            assert first.problems() + second.problems() == []
    assert ledger.missing() == set()
    assert ledger.out_of_order() == []  # C.4
    # Batches take less than RevocationGrace, so each ended and was committed before its partition moved.
    assert ledger.duplicates() == 0
    tell(produced=2500, lost=0, duplicates=0, by_first=handled_by(first, ledger), by_second=handled_by(second, ledger))


@pytest.mark.usefixtures("kafka_client")
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


@pytest.mark.usefixtures("kafka_client")
def test_partitions_that_move_out_of_events_of_several_are_neither_lost_nor_repeated(
    kafka: KafkaBroker, ledger: Ledger
) -> None:
    # EventGrouping: Poller
    topic = kafka.create_topic(PARTITIONS)
    run = reading_topic(ledger, kafka, topic, grouping="Poller")
    ledger.produce(kafka, topic, 1200, work=0.008)
    with run.service() as first:
        ledger.wait_for(200)
        with run.service() as second:
            group.wait_for_members(kafka, topic, 2)
            ledger.produce(kafka, topic, 400, work=0.008)  # the join may have taken longer than the work before it
            eventually(lambda: handled_by(second, ledger) >= 50, what="work of the second poller")
            assert first.stop() == 0
            wait_until_committed(kafka, topic, topic)
            assert (second.stop(), second.problems()) == (0, [])
    assert ledger.missing() == set()
    assert ledger.out_of_order() == []  # C.4
    # Batches take less than RevocationGrace, so each ended before some of its partitions moved.
    assert ledger.duplicates() == 0
    shards: dict[str, set[str]] = {}
    for one in ledger.handlings():
        shards.setdefault(one.request, set()).add(one.shard)
    assert max(map(len, shards.values())) > 1


# --- graceful stop -------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("kafka_client")
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
