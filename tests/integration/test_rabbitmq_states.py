"""What a mapping says of a queue that it cannot read, and that it reads it once that is mended (C.2, D.2)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pika
import pytest
from brokers import RabbitMQBroker, unique
from contract.source_harnesses import Calls, take
from integration.harness.ledger import Ledger
from integration.harness.queues import Opener
from integration.harness.runs import container_of, reading_queue
from integration.harness.service import Service
from waiting import eventually

from poller.errors import SourceRejected, SourceUnavailable
from poller.model import Progress
from poller.sources.rabbitmq import RabbitMQSource

pytestmark = pytest.mark.broker

MAPPING = "Tasks.Source"
CONFIGURATION = "ESM_CONFIG_NOT_VALID"


@contextmanager
def told_and_recovered(
    rabbitmq: RabbitMQBroker, ledger: Ledger, queue: str, problem: str, code: str = CONFIGURATION
) -> Iterator[Service]:
    """The service tells what is the matter and stays up; when the block has mended it, the queue is read."""
    with reading_queue(ledger, rabbitmq, queue).service() as service:
        state = service.wait_for_problem(MAPPING, problem)
        assert (state["State"], state["StateTransitionReason"]) == ("Enabled", code)
        assert state["LastProcessingResult"] == "No records processed"
        assert service.get("healthz")[0] == 200
        assert service.readyz()[0] == 503
        yield service
        ledger.publish(rabbitmq, queue, 3)
        ledger.wait_until_handled()
        service.wait_until_ready()
        state = service.wait_for_result(MAPPING, "OK")
        assert (state["StateTransitionReason"], state["Problem"]) == ("USER_INITIATED", "")
        assert service.stop() == 0
        assert service.problems() == []


def refusal(rabbitmq: RabbitMQBroker, queue: str) -> SourceRejected:
    with pytest.raises(SourceRejected) as refused:
        RabbitMQSource(rabbitmq.settings(queue)).open(Calls().listener())
    return refused.value


def test_a_missing_queue_is_told_not_made_and_read_once_it_is_there(rabbitmq: RabbitMQBroker, ledger: Ledger) -> None:
    queue = unique("later")
    with told_and_recovered(rabbitmq, ledger, queue, f"queue '{queue}' .* does not exist .*; declare it") as service:
        service.wait_for_log(r"trying again in (0\.9|1\.\d) s", mapping=MAPPING)  # the pauses grow
        with pytest.raises(pika.exceptions.ChannelClosedByBroker):
            rabbitmq.depth(queue)
        rabbitmq.declare_queue(name=queue)


def test_an_exclusive_queue_is_told_and_its_successor_read(rabbitmq: RabbitMQBroker, ledger: Ledger) -> None:
    queue = unique("exclusive")
    with rabbitmq.channel() as channel:
        channel.queue_declare(queue, exclusive=True)
        with told_and_recovered(rabbitmq, ledger, queue, "is exclusive: only the connection .* without exclusive"):
            channel.connection.close()  # and the queue goes with it
            rabbitmq.declare_queue(name=queue)


def test_a_queue_with_an_exclusive_consumer_is_told_and_read_when_that_has_gone(
    rabbitmq: RabbitMQBroker, ledger: Ledger
) -> None:
    queue = rabbitmq.declare_queue("classic")  # quorum queues know no such consumers
    with rabbitmq.channel() as channel:
        channel.basic_consume(queue, lambda *_: None, exclusive=True)
        with told_and_recovered(rabbitmq, ledger, queue, "has an exclusive consumer.*x-single-active-consumer"):
            channel.connection.close()


def test_a_name_that_the_broker_made_is_told_with_what_would_be_right(rabbitmq: RabbitMQBroker) -> None:
    with rabbitmq.channel() as channel:
        queue = channel.queue_declare("", exclusive=True).method.queue
        assert queue.startswith("amq.gen-")
        held = refusal(rabbitmq, queue)
    assert held.code == CONFIGURATION
    assert "is exclusive" in str(held)
    assert "a name of its own" in str(held)

    def gone() -> SourceRejected | None:
        told = refusal(rabbitmq, queue)
        return told if "does not exist" in str(told) else None

    left = eventually(gone, what="the end of the queue")
    assert left is not None
    assert left.code == CONFIGURATION
    assert "ends with the connection it was made for: declare a queue with its own" in str(left)


def test_a_stream_is_refused_with_the_reason_and_the_queue_in_its_place_is_read(
    rabbitmq: RabbitMQBroker, ledger: Ledger
) -> None:
    queue = rabbitmq.declare_queue("stream")
    with told_and_recovered(rabbitmq, ledger, queue, "is a stream, .*x-queue-type quorum or classic"):
        rabbitmq.delete_queue(queue)
        rabbitmq.declare_queue(name=queue)


def test_a_queue_that_is_deleted_and_made_anew_while_it_is_read_goes_on(
    rabbitmq: RabbitMQBroker, ledger: Ledger
) -> None:
    queue = rabbitmq.declare_queue()
    ledger.publish(rabbitmq, queue, 3)
    with reading_queue(ledger, rabbitmq, queue).service() as service:
        ledger.wait_until_handled()
        service.wait_for_result(MAPPING, "OK")
        rabbitmq.delete_queue(queue)
        state = service.wait_for_problem(MAPPING, "does not exist .*; declare it")
        assert (state["StateTransitionReason"], state["LastProcessingResult"]) == (CONFIGURATION, "OK")
        assert service.log("cancelled the consumer of queue .*: it was deleted, or its leader moved", mapping=MAPPING)
        assert service.get("healthz")[0] == 200
        rabbitmq.declare_queue("classic", name=queue)  # of another type, even
        ledger.publish(rabbitmq, queue, 3)
        ledger.wait_until_handled()
        service.wait_until_ready()
        assert service.state(MAPPING)["StateTransitionReason"] == "USER_INITIATED"
        assert service.stop() == 0
        assert service.problems() == []


def test_a_user_without_permission_is_told_and_reads_once_it_is_given(rabbitmq: RabbitMQBroker, ledger: Ledger) -> None:
    container, user, queue = container_of(rabbitmq), unique("user"), rabbitmq.declare_queue()
    container.run("rabbitmqctl", "add_user", user, "secret")
    container.run("rabbitmqctl", "set_permissions", user, "", "", "nothing")
    as_user = RabbitMQBroker(rabbitmq.url.replace("guest:guest", f"{user}:secret"), container)
    with reading_queue(ledger, as_user, queue).service() as service:
        state = service.wait_for_problem(MAPPING, f"refuses queue '{queue}' .*the user needs permission to read it")
        assert state["StateTransitionReason"] == "EVENT_SOURCE_AUTHZ_ERROR"
        container.run("rabbitmqctl", "set_permissions", user, "", "", ".*")
        ledger.publish(rabbitmq, queue, 3)
        ledger.wait_until_handled()
        assert service.stop() == 0
        assert service.problems() == []


def test_a_consumer_whose_queue_becomes_a_stream_is_told(rabbitmq: RabbitMQBroker, opened_queue: Opener) -> None:
    queue = rabbitmq.declare_queue()
    source = opened_queue(queue)
    rabbitmq.delete_queue(queue)
    rabbitmq.declare_queue("stream", name=queue)
    with pytest.raises(SourceUnavailable, match="cancelled the consumer"):
        take(source, 1)
    source.close()
    with pytest.raises(SourceRejected, match="is a stream"):
        source.open(Calls().listener())


@pytest.mark.parametrize("kind", ["quorum", "classic"])
def test_of_a_single_active_consumer_the_other_takes_over(
    rabbitmq: RabbitMQBroker, opened_queue: Opener, kind: str
) -> None:
    queue = rabbitmq.declare_queue(kind, x_single_active_consumer=True)
    active, waiting = opened_queue(queue), opened_queue(queue)
    rabbitmq.publish(queue, [b"first", b"second"])
    first, _ = take(active, 2)
    assert waiting.poll(0.1) == []
    active.acknowledge(Progress(records=[first]))
    active.close()
    (record,) = take(waiting, 1)
    assert (record.value, record.deliveries) == (b"second", 1)


def test_the_type_of_a_queue_is_asked_for_once_and_no_message_is_touched_by_it(
    rabbitmq: RabbitMQBroker, opened_queue: Opener
) -> None:
    for kind in ("classic", "quorum"):
        queue = rabbitmq.declare_queue(kind)
        rabbitmq.publish(queue, [b"untouched"])
        source = opened_queue(queue)
        assert source._type == kind
        (record,) = take(source, 1)
        assert b'"redelivered":false' in record.encoded
