"""Several workers of one service: they share the work, one's end is no other's, and all end together."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from brokers import KafkaBroker, RabbitMQBroker
from integration.harness import group, stack
from integration.harness.ledger import Ledger, wait_until_committed
from integration.harness.runs import (
    BATCH,
    PARTITIONS,
    Run,
    finish_queue,
    reading_queue,
    reading_topic,
    wait_until_gone,
)
from integration.harness.service import Service, handler_processes
from waiting import eventually

pytestmark = [
    pytest.mark.broker,
    pytest.mark.usefixtures("refused_connections"),
]

MAPPING = "Orders.Source"


def workers(service: Service) -> dict[int, Mapping[str, Any]]:
    """By number, as /healthz shows them."""
    return {one["worker"]: one for one in json.loads(service.get("healthz")[1])["workers"]}


def two_at_work(service: Service, broker: KafkaBroker, topic: str) -> dict[int, int]:
    """Process ids by number, once both have partitions."""
    group.wait_for_members(broker, topic, 2)
    return {number: one["pid"] for number, one in workers(service).items()}


def polled(service: Service) -> float:
    return service.metric("polled_event_count_total", MAPPING)


def on_demand(ledger: Ledger, broker: KafkaBroker, topic: str) -> Run:
    """A mapping without ProvisionedPollerConfig: it has one poller on each worker."""
    event = stack.kafka_event(broker, topic)
    del event["Properties"]["ProvisionedPollerConfig"]
    return Run(ledger.path.parent, ledger, stack.template({"Orders": stack.function(ledger, event)}, TimeScale=5))


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_two_workers_share_the_partitions_and_answer_as_one(
    kafka: KafkaBroker, ledger: Ledger, tell: Callable[..., None]
) -> None:  # C.8
    topic = kafka.create_topic(PARTITIONS)
    run = on_demand(ledger, kafka, topic)
    with run.service(POLLER_WORKERS="2") as service:
        service.wait_until_ready()
        pids = two_at_work(service, kafka, topic)
        ledger.produce(kafka, topic, 2000, work=0.001)
        wait_until_committed(kafka, topic, topic)
        assert ledger.missing() == set()
        assert {one.poller for one in ledger.handlings()} == set(pids.values())
        assert set(group.members(kafka, topic).values()) == {PARTITIONS // 2}
        assert polled(service) == 2000 + ledger.duplicates()
        assert service.metric("committed_event_count_total", MAPPING) == 2000
        assert service.metric("provisioned_pollers", MAPPING) == 2
        eventually(lambda: service.metric("held_event_count", MAPPING) == 0, what="nothing held on both")
        shards = re.findall(r'^poller_offset_lag{.*shard="([^"]+)"', service.get("metrics")[1], re.MULTILINE)
        assert sorted(shards) == [f"{topic}-{number}" for number in range(PARTITIONS)]
        assert {line.get("worker") for line in service.log("^polling$")} == {1, 2}
        assert service.stop() == 0
        assert service.problems() == []
    assert group.members(kafka, topic) == {}
    tell(produced=2000, lost=0, duplicates=ledger.duplicates())


def test_a_worker_that_is_killed_is_started_again_and_nothing_is_lost_or_counted_back(
    kafka: KafkaBroker, ledger: Ledger, tell: Callable[..., None]
) -> None:
    topic = kafka.create_topic(PARTITIONS)
    run = on_demand(ledger, kafka, topic)
    ledger.produce(kafka, topic, 3000, work=0.004)
    with run.service(POLLER_WORKERS="2") as service:
        service.wait_until_ready()
        pids = two_at_work(service, kafka, topic)
        ledger.wait_for(200)
        seen = [polled(service)]
        assert seen[0] > 0
        os.kill(pids[2], signal.SIGKILL)
        service.wait_for_log(r"^ended: signal SIGKILL; starting again in 0\.\d s$")
        seen.append(polled(service))
        service.wait_for_problem(MAPPING, "^worker 2 has ended .signal SIGKILL. and is started again$")
        assert service.get("healthz")[0] == 200, "the other worker is well"
        eventually(lambda: workers(service)[2]["starts"] == 2, what="the second start of worker 2")
        seen.append(polled(service))
        service.wait_until_ready()
        seen.append(polled(service))
        now = workers(service)
        assert (now[1]["pid"], now[1]["starts"]) == (pids[1], 1)
        assert now[2]["pid"] not in {None, pids[2]}
        wait_until_committed(kafka, topic, topic, timeout=90)
        assert ledger.missing() == set()
        seen.append(polled(service))
        assert seen == sorted(seen)
        # What was handled twice may have been counted twice; of the killed worker only what came after the look is not.
        counted = service.metric("committed_event_count_total", MAPPING)
        assert 3000 - 500 <= counted <= 3000 + ledger.duplicates()
        assert service.stop() == 0
        assert [problem for problem in service.problems() if "ended: signal SIGKILL" not in problem] == []
    tell(produced=3000, lost=0, duplicates=ledger.duplicates(), killed=1)


def test_kill_9_of_the_supervisor_leaves_no_process(kafka: KafkaBroker, ledger: Ledger) -> None:
    topic = kafka.create_topic(PARTITIONS)
    run = on_demand(ledger, kafka, topic)
    gate = ledger.path.parent / "gate"
    ledger.produce(kafka, topic, PARTITIONS, gate=str(gate))
    with run.service(POLLER_WORKERS="2") as service:
        service.wait_until_ready()
        pids = two_at_work(service, kafka, topic)
        eventually(lambda: handler_processes(stack.mark(ledger)), what="a handler at work")
        service.kill()
        eventually(lambda: not any(map(is_running, pids.values())), timeout=5, what="the end of all workers")
        wait_until_gone(ledger)


def test_sigterm_ends_all_workers_with_what_is_in_work_committed(kafka: KafkaBroker, ledger: Ledger) -> None:
    topic = kafka.create_topic(PARTITIONS)
    run = on_demand(ledger, kafka, topic)
    gate = ledger.path.parent / "gate"
    with run.service(POLLER_WORKERS="2") as service:
        service.wait_until_ready()
        pids = two_at_work(service, kafka, topic)
        ledger.produce(kafka, topic, PARTITIONS, gate=str(gate))
        eventually(lambda: len(handler_processes(stack.mark(ledger))) == PARTITIONS, what="a handler per partition")
        service.signal(signal.SIGTERM)
        service.wait_for_log("^stopping")
        assert len(group.members(kafka, topic)) == 2  # both keep their connections meanwhile
        gate.touch()
        assert service.wait(timeout=20) == 0
        assert service.problems() == []
    assert not any(map(is_running, pids.values()))
    assert group.members(kafka, topic) == {}
    assert kafka.committed(topic, topic) == {f"{topic}-{number}": 1 for number in range(PARTITIONS)}
    assert ledger.duplicates() == 0


def test_provisioned_pollers_and_reserved_concurrency_hold_over_all_workers(
    kafka: KafkaBroker, ledger: Ledger
) -> None:  # A.2, C.8
    topic = kafka.create_topic(PARTITIONS)
    event = stack.kafka_event(kafka, topic, ProvisionedPollerConfig={"MinimumPollers": 3, "MaximumPollers": 3})
    functions = {"Orders": stack.function(ledger, event, ReservedConcurrentExecutions=1)}
    run = Run(ledger.path.parent, ledger, stack.template(functions))
    ledger.produce(kafka, topic, 400)
    with run.service(POLLER_WORKERS="2") as service:
        service.wait_for_log("^only 1 of 2 workers are started", level="WARNING")
        group.wait_for_members(kafka, topic, 3)
        wait_until_committed(kafka, topic, topic)
        assert service.metric("provisioned_pollers", MAPPING) == 3
        assert len({one.poller for one in ledger.handlings()}) == 1
        assert len(handler_processes(stack.mark(ledger))) == 1
        assert service.stop() == 0
        assert service.problems() == []


def test_a_queue_is_worked_off_by_one_worker_one_batch_at_a_time(
    rabbitmq: RabbitMQBroker, ledger: Ledger
) -> None:  # C.8
    queue = rabbitmq.declare_queue(dead_letters=True)
    run = reading_queue(ledger, rabbitmq, queue)
    ledger.publish(rabbitmq, queue, 200)
    with run.service(POLLER_WORKERS="2") as service:
        finish_queue(ledger, rabbitmq, queue, service)
    assert len({one.poller for one in ledger.handlings()}) == 1
    assert len(service.log("^INIT_START")) == 1


def test_a_second_signal_ends_everything_at_once(kafka: KafkaBroker, ledger: Ledger) -> None:
    topic = kafka.create_topic(PARTITIONS)
    run = reading_topic(ledger, kafka, topic)
    ledger.produce(kafka, topic, BATCH, gate=str(ledger.path.parent / "never"))
    with run.service(POLLER_WORKERS="2") as service:
        eventually(lambda: handler_processes(stack.mark(ledger)), what="a handler at work")
        service.signal(signal.SIGTERM)
        service.wait_for_log("^stopping")
        service.signal(signal.SIGTERM)
        assert service.wait(timeout=10) == 130
        wait_until_gone(ledger)
