"""Queues that give up what keeps failing: by the broker's limit and by ours (F.3, F.4)."""

from __future__ import annotations

import pytest
from brokers import RabbitMQBroker
from contract.source_harnesses import take
from integration.harness.ledger import Ledger
from integration.harness.queues import Opener, basic_properties, both_types, dead_letters, death_of
from integration.harness.runs import reading_queue
from waiting import eventually

pytestmark = pytest.mark.broker


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
    rabbitmq: RabbitMQBroker, opened_queue: Opener, arguments: dict[str, int], deliveries: int
) -> None:
    queue = rabbitmq.declare_queue(dead_letters=True, **arguments)
    rabbitmq.publish(queue, [b"bad"])
    source = opened_queue(queue)
    for number in range(deliveries):
        (record,) = take(source, 1)
        assert record.deliveries == number
        source.release([record])
    (letter,) = dead_letters(rabbitmq, queue)
    assert death_of(letter)["reason"] == "delivery_limit"
    assert source.poll(0.1) == []


def test_a_delivery_limit_of_minus_one_is_none(rabbitmq: RabbitMQBroker, opened_queue: Opener) -> None:  # F.3
    queue = rabbitmq.declare_queue(dead_letters=True, x_delivery_limit=-1)
    rabbitmq.publish(queue, [b"bad"])
    source = opened_queue(queue)
    for number in range(30):
        (record,) = take(source, 1)
        assert record.deliveries == number
        source.release([record])
    assert rabbitmq.depth(f"{queue}.dead") == 0


def test_over_its_limit_a_message_without_a_dead_letter_exchange_is_dropped(  # F.3
    rabbitmq: RabbitMQBroker, opened_queue: Opener
) -> None:
    queue = rabbitmq.declare_queue(x_delivery_limit=1)
    rabbitmq.publish(queue, [b"bad"])
    source = opened_queue(queue)
    for _ in range(2):
        source.release(take(source, 1))
    rabbitmq.publish(queue, [b"next"])
    assert [record.value for record in take(source, 1)] == [b"next"]


def test_each_message_of_a_failed_batch_is_counted_on_its_own(rabbitmq: RabbitMQBroker, opened_queue: Opener) -> None:
    # F.3: handed back one by one, so that what came later has its full number of deliveries
    queue = rabbitmq.declare_queue(dead_letters=True, x_delivery_limit=2)
    rabbitmq.publish(queue, [b"old"])
    source = opened_queue(queue)
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
    rabbitmq: RabbitMQBroker, opened_queue: Opener
) -> None:
    # Whoever moves messages between queues may carry a quorum queue's count along; in a classic queue nobody counts on.
    queue = rabbitmq.declare_queue("classic")
    rabbitmq.publish(queue, [b"bad"], headers={"x-delivery-count": 7})
    source = opened_queue(queue)
    for deliveries in range(3):
        (record,) = take(source, 1)
        assert basic_properties(source, record)["headers"] == {"x-delivery-count": 7}
        assert record.deliveries == deliveries
        source.release([record])
