"""The naive model of one mapping: what was handed out, handled, given up and committed, and what must never happen.

It knows nothing of lanes or decisions. It sees what passes the loop's edges (polls, invocations, letters,
acknowledgements) and answers the invocations itself, so it knows what every record deserves.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from poller.model import DeadLetter, Discard, Invocation, InvocationResult, Record, Shard
from poller.policy.retrying import MAXIMUM_PAYLOAD_SIZE_EXCEEDED, RECORD_AGE_EXCEEDED, RETRY_ATTEMPTS_EXHAUSTED

WITHOUT_END = -1


@dataclass(frozen=True)
class Mapping:
    """The mapping under test, as drawn."""

    ordered: bool
    mixed: bool
    """EventGrouping: Poller, where it is ordered: one batch of all shards in work."""
    wakes: bool
    batch_size: int
    window: float
    maximum_bytes: int
    retries: int
    bisect: bool
    report: bool
    age: float
    """MaximumRecordAgeInSeconds, or WITHOUT_END."""
    has_letters: bool
    honest: bool
    """Only poison fails; otherwise any answer may come to any batch."""


@dataclass
class Running:
    """An invocation without an answer."""

    invocation: Invocation
    on_result: Callable[[InvocationResult], None]
    records: list[Record]
    tenures: dict[Shard, int]
    """Which ownership of each shard it belongs to: answers that come after it count for nothing."""
    poller: int


@dataclass
class Tenure:
    """One ownership of one shard, from its assignment to its end."""

    number: int
    start: int
    handed: dict[int, Record] = field(default_factory=dict)
    """What the source gave, by position."""
    invoked: set[int] = field(default_factory=set)
    done: set[int] = field(default_factory=set)
    """Handled, or its letter durable, or refused: what may be acknowledged."""
    given_up: set[int] = field(default_factory=set)
    settled: set[int] = field(default_factory=set)
    """A queue's messages that were acknowledged, released or rejected: once each."""
    failures: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    """Attempts that a stream's record used up: at least."""
    most_failures: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    """At most: whether a split consumed one depends on which records grew too old meanwhile."""
    first: int = -1
    """The last position that was invoked for the first time."""
    committed: int = -1


