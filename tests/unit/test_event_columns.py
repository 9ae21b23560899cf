"""The event that a Python handler gets by columns is the one that it would get as JSON (D.1.1)."""

from __future__ import annotations

import json
import marshal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poller.model import MAXIMUM_PAYLOAD, FunctionConfiguration, Invocation, Record
from poller.records import ListRun, Records, Run, Span
from poller.runtime.environment import ExecutionEnvironment
from poller.runtime.event_columns import unpack
from poller.sources.kafka_event import KafkaEvent, KafkaSettings, event_head
from poller.sources.kafka_run import record_head, to_run

HEAD = event_head(KafkaSettings(["b1.example:9092", "b2.example:9092"], topic='or"ders', group_id="group"))
HANDLERS = Path(__file__).parents[1] / "handlers"

ROWS = st.lists(
    st.tuples(
        st.integers(-1, 2**41) | st.integers(1_764_064_800_000, 1_764_064_800_999),
        st.integers(0, 1),
        st.none() | st.binary(max_size=9),
        st.none() | st.binary(max_size=40) | st.binary(min_size=4090, max_size=4100),
        st.lists(st.tuples(st.text(max_size=4), st.none() | st.binary(max_size=4)), max_size=2),
    ),
    min_size=1,
    max_size=5,
)
ALIKE = st.lists(
    st.tuples(st.just(1_764_064_800_000), st.just(0), st.none(), st.binary(max_size=40), st.just([])),
    min_size=1,
    max_size=5,
)
KEYED = st.lists(
    st.tuples(st.just(5), st.just(1), st.binary(max_size=5), st.binary(max_size=5), st.just([])), min_size=1, max_size=5
)
RUNS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 10**6), ROWS | ALIKE | KEYED), min_size=1, max_size=4)


def run_of(
    partition: int,
    first: int,
    rows: Sequence[tuple[int, int, bytes | None, bytes | None, list[object]]],
    left_out: Sequence[int] = (),
) -> Run:
    """`left_out`: so many offsets before each row but the first, as compaction leaves gaps."""
    times, kinds, keys, values, headers = zip(*rows, strict=True)
    gaps = [0, *left_out, *[0] * len(rows)][: len(rows)]
    offsets = [first + place + gap for place, gap in enumerate(accumulate(gaps))]
    head = record_head('or"ders', partition)
    return to_run(f'or"ders-{partition}', head, offsets, zip(kinds, times, strict=True), keys, values, headers)


def event_of(*spans: Span) -> KafkaEvent:
    return KafkaEvent(HEAD, Records(spans))


def whole(*runs: Run) -> KafkaEvent:
    return event_of(*[Span(run, 0, len(run)) for run in runs])


def packed_of(event: KafkaEvent) -> bytes:
    packed = event.columns()
    assert packed is not None
    return packed


def ordered(event: object) -> str:
    """With the order of what is in it, which equality passes over."""
    return json.dumps(event)


@given(RUNS, st.data())
def test_the_event_of_columns_is_the_event_of_json_in_the_same_order(
    some: list[tuple[int, int, list[object]]], data: st.DataObject
) -> None:
    spans = []
    for partition, first, rows in some:
        run = run_of(partition, first, rows, data.draw(st.lists(st.integers(0, 3), max_size=4)))
        start = data.draw(st.integers(0, len(run) - 1))
        spans.append(Span(run, start, data.draw(st.integers(start + 1, len(run)))))
    event = event_of(*spans)
    packed = packed_of(event)
    assert ordered(unpack(packed)) == ordered(json.loads(bytes(event)))
    assert unpack(memoryview(packed)) == unpack(packed)


@given(RUNS)
def test_an_event_knows_the_bytes_of_its_json_without_making_it(some: list[tuple[int, int, list[object]]]) -> None:
    event = whole(*[run_of(*one) for one in some])  # A.2: what limits count is JSON, whatever way it goes
    packed = packed_of(event)
    assert len(event) == len(bytes(event))
    assert len(packed) < len(event), "where the topic's name is short"


def test_an_event_that_has_no_room_in_a_frame_by_columns_goes_as_json() -> None:  # A.2
    topic = "t" * 249  # the longest name there is, with each of so many records that came one by one
    head, key, value = record_head(topic, 0), [None], [b"v" * 180]
    runs = [
        to_run(f"{topic}-0", head, [number], [(0, 1_764_064_800_000)], key, value, [None]) for number in range(9900)
    ]
    event = whole(*runs)
    assert len(event) <= MAXIMUM_PAYLOAD
    assert event.columns() is None
    assert len(json.loads(bytes(event))["records"][f"{topic}-0"]) == 9900
    assert whole(*runs[:5000]).columns() is not None


