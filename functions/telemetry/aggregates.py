"""Per-device aggregates in SQLite: exact although a record may be delivered more than once.

What was counted is remembered in the same transaction that counts it, so a second delivery changes nothing but its
own counter. Several processes may share the folder: SQLite's lock queues them, one short transaction a batch.
On AWS this would be a table in a database that all environments reach; the transaction would be the same.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

REMEMBERED = 24 * 3600.0
"""Seconds a counted record is remembered: longer than a delivery may come after the first."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS handled (
    id TEXT PRIMARY KEY, device TEXT NOT NULL, temperature REAL NOT NULL, at REAL NOT NULL,
    deliveries INTEGER NOT NULL DEFAULT 1) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS handled_at ON handled (at);
CREATE TABLE IF NOT EXISTS devices (
    device TEXT PRIMARY KEY, readings INTEGER NOT NULL, temperature_sum REAL NOT NULL,
    temperature_min REAL NOT NULL, temperature_max REAL NOT NULL, humidity_sum REAL NOT NULL,
    battery REAL NOT NULL) WITHOUT ROWID;
"""

REMEMBER = """
INSERT INTO handled (id, device, temperature, at) VALUES (?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET deliveries = deliveries + 1 RETURNING deliveries
"""

COUNT = """
INSERT INTO devices VALUES (:device, 1, :temperature, :temperature, :temperature, :humidity, :battery)
ON CONFLICT (device) DO UPDATE SET
    readings = readings + 1, temperature_sum = temperature_sum + excluded.temperature_sum,
    temperature_min = min(temperature_min, excluded.temperature_min),
    temperature_max = max(temperature_max, excluded.temperature_max),
    humidity_sum = humidity_sum + excluded.humidity_sum, battery = excluded.battery
"""


class Stored(NamedTuple):
    """One good reading, with the identity of the record that brought it."""

    id: str
    device: str
    temperature: float
    humidity: float
    battery: float


class Aggregates:
    """The database in a folder. Blocking; used by one thread."""

    def __init__(self, folder: str) -> None:
        Path(folder).mkdir(parents=True, exist_ok=True)
        self._database = sqlite3.connect(Path(folder, "telemetry.sqlite"), timeout=20, isolation_level=None)
        # In one script with its lock taken first: several environments start at the same time.
        self._database.executescript(f"BEGIN IMMEDIATE; {SCHEMA} COMMIT;")

    def add(self, readings: Iterable[Stored]) -> None:
        """Count these once each, whatever was counted before; durable when it returns.

        Raises:
            sqlite3.Error: nothing of the batch was stored.
        """
        now = time.time()
        with self._database:
            self._database.execute("BEGIN IMMEDIATE")
            for reading in readings:
                seen = self._database.execute(REMEMBER, (reading.id, reading.device, reading.temperature, now))
                if seen.fetchone()[0] == 1:
                    self._database.execute(COUNT, reading._asdict())
            self._database.execute("DELETE FROM handled WHERE at < ?", (now - REMEMBERED,))

    def close(self) -> None:
        """Close the file; a warm environment never does."""
        self._database.close()
