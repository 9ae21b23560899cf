"""Queues that give messages up: by the broker's limits, by ours, by age; and what their dead letters say (F.3, F.4)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pika
import pytest
from brokers import RabbitMQBroker, eventually, unique
from contract.source_harnesses import Calls, take
from integration.harness.ledger import Ledger
from integration.harness.runs import container_of, reading_queue

from poller.model import Record
from poller.sources.rabbitmq import RabbitMQSource

pytestmark = pytest.mark.broker

Opener = Callable[..., RabbitMQSource]

both_types = pytest.mark.parametrize("kind", ["quorum", "classic"])


@pytest.fixture
def opened(rabbitmq: RabbitMQBroker) -> Iterator[Opener]:
    """Opens sources that are closed when the test is over."""
    sources = []

    def open_one(queue: str, **settings: Any) -> RabbitMQSource:
        source = RabbitMQSource(rabbitmq.settings(queue, **settings))
        sources.append(source)
        source.open(Calls().listener())
        return source

    yield open_one
    for source in sources:
        source.close()


def dead_letters(broker: RabbitMQBroker, queue: str) -> list[tuple[pika.BasicProperties, bytes]]:
    """Of the queue, once there is one."""
    return eventually(lambda: broker.drain(f"{queue}.dead"), what=f"a dead letter of {queue}")


def death_of(letter: tuple[pika.BasicProperties, bytes]) -> dict[str, Any]:
    """The newest entry of x-death."""
    newest: dict[str, Any] = letter[0].headers["x-death"][0]
    return newest


def basic_properties(source: RabbitMQSource, record: Record) -> dict[str, Any]:
    """As the handler sees them."""
    event = json.loads(source.build_event([record]))
    ((message,),) = event["rmqMessagesByQueue"].values()
    found: dict[str, Any] = message["basicProperties"]
    return found


# --- the broker's own limit -------------------------------------------------------------------------------------------


def test_a_message_that_keeps_failing_is_dead_lettered_at_the_queue_s_delivery_limit(  # F.3
    rabbitmq: RabbitMQBroker, ledger: Ledger
) -> None:
    queue = rabbitmq.declare_queue(dead_letters=True, x_delivery_limit=3)
    run = reading_queue(ledger, rabbitmq, queue, MaximumRetryAttempts=-1)
    ledger.publish(rabbitmq, queue, 5)
    ledger.publish(rabbitmq, queue, 1, poison=1.0)
    with run.service() as service:
        (letter,) = dead_letters(rabbitmq, queue)
        ledger.wait_until_handled()
        assert service.stop() == 0
        assert service.problems() == []
    (poison,) = ledger.poison
    assert letter[0].message_id == poison
    assert death_of(letter)["reason"] == "delivery_limit"
    assert ledger.attempts()[poison] == 4  # the limit is of returns: the first delivery is none
    assert rabbitmq.depth(queue) == 0


@pytest.mark.parametrize(
    ("arguments", "deliveries"),
    [({}, 21), ({"x_delivery_limit": 0}, 1), ({"x_delivery_limit": 1}, 2)],
    ids=["20 by default", "0", "1"],
)
def test_the_delivery_limit_is_20_by_default_since_rabbitmq_4_and_what_an_argument_says(  # F.3
    rabbitmq: RabbitMQBroker, opened: Opener, arguments: dict[str, int], deliveries: int
) -> None:
    queue = rabbitmq.declare_queue(dead_letters=True, **arguments)
    rabbitmq.publish(queue, [b"bad"])
    source = opened(queue)
    for number in range(deliveries):
        (record,) = take(source, 1)
        assert record.deliveries == number
        source.release([record])
    (letter,) = dead_letters(rabbitmq, queue)
    assert death_of(letter)["reason"] == "delivery_limit"
    assert source.poll(0.1) == []


def test_a_delivery_limit_of_minus_one_is_none(rabbitmq: RabbitMQBroker, opened: Opener) -> None:  # F.3
    queue = rabbitmq.declare_queue(dead_letters=True, x_delivery_limit=-1)
    rabbitmq.publish(queue, [b"bad"])
    source = opened(queue)
    for number in range(30):
        (record,) = take(source, 1)
        assert record.deliveries == number
        source.release([record])
    assert rabbitmq.depth(f"{queue}.dead") == 0


def test_over_its_limit_a_message_without_a_dead_letter_exchange_is_dropped(  # F.3
    rabbitmq: RabbitMQBroker, opened: Opener
) -> None:
    queue = rabbitmq.declare_queue(x_delivery_limit=1)
    rabbitmq.publish(queue, [b"bad"])
    source = opened(queue)
    for _ in range(2):
        source.release(take(source, 1))
    rabbitmq.publish(queue, [b"next"])
    assert [record.value for record in take(source, 1)] == [b"next"]


def test_each_message_of_a_failed_batch_is_counted_on_its_own(rabbitmq: RabbitMQBroker, opened: Opener) -> None:
    # F.3: handed back one by one, so that what came later has its full number of deliveries
    queue = rabbitmq.declare_queue(dead_letters=True, x_delivery_limit=2)
    rabbitmq.publish(queue, [b"old"])
    source = opened(queue)
    source.release(take(source, 1))
    rabbitmq.publish(queue, [b"young"])
    records = take(source, 2)
    assert {record.value: record.deliveries for record in records} == {b"old": 1, b"young": 0}
    source.release(records)
    records = take(source, 2)
    assert {record.value: record.deliveries for record in records} == {b"old": 2, b"young": 1}
    source.release(records)
    assert [body for _, body in dead_letters(rabbitmq, queue)] == [b"old"]
    assert [record.value for record in take(source, 1)] == [b"young"]


# --- our limit --------------------------------------------------------------------------------------------------------


@both_types
def test_retries_are_bounded_on_queues_of_both_types(  # F.4
    rabbitmq: RabbitMQBroker, ledger: Ledger, kind: str
) -> None:
    queue = rabbitmq.declare_queue(kind, dead_letters=True)
    run = reading_queue(ledger, rabbitmq, queue, MaximumRetryAttempts=3)
    ledger.publish(rabbitmq, queue, 3, poison=1.0)
    ledger.publish(rabbitmq, queue, 5)
    with run.service() as service:
        eventually(lambda: rabbitmq.depth(f"{queue}.dead") == 3, what="three dead letters")
        ledger.wait_until_handled()
        assert service.stop() == 0
        assert service.problems() == []
    letters = rabbitmq.drain(f"{queue}.dead")
    assert {properties.message_id for properties, _ in letters} == ledger.poison
    assert {death_of(letter)["reason"] for letter in letters} == {"rejected"}
    assert {ledger.attempts()[poison] for poison in ledger.poison} == {4}


def test_a_quorum_queue_s_count_of_attempts_survives_a_kill_of_the_poller(  # F.3, F.4
    rabbitmq: RabbitMQBroker, ledger: Ledger
) -> None:
    queue = rabbitmq.declare_queue(dead_letters=True)
    run = reading_queue(ledger, rabbitmq, queue, MaximumRetryAttempts=5)
    ledger.publish(rabbitmq, queue, 1, poison=1.0)
    with run.service() as service:
        ledger.wait_for(3)
        service.kill()
    with run.service() as service:
        (letter,) = dead_letters(rabbitmq, queue)
        assert service.stop() == 0
    assert death_of(letter)["reason"] == "rejected"
    (poison,) = ledger.poison
    # Six in all. A delivery that the kill ended before the handler noted it counts, too; a count that began anew after
    # the kill would have made nine of them.
    assert 5 <= ledger.attempts()[poison] <= 6
    assert len({handling.poller for handling in ledger.handlings()}) == 2


def test_a_classic_queue_s_attempts_begin_anew_with_the_poller_at_the_second(  # F.3: only the redelivered flag is left
    rabbitmq: RabbitMQBroker, ledger: Ledger
) -> None:
    queue = rabbitmq.declare_queue("classic", dead_letters=True)
    run = reading_queue(ledger, rabbitmq, queue, MaximumRetryAttempts=5)
    ledger.publish(rabbitmq, queue, 1, poison=1.0)
    with run.service() as service:
        ledger.wait_for(3)
        service.kill()
    before = len(ledger.handlings())
    with run.service() as service:
        (letter,) = dead_letters(rabbitmq, queue)
        assert service.stop() == 0
    assert death_of(letter)["reason"] == "rejected"
    assert len(ledger.handlings()) - before == 5


def test_a_count_that_came_with_a_message_is_not_taken_for_a_classic_queue_s(
    rabbitmq: RabbitMQBroker, opened: Opener
) -> None:
    # Whoever moves messages between queues may carry a quorum queue's count along; in a classic queue nobody counts on.
    queue = rabbitmq.declare_queue("classic")
    rabbitmq.publish(queue, [b"bad"], headers={"x-delivery-count": 7})
    source = opened(queue)
    for deliveries in range(3):
        (record,) = take(source, 1)
        assert basic_properties(source, record)["headers"] == {"x-delivery-count": 7}
        assert record.deliveries == deliveries
        source.release([record])


# --- age --------------------------------------------------------------------------------------------------------------


@both_types
@pytest.mark.parametrize("of", ["message", "queue"])
def test_a_message_past_its_time_is_dead_lettered_and_not_handled(  # F.3
    rabbitmq: RabbitMQBroker, opened: Opener, kind: str, of: str
) -> None:
    arguments = {"x_message_ttl": 1} if of == "queue" else {}
    queue = rabbitmq.declare_queue(kind, dead_letters=True, **arguments)
    rabbitmq.publish(queue, [b"old"], **({"expiration": "1"} if of == "message" else {}))
    (letter,) = dead_letters(rabbitmq, queue)
    assert letter[1] == b"old"
    assert death_of(letter)["reason"] == "expired"
    assert death_of(letter).get("original-expiration") == ("1" if of == "message" else None)
    assert letter[0].expiration is None  # it is taken away, else the letter would expire, too
    source = opened(queue)
    assert source.poll(0.1) == []


@both_types
def test_a_message_that_keeps_failing_ends_when_its_time_is_over(  # D.2: retried until success or expiry
    rabbitmq: RabbitMQBroker, ledger: Ledger, kind: str
) -> None:
    queue = rabbitmq.declare_queue(kind, dead_letters=True)
    run = reading_queue(ledger, rabbitmq, queue, MaximumRetryAttempts=-1)
    with run.service() as service:
        service.wait_until_ready()
        (body,) = ledger.bodies(1, poison=1.0)
        rabbitmq.publish(queue, [body], message_id=json.loads(body)["id"], expiration="1000")
        (letter,) = dead_letters(rabbitmq, queue)
        assert service.stop() == 0
        assert service.problems() == []
    assert death_of(letter)["reason"] == "expired"
    assert ledger.attempts()[letter[0].message_id] >= 1


@both_types
def test_a_message_does_not_expire_while_a_poller_has_it_but_once_it_is_handed_back(
    rabbitmq: RabbitMQBroker, opened: Opener, kind: str
) -> None:
    queue, clock = rabbitmq.declare_queue(kind, dead_letters=True), rabbitmq.declare_queue(kind, dead_letters=True)
    source = opened(queue)
    rabbitmq.publish(queue, [b"slow"], expiration="500")
    held = take(source, 1)
    rabbitmq.publish(clock, [b"later"], expiration="500")
    dead_letters(rabbitmq, clock)  # by now the time of both is over
    assert rabbitmq.depth(f"{queue}.dead") == 0
    source.release(held)
    (letter,) = dead_letters(rabbitmq, queue)
    assert death_of(letter)["reason"] == "expired"


# --- where dead letters go, and what they say -------------------------------------------------------------------------


@both_types
def test_a_policy_names_the_dead_letter_exchange_as_well_as_arguments(  # F.3
    rabbitmq: RabbitMQBroker, opened: Opener, kind: str
) -> None:
    container = container_of(rabbitmq)
    queue = rabbitmq.declare_queue(kind)
    dead = rabbitmq.declare_queue(kind, name=f"{queue}.dead")
    policy = json.dumps({"dead-letter-exchange": "", "dead-letter-routing-key": dead})
    container.run("rabbitmqctl", "set_policy", queue, f"^{queue}$", policy, "--apply-to", "queues")
    rabbitmq.publish(queue, [b"bad"])
    source = opened(queue)
    source.reject(take(source, 1))
    (letter,) = dead_letters(rabbitmq, queue)
    assert (letter[1], death_of(letter)["reason"]) == (b"bad", "rejected")


def test_arguments_win_over_a_policy(rabbitmq: RabbitMQBroker, opened: Opener) -> None:  # F.3
    container = container_of(rabbitmq)
    queue = rabbitmq.declare_queue(dead_letters=True)
    other = rabbitmq.declare_queue()
    policy = json.dumps({"dead-letter-exchange": "", "dead-letter-routing-key": other})
    container.run("rabbitmqctl", "set_policy", queue, f"^{queue}$", policy, "--apply-to", "queues")
    rabbitmq.publish(queue, [b"bad"])
    source = opened(queue)
    source.reject(take(source, 1))
    assert dead_letters(rabbitmq, queue)
    assert rabbitmq.depth(other) == 0


@both_types
def test_the_death_of_a_rejected_message_says_where_why_when_and_how_often(  # F.3
    rabbitmq: RabbitMQBroker, opened: Opener, kind: str
) -> None:
    exchange, queue = unique("exchange"), rabbitmq.declare_queue(kind, dead_letters=True)
    with rabbitmq.channel() as channel:
        channel.exchange_declare(exchange, "topic", durable=True)
        channel.queue_bind(queue, exchange, "orders.*")
        properties = pika.BasicProperties(
            message_id="m-1", expiration="600000", headers={"CC": ["copied"], "BCC": ["hidden"], "own": "kept"}
        )
        channel.basic_publish(exchange, "orders.new", b"bad", properties)
        channel.exchange_delete(exchange)
    source = opened(queue)
    source.reject(take(source, 1))
    ((dead, body),) = dead_letters(rabbitmq, queue)
    (death,) = dead.headers["x-death"]
    time = death.pop("time")
    assert isinstance(time, datetime)
    assert death == {
        "queue": queue,
        "reason": "rejected",
        "exchange": exchange,
        "count": 1,
        "routing-keys": ["orders.new", "copied"],
        "original-expiration": "600000",
    }
    assert (body, dead.message_id, dead.expiration, dead.headers["own"]) == (b"bad", "m-1", None, "kept")
    for which in ("first", "last"):
        assert {part: dead.headers[f"x-{which}-death-{part}"] for part in ("queue", "reason", "exchange")} == {
            "queue": queue,
            "reason": "rejected",
            "exchange": exchange,
        }


def test_a_handler_of_dead_letters_sees_their_death_in_the_event(rabbitmq: RabbitMQBroker, opened: Opener) -> None:
    # D.2: tables and arrays inside of headers
    queue = rabbitmq.declare_queue(dead_letters=True)
    rabbitmq.publish(queue, [b"bad"])
    source = opened(queue)
    source.reject(take(source, 1))
    letters = opened(f"{queue}.dead")
    (record,) = take(letters, 1)
    headers = basic_properties(letters, record)["headers"]
    assert headers["x-first-death-reason"] == {"bytes": list(b"rejected")}
    (death,) = headers["x-death"]
    assert death["reason"] == {"bytes": list(b"rejected")}
    assert death["queue"] == {"bytes": list(queue.encode())}
    assert death["count"] == 1


# --- properties -------------------------------------------------------------------------------------------------------


@both_types
def test_priorities_decide_the_order_and_show_in_the_event(  # D.2
    rabbitmq: RabbitMQBroker, opened: Opener, kind: str
) -> None:
    arguments = {"x_max_priority": 10} if kind == "classic" else {}
    queue = rabbitmq.declare_queue(kind, **arguments)
    for body, priority in ((b"low", 1), (b"none", None), (b"high", 9)):
        rabbitmq.publish(queue, [body], priority=priority, expiration="600000", delivery_mode=2)
    source = opened(queue)
    records = take(source, 3)
    shown = {record.value: basic_properties(source, record) for record in records}
    assert {body: properties["priority"] for body, properties in shown.items()} == {
        b"high": 9,
        b"low": 1,
        b"none": None,
    }
    assert {properties["expiration"] for properties in shown.values()} == {"600000"}
    assert {properties["deliveryMode"] for properties in shown.values()} == {2}
    assert records[0].value == b"high"


@both_types
def test_what_was_never_delivered_before_is_not_marked_as_redelivered(  # D.2, G 39
    rabbitmq: RabbitMQBroker, opened: Opener, kind: str
) -> None:
    queue = rabbitmq.declare_queue(kind)
    rabbitmq.publish(queue, [b"one", b"two"])
    source = opened(queue, prefetch=1)
    (one,) = take(source, 1)
    source.close()  # the one that it held was delivered, the other one was not
    again = opened(queue)
    marks = {record.value: json.loads(record.encoded)["redelivered"] for record in take(again, 2)}
    assert one.value == b"one"
    assert marks == {b"one": True, b"two": False}


# --- the documentation ------------------------------------------------------------------------------------------------


def test_the_queues_of_the_page_dead_letter_what_is_rejected(rabbitmq: RabbitMQBroker, opened: Opener) -> None:
    page = Path(__file__).parents[2] / "docs/how-to/declare-rabbitmq-queues.md"
    block = re.search(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    assert block is not None
    exec(block[1].replace("amqp://guest:guest@127.0.0.1:5672/%2F", f"{rabbitmq.url}/%2F"), {})
    try:
        rabbitmq.publish("orders", [b"bad"])
        source = opened("orders")
        source.reject(take(source, 1))
        (letter,) = dead_letters(rabbitmq, "orders")
        assert (letter[1], death_of(letter)["reason"]) == (b"bad", "rejected")
    finally:
        rabbitmq.delete_queue("orders")
        rabbitmq.delete_queue("orders.dead")
