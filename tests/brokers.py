"""Real brokers for tests: an address from the environment, else a container; and what tests do with them.

`POLLER_TEST_KAFKA=host:port` and `POLLER_TEST_RABBITMQ=amqp://user:password@host:port` name brokers that run already.
Without them a container is started, once per test session, on a free and fixed port of 127.0.0.1, so that it comes
back at the same address with the same data when a test restarts it.
"""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any, ClassVar, NamedTuple, Self

import docker
import pika
from docker.errors import APIError, DockerException, ImageNotFound
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.consumer.fetcher import ConsumerRecord
from kafka.errors import KafkaError, RetriableError
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError

from poller.sources.kafka_event import KafkaSettings
from poller.sources.rabbitmq_event import RabbitMQSettings
from tests.waiting import eventually

KAFKA_IMAGE = "apache/kafka:4.3.0"
RABBITMQ_IMAGE = "rabbitmq:4-management"
RABBITMQ_ARN = "arn:aws:mq:us-east-1:123456789012:broker:tests:b-1"
START_TIMEOUT = 90.0
QUICK_START = {"KAFKA_JVM_PERFORMANCE_OPTS": "-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Djava.awt.headless=true"}
"""Two thirds of the work until a broker of Kafka answers; it is slower later, under a load that no test brings."""


class BrokerUnavailable(Exception):  # noqa: N818
    """There is nothing to test with: no address in the environment, and no container engine with the image."""


def unique(prefix: str) -> str:
    """A name that no other test uses."""
    return f"{prefix}-{uuid.uuid4().hex[:10]}"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Container:
    """One broker's container. `restart` and `pause` return when Docker is done; the broker takes longer."""

    def __init__(
        self,
        image: str,
        *,
        hostname: str,
        environment: Mapping[str, str],
        ports: Mapping[int, int],
        files: Mapping[str, bytes] | None = None,
    ) -> None:
        from testcontainers.core.config import testcontainers_config
        from testcontainers.core.container import DockerContainer

        try:
            client = docker.from_env()
        except DockerException as error:
            raise BrokerUnavailable(f"no container engine answers: {error}") from None
        try:
            _require_image(client, image)
            # Without its reaper testcontainers still stops what a session stops itself.
            testcontainers_config.ryuk_disabled = not _has_image(client, testcontainers_config.ryuk_image)
        finally:
            client.close()
        self._container = DockerContainer(image, hostname=hostname)
        self._container.with_envs(**environment)
        for inside, outside in ports.items():
            self._container.with_bind_ports(inside, outside)
        for path, content in (files or {}).items():
            self._container.with_copy_into_container(content, path)
        self._container.start()

    @property
    def _docker(self) -> Any:
        return self._container.get_wrapped_container()

    def restart(self) -> None:
        self._docker.restart(timeout=20)

    def kill(self) -> None:
        """End the broker as a power cut does; `start` brings it back with its data."""
        self._docker.kill()

    def start(self) -> None:
        self._docker.start()

    def wait_for_log(self, text: str) -> None:
        """Wait for a line of the present run, not of one before a restart."""

        def logged() -> bool:
            self._docker.reload()
            started = datetime.fromisoformat(self._docker.attrs["State"]["StartedAt"][:26] + "+00:00")
            return text.encode() in self._docker.logs(since=started)

        eventually(logged, timeout=START_TIMEOUT, what=f"{text!r} in the log of {self._container.image}")

    def run(self, *command: str) -> str:
        """The output of a command inside the container."""
        status, output = self._docker.exec_run(list(command))
        text: str = output.decode()
        assert status == 0, text
        return text

    @contextmanager
    def paused(self) -> Iterator[None]:
        """The broker hangs: connections stay, nothing answers."""
        eventually(self._freeze, what="a container that is frozen")
        try:
            yield
        finally:
            self._docker.unpause()

    def _freeze(self) -> bool:
        """Whether that went well; a kernel without time for one of the processes gives it up, and lets all go on."""
        try:
            self._docker.pause()
        except APIError as error:
            if "unable to freeze" not in str(error):
                raise
            return False
        return True

    def stop(self) -> None:
        with suppress(DockerException):
            self._container.stop()
        self._container.get_docker_client().client.close()


