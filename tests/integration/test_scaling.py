"""Pollers that follow the lag, and the lag itself as the broker has it (C.8, C.9)."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import pytest
from brokers import KafkaBroker, RabbitMQBroker
from integration.harness import group, stack
from integration.harness.ledger import Ledger, ends, eventually_equal, wait_until_committed
from integration.harness.runs import BATCH, PARTITIONS, Run, reading_queue, reading_topic, wait_for_invocations
from integration.harness.service import Service, handler_processes
from waiting import eventually

pytestmark = [
    pytest.mark.broker,
    pytest.mark.usefixtures("refused_connections"),
]

MAPPING = "Orders.Source"


def scaling(ledger: Ledger, broker: KafkaBroker, topic: str, *, most: int | None = 200, **function: object) -> Run:
    """A mapping that is looked at every second; on demand without `most`."""
    event = stack.kafka_event(broker, topic, BatchSize=BATCH)
    if most is None:
        del event["Properties"]["ProvisionedPollerConfig"]
    else:
        event["Properties"]["ProvisionedPollerConfig"] = {"MinimumPollers": 1, "MaximumPollers": most}
    functions = {"Orders": stack.function(ledger, event, **function)}
    return Run(ledger.path.parent, ledger, stack.template(functions, TimeScale=60))


def pollers(service: Service) -> float:
    return service.metric("provisioned_pollers", MAPPING)


@pytest.mark.parametrize("most", [200, None], ids=["provisioned", "on demand"])
@pytest.mark.usefixtures("kafka_client")
def test_a_lag_brings_as_many_pollers_as_partitions_and_its_end_one(
    kafka: KafkaBroker, ledger: Ledger, most: int | None, tell: Callable[..., None]
) -> None:  # C.8
    topic = kafka.create_topic(PARTITIONS)
    run = scaling(ledger, kafka, topic, most=most)
    with run.service() as service:
        service.wait_until_ready()
        group.wait_for_members(kafka, topic, 1)
        ledger.produce(kafka, topic, 6000, work=0.01)
        group.wait_for_members(kafka, topic, PARTITIONS)
        eventually(lambda: pollers(service) == PARTITIONS, what="a poller for each partition")
        assert ledger.missing(), "with work left"
        wait_until_committed(kafka, topic, topic)
        eventually(lambda: pollers(service) == 1, what="one poller")
        group.wait_for_members(kafka, topic, 1)
        service.wait_for_log("^1 pollers instead of ", mapping=MAPPING)
        told = [line["message"] for line in service.log("pollers instead of", mapping=MAPPING)]
        wanted = [int(text.split()[0]) for text in told]
        assert wanted[0] == 2, "a step at a time"
        assert max(wanted) == PARTITIONS
        assert wanted.index(1) == len(wanted) - 1, "and calm: it falls when the work is done"
        ledger.produce(kafka, topic, 40)
        wait_until_committed(kafka, topic, topic)
        assert service.stop() == 0
        assert service.problems() == []
    assert ledger.missing() == set()
    assert ledger.out_of_order() == []  # C.4
    # Batches take less than RevocationGrace, so each ended and was committed before its partition moved.
    assert ledger.duplicates() == 0
    tell(produced=6040, lost=0, duplicates=ledger.duplicates())


def test_more_pollers_than_the_maximum_there_never_are(kafka: KafkaBroker, ledger: Ledger) -> None:  # C.1, C.8
    topic = kafka.create_topic(PARTITIONS)
    run = scaling(ledger, kafka, topic, most=2)
    ledger.produce(kafka, topic, 3000, work=0.01)
    with run.service() as service:
        group.wait_for_members(kafka, topic, 2)
        seen = []

        def all_is_done() -> bool:
            seen.append(pollers(service))
            return not ledger.missing()

        eventually(all_is_done, timeout=60, what="the handling of all records")
        assert set(seen) == {2}, "though the lag stays for many looks"
        wait_until_committed(kafka, topic, topic)
        assert service.stop() == 0
    assert ledger.out_of_order() == []


def test_pollers_and_mappings_of_a_function_share_its_reserved_concurrency(
    kafka: KafkaBroker, ledger: Ledger
) -> None:  # A.2, C.8
    topics = [kafka.create_topic(PARTITIONS) for _ in range(2)]
    two = {"MinimumPollers": 2, "MaximumPollers": 2}
    events = [stack.kafka_event(kafka, topic, ProvisionedPollerConfig=two) for topic in topics]
    function = stack.function(ledger, events[0], ReservedConcurrentExecutions=3)
    function["Properties"]["Events"]["Other"] = events[1]
    run = Run(ledger.path.parent, ledger, stack.template({"Orders": function}))
    for topic in topics:
        ledger.produce(kafka, topic, 400, work=0.01)
    with run.service() as service:
        seen = []

        def all_is_done() -> bool:
            seen.append(len(handler_processes(stack.mark(ledger))))
            return not ledger.missing()

        eventually(all_is_done, timeout=60, what="the handling of all records")
        assert max(seen) == 3, "of eight partitions"
        for topic in topics:
            wait_until_committed(kafka, topic, topic)
        assert service.stop() == 0
        assert service.problems() == []


def lags(service: Service) -> dict[str, float]:
    """By partition, with the largest and the sum."""
    text = service.get("metrics")[1]
    found = re.findall(r'^poller_offset_lag{.*shard="([^"]+)".*} (\S+)$', text, re.MULTILINE)
    by_partition = {shard: float(lag) for shard, lag in found}
    totals = {name: service.metric(f"{name}_offset_lag", MAPPING) for name in ("max", "sum")}
    return by_partition | totals


def behind(broker: KafkaBroker, topic: str) -> dict[str, float]:
    """The same, by the broker's own word."""
    by_partition: dict[str, float] = {f"{topic}-{number}": 0 for number in range(PARTITIONS)}
    committed = broker.committed(topic, topic)
    by_partition |= {shard: end - committed.get(shard, 0) for shard, end in ends(broker, topic).items()}
    return by_partition | {"max": max(by_partition.values()), "sum": sum(by_partition.values())}


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.usefixtures("kafka_client")
def test_the_lag_is_what_the_broker_has_whatever_a_poller_reads_at_the_moment(
    kafka: KafkaBroker, ledger: Ledger, workers: str, tell: Callable[..., None]
) -> None:  # C.9
    topic = kafka.create_topic(PARTITIONS)
    gate = ledger.path.parent / "gate"
    run = reading_topic(ledger, kafka, topic, ProvisionedPollerConfig={"MinimumPollers": 2, "MaximumPollers": 2})

    waits = []

    def is_right() -> None:
        wanted, begun = behind(kafka, topic), time.monotonic()
        eventually_equal(lambda: lags(service), wanted, timeout=20, what="the lag")
        waits.append(time.monotonic() - begun)

    with run.service(POLLER_WORKERS=workers) as service:
        group.wait_for_members(kafka, topic, 2)
        is_right()  # nothing was ever produced
        ledger.produce(kafka, topic, 3, partitions=3, gate=str(gate))
        if workers == "1":
            wait_for_invocations(service, 3)
        is_right()  # in work; the fourth partition is idle
        for _ in range(3):
            ledger.produce(kafka, topic, 900, partitions=2, padding="x" * 1000)
            is_right()  # two are paused, since much more than a batch waits
        gate.touch()
        wait_until_committed(kafka, topic, topic)
        is_right()
        ledger.produce(kafka, topic, 20, partitions=1)
        wait_until_committed(kafka, topic, topic)
        is_right()
        assert service.stop() == 0
        assert service.problems() == []
    assert ledger.missing() == set()
    tell(looks=len(waits), longest_wait_for_the_lag=round(max(waits), 2))


def test_a_queue_has_as_many_consumers_as_were_asked_for(rabbitmq: RabbitMQBroker, ledger: Ledger) -> None:
    # C.8, the extension Concurrency
    queue = rabbitmq.declare_queue(dead_letters=True)
    gate = ledger.path.parent / "gate"
    run = reading_queue(ledger, rabbitmq, queue, Concurrency=3)
    with run.service() as service:
        service.wait_until_ready()
        ledger.publish(rabbitmq, queue, 400, gate=str(gate))
        eventually(lambda: len(handler_processes(stack.mark(ledger))) == 3, what="three batches in work")
        assert service.metric("provisioned_pollers", "Tasks.Source") == 3
        gate.touch()
        ledger.wait_until_handled()
        assert service.stop() == 0
        assert service.problems() == []
    assert rabbitmq.depth(queue) == 0
    assert ledger.duplicates() == 0
