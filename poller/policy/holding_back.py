"""Which shards of a poller should give no more for now, so that memory is bounded. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from poller.model import Shard
from poller.policy.batching import BatchingLimits
from poller.policy.lane import Lane


class HoldingBack:
    """What all lanes would say, of which only those are asked in which something changed. Only `Lanes` touches it."""

    def __init__(self) -> None:
        self._full: frozenset[Shard] = frozenset()
        self._changed: set[Lane] = set()
        """Since `full_shards` was last asked."""

    def changed(self, lane: Lane) -> None:
        """Something else waits in a lane."""
        self._changed.add(lane)

    def forget(self, lane: Lane) -> None:
        """It is gone; its shards are named to `drop`."""
        self._changed.discard(lane)

    def drop(self, shards: Iterable[Shard]) -> None:
        """These shards are gone."""
        self._full = self._full.difference(shards)

    def clear(self) -> None:
        """All are gone."""
        self._full = frozenset()
        self._changed.clear()

    def full_shards(self, limits: BatchingLimits) -> frozenset[Shard]:
        """Those of which a whole batch waits, and enough that their source can be slow."""
        while self._changed:
            lane = self._changed.pop()
            full = lane.full_shards(limits)
            if full or not self._full.isdisjoint(lane.tails):
                self._full = self._full.difference(lane.tails).union(full)
        return self._full
