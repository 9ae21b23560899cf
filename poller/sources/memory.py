"""A topic inside the process: the reference that real sources are compared with, and what unit tests of the loop use.

`MemoryTopic` behaves as Kafka does: partitions, committed offsets, rebalances that move only what has to move. Its
source builds the event of D.1.1 in the plainest way. One thread uses a topic and all its sources; only `wake` may come
from others. `memory_queue.py` has a queue.
"""

from __future__ import annotations

import json
import threading
from base64 import b64encode
from collections.abc import Callable, Collection, Sequence

from poller.errors import SourceError, SourceUnavailable
from poller.model import Progress, Record, Shard
from poller.sources import Features, Listener


def compact_json(value: object) -> bytes:
    """As it stands in events."""
    return json.dumps(value, separators=(",", ":")).encode()


class Bell:
    """Lets a waiting poll go: rung by `wake` from any thread, and by the broker when there is something new."""

    def __init__(self, *, waits: bool) -> None:
        self._waits = waits
        self._event = threading.Event()

    def ring(self) -> None:
        """Let it go, or the next one."""
        self._event.set()

    def polled(self, take: Callable[[], list[Record]], max_wait: float) -> list[Record]:
        """What `take` gives, at once or after a ring; where nothing waits, the second look comes without one."""
        records = take()
        if not records and max_wait > 0:
            if self._waits:
                self._event.wait(max_wait)
            self._event.clear()
            records = take()
        return records


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
        record = Record(shard, len(log), timestamp, key, value, headers, compact_json(event))
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
        self._bell = Bell(waits=waits)
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
        return self._bell.polled(self._take, max_wait)

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
        return compact_json({"eventSource": "SelfManagedKafka", "bootstrapServers": "memory:0", "records": shards})

    def overhead(self, shards: int) -> int:
        """Bytes around the records."""
        return len(self.build_event([])) + shards * (len(self._topic.name) + len(b'"-2147483647":[],'))

    def lag(self, *, ask: bool = True) -> dict[Shard, int]:  # noqa: ARG002 - nobody is asked
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
