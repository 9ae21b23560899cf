"""Messages that a queue dead-letters: by age, by rejection; what their letters say, and what handlers see (D.2, F.3)."""

from __future__ import annotations

import json
import re
from datetime import datetime
from pathlib import Path

import pika
import pytest
from brokers import RabbitMQBroker, unique
from contract.source_harnesses import take
from integration.harness.ledger import Ledger
from integration.harness.queues import Opener, basic_properties, both_types, dead_letters, death_of
from integration.harness.runs import container_of, reading_queue

pytestmark = pytest.mark.broker


# --- age --------------------------------------------------------------------------------------------------------------


@both_types
@pytest.mark.parametrize("of", ["message", "queue"])
def test_a_message_past_its_time_is_dead_lettered_and_not_handled(  # F.3
    rabbitmq: RabbitMQBroker, opened_queue: Opener, kind: str, of: str
) -> None:
    arguments = {"x_message_ttl": 1} if of == "queue" else {}
    queue = rabbitmq.declare_queue(kind, dead_letters=True, **arguments)
    rabbitmq.publish(queue, [b"old"], **({"expiration": "1"} if of == "message" else {}))
    (letter,) = dead_letters(rabbitmq, queue)
    assert letter[1] == b"old"
    assert death_of(letter)["reason"] == "expired"
    assert death_of(letter).get("original-expiration") == ("1" if of == "message" else None)
    assert letter[0].expiration is None  # it is taken away, else the letter would expire, too
    source = opened_queue(queue)
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
    rabbitmq: RabbitMQBroker, opened_queue: Opener, kind: str
) -> None:
    queue, clock = rabbitmq.declare_queue(kind, dead_letters=True), rabbitmq.declare_queue(kind, dead_letters=True)
    source = opened_queue(queue)
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
    rabbitmq: RabbitMQBroker, opened_queue: Opener, kind: str
) -> None:
    container = container_of(rabbitmq)
    queue = rabbitmq.declare_queue(kind)
    dead = rabbitmq.declare_queue(kind, name=f"{queue}.dead")
    policy = json.dumps({"dead-letter-exchange": "", "dead-letter-routing-key": dead})
    container.run("rabbitmqctl", "set_policy", queue, f"^{queue}$", policy, "--apply-to", "queues")
    rabbitmq.publish(queue, [b"bad"])
    source = opened_queue(queue)
    source.reject(take(source, 1))
    (letter,) = dead_letters(rabbitmq, queue)
    assert (letter[1], death_of(letter)["reason"]) == (b"bad", "rejected")


def test_arguments_win_over_a_policy(rabbitmq: RabbitMQBroker, opened_queue: Opener) -> None:  # F.3
    container = container_of(rabbitmq)
    queue = rabbitmq.declare_queue(dead_letters=True)
    other = rabbitmq.declare_queue()
    policy = json.dumps({"dead-letter-exchange": "", "dead-letter-routing-key": other})
    container.run("rabbitmqctl", "set_policy", queue, f"^{queue}$", policy, "--apply-to", "queues")
    rabbitmq.publish(queue, [b"bad"])
    source = opened_queue(queue)
    source.reject(take(source, 1))
    assert dead_letters(rabbitmq, queue)
    assert rabbitmq.depth(other) == 0


@both_types
def test_the_death_of_a_rejected_message_says_where_why_when_and_how_often(  # F.3
    rabbitmq: RabbitMQBroker, opened_queue: Opener, kind: str
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
    source = opened_queue(queue)
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


def test_a_handler_of_dead_letters_sees_their_death_in_the_event(
    rabbitmq: RabbitMQBroker, opened_queue: Opener
) -> None:
    # D.2: tables and arrays inside of headers
    queue = rabbitmq.declare_queue(dead_letters=True)
    rabbitmq.publish(queue, [b"bad"])
    source = opened_queue(queue)
    source.reject(take(source, 1))
    letters = opened_queue(f"{queue}.dead")
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
    rabbitmq: RabbitMQBroker, opened_queue: Opener, kind: str
) -> None:
    arguments = {"x_max_priority": 10} if kind == "classic" else {}
    queue = rabbitmq.declare_queue(kind, **arguments)
    for body, priority in ((b"low", 1), (b"none", None), (b"high", 9)):
        rabbitmq.publish(queue, [body], priority=priority, expiration="600000", delivery_mode=2)
    source = opened_queue(queue)
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
    rabbitmq: RabbitMQBroker, opened_queue: Opener, kind: str
) -> None:
    queue = rabbitmq.declare_queue(kind)
    rabbitmq.publish(queue, [b"one", b"two"])
    source = opened_queue(queue, prefetch=1)
    (one,) = take(source, 1)
    source.close()  # the one that it held was delivered, the other one was not
    again = opened_queue(queue)
    marks = {record.value: json.loads(record.encoded)["redelivered"] for record in take(again, 2)}
    assert one.value == b"one"
    assert marks == {b"one": True, b"two": False}


# --- the documentation ------------------------------------------------------------------------------------------------


def test_the_queues_of_the_page_dead_letter_what_is_rejected(rabbitmq: RabbitMQBroker, opened_queue: Opener) -> None:
    page = Path(__file__).parents[2] / "docs/how-to/declare-rabbitmq-queues.md"
    block = re.search(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    assert block is not None
    exec(block[1].replace("amqp://guest:guest@127.0.0.1:5672/%2F", f"{rabbitmq.url}/%2F"), {})
    try:
        rabbitmq.publish("orders", [b"bad"])
        source = opened_queue("orders")
        source.reject(take(source, 1))
        (letter,) = dead_letters(rabbitmq, "orders")
        assert (letter[1], death_of(letter)["reason"]) == (b"bad", "rejected")
    finally:
        rabbitmq.delete_queue("orders")
        rabbitmq.delete_queue("orders.dead")
