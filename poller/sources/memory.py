"""A broker inside the process: the reference that real sources are compared with, and what unit tests of the loop use.

`MemoryTopic` behaves as Kafka does (partitions, committed offsets, rebalances that move only what has to move) and
`MemoryQueue` as RabbitMQ does (unsettled messages, redelivery, dead letters). Their sources build the events of D.1.1
and D.2 in the plainest way. One thread uses a broker and all its sources; only `wake` may come from others.
"""

from __future__ import annotations

import json
import threading
from base64 import b64encode
from collections import deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace

from poller.errors import SourceError, SourceUnavailable
from poller.model import Progress, Record, Shard
from poller.sources import Features, Listener


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


class _Bell:
    """Lets a waiting poll go: rung by `wake` from any thread, and by the broker when there is something new."""

    def __init__(self, *, waits: bool) -> None:
        self._waits = waits
        self._event = threading.Event()

    def ring(self) -> None:
        self._event.set()

    def wait(self, seconds: float) -> None:
        if self._waits:
            self._event.wait(seconds)
        self._event.clear()


# --- a topic -------------------------------------------------------------------------------------------------------


class MemoryTopic:
    """Partitions with their records, and one consumer group with its committed offsets."""

    def __init__(self, name: str = "topic", partitions: int = 1) -> None:
        self.name = name
        self.partitions: dict[Shard, list[Record]] = {f"{name}-{number}": [] for number in range(partitions)}
        self.committed: dict[Shard, int] = {}
        self.owners: dict[Shard, MemoryTopicSource] = {}
        self.outage: SourceError | None = None
        """While set, every call of the sources raises it."""
        self._members: list[MemoryTopicSource] = []

    def produce(
        self,
        value: bytes | None,
        *,
        partition: int = 0,
        key: bytes | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
        timestamp: int = 0,
    ) -> Record:
        """Append a record and return it as `poll` will give it."""
        shard = f"{self.name}-{partition}"
        log = self.partitions[shard]
        event: dict[str, object] = {
            "topic": self.name,
            "partition": partition,
            "offset": len(log),
            "timestamp": timestamp,
            "timestampType": "CREATE_TIME",
        }
        if key is not None:
            event["key"] = b64encode(key).decode()
        event["value"] = None if value is None else b64encode(value).decode()
        event["headers"] = [{name: list(memoryview(content).cast("b"))} for name, content in headers]
        record = Record(shard, len(log), timestamp, key, value, headers, _json(event))
        log.append(record)
        if shard in self.owners:
            self.owners[shard].wake()
        return record

    def expel(self, source: MemoryTopicSource) -> None:
        """Throw a member out as after a session timeout: it learns in its next poll that its shards are lost."""
        self._members.remove(source)
        source.expelled = True
        for shard in source.shards:
            del self.owners[shard]

    def join(self, source: MemoryTopicSource) -> None:
        """Called by the source."""
        self._members.append(source)

    def leave(self, source: MemoryTopicSource) -> None:
        """Called by the source."""
        if source in self._members:
            self._members.remove(source)

    def due(self, source: MemoryTopicSource) -> set[Shard]:
        """The shards that a member should own, sticky: what it owns within its fair share, then what nobody owns."""
        fair, more = divmod(len(self.partitions), len(self._members))
        share = fair + (self._members.index(source) < more)
        kept = [shard for shard in self.partitions if self.owners.get(shard) is source][:share]
        free = [shard for shard in self.partitions if shard not in self.owners]
        return {*kept, *free[: share - len(kept)]}


