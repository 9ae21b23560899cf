"""The books of a run: every record that was produced, and every handling of one. What was lost is what is missing."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from brokers import KafkaBroker, Produce, RabbitMQBroker
from waiting import eventually


class Handling(NamedTuple):
    """One record in one invocation, as the handler noted it (`handlers/work.py`)."""

    id: str | None
    poison: bool
    shard: str
    position: int | None
    """Offset of a Kafka record."""
    body: str | None
    redelivered: bool
    time: float
    """Monotonic seconds, the same clock for all processes."""
    poller: int
    """Process id of the service whose handler it was."""
    request: str


class Ledger:
    """What was produced, kept here, and what was handled, in a file that handlers append to."""

    def __init__(self, folder: Path, *, seed: int = 1) -> None:
        self.path = folder / "ledger"
        self.path.touch()
        self.good: set[str] = set()
        self.poison: set[str] = set()
        self._random = random.Random(seed)
        self._read_to = 0
        self._handlings: list[Handling] = []

    # --- produced ------------------------------------------------------------------------------------------------

    def bodies(self, count: int, *, poison: float = 0.0, prefix: str = "record", **more: Any) -> list[bytes]:
        """New records, a share of them poison by chance; `more` goes into each body (`work`, `gate`)."""
        made = []
        for _ in range(count):
            name = f"{prefix}-{len(self.good) + len(self.poison):05}"
            is_poison = self._random.random() < poison
            (self.poison if is_poison else self.good).add(name)
            made.append(json.dumps({"id": name, "poison": is_poison, **more}).encode())
        return made

    def produce(
        self, broker: KafkaBroker, topic: str, count: int, *, partitions: int = 4, poison: float = 0.0, **more: Any
    ) -> None:
        """Append records to a topic, turn by turn to its partitions."""
        bodies = self.bodies(count, poison=poison, prefix=topic, **more)
        broker.produce(topic, [Produce(body, partition=number % partitions) for number, body in enumerate(bodies)])

    def publish(self, broker: RabbitMQBroker, queue: str, count: int, *, poison: float = 0.0, **more: Any) -> None:
        """Put messages into a queue, each with its id as messageId."""
        with broker.channel() as channel:
            from pika import BasicProperties

            for body in self.bodies(count, poison=poison, prefix=queue, **more):
                properties = BasicProperties(message_id=json.loads(body)["id"], delivery_mode=2)
                channel.basic_publish("", queue, body, properties, mandatory=True)

    # --- handled -------------------------------------------------------------------------------------------------

    def handlings(self) -> Sequence[Handling]:
        """All so far, in the order in which they were noted."""
        with self.path.open("rb") as file:
            file.seek(self._read_to)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._read_to += len(line)
                self._handlings.append(Handling(**json.loads(line)))
        return self._handlings

    def handled(self) -> set[str]:
        """Ids of the good records that were handled at least once."""
        return {handling.id for handling in self.handlings() if handling.id and not handling.poison}

    def attempts(self) -> Counter[str]:
        """How often each id was handed to the function."""
        return Counter(handling.id for handling in self.handlings() if handling.id)

    def duplicates(self) -> int:
        """Handlings of good records beyond the first of each."""
        good = [handling.id for handling in self.handlings() if handling.id in self.good]
        return len(good) - len(set(good))

    def missing(self) -> set[str]:
        """Good records that were never handled: lost, once nothing waits any more."""
        return self.good - self.handled()

    def wait_until_handled(self, *, timeout: float = 60.0) -> None:
        """Until every good record was handled."""
        eventually(lambda: not self.missing(), timeout=timeout, what="the handling of every good record")

    def wait_for(self, count: int, *, timeout: float = 60.0) -> None:
        """Until there are that many handlings."""
        eventually(lambda: len(self.handlings()) >= count, timeout=timeout, what=f"handling {count}")

    def out_of_order(self) -> list[str]:
        """Ids whose first handling came after the first handling of a later record of their shard."""
        latest: dict[str, int] = {}
        seen: set[tuple[str, int]] = set()
        found = []
        for handling in sorted(self.handlings(), key=lambda one: one.time):
            assert handling.position is not None
            if (handling.shard, handling.position) in seen:
                continue
            seen.add((handling.shard, handling.position))
            if handling.position < latest.get(handling.shard, -1):
                found.append(f"{handling.shard} {handling.position}")
            latest[handling.shard] = max(handling.position, latest.get(handling.shard, -1))
        return found

    def unfinished_below(
        self, committed: Mapping[str, int], given_up: Iterable[tuple[str, int]]
    ) -> list[tuple[str, int]]:
        """Offsets that are committed although their record was neither handled nor given up: there must be none.

        Read `committed` before the rest, since work goes on meanwhile.
        """
        done = {(one.shard, one.position) for one in self.handlings() if not one.poison} | set(given_up)
        return [
            (shard, position)
            for shard, end in committed.items()
            for position in range(end)
            if (shard, position) not in done
        ]


# --- dead letters ---------------------------------------------------------------------------------------------------


class DeadLetter(NamedTuple):
    """An on-failure record (D.1.4) and the records in its payload."""

    record: Mapping[str, Any]
    headers: Mapping[str, str]
    items: Sequence[tuple[str, int]]
    """Shard and offset; empty for RabbitMQ, and where the payload was too large."""
    ids: Sequence[str]
    key: bytes | None = None


def read_letter(body: bytes | str, headers: Mapping[str, str] | None = None, key: bytes | None = None) -> DeadLetter:
    import base64

    record = json.loads(body)
    payload = record.get("payload") or {}
    if isinstance(payload, str):  # of every destination but a Kafka topic
        payload = json.loads(payload)
    items, ids = [], []
    for shard, records in payload.get("records", {}).items():
        for one in records:
            items.append((shard, one["offset"]))
            ids.append(_id_in(base64.b64decode(one["value"] or "")))
    for messages in payload.get("rmqMessagesByQueue", {}).values():
        ids += [_id_in(base64.b64decode(one["data"])) for one in messages]
    return DeadLetter(record, headers or {}, items, ids, key)


def _id_in(body: bytes) -> str:
    try:
        return str(json.loads(body)["id"])
    except (ValueError, TypeError, KeyError):
        return body[:40].decode(errors="replace")


def letters_in_topic(broker: KafkaBroker, topic: str) -> list[DeadLetter]:
    return [
        read_letter(one.value, {name: value.decode(errors="replace") for name, value in one.headers}, one.key)
        for one in broker.read(topic)
    ]


def letters_in_file(path: Path) -> list[DeadLetter]:
    return [read_letter(line) for line in path.read_text().splitlines()] if path.exists() else []


def ids_of(letters: Iterable[DeadLetter]) -> Counter[str]:
    return Counter(name for letter in letters for name in letter.ids)


# --- progress at the broker -----------------------------------------------------------------------------------------


def ends(broker: KafkaBroker, topic: str) -> dict[str, int]:
    """The position after the last record, per shard; partitions without a record are left out."""
    from kafka import KafkaConsumer, TopicPartition

    consumer = KafkaConsumer(bootstrap_servers=broker.address)
    try:
        partitions = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic)]
        return {f"{topic}-{one.partition}": end for one, end in consumer.end_offsets(partitions).items() if end}
    finally:
        consumer.close()


def wait_until_committed(broker: KafkaBroker, topic: str, group: str, *, timeout: float = 60.0) -> None:
    """Until the group has committed the end of every partition: nothing waits any more."""
    wanted = ends(broker, topic)
    eventually_equal(lambda: broker.committed(topic, group), wanted, timeout=timeout, what=f"offsets of {group}")


def eventually_equal(read: Callable[[], Any], wanted: Any, *, timeout: float = 60.0, what: str) -> None:
    def differs() -> str:
        found = read()
        return "" if found == wanted else f"{found} instead of {wanted}"

    last = ""

    def reached() -> bool:
        nonlocal last
        last = differs()
        return not last

    try:
        eventually(reached, timeout=timeout, what=what)
    except AssertionError as error:
        raise AssertionError(f"{error}: {last}") from None
