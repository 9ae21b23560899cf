"""Carries a fault out on an invocation: around the exchange of event and answer, so that it works for any runtime."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import NoReturn

from poller.faults.chance import Fault
from poller.runtime.frames import Frame

Exchange = Callable[[float], Frame]
"""Hands over the event and gives the answer; takes the seconds that are left."""


def suffer(
    fault: Fault, limit: float, exchange: Exchange, wait: Callable[[float], object], crash: Callable[[], NoReturn]
) -> Frame:
    """As `exchange`, but with the fault. An error of the handler's own comes first.

    Args:
        fault: what to suffer.
        limit: seconds until the timeout.
        exchange: see there.
        wait: lets seconds pass; ends early when the environment is killed.
        crash: kills the process, and raises what that means.

    Raises:
        TimeoutError: the time is over.
    """
    started = monotonic()
    if fault.kind == "SlowDown" and fault.seconds < limit:
        wait(fault.seconds)
        frame = exchange(limit - fault.seconds)
        return frame._replace(header={**frame.header, "seconds": frame.header.get("seconds", 0.0) + fault.seconds})
    if fault.kind != "SlowDown" and fault.afterwards:
        exchange(limit)
    if fault.kind == "Crash":
        crash()
    wait(max(0.0, started + limit - monotonic()))
    raise TimeoutError
