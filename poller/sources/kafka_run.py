"""Kafka records of one partition by columns, and their JSON in the event (D.1.1). Pure; the one translation there is.

Columns, since what Python does for each record by itself costs more than its JSON.
"""

from __future__ import annotations

import json
from binascii import b2a_base64
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import accumulate, chain, compress, repeat
from operator import add

from pybase64 import b64encode

from poller.model import Record, Shard

CREATE_TIME, LOG_APPEND_TIME = 0, 1
"""Kinds of timestamps, by Kafka's own numbers."""
LONGEST_KEPT = 256
"""Characters of a header's name whose JSON is kept for the next record: with 1,024 names that bounds the memory."""
Headers = Sequence[tuple[str, bytes | None]]

_SIGNED_BYTE = [b"%d" % (byte - 256 if byte > 127 else byte) for byte in range(256)]  # noqa: PLR2004
_TIME_NAMES = b"CREATE_TIME", b"LOG_APPEND_TIME"
json_text = lru_cache(maxsize=1024)(lambda text: json.dumps(text).encode())
_new_tuple = tuple.__new__  # a Record without its keyword arguments: half the time


def record_head(topic: str, partition: int) -> bytes:
    """The part of a record's JSON that all records of its partition share."""
    return b'{"topic":%b,"partition":%d' % (json.dumps(topic).encode(), partition)


def encode_headers(headers: Iterable[tuple[str, bytes]]) -> bytes:
    """Headers in order, repeats kept, each byte signed (D.1.1)."""
    return b",".join(
        [
            b"{%b:[%b]}"
            % (
                json_text(name) if len(name) <= LONGEST_KEPT else json.dumps(name).encode(),
                b",".join(map(_SIGNED_BYTE.__getitem__, value)),
            )
            for name, value in headers
        ]
    )


def to_run(  # noqa: PLR0917 - columns, in the order of the event
    shard: Shard,
    head: bytes,
    offsets: Sequence[int],
    timestamps: Iterable[tuple[int, int]],
    keys: Sequence[bytes | None],
    values: Sequence[bytes | None],
    headers: Sequence[Headers | None],
    *,
    log_append_time: int = LOG_APPEND_TIME,
) -> KafkaRun:
    """One shard's records, given by columns, with their JSON built by a template: no dict and no json.dumps.

    The one translation of both clients, and the hot path.

    A null key is missing. A tombstone shows as `"value":null`: reports of both null and missing exist, and with null
    a handler that looks at `record["value"]` sees a tombstone instead of failing with a KeyError. A header without a
    value becomes one with no bytes, as the event's type has no null there (both D.1.1, unverified).

    Args:
        shard: of all of them.
        head: `record_head` of the shard.
        offsets: one of each record, as in all the columns; one at least.
        timestamps: kind and milliseconds.
        keys: None where there is none.
        values: None for a tombstone.
        headers: None or empty where there are none.
        log_append_time: the client's number for this kind of timestamp; others are taken for CREATE_TIME.
    """
    kinds, times = zip(*timestamps, strict=True)
    # As a rule they are alike: without headers, with one kind of timestamp, and either all have a key or none has.
    if not any(headers) and kinds.count(kinds[0]) == len(offsets) and min(times) > 0:
        time = _TIME_NAMES[kinds[0] == log_append_time]
        with suppress(TypeError):  # a null: stumbling over one costs nothing, looking for one is a tenth of all this
            return _alike(shard, head, time, offsets, times, keys, values)
    contents = [[(name, content or b"") for name, content in given or ()] or () for given in headers]
    before = [
        b'%b,"offset":%d,"timestamp":%d,"timestampType":"%b"%b,"value":'
        % (
            head,
            offset,
            time,
            _TIME_NAMES[kind == log_append_time],
            b"" if key is None else b',"key":"%b"' % b2a_base64(key, newline=False),
        )
        for offset, kind, time, key in zip(offsets, kinds, times, keys, strict=True)
    ]
    after = [
        b'null,"headers":[%b' % encode_headers(given)
        if value is None
        else b'"%b","headers":[%b' % (b64encode(value), encode_headers(given))
        for value, given in zip(values, contents, strict=True)
    ]
    # A broker may give -1 for a time that it does not know.
    known = [max(0, time) for time in times]
    return KafkaRun(shard, offsets, known, keys, values, contents, before, after, b"]}")