class MemoryTopicSource:
    """A member of the topic's consumer group. See `poller.sources.Source` for the contract."""

    features = Features(ordered=True, redelivers=False, rebalances=True)

    def __init__(self, topic: MemoryTopic, *, max_poll_records: int = 500, waits: bool = False) -> None:
        self._topic = topic
        self._max_poll_records = max_poll_records
        self._bell = _Bell(waits=waits)
        self._listener: Listener | None = None
        self._paused: set[Shard] = set()
        self.shards: dict[Shard, int] = {}
        """Owned shards and the next position of each."""
        self.expelled = False

    def open(self, listener: Listener) -> None:
        """Join the group; shards come in the first polls."""
        self._refuse_in_outage()
        self._listener = listener
        self._topic.join(self)

    def renew_login(self) -> None:
        """Nothing: there is no login."""

    def poll(self, max_wait: float) -> Sequence[Record]:
        """Records of shards that are not paused. Waits only when made with `waits=True`."""
        self._rebalance(self._opened())
        records = self._take()
        if not records and max_wait > 0:
            self._bell.wait(max_wait)
            records = self._take()
        return records

    def _take(self) -> list[Record]:
        records: list[Record] = []
        for shard, position in self.shards.items():
            if shard not in self._paused:
                taken = self._topic.partitions[shard][position : position + self._max_poll_records - len(records)]
                self.shards[shard] += len(taken)
                records += taken
        return records

    def _rebalance(self, listener: Listener) -> None:
        if self.expelled:
            gone = list(self.shards)
            self._forget(gone)
            self.expelled = False
            listener.lost(gone)
            self._topic.join(self)
        due = self._topic.due(self)
        revoked = [shard for shard in self.shards if shard not in due]
        if revoked:
            self._give_up(listener, revoked)
        assigned = [shard for shard in self._topic.partitions if shard in due and shard not in self.shards]
        if assigned:
            for shard in assigned:
                self._topic.owners[shard] = self
                self.shards[shard] = self._topic.committed.get(shard, 0)
            listener.assigned(assigned)

    def _give_up(self, listener: Listener, shards: Collection[Shard]) -> None:
        self.acknowledge(listener.revoked(shards))
        for shard in shards:
            del self._topic.owners[shard]
        self._forget(shards)

    def _forget(self, shards: Collection[Shard]) -> None:
        for shard in shards:
            del self.shards[shard]
            self._paused.discard(shard)

    def pause(self, shards: Collection[Shard]) -> None:
        """Give no more records of these shards."""
        self._paused.update(shard for shard in shards if shard in self.shards)

    def resume(self, shards: Collection[Shard]) -> None:
        """Undo `pause`."""
        self._paused.difference_update(shards)

    def expect(self, batch_size: int) -> None:
        """Nothing: a poll takes what there is."""

    def acknowledge(self, progress: Progress) -> bool:
        """Commit the positions of shards that this member owns."""
        self._opened()
        for shard, position in progress.positions.items():
            if self._topic.owners.get(shard) is self:
                self._topic.committed[shard] = position
        return True

    def build_event(self, records: Sequence[Record]) -> bytes:
        """The event of D.1.1."""
        shards: dict[Shard, list[object]] = {}
        for record in records:
            shards.setdefault(record.shard, []).append(json.loads(record.encoded))
        return _json({"eventSource": "SelfManagedKafka", "bootstrapServers": "memory:0", "records": shards})

    def overhead(self, shards: int) -> int:
        """Bytes around the records."""
        return len(self.build_event([])) + shards * (len(self._topic.name) + len(b'"-2147483647":[],'))

    def lag(self) -> dict[Shard, int]:
        """Records behind the next position."""
        return {shard: len(self._topic.partitions[shard]) - position for shard, position in self.shards.items()}

    def partitions(self) -> int | None:
        """Of the topic."""
        return len(self._topic.partitions)

    def wake(self) -> None:
        """Make a waiting `poll` return at once."""
        self._bell.ring()

    def close(self) -> None:
        """Give up all shards and leave the group."""
        if self._listener is not None and self.shards and not self.expelled and self._topic.outage is None:
            self._give_up(self._listener, list(self.shards))
        self._listener = None
        for shard in [shard for shard, owner in self._topic.owners.items() if owner is self]:
            del self._topic.owners[shard]
        self._forget(list(self.shards))
        self._topic.leave(self)
        self.expelled = False

    def _opened(self) -> Listener:
        self._refuse_in_outage()
        if self._listener is None:
            raise SourceUnavailable("the source is not open")
        return self._listener

    def _refuse_in_outage(self) -> None:
        if self._topic.outage is not None:
            raise self._topic.outage


# --- a queue -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class MemoryMessage:
    """A message in a queue or among the dead letters."""

    body: bytes
    message_id: str | None = None
    deliveries: int = 0
    redelivered: bool = False


@dataclass(slots=True)
class MemoryQueue:
    """Messages that wait, and those that were rejected for good."""

    name: str = "queue"
    ready: deque[MemoryMessage] = field(default_factory=deque)
    dead_letters: list[MemoryMessage] = field(default_factory=list)
    consumers: list[MemoryQueueSource] = field(default_factory=list)
    outage: SourceError | None = None
    """While set, every call of the sources raises it."""

    @property
    def shard(self) -> Shard:
        """The queue's key in the event."""
        return f"{self.name}::/"

    def publish(self, body: bytes, *, message_id: str | None = None) -> None:
        """Append a message."""
        self.ready.append(MemoryMessage(body, message_id))
        self._ring()

    def put_back(self, messages: Iterable[MemoryMessage], *, counted: bool) -> None:
        """Return messages to the head of the queue, in the order given."""
        back = [replace(one, redelivered=True, deliveries=one.deliveries + counted) for one in messages]
        self.ready.extendleft(reversed(back))
        self._ring()

    def _ring(self) -> None:
        for consumer in self.consumers:
            consumer.wake()


