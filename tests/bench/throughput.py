"""Records and messages a second: how one program works off what is there, and what that makes of a row."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tests.bench.ledger import Ledger
from tests.bench.processes import Measured
from tests.bench.report import FLOOR, Goal, Row, row

OF_FLOOR = Goal(">=", 0.85, of=FLOOR)
TIMEOUT = 120.0
_numbers = itertools.count()

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Run:
    """One topic or queue, worked off once."""

    rate: float
    """Records a second."""
    engine: float
    """Microseconds of processor time a record: of `poller run`, of the bare loop, or of a peer."""
    handlers: float
    """Microseconds of processor time a record, all handlers together."""
    peak: float
    """MB resident at most, handlers apart."""


def work_off(process: Measured, ledger: Ledger, records: int) -> Run:
    """Wait until the handlers have noted all records. RuntimeError when there were more."""
    process.wait_for_log("polling")
    before = process.processor_seconds()
    ledger.wait_for(records, timeout=TIMEOUT, alive=process.require_alive)
    spent = process.processor_seconds() - before
    if ledger.records > records:
        raise RuntimeError(f"{ledger.records} records were handled, but only {records} produced: rates mean nothing")
    return Run(
        rate=records / ledger.seconds(),
        engine=spent / records * 1e6,
        handlers=ledger.processor_seconds() / records * 1e6,
        peak=process.memory("VmHWM") / 1e6,
    )


def throughput_row(
    case: str,
    unit: str,
    ours: Sequence[Run],
    floor: Sequence[Run],
    *,
    client: str,
    peers: Mapping[str, Sequence[Run]] | None = None,
    goals: Sequence[Goal] = (),
) -> Row:
    return row(
        case,
        unit,
        [run.rate for run in ours],
        [run.rate for run in floor],
        client=client,
        peers={name: [run.rate for run in runs] for name, runs in (peers or {}).items()},
        goals=goals,
        details={
            "poller_us": [run.engine for run in ours],
            "handlers_us": [run.handlers for run in ours],
            "floor_us": [run.engine for run in floor],
            "floor_handler_us": [run.handlers for run in floor],
            "poller_peak_mb": [run.peak for run in ours],
            **{f"{name}_us": [run.engine for run in runs] for name, runs in (peers or {}).items()},
        },
        note="CPU {poller_us:.1f} + {handlers_us:.1f}, floor {floor_us:.1f} + {floor_handler_us:.1f}; "
        "{poller_peak_mb:.0f} MB",
    )


def in_turn(programs: Sequence[T], run: int) -> Sequence[T]:
    """The order in which programs are measured: every other run the other way round, so that none is always first."""
    return programs if run % 2 == 0 else programs[::-1]


def run_folder(folder: Path) -> Path:
    """A folder of its own for a run."""
    return folder / f"run-{next(_numbers)}"


def size_name(size: int) -> str:
    """`200 B`, `1 KiB`, `1 MB`."""
    for unit, name in (1_000_000, "MB"), (1024, "KiB"):
        if size >= unit and size % unit == 0:
            return f"{size // unit} {name}"
    return f"{size} B"