def test_an_event_without_records_is_one_all_the_same() -> None:
    event = event_of()
    packed = packed_of(event)
    assert unpack(packed) == json.loads(bytes(event)) == {**HEAD.members, "records": {}}
    assert len(event) == len(bytes(event))


def test_what_a_handler_changes_in_a_record_is_changed_in_no_other() -> None:
    packed = packed_of(whole(run_of(0, 1, [(5, 0, None, b"v", []), (5, 0, None, b"v", [])])))
    first, second = unpack(packed)["records"]['or"ders-0']
    first["headers"].append({"seen": [1]})
    first["key"] = "azE="
    assert second["headers"] == []
    assert "key" not in second
    assert unpack(packed)["records"]['or"ders-0'][0]["headers"] == []


def test_columns_are_of_a_form_that_every_python_3_reads() -> None:
    # The version that marshal writes by itself has references since Python 3.4; a handler's interpreter may be any.
    packed = packed_of(whole(MIXED))
    end = 4 + int.from_bytes(packed[:4], "big")
    plain = marshal.dumps(marshal.loads(packed[4:end]), 2)
    assert packed[4:end] == plain != marshal.dumps(marshal.loads(plain))


def test_where_records_are_kept_one_by_one_there_is_only_json() -> None:
    run = run_of(0, 1, [(5, 0, b"k", b"v", [])])
    made: list[Record] = list(run.records())
    assert whole(ListRun(made)).columns() is None
    assert whole(run, ListRun(made)).columns() is None
    assert bytes(whole(ListRun(made))) == bytes(whole(run))


class Watched:
    """An event that tells in which form it was asked for, and takes its time to be made."""

    def __init__(self, event: KafkaEvent, seconds: float = 0.0) -> None:
        self._event = event
        self._seconds = seconds
        self.asked: set[str] = set()

    def __len__(self) -> int:
        return len(self._event)

    def __bytes__(self) -> bytes:
        self._take_time("JSON")
        return bytes(self._event)

    def columns(self) -> bytes | None:
        self._take_time("columns")
        return self._event.columns()

    def _take_time(self, form: str) -> None:
        if form not in self.asked:
            time.sleep(self._seconds)  # what is tested: an event that is slow to make
        self.asked.add(form)


@contextmanager
def running(
    client: Literal["poller", "aws"], handler: str = "basic.echo", timeout: float = 30.0
) -> Iterator[ExecutionEnvironment]:
    function = FunctionConfiguration("fn", HANDLERS, handler, runtime_client=client, timeout=timeout)
    environment = ExecutionEnvironment(function, lambda _line, _time: None)
    yield environment
    environment.stop()


@pytest.fixture(scope="module")
def echo() -> Iterator[ExecutionEnvironment]:
    with running("poller") as environment:
        yield environment


MIXED = run_of(3, 7, [(5, 0, b"k", b"v", [("name", b"\xff")]), (-1, 1, None, None, []), (6, 0, b"", b"", [])])


@pytest.mark.parametrize(
    ("client", "run", "forms"),
    [
        ("poller", MIXED, {"columns"}),
        ("poller", ListRun(list(MIXED.records())), {"columns", "JSON"}),
        ("aws", MIXED, {"JSON"}),
    ],
)
def test_a_handler_gets_the_same_event_in_whatever_form_it_goes(
    client: Literal["poller", "aws"], run: Run, forms: set[str]
) -> None:
    event = whole(run)
    watched = Watched(event)
    with running(client) as environment:
        answer = environment.invoke(Invocation("id-1", watched, "arn"))
    assert answer.function_error is None
    assert json.loads(answer.payload) == json.loads(bytes(event))
    assert watched.asked == forms


@pytest.mark.slow
@pytest.mark.parametrize("client", ["poller", "aws"])
def test_what_it_takes_to_make_an_event_is_not_of_the_function_s_time(client: Literal["poller", "aws"]) -> None:  # E.3
    with running(client, "basic.nap", timeout=2.0) as environment:
        assert environment.invoke(Invocation("id-1", b"{}", "arn")).function_error is None
        answer = environment.invoke(Invocation("id-2", Watched(whole(MIXED), seconds=1.9), "arn"))
    assert answer.function_error is None


def test_an_event_whose_json_is_above_6_mb_is_refused_though_its_columns_are_smaller(
    echo: ExecutionEnvironment,
) -> None:  # A.2
    event = whole(run_of(0, 1, [(1_764_064_800_000, 0, None, b"v", [])] * 50_000))
    packed = packed_of(event)
    assert len(packed) < 2_000_000
    answer = echo.invoke(Invocation("id-1", event, "arn"))
    assert answer.status == 413
    assert f"{len(event)} byte payload is too large" in answer.payload.decode()
