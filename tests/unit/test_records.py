"""Records are kept in runs, by columns where the source has columns: nobody who looks at them sees a difference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import is_

import pytest
from builders import positions, records
from hypothesis import given
from hypothesis import strategies as st

from poller.model import Record
from poller.records import ListRun, Records, Run, Span, first_place, first_places, json_of, newest_timestamp
from poller.sources.kafka_run import record_head, to_run

Columns = list[tuple[int, int, bytes | None, bytes | None, list[tuple[str, bytes | None]]]]

COLUMNS = st.lists(
    st.tuples(
        st.integers(-1, 1),
        st.integers(-1, 2**41),
        st.none() | st.binary(max_size=9),
        st.none() | st.binary(max_size=40),
        st.lists(st.tuples(st.text(max_size=4), st.none() | st.binary(max_size=4)), max_size=2),
    ),
    min_size=1,
    max_size=9,
)
ALIKE = st.lists(
    st.tuples(st.just(0), st.integers(1, 2**41), st.binary(max_size=9), st.binary(max_size=40), st.just([])),
    min_size=1,
    max_size=9,
)


def kafka_run(columns: Columns, first: int = 5, shard: str = "t-0") -> Run:
    kinds, times, keys, values, headers = zip(*columns, strict=True)
    offsets = range(first, first + len(columns))
    head = record_head("t", int(shard[2:]))
    return to_run(shard, head, offsets, zip(kinds, times, strict=True), keys, values, headers)


def list_run(columns: Columns) -> Run:
    return ListRun(kafka_run(columns).records())


@pytest.mark.parametrize("made", [kafka_run, list_run])
@given(columns=COLUMNS | ALIKE, data=st.data())
def test_a_run_tells_of_its_records_what_they_say_themselves(
    made: Callable[[Columns], Run], columns: Columns, data: st.DataObject
) -> None:
    run = made(columns)
    start = data.draw(st.integers(0, len(columns) - 1))
    stop = data.draw(st.integers(start + 1, len(columns)))
    piece = b"".join(run.pieces(start, stop))  # before any record was made
    size, values = run.size(start, stop), list(run.values())
    places = [(run.position(index), run.timestamp(index)) for index in range(len(run))]
    made_now = run.records()
    assert piece == b"".join(record.encoded + b"," for record in made_now[start:stop])
    assert size == len(piece)
    assert values == [record.value for record in made_now]
    assert places == [(record.position, record.timestamp) for record in made_now]
    assert {record.shard for record in made_now} == {run.shard}
    assert run.records(start, stop) == made_now[start:stop]


@pytest.mark.parametrize("made", [kafka_run, list_run])
@given(columns=COLUMNS | ALIKE, data=st.data())
def test_a_part_of_a_run_is_a_run_of_those_records(
    made: Callable[[Columns], Run], columns: Columns, data: st.DataObject
) -> None:
    chosen = data.draw(st.lists(st.booleans(), min_size=len(columns), max_size=len(columns)).filter(any))
    run = made(columns)
    first = data.draw(st.integers(0, chosen.index(True)))
    part = run.only(first, chosen[first:])
    wanted = [record for record, is_chosen in zip(run.records(), chosen, strict=True) if is_chosen]
    assert list(part.records()) == wanted
    assert len(part) == len(wanted)
    assert part.size(0, len(part)) == sum(len(record.encoded) + 1 for record in wanted)


def in_runs(lengths: Sequence[int]) -> tuple[Records, list[Record]]:
    """Records of several runs, one after the other, and the same as a list."""
    runs: list[Run] = []
    for number, length in enumerate(lengths):
        first = 10 * number
        columns: Columns = [(0, 100 + index, b"k", b"v" * index, []) for index in range(first, first + length)]
        runs.append(kafka_run(columns, first, f"t-{number % 2}"))
    return Records.of_runs(runs), [record for run in runs for record in run.records()]


LENGTHS = st.lists(st.integers(1, 4), min_size=1, max_size=4)


@given(LENGTHS, st.data())
def test_records_in_runs_are_a_sequence_like_any_other(lengths: list[int], data: st.DataObject) -> None:
    some, wanted = in_runs(lengths)
    index = data.draw(st.integers(-len(wanted), len(wanted) - 1))
    start, stop = data.draw(st.tuples(st.integers(-9, 9), st.integers(-9, 9)))
    assert len(some) == len(wanted)
    assert some == wanted
    assert list(reversed(some)) == wanted[::-1]
    assert some[index] == wanted[index]
    assert all(map(is_, some, some)), "who compares by identity gets the same ones"
    assert some[start:stop] == wanted[start:stop]
    assert some.size == sum(len(record.encoded) + 1 for record in wanted)
    assert b"".join(json_of(some.spans)) == b",".join(record.encoded for record in wanted)


def test_records_are_equal_to_a_sequence_of_equal_ones_only() -> None:
    some, wanted = in_runs([2])
    assert some == tuple(wanted)
    assert some != wanted[:1]
    assert some != [wanted[0], wanted[0]]
    assert some != 5
    assert repr(some) == f"Records({wanted!r})"


@pytest.mark.parametrize("index", [3, -4])
def test_there_is_no_record_beyond_the_last_and_before_the_first(index: int) -> None:
    some, _ = in_runs([2, 1])
    with pytest.raises(IndexError):
        some[index]


def test_records_of_several_shards_become_a_run_for_each_neighbourhood() -> None:
    some = Records.of([*records(1, 2), *records(7, shard="t-1"), *records(3)])
    assert [(span.run.shard, len(span.run)) for span in some.spans] == [("t-0", 2), ("t-1", 1), ("t-0", 1)]
    assert Records.of(some) is some
    assert first_places(some) == first_places(list(some)) == [("t-0", 1), ("t-1", 7), ("t-0", 3)]
    assert first_place(some) == first_place(list(some)) == ("t-0", 1)


def test_the_newest_of_several_runs_is_the_latest_of_their_last_records() -> None:
    some, wanted = in_runs([3, 2])
    assert newest_timestamp(some) == wanted[-1].timestamp
    assert newest_timestamp(list(reversed(wanted))) == wanted[3].timestamp


@given(st.lists(st.booleans(), min_size=6, max_size=6), st.integers(0, 2), st.integers(4, 6))
def test_a_filter_chooses_of_parts_of_runs_by_their_values(flags: list[bool], start: int, stop: int) -> None:  # C.5
    columns: Columns = [(0, 100, b"k", b"yes" if flag else b"no", []) for flag in flags]
    run = kafka_run(columns)
    some = Records([Span(run, start, stop), Span(run, 0, start + 1)])
    wanted = [*run.records()[start:stop], *run.records()[: start + 1]]
    assert some.values() == [record.value for record in wanted]
    chosen = [value == b"yes" for value in some.values()]
    assert some.only(chosen) == [record for record in wanted if record.value == b"yes"]
    assert some.only([not one for one in chosen]) == [record for record in wanted if record.value == b"no"]


@given(st.integers(0, 12), st.integers(0, 400))
def test_as_many_records_fit_as_their_bytes_leave_room_for(most: int, room: int) -> None:  # C.4
    some, wanted = in_runs([6])
    [span] = some.spans
    sizes = [len(record.encoded) + 1 for record in wanted]
    fitting = [count for count in range(min(most, 6) + 1) if sum(sizes[:count]) <= room]
    assert span.fitting(most, room) == max(fitting)


def test_a_part_of_a_run_has_the_places_of_its_own_records() -> None:
    some, wanted = in_runs([6])
    part = Span(some.spans[0].run, 2, 4)
    assert positions(Records([part])) == [2, 3]
    assert (part.length, part.first_position, part.last_position) == (2, 2, 3)
    assert newest_timestamp(Records([part])) == wanted[3].timestamp
    assert first_places(Records([part])) == [("t-0", 2)]
