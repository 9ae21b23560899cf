"""Dead letters against real brokers: what only a real broker refuses, loses or forgets."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from brokers import KafkaBroker, RabbitMQBroker, unique
from pika import URLParameters
from waiting import eventually

from poller.clock import SystemClock
from poller.destinations.kafka import KafkaDestination
from poller.destinations.rabbitmq import RabbitMQDestination
from poller.destinations.worker import DestinationWorker
from poller.errors import DestinationError
from poller.model import DeadLetter

pytestmark = [
    pytest.mark.broker,
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

WHOLE = b'{"payload":"' + b"x" * 20_000_000 + b'"}'
REDUCED = b'{"requestContext":{}}'
LARGE = DeadLetter(WHOLE, b"k", (("trace", b"1"),), without_payload=REDUCED)
SMALL = DeadLetter(b'{"payload":1}', b"k")


# --- Kafka ---------------------------------------------------------------------------------------------------------


def test_letters_of_one_key_stay_in_one_partition(kafka: KafkaBroker) -> None:  # D.1.4: key = original key
    topic = kafka.create_topic(partitions=4)
    destination = KafkaDestination(kafka.address, topic)
    destination.send([DeadLetter(b"%d" % number, b"device-%d" % (number % 10)) for number in range(100)])
    destination.close()
    found = kafka.read(topic)
    assert len({(record.key, record.partition) for record in found}) == 10
    assert len({record.partition for record in found}) > 1


def test_headers_keep_their_order_and_repeats(kafka: KafkaBroker) -> None:  # F.1: the original headers stay
    topic = kafka.create_topic()
    headers = (("trace", b"2"), ("trace", b"1"), ("__connect.errors.topic", b"orders"))
    destination = KafkaDestination(kafka.address, topic)
    destination.send([DeadLetter(b"{}", headers=headers)])
    destination.close()
    (found,) = kafka.read(topic)
    assert tuple(found.headers) == headers


def test_a_missing_topic_is_not_created(kafka: KafkaBroker) -> None:
    topic = unique("missing")
    destination = KafkaDestination(kafka.address, topic)
    with pytest.raises(DestinationError, match=f"{topic} at {kafka.address} does not exist.*create it"):
        destination.send([SMALL])
    assert not kafka.has_topic(topic)


def test_a_topic_that_is_created_later_is_found(kafka: KafkaBroker) -> None:
    topic = unique("later")
    destination = KafkaDestination(kafka.address, topic)
    with pytest.raises(DestinationError):
        destination.send([SMALL])
    kafka.create_topic(name=topic)
    destination.send([SMALL])
    destination.close()
    assert [record.value for record in kafka.read(topic)] == [SMALL.body]


def test_kafka_gets_a_letter_that_is_too_large_without_its_payload_and_its_neighbours_whole(
    kafka: KafkaBroker,
) -> None:
    topic = kafka.create_topic()
    destination = KafkaDestination(kafka.address, topic)
    destination.send([SMALL, LARGE, SMALL])
    destination.close()
    found = kafka.read(topic)
    assert sorted(record.value for record in found) == sorted([SMALL.body, SMALL.body, REDUCED])
    (reduced,) = [record for record in found if record.value == REDUCED]
    assert (reduced.key, list(reduced.headers)) == (b"k", [("trace", b"1")])


def test_a_large_letter_goes_whole_where_the_topic_allows_it(kafka: KafkaBroker) -> None:
    topic = kafka.create_topic(configs={"max.message.bytes": str(30_000_000)})
    destination = KafkaDestination(kafka.address, topic)
    destination.send([LARGE])
    destination.close()
    assert [len(record.value) for record in kafka.read(topic)] == [len(WHOLE)]


def test_an_unreachable_cluster_is_told_with_its_address() -> None:
    with pytest.raises(DestinationError, match=r"topic failed at 127\.0\.0\.1:1: .*bootstrap"):
        KafkaDestination("127.0.0.1:1", "failed").send([SMALL])


def test_the_worker_brings_letters_through_an_outage_of_kafka(kafka: KafkaBroker) -> None:
    if kafka.container is None:
        pytest.skip("the broker is not ours to pause")
    topic = kafka.create_topic(partitions=4)
    during = [DeadLetter(b"during %d" % number, b"%d" % number) for number in range(200)]
    failed, done, again = threading.Event(), threading.Event(), threading.Event()
    worker = DestinationWorker(
        KafkaDestination(kafka.address, topic),
        "outage",
        clock=SystemClock(),
        on_error=lambda _: failed.set(),
        delay=lambda _: 0.2,
    )
    worker.start()
    worker.submit([DeadLetter(b"before")], done.set)
    assert done.wait(30)
    with kafka.container.paused():
        worker.submit(during, again.set)
        assert failed.wait(30)
        assert not again.is_set()
    assert again.wait(60)
    worker.stop(grace=10)
    # The first try may have reached the broker before it stood still: twice is allowed, never is not.
    assert {record.value for record in kafka.read(topic)} == {b"before", *(letter.body for letter in during)}
    eventually(lambda: not any(topic in thread.name for thread in threading.enumerate()), what="the end of the clients")


# --- RabbitMQ ------------------------------------------------------------------------------------------------------


@pytest.fixture
def exchange(rabbitmq: RabbitMQBroker) -> Iterator[str]:
    name = unique("exchange")
    with rabbitmq.channel() as channel:
        channel.exchange_declare(name, "topic", durable=True)
    yield name
    with rabbitmq.channel() as channel:
        channel.exchange_delete(name)


def test_letters_are_persistent_json_with_headers_as_strings(rabbitmq: RabbitMQBroker, exchange: str) -> None:  # F.1
    queue = rabbitmq.declare_queue()
    with rabbitmq.channel() as channel:
        channel.queue_bind(queue, exchange, "failed.#")
    destination = RabbitMQDestination(rabbitmq.url, exchange, "failed.tasks")
    destination.send([DeadLetter(b"{}", headers=(("poller.errors.attempts", b"3"), ("trace", b"1"), ("trace", b"2")))])
    destination.close()
    ((properties, body),) = rabbitmq.drain(queue)
    assert body == b"{}"
    assert properties.delivery_mode == 2
    assert properties.content_type == "application/json"
    assert properties.headers == {"poller.errors.attempts": "3", "trace": "2"}


def test_a_letter_that_no_queue_takes_is_an_error(rabbitmq: RabbitMQBroker, exchange: str) -> None:
    destination = RabbitMQDestination(rabbitmq.url, exchange, "nowhere")
    with pytest.raises(DestinationError, match=f"exchange {exchange}.*no queue is bound"):
        destination.send([SMALL])
    destination.close()


def test_a_letter_that_the_broker_refuses_is_an_error(rabbitmq: RabbitMQBroker) -> None:
    queue = rabbitmq.declare_queue("classic", x_max_length=1, x_overflow="reject-publish")
    destination = RabbitMQDestination(rabbitmq.url, "", queue)
    with pytest.raises(DestinationError, match="the broker refused it"):
        destination.send([SMALL] * 5)
    destination.close()


def test_rabbitmq_gets_a_letter_that_is_too_large_without_its_payload(rabbitmq: RabbitMQBroker) -> None:
    queue = rabbitmq.declare_queue()
    destination = RabbitMQDestination(rabbitmq.url, "", queue)
    destination.send([SMALL, LARGE, SMALL])
    destination.close()
    assert [body for _, body in rabbitmq.drain(queue)] == [SMALL.body, REDUCED, SMALL.body]


def test_a_connection_that_ended_meanwhile_is_replaced(rabbitmq: RabbitMQBroker) -> None:
    if rabbitmq.container is None:
        pytest.skip("the broker is not ours to restart")
    queue = rabbitmq.declare_queue()
    destination = RabbitMQDestination(rabbitmq.url, "", queue)
    destination.send([DeadLetter(b"before")])
    rabbitmq.restart()
    destination.send([DeadLetter(b"after"), DeadLetter(b"later")])
    destination.close()
    assert [body for _, body in rabbitmq.drain(queue)] == [b"before", b"after", b"later"]


def test_a_refused_login_is_told_without_the_password(rabbitmq: RabbitMQBroker) -> None:
    address = URLParameters(rabbitmq.url)
    url = f"amqp://guest:wrong-secret@{address.host}:{address.port}/%2F"
    with pytest.raises(DestinationError, match="ACCESS_REFUSED") as error:
        RabbitMQDestination(url, "", "queue").send([SMALL])
    assert "wrong-secret" not in str(error.value)
    assert f"{address.host}:{address.port}" in str(error.value)


def test_an_unreachable_rabbitmq_is_told_with_its_address() -> None:
    with pytest.raises(DestinationError, match=r"RabbitMQ at 127\.0\.0\.1:1, virtual host tasks: .*refused"):
        RabbitMQDestination("amqp://a:b@127.0.0.1:1/tasks", "", "queue").send([SMALL])
