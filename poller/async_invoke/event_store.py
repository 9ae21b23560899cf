"""What the dispatcher asks of the place where events wait, be it a file or a broker's queues."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Protocol

from poller.async_invoke.rows import Delivery, Kind, StoredEvent
from poller.model import InvocationResult
from poller.policy.async_events import Again


class EventStore(Protocol):
    """Keeps events and records over the end of the program. For any thread; nothing blocks where it is not said.

    Callbacks named `on_done` are called once, on any thread, and have to be quick; for an event or record that was
    taken from this program meanwhile, too.
    """

    @property
    def alive(self) -> bool:
        """Whether its thread runs."""

    @property
    def problem(self) -> str | None:
        """Why nothing can be accepted at the moment; empty when it can, None while that is not known yet."""

    def start(self, on_event: Callable[[str], None], on_record: Callable[[str, Kind], None]) -> None:
        """Tell from now on of events of a function, and of records for a destination, that others have put here."""

    def accept(self, event: StoredEvent) -> None:
        """Take an event; it outlives any crash when this returns. Blocks for some seconds at most.

        Raises:
            StateError: it is not accepted.
        """

    def postpone(
        self,
        event: StoredEvent,
        again: Again,
        answers: tuple[InvocationResult | None, InvocationResult | None],
        on_done: Callable[[], None],
    ) -> None:
        """Keep for when the event is tried again, and what was answered. Tried until it works."""

    def finish(
        self,
        event: StoredEvent,
        deliveries: Sequence[Delivery],
        events: Sequence[StoredEvent],
        on_done: Callable[[], None],
    ) -> None:
        """Keep what the event leaves, and forget the event. Tried until it works."""

    def delivered(self, delivery: Delivery, on_done: Callable[[], None]) -> None:
        """Forget a record that its destination has. Tried until it works."""

    def bring_forward(self, latest: float, on_done: Callable[[], None]) -> None:
        """Let nothing wait longer than until then, where times of day are written down."""

    def functions(self) -> list[str]:
        """Names of all functions whose events are here.

        Raises:
            StateError: it cannot be read; so do the methods below.
        """

    def due(self, function: str, now: float, limit: int, without: Collection[int]) -> list[StoredEvent]:
        """Events of a function whose time has come, but for those rows."""

    def next_due(self, function: str, without: Collection[int]) -> float | None:
        """When the next event of a function is due, but for those rows; None when there is none or it will be told."""

    def kinds(self) -> list[tuple[str, Kind]]:
        """Functions and kinds of destinations for which records are here."""

    def deliveries(self, function: str, kind: Kind, after: int, most: int, most_bytes: int) -> list[Delivery]:
        """Records behind that row, in order; so many and so large at most, but one at least if there is any."""

    def leave(self) -> None:
        """Take nothing more that others could work off. Events are still accepted."""

    def close(self) -> None:
        """Write what was asked for, then let go. Blocks for some seconds at most. Idempotent."""
