"""Header names that are not UTF-8: what kafka-python alone takes for a corrupt record."""

from __future__ import annotations

from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

from poller.sources import kafka_header_names


def test_a_header_name_that_is_not_utf_8_is_read_as_java_reads_it_and_the_batch_goes_on() -> None:  # D.1.1
    kafka_header_names.install()
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=0,
        is_transactional=0,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=4096,
    )
    for offset in range(3):
        builder.append(
            offset, timestamp=1, key=b"k\xff", value=b"v\xff", headers=[("name", b"\xff"), (f"NAME{offset}", None)]
        )
    wire = bytes(builder.build()).replace(b"NAME1", b"NAM\xff1")
    assert [(one.key, one.value, one.headers) for one in DefaultRecordBatch(wire)] == [
        (b"k\xff", b"v\xff", [("name", b"\xff"), (name, None)]) for name in ("NAME0", "NAM\ufffd1", "NAME2")
    ]
