"""Which letters of a topic were redriven: no record can be deleted singly, so the topic itself keeps the books. Pure.

An entry is a record in the partition of the letters that it names. It comes after them, so whatever retention takes
away, no letter outlives the entry about it. Readers know an entry by all of: its key, its one header, its value.

| Part | Content |
|---|---|
| key | `poller.redriven/<first offset>`: its own, for a topic that is compacted |
| header `poller.redriven` | the run that redrove them |
| value | `{"redriven": [[15, 20], [25, 25]]}`: first and last offset of each run of letters |
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

HEADER = "poller.redriven"


@dataclass(frozen=True, slots=True)
class Entry:
    """Letters of one partition that one run redrove."""

    run: str
    spans: tuple[tuple[int, int], ...]
    """First and last offset each."""

    @property
    def offsets(self) -> Iterable[int]:
        """Every letter's."""
        return (offset for first, last in self.spans for offset in range(first, last + 1))


def entry_of(run: str, offsets: Iterable[int]) -> Entry:
    """The entry for these offsets, of which there is at least one, in any order."""
    spans: list[tuple[int, int]] = []
    for offset in sorted(set(offsets)):
        if spans and offset == spans[-1][1] + 1:
            spans[-1] = (spans[-1][0], offset)
        else:
            spans.append((offset, offset))
    return Entry(run, tuple(spans))


def encode(entry: Entry) -> tuple[bytes, bytes, tuple[tuple[str, bytes], ...]]:
    """Key, value and headers of the record."""
    value = json.dumps({"redriven": entry.spans}, separators=(",", ":")).encode()
    return f"{HEADER}/{entry.spans[0][0]}".encode(), value, ((HEADER, entry.run.encode()),)


def decode(
    offset: int, key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes | None]]
) -> Entry | None:
    """The entry that a record at this offset is; None when it is a letter, or something else."""
    if len(headers) != 1 or headers[0][0] != HEADER or key is None or value is None:
        return None
    try:
        spans = tuple((first, last) for first, last in json.loads(value)["redriven"])
        run = (headers[0][1] or b"").decode()
        # An entry tells of what is before it: nothing can make a reader count to the end of time.
        sound = all(type(end) is int for span in spans for end in span) and all(
            0 <= first <= last < offset for first, last in spans
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return Entry(run, spans) if sound and spans and key == f"{HEADER}/{spans[0][0]}".encode() else None
