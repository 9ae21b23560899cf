"""Where asynchronous events wait: one SQLite file, whose write-ahead log is flushed before anybody is told of success.

Writing is for one thread, `async-store` (see `writer`); reading for whoever holds the lock of the reading connection,
in practice the dispatcher.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event

from poller.async_invoke.folder import StateFolder, unusable
from poller.async_invoke.rows import (
    INSERT_DELIVERY,
    INSERT_EVENT,
    SCHEMA,
    SCHEMA_VERSION,
    Delivery,
    Kind,
    StoredEvent,
    result_columns,
)
from poller.async_invoke.writer import Request, Statement, Writer
from poller.errors import StateError
from poller.model import InvocationResult
from poller.policy.async_events import Again

BUSY_TIMEOUT = 10.0
"""Seconds to wait for `poller events purge`, which writes from another process."""

LOG_SIZE = 64 * 1024 * 1024
"""Bytes to which the write-ahead log is cut after a checkpoint."""

DELETE_EVENT = "DELETE FROM events WHERE id = ? AND request_id = ?"
POSTPONE = (
    "UPDATE events SET due = ?, attempts = ?, delays = ?, answer_head = ?, answer = ?, delay_head = ?, delay = ? "
    "WHERE id = ? AND request_id = ?"
)
DUE = (
    "SELECT * FROM events WHERE function = ? AND due <= ? AND id NOT IN (SELECT value FROM json_each(?)) "
    "ORDER BY due, id LIMIT ?"
)
NEXT_DUE = (
    "SELECT due FROM events WHERE function = ? AND id NOT IN (SELECT value FROM json_each(?)) ORDER BY due LIMIT 1"
)
DELIVERIES = "SELECT * FROM deliveries WHERE function = ? AND kind = ? AND id > ? ORDER BY id LIMIT ?"


class Store:
    """Events and records on the disk, as `EventStore`. Any thread, unless a method says otherwise."""

    def __init__(self, folder: Path) -> None:
        """Lock the folder, and open or make the file.

        Raises:
            StateInUse: another service has the folder.
            StateError: it cannot be used, or what is there is no store of ours.
        """
        self._folder = StateFolder(folder)
        opened: list[sqlite3.Connection] = []
        try:
            self._folder.make_file()
            opened.append(_connection(self._folder.file))
            _prepare(opened[0], self._folder.file)
            opened.append(_connection(self._folder.file))
        except (sqlite3.Error, StateError) as error:
            for connection in opened:
                connection.close()
            self._folder.release()
            if isinstance(error, StateError):
                raise
            raise unusable(self._folder.file, str(error)) from None
        writing, self._reading = opened
        self._read_lock = threading.Lock()
        self._writer = Writer(writing)
        self._writer.start()

    @property
    def alive(self) -> bool:
        """Whether the writing thread runs."""
        return self._writer.alive

    @property
    def problem(self) -> str:
        """What is wrong with a disk shows when it is written to."""
        return ""

    def start(self, on_event: Callable[[str], None], on_record: Callable[[str, Kind], None]) -> None:
        """Nobody else puts anything here."""

    def leave(self) -> None:
        """Nobody else could work off what is here."""

    def accept(self, event: StoredEvent) -> None:
        """Take an event; it is on the disk when this returns. Blocks for a flush of the disk.

        Raises:
            StateError: it is not accepted.
        """
        done = Event()
        failed: list[Exception] = []

        def on_done(error: Exception | None) -> None:
            if error is not None:
                failed.append(error)
            done.set()

        if not self._writer.submit(Request([(INSERT_EVENT, event.values())], on_done)):
            raise StateError("the service is stopping: the event is not accepted")
        done.wait()
        if failed:
            raise unusable(self._folder.file, str(failed[0]))

    def postpone(
        self,
        event: StoredEvent,
        again: Again,
        answers: tuple[InvocationResult | None, InvocationResult | None],
        on_done: Callable[[], None],
    ) -> None:
        """Write down when the event is tried again, and what was answered. Does not block; tried until it works."""
        answer, delay = answers
        values = (again.due, again.standing.attempts, again.standing.delays)
        columns = (*values, *result_columns(answer), *result_columns(delay), event.id, event.request_id)
        self._change([(POSTPONE, columns)], on_done)

    def finish(
        self,
        event: StoredEvent,
        deliveries: Sequence[Delivery],
        events: Sequence[StoredEvent],
        on_done: Callable[[], None],
    ) -> None:
        """Forget the event and keep what it leaves, in one transaction. Does not block; tried until it works.

        One that was purged meanwhile leaves nothing.
        """
        statements: list[Statement] = [(DELETE_EVENT, (event.id, event.request_id))]
        statements += [(INSERT_DELIVERY, delivery.values()) for delivery in deliveries]
        statements += [(INSERT_EVENT, following.values()) for following in events]
        self._change(statements, on_done, guarded=True)

    def delivered(self, delivery: Delivery, on_done: Callable[[], None]) -> None:
        """Forget a record that its destination has. Does not block; tried until it works."""
        self._change([("DELETE FROM deliveries WHERE id = ?", (delivery.id,))], on_done)

    def bring_forward(self, latest: float, on_done: Callable[[], None]) -> None:
        """Let nothing wait longer than until then: at the start, as the wall clock may have been set back."""
        self._change([("UPDATE events SET due = ? WHERE due > ?", (latest, latest))], on_done)

    def functions(self) -> list[str]:
        """Names of all functions whose events wait.

        Raises:
            StateError: it cannot be read; so do the methods below.
        """
        with self._read() as connection:
            return [row[0] for row in connection.execute("SELECT DISTINCT function FROM events")]

    def due(self, function: str, now: float, limit: int, without: Collection[int]) -> list[StoredEvent]:
        """Events of a function whose time has come, the longest due first, but for those rows."""
        taken = json.dumps(list(without))
        with self._read() as connection:
            return [StoredEvent.of(row) for row in connection.execute(DUE, (function, now, taken, limit))]

    def next_due(self, function: str, without: Collection[int]) -> float | None:
        """When the next event of a function is due, but for those rows; None when there is none."""
        with self._read() as connection:
            row = connection.execute(NEXT_DUE, (function, json.dumps(list(without)))).fetchone()
        return None if row is None else float(row[0])

    def kinds(self) -> list[tuple[str, Kind]]:
        """Functions and kinds of destinations for which records wait."""
        with self._read() as connection:
            return list(connection.execute("SELECT DISTINCT function, kind FROM deliveries"))

    def deliveries(self, function: str, kind: Kind, after: int, most: int, most_bytes: int) -> list[Delivery]:
        """Records behind that row, in order; so many and so large at most, but one at least if there is any."""
        found: list[Delivery] = []
        size = 0
        with self._read() as connection:
            for row in connection.execute(DELIVERIES, (function, kind, after, most)):
                delivery = Delivery.of(row)
                size += len(delivery.letter.body)
                if found and size > most_bytes:
                    break
                found.append(delivery)
        return found

    def close(self) -> None:
        """Write what is asked for, then let the folder go. Blocks. Idempotent."""
        self._writer.close()
        with self._read_lock:
            self._reading.close()
        self._folder.release()

    def _change(self, statements: Sequence[Statement], on_done: Callable[[], None], *, guarded: bool = False) -> None:
        # One that comes when the writer is closed is left out: the event is taken up again at the next start.
        self._writer.submit(Request(statements, lambda _: on_done(), must=True, guarded=guarded))

    @contextmanager
    def _read(self) -> Iterator[sqlite3.Connection]:
        with self._read_lock:
            try:
                yield self._reading
            except sqlite3.Error as error:
                raise StateError(f"the state in {self._folder.file} cannot be read: {error}") from None


def _connection(file: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(file, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA synchronous = FULL")  # a commit is on the disk, not only in the system's memory
    connection.execute("PRAGMA fullfsync = ON")  # and on macOS not only in the disk's
    return connection


def _prepare(connection: sqlite3.Connection, file: Path) -> None:
    """Make the tables if they are not there. A file that is not ours is left as it is."""
    [version] = connection.execute("PRAGMA user_version").fetchone()
    if version not in {0, SCHEMA_VERSION}:
        raise unusable(file, f"it is of version {version}, and this program knows version {SCHEMA_VERSION}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA journal_size_limit = {LOG_SIZE}")
    if version == 0:
        connection.executescript(f"BEGIN IMMEDIATE; {SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