class MemoryQueueSource:
    """A consumer of the queue. See `poller.sources.Source` for the contract."""

    features = Features(ordered=False, redelivers=True, rebalances=False)

    def __init__(self, queue: MemoryQueue, *, prefetch: int = 200, waits: bool = False) -> None:
        self._queue = queue
        self._prefetch = prefetch
        self._bell = _Bell(waits=waits)
        self._open = False
        self._deliveries = 0
        self._unsettled: dict[int, MemoryMessage] = {}

    def open(self, listener: Listener) -> None:
        """Start consuming; the queue is the one shard."""
        self._refuse_in_outage()
        self._open = True
        self._queue.consumers.append(self)
        listener.assigned([self._queue.shard])

    def renew_login(self) -> None:
        """Nothing: there is no login."""

    def poll(self, max_wait: float) -> Sequence[Record]:
        """Messages up to `prefetch` unsettled ones. Waits only when made with `waits=True`."""
        self._require_open()
        records = self._take()
        if not records and max_wait > 0:
            self._bell.wait(max_wait)
            records = self._take()
        return records

    def _take(self) -> list[Record]:
        records = []
        while self._queue.ready and len(self._unsettled) < self._prefetch:
            message = self._queue.ready.popleft()
            self._deliveries += 1
            self._unsettled[self._deliveries] = message
            records.append(self._to_record(message))
        return records

    def _to_record(self, message: MemoryMessage) -> Record:
        unset = ("contentType", "contentEncoding", "headers", "deliveryMode", "priority", "correlationId", "replyTo")
        properties = {
            **dict.fromkeys((*unset, "expiration", "messageId", "timestamp", "type", "userId", "appId", "clusterId")),
            "messageId": message.message_id,
            "bodySize": len(message.body),
        }
        event = {
            "basicProperties": properties,
            "redelivered": message.redelivered,
            "data": b64encode(message.body).decode(),
        }
        return Record(
            shard=self._queue.shard,
            position=self._deliveries,
            timestamp=0,
            key=None,
            value=message.body,
            headers=(),
            encoded=_json(event),
            deliveries=message.deliveries,
            message_id=message.message_id,
        )

    def pause(self, shards: Collection[Shard]) -> None:
        """Nothing: `prefetch` limits what may be unsettled."""

    def resume(self, shards: Collection[Shard]) -> None:
        """Nothing, as `pause`."""

    def expect(self, batch_size: int) -> None:
        """Let two batches of that size be unsettled."""
        self._prefetch = 2 * batch_size

    def drain(self, unstarted: Sequence[Record]) -> None:
        """Take nothing more; what no handler has seen goes back uncounted."""
        back = self._settle(unstarted)
        self._prefetch = 0
        self._queue.put_back(back, counted=False)

    def acknowledge(self, progress: Progress) -> bool:
        """Forget messages that are done; what is settled already is passed over."""
        self._settle(progress.records)
        return True

    def release(self, records: Sequence[Record]) -> None:
        """Put messages back, counted as delivered once more."""
        self._queue.put_back(self._settle(records), counted=True)

    def reject(self, records: Sequence[Record]) -> None:
        """Move messages to the dead letters."""
        self._queue.dead_letters.extend(self._settle(records))

    def _settle(self, records: Iterable[Record]) -> list[MemoryMessage]:
        self._require_open()
        return [self._unsettled.pop(record.position) for record in records if record.position in self._unsettled]

    def build_event(self, records: Sequence[Record]) -> bytes:
        """The event of D.2."""
        messages = [json.loads(record.encoded) for record in records]
        arn = "arn:aws:mq:us-east-1:123456789012:broker:memory:b-0"
        queues = {self._queue.shard: messages}
        return _json({"eventSource": "aws:rmq", "eventSourceArn": arn, "rmqMessagesByQueue": queues})

    def overhead(self, shards: int) -> int:  # noqa: ARG002 - a queue is one
        """Bytes around the messages."""
        return len(self.build_event([]))

    def lag(self) -> dict[Shard, int]:
        """Messages that wait."""
        return {self._queue.shard: len(self._queue.ready)}

    def partitions(self) -> int | None:
        """A queue has none."""
        return None

    def wake(self) -> None:
        """Make a waiting `poll` return at once."""
        self._bell.ring()

    def close(self) -> None:
        """Stop consuming; unsettled messages go back."""
        if self._open:
            self._open = False
            self._queue.consumers.remove(self)
            self._queue.put_back(self._unsettled.values(), counted=True)
            self._unsettled.clear()

    def _require_open(self) -> None:
        self._refuse_in_outage()
        if not self._open:
            raise SourceUnavailable("the source is not open")

    def _refuse_in_outage(self) -> None:
        if self._queue.outage is not None:
            raise self._queue.outage
