"""Record batches read by columns give what kafka-python's own reading of them gives."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka import TopicPartition
from kafka.consumer.fetcher import Fetcher
from kafka.errors import CorruptRecordError
from kafka.protocol.consumer import IsolationLevel
from kafka.record.default_records import DefaultRecordBatchBuilder
from kafka.record.legacy_records import LegacyRecordBatchBuilder
from kafka.record.memory_records import MemoryRecords

from poller.model import Record
from poller.sources.kafka_python_options import from_consumer_records
from poller.sources.kafka_python_records import RecordsOfPartition
from poller.sources.kafka_run import record_head

ORDERS = TopicPartition("orders", 3)
Row = tuple[int, bytes | None, bytes | None, list[tuple[str, bytes | None]]]
"""Timestamp, key, value, headers."""
SIMPLE: list[Row] = [(1764064800000 + number, b"key", b"value %d" % number, []) for number in range(5)]
LOG_APPEND_TIME, CONTROL = 8, 32


def batch(
    rows: Sequence[Row], *, first: int = 0, codec: int = 0, attributes: int = 0, producer: int = -1, gap: int = 0
) -> bytes:
    """As a broker stores it: at an offset, with these attributes beside the codec's, the last `gap` records deleted."""
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=codec,
        is_transactional=producer >= 0,
        producer_id=producer,
        producer_epoch=0,
        base_sequence=0,
        batch_size=1 << 24,
    )
    for number, (timestamp, key, value, headers) in enumerate(rows):
        assert builder.append(number, timestamp, key, value, headers) is not None
    content = builder.build()
    struct.pack_into(">q", content, 0, first)
    (kind,) = struct.unpack_from(">h", content, 21)
    (last,) = struct.unpack_from(">i", content, 23)
    struct.pack_into(">h", content, 21, kind | attributes)
    struct.pack_into(">i", content, 23, last + gap)
    from kafka.record.util import calc_crc32c

    struct.pack_into(">I", content, 17, calc_crc32c(memoryview(content)[21:]))
    return bytes(content)


def options(aborted: Sequence[Any] = ()) -> dict[str, Any]:
    return {"isolation_level": IsolationLevel.READ_COMMITTED, "aborted_transactions": list(aborted)}


def taken(content: bytes, *, at: int = 0, most: int = 500, aborted: Sequence[Any] = ()) -> tuple[list[Record], int]:
    """All that is read of a fetch, so many at a time, and where the next fetch begins."""
    fetched = RecordsOfPartition(at, ORDERS, MemoryRecords(content), **options(aborted))
    records: list[Record] = []
    while fetched:
        some = fetched.take(most)
        assert len(some) <= most
        assert len(some) == sum(map(len, some))
        for run in some:
            records += run.records()
    return records, fetched.next_fetch_offset


def expected(content: bytes, *, at: int = 0, aborted: Sequence[Any] = ()) -> tuple[list[Record], int]:
    """The same by the client's own reading."""
    fetched = Fetcher.PartitionRecords(at, ORDERS, MemoryRecords(content), **options(aborted))
    records = fetched.take(1_000_000)
    while fetched:
        assert fetched.take(1) == []
    head = record_head("orders", 3)
    read = list(from_consumer_records(records, "orders-3", head).records()) if records else []
    return read, fetched.next_fetch_offset


class Aborted:
    """A transaction that was taken back, as the answer to a fetch names it."""

    def __init__(self, producer: int, first: int) -> None:
        self.producer_id, self.first_offset = producer, first


rows = st.lists(
    st.tuples(
        st.integers(0, 2**40) | st.just(1764064800000),
        st.none() | st.binary(max_size=80),
        st.none() | st.binary(max_size=200) | st.sampled_from([b"x" * size for size in (63, 64, 8191, 8192, 1 << 20)]),
        st.lists(st.tuples(st.text(max_size=80), st.none() | st.binary(max_size=80)), max_size=3),
    ),
    min_size=1,
    max_size=300,
)


@given(
    some=rows,
    first=st.integers(0, 2**62),
    codec=st.sampled_from([0, 1, 2, 3, 4]),
    kind=st.sampled_from([0, LOG_APPEND_TIME]),
    most=st.sampled_from([1, 2, 7, 500]),
)
def test_batches_give_the_records_that_the_client_reads(
    some: list[Row], first: int, codec: int, kind: int, most: int
) -> None:  # D.1.1
    content = batch(some, first=first, codec=codec, attributes=kind)
    content += batch(SIMPLE, first=first + len(some))
    assert taken(content, at=first, most=most) == expected(content, at=first)


def test_a_fetch_from_within_a_batch_gives_what_is_behind_that_offset() -> None:
    # Brokers send batches whole.
    content = batch(SIMPLE, first=10) + batch(SIMPLE, first=15)
    assert taken(content, at=13, most=2) == expected(content, at=13)
    assert [record.position for record in taken(content, at=13)[0]] == [13, 14, 15, 16, 17, 18, 19]


