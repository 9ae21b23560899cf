"""What a client gave of paused partitions: kept in order until they are resumed, within bounds. No I/O of its own.

Kept are runs and not the client's messages: those are gone with the poll that brought them, and their memory is there
for the next one.

librdkafka throws away what it has fetched of a partition when that is paused, and fetches it again. Partitions are
paused and resumed with every batch, so the client is told only when too much is kept here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from poller.records import Run

ALL, EACH = 64 << 20, 8 << 20
"""Bytes, as they are in an event, that are kept of all partitions and of each before the client is told to pause some.
What it then throws away is at most one fetch of the partition: 1 MB, times the factor by which that is compressed."""
A_RUN = 600
"""Bytes that a run takes beside its records: those of a slow function's partition may be of one record each."""


class HeldBack:
    """Which partitions, by number, are paused, and what came of them. Owned by the source's thread.

    Args:
        stop: tells the client to pause a partition.
        go_on: tells it to resume one.
    """

    def __init__(self, stop: Callable[[int], None], go_on: Callable[[int], None]) -> None:
        self.paused: set[int] = set()
        """To the loop. The client goes on with them as a rule."""
        self._stop, self._go_on = stop, go_on
        self._stopped: set[int] = set()
        self._kept: dict[int, deque[Run]] = {}
        self._bytes: dict[int, int] = {}
        self._total = 0

    def waits(self, partition: int) -> bool:
        """Whether what comes of a partition has to be kept: it is paused, or older records are kept."""
        return partition in self.paused or partition in self._kept

    def has_some(self) -> bool:
        """Whether something is kept that may be given now."""
        return any(partition not in self.paused for partition in self._kept)

    def first(self, partition: int) -> int | None:
        """The position of the oldest record that is kept of a partition."""
        kept = self._kept.get(partition)
        return kept[0].position(0) if kept else None

    def add(self, partition: int, run: Run) -> None:
        """Keep this behind what is kept; stops the partition when that is too much."""
        self._kept.setdefault(partition, deque()).append(run)
        self._count(partition, A_RUN + run.size(0, len(run)))
        if (self._bytes[partition] > EACH or self._total > ALL) and partition not in self._stopped:
            self._stopped.add(partition)
            self._stop(partition)

    def take(self, most: int) -> list[Run]:
        """What is kept of partitions that are not paused, the one that was given longest ago first.

        No further run once there are that many records: runs stay whole.
        """
        taken: list[Run] = []
        for partition in [one for one in self._kept if one not in self.paused]:
            if most <= 0:
                break
            kept = self._kept.pop(partition)
            while kept and most > 0:
                run = kept.popleft()
                most -= len(run)
                self._count(partition, -A_RUN - run.size(0, len(run)))
                taken.append(run)
            if kept:
                self._kept[partition] = kept  # at the end: the others' turn is next
            else:
                del self._bytes[partition]
                self.resume(partition)
        return taken

    def resume(self, partition: int) -> None:
        """Not paused any more; the client goes on with it once nothing is kept."""
        self.paused.discard(partition)
        if partition in self._stopped and partition not in self._kept:
            self._stopped.discard(partition)
            self._go_on(partition)

    def assigned_anew(self, partition: int) -> None:
        """The client goes on with the partition, as it does with every new one: stop it again if it was stopped."""
        if partition in self._stopped:
            self._stop(partition)

    def start_over(self, partition: int) -> None:
        """Drop what is kept, and resume."""
        self._drop(partition)
        self.resume(partition)

    def forget(self, partition: int) -> None:
        """The partition is not ours any more."""
        self._drop(partition)
        self.paused.discard(partition)
        self._stopped.discard(partition)

    def _drop(self, partition: int) -> None:
        self._kept.pop(partition, None)
        self._total -= self._bytes.pop(partition, 0)

    def _count(self, partition: int, size: int) -> None:
        self._bytes[partition] = self._bytes.get(partition, 0) + size
        self._total += size
