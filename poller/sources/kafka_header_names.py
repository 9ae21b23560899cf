"""Names of Kafka headers that are not UTF-8, read as Java's consumer reads them. Pure, in kafka-python's place.

Brokers do not look at the names, and clients other than Java's send any bytes. kafka-python takes such a record for a
corrupt one and never gets past it, so its partition would be stuck for ever.
"""

# mypy: allow-untyped-calls
# kafka-python has no annotations.

from __future__ import annotations

from typing import Any

from kafka.record.default_records import DefaultRecordBatch

_read_strictly = DefaultRecordBatch._read_msg  # noqa: SLF001 - there is no public way to choose how names are decoded


class _Slice(bytearray):
    def decode(self, encoding: str = "utf-8", errors: str = "replace") -> str:  # noqa: ARG002 - it is the point
        return super().decode(encoding, "replace")


class _Buffer(bytearray):
    """A batch's bytes, whose slices decode with U+FFFD for what is no UTF-8."""

    def __getitem__(self, place: Any) -> Any:
        part = super().__getitem__(place)
        return _Slice(part) if isinstance(place, slice) else part


def install() -> None:
    """Make kafka-python read batches with `_read`. Idempotent."""
    batch: Any = DefaultRecordBatch
    batch._read_msg = _read  # noqa: SLF001


def _read(batch: Any) -> Any:
    """The next record of a batch. Only one with such a name, and those behind it in its batch, take the slow way."""
    try:
        return _read_strictly(batch)
    except UnicodeDecodeError:
        batch._buffer = _Buffer(batch._buffer)  # noqa: SLF001 - its position moves only with a record that was read
        return _read_strictly(batch)
