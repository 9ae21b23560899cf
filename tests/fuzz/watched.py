"""The edges of the loop, watched: brokers in memory behind a source that tells the model, and a clock that ticks."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from fuzz.loop_model import Model
from poller.model import Progress, Record, Shard
from poller.sources import Features, Listener
from poller.sources.memory import MemoryTopicSource
from poller.sources.memory_queue import MemoryQueueSource


class TickingClock:
    """Goes on by a millisecond each time it is asked, so that a grace time ends, and by what the test says."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.wall = 1_764_064_900.0

    def monotonic(self) -> float:
        self.now += 0.001
        return self.now

    def time(self) -> float:
        return self.wall

    def pass_(self, seconds: float) -> None:
        self.now += seconds
        self.wall += seconds


class WatchedSource:
    """A source in memory that tells the model all that passes, and can hold commits up as Kafka's does."""

    def __init__(self, inner: MemoryTopicSource | MemoryQueueSource, model: Model, *, wakes: bool) -> None:
        known = inner.features
        self.features = Features(known.ordered, known.redelivers, known.rebalances, wakes=wakes)
        self.inner = inner
        self.model = model
        self.paused: set[Shard] = set()
        self.owned: set[Shard] = set()
        self.holding_up = False
        self._held_up: dict[Shard, int] = {}
        self._listener: Listener | None = None

    def open(self, listener: Listener) -> None:
        self._listener = listener
        self.inner.open(Listener(self._assigned, self._revoked, self._lost))

    def _assigned(self, shards: Collection[Shard]) -> None:
        assert self._listener is not None
        for shard in shards:
            start = self.inner.shards[shard] if isinstance(self.inner, MemoryTopicSource) else 0
            self.model.begins(shard, start)
        self.owned |= set(shards)
        self._listener.assigned(shards)

    def _revoked(self, shards: Collection[Shard]) -> Progress:
        assert self._listener is not None
        progress = self._listener.revoked(shards)
        assert set(progress.positions) <= set(shards)
        for shard, position in progress.positions.items():
            self.model.commits(shard, position)
        held_up = {shard: position for shard, position in self._held_up.items() if shard in shards}
        self._end(shards)
        return Progress({**held_up, **progress.positions}, size=progress.size)

    def _lost(self, shards: Collection[Shard]) -> None:
        assert self._listener is not None
        self._listener.lost(shards)
        self._end(shards)

    def _end(self, shards: Collection[Shard]) -> None:
        for shard in shards:
            self.model.ends(shard)
            self._held_up.pop(shard, None)
        self.owned -= set(shards)
        self.paused -= set(shards)

    def renew_login(self) -> None:
        self.inner.renew_login()

    def poll(self, max_wait: float) -> Sequence[Record]:
        assert max_wait >= 0
        records = self.inner.poll(max_wait)
        self.model.polled(records)
        return records

    def pause(self, shards: Collection[Shard]) -> None:
        self.inner.pause(shards)
        self.paused |= set(shards)

    def resume(self, shards: Collection[Shard]) -> None:
        self.inner.resume(shards)
        self.paused -= set(shards)

    def expect(self, batch_size: int) -> None:
        self.inner.expect(batch_size)

    def drain(self, unstarted: Sequence[Record]) -> None:
        self.inner.drain(unstarted)

    def acknowledge(self, progress: Progress) -> bool:
        if not self.features.ordered:
            self.model.acknowledges(progress.records)
            return self.inner.acknowledge(progress)
        for shard, position in progress.positions.items():
            self.model.commits(shard, position)
        self._held_up.update(progress.positions)
        self.model.commits_held_up = self.holding_up
        if not self.holding_up:
            self.inner.acknowledge(Progress(dict(self._held_up)))
            self._held_up.clear()
        return not self.holding_up

    def release(self, records: Sequence[Record]) -> None:
        self.model.releases(records)
        self.inner.release(records)

    def reject(self, records: Sequence[Record]) -> None:
        self.model.rejects(records)
        self.inner.reject(records)

    def build_event(self, records: Sequence[Record]) -> bytes:
        return self.inner.build_event(records)

    def overhead(self, shards: int) -> int:
        return self.inner.overhead(shards)

    def lag(self, *, ask: bool = True) -> dict[Shard, int]:
        return self.inner.lag(ask=ask)

    def partitions(self) -> int | None:
        return self.inner.partitions()

    def wake(self) -> None:
        self.inner.wake()

    def close(self) -> None:
        self.inner.close()
        self._end(list(self.owned))
        self._held_up.clear()
        self.model.commits_held_up = False