def _has_image(client: Any, image: str) -> bool:
    try:
        client.images.get(image)
    except ImageNotFound:
        return False
    return True


def _require_image(client: Any, image: str) -> None:
    if not _has_image(client, image):
        try:
            client.images.pull(image)
        except DockerException as error:
            raise BrokerUnavailable(f"image {image} is neither here nor can it be pulled: {error}") from None


# --- Kafka ---------------------------------------------------------------------------------------------------------


class Produce(NamedTuple):
    """A record to produce."""

    value: bytes | None
    key: bytes | None = None
    headers: Sequence[tuple[str, bytes | None]] = ()
    partition: int | None = None
    timestamp: int | None = None


def kafka_environment(listeners: Mapping[str, int], protocols: Mapping[str, str]) -> dict[str, str]:
    """Variables of a broker that listens on these ports of 127.0.0.1, beside those that it needs for itself."""
    ports = {"INTERNAL": 9092, **listeners}
    hosts = {name: "kafka" if name == "INTERNAL" else "127.0.0.1" for name in ports}
    protocols = {"INTERNAL": "PLAINTEXT", "CONTROLLER": "PLAINTEXT", **protocols}
    return {
        "KAFKA_NODE_ID": "1",
        "KAFKA_PROCESS_ROLES": "broker,controller",
        "KAFKA_LISTENERS": ",".join(f"{name}://:{port}" for name, port in {**ports, "CONTROLLER": 9093}.items()),
        "KAFKA_ADVERTISED_LISTENERS": ",".join(f"{name}://{hosts[name]}:{port}" for name, port in ports.items()),
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": ",".join(f"{name}:{kind}" for name, kind in protocols.items()),
        "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "KAFKA_INTER_BROKER_LISTENER_NAME": "INTERNAL",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@kafka:9093",
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
        "KAFKA_SHARE_COORDINATOR_STATE_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_SHARE_COORDINATOR_STATE_TOPIC_MIN_ISR": "1",
        "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
        "KAFKA_HEAP_OPTS": "-Xmx512M -Xms256M",
    }


