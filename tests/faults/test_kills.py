"""`kill -9` of the poller at seeded moments of everything it does: nothing lost, little repeated.

The services run as a relay: each is killed, and the next one takes over what it left.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack

import pytest
from brokers import KafkaBroker, RabbitMQBroker
from faults.tally import Tally, either
from integration.harness import group
from integration.harness.ledger import Ledger, letters_in_topic, wait_until_committed
from integration.harness.runs import (
    BATCH,
    PARTITIONS,
    PREFETCH,
    Kill,
    Run,
    assert_balanced,
    assert_queue_balanced,
    finish_queue,
    items_of,
    reading_queue,
    reading_topic,
    watch,
)
from integration.harness.service import Service
from waiting import eventually

from poller.committing import COMMIT_INTERVAL

pytestmark = [
    pytest.mark.broker,
    pytest.mark.usefixtures("refused_connections"),
]

KILLS = either(4, 50)
WORK = 0.002
"""Seconds of a record."""
IN_FLIGHT = 2 * BATCH + round(COMMIT_INTERVAL / WORK)
"""Records of one partition that a kill may repeat: the batch in work, and what was finished since the last commit, to
which one batch may be added in the turn before it. A machine that is busy makes all of that slower, not more."""


def moments(kinds: list[str], chance: random.Random) -> list[str]:
    """As many of each kind, in an order of chance."""
    given = [kinds[number % len(kinds)] for number in range(KILLS)]
    chance.shuffle(given)
    return given


class Relay:
    """Services one after the other; `service` is the one that runs. At the end none is left."""

    def __init__(self, run: Run, stack: ExitStack) -> None:
        self._run, self._stack = run, stack
        self.service = self.start()

    def start(self) -> Service:
        return self._stack.enter_context(self._run.service())

    def kill(self, successor: Service | None = None) -> Service:
        """End the present one; the successor may have been started already. Gives the dead one."""
        dead = self.service
        dead.kill()
        self.service = successor or self.start()
        return dead


def test_kill_9_in_every_part_of_a_topics_work_loses_nothing(kafka: KafkaBroker, ledger: Ledger, tally: Tally) -> None:
    topic, dead_letters = kafka.create_topic(PARTITIONS), kafka.create_topic()
    run = reading_topic(ledger, kafka, topic, dead_letters=dead_letters)
    chance = random.Random(11)
    kills: list[Kill] = []
    with ExitStack() as stack:
        relay = Relay(run, stack)
        for moment in moments(["retry", "dead letter", "commit", "revocation"], chance):
            relay.service.wait_for_log("^assigned ")
            seen, handled = len(relay.service.lines), len(ledger.handlings())
            old = set(group.members(kafka, topic))
            successor = None
            with watch(kafka, dead_letters) as arrived:
                ledger.produce(kafka, topic, 200, poison=0.03, work=WORK)
                ledger.produce(kafka, topic, PARTITIONS, poison=1.0, work=WORK)
                match moment:
                    case "retry":
                        relay.service.wait_for_log("failed, attempt 1", since=seen)
                    case "dead letter":
                        eventually(arrived, what="a dead letter")
                    case "commit":
                        ledger.wait_for(handled + chance.randrange(1, 200))
                    case "revocation":
                        successor = relay.start()
                        successor.wait_for_log("^polling")
            time.sleep(chance.random() * (0.5 if successor else 0.05))  # the moment within the moment
            dead = relay.kill(successor)
            kills.append(Kill(dead.pid, kafka.committed(topic, topic)))
            tally.fault(f"kill -9 of the poller, Kafka: {moment}")
            given_up = items_of(letters_in_topic(kafka, dead_letters))
            assert ledger.unfinished_below(kills[-1].committed, given_up) == [], f"kill {len(kills)}, at a {moment}"
            group.remove_members(kafka, topic, old)  # the broker's session timeout would do that
        wait_until_committed(kafka, topic, topic)
        assert relay.service.stop() == 0
        assert relay.service.problems() == []
    letters = letters_in_topic(kafka, dead_letters)
    tally.dead_letters += len(letters)
    assert_balanced(ledger, letters)
    assert ledger.out_of_order() == []  # C.4: the first handlings of a partition
    for number, kill in enumerate(kills):
        repeated = Counter(one.shard for one in kill.repeated(ledger))
        assert not [shard for shard, count in repeated.items() if count > IN_FLIGHT], f"{repeated} at kill {number}"


def test_kill_9_in_every_part_of_a_queues_work_loses_nothing(
    rabbitmq: RabbitMQBroker, ledger: Ledger, tally: Tally
) -> None:
    # F.3: the broker counts what a killed consumer had been given as delivered; the limit is not what is tried here.
    queue = rabbitmq.declare_queue(dead_letters=True, x_delivery_limit=1000)
    run = reading_queue(ledger, rabbitmq, queue)
    chance = random.Random(12)
    with ExitStack() as stack:
        relay = Relay(run, stack)
        for moment in moments(["retry", "dead letter", "acknowledgement"], chance):
            service = relay.service
            service.wait_for_log("^polling")
            seen, handled = len(service.lines), len(ledger.handlings())
            ledger.publish(rabbitmq, queue, 60, poison=0.03, work=WORK)
            ledger.publish(rabbitmq, queue, 2, poison=1.0)
            ledger.publish(rabbitmq, queue, 10, work=WORK)
            waits: dict[str, Callable[[], object]] = {
                "retry": lambda: service.wait_for_log("failed, attempt 1", since=seen),  # noqa: B023
                "dead letter": lambda: service.wait_for_log("rejected", since=seen),  # noqa: B023
                "acknowledgement": lambda: ledger.wait_for(handled + chance.randrange(1, 60)),  # noqa: B023
            }
            waits[moment]()
            time.sleep(chance.random() * 0.05)  # the moment within the moment
            relay.kill()
            tally.fault(f"kill -9 of the poller, RabbitMQ: {moment}")
        finish_queue(ledger, rabbitmq, queue, relay.service)
    dead = assert_queue_balanced(ledger, rabbitmq, queue)
    tally.dead_letters += dead.total()
    assert set(dead.values()) == {1}  # rejecting is settling: never twice
    assert ledger.duplicates() <= KILLS * PREFETCH
