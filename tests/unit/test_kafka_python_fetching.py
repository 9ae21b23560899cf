"""How long brokers may hold kafka-python's fetches."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from poller.sources.kafka_python_fetching import set_fetch_wait


def wait_of(
    *, paused: bool = False, quiet: float = 60.0, completed: tuple[str, ...] = (), rest: list[str] | None = None
) -> int:
    """Milliseconds that brokers may hold the next fetch of a consumer in this state."""
    fetcher = SimpleNamespace(config={}, _completed_fetches=completed, _next_partition_records=rest)
    consumer: Any = SimpleNamespace(_fetcher=fetcher)
    set_fetch_wait(consumer, usual=0.01, paused=paused, quiet=quiet)
    return int(fetcher.config["fetch_max_wait_ms"])


@pytest.mark.parametrize(("quiet", "milliseconds"), [(0.5, 10), (1.0, 10), (4.0, 1000), (60.0, 2000)])
def test_the_longer_nothing_came_the_longer_a_fetch_may_be_held(quiet: float, milliseconds: int) -> None:
    assert wait_of(quiet=quiet) == milliseconds


def test_while_a_partition_is_paused_fetches_are_short() -> None:
    assert wait_of(paused=True) == 10


def test_records_that_came_outside_of_a_poll_end_the_long_fetches() -> None:
    # Their partition is not in the fetch that goes out with them, and has to wait until that is answered.
    assert wait_of(completed=("fetch of 0",)) == 10
    assert wait_of(rest=["record"]) == 10
