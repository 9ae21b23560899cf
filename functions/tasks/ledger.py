"""Invoice totals in SQLite: each invoice is entered once although its message may be delivered more than once.

Several processes may share the folder: SQLite's lock queues them, one short transaction a batch. On AWS this would
be a table in a database that all environments reach; the transaction would be the same.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

REMEMBERED = 24 * 3600.0
"""Seconds an entry is kept: longer than a delivery may come after the first. A real ledger keeps them."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS handled (
    id TEXT PRIMARY KEY, invoice TEXT NOT NULL, currency TEXT NOT NULL, total TEXT NOT NULL, at REAL NOT NULL,
    deliveries INTEGER NOT NULL DEFAULT 1) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS handled_at ON handled (at);
"""

ENTER = """
INSERT INTO handled (id, invoice, currency, total, at) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET deliveries = deliveries + 1
"""


class Total(NamedTuple):
    """What one invoice comes to, with the identity of the message that brought it."""

    id: str
    invoice: str
    currency: str
    total: Decimal


class Ledger:
    """The database in a folder. Blocking; used by one thread."""

    def __init__(self, folder: str) -> None:
        Path(folder).mkdir(parents=True, exist_ok=True)
        self._database = sqlite3.connect(Path(folder, "tasks.sqlite"), timeout=20, isolation_level=None)
        # In one script with its lock taken first: several environments start at the same time.
        self._database.executescript(f"BEGIN IMMEDIATE; {SCHEMA} COMMIT;")

    def add(self, totals: Iterable[Total]) -> None:
        """Enter these once each; durable when it returns.

        Raises:
            sqlite3.Error: nothing of the batch was stored.
        """
        now = time.time()
        rows = [(total.id, total.invoice, total.currency, str(total.total), now) for total in totals]
        with self._database:
            self._database.execute("BEGIN IMMEDIATE")
            self._database.executemany(ENTER, rows)
            self._database.execute("DELETE FROM handled WHERE at < ?", (now - REMEMBERED,))

    def close(self) -> None:
        """Close the file; a warm environment never does."""
        self._database.close()
