"""What the handlers wrote down of their invocations: the one source for rates and ages, for ours and for floors."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

_ENTRY = struct.Struct("=4q")


class Entry(NamedTuple):
    """One invocation, or one record of it. Times are CLOCK_MONOTONIC's, which all processes of a machine share."""

    process: int
    began: int
    """Nanoseconds."""
    ended: int
    value: int
    """Processor time of the handler's process so far, or the record's age; nanoseconds."""
    records: int


class Ledger:
    """A folder with a file per handler process, read while they write."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self.entries: list[Entry] = []
        self.records = 0
        self._offsets: dict[str, int] = {}

    def read(self) -> int:
        """Take up what is new; the records handled so far."""
        for file in self.folder.iterdir():
            offset = self._offsets.get(file.name, 0)
            with file.open("rb") as ledger:
                ledger.seek(offset)
                content = ledger.read()
            whole = len(content) - len(content) % _ENTRY.size
            self._offsets[file.name] = offset + whole
            for numbers in _ENTRY.iter_unpack(content[:whole]):
                self.entries.append(Entry(int(file.name), *numbers))
                self.records += numbers[3]
        return self.records

    def wait_for(self, records: int, *, timeout: float, alive: Callable[[], None], look: float = 0.01) -> None:
        """Until so many records are handled, with a look at the files every `look` seconds: a handler that told would be
        measured telling. `alive` raises when there is nobody left to handle them."""
        deadline = time.monotonic() + timeout
        while self.read() < records:
            alive()
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.records} of {records} records were handled within {timeout:g} s")
            time.sleep(look)

    def seconds(self) -> float:
        """From the beginning of the first invocation to the end of the last."""
        return (max(entry.ended for entry in self.entries) - min(entry.began for entry in self.entries)) / 1e9

    def processor_seconds(self) -> float:
        """Of the handlers, from the first invocation on."""
        clocks: dict[int, list[int]] = {}
        for entry in self.entries:
            clocks.setdefault(entry.process, []).append(entry.value)
        return sum(max(clock) - min(clock) for clock in clocks.values()) / 1e9
