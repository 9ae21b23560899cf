"""What a pool counts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PoolStats:
    """Counters since the pool was made, save the first three and the last two, which say how it is now (C.9)."""

    environments: int
    busy: int
    waiting: int
    cold_starts: int
    invocations: int
    """Answered by an environment; throttles are not among them."""
    errors: int
    """Invocations whose function failed (A.4)."""
    throttles: int
    faults: int
    """Answered with status 500: our own fault, or the pool was stopped."""
    provisioned: int = 0
    """Environments that are to be kept initialised now, and those of them that are."""
    provisioned_available: int = 0