class KafkaBroker:
    """A running Kafka. `container` is None when the address came from the environment."""

    machine: ClassVar[Mapping[str, str]] = QUICK_START
    """Variables for Java's virtual machine."""

    def __init__(self, address: str, container: Container | None = None) -> None:
        self.address = address
        self.container = container

    @classmethod
    def start(cls) -> Self:
        """The broker named in the environment, else a new container.

        Raises:
            BrokerUnavailable: neither is there.
        """
        address = os.environ.get("POLLER_TEST_KAFKA")
        if address:
            return cls(address)
        port = free_port()
        environment = {**kafka_environment({"EXTERNAL": port}, {"EXTERNAL": "PLAINTEXT"}), **cls.machine}
        broker = cls(
            f"127.0.0.1:{port}",
            Container(KAFKA_IMAGE, hostname="kafka", environment=environment, ports={port: port}),
        )
        broker.wait_until_ready()
        return broker

    @property
    def service_address(self) -> str:
        """Where the program under test gets in."""
        return self.address

    @property
    def access(self) -> list[dict[str, str]]:
        """Its SourceAccessConfigurations there: the two of the network stand for no login."""
        return [
            {"Type": "VPC_SUBNET", "URI": "subnet:subnet-0"},
            {"Type": "VPC_SECURITY_GROUP", "URI": "security_group:sg-0"},
        ]

    @property
    def secrets(self) -> dict[str, dict[str, str]]:
        """What the secrets hold that are named there."""
        return {}

    def wait_until_ready(self) -> None:
        assert self.container is not None
        self.container.wait_for_log("Kafka Server started")
        eventually(self._answers, timeout=START_TIMEOUT, pause=0.1, what=f"an answer of Kafka at {self.address}")

    def _answers(self) -> bool:
        try:
            consumer = KafkaConsumer(bootstrap_servers=self.address, group_id="readiness")
            try:
                # The group's coordinator needs a moment more.
                consumer.committed(TopicPartition("readiness", 0), timeout_ms=30_000)
            finally:
                consumer.close()
        except KafkaError:  # a broker that hung for ten seconds is out of its own cluster for a moment
            return False
        return True

    def restart(self) -> None:
        """Stop and start the broker, and wait until it answers again."""
        assert self.container is not None
        self.container.restart()
        self.wait_until_ready()

    @contextmanager
    def admin(self) -> Iterator[KafkaAdminClient]:
        client = KafkaAdminClient(bootstrap_servers=self.address)
        try:
            yield client
        finally:
            client.close()

    def create_topic(
        self, partitions: int = 1, *, name: str | None = None, configs: Mapping[str, str] | None = None
    ) -> str:
        """Make a topic of a name that is not taken, and return the name."""
        topic = name or unique("topic")
        with self.admin() as admin:
            description = {"num_partitions": partitions, "replication_factor": 1, "configs": dict(configs or {})}
            admin.create_topics({topic: description}, wait_for_metadata=True)
        return topic

    def delete_topic(self, topic: str) -> None:
        with self.admin() as admin:
            admin.delete_topics([topic])

    def add_partitions(self, topic: str, partitions: int) -> None:
        """Give a topic so many partitions in all."""
        with self.admin() as admin:
            admin.create_partitions({topic: partitions})

    def configure_topic(self, topic: str, **configs: str) -> None:
        """Change settings of a topic, such as `max_message_bytes`."""
        given = {name.replace("_", "."): value for name, value in configs.items()}
        with self.admin() as admin:
            admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs=given)])

    def has_topic(self, topic: str) -> bool:
        with self.admin() as admin:
            return topic in admin.list_topics()

    def produce(self, topic: str, records: Iterable[Produce | bytes]) -> None:
        """Append records; returns when all of them are durable."""
        producer = KafkaProducer(bootstrap_servers=self.address, acks="all", linger_ms=5, max_request_size=32 << 20)
        try:
            sent = []
            for given in records:
                one = given if isinstance(given, Produce) else Produce(given)
                sent.append(
                    producer.send(
                        topic,
                        value=one.value,
                        key=one.key,
                        headers=list(one.headers),
                        partition=one.partition,
                        timestamp_ms=one.timestamp,
                    )
                )
            producer.flush()
            for future in sent:
                future.get(timeout=30)
        finally:
            producer.close()

    def read(self, topic: str) -> list[ConsumerRecord]:
        """All records of a topic, from the beginning to the present end."""
        consumer = KafkaConsumer(bootstrap_servers=self.address, isolation_level="read_committed")
        try:
            partitions = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic)]
            ends = consumer.end_offsets(partitions)
            consumer.assign(partitions)
            consumer.seek_to_beginning(*partitions)
            records: list[ConsumerRecord] = []
            while any(consumer.position(partition) < ends[partition] for partition in partitions):
                for some in consumer.poll(timeout_ms=500).values():
                    records += some
            return records
        finally:
            consumer.close()

    def committed(self, topic: str, group: str) -> dict[str, int]:
        """Committed offsets of a group by shard, such as `{"orders-0": 15}`; shards without one are missing."""

        def read() -> list[Any]:
            with self.admin() as admin, suppress(RetriableError):  # a broker that comes back looks for its groups first
                return [admin.list_group_offsets({group: None})[group]]
            return []

        (offsets,) = eventually(read, what=f"the offsets of {group}")
        return {
            f"{topic}-{partition.partition}": offset.offset
            for partition, offset in offsets.items()
            if partition.topic == topic and offset.offset >= 0
        }

    def settings(self, topic: str, **others: Any) -> KafkaSettings:
        """Settings of a source that reads the topic, by default in a group of its own."""
        given = {"group_id": unique("group"), "session_timeout": 6.0, **others}
        return KafkaSettings(bootstrap_servers=[self.address], topic=topic, **given)

    def stop(self) -> None:
        if self.container is not None:
            self.container.stop()


