"""Reads what the sample's handlers stored for one run: `python stored.py FOLDER RUN` prints it as one JSON object.

Standard library only and a file of its own, because it also runs inside a container, fed to its Python on stdin.
"""

from __future__ import annotations

import json
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

QUERIES = {
    "telemetry": "SELECT id, at, deliveries FROM handled WHERE id >= ? AND id < ?",
    "tasks": "SELECT id, at, deliveries, total FROM handled WHERE id >= ? AND id < ?",
}
"""Database and what is wanted of it, within a range of identities: that uses the index, where LIKE would not."""


def read(folder: str, run: str) -> dict[str, dict[str, dict[str, Any]]]:
    """Per database, per identity: a row. A database that is not there yet is empty."""
    return {name: rows(Path(folder, f"{name}.sqlite"), query, run) for name, query in QUERIES.items()}


def rows(path: Path, query: str, run: str) -> dict[str, dict[str, Any]]:
    """The rows whose identity belongs to the run, keyed by identity."""
    if not path.exists():
        return {}
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=20)) as database:
        database.row_factory = sqlite3.Row
        try:
            # '.' is the character after '-'.
            found = database.execute(query, (f"{run}-", f"{run}.")).fetchall()
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                return {}
            raise
    return {row["id"]: dict(row) for row in found}


if __name__ == "__main__":
    json.dump(read(sys.argv[1], sys.argv[2]), sys.stdout)
