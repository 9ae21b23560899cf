"""Kafka records of one partition by columns, and what they are in the event (D.1.1): the one translation. Pure.

Columns, since what Python does for each record by itself costs more than its JSON, and since a handler may do without
that: it is made where it is asked for.
"""

from __future__ import annotations

import json
from binascii import b2a_base64
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import accumulate, chain, compress, repeat
from operator import add
from typing import NamedTuple, TypeVar

from pybase64 import b64encode

from poller.model import Record, Shard
from poller.runtime.event_columns import RecordColumns

CREATE_TIME, LOG_APPEND_TIME = 0, 1
"""Kinds of timestamps, by Kafka's own numbers."""
LONGEST_KEPT = 256
"""Characters of a header's name whose JSON is kept for the next record: with 1,024 names that bounds the memory."""
RUN = 1 << 20
"""Bytes of values in one run, about: all of it stays in memory as long as one of its records is in work."""
Headers = Sequence[tuple[str, bytes | None]]
T = TypeVar("T")

_SIGNED_BYTE = [str(byte - 256 if byte > 127 else byte) for byte in range(256)]  # noqa: PLR2004
_TIME_NAMES = "CREATE_TIME", "LOG_APPEND_TIME"
json_text = lru_cache(maxsize=1024)(json.dumps)
_new_tuple = tuple.__new__  # a Record without its keyword arguments: half the time


class RecordHead(NamedTuple):
    """What all records of a partition share."""

    topic: str
    partition: int
    json: str
    """What their JSON begins with."""


def record_head(topic: str, partition: int) -> RecordHead:
    """Of the records of a partition."""
    return RecordHead(topic, partition, f'{{"topic":{json.dumps(topic)},"partition":{partition}')


def encode_headers(headers: Iterable[tuple[str, bytes]]) -> str:
    """Headers in order, repeats kept, each byte signed (D.1.1), without the brackets of their list."""
    return ",".join(
        [
            f"{{{json_text(name) if len(name) <= LONGEST_KEPT else json.dumps(name)}:"
            f"[{','.join(map(_SIGNED_BYTE.__getitem__, value))}]}}"
            for name, value in headers
        ]
    )


def to_run(  # noqa: PLR0917 - columns, in the order of the event
    shard: Shard,
    head: RecordHead,
    offsets: Sequence[int],
    timestamps: Iterable[tuple[int, int]],
    keys: Sequence[bytes | None],
    values: Sequence[bytes | None],
    headers: Sequence[Headers | None],
    *,
    log_append_time: int = LOG_APPEND_TIME,
) -> KafkaRun:
    """One shard's records, given by columns.

    The one translation of both clients, and the hot path.

    A null key is missing. A tombstone shows as `"value":null`: reports of both null and missing exist, and with null
    a handler that looks at `record["value"]` sees a tombstone instead of failing with a KeyError. A header without a
    value becomes one with no bytes, as the event's type has no null there (both D.1.1, unverified).

    Args:
        shard: of all of them.
        head: `record_head` of the shard.
        offsets: one of each record, as in all the columns; one at least, and strictly growing, as in a log.
        timestamps: kind and milliseconds.
        keys: None where there is none.
        values: None for a tombstone.
        headers: None or empty where there are none.
        log_append_time: the client's number for this kind of timestamp; others are taken for CREATE_TIME.
    """
    number = len(offsets)
    without_gaps = range(offsets[0], offsets[0] + number)
    if offsets == list(without_gaps):  # as a rule: nothing was compacted, and no transaction ended
        offsets = without_gaps
    kinds, times = zip(*timestamps, strict=True)
    names: str | list[str] = _TIME_NAMES[kinds[0] == log_append_time]
    if kinds.count(kinds[0]) < number:
        names = [_TIME_NAMES[kind == log_append_time] for kind in kinds]
    contents = encoded = None
    if any(headers):
        contents = [[(name, content or b"") for name, content in given or ()] or () for given in headers]
        encoded = list(map(encode_headers, contents))
    return KafkaRun(shard, head, _Columns(offsets, times, names, keys, values, contents, encoded))


class _Columns(NamedTuple):
    """One of each record in every column."""

    offsets: Sequence[int]
    times: Sequence[int]
    """Milliseconds. A broker may give -1 for a time that it does not know; to the program that is 0."""
    kinds: str | Sequence[str]
    """Of the times; one for all where it is the same."""
    keys: Sequence[bytes | None]
    """None where there is none."""
    values: Sequence[bytes | None]
    """None for a tombstone."""
    headers: Sequence[Sequence[tuple[str, bytes]]] | None
    """With bytes for each name; None where no record has any."""
    encoded_headers: Sequence[str] | None
    """The same as JSON, see `encode_headers`."""


