"""What a client gave of paused partitions: kept in order until they are resumed, within bounds. No I/O.

librdkafka throws what it has fetched of a partition away when that is paused, and fetches it again. Partitions are
paused and resumed with every batch, so the client is told only when too much is kept here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Sequence
from typing import Generic, Protocol, TypeVar


class Sized(Protocol):
    """A message that knows the bytes of its value."""

    def __len__(self) -> int: ...


M = TypeVar("M", bound=Sized)

MESSAGE = 200
"""Bytes that a message takes beside its value, so that many small ones and tombstones are bounded, too."""


class HeldBack(Generic[M]):
    """Messages of partitions, by number. Owned by the source's thread."""

    def __init__(self) -> None:
        self._messages: dict[int, deque[M]] = {}
        self._bytes: dict[int, int] = {}
        self.total = 0
        """Bytes that are kept of all partitions."""

    def __bool__(self) -> bool:
        return bool(self._messages)

    def __contains__(self, partition: int) -> bool:
        return partition in self._messages

    def add(self, partition: int, messages: Sequence[M]) -> int:
        """Keep these behind those that are kept; returns the bytes that are kept of the partition now."""
        self._messages.setdefault(partition, deque()).extend(messages)
        added = _size(messages)
        self.total += added
        self._bytes[partition] = size = self._bytes.get(partition, 0) + added
        return size

    def any_of_others(self, paused: Collection[int]) -> bool:
        """Whether something is kept that may be given now."""
        return any(partition not in paused for partition in self._messages)

    def take(self, most: int, paused: Collection[int]) -> Iterable[tuple[int, list[M]]]:
        """At most that many of partitions that are not paused, the one that was given longest ago first."""
        for partition in [one for one in self._messages if one not in paused]:
            if most <= 0:
                return
            kept = self._messages.pop(partition)
            if len(kept) <= most:
                taken = list(kept)
                self.total -= self._bytes.pop(partition)
            else:
                taken = [kept.popleft() for _ in range(most)]
                removed = _size(taken)
                self._bytes[partition] -= removed
                self.total -= removed
                self._messages[partition] = kept  # at the end: the others' turn is next
            most -= len(taken)
            yield partition, taken

    def first(self, partition: int) -> M:
        """The oldest message that is kept of a partition, of which there is one."""
        return self._messages[partition][0]

    def drop(self, partition: int) -> None:
        """Forget a partition."""
        self._messages.pop(partition, None)
        self.total -= self._bytes.pop(partition, 0)


def _size(messages: Sequence[Sized]) -> int:
    return sum(map(len, messages)) + MESSAGE * len(messages)
