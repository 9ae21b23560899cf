"""A queue inside the process: what `memory.py` is for a topic.

`MemoryQueue` behaves as RabbitMQ does: unsettled messages, redelivery, dead letters. Its source builds the event of D.2
in the plainest way. One thread uses a queue and all its sources; only `wake` may come from others.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections import deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace

from poller.errors import SourceError, SourceUnavailable
from poller.model import Progress, Record, Shard
from poller.sources import Features, Listener
from poller.sources.memory import Bell, compact_json


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
        self._bell = Bell(waits=waits)
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
        return self._bell.polled(self._take, max_wait)

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
            encoded=compact_json(event),
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
        return compact_json({"eventSource": "aws:rmq", "eventSourceArn": arn, "rmqMessagesByQueue": queues})

    def overhead(self, shards: int) -> int:  # noqa: ARG002 - a queue is one
        """Bytes around the messages."""
        return len(self.build_event([]))

    def lag(self, *, ask: bool = True) -> dict[Shard, int]:  # noqa: ARG002 - nobody is asked
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