def _alike(  # noqa: PLR0917 - columns, in the order of the event
    shard: Shard,
    head: bytes,
    time: bytes,
    offsets: Sequence[int],
    times: Sequence[int],
    keys: Sequence[bytes | None],
    values: Sequence[bytes | None],
) -> KafkaRun:
    """Records without headers that all have a value, and all a key or none; TypeError if that is not so."""
    row = b'%b,"offset":%%d,"timestamp":%%d,"timestampType":"%b",' % (head.replace(b"%", b"%%"), time)
    after = list(map(b64encode, values))  # type: ignore[arg-type]
    if keys[0] is None and keys.count(None) == len(keys):
        before = list(map((row + b'"value":"').__mod__, zip(offsets, times, strict=True)))
    else:
        # Line by line, as `b64encode` gives the interpreter's lock up for each one, and keys are short.
        encoded = b"".join(map(b2a_base64, keys)).split(b"\n")  # type: ignore[arg-type]
        before = list(map((row + b'"key":"%b","value":"').__mod__, zip(offsets, times, encoded, strict=False)))
    return KafkaRun(shard, offsets, times, keys, values, [()] * len(offsets), before, after, b'","headers":[]}')


class KafkaRun:
    """Records of a partition that came together. See `poller.records.Run`; made by `to_run`."""

    __slots__ = (
        "_after",
        "_before",
        "_each",
        "_end",
        "_ends",
        "_headers",
        "_keys",
        "_offsets",
        "_times",
        "_values",
        "shard",
    )

    def __init__(  # noqa: PLR0917 - columns, in the order of the event
        self,
        shard: Shard,
        offsets: Sequence[int],
        times: Sequence[int],
        keys: Sequence[bytes | None],
        values: Sequence[bytes | None],
        headers: Sequence[Sequence[tuple[str, bytes]]],
        before: Sequence[bytes],
        after: Sequence[bytes],
        end: bytes,
    ) -> None:
        """Set up, with the JSON of each record in three pieces, which are joined in the event and not before.

        Args:
            shard: of all of them.
            offsets: one of each record, as in all the columns.
            times: milliseconds, 0 where it is not known.
            keys: None where there is none.
            values: None for a tombstone.
            headers: with bytes for each name.
            before: the JSON up to the value.
            after: from there on.
            end: of every one.
        """
        self.shard = shard
        self._offsets, self._times, self._keys, self._values, self._headers = offsets, times, keys, values, headers
        self._before, self._after, self._end = before, after, end
        self._ends: list[int] = []
        """The bytes of all up to each, save those that all have, so that any are measured by a subtraction. Empty until
        they are asked for."""
        self._each = len(end) + len(b",")

    def __len__(self) -> int:
        return len(self._offsets)

    def records(self, start: int = 0, stop: int | None = None) -> list[Record]:
        """See `Run`. By C functions alone: two thirds of the time that `Record(...)` would take."""
        columns = (self._offsets, self._times, self._keys, self._values, self._headers)
        encoded = map(b"".join, zip(self._before[start:stop], self._after[start:stop], repeat(self._end), strict=False))
        rows = zip(
            repeat(self.shard),
            *[column[start:stop] for column in columns],
            encoded,
            repeat(0),
            repeat(None),
            repeat(None),
            strict=False,
        )
        return list(map(_new_tuple, repeat(Record), rows))

    def position(self, index: int) -> int:
        """See `Run`."""
        return self._offsets[index]

    def timestamp(self, index: int) -> int:
        """See `Run`."""
        return self._times[index]

    def values(self) -> Sequence[bytes | None]:
        """See `Run`."""
        return self._values

    def size(self, start: int, stop: int) -> int:
        """See `Run`."""
        if not self._ends:
            lengths = map(add, map(len, self._before), map(len, self._after))
            self._ends = list(accumulate(lengths, initial=0))
        return self._ends[stop] - self._ends[start] + (stop - start) * self._each

    def pieces(self, start: int, stop: int) -> Iterable[bytes]:
        """See `Run`."""
        parts = zip(self._before[start:stop], self._after[start:stop], repeat(self._end + b","), strict=False)
        return chain.from_iterable(parts)

    def only(self, start: int, chosen: Sequence[bool]) -> KafkaRun:
        """See `Run`."""
        return KafkaRun(
            self.shard,
            list(compress(self._offsets[start:], chosen)),
            list(compress(self._times[start:], chosen)),
            list(compress(self._keys[start:], chosen)),
            list(compress(self._values[start:], chosen)),
            list(compress(self._headers[start:], chosen)),
            list(compress(self._before[start:], chosen)),
            list(compress(self._after[start:], chosen)),
            self._end,
        )
