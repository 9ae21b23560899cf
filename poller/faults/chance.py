"""Chance that repeats: the same seed and name give the same draws, one after the other."""

from __future__ import annotations

import hashlib
import itertools
from typing import Literal, NamedTuple

from poller.faults.settings import FunctionFaults

Kind = Literal["Crash", "Hang", "SlowDown"]


class Draw(NamedTuple):
    """One draw."""

    share: float
    """At least 0, below 1."""
    coin: bool


def draw(seed: int, name: str, number: int) -> Draw:
    """The draw of that number. Pure."""
    digest = hashlib.blake2b(f"{seed}/{name}/{number}".encode(), digest_size=9).digest()
    return Draw(int.from_bytes(digest[:8]) / 2**64, bool(digest[8] & 1))


class Chance:
    """The draws of one name, from the first on. Any thread."""

    def __init__(self, seed: int, name: str) -> None:
        self._seed = seed
        self._name = name
        self._numbers = itertools.count(1)

    def next(self) -> Draw:
        """The next draw."""
        return draw(self._seed, self._name, next(self._numbers))


class Fault(NamedTuple):
    """What one invocation shall suffer."""

    kind: Kind
    afterwards: bool
    """Once the handler was done, unheard; else before it has begun. Means nothing for a slow-down."""
    seconds: float = 0.0

    def __str__(self) -> str:
        """For a person."""
        if self.kind == "SlowDown":
            return f"SlowDown of {self.seconds:g} s"
        return f"{self.kind} {'after the handler was done' if self.afterwards else 'before the handler has begun'}"


class InvocationFaults:
    """The faults of one function. Any thread."""

    def __init__(self, faults: FunctionFaults, seed: int, function_name: str) -> None:
        self._faults = faults
        self._invocations = Chance(seed, f"{function_name}/invocation")
        self._throttles = Chance(seed, f"{function_name}/throttle")

    def throttles(self) -> bool:
        """Whether the invocation that comes now is throttled."""
        return self._faults.Throttle > 0 and self._throttles.next().share < self._faults.Throttle

    def next(self) -> Fault | None:
        """What the invocation that begins now shall suffer."""
        faults, (share, coin) = self._faults, self._invocations.next()
        if share < faults.Crash:
            return Fault("Crash", coin)
        if share < faults.Crash + faults.Hang:
            return Fault("Hang", coin)
        if share < faults.Crash + faults.Hang + faults.SlowDown.Rate:
            return Fault("SlowDown", coin, faults.SlowDown.Seconds)
        return None
