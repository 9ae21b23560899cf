"""Messages that a broker has given to this program and that it has not settled: events and records, by row.

A row outlives the connection on which its message came. While a function works on an event or a destination on its
record, the connection may end; the broker then gives the message out again, and if it comes back here it is known, and
not begun a second time. One that does not come back is somebody else's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from poller.async_invoke.rows import Delivery, Kind, StoredEvent

Line = tuple[str, Kind | None]
"""A function, and a kind for its records; None for its events."""


@dataclass(slots=True)
class Held:
    """One message. The link's thread changes it; `item` never changes."""

    item: StoredEvent | Delivery
    queue: str
    tag: int | None
    """Delivery tag on the present channel; None when the message is lost and not back."""
    begun: bool = False
    """Given to the dispatcher."""
    outcome: Callable[[], None] | None = None
    """What is to become of it, to be carried out once the message is back."""
    on_done: Callable[[], None] | None = None
    """To be called when the outcome is carried out, or the message is somebody else's."""

    @property
    def line(self) -> Line:
        """Where it stands."""
        item = self.item
        return item.function, item.kind if isinstance(item, Delivery) else None


class HeldMessages:
    """All rows, by line. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lines: dict[Line, dict[int, Held]] = {}
        self._rows: dict[int, Held] = {}
        self._lost: dict[tuple[str, str], int] = {}
        """By queue and request id: begun here, with no message at the moment."""
        self._last = 0

    def add(self, item: StoredEvent | Delivery, queue: str, tag: int) -> Held | None:
        """Enter a message that came; returns the row if it is one that came back, else None."""
        with self._lock:
            known = self._rows.get(self._lost.pop((queue, item.request_id), 0))
            if known is not None:
                known.tag = tag
                return known
            self._last += 1
            held = Held(replace(item, id=self._last), queue, tag)
            self._rows[self._last] = held
            self._lines.setdefault(held.line, {})[self._last] = held
            return None

    def get(self, row: int) -> Held | None:
        """None when it is settled or somebody else's."""
        return self._rows.get(row)

    def remove(self, row: int) -> None:
        """It is settled."""
        with self._lock:
            self._remove(row)

    def lines(self) -> list[Line]:
        """Lines in which something stands."""
        with self._lock:
            return [line for line, rows in self._lines.items() if rows]

    def events(self, function: str, most: int, without: Collection[int]) -> list[StoredEvent]:
        """Events of a function, but for some rows; they count as given out from now on."""
        found = self.begin((function, None), most, without)
        return [held.item for held in found if isinstance(held.item, StoredEvent)]

    def records(self, function: str, kind: Kind, most: int, after: int) -> list[Delivery]:
        """Records for a destination, behind a row; they count as given out from now on."""
        found = self.begin((function, kind), most, after=after)
        return [held.item for held in found if isinstance(held.item, Delivery)]

    def begin(self, line: Line, most: int, without: Collection[int] = (), after: int = 0) -> list[Held]:
        """Rows of a line behind that one, in order, but for some; they count as given out from now on."""
        with self._lock:
            rows = self._lines.get(line, {})
            found = [row for row in rows if row > after and row not in without][:most]
            for row in found:
                rows[row].begun = True
            return [rows[row] for row in found]

    def lose_all(self) -> None:
        """The connection ended: what is not begun is forgotten, the rest may come back."""
        with self._lock:
            for row, held in list(self._rows.items()):
                if held.begun:
                    held.tag = None
                    self._lost[held.queue, held.item.request_id] = row
                else:
                    self._remove(row)

    def give_back(self, queue: str | None) -> list[int]:
        """Forget what is not begun of a queue, or of all; returns the delivery tags, for the broker."""
        with self._lock:
            rows = [row for row, held in self._rows.items() if not held.begun and queue in {None, held.queue}]
            tags = [tag for row in rows if (tag := self._rows[row].tag) is not None]
            for row in rows:
                self._remove(row)
            return tags

    def give_up(self) -> list[Held]:
        """Forget what has not come back."""
        with self._lock:
            found = {row: held for row, held in self._rows.items() if held.tag is None}
            for row in found:
                self._remove(row)
            return list(found.values())

    def _remove(self, row: int) -> None:
        held = self._rows.pop(row, None)
        if held is not None:
            self._lines[held.line].pop(row, None)
            self._lost.pop((held.queue, held.item.request_id), None)
