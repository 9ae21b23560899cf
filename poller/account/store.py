"""Documents in a file of the state folder: SQLite, whose write-ahead log is flushed before a call is answered.

A service whose account is changed by nobody needs no state folder, so `AccountFile` opens it late.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from poller.account.documents import Change
from poller.async_invoke.folder import StateFolder, unusable
from poller.errors import StateError

LOCK = "account.lock"
FILE = "account.sqlite3"

SCHEMA_VERSION = 1
"""`PRAGMA user_version` of the file."""

SCHEMA = """
CREATE TABLE documents (
    id INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    document TEXT NOT NULL,
    UNIQUE (kind, key)
)
"""

PUT = (
    "INSERT INTO documents (kind, key, document) VALUES (?, ?, ?) "
    "ON CONFLICT (kind, key) DO UPDATE SET document = excluded.document"
)

REFUSED = "what calls change is not kept, and so refused"
"""What it means for the caller that the file cannot be used."""


class AccountFile:
    """As `Documents`; any thread. Opened at the start if it is there, else with the first change."""

    def __init__(self, folder: Path) -> None:
        """Open what is there.

        Raises:
            StateInUse: another service has it.
            StateError: it cannot be used.
        """
        self._folder = folder
        self._opening = threading.Lock()
        self._opened = StoredDocuments(folder) if (folder / FILE).exists() else None

    def all(self, kind: str) -> dict[str, dict[str, Any]]:
        """As `StoredDocuments`."""
        return {} if self._opened is None else self._opened.all(kind)

    def change(self, changes: Sequence[Change]) -> None:
        """As `StoredDocuments`."""
        with self._opening:
            if self._opened is None:
                self._opened = StoredDocuments(self._folder)
        self._opened.change(changes)

    def close(self) -> None:
        """Let others have the account. Idempotent; nothing may be changed afterwards."""
        with self._opening:
            if self._opened is not None:
                self._opened.close()


class StoredDocuments:
    """As `Documents`; any thread. One process at a time has the folder's account."""

    def __init__(self, folder: Path) -> None:
        """Lock the folder's account, and open or make its file.

        Raises:
            StateInUse: another service has it.
            StateError: it cannot be used, or what is there is no file of ours.
        """
        self._folder = StateFolder(folder, LOCK, FILE, REFUSED)
        self._lock = threading.Lock()
        try:
            self._folder.make_file()
            self._connection = sqlite3.connect(
                self._folder.file, timeout=10, isolation_level=None, check_same_thread=False
            )
        except (sqlite3.Error, StateError) as error:
            self._folder.release()
            raise error if isinstance(error, StateError) else self._unusable(error) from None
        try:
            _prepare(self._connection)
        except (sqlite3.Error, ValueError) as error:
            self.close()
            raise self._unusable(error) from None

    def all(self, kind: str) -> dict[str, dict[str, Any]]:
        """As `Documents`.

        Raises:
            StateError: it cannot be read.
        """
        try:
            with self._lock:
                rows = self._connection.execute(
                    "SELECT key, document FROM documents WHERE kind = ? ORDER BY id", (kind,)
                ).fetchall()
            return {key: json.loads(text) for key, text in rows}
        except (sqlite3.Error, ValueError) as error:
            raise self._unusable(error) from None

    def change(self, changes: Sequence[Change]) -> None:
        """As `Documents`."""
        try:
            with self._lock, closing(self._connection.cursor()) as cursor:
                cursor.execute("BEGIN IMMEDIATE")
                try:
                    for kind, key, document in changes:
                        if document is None:
                            cursor.execute("DELETE FROM documents WHERE kind = ? AND key = ?", (kind, key))
                        else:
                            cursor.execute(PUT, (kind, key, json.dumps(document)))
                    cursor.execute("COMMIT")
                finally:
                    if self._connection.in_transaction:
                        cursor.execute("ROLLBACK")
        except sqlite3.Error as error:
            raise self._unusable(error) from None

    def close(self) -> None:
        """Let others have the account. Idempotent; nothing may be changed afterwards."""
        with self._lock:
            self._connection.close()
        self._folder.release()

    def _unusable(self, error: Exception) -> StateError:
        return unusable(self._folder.file, str(error), REFUSED)


def _prepare(connection: sqlite3.Connection) -> None:
    """Durable on commit, and with our table.

    Raises:
        ValueError: it was made by a later version of this program.
    """
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version not in {0, SCHEMA_VERSION}:
        raise ValueError(f"its version is {version}, and this program knows {SCHEMA_VERSION}")
    if version == 0:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(SCHEMA)
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")
