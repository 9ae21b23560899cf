"""Records on their way, in runs: neighbours of one shard that came together, kept as their source has them. Pure.

What is done for each record by itself is most of what a batch costs, and of a record that is handled well nobody asks
but its bytes in the event. So a source may keep a run by columns, and the `Record`s of a batch are made only where
somebody looks at one: when it failed, say.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, chain, compress, repeat
from operator import attrgetter
from typing import NamedTuple, Protocol, overload

from poller.model import Record, Shard
from poller.runs import runs_of
from poller.runtime.event_columns import RecordColumns

_SHARD, _ENCODED = attrgetter("shard"), attrgetter("encoded")


class Run(Protocol):
    """Neighbouring records of one shard, one at least, in order. Immutable.

    Of the poller's thread; once `size` was asked there, `pieces` and `columns` are for any.
    """

    @property
    def shard(self) -> Shard:
        """Of all of them."""

    def __len__(self) -> int: ...

    def records(self, start: int = 0, stop: int | None = None) -> Sequence[Record]:
        """All or these; they may be made for the call, and be other objects the next time."""

    def position(self, index: int) -> int:
        """Of one record."""

    def timestamp(self, index: int) -> int:
        """Of one record."""

    def values(self) -> Sequence[bytes | None]:
        """Of each record."""

    def size(self, start: int, stop: int) -> int:
        """Bytes that these take in an event, a comma each."""

    def pieces(self, start: int, stop: int) -> Iterable[bytes]:
        """Of these the JSON in the event, in pieces; the last byte of all is a comma, as behind each record."""

    def columns(self, start: int, stop: int) -> RecordColumns | None:
        """These by columns, for a handler that needs no JSON; None where they are not kept so."""

    def only(self, start: int, chosen: Sequence[bool]) -> Run:
        """Of those from `start` on, a boolean each, the ones that are chosen: one at least."""


class ListRun:
    """A run of records that are made already. See `Run`."""

    __slots__ = ("_ends", "_records", "shard")

    def __init__(self, records: Sequence[Record]) -> None:
        self.shard = records[0].shard
        self._records = records
        self._ends = list(accumulate(map(len, map(_ENCODED, records)), initial=0))
        """The bytes of all up to each, so that any of them are measured by a subtraction."""

    def __len__(self) -> int:
        return len(self._records)

    def records(self, start: int = 0, stop: int | None = None) -> Sequence[Record]:
        """See `Run`."""
        return self._records[start:stop]

    def position(self, index: int) -> int:
        """See `Run`."""
        return self._records[index].position

    def timestamp(self, index: int) -> int:
        """See `Run`."""
        return self._records[index].timestamp

    def values(self) -> Sequence[bytes | None]:
        """See `Run`."""
        return [record.value for record in self._records]

    def size(self, start: int, stop: int) -> int:
        """See `Run`."""
        return self._ends[stop] - self._ends[start] + stop - start

    def pieces(self, start: int, stop: int) -> Iterable[bytes]:
        """See `Run`."""
        return chain.from_iterable(zip(map(_ENCODED, self._records[start:stop]), repeat(b","), strict=False))

    def columns(self, start: int, stop: int) -> None:  # noqa: ARG002 - as the protocol has it
        """See `Run`."""
        return

    def only(self, start: int, chosen: Sequence[bool]) -> ListRun:
        """See `Run`."""
        return ListRun(list(compress(self._records[start:], chosen)))


class Span(NamedTuple):
    """Neighbours in a run, from `start` up to `stop`; one at least."""

    run: Run
    start: int
    stop: int

    @property
    def length(self) -> int:
        """Of how many records."""
        return self.stop - self.start

    @property
    def first_position(self) -> int:
        """Of the first of them."""
        return self.run.position(self.start)

    @property
    def last_position(self) -> int:
        """Of the last of them."""
        return self.run.position(self.stop - 1)

    def fitting(self, most: int, room: int) -> int:
        """How many may be taken that are at most so many and need at most that many bytes."""
        run, start, stop = self
        counts = range(1, min(stop - start, most) + 1)
        return bisect_right(counts, room, key=lambda some: run.size(start, start + some))


class Records(Sequence[Record]):
    """Records in order, as spans of runs. Immutable; of the poller's thread."""

    __slots__ = ("_length", "_made", "spans")

    def __init__(self, spans: Sequence[Span]) -> None:
        self.spans = spans
        self._made: list[Record] | None = None
        """All of them, from the first look at one on: who compares records by identity gets the same ones."""
        self._length = 0
        for _, start, stop in spans:
            self._length += stop - start

    @classmethod
    def of(cls, records: Sequence[Record]) -> Records:
        """Records of whatever shards, as spans."""
        if isinstance(records, Records):
            return records
        return cls.of_runs([ListRun(some) for _, some in runs_of(records, _SHARD)])

    @classmethod
    def of_runs(cls, runs: Iterable[Run]) -> Records:
        """All records of these runs."""
        return cls([Span(run, 0, len(run)) for run in runs])

    @property
    def size(self) -> int:
        """Bytes that they take in an event, a comma each."""
        return sum([run.size(start, stop) for run, start, stop in self.spans])

    def values(self) -> list[bytes | None]:
        """Of each record."""
        return [value for run, start, stop in self.spans for value in run.values()[start:stop]]

    def only(self, chosen: Sequence[bool]) -> Records:
        """Those that are chosen: the same number of booleans."""
        spans: list[Span] = []
        passed = 0
        for span in self.spans:
            flags = chosen[passed : passed + span.length]
            passed += span.length
            if all(flags):
                spans.append(span)
            elif any(flags):
                run = span.run.only(span.start, flags)
                spans.append(Span(run, 0, len(run)))
        return Records(spans)

    def __len__(self) -> int:
        return self._length

    def _all(self) -> list[Record]:
        if self._made is None:
            self._made = [record for run, start, stop in self.spans for record in run.records(start, stop)]
        return self._made

    def __iter__(self) -> Iterator[Record]:
        return iter(self._all())

    @overload
    def __getitem__(self, index: int) -> Record: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Record]: ...

    def __getitem__(self, index: int | slice) -> Record | Sequence[Record]:
        return self._all()[index]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(ours == theirs for ours, theirs in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment] # as of a list: equal to one

    def __repr__(self) -> str:
        return f"Records({self._all()!r})"


def json_of(spans: Iterable[Span]) -> list[bytes]:
    """The records' JSON in the event, in pieces, with commas between them; there is one record at least."""
    pieces: list[bytes] = []
    for run, start, stop in spans:
        pieces += run.pieces(start, stop)
    pieces[-1] = pieces[-1][:-1]
    return pieces


def first_place(records: Sequence[Record]) -> tuple[Shard, int]:
    """Shard and position of the first of these records, one at least."""
    if not isinstance(records, Records):
        return records[0].shard, records[0].position
    run, start, _ = records.spans[0]
    return run.shard, run.position(start)


def first_places(records: Sequence[Record]) -> list[tuple[Shard, int]]:
    """Shards and positions where the runs of these records begin: of each shard once at least."""
    if not isinstance(records, Records):
        return [(shard, some[0].position) for shard, some in runs_of(records, _SHARD)]
    return [(run.shard, run.position(start)) for run, start, _ in records.spans]


def newest_timestamp(records: Sequence[Record]) -> int:
    """Of these records, one at least: the last one of a run is its newest, as a rule."""
    if not isinstance(records, Records):
        return max([some[-1].timestamp for _, some in runs_of(records, _SHARD)])
    return max([run.timestamp(stop - 1) for run, _, stop in records.spans])
