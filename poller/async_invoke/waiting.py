"""Events and records that wait in a state folder, for somebody who looks from outside, beside a service or without one.

Looking reads only. Purging waits for the service's writes and is waited for; an event that a function works on at the
time ends without leaving anything.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from poller.async_invoke.folder import FILE
from poller.async_invoke.rows import SCHEMA_VERSION, Delivery, StoredEvent
from poller.async_invoke.store import BUSY_TIMEOUT
from poller.errors import StateError

# Of a function and a request id, each null for all. Records may wait for the destinations of a version or alias.
_COUNT = (
    "SELECT count(*) FROM events WHERE function = IFNULL(:name, function) AND request_id = IFNULL(:id, request_id)",
    """
    SELECT count(*) FROM deliveries WHERE request_id = IFNULL(:id, request_id)
    AND (:name IS NULL OR function = :name OR instr(function, :name || ':') = 1)
    """,
)
_PURGE = (
    "DELETE FROM events WHERE function = IFNULL(:name, function) AND request_id = IFNULL(:id, request_id)",
    """
    DELETE FROM deliveries WHERE request_id = IFNULL(:id, request_id)
    AND (:name IS NULL OR function = :name OR instr(function, :name || ':') = 1)
    """,
)
_LINES = (
    """
    SELECT request_id, function, 'attempt', attempts, accepted_at, due, length(payload) FROM events
    WHERE function = IFNULL(:name, function) ORDER BY due, id LIMIT :most
    """,
    """
    SELECT request_id, function, kind, NULL, made_at, NULL, length(body) FROM deliveries
    WHERE :name IS NULL OR function = :name OR instr(function, :name || ':') = 1 ORDER BY id LIMIT :most
    """,
)
_EVENTS = "SELECT * FROM events WHERE request_id = ?"
_RECORDS = "SELECT * FROM deliveries WHERE request_id = ?"


@dataclass(frozen=True, slots=True)
class Waiting:
    """One line of the list."""

    request_id: str
    function: str
    waits_for: str
    """`attempt`, or the kind of destination: OnSuccess, OnFailure, DeadLetterQueue."""
    attempts: int | None
    since: float
    """Accepted, or ended, in seconds since the epoch."""
    due: float | None
    size: int
    """Bytes of payload or record."""


class WaitingEvents:
    """What waits in a folder; no file there means nothing does."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / FILE

    def count(self, function: str | None, request_id: str | None) -> int:
        """Events and records of that function and request id, where given.

        Raises:
            StateError: the file cannot be read; so do all methods.
        """
        which = {"name": function, "id": request_id}
        with self._opened("ro") as connection:
            if not connection:
                return 0
            return sum(connection.execute(sql, which).fetchone()[0] for sql in _COUNT)

    def lines(self, function: str | None, limit: int) -> list[Waiting]:
        """Events in the order in which they are due, then records in the order in which they were made."""
        found: list[Waiting] = []
        with self._opened("ro") as connection:
            for sql in _LINES if connection else ():
                rows = connection.execute(sql, {"name": function, "most": limit - len(found)})
                found += [Waiting(*row) for row in rows]
        return found

    def find(self, request_id: str) -> tuple[list[StoredEvent], list[Delivery]]:
        """The event of that id, or the records that it left."""
        with self._opened("ro") as connection:
            if not connection:
                return [], []
            return (
                [StoredEvent.of(row) for row in connection.execute(_EVENTS, (request_id,))],
                [Delivery.of(row) for row in connection.execute(_RECORDS, (request_id,))],
            )

    def purge(self, function: str | None, request_id: str | None) -> int:
        """Delete events and records of that function and request id, where given; returns how many there were."""
        purged = 0
        which = {"name": function, "id": request_id}
        with self._opened("rw") as connection:
            if connection:
                connection.execute("BEGIN IMMEDIATE")
                purged = sum(connection.execute(sql, which).rowcount for sql in _PURGE)
                connection.execute("COMMIT")
        return purged

    @contextmanager
    def _opened(self, mode: str) -> Iterator[Any]:
        """A connection, or None when there is no file."""
        if not self.file.exists():
            yield None
            return
        try:
            uri = f"file:{quote(str(self.file))}?mode={mode}"
            with closing(sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT, isolation_level=None)) as connection:
                [version] = connection.execute("PRAGMA user_version").fetchone()
                if version != SCHEMA_VERSION:
                    raise StateError(f"{self.file} is of version {version}; this program knows {SCHEMA_VERSION}")
                yield connection
        except sqlite3.Error as error:
            raise StateError(f"{self.file} cannot be used: {error}") from None
