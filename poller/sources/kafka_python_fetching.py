"""How long brokers hold kafka-python's fetches, and a defect of its paused partitions."""

# ruff: noqa: SLF001 - there is no public way

from __future__ import annotations

from typing import Any

IDLE_AFTER = 1.0
"""Seconds without anything new until fetches become longer."""

_IDLE_PART, _LONGEST_WAIT = 0.25, 2.0
"""Of the time that nothing came, brokers hold a fetch for a quarter, two seconds at most: they answer at once when
something comes. Short fetches cost 10 % of a core, and matter only while partitions are paused, resumed or assigned."""


def set_fetch_wait(consumer: Any, *, usual: float, paused: bool, quiet: float) -> None:
    """Say how long brokers may hold the next fetches.

    Args:
        consumer: a KafkaConsumer.
        usual: seconds while records flow.
        paused: some partitions are.
        quiet: seconds since something came.
    """
    fetcher = consumer._fetcher
    # Records that came outside of a poll: their partition is not in the next fetch, and would have to wait for it.
    some = fetcher._completed_fetches or fetcher._next_partition_records
    wait = usual if paused or some or quiet <= IDLE_AFTER else min(quiet * _IDLE_PART, _LONGEST_WAIT)
    fetcher.config["fetch_max_wait_ms"] = int(wait * 1000)  # read anew for each fetch


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
