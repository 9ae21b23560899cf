"""How letters go back: records by a Kafka producer, messages by a RabbitMQ publisher, and then the letter is marked.

Records whose letter lies in the same Kafka cluster, and the mark of the letter, are one transaction: a redrive that is
killed at any point has done both or neither. All else is done in this order: sent, confirmed, marked. Killed between
the last two, the letter comes again with the next redrive: at least once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from poller.dead_letters.kafka_client import Cluster
from poller.dead_letters.kafka_sender import KafkaSender, Message
from poller.dead_letters.kafka_topic import KafkaLetters, KafkaReader
from poller.dead_letters.letter import (
    KafkaOriginal,
    Letter,
    LetterRefusedError,
    LettersError,
    RabbitMQOriginal,
)
from poller.dead_letters.rabbitmq_queue import RabbitMQLetters
from poller.dead_letters.rabbitmq_sender import RabbitMQSender
from poller.dead_letters.reading import with_originals

TOGETHER = 100
"""Letters of one transaction."""


@dataclass(frozen=True, slots=True)
class Origins:
    """Where letters go back to, as far as the letters themselves do not tell."""

    cluster: Cluster | None = None
    """Of records; None: the cluster that the letter names."""
    rabbitmq_url: str | None = None
    """Of messages."""
    same_partition: bool = False
    """Records go to the partition that they were in, whatever their key."""
    transactions: bool = True


class LetterDelivery:
    """See `redrive.Delivery`. For one thread.

    Args:
        box: where the letters lie; surveyed after `open`.
        origins: where they go.
    """

    def __init__(self, box: KafkaLetters | RabbitMQLetters, origins: Origins) -> None:
        self._box = box
        self._origins = origins
        self._senders: dict[tuple[str, ...], KafkaSender] = {}
        self._readers: dict[tuple[str, ...], KafkaReader] = {}
        self._publisher: RabbitMQSender | None = None
        self._ledger: KafkaSender | None = None
        self._joint = False

    def open(self) -> None:
        """End what a run before may have left half done, so that `survey` sees how it ended. Before it, therefore."""
        if not isinstance(self._box, KafkaLetters):
            return
        transactional_id = f"poller-redrive-{self._box.topic}" if self._origins.transactions else None
        self._ledger = KafkaSender(self._box.cluster, transactional_id)
        self._ledger.open()
        cluster = self._cluster("")
        self._joint = self._origins.transactions and (
            set(cluster.bootstrap_servers) == set(self._box.cluster.bootstrap_servers)
            or cluster.cluster_id() == self._box.cluster.cluster_id()
        )

    def complete(self, letter: Letter) -> Letter:
        """Read what the letter names without holding it."""
        if not letter.missing:
            return letter
        try:
            cluster = self._cluster(letter.bootstrap_servers)
        except LetterRefusedError as error:
            return replace(letter, problem=f"{letter.problem}; {error}")
        reader = self._readers.setdefault(cluster.bootstrap_servers, KafkaReader(cluster))
        found = []
        for place in letter.missing:
            original = reader.original(place)
            if original is None:
                return replace(letter, problem=f"{letter.problem}, and {place} is no longer in its topic")
            found.append(original)
        return with_originals(letter, found)

    def together(self, letter: Letter) -> int:
        """Many in a transaction, else one by one, so that a crash repeats one at most."""
        return TOGETHER if self._joint and all(isinstance(item, KafkaOriginal) for item in letter.originals) else 1

    def deliver(self, letters: Sequence[Letter]) -> int:
        """Send, wait for the confirmations, mark."""
        messages = [item for letter in letters for item in letter.originals if isinstance(item, RabbitMQOriginal)]
        confirmed = self._publish(messages) if messages else 0
        if self._joint:
            assert isinstance(self._box, KafkaLetters)
            assert self._ledger is not None
            marks = self._box.marks(letters)
            records = [self._message(item) for letter in letters for item in _records(letter)]
            return confirmed + self._ledger.send([*records, *marks]) - len(marks)
        for letter in letters:
            if records := [self._message(item) for item in _records(letter)]:
                confirmed += self._sender(letter.bootstrap_servers).send(records)
        self._mark(letters)
        return confirmed

    def marked(self, expected: int) -> int:
        """As the broker tells."""
        return self._box.marked(expected)

    def beat(self) -> None:
        """RabbitMQ ends connections that are silent."""
        if isinstance(self._box, RabbitMQLetters):
            self._box.beat()
        if self._publisher is not None:
            self._publisher.beat()

    def close(self) -> None:
        """Leave all brokers; the box is its owner's to close."""
        for sender in self._senders.values():
            sender.close()
        for reader in self._readers.values():
            reader.close()
        if self._publisher is not None:
            self._publisher.close()
        if self._ledger is not None:
            self._ledger.close()

    def _mark(self, letters: Sequence[Letter]) -> None:
        if isinstance(self._box, RabbitMQLetters):
            self._box.mark(letters)
            return
        assert self._ledger is not None
        try:
            self._ledger.send(self._box.marks(letters))
        except LetterRefusedError as error:
            # The records are sent: going on would send more that cannot be marked.
            raise LettersError(f"redriven, but not to be marked as such: {error}") from error

    def _publish(self, messages: Sequence[RabbitMQOriginal]) -> int:
        if self._publisher is None:
            if self._origins.rabbitmq_url is None:
                raise LetterRefusedError(
                    "the letter is about a RabbitMQ message, and no broker is named: give --origin amqp://…"
                )
            self._publisher = RabbitMQSender(self._origins.rabbitmq_url)
        return self._publisher.send(messages)

    def _message(self, original: KafkaOriginal) -> Message:
        partition = original.place.partition if self._origins.same_partition else None
        return Message(original.place.topic, partition, original.key, original.value, original.headers)

    def _sender(self, bootstrap_servers: str) -> KafkaSender:
        cluster = self._cluster(bootstrap_servers)
        return self._senders.setdefault(cluster.bootstrap_servers, KafkaSender(cluster))

    def _cluster(self, bootstrap_servers: str) -> Cluster:
        """What the user names, else where the letters lie, else what the letter names."""
        if self._origins.cluster is not None:
            return self._origins.cluster
        if isinstance(self._box, KafkaLetters):
            return self._box.cluster
        if not bootstrap_servers:
            raise LetterRefusedError("the letter does not tell its Kafka cluster: give --origin kafka://host:9092")
        return Cluster(tuple(bootstrap_servers.split(",")))


def _records(letter: Letter) -> list[KafkaOriginal]:
    return [item for item in letter.originals if isinstance(item, KafkaOriginal)]
