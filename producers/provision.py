"""Makes the sample's topics, exchange and queues, with the properties the sample counts on. Idempotent.

`python -m producers.provision` waits for brokers that are just starting.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

import pika
from kafka import KafkaAdminClient
from kafka.errors import KafkaError, TopicAlreadyExistsError
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPConnectionError, AMQPError, ChannelClosedByBroker, ProbableAuthenticationError

from producers.command import CommandError, ExitCode, Stop, kafka_address, main, rabbitmq_address

TOPIC = "telemetry"
DEAD_LETTER_TOPIC = "telemetry-dlq"
TOPICS = {TOPIC: 4, DEAD_LETTER_TOPIC: 1}
"""Name and partitions."""

QUEUE = "tasks"
DEAD_LETTER_EXCHANGE = "dead-letters"
DEAD_LETTER_QUEUE = "tasks-dead"
PAYMENTS_QUEUE = "payments-failed"
"""Stands for the SQS queue of functions/payments."""

QUEUES: dict[str, dict[str, object]] = {
    QUEUE: {
        "x-queue-type": "quorum",
        "x-dead-letter-exchange": DEAD_LETTER_EXCHANGE,
        # A dead letter stays here until tasks-dead has it. The broker demands reject-publish with it: a full queue
        # refuses new messages rather than dropping old ones.
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    },
    DEAD_LETTER_QUEUE: {
        "x-queue-type": "quorum",
        # Looking at dead letters returns them to the queue, which counts as a delivery each time. Without this the
        # twentieth look would drop them.
        "x-delivery-limit": -1,
    },
    PAYMENTS_QUEUE: {"x-queue-type": "quorum", "x-delivery-limit": -1},
}
"""Name and arguments; all durable."""

AGAIN = 0.5
"""Seconds between two tries to reach a broker."""


def provision_kafka(bootstrap_servers: str) -> None:
    """Make the topics that are missing. Raises CommandError, unreachable after a few seconds."""
    try:
        admin = KafkaAdminClient(bootstrap_servers=bootstrap_servers, bootstrap_timeout_ms=5000)
    except KafkaError as error:
        raise kafka_unreachable(bootstrap_servers, error) from None
    try:
        missing = {
            name: {"num_partitions": partitions, "replication_factor": 1}
            for name, partitions in TOPICS.items()
            if name not in admin.list_topics()
        }
        if missing:
            admin.create_topics(missing, wait_for_metadata=True)
    except TopicAlreadyExistsError:
        pass  # somebody else makes them at the same time
    except KafkaError as error:
        raise CommandError(ExitCode.REFUSED, f"Kafka at {bootstrap_servers} makes no topics: {error}") from None
    finally:
        admin.close()


def provision_rabbitmq(url: str) -> None:
    """Make the exchange and the queues that are missing. Raises CommandError."""
    connection = connect_rabbitmq(url)
    try:
        channel = connection.channel()
        channel.exchange_declare(DEAD_LETTER_EXCHANGE, exchange_type="fanout", durable=True)
        for name, arguments in QUEUES.items():
            channel.queue_declare(name, durable=True, arguments=arguments)
        channel.queue_bind(DEAD_LETTER_QUEUE, DEAD_LETTER_EXCHANGE)
    except ChannelClosedByBroker as error:
        message = f"RabbitMQ at {shown(url)}: {error.reply_text}; delete the old one, or start afresh with make clean"
        raise CommandError(ExitCode.REFUSED, message) from None
    except AMQPError as error:
        raise rabbitmq_unreachable(url, error) from None
    finally:
        close_rabbitmq(connection)


def connect_rabbitmq(url: str) -> pika.BlockingConnection:
    """Connect within a few seconds. Raises CommandError."""
    try:
        parameters = pika.URLParameters(url)
        parameters.socket_timeout = parameters.stack_timeout = 5
        return pika.BlockingConnection(parameters)
    except ProbableAuthenticationError:
        raise CommandError(ExitCode.REFUSED, f"RabbitMQ at {shown(url)} refuses the login") from None
    except (AMQPConnectionError, OSError) as error:
        raise rabbitmq_unreachable(url, error) from None
    except (ValueError, TypeError, IndexError) as error:
        reason = f"{shown(url)} is no address of RabbitMQ ({error}); such as amqp://user:password@host:5672/vhost"
        raise CommandError(ExitCode.USAGE, reason) from None


def close_rabbitmq(connection: pika.BlockingConnection) -> None:
    """Close what may be closed or broken already."""
    if connection.is_open:
        connection.close()


def declared(channel: BlockingChannel, queue: str) -> int:
    """Messages that are ready in a queue, which must exist: else CommandError, and the channel is gone."""
    try:
        return int(channel.queue_declare(queue, passive=True).method.message_count)
    except ChannelClosedByBroker as error:
        message = f"RabbitMQ: {error.reply_text}; to make the sample's queues: python -m producers.provision"
        raise CommandError(ExitCode.MISSING, message) from None


def kafka_unreachable(bootstrap_servers: str, error: Exception) -> CommandError:
    """The same words wherever Kafka does not answer."""
    message = (
        f"no Kafka answers at {bootstrap_servers} ({error}); is it up (make up), is the address right (--address)?"
    )
    return CommandError(ExitCode.UNREACHABLE, message)


def rabbitmq_unreachable(url: str, error: Exception) -> CommandError:
    """The same words wherever RabbitMQ does not answer."""
    reason = str(error) or type(error).__name__
    message = f"no RabbitMQ answers at {shown(url)} ({reason}); is it up (make up), is the address right (--address)?"
    return CommandError(ExitCode.UNREACHABLE, message)


def shown(url: str) -> str:
    """An AMQP URL as it may be shown: without login."""
    scheme, _, rest = url.rpartition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}" if scheme else rest.rpartition("@")[2]


def retried(step: Callable[[], None], seconds: float, stop: Stop) -> None:
    """Do a step again while its broker is unreachable, for that many seconds."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return step()
        except CommandError as error:
            if error.code is not ExitCode.UNREACHABLE or time.monotonic() >= deadline or stop:
                raise
        stop.wait(AGAIN)


def run(arguments: argparse.Namespace, stop: Stop) -> ExitCode:
    """Both brokers, one after the other."""
    retried(lambda: provision_kafka(arguments.kafka), arguments.wait, stop)
    retried(lambda: provision_rabbitmq(arguments.rabbitmq), arguments.wait, stop)
    print(f"topics {', '.join(TOPICS)} and queues {', '.join(QUEUES)} are there")
    return ExitCode.OK


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m producers.provision", description=__doc__)
    parser.add_argument("--kafka", default=kafka_address(), help="bootstrap servers (KAFKA_BOOTSTRAP_SERVERS)")
    parser.add_argument("--rabbitmq", default=rabbitmq_address(), help="amqp:// address (RABBITMQ_URL)")
    parser.add_argument("--wait", type=float, default=60, help="seconds to wait for a broker (60)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main(run, arguments()))
