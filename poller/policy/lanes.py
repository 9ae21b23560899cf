"""Per ordering unit: what waits, what is in work, what comes again, and what may be acknowledged. Pure.

A lane has at most one batch in work, so order is kept inside a shard (C.4). By default each shard has a lane, so shards
run side by side (as many as may be in flight), and a poison record stops only its own. With `EventGrouping: Poller` one
lane holds all shards of its poller, and a batch has records of several (D.1.1). What is committable is computed from
what is unfinished, never counted, so it can not run ahead of it: for a stream it is the first position that is not
finished.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from math import inf

from poller.model import Batch, Complete, Decision, Discard, Progress, Record, Retry, Return, Shard
from poller.policy.batching import BatchingLimits, RecordBuffer, WindowStart
from poller.policy.holding_back import HoldingBack
from poller.policy.lane import ALL_SHARDS, Lane, restricted, with_only
from poller.policy.retrying import MAXIMUM_PAYLOAD_SIZE_EXCEEDED, RECORD_AGE_EXCEEDED
from poller.policy.turns import Turns
from poller.records import Records, first_places


class Lanes:
    """All lanes of one poller. Not thread-safe: owned by the poller's thread."""

    def __init__(
        self,
        limits: BatchingLimits,
        *,
        ordered: bool,
        mixed: bool = False,
        matches: Callable[[bytes | None], bool] | None = None,
        expired: Callable[[Sequence[Record], float], tuple[list[Record], list[Record]]] | None = None,
    ) -> None:
        """Set up without any lane.

        Args:
            limits: of a batch.
            ordered: stream (positions are committed) or queue (messages are settled one by one).
            mixed: one lane for all shards, not one for each; of a stream.
            matches: FilterCriteria on a record's data; what does not match counts as progress at once (C.5).
            expired: splits off what is older than MaximumRecordAgeInSeconds: (records, wall) → (too old, others).
        """
        self.limits = limits
        self._ordered = ordered
        self._mixed = mixed
        self._matches = matches
        self._expired = expired
        self._lanes: dict[str, Lane] = {}
        """By name: the shard, or ALL_SHARDS."""
        self._turns = Turns()
        self._holding_back = HoldingBack()
        self._finished: list[Record] = []

    def __contains__(self, lane: Lane) -> bool:
        """Whether this very lane is still ours.

        A late result of a revoked shard finds its lane gone, even if the shard is back meanwhile.
        """
        return self._lanes.get(lane.name) is lane

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
        self._stir_all()
        filtered_out = 0
        if matches is not None:
            for buffer in self._buffers():
                passed_over = buffer.keep(matches)
                filtered_out += len(passed_over)
                self._finish(passed_over)
        return filtered_out

    def give_back(self) -> tuple[list[Record], list[Record]]:
        """Forget what is not in work: the messages no batch took, and those that failed and wait to go back.

        For a queue whose reading ends while something is in work; a stream has nothing to give back.
        """
        unstarted = [record for buffer in self._buffers() for record in buffer.keep(lambda _: False)]
        self._stir_all()
        failed: list[Record] = []
        for lane in self._lanes.values():
            unstarted += [record for batch in lane.waiting for record in batch.records]
            lane.waiting = []
            failed += [record for item in lane.returns for record in item.records]
            lane.returns = []
        return unstarted, failed

    def _stir(self, lane: Lane) -> None:
        self._turns.stir(lane)
        self._holding_back.changed(lane)

    def _stir_all(self) -> None:
        for lane in self._lanes.values():
            self._stir(lane)

    def _buffers(self) -> list[RecordBuffer]:
        return [buffer for lane in self._lanes.values() for buffer in lane.buffers.values()]

    def extend(self, records: Sequence[Record], now: float) -> int:
        """Take up polled records; returns how many did not match the filter."""
        filtered_out = 0
        for span in Records.of(records).spans:
            shard = span.run.shard
            lane = self._lane_of(shard, span.first_position, now)
            lane.tails[shard] = span.last_position + 1
            self._stir(lane)
            arrived = kept = Records([span])
            if self._matches is not None:
                chosen = list(map(self._matches, arrived.values()))
                kept = arrived.only(chosen)
                filtered_out += len(arrived) - len(kept)
                if not self._ordered:  # for a stream it is enough that they are not unfinished
                    self._finish(arrived.only([not one for one in chosen]))
            if kept:
                lane.buffers[shard].add(kept, now)
        return filtered_out

    def _lane_of(self, shard: Shard, position: int, now: float) -> Lane:
        """The lane for what arrives of a shard from a position on."""
        name = ALL_SHARDS if self._mixed else shard
        lane = self._lanes.get(name)
        if lane is not None and position < lane.tails.get(shard, 0):
            # Positions only grow; where they do not, the shard was made anew (a topic deleted and created again).
            self.drop([shard])
            lane = self._lanes.get(name)
        if lane is None:
            lane = self._lanes[name] = Lane(name, now)
        if shard not in lane.tails:
            lane.begin(shard, position)
        return lane

    def due(self, now: float, wall: float) -> list[tuple[Lane, Batch | Discard]]:
        """What is to be done now; it counts as in work from here on, until `resolve` or `settle`.

        Batches are due as `Turns` says. A discard was never invoked: too big for any event, or too old on arrival.
        """
        work: list[tuple[Lane, Batch | Discard]] = []
        if (room := self._room()) > 0:
            for lane in self._turns.take(now, self.limits):
                items = self._retry(lane, wall) if lane.waiting else self._take(lane, now, wall)
                work += [(lane, item) for item in items]
                room -= lane.invoked
                if room <= 0:
                    break
        return work

    def _room(self) -> float:
        """Batches that may be handed over now."""
        if self.limits.concurrency is None:
            return inf
        return self.limits.concurrency - sum(lane.invoked for lane in self._lanes.values())

    def _retry(self, lane: Lane, wall: float) -> list[Batch | Discard]:
        batch = lane.waiting.pop(0)
        items: list[Batch | Discard] = [batch]
        if self._expired is not None:
            too_old, records = self._expired(batch.records, wall)
            if too_old:
                # D.4: what expires while it is retried is reported with the count of the attempts that were made.
                items = [Discard(too_old, RECORD_AGE_EXCEEDED, max(1, batch.attempt - 1), None)]
                items += [with_only(batch, records)] if records else []
        for item in items:
            lane.begin_work(item.records)
            lane.invoked |= isinstance(item, Batch)
        return items

    def _take(self, lane: Lane, now: float, wall: float) -> list[Batch | Discard]:
        first_seen = lane.first_seen()
        taken = lane.take(self.limits)
        records: Sequence[Record] = taken
        self._holding_back.changed(lane)
        items: list[Batch | Discard] = []
        if len(taken) == 1 and taken.size > self.limits.room:
            items.append(Discard(records, MAXIMUM_PAYLOAD_SIZE_EXCEEDED, 0, None))
            records = ()
        elif self._expired is not None:
            too_old, young = self._expired(records, wall)
            if too_old:
                records = young
                # D.4: what was too old on arrival is reported with a count of 1.
                items.append(Discard(too_old, RECORD_AGE_EXCEEDED, 1, None))
        if records:
            items.append(Batch(records, first_seen))
            lane.invoked = True
            if self.limits.window_start is WindowStart.PREVIOUS_HANDOVER:
                lane.window_opened = now
        for item in items:
            lane.begin_work(item.records)
        return items

    def resolve(self, lane: Lane, batch: Batch, decisions: Iterable[Decision], now: float) -> list[Discard]:
        """Enter what was decided of a batch that was in flight, as far as its shards are still here.

        Returns the discards: they stay in work until the caller says `settle`, so nothing passes them.
        """
        kept = lane.end_work(batch.records)
        lane.invoked = False
        if kept is not batch.records:
            decisions = restricted(decisions, kept)
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
                    lane.begin_work(decision.records)
                    discards.append(decision)
        self._turns.stir(lane)
        return discards

    def settle(self, lane: Lane, records: Sequence[Record], *, acknowledge: bool = True) -> None:
        """A discard is done: its dead letter is durable, or it is dropped knowingly.

        Args:
            lane: where it was in work.
            records: of the discard.
            acknowledge: False when the broker was told otherwise already (a message that was rejected).
        """
        lane.end_work(records)
        if lane in self:
            self._turns.stir(lane)
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
            if shards is not None and lane.tails.keys().isdisjoint(shards):
                continue
            for shard, position in lane.unfinished_positions().items():
                if position > lane.reported[shard] and (shards is None or shard in shards):
                    size += position - lane.reported[shard]
                    positions[shard] = lane.reported[shard] = position
        return Progress(positions, size=size)

    def drop(self, shards: Collection[Shard] | None = None) -> None:
        """Forget lanes and all that is in them: these, or all when the connection is gone.

        What was not acknowledged comes again from the broker.
        """
        if shards is None:
            self._lanes.clear()
            self._turns.clear()
            self._holding_back.clear()
            self._finished.clear()
            return
        self._holding_back.drop(shards)
        if self._mixed:
            if (lane := self._lanes.get(ALL_SHARDS)) is not None:
                lane.forget(shards)
                self._stir(lane)
            return
        for shard in shards:
            if (lane := self._lanes.pop(shard, None)) is not None:
                self._turns.forget(lane)
                self._holding_back.forget(lane)

    def next_due(self, now: float) -> float | None:
        """When `due` or `take_returns` may next have something without any event before; None when nothing waits."""
        times: list[float] = []
        if not self._ordered:
            times += [item.not_before for lane in self._lanes.values() for item in lane.returns]
        if self._room() > 0:  # else an answer comes first
            times += self._turns.due_times(now, self.limits)
        return min(times, default=None)

    def any_ready(self) -> bool:
        """Whether a batch is full and waits for nothing but what its lane has in work."""
        return any(lane.is_full(self.limits) for lane in self._turns.busy)

    def full_shards(self) -> frozenset[Shard]:
        """Shards that should give no more for now: a whole batch waits, and enough that its source can be slow."""
        return self._holding_back.full_shards(self.limits)

    def is_busy(self) -> bool:
        """Whether anything is in work."""
        return bool(self._turns.busy)

    def shards(self) -> set[Shard]:
        """Shards that have a lane."""
        return {shard for lane in self._lanes.values() for shard in lane.tails}

    def filling(self, now: float) -> int:
        """Records that wait for nothing but their batch to be full or its window to end."""
        return sum(
            sum(map(len, lane.buffers.values()))
            for lane in self._lanes.values()
            if lane.has_some()
            and not (lane.is_busy() or lane.waiting or lane.is_full(self.limits))
            and lane.window_end(self.limits) > now
        )

    def backlog(self) -> dict[Shard, int]:
        """Positions of each lane from the first unfinished one to the last that was polled."""
        return {
            shard: lane.tails[shard] - position
            for lane in self._lanes.values()
            for shard, position in lane.unfinished_positions().items()
        }

    def in_work(self, shards: Collection[Shard] | None = None) -> int:
        """Batches in flight and dead letters being sent, of all lanes or with records of these shards."""
        return sum(
            shards is None or any(shard in shards for shard, _ in first_places(records))
            for lane in self._lanes.values()
            for records in lane.in_work()
        )

    def held(self) -> int:
        """Records taken up and not finished."""
        return sum(lane.held() for lane in self._lanes.values())

    def _finish(self, records: Sequence[Record]) -> None:
        if not self._ordered:
            self._finished += records
