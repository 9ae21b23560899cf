"""Dead-letter targets that are down, missing, or refuse a letter: its partition waits, nothing else does.

One service with a mapping for each trouble. In every topic partition 0 begins with poison and goes on with good
records, partition 1 has good ones only. How each destination tells its errors: tests/integration/test_destinations.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest
from brokers import KafkaBroker, Produce, RabbitMQBroker, unique
from faults.tally import Tally, either
from integration.harness import stack
from integration.harness.gateway import Gateway
from integration.harness.ledger import DeadLetter, Ledger, ids_of, letters_in_topic, read_letter, wait_until_committed
from integration.harness.service import Service
from waiting import eventually

pytestmark = pytest.mark.broker

DOWN = either(4, 60)
"""Seconds."""
GOOD = 30
CONNECT = "__connect.errors"
LARGE = 2_000_000
"""Bytes of a record; topics take 1 MB by default."""


class Trouble(NamedTuple):
    """A target that does not work yet, as a URI, how it is mended, and what has arrived there then."""

    target: str
    told: str
    mend: Callable[[], object]
    letters: Callable[[], list[DeadLetter]]


def in_queue(rabbitmq: RabbitMQBroker, queue: str) -> Callable[[], list[DeadLetter]]:
    return lambda: [read_letter(body) for _, body in rabbitmq.drain(queue)]


def troubles(kafka: KafkaBroker, rabbitmq: RabbitMQBroker, gateway: Gateway) -> dict[str, Trouble]:
    url = urlsplit(rabbitmq.url)
    behind, bound = rabbitmq.declare_queue(), rabbitmq.declare_queue()
    topic, exchange = unique("missing"), unique("missing")
    narrow = kafka.create_topic(configs={"max.message.bytes": "300"})

    def declare() -> None:
        with rabbitmq.channel() as channel:
            channel.exchange_declare(exchange, "topic", durable=True)
            channel.queue_bind(bound, exchange, "key")

    return {
        "Down": Trouble(
            f"amqp://{url.username}:{url.password}@{gateway.address}//{behind}",
            "on RabbitMQ at 127.0.0.1",
            gateway.open,
            in_queue(rabbitmq, behind),
        ),
        "NoTopic": Trouble(
            f"kafka://{topic}",
            f"{topic} at .* does not exist.*create it",
            lambda: kafka.create_topic(name=topic),
            lambda: letters_in_topic(kafka, topic),
        ),
        "NoExchange": Trouble(
            f"{rabbitmq.url}/{exchange}/key", f"exchange {exchange}.*404", declare, in_queue(rabbitmq, bound)
        ),
        "TooLarge": Trouble(
            f"kafka://{narrow}",
            "refuses a dead letter for its size: raise max.message.bytes",
            lambda: kafka.configure_topic(narrow, max_message_bytes="1000000"),
            lambda: letters_in_topic(kafka, narrow),
        ),
    }


def positions(kafka: KafkaBroker, topic: str) -> dict[str, int]:
    committed = kafka.committed(topic, topic)
    return {shard.rpartition("-")[2]: position for shard, position in committed.items()}


def test_what_cannot_be_dead_lettered_waits_alone_until_it_can(
    kafka: KafkaBroker, rabbitmq: RabbitMQBroker, ledgers: Callable[[str], Ledger], tmp_path: Path, tally: Tally
) -> None:
    url = urlsplit(rabbitmq.url)
    with Gateway(f"{url.hostname}:{url.port}") as gateway, ExitStack() as services:
        cases = troubles(kafka, rabbitmq, gateway)
        books, topics, functions, extensions = {}, {}, {}, {}
        for name, trouble in cases.items():
            books[name] = ledger = ledgers(name)
            topics[name] = topic = kafka.create_topic(2, configs={"max.message.bytes": str(10 * LARGE)})
            more = {"filler": "x" * LARGE} if name == "TooLarge" else {}
            bodies = ledger.bodies(1, poison=1.0, **more) + ledger.bodies(GOOD)
            kafka.produce(topic, [Produce(body, partition=0) for body in bodies])
            kafka.produce(topic, [Produce(body, partition=1) for body in ledger.bodies(GOOD)])
            event = stack.kafka_event(
                kafka, topic, MaximumRetryAttempts=0, FunctionResponseTypes=["ReportBatchItemFailures"]
            )
            functions[name] = stack.function(ledger, event)
            extensions[name] = {"OnFailure": trouble.target}
        template = stack.template(functions, extensions=extensions)
        service = services.enter_context(Service(tmp_path, template))
        started = time.monotonic()
        for name, trouble in cases.items():
            service.wait_for_log(f"dead letters for .*{trouble.told}", mapping=f"{name}.Source", timeout=60)
            mapping = f"{name}.Source"
            assert service.metric("on_failure_destination_delivery_error_count_total", mapping) >= 1
            eventually(lambda: positions(kafka, topics[name]) == {"1": GOOD}, what=f"the good partition of {name}")  # noqa: B023
            # The poison record is the first of its partition, so its batch is the first, and nothing came after it.
            assert books[name].unfinished_below(kafka.committed(topics[name], topics[name]), []) == []
        time.sleep(max(0.0, started + DOWN - time.monotonic()))  # the fault itself
        assert {name: positions(kafka, topic) for name, topic in topics.items()} == {
            name: {"1": GOOD} for name in cases
        }
        for trouble in cases.values():
            trouble.mend()
        for name, trouble in cases.items():
            wait_until_committed(kafka, topics[name], topics[name], timeout=90)
            letters = trouble.letters()
            if name == "TooLarge":  # 1 MB now, so it goes without its payload, and says where that can be read
                assert service.log("without their payload, which is over max.message.bytes")
                (origin,) = {(one.headers[f"{CONNECT}.topic"], one.headers[f"{CONNECT}.offset"]) for one in letters}
                assert origin == (topics[name], "0")
            else:
                assert set(ids_of(letters)) == books[name].poison
            assert [letter.record["requestContext"]["condition"] for letter in letters[:1]] == [
                "RetryAttemptsExhausted"
            ]
            assert books[name].missing() == set()
            assert books[name].out_of_order() == []
            tally.dead_letters += len(letters)
            tally.fault(f"dead-letter target: {name}")
        tally.bad_inputs += 1
        service.wait_until_ready()
        assert service.stop() == 0
        assert service.problems() == []