class KafkaRun:
    """Records of a partition that came together. See `poller.records.Run`; made by `to_run`."""

    __slots__ = ("_columns", "_each", "_ends", "_head", "shard")

    def __init__(self, shard: Shard, head: RecordHead, columns: _Columns) -> None:
        """Set up.

        Args:
            shard: of all of them.
            head: of all of them.
            columns: one record at least.
        """
        self.shard = shard
        self._head = head
        self._columns = columns
        self._ends: list[int] = []
        """The bytes of all up to each, save those that all have, so that any are measured by a subtraction. Empty until
        they are asked for."""
        self._each = 0
        """Bytes that each has, known with `_ends`."""

    def __len__(self) -> int:
        return len(self._columns.offsets)

    def records(self, start: int = 0, stop: int | None = None) -> list[Record]:
        """See `Run`. By C functions where it can be: two thirds of the time that `Record(...)` would take."""
        offsets, times, _, keys, values, headers, _ = self._columns
        rows = zip(
            repeat(self.shard),
            offsets[start:stop],
            map(max, repeat(0), times[start:stop]),
            keys[start:stop],
            values[start:stop],
            repeat(()) if headers is None else headers[start:stop],
            map(b"".join, self._pieces(start, stop)),
            repeat(0),
            repeat(None),
            repeat(None),
            strict=False,
        )
        return list(map(_new_tuple, repeat(Record), rows))

    def position(self, index: int) -> int:
        """See `Run`."""
        return self._columns.offsets[index]

    def timestamp(self, index: int) -> int:
        """See `Run`."""
        return max(0, self._columns.times[index])

    def values(self) -> Sequence[bytes | None]:
        """See `Run`."""
        return self._columns.values

    def size(self, start: int, stop: int) -> int:
        """See `Run`."""
        if not self._ends:
            self._measure()
        return self._ends[stop] - self._ends[start] + (stop - start) * self._each

    def pieces(self, start: int, stop: int) -> Iterable[bytes]:
        """See `Run`."""
        return chain.from_iterable(self._pieces(start, stop, ","))

    def columns(self, start: int, stop: int) -> RecordColumns:
        """See `Run`."""
        offsets, times, kinds, keys, values, _, headers = self._columns
        encoded = self.size(start, stop) > _SMALL * (stop - start)
        own_keys = keys[start:stop]
        return RecordColumns(
            self.shard,
            self._head.topic,
            self._head.partition,
            offsets[start:stop],
            times[start:stop],
            kinds if isinstance(kinds, str) else kinds[start:stop],
            None if own_keys.count(None) == stop - start else own_keys,
            _encoded_values(values[start:stop]) if encoded else values[start:stop],
            encoded,
            None if headers is None else f"[[{'],['.join(headers[start:stop])}]]",
        )

    def only(self, start: int, chosen: Sequence[bool]) -> KafkaRun:
        """See `Run`."""
        offsets, times, kinds, keys, values, headers, encoded_headers = self._columns

        def some(column: Sequence[T]) -> list[T]:
            return list(compress(column[start:], chosen))

        columns = _Columns(
            some(offsets),
            some(times),
            kinds if isinstance(kinds, str) else some(kinds),
            some(keys),
            some(values),
            None if headers is None else some(headers),
            None if encoded_headers is None else some(encoded_headers),
        )
        return KafkaRun(self.shard, self._head, columns)

    def _pieces(self, start: int, stop: int | None, behind: str = "") -> Iterable[tuple[bytes, bytes, bytes]]:
        """The JSON of these, each in three pieces: so that a value is copied in the whole event only."""
        offsets, times, kinds, all_keys, values, _, headers = self._columns
        head, keys = self._head.json, _encoded_keys(all_keys[start:stop])
        quote, encoded = _quoted_values(values[start:stop])
        before: Iterable[bytes]
        if isinstance(kinds, str) and (keys is None or None not in keys):  # as a rule, and then by C functions
            row = f'{head.replace("%", "%%")},"offset":%d,"timestamp":%d,"timestampType":"{kinds}"'
            row += f"{'' if keys is None else _KEY}{_VALUE}{quote}"
            columns = (offsets[start:stop], times[start:stop], *(() if keys is None else (keys,)))
            before = map(str.encode, map(row.__mod__, zip(*columns, strict=False)))
        else:
            of_each = repeat(kinds) if isinstance(kinds, str) else kinds[start:stop]
            rows = zip(offsets[start:stop], times[start:stop], of_each, keys or repeat(None), strict=False)
            before = [
                f'{head},"offset":{offset},"timestamp":{time},"timestampType":"{kind}"'
                f"{'' if key is None else _KEY % key}{_VALUE}{quote}".encode()
                for offset, time, kind, key in rows
            ]
        after: Iterable[bytes] = repeat(f'{quote},"headers":[]}}{behind}'.encode())
        if headers is not None:
            after = [f'{quote},"headers":[{own}]}}{behind}'.encode() for own in headers[start:stop]]
        return zip(before, encoded, after, strict=False)

    def _measure(self) -> None:
        """Without making what is measured."""
        offsets, times, kinds, keys, values, _, headers = self._columns
        fixed = len(self._head.json) + len(f',"offset":,"timestamp":,"timestampType":""{_VALUE},"headers":[]}},')
        lengths: Iterable[int]
        try:
            lengths = _encoded_lengths(values)  # type: ignore[arg-type]
            fixed += len('""')
        except TypeError:
            lengths = [len(_NULL) if value is None else _encoded_length(len(value)) + len('""') for value in values]
        around = len(_KEY % "")
        try:
            own = list(map(len, keys))  # type: ignore[arg-type]
            if own.count(own[0]) == len(own):  # keys are alike, as a rule
                fixed += _encoded_length(own[0]) + around
            else:
                fixed += around
                lengths = map(add, lengths, map(_encoded_length, own))
        except TypeError:
            if keys.count(None) < len(keys):
                own = [0 if key is None else _encoded_length(len(key)) + around for key in keys]
                lengths = map(add, lengths, own)
        if headers is not None:
            lengths = map(add, lengths, map(len, headers))
        if isinstance(kinds, str):
            fixed += len(kinds)
        else:
            lengths = map(add, lengths, map(len, kinds))
        in_order = sorted(times)  # as a rule they are, and then nothing finds the least and the most in less
        for numbers, least, most in ((offsets, offsets[0], offsets[-1]), (times, in_order[0], in_order[-1])):
            if least >= 0 and len(str(least)) == len(str(most)):  # as a rule, and then those between have as many
                fixed += len(str(most))
            else:
                lengths = map(add, lengths, map(len, map(str, numbers)))
        self._each, self._ends = fixed, list(accumulate(lengths, initial=0))


