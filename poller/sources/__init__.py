"""What the poll loop asks of a broker, and which file answers for which kind."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

from poller.model import Payload, Progress, Record, Shard


@dataclass(frozen=True, slots=True)
class Features:
    """What kind of source this is. The loop and the contract suite read it; nothing asks for a class by name."""

    ordered: bool
    """Shards have positions and keep their order (a stream); else single messages are settled (a queue)."""
    redelivers: bool
    """`release` hands messages back to the broker, which delivers them again."""
    rebalances: bool
    """Shards may be taken away while the source is open."""
    wakes: bool = False
    """`wake` ends a waiting `poll`; without it the loop polls in short slices while handlers run."""


@dataclass(frozen=True, slots=True)
class Listener:
    """What a source tells the loop about its shards. See `Source.open` for the thread."""

    assigned: Callable[[Collection[Shard]], None]
    revoked: Callable[[Collection[Shard]], Progress]
    """Shards are about to go: finish what can be finished within the grace time, forget the lanes, and say what may
    still be committed."""
    lost: Callable[[Collection[Shard]], None]
    """Shards are gone already: forget the lanes, commit nothing."""
    commit_failed: Callable[[], None] = lambda: None
    """A commit was tried in vain; for the metrics only, and on any thread."""


class Source(Protocol):
    """One consumer of one topic or queue.

    Every method is called on the poller's own thread, save `wake`. Methods raise `SourceUnavailable` or
    `SourceRejected` and no error of the client library.
    """

    features: Features

    def open(self, listener: Listener) -> None:
        """Connect and subscribe. Blocks at most a few seconds.

        The listener is called only on this thread, inside of `open`, `poll` or `close`, so it may change the loop's
        state without a lock. `revoked` may block for the grace time; what it returns is committed before the shards go.
        """

    def renew_login(self) -> None:
        """Read the login anew, for the next `open`, since the broker refused it. May block for half a minute.

        Raises nothing: a login that cannot be read stays what it was. A no-op where there is none.
        """

    def poll(self, max_wait: float) -> Sequence[Record]:
        """Records in order of their shards' positions; waits at most `max_wait` seconds for the first one.

        They are the caller's from here on: the source does not change the sequence any more.

        Keeps the connection alive (heartbeats), so it is called at least once a second even when all is paused.
        """

    def pause(self, shards: Collection[Shard]) -> None:
        """Give no more records of these shards until `resume`. A no-op where the broker limits what is unsettled."""

    def resume(self, shards: Collection[Shard]) -> None:
        """Undo `pause`."""

    def expect(self, batch_size: int) -> None:
        """Batches have so many records from now on, so that many must be able to wait here at once."""

    def acknowledge(self, progress: Progress) -> bool:
        """Make progress durable at the broker. Idempotent; what is stale (a lost shard or channel) is passed over.

        Returns:
            Whether everything acknowledged so far is with the broker, or was sent less than a second ago. If not, the
            source tries again in later calls, with or without further progress, and the loop starts nothing new, so
            that little is repeated if this consumer is lost.
        """

    def build_event(self, records: Sequence[Record]) -> Payload:
        """The event for the handler: one JSON object (D.1.1, D.2), or what becomes one. Pure."""

    def overhead(self, shards: int) -> int:
        """Bytes of the event around its records, for that many shards at most (for the 6 MB limit). Pure."""

    def lag(self, *, ask: bool = True) -> dict[Shard, int]:
        """Records at the broker behind the last one that `poll` gave, per shard, right at the moment of the call.

        Where the client cannot know that, the broker is asked: blocks for one answer, half a second at most.

        Args:
            ask: False takes the end that the broker told the last time, of shards of which it has told one.
        """

    def partitions(self) -> int | None:
        """Shards of the whole topic, whoever reads them; None of a queue, and while it is not known."""

    def wake(self) -> None:
        """Make a waiting `poll` return soon. The only method other threads may call; a no-op is allowed."""

    def close(self) -> None:
        """Leave: what is not acknowledged goes back to the broker. Safe before `open`, twice, and after an error."""


class QueueSource(Source, Protocol):
    """A source of single messages, which the broker takes back: what has `features.redelivers`."""

    def drain(self, unstarted: Sequence[Record]) -> None:
        """Take nothing more, since the mapping ends; `acknowledge`, `release` and `reject` go on until `close`.

        Args:
            unstarted: messages that no handler has seen. They go back at once, where the broker can tell them from
                failed ones without a count.
        """

    def release(self, records: Sequence[Record]) -> None:
        """Hand messages back for another delivery, one by one."""

    def reject(self, records: Sequence[Record]) -> None:
        """Refuse messages for good, so that the broker dead-letters them."""


def as_queue(source: Source) -> QueueSource | None:
    """The source with what only a queue can do; None for a stream, whose records are retried in their lanes."""
    return cast("QueueSource", source) if source.features.redelivers else None
