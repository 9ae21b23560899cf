"""When kafka-python fetches, how long brokers hold that, and a defect of its paused partitions.

A broker answers one fetch of a consumer after the other: while it holds one, since there is nothing new in those
partitions, no other can be fetched from it.
"""

# ruff: noqa: SLF001 - there is no public way

from __future__ import annotations

import time
from typing import Any

IDLE_AFTER = 1.0
"""Seconds without anything new until fetches become longer."""

_IDLE_PART, _LONGEST_WAIT = 0.25, 2.0
"""Of the time that nothing came, brokers hold a fetch for a quarter, two seconds at most: they answer at once when
something comes. Short fetches cost 10 % of a core, and matter only while partitions are paused, resumed or assigned."""

_LONG = 0.1
"""Seconds. A fetch that is held as long is given up for partitions that are assigned."""


class Fetches:
    """Of one consumer. Owned by its thread."""

    def __init__(self, consumer: Any, usual: float) -> None:
        """Set up.

        Args:
            consumer: a KafkaConsumer that was just made.
            usual: seconds that brokers may hold a fetch while records flow.
        """
        self._fetcher, self._manager = consumer._fetcher, consumer._manager
        self._usual = self._hold = usual
        self._asked: dict[Any, int] = {}
        """The offset that a partition was asked for last."""
        self._next_look = 0.0
        self._create = self._fetcher._create_fetch_requests
        self._fetcher._create_fetch_requests = self._create_and_note

    def hold(self, *, paused: bool, quiet: float) -> None:
        """Say how long brokers may hold the next ones.

        Args:
            paused: some partitions are.
            quiet: seconds since something came.
        """
        short = paused or quiet <= IDLE_AFTER
        self._hold = self._usual if short else min(quiet * _IDLE_PART, _LONGEST_WAIT)

    def may_be_sent(self) -> bool:
        """Whether it is time for one, with what was fetched before looked at. Says how long brokers may hold it.

        While records of some partitions wait here, brokers hold nothing, as those will soon be fetched again. The
        others, of which all was read, are asked for now and then.
        """
        fetcher = self._fetcher
        if not _has_some(fetcher):
            fetcher.config["fetch_max_wait_ms"] = int(self._hold * 1000)  # read anew for each fetch
            return True
        fetcher.config["fetch_max_wait_ms"] = 0
        now = time.monotonic()
        if now < self._next_look and not any(map(self._is_new, fetcher._fetchable_partitions())):
            return False
        self._next_look = now + self._usual
        return True

    def until_next(self) -> float:
        """Seconds in which `may_be_sent` will be true although nothing came."""
        return max(0.0, self._next_look - time.monotonic()) if _has_some(self._fetcher) else float("inf")

    def renew(self) -> None:
        """Give up those that brokers hold for long: there are partitions more, which would have to wait for them.

        A broker forgets a fetch only with its connection. The group has one of its own.
        """
        if self._hold >= _LONG:
            for node in self._fetcher._nodes_with_pending_fetch_requests:
                self._manager.call_soon(self._manager.close, node)

    def _is_new(self, partition: Any) -> bool:
        """Whether a partition is to be asked for another offset than before, as some of it was read."""
        position: int = self._fetcher._subscriptions.assignment[partition].position.offset
        return self._asked.get(partition) != position

    def _create_and_note(self) -> Any:
        requests = self._create()
        for _, offsets in requests.values():
            self._asked |= offsets
        return requests


def _has_some(fetcher: Any) -> bool:
    """Whether records of some partition wait here, so that it is not in the next fetch."""
    return bool(
        fetcher._next_partition_records
        or fetcher._completed_fetches
        or fetcher._paused_partition_records
        or fetcher._paused_completed_fetches
    )


def unpark(fetcher: Any) -> None:
    """Let a resumed partition give the records that were parked while it was paused.

    kafka-python 3.0.12 gives them back only while this slot is None, but leaves a drained batch in it: without this the
    end of a resumed partition stays stuck until others get more.
    """
    if fetcher._paused_partition_records and not fetcher._next_partition_records:
        fetcher._next_partition_records = None


def has_resumed(fetcher: Any) -> bool:
    """Whether records are parked of a partition that is not paused any more, or not this consumer's."""
    return any(not fetcher._subscriptions.is_paused(one) for one in fetcher._paused_partition_records)
