"""Sends redriven records to Kafka, durable when a call returns: to several topics, in one transaction if wanted."""

# mypy: allow-untyped-calls
# kafka-python has no annotations.

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

from kafka import KafkaProducer
from kafka import errors as kafka_errors

from poller.dead_letters.kafka_client import Cluster, missing_topic, translated
from poller.dead_letters.letter import LetterRefusedError, LettersError
from poller.sources.kafka_python_client import Connections

TOPIC_TIMEOUT = 3.0
"""Seconds to learn a topic's partitions."""

DELIVERY_TIMEOUT = 10.0
"""Seconds until what was sent is acknowledged or has failed, and again until a transaction is committed."""

TRANSACTION_TIMEOUT = 20.0
"""Seconds after which the broker ends a transaction by itself. When a redrive was killed in the middle of one, readers
of committed records wait for that, unless the next redrive ends it first."""

ABORT_TIMEOUT = 2.0
"""Seconds to take a transaction back after a failure; the broker does it, if not."""

MAXIMUM_REQUEST_SIZE = 64 * 1024 * 1024
"""Bytes. Far above what brokers take by default: the topic's own max.message.bytes decides, not the client."""

_TOO_LARGE = (kafka_errors.MessageSizeTooLargeError, kafka_errors.RecordListTooLargeError)


class Message(NamedTuple):
    """A record to send; without a partition its key decides, as for any producer."""

    topic: str
    partition: int | None
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


class KafkaSender:
    """A producer. For one thread; everything blocks, for half a minute at most.

    With a transactional id, each `send` is one transaction: readers of committed records see all of it or nothing,
    whatever happens in between. A second process with the same id ends the transaction of the first, which fails from
    then on.

    Args:
        cluster: whose topics are written.
        transactional_id: None sends without a transaction.
    """

    def __init__(self, cluster: Cluster, transactional_id: str | None = None) -> None:
        self._cluster = cluster
        self._transactional_id = transactional_id
        self._connections = Connections()
        self._producer: KafkaProducer | None = None
        self._missing: set[str] = set()

    def open(self) -> None:
        """Connect; end what a run before has left open.

        Raises:
            LettersError: the cluster is not there, refuses the login, or has no transactions for it.
        """
        if self._producer is None:
            with translated(self._cluster, self._cluster, self._connections):
                self._connect()

    def send(self, messages: Sequence[Message]) -> int:
        """Send all, and return how many the broker has acknowledged: all, or an error is raised.

        Raises:
            LetterRefusedError: one of them is refused for what it is. Of a transaction none has come to pass.
            LettersError: it is not known, or not so, that all are durable.
        """
        self.open()
        with translated(self._cluster, self._cluster, self._connections):
            for message in messages:
                self._check(message)
        try:
            with translated(self._cluster, self._cluster, self._connections):
                return self._send(messages)
        except BaseException:
            # Whatever is under way must not arrive later, behind the back of whoever sends it again. Nor should readers
            # wait for a transaction that nobody will commit.
            if self._transactional_id is not None and self._producer is not None:
                with suppress(kafka_errors.KafkaError, LettersError):
                    self._within(ABORT_TIMEOUT, self._producer.abort_transaction)
            self.close()
            raise

    def close(self) -> None:
        """Leave; what is not acknowledged is given up. Blocks two seconds at most."""
        producer, self._producer = self._producer, None
        if producer is None:
            self._connections.close()
            return
        try:
            producer.close(timeout=1)
        except kafka_errors.KafkaTimeoutError:
            producer._sender.force_close()  # noqa: SLF001 - the one way to end a client with letters under way
            with suppress(kafka_errors.KafkaTimeoutError):
                producer.close(timeout=1)

    def _connect(self) -> None:
        self._producer = KafkaProducer(
            **self._cluster.options(),
            kafka_client=self._connections.make,
            transactional_id=self._transactional_id,
            transaction_timeout_ms=int(TRANSACTION_TIMEOUT * 1000),
            acks="all",
            max_request_size=MAXIMUM_REQUEST_SIZE,
            max_block_ms=int(TOPIC_TIMEOUT * 1000),
            delivery_timeout_ms=int(DELIVERY_TIMEOUT * 1000) + self._cluster.options()["request_timeout_ms"],
        )
        if self._transactional_id is None:
            return
        try:
            self._within(DELIVERY_TIMEOUT, self._init_transactions)
        except kafka_errors.KafkaError as error:
            self.close()
            raise LettersError(
                f"{self._cluster} begins no transaction for {self._transactional_id}: {error} "
                "(--without-transactions does without)"
            ) from error

    def _init_transactions(self) -> None:
        assert self._producer is not None
        deadline = time.monotonic() + DELIVERY_TIMEOUT
        while True:
            try:
                self._producer.init_transactions()
            except kafka_errors.KafkaTimeoutError:  # goes on waiting when it is called again
                if time.monotonic() > deadline:
                    raise
            else:
                return

    def _send(self, messages: Sequence[Message]) -> int:
        producer = self._producer
        assert producer is not None
        if self._transactional_id is not None:
            producer.begin_transaction()
        deadline = time.monotonic() + DELIVERY_TIMEOUT
        futures = []
        for message in messages:
            try:
                futures.append(
                    producer.send(
                        message.topic,
                        value=message.value,
                        key=message.key,
                        headers=list(message.headers),
                        partition=message.partition,
                    )
                )
            except _TOO_LARGE as error:
                raise LetterRefusedError(f"the topic {message.topic} refuses it for its size: {error}") from error
        confirmed = 0
        for message, future in zip(messages, futures, strict=True):
            try:
                confirmed += future.get(timeout=max(0.0, deadline - time.monotonic())).offset >= 0
            except _TOO_LARGE as error:
                raise LetterRefusedError(f"the topic {message.topic} refuses it for its size") from error
        if self._transactional_id is not None:
            self._within(DELIVERY_TIMEOUT, producer.commit_transaction)
        return confirmed

    def _check(self, message: Message) -> None:
        assert self._producer is not None
        if message.key is None and message.value is None:
            raise LetterRefusedError("a record with neither key nor value cannot be written")
        if message.topic in self._missing:
            raise LetterRefusedError(missing_topic(message.topic, self._cluster.bootstrap_servers))
        try:
            partitions = self._producer.partitions_for(message.topic)
        except (kafka_errors.KafkaTimeoutError, kafka_errors.UnknownTopicOrPartitionError):
            self._missing.add(message.topic)
            raise LetterRefusedError(missing_topic(message.topic, self._cluster.bootstrap_servers)) from None
        except kafka_errors.TopicAuthorizationFailedError:
            self._missing.add(message.topic)
            raise LetterRefusedError(f"this login may not write to the topic {message.topic}") from None
        if message.partition is not None and message.partition not in partitions:
            raise LetterRefusedError(f"the topic {message.topic} has no partition {message.partition} any more")

    def _within(self, seconds: float, call: Callable[[], None]) -> None:
        """Call what has no time limit of its own. A call that is given up goes on until the client is closed."""
        failed: list[BaseException] = []

        def run() -> None:
            try:
                call()
            except BaseException as error:  # noqa: BLE001 - raised again by whoever waits
                failed.append(error)

        thread = threading.Thread(target=run, name="dead-letters-transaction", daemon=True)
        thread.start()
        thread.join(seconds + 1)
        if thread.is_alive():
            raise LettersError(
                f"{self._cluster} does not end a transaction; whether its letters are redriven, the next run will see"
            )
        if failed:
            raise failed[0]
