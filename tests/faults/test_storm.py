"""A rebalance storm: pollers join and leave all the time, with slow handlers, and the work goes on.

A batch that outlives the revocation grace: tests/integration/test_joining_and_stopping.py,
test_a_batch_that_outlives_the_revocation_grace_is_handled_again_by_the_new_owner.
"""

from __future__ import annotations

import time
from collections import defaultdict
from contextlib import ExitStack
from datetime import datetime
from itertools import pairwise

import pytest
from brokers import KafkaBroker
from faults.tally import Tally, either
from integration.harness.ledger import Handling, Ledger, letters_in_topic, wait_until_committed
from integration.harness.runs import assert_balanced, handled_by, reading_topic
from integration.harness.service import Service

pytestmark = [
    pytest.mark.broker,
    pytest.mark.usefixtures("refused_connections"),
]

ROUNDS, EVERY = either(8, 30), 2.0
"""Number, and seconds between two of them."""
PARTITIONS, BATCH, WORK = 6, 10, 0.02
GRACE = "3"
"""Seconds of RevocationGrace; a batch takes 0.2, so each ends under the owner that began it. But where the machine is so
busy that a handler's start alone takes seconds, that batch may outlive it."""
ANSWER = 0.25
"""Seconds from the last handling of a batch to the poller's loop."""


def test_a_rebalance_storm_loses_nothing_and_every_batch_has_one_owner(
    kafka: KafkaBroker, ledger: Ledger, tally: Tally
) -> None:
    topic, dead = kafka.create_topic(PARTITIONS), kafka.create_topic()
    run = reading_topic(ledger, kafka, topic, dead_letters=dead, BatchSize=BATCH)
    progress = []
    with ExitStack() as stack:

        def start() -> Service:
            tally.fault("a poller joins in a storm")
            return stack.enter_context(run.service(POLLER_REVOCATION_GRACE=GRACE))

        def leave(service: Service) -> None:
            tally.fault("a poller leaves in a storm")
            service.wait_for_log("^polling")  # before that a signal just ends it
            service.signal()

        running = [start()]
        everybody = list(running)
        for number in range(ROUNDS):
            ledger.produce(kafka, topic, 300, partitions=PARTITIONS, poison=0.01, work=WORK)
            if number % 3 == 2:
                leave(running.pop(0))
            else:
                running.append(start())
                everybody.append(running[-1])
            if len(running) > 3:
                leave(running.pop(0))
            time.sleep(EVERY)  # the storm's own rhythm
            running[-1].wait_for_log("^polling")  # on a busy machine a start alone takes longer
            progress.append(len(ledger.handlings()))
        wait_until_committed(kafka, topic, topic, timeout=120)
        for service in running:
            service.signal()
        assert {service.pid: service.wait() for service in everybody} == dict.fromkeys(
            [one.pid for one in everybody], 0
        )
        assert [service.problems() for service in everybody] == [[]] * len(everybody)
    letters = letters_in_topic(kafka, dead)
    tally.dead_letters += len(letters)
    assert_balanced(ledger, letters)
    assert ledger.out_of_order() == []  # C.4
    outlived = outliving(ledger, everybody)
    assert repeated_without_a_reason(ledger, outlived) == []
    assert overlapping(ledger, outlived) == []
    assert progress[ROUNDS // 3] < progress[-1], f"it stood still: {progress}"
    assert sum(handled_by(service, ledger) > 0 for service in everybody) >= 2


Batch = tuple[str, int, str]
"""Shard, poller, request id."""


def batches_of(ledger: Ledger) -> dict[Batch, list[Handling]]:
    """The handlings of each invocation."""
    batches: dict[Batch, list[Handling]] = defaultdict(list)
    for one in ledger.handlings():
        batches[one.shard, one.poller, one.request].append(one)
    return batches


def outliving(ledger: Ledger, services: list[Service]) -> set[Batch]:
    """Batches that still ran when their poller gave the partition up: those may come again."""
    wall = time.time() - time.monotonic()
    given_up: dict[tuple[int, str], list[float]] = defaultdict(list)
    for service in services:
        for line in service.log("^gave up "):
            moment = datetime.fromisoformat(line["time"]).timestamp() - wall
            for shard in line["message"].removeprefix("gave up ").split(", "):
                given_up[service.pid, shard].append(moment)
    return {
        (shard, poller, request)
        for (shard, poller, request), some in batches_of(ledger).items()
        if any(some[0].time - WORK < moment < some[-1].time + ANSWER for moment in given_up[poller, shard])
    }


def repeated_without_a_reason(ledger: Ledger, outlived: set[Batch]) -> list[str]:
    """Good records that came again although nothing before them in their batch had failed and had to come again."""
    found, seen = [], set()
    for batch, handlings in batches_of(ledger).items():
        failed = min((one.position or 0 for one in handlings if one.poison), default=None)
        for one in handlings:
            if one.id in seen and not one.poison:
                found.append(f"{one.shard} {one.position}")
            if batch not in outlived and (failed is None or (one.position or 0) < failed):
                seen.add(one.id)
    return found


def overlapping(ledger: Ledger, outlived: set[Batch]) -> list[str]:
    """Pairs of batches of one partition that two pollers had in work at the same time."""
    spans = sorted(
        (batch[0], some[0].time - WORK, some[-1].time, batch[1])
        for batch, some in batches_of(ledger).items()
        if batch not in outlived
    )
    return [
        f"{shard}: {poller} until {end:.3f}, {other} from {begin:.3f}"
        for (shard, _, end, poller), (following, begin, _, other) in pairwise(spans)
        if shard == following and poller != other and begin < end
    ]