# --- RabbitMQ ------------------------------------------------------------------------------------------------------


class RabbitMQBroker:
    """A running RabbitMQ. `container` is None when the address came from the environment."""

    def __init__(self, url: str, container: Container | None = None) -> None:
        self.url = url
        self.container = container

    @classmethod
    def start(cls) -> Self:
        """The broker named in the environment, else a new container.

        Raises:
            BrokerUnavailable: neither is there.
        """
        url = os.environ.get("POLLER_TEST_RABBITMQ")
        if url:
            return cls(url)
        port = free_port()
        container = Container(RABBITMQ_IMAGE, hostname="rabbitmq", environment={}, ports={5672: port})
        broker = cls(f"amqp://guest:guest@127.0.0.1:{port}", container)
        broker.wait_until_ready()
        return broker

    @property
    def service_url(self) -> str:
        """Where the program under test gets in, without a virtual host."""
        return self.url

    def wait_until_ready(self) -> None:
        eventually(self._answers, timeout=START_TIMEOUT, pause=0.1, what=f"an answer of RabbitMQ at {self.url}")

    def _answers(self) -> bool:
        try:
            with self.channel() as channel:
                channel.queue_declare("", exclusive=True)
        except (AMQPError, OSError):
            return False
        return True

    def restart(self) -> None:
        """Stop and start the broker, and wait until it answers again."""
        assert self.container is not None
        self.container.restart()
        self.wait_until_ready()

    @contextmanager
    def channel(self) -> Iterator[BlockingChannel]:
        """A channel with publisher confirms, on a connection of its own."""
        connection = pika.BlockingConnection(pika.URLParameters(self.url))
        try:
            channel = connection.channel()
            channel.confirm_delivery()
            yield channel
        finally:
            if connection.is_open:
                connection.close()

    def declare_queue(
        self, kind: str = "quorum", *, name: str | None = None, dead_letters: bool = False, **arguments: Any
    ) -> str:
        """Make a durable `quorum` or `classic` queue, by default of a name that is not taken, and return the name.

        With `dead_letters`, what is rejected goes to the queue `<name>.dead`. Further arguments are given with
        underscores: `x_delivery_limit=5`.
        """
        queue = name or unique("queue")
        given = {"x-queue-type": kind, **{name.replace("_", "-"): value for name, value in arguments.items()}}
        if dead_letters:
            given |= {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": f"{queue}.dead"}
        with self.channel() as channel:
            channel.queue_declare(queue, durable=True, arguments=given)
            if dead_letters:
                channel.queue_declare(f"{queue}.dead", durable=True, arguments={"x-queue-type": kind})
        return queue

    def delete_queue(self, queue: str) -> None:
        with self.channel() as channel:
            channel.queue_delete(queue)

    def publish(self, queue: str, bodies: Iterable[bytes], **properties: Any) -> None:
        """Put messages into a queue; returns when the broker has confirmed all of them."""
        with self.channel() as channel:
            for body in bodies:
                channel.basic_publish("", queue, body, pika.BasicProperties(**properties), mandatory=True)

    def depth(self, queue: str) -> int:
        """Messages that are ready, as a passive declare tells."""
        with self.channel() as channel:
            count: int = channel.queue_declare(queue, passive=True).method.message_count
            return count

    def drain(self, queue: str) -> list[tuple[pika.BasicProperties, bytes]]:
        """Take all messages that are ready out of a queue."""
        messages = []
        with self.channel() as channel:
            while (got := channel.basic_get(queue, auto_ack=True))[0] is not None:
                messages.append((got[1], got[2]))
        return messages

    def settings(self, queue: str, **others: Any) -> RabbitMQSettings:
        """Settings of a source that reads the queue."""
        return RabbitMQSettings.from_url(self.url, queue=queue, event_source_arn=RABBITMQ_ARN, **others)

    def stop(self) -> None:
        if self.container is not None:
            self.container.stop()
