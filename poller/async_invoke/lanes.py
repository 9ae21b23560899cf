"""What the dispatcher keeps in memory: one lane for each function with events, and the news that its thread is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from poller.async_invoke.configuration import AsyncConfiguration
from poller.async_invoke.rows import Kind, StoredEvent
from poller.model import FunctionConfiguration, Invocation, InvocationResult
from poller.runtime.late_answers import OnResult

MOST_RUNNING = 10
"""Events of a function that are invoked at the same time; fewer where its reserved concurrency is lower."""

MOST_ENDING = 40
"""Events of a function whose end is being written."""


class Pool(Protocol):
    """What runs a function, or a version or alias of it."""

    def submit(self, invocation: Invocation, on_result: OnResult, *, wait: bool) -> None:
        """As `runtime.pool.FunctionPool`."""


def most_running(reserved: int | None) -> int:
    """Events of a function at the same time, with that reserved concurrency; with 0 they end untried."""
    return min(reserved, MOST_RUNNING) if reserved else MOST_RUNNING


@dataclass(frozen=True, slots=True)
class AsyncFunction:
    """A function as it is now, for the next event of it."""

    function: FunctionConfiguration
    asynchronous: AsyncConfiguration
    pool: Pool
    may_recur: bool = False
    """Whether it may be invoked however many functions handed an event on before (RecursiveLoop)."""


@dataclass(slots=True)
class Lane:
    """One function's events in memory. Owned by the dispatcher's thread."""

    function: str
    running: dict[int, StoredEvent] = field(default_factory=dict)
    """Handed to the pool, by row."""
    ending: set[int] = field(default_factory=set)
    """Answered; what follows is being written."""
    look_at: float = 0.0
    """When to look for events again, in monotonic seconds; at once after news of the function."""
    held_until: float = 0.0
    """Throttled: nothing more is handed over until then, or until an environment has answered."""
    is_missing: bool = False
    """Its events wait, and there is no such function."""

    def room(self, reserved: int | None) -> int:
        """How many more may be handed over, with that reserved concurrency."""
        return max(0, min(most_running(reserved) - len(self.running), MOST_ENDING - len(self.ending)))

    def taken(self) -> set[int]:
        """Rows that are not to be read again."""
        return {*self.running, *self.ending}


@dataclass(frozen=True, slots=True)
class Accepted:
    """An event of that function is in the store."""

    function: str


@dataclass(frozen=True, slots=True)
class Answered:
    """The pool has answered."""

    event: StoredEvent
    result: InvocationResult


@dataclass(frozen=True, slots=True)
class Written:
    """What follows for an event is on the disk."""

    event: StoredEvent
    functions: tuple[str, ...] = ()
    """Those that got an event of their own by it."""
    kinds: tuple[tuple[Kind, str], ...] = ()
    """Destinations for which a record waits now, and whose they are."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """A record waits for that destination of a function, which another program has put there."""

    function: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class Look:
    """Something else has changed: look around."""


News = Accepted | Answered | Written | Recorded | Look
