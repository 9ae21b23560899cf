"""One lane: what of its shards waits, is in work and comes again, one batch after the other. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace

from poller.model import Batch, Decision, Record, Retry, Return, Shard
from poller.policy.batching import BatchingLimits, RecordBuffer, WindowStart, take_fairly
from poller.records import Records, first_place, first_places

ALL_SHARDS = ""
"""Name of the lane that holds every shard of its poller."""


class Lane:
    """The records of one shard on their way, or those of all shards of a poller. Only `Lanes` and its owner touch it.

    A lane of one shard goes when the shard goes. One of several stays, and forgets what is of that shard: also inside
    of a batch that is in work or waits for its retry.
    """

    __slots__ = (
        "_in_work",
        "_only",
        "buffers",
        "invoked",
        "name",
        "reported",
        "returns",
        "tails",
        "waiting",
        "window_opened",
    )

    def __init__(self, name: str, now: float) -> None:
        self.name = name
        """Of its shard, or ALL_SHARDS."""
        self.tails: dict[Shard, int] = {}
        """Of each shard the position after the last record that was polled, filtered-out ones included."""
        self.reported: dict[Shard, int] = {}
        self.buffers: dict[Shard, RecordBuffer] = {}
        """Of each shard what no batch has taken yet."""
        self._only: RecordBuffer | None = None
        """The buffer of a lane of one shard; None of one that holds all."""
        self.waiting: list[Batch] = []
        """Batches that come again, in order."""
        self.returns: list[Return] = []
        self.invoked = False
        """A batch is in flight, not only discards."""
        self.window_opened = now
        self._in_work: dict[int, Sequence[Record]] = {}
        """Records of the batch in flight, and of discards whose dead letters are being sent, as far as their shards are
        still here. By the identity of what was handed out, which whoever works on it keeps alive."""

    def begin(self, shard: Shard, first_position: int) -> None:
        """Take a shard in."""
        self.tails[shard] = self.reported[shard] = first_position
        self.buffers[shard] = buffer = RecordBuffer()
        if self.name != ALL_SHARDS:
            self._only = buffer

    def forget(self, shards: Collection[Shard]) -> None:
        """Drop these shards and all that is of them; the others' records stay where they are."""
        for shard in shards:
            self.tails.pop(shard, None)
            self.reported.pop(shard, None)
            self.buffers.pop(shard, None)
        self._in_work = {key: _of_others(records, shards) for key, records in self._in_work.items()}
        kept = ((batch, _of_others(batch.records, shards)) for batch in self.waiting)
        self.waiting = [with_only(batch, records) for batch, records in kept if records]

    def is_busy(self) -> bool:
        """Whether something is in work: nothing else is handed over then, even if all of its shards are gone."""
        return bool(self._in_work)

    def begin_work(self, records: Sequence[Record]) -> None:
        """These are handed out, until `end_work` of the same sequence."""
        self._in_work[id(records)] = records

    def end_work(self, records: Sequence[Record]) -> Sequence[Record]:
        """They are not in work any more; returns those of them that still count."""
        return self._in_work.pop(id(records), ())

    def in_work(self) -> list[Sequence[Record]]:
        """What is in work and still counts."""
        return [records for records in self._in_work.values() if records]

    def unfinished_positions(self) -> dict[Shard, int]:
        """Of each shard the first position that is not finished: nothing at or beyond it may be committed."""
        firsts = dict(self.tails)
        runs = [*self._in_work.values(), *(batch.records for batch in self.waiting)]
        if self.name != ALL_SHARDS:  # in order, so that the first of all is the least
            begun = [first_place(run) for run in runs]
        else:
            begun = [place for run in runs for place in first_places(run)]
        begun += [(shard, buffer.first_position) for shard, buffer in self.buffers.items() if buffer]
        for shard, position in begun:
            firsts[shard] = min(firsts[shard], position)
        return firsts

    def has_some(self) -> bool:
        """Whether something waits that no batch has taken yet."""
        return any(self.buffers.values())

    def is_full(self, limits: BatchingLimits) -> bool:
        """Whether a batch closes now by count or by bytes."""
        if self._only is not None:
            return self._only.is_full(limits)
        buffers = self.buffers.values()
        room = limits.room_of(len(buffers))
        return sum(map(len, buffers)) >= limits.batch_size or sum(buffer.size for buffer in buffers) >= room

    def full_shards(self, limits: BatchingLimits) -> list[Shard]:
        """Shards of which enough waits for their share of a batch and of the read-ahead."""
        of = len(self.buffers)
        return [
            shard
            for shard, buffer in self.buffers.items()
            if buffer.size * of >= limits.read_ahead
            and (len(buffer) * of >= limits.batch_size or buffer.size * of >= limits.room_of(of))
        ]

    def first_seen(self) -> float:
        """When the oldest record that waits arrived; something must wait."""
        if self._only is not None:
            return self._only.first_seen
        return min([buffer.first_seen for buffer in self.buffers.values() if buffer])

    def take(self, limits: BatchingLimits) -> Records:
        """Remove the next batch from what waits; something must."""
        if self._only is not None:
            return self._only.take(limits)
        return take_fairly([buffer for buffer in self.buffers.values() if buffer], limits)

    def window_end(self, limits: BatchingLimits) -> float:
        """When the waiting records are due whatever their number; something must wait."""
        if limits.window_start is WindowStart.FIRST_RECORD:
            return self.first_seen() + limits.window
        return self.window_opened + limits.window

    def held(self) -> int:
        """Records taken up and not finished."""
        runs = [*self._in_work.values(), *(batch.records for batch in self.waiting)]
        return (
            sum(map(len, self.buffers.values())) + sum(map(len, runs)) + sum(len(item.records) for item in self.returns)
        )


def restricted(decisions: Iterable[Decision], records: Sequence[Record]) -> Iterator[Decision]:
    """The decisions as far as they are about these records; the others' shards went while they were in work."""
    kept = set(map(id, records))
    for decision in decisions:
        if isinstance(decision, Retry):
            found = ((batch, [record for record in batch.records if id(record) in kept]) for batch in decision.batches)
            if batches := [with_only(batch, some) for batch, some in found if some]:
                yield Retry(batches)
        elif some := [record for record in decision.records if id(record) in kept]:
            yield replace(decision, records=some)


def _of_others(records: Sequence[Record], shards: Collection[Shard]) -> Sequence[Record]:
    kept = [record for record in records if record.shard not in shards]
    return kept if len(kept) < len(records) else records


def with_only(batch: Batch, records: Sequence[Record]) -> Batch:
    """The batch with these of its records; its event has to be built anew if they are fewer."""
    return batch if len(records) == len(batch.records) else replace(batch, records=records, event=None)
