"""What a run of the fault suite counts, the table that it prints at its end, and `build/faults.json`."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from integration.harness.ledger import Ledger

FORM = os.environ.get("POLLER_FAULTS", "short")
"""`full` (`make faults`) takes its time; `short` is a part of `make test`; `soak` is for the table only."""

CLIENT = os.environ.get("POLLER_KAFKA_CLIENT", "default")
"""Of Kafka; it is passed on to every service."""

REPORT = Path(__file__).parents[2] / "build" / "faults.json"

T = TypeVar("T")


def either(short: T, full: T) -> T:
    """The number or list for this form of the suite."""
    return full if FORM == "full" else short


@dataclass
class Tally:
    """All tests' counts."""

    faults: Counter[str] = field(default_factory=Counter)
    produced: int = 0
    handled: int = 0
    """Handlings, repeated ones included."""
    lost: int = 0
    duplicates: int = 0
    """Handlings of good records beyond the first of each."""
    dead_letters: int = 0
    bad_inputs: int = 0
    """Records and replies that no handler or destination could use."""

    def fault(self, kind: str, count: int = 1) -> None:
        """Note that a fault was injected."""
        self.faults[kind] += count

    def close(self, ledger: Ledger) -> None:
        """Enter the books of one test."""
        self.produced += len(ledger.good) + len(ledger.poison)
        self.handled += len(ledger.handlings())
        self.lost += len(ledger.missing())
        self.duplicates += ledger.duplicates()

    def counts(self) -> dict[str, Any]:
        """All of it, for another process's `add`."""
        return {**vars(self), "faults": dict(self.faults)}

    def add(self, counts: Mapping[str, Any]) -> None:
        """Enter what another process has counted."""
        self.faults.update(counts["faults"])
        for name in ("produced", "handled", "lost", "duplicates", "dead_letters", "bad_inputs"):
            setattr(self, name, getattr(self, name) + counts[name])

    def rows(self) -> list[tuple[str, int]]:
        """The table: one row a kind of fault, then the counts."""
        return [
            *sorted(self.faults.items()),
            ("faults injected", self.faults.total()),
            ("records produced", self.produced),
            ("handled", self.handled),
            ("lost", self.lost),
            ("duplicates", self.duplicates),
            ("dead letters", self.dead_letters),
            ("bad inputs tried", self.bad_inputs),
        ]

    def write(self, path: Path = REPORT) -> None:
        """Enter the counts in the report, beside those of the other Kafka client and the other form."""
        report: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        counts = {"faults": dict(sorted(self.faults.items()))}
        counts |= {name.replace(" ", "_"): count for name, count in self.rows()[len(self.faults) :]}
        report.setdefault(FORM, {})[CLIENT] = counts
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(report, indent=2) + "\n")
