"""Waiting in tests for what another thread, process or broker does: the only place that looks again and again."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
PATIENCE = 60.0
"""Seconds until a test gives up; nothing takes a tenth of it on a machine that has time."""


def eventually(
    condition: Callable[[], T],
    *,
    timeout: float = PATIENCE,
    pause: float = 0.005,
    what: str = "what the test waits for",
) -> T:
    """Call `condition` until it gives something true, and return that. `pause` is longer where asking costs much."""
    deadline = time.monotonic() + timeout
    while not (result := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come about within {timeout:g} s; last seen: {result!r}")
        time.sleep(pause)
    return result