def test_the_next_fetch_begins_behind_a_batch_whose_last_records_were_compacted_away() -> None:
    content = batch(SIMPLE, first=10, gap=4)
    assert taken(content, at=10)[1] == expected(content, at=10)[1] == 19


def test_a_batch_whose_records_were_all_compacted_away_gives_nothing() -> None:
    emptied = bytearray(batch(SIMPLE)[:61])
    struct.pack_into(">i", emptied, 8, len(emptied) - 12)
    struct.pack_into(">i", emptied, 57, 0)
    from kafka.record.util import calc_crc32c

    struct.pack_into(">I", emptied, 17, calc_crc32c(memoryview(emptied)[21:]))
    following = batch(SIMPLE[:2], first=5)
    assert taken(bytes(emptied)) == ([], 5)
    assert taken(bytes(emptied) + following) == taken(following)


def test_what_a_transaction_took_back_is_passed_over_and_so_are_its_markers() -> None:
    abort, commit = (0, struct.pack(">hh", 0, 0), b"", []), (0, struct.pack(">hh", 0, 1), b"", [])
    content = b"".join(
        [
            batch(SIMPLE, first=0, producer=7),
            batch(SIMPLE, first=5, producer=8),
            batch([abort], first=10, producer=7, attributes=CONTROL),
            batch([commit], first=11, producer=8, attributes=CONTROL),
            batch(SIMPLE, first=12, producer=7),
            batch([commit], first=17, producer=7, attributes=CONTROL),
        ]
    )
    aborted = [Aborted(7, 0)]
    assert taken(content, aborted=aborted) == expected(content, aborted=aborted)
    assert [record.position for record in taken(content, aborted=aborted)[0]] == [5, 6, 7, 8, 9, 12, 13, 14, 15, 16]


@pytest.mark.parametrize("magic", [0, 1])
@pytest.mark.parametrize("codec", [0, 1])
def test_messages_from_before_kafka_0_11_are_read_beside_later_ones(magic: int, codec: int) -> None:
    builder = LegacyRecordBatchBuilder(magic=magic, compression_type=codec, batch_size=1 << 20)
    for number in range(4):
        assert builder.append(number, 1764064800000, b"key", b"value %d" % number) is not None
    content = bytes(builder.build()) + batch(SIMPLE, first=4)
    assert taken(content, most=2) == expected(content)
    assert len(taken(content)[0]) == 9


def test_a_partition_is_drained_with_its_last_record_so_that_its_next_fetch_goes_out() -> None:
    fetched = RecordsOfPartition(0, ORDERS, MemoryRecords(batch(SIMPLE)), **options())
    assert len(fetched.take(4)) == 4
    assert fetched
    assert len(fetched.take(1)) == 1
    assert not fetched


def test_runs_of_large_records_are_short_as_all_of_a_run_stays_in_memory() -> None:
    content = batch([(1764064800000, None, b"v" * 400_000, [])] * 5)
    fetched = RecordsOfPartition(0, ORDERS, MemoryRecords(content), **options())
    taken = fetched.take(500)
    assert [len(run) for run in taken] == [2, 2, 1]
    assert len(taken) == 5


@pytest.mark.parametrize("place", [61, 62, 64, -1])
def test_a_damaged_batch_is_told_after_what_came_before_it_and_nothing_behind_it_is_given(place: int) -> None:
    damaged = bytearray(batch(SIMPLE, first=5))
    damaged[place] ^= 0x55
    content = batch(SIMPLE) + bytes(damaged) + batch(SIMPLE, first=10)
    fetched = RecordsOfPartition(0, ORDERS, MemoryRecords(content), **options())
    assert [record.position for run in fetched.take(500) for record in run.records()] == [0, 1, 2, 3, 4]
    with pytest.raises(CorruptRecordError, match="orders-3 at offset 5"):
        fetched.take(500)
    assert not fetched  # it is fetched again from where it is
    assert fetched.next_fetch_offset == 5


@given(place=st.integers(61, 150), bits=st.integers(1, 255))
def test_a_batch_that_is_damaged_before_its_sum_was_made_is_no_other_error(place: int, bits: int) -> None:
    damaged = bytearray(batch([(1764064800000, b"key", b"v" * 80, [("name", b"content")])]))
    damaged[place % len(damaged)] ^= bits
    fetched = RecordsOfPartition(0, ORDERS, MemoryRecords(bytes(damaged)), **options(), check_crcs=False)
    try:
        fetched.take(500)
    except CorruptRecordError:
        assert not fetched


def test_a_header_name_that_is_not_utf_8_is_read_as_java_reads_it() -> None:  # D.1.1
    content = batch([(1, None, b"v", [("NAME0", b"\xff")])]).replace(b"NAME0", b"NAM\xff0")
    fetched = RecordsOfPartition(0, ORDERS, MemoryRecords(content), **options(), check_crcs=False)
    assert [record.headers for run in fetched.take(1) for record in run.records()] == [[("NAM\ufffd0", b"\xff")]]