_KEY, _VALUE, _NULL = ',"key":"%s"', ',"value":', b"null"
_SMALL = 512
"""Bytes of a record in the event up to which the handler's process encodes its value, too: it takes three times as long
there as `pybase64` takes for so many, but each function has processes of its own, and all share the poller's thread. Of
larger ones it would take six times as long."""
_LENGTHS = [length for length in range(0, 4096, 4) for _ in range(3)][2:]
"""What short bytes take in Base64, by their number: looked up in a third of the time of the calculation."""


def _encoded_length(length: int) -> int:
    """What so many bytes take in Base64."""
    return (length + 2) // 3 * 4


def _encoded_lengths(some: Sequence[bytes]) -> list[int]:
    """What each takes in Base64. TypeError where there is a null: stumbling over one costs less than looking for it."""
    try:
        return list(map(_LENGTHS.__getitem__, map(len, some)))
    except IndexError:
        return list(map(_encoded_length, map(len, some)))


def _encoded_keys(keys: Sequence[bytes | None]) -> Sequence[str | None] | None:
    """In Base64, None where there is none; None when there is none at all."""
    none = keys.count(None)
    if none == len(keys):
        return None
    if none:
        return [None if key is None else b2a_base64(key, newline=False).decode() for key in keys]
    # Line by line, as `b64encode` gives the interpreter's lock up for each one, and keys are short.
    return b"".join(map(b2a_base64, keys)).decode().splitlines()  # type: ignore[arg-type]


def _encoded_values(values: Sequence[bytes | None]) -> Sequence[bytes | None]:
    """In Base64, None for a tombstone."""
    try:
        return list(map(b64encode, values))  # type: ignore[arg-type]
    except TypeError:
        return [None if value is None else b64encode(value) for value in values]


def _quoted_values(values: Sequence[bytes | None]) -> tuple[str, Sequence[bytes]]:
    """As JSON, and the quotation mark that is missing before and behind each."""
    encoded = _encoded_values(values)
    if None in encoded:
        return "", [_NULL if value is None else b'"%b"' % value for value in encoded]
    return '"', encoded  # type: ignore[return-value]
