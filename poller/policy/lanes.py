"""Per ordering unit: what waits, what is in work, what comes again, and what may be acknowledged. Pure.

A lane has at most one batch in work, so order is kept inside a shard (C.4), shards run side by side (as many as may be
in flight), and a poison record stops only its own. What is committable is computed from what is unfinished, never
counted, so it can not run ahead of it: for a stream it is the first position that is not finished.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import groupby
from operator import attrgetter

from poller.model import Batch, Complete, Decision, Discard, Progress, Record, Retry, Return, Shard
from poller.policy.batching import BatchingLimits, RecordBuffer, WindowStart
from poller.policy.retrying import MAXIMUM_PAYLOAD_SIZE_EXCEEDED, RECORD_AGE_EXCEEDED

_SHARD = attrgetter("shard")


class Lane:
    """One shard's records on their way. Only `Lanes` and its owner's thread touch it."""

    __slots__ = ("buffer", "in_work", "invoked", "reported", "returns", "shard", "tail", "waiting", "window_opened")

    def __init__(self, shard: Shard, first_position: int, now: float) -> None:
        self.shard = shard
        self.buffer = RecordBuffer()
        self.waiting: list[Batch] = []
        """Batches that come again, in order."""
        self.in_work: list[Sequence[Record]] = []
        """Records of the batch in flight, and of discards whose dead letters are being sent."""
        self.invoked = False
        """A batch is in flight, not only discards."""
        self.returns: list[Return] = []
        self.tail = first_position
        """The position after the last record that was polled, filtered-out ones included."""
        self.reported = first_position
        self.window_opened = now

    def unfinished_position(self) -> int:
        """The first position that is not finished: nothing at or beyond it may be committed."""
        firsts = [records[0].position for records in self.in_work]
        firsts += [batch.records[0].position for batch in self.waiting]
        if self.buffer:
            firsts.append(self.buffer.first.position)
        return min(firsts, default=self.tail)

    def window_end(self, limits: BatchingLimits) -> float:
        """When the waiting records are due whatever their number; the buffer must not be empty."""
        if limits.window_start is WindowStart.FIRST_RECORD:
            return self.buffer.first_seen + limits.window
        return self.window_opened + limits.window


class Lanes:
    """All lanes of one poller. Not thread-safe: owned by the poller's thread."""

    def __init__(
        self,
        limits: BatchingLimits,
        *,
        ordered: bool,
        matches: Callable[[bytes | None], bool] | None = None,
        expired: Callable[[Sequence[Record], float], tuple[list[Record], list[Record]]] | None = None,
    ) -> None:
        """Set up without any lane.

        Args:
            limits: of a batch.
            ordered: stream (positions are committed) or queue (messages are settled one by one).
            matches: FilterCriteria on a record's data; what does not match counts as progress at once (C.5).
            expired: splits off what is older than MaximumRecordAgeInSeconds: (records, wall) → (too old, others).
        """
        self.limits = limits
        self._ordered = ordered
        self._matches = matches
        self._expired = expired
        self._lanes: dict[Shard, Lane] = {}
        self._finished: list[Record] = []

    def __contains__(self, lane: Lane) -> bool:
        """Whether this very lane is still ours.

        A late result of a revoked shard finds its lane gone, even if the shard is back meanwhile.
        """
        return self._lanes.get(lane.shard) is lane

    def change(
        self,
        limits: BatchingLimits,
        *,
        matches: Callable[[bytes | None], bool] | None,
        expired: Callable[[Sequence[Record], float], tuple[list[Record], list[Record]]] | None,
    ) -> int:
        """Work by other values from the next batch on; returns how many waiting records the filter passes over now.

        Batches that exist already, in work or waiting for another attempt, stay as they are. What an earlier filter
        passed over stays passed over.
        """
        self.limits, self._matches, self._expired = limits, matches, expired
        filtered_out = 0
        if matches is not None:
            for lane in self._lanes.values():
                passed_over = lane.buffer.keep(lambda record: matches(record.value))
                filtered_out += len(passed_over)
                self._finish(passed_over)
        return filtered_out

    def give_back(self) -> tuple[list[Record], list[Record]]:
        """Forget what is not in work: the messages no batch took, and those that failed and wait to go back.

        For a queue whose reading ends while something is in work; a stream has nothing to give back.
        """
        unstarted: list[Record] = []
        failed: list[Record] = []
        for lane in self._lanes.values():
            unstarted += [record for batch in lane.waiting for record in batch.records]
            unstarted += lane.buffer.keep(lambda _: False)
            lane.waiting = []
            failed += [record for item in lane.returns for record in item.records]
            lane.returns = []
        return unstarted, failed

    def extend(self, records: Sequence[Record], now: float) -> int:
        """Take up polled records; returns how many did not match the filter."""
        filtered_out = 0
        for shard, group in groupby(records, key=_SHARD):
            arrived = list(group)
            lane = self._lanes.get(shard)
            if lane is None or arrived[0].position < lane.tail:
                # Positions only grow; where they do not, the shard was made anew (a topic deleted and created again).
                lane = self._lanes[shard] = Lane(shard, arrived[0].position, now)
            lane.tail = arrived[-1].position + 1
            kept = arrived
            if self._matches is not None:
                kept = []
                passed_over: list[Record] = []
                for record in arrived:
                    (kept if self._matches(record.value) else passed_over).append(record)
                filtered_out += len(passed_over)
                self._finish(passed_over)
            if kept:
                lane.buffer.add(kept, now)
        return filtered_out

    def due(self, now: float, wall: float) -> list[tuple[Lane, Batch | Discard]]:
        """What is to be done now; it counts as in work from here on, until `resolve` or `settle`.

        A batch is full, its window has elapsed, or its retry time has come. A discard was never invoked: too big for
        any event, or too old on arrival.
        """
        work: list[tuple[Lane, Batch | Discard]] = []
        room = self._room()
        for lane in list(self._lanes.values()) if self.limits.concurrency else self._lanes.values():
            if lane.in_work:
                continue
            if room <= 0:
                break
            if lane.waiting:
                if lane.waiting[0].not_before <= now:
                    batch = lane.waiting.pop(0)
                    lane.in_work.append(batch.records)
                    lane.invoked = True
                    work.append((lane, batch))
            elif lane.buffer and (lane.buffer.is_full(self.limits) or lane.window_end(self.limits) <= now):
                work += [(lane, item) for item in self._take(lane, now, wall)]
            if lane.invoked and self.limits.concurrency:
                room -= 1
                self._lanes[lane.shard] = self._lanes.pop(lane.shard)  # the turn of the others is next
        return work

    def _room(self) -> int:
        """Batches that may be handed over now."""
        if self.limits.concurrency is None:
            return len(self._lanes)
        return self.limits.concurrency - sum(lane.invoked for lane in self._lanes.values())

    def _take(self, lane: Lane, now: float, wall: float) -> list[Batch | Discard]:
        first_seen = lane.buffer.first_seen
        records: Sequence[Record] = lane.buffer.take(self.limits)
        items: list[Batch | Discard] = []
        if len(records) == 1 and len(records[0].encoded) + 1 > self.limits.room:
            items.append(Discard(records, MAXIMUM_PAYLOAD_SIZE_EXCEEDED, 0, None))
            records = ()
        elif self._expired is not None:
            too_old, records = self._expired(records, wall)
            if too_old:
                # D.4: what was too old on arrival is reported with a count of 1.
                items.append(Discard(too_old, RECORD_AGE_EXCEEDED, 1, None))
        if records:
            items.append(Batch(records, first_seen))
            lane.invoked = True
            if self.limits.window_start is WindowStart.PREVIOUS_HANDOVER:
                lane.window_opened = now
        lane.in_work += [item.records for item in items]
        return items

    def resolve(self, lane: Lane, batch: Batch, decisions: Iterable[Decision], now: float) -> list[Discard]:
        """Enter what was decided of a batch that was in flight.

        Returns the discards: they stay in work until the caller says `settle`, so nothing passes them.
        """
        self._end_work(lane, batch.records)
        lane.invoked = False
        if self.limits.window_start is WindowStart.PREVIOUS_RESULT:
            lane.window_opened = now
        discards: list[Discard] = []
        for decision in decisions:
            match decision:
                case Complete(records):
                    self._finish(records)
                case Retry(batches):
                    lane.waiting = [*batches, *lane.waiting]
                case Return():
                    lane.returns.append(decision)
                case _:
                    lane.in_work.append(decision.records)
                    discards.append(decision)
        return discards

    def settle(self, lane: Lane, records: Sequence[Record], *, acknowledge: bool = True) -> None:
        """A discard is done: its dead letter is durable, or it is dropped knowingly.

        Args:
            lane: where it was in work.
            records: of the discard.
            acknowledge: False when the broker was told otherwise already (a message that was rejected).
        """
        self._end_work(lane, records)
        if acknowledge:
            self._finish(records)

    def take_returns(self, now: float) -> list[Record]:
        """Messages whose time has come to go back to the queue."""
        returned: list[Record] = []
        for lane in self._lanes.values():
            if lane.returns:
                for item in lane.returns:
                    if item.not_before <= now:
                        returned += item.records
                lane.returns = [item for item in lane.returns if item.not_before > now]
        return returned

    def take_progress(self, shards: Collection[Shard] | None = None) -> Progress:
        """What became acknowledgeable since the last call, of all shards or of these."""
        if not self._ordered:
            finished, self._finished = self._finished, []
            return Progress(records=finished, size=len(finished))
        positions: dict[Shard, int] = {}
        size = 0
        for lane in self._lanes.values():
            if shards is not None and lane.shard not in shards:
                continue
            position = lane.unfinished_position()
            if position > lane.reported:
                size += position - lane.reported
                positions[lane.shard] = lane.reported = position
        return Progress(positions, size=size)

    def drop(self, shards: Collection[Shard] | None = None) -> None:
        """Forget lanes and all that is in them: these, or all when the connection is gone.

        What was not acknowledged comes again from the broker.
        """
        if shards is None:
            self._lanes.clear()
            self._finished.clear()
            return
        for shard in shards:
            self._lanes.pop(shard, None)

    def next_due(self, now: float) -> float | None:
        """When `due` or `take_returns` may next have something without any event before; None when nothing waits."""
        times: list[float] = []
        room = self._room() > 0
        for lane in self._lanes.values():
            times += [item.not_before for item in lane.returns]
            if lane.in_work or not room:  # an answer comes first
                continue
            if lane.waiting:
                times.append(lane.waiting[0].not_before)
            elif lane.buffer:
                times.append(now if lane.buffer.is_full(self.limits) else lane.window_end(self.limits))
        return min(times, default=None)

    def full_shards(self) -> set[Shard]:
        """Shards that should give no more for now: a whole batch waits, and enough that its source can be slow."""
        return {
            lane.shard
            for lane in self._lanes.values()
            if lane.buffer.size >= self.limits.read_ahead and lane.buffer.is_full(self.limits)
        }

    def shards(self) -> set[Shard]:
        """Shards that have a lane."""
        return set(self._lanes)

    def filling(self, now: float) -> int:
        """Records that wait for nothing but their batch to be full or its window to end."""
        return sum(
            len(lane.buffer)
            for lane in self._lanes.values()
            if lane.buffer
            and not (lane.in_work or lane.waiting or lane.buffer.is_full(self.limits))
            and lane.window_end(self.limits) > now
        )

    def backlog(self) -> dict[Shard, int]:
        """Positions of each lane from the first unfinished one to the last that was polled."""
        return {shard: lane.tail - lane.unfinished_position() for shard, lane in self._lanes.items()}

    def in_work(self, shards: Collection[Shard] | None = None) -> int:
        """Batches in flight and dead letters being sent, of all lanes or of these."""
        return sum(len(lane.in_work) for lane in self._lanes.values() if shards is None or lane.shard in shards)

    def held(self) -> int:
        """Records taken up and not finished."""
        return sum(
            len(lane.buffer)
            + sum(map(len, lane.in_work))
            + sum(len(batch.records) for batch in lane.waiting)
            + sum(len(item.records) for item in lane.returns)
            for lane in self._lanes.values()
        )

    def _finish(self, records: Sequence[Record]) -> None:
        if not self._ordered:
            self._finished += records

    @staticmethod
    def _end_work(lane: Lane, records: Sequence[Record]) -> None:
        lane.in_work = [item for item in lane.in_work if item is not records]
