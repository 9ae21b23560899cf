"""Balances in a SQLite file, ACCOUNTS in the environment: a stand-in for a real database."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing

SCHEMA = """
CREATE TABLE IF NOT EXISTS balances (account TEXT PRIMARY KEY, balance INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS attempts (request_id TEXT PRIMARY KEY, attempts INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS idempotency (
    id TEXT PRIMARY KEY, status TEXT NOT NULL, expiry INTEGER, in_progress_expiry INTEGER, data TEXT, validation TEXT
);
"""


def connect() -> sqlite3.Connection:
    """A connection; every statement is a transaction of its own."""
    connection = sqlite3.connect(os.environ["ACCOUNTS"], timeout=10, isolation_level=None)
    connection.executescript(SCHEMA)
    return connection


class Accounts:
    """What is in the accounts."""

    def set(self, account: str, balance: int) -> int:
        """Let the balance be so much."""
        return self._one(
            "INSERT INTO balances VALUES (?, ?) "
            "ON CONFLICT (account) DO UPDATE SET balance = excluded.balance RETURNING balance",
            account,
            balance,
        )

    def add(self, account: str, amount: int) -> int:
        """Add to the balance, and return it."""
        return self._one(
            "INSERT INTO balances VALUES (?, ?) "
            "ON CONFLICT (account) DO UPDATE SET balance = balance + excluded.balance RETURNING balance",
            account,
            amount,
        )

    def attempt(self, request_id: str) -> int:
        """Which attempt this is, counted by request id: it is the same for all attempts of an event."""
        return self._one(
            "INSERT INTO attempts VALUES (?, ?) "
            "ON CONFLICT (request_id) DO UPDATE SET attempts = attempts + excluded.attempts RETURNING attempts",
            request_id,
            1,
        )

    def look(self, account: str, request_id: str) -> tuple[int | None, int]:
        """The balance, None where there is no such account, and how often the event was tried."""
        with closing(connect()) as connection:
            balance = connection.execute("SELECT balance FROM balances WHERE account = ?", (account,)).fetchone()
            tried = connection.execute("SELECT attempts FROM attempts WHERE request_id = ?", (request_id,)).fetchone()
        return balance and balance[0], tried[0] if tried else 0

    @staticmethod
    def _one(statement: str, key: str, number: int) -> int:
        with closing(connect()) as connection:
            [row] = connection.execute(statement, (key, number)).fetchall()
        return int(row[0])