class Model:
    """All shards of the mapping, over all ownerships."""

    def __init__(self, mapping: Mapping, *, overhead: int, clock: Callable[[], float]) -> None:
        self.mapping = mapping
        self.room = mapping.maximum_bytes - overhead
        self.clock = clock
        """Wall time."""
        self.tenures: dict[Shard, Tenure] = {}
        self.running: list[Running] = []
        self.letters: list[tuple[Sequence[tuple[Tenure, Record]], Callable[[], None]]] = []
        self.finished: set[tuple[Shard, object]] = set()
        """Handled at least once, or given up durably: by position (stream) or body (queue)."""
        self.commits_held_up = False
        self.largest_batch = mapping.batch_size
        """Of all updates so far."""
        self._numbers = self._pollers = 0
        self._building: Discard | None = None

    def update(self, mapping: Mapping) -> None:
        """From the next batch on it is like this."""
        self.mapping = mapping
        self.largest_batch = max(self.largest_batch, mapping.batch_size)

    def starts(self) -> None:
        """A poller, and no answer that comes to another one is its."""
        self._pollers += 1

    # --- ownership ------------------------------------------------------------------------------------------------

    def begins(self, shard: Shard, start: int) -> None:
        self._numbers += 1
        self.tenures[shard] = Tenure(self._numbers, start, committed=start)

    def ends(self, shard: Shard) -> None:
        self.tenures.pop(shard, None)

    def polled(self, records: Sequence[Record]) -> None:
        for record in records:
            tenure = self.tenures[record.shard]
            assert record.position not in tenure.handed
            tenure.handed[record.position] = record
            if not matches(record.value):
                tenure.done.add(record.position)

    def key(self, record: Record) -> tuple[Shard, object]:
        return record.shard, record.position if self.mapping.ordered else record.value

    # --- invocations ----------------------------------------------------------------------------------------------

    def submit(self, invocation: Invocation, on_result: Callable[[InvocationResult], None], *, wait: bool) -> None:
        """The pool's end of an invocation."""
        assert wait
        assert not self.commits_held_up, "started while a commit was held up"
        shards = self._records_of(invocation.payload)
        mapping = self.mapping
        is_new = all(
            record.position not in self.tenures[shard].invoked for shard, some in shards.items() for record in some
        )
        # An update acts from the next batch on, and a retry is of a batch that is there already.
        assert 1 <= sum(map(len, shards.values())) <= (mapping.batch_size if is_new else self.largest_batch)
        assert len(invocation.payload) <= mapping.maximum_bytes
        assert mapping.mixed or len(shards) == 1, "several shards in one event"
        tenures = {shard: self.tenures[shard].number for shard in shards}
        for run in self.running:
            assert not run.tenures.items() & tenures.items(), "two batches of one lane in work"
            assert not mapping.mixed or run.poller != self._pollers, "two batches of one poller in work"
        for shard, records in shards.items():
            self._invoked(self.tenures[shard], records)
        together = [record for records in shards.values() for record in records]
        self.running.append(Running(invocation, on_result, together, tenures, self._pollers))

    def _invoked(self, tenure: Tenure, records: Sequence[Record]) -> None:
        """Records of one shard are handed over."""
        mapping = self.mapping
        positions = [record.position for record in records]
        assert positions == sorted(set(positions))
        for record in records:
            assert matches(record.value)
            assert not self._too_old(record), "invoked beyond its age"
            assert record.position not in tenure.done, "handled or given up, and invoked again"
            assert record.position not in tenure.given_up, "given up, and invoked again"
            if mapping.retries != WITHOUT_END and mapping.ordered:
                assert tenure.failures[record.position] <= mapping.retries, "more attempts than allowed"
        if mapping.ordered:
            for earlier in tenure.invoked.difference(positions):
                assert earlier > positions[-1] or self._is_over(tenure, earlier), "a retry was passed over"
        for position in positions:
            if position not in tenure.invoked:
                self._first_handling(tenure, position)
        tenure.invoked.update(positions)

    def _records_of(self, payload: bytes) -> dict[Shard, list[Record]]:
        event = json.loads(payload)
        if self.mapping.ordered:
            return {
                shard: [self.tenures[shard].handed[item["offset"]] for item in items]
                for shard, items in event["records"].items()
            }
        [(shard, items)] = event["rmqMessagesByQueue"].items()
        by_value = {
            record.value: record
            for record in self.tenures[shard].handed.values()
            if record.position not in self.tenures[shard].settled
        }
        return {shard: [by_value[b64decode(item["data"])] for item in items]}

    def _first_handling(self, tenure: Tenure, position: int) -> None:
        assert position > tenure.first, "first handling out of order"
        for between in range(max(tenure.first + 1, tenure.start), position):
            assert between not in tenure.handed or self._is_over(tenure, between), "a record was passed over"
        tenure.first = position

    def _is_over(self, tenure: Tenure, position: int) -> bool:
        return position in tenure.done | tenure.given_up | tenure.settled or self.without_letter(
            tenure, tenure.handed[position]
        )

    def _too_large(self, record: Record) -> bool:
        return len(record.encoded) + 1 > self.room

    def _too_old(self, record: Record) -> bool:
        age = self.mapping.age
        return age != WITHOUT_END and 0 < record.timestamp < (self.clock() - age) * 1000

    def answer(self, run: Running, failed: Sequence[Record], result: InvocationResult, *, thrown: bool) -> None:
        """Give an answer, and enter what it means: `failed` records of an attempt that took place."""
        self.running.remove(run)
        splits = self.mapping.bisect and self.mapping.ordered and thrown and len(failed) > 1
        for record in run.records if result.status == 200 else ():
            tenure = self._current(run, record.shard)
            if tenure is None:
                continue
            if record not in failed:
                tenure.done.add(record.position)
                self.finished.add(self.key(record))
                continue
            tenure.most_failures[record.position] += 1
            if not splits:
                tenure.failures[record.position] += not self._too_old(record)
            elif self.mapping.age == WITHOUT_END:
                tenure.most_failures[record.position] -= 1
        run.on_result(result)

    def _current(self, run: Running, shard: Shard) -> Tenure | None:
        tenure = self.tenures.get(shard)
        return tenure if tenure is not None and tenure.number == run.tenures[shard] else None

    # --- what is given up -----------------------------------------------------------------------------------------

    def build_letters(self, discard: Discard) -> list[DeadLetter]:
        """The loop asks for the letters of a discard, and submits them at once."""
        self._building = discard
        self.gives_up(discard.records, discard.condition)
        return [DeadLetter(record.value or b"") for record in discard.records]

    def send(self, letters: Sequence[DeadLetter], on_done: Callable[[], None]) -> None:
        """The destination's end: durable when the test says so."""
        assert self._building is not None
        records = self._building.records
        assert [letter.body for letter in letters] == [record.value or b"" for record in records]
        self.letters.append(([(self.tenures[record.shard], record) for record in records], on_done))

    def gives_up(self, records: Sequence[Record], condition: str) -> None:
        mapping = self.mapping
        for record in records:
            tenure = self.tenures[record.shard]
            assert record.position not in tenure.given_up, "given up twice"
            assert record.position not in tenure.done, "handled, and given up"
            tenure.given_up.add(record.position)
            match condition:
                case name if name == RETRY_ATTEMPTS_EXHAUSTED:
                    assert self._is_used_up(tenure, record), "given up too early"
                    if mapping.honest and (mapping.report or (mapping.bisect and mapping.ordered)):
                        assert is_poison(record.value), "a good record was given up for its neighbour"
                case name if name == RECORD_AGE_EXCEEDED:
                    assert self._too_old(record)
                case _:
                    assert condition == MAXIMUM_PAYLOAD_SIZE_EXCEEDED
                    assert self._too_large(record)

    def _is_used_up(self, tenure: Tenure, record: Record) -> bool:
        mapping = self.mapping
        if mapping.retries == WITHOUT_END:
            return False
        if not mapping.ordered:
            return tenure.most_failures[record.position] > 0 and record.deliveries + 1 > mapping.retries
        return tenure.most_failures[record.position] > mapping.retries

    def deliver(self, index: int) -> None:
        """A discard's letters are durable."""
        sent, on_done = self.letters.pop(index)
        for tenure, record in sent:
            tenure.done.add(record.position)
            self.finished.add(self.key(record))
        on_done()

    def without_letter(self, tenure: Tenure, record: Record) -> bool:
        """Whether a stream without a destination may have dropped it."""
        return not self.mapping.has_letters and (
            self._is_used_up(tenure, record) or self._too_old(record) or self._too_large(record)
        )

    # --- acknowledgements -----------------------------------------------------------------------------------------

    def commits(self, shard: Shard, position: int) -> None:
        """A stream's commit: it only grows, and passes nothing that is not finished."""
        tenure = self.tenures[shard]
        assert position > tenure.committed, "a commit went back"
        for finished in range(tenure.committed, position):
            assert finished in tenure.handed, "committed what was never read"
            record = tenure.handed[finished]
            assert finished in tenure.done or self.without_letter(tenure, record), "a commit passed unfinished work"
            self.finished.add(self.key(record))
        tenure.committed = position

    def settles(self, records: Sequence[Record]) -> Tenure | None:
        """A queue's messages are acknowledged, released or rejected: each delivery once."""
        for record in records:
            tenure = self.tenures[record.shard]
            assert tenure.handed[record.position] is record
            assert record.position not in tenure.settled, "settled twice"
            tenure.settled.add(record.position)
        return self.tenures[records[0].shard] if records else None

    def acknowledges(self, records: Sequence[Record]) -> None:
        tenure = self.settles(records)
        for record in records:
            assert tenure is not None
            assert record.position in tenure.done or self.without_letter(tenure, record), "acknowledged unfinished work"
            self.finished.add(self.key(record))

    def releases(self, records: Sequence[Record]) -> None:
        tenure = self.settles(records)
        for record in records:
            assert tenure is not None
            assert tenure.most_failures[record.position] == 1
            assert not self._is_used_up(tenure, record), "released, though its attempts are used up"

    def rejects(self, records: Sequence[Record]) -> None:
        self.settles(records)
        for record in records:
            self.gives_up(
                [record], MAXIMUM_PAYLOAD_SIZE_EXCEEDED if self._too_large(record) else RETRY_ATTEMPTS_EXHAUSTED
            )
            self.finished.add(self.key(record))


def matches(value: bytes | None) -> bool:
    """The mapping's filter."""
    return value is None or not value.startswith(b"skip")


def is_poison(value: bytes | None) -> bool:
    return value is not None and value.startswith(b"poison")
