"""Rows: medians, spreads and ratios of what was measured, as a table for people and JSON for programs."""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

FOLDER = Path("build")


@dataclass(frozen=True, slots=True)
class Row:
    """One figure beside its floor, from runs that alternated."""

    case: str
    unit: str
    ours: float
    """Median of the runs."""
    floor: float | None
    ratio: float | None
    """Median of the runs' own ratios of ours to floor: what the machine did besides mattered to both of a run."""
    runs: int
    spread: float
    """Of ours: from the lowest to the highest, as a share of the median."""
    floor_spread: float | None = None
    goal: str = ""
    met: bool | None = None
    samples: list[float] = field(default_factory=list)
    floor_samples: list[float] = field(default_factory=list)
    details: dict[str, float] = field(default_factory=dict)
    """More of the same runs, medians; the key ends with the unit."""
    note: str = ""
    """The details for the table."""


@dataclass(frozen=True, slots=True)
class Goal:
    """What was set out to be reached: of the figure itself, or of its ratio to the floor."""

    comparison: Literal["<", "<=", ">="]
    value: float
    of_ratio: bool = False

    def __str__(self) -> str:
        sign = {"<": "<", "<=": "≤", ">=": "≥"}[self.comparison]
        return f"{sign} {self.value:.0%} of floor" if self.of_ratio else f"{sign} {self.value:g}"

    def met(self, ours: float, ratio: float | None) -> bool:
        value = ratio if self.of_ratio else ours
        assert value is not None, "a goal relative to no floor"
        return {"<": value < self.value, "<=": value <= self.value, ">=": value >= self.value}[self.comparison]


def row(
    case: str,
    unit: str,
    ours: Sequence[float],
    floor: Sequence[float] = (),
    *,
    goal: Goal | None = None,
    details: Mapping[str, Sequence[float]] | None = None,
    note: str = "",
) -> Row:
    """Condense the runs of one case; `ours` and `floor` in the order of the runs, `note` with the details' names."""
    median = statistics.median(ours)
    medians = {name: statistics.median(values) for name, values in (details or {}).items()}
    ratio = statistics.median([a / b for a, b in zip(ours, floor, strict=True)]) if floor and all(floor) else None
    return Row(
        case=case,
        unit=unit,
        ours=median,
        floor=statistics.median(floor) if floor else None,
        ratio=ratio,
        runs=len(ours),
        spread=_spread(ours),
        floor_spread=_spread(floor) if floor else None,
        goal=str(goal) if goal else "",
        met=goal.met(median, ratio) if goal else None,
        samples=list(ours),
        floor_samples=list(floor),
        details=medians,
        note=note.format(**medians),
    )


def _spread(values: Sequence[float]) -> float:
    median = statistics.median(values)
    return (max(values) - min(values)) / median if median else 0.0


def machine() -> dict[str, Any]:
    """What it ran on, and how busy that was with other things."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "cores": len(os.sched_getaffinity(0)),
        "processor": models[0].partition(":")[2].strip() if models else platform.machine(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "load_before": os.getloadavg()[0],
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


EXPLANATION = """\
Medians; the spread is from the lowest run to the highest, as a share of the median. Ours is `poller run` as a
process of its own with its default logs; the floor is a bare loop on the same client, handler file and pipe, run
in turn with ours, for latency and idleness at the same time. The ratio is the median of the runs' own ratios. Rates count from the beginning of the first
invocation to the end of the last, so without start-up; processor time counts from the first poll on, joining the
group included, and leaves the brokers out. CPU in the notes: microseconds of processor time a record, of the poller
+ its handlers against the bare loop + its handler; MB: the poller's peak, resident. Both numbers of the spread: ours / floor."""


def write(rows: Sequence[Row], where: dict[str, Any], *, terminal: bool) -> None:
    """Print the table; write it and the figures to `build/`."""
    FOLDER.mkdir(exist_ok=True)
    content = {"machine": where, "rows": [asdict(item) for item in rows]}
    (FOLDER / "bench.json").write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    (FOLDER / "bench.md").write_text(_markdown(rows, where))
    console = Console(width=None if terminal else 180)
    console.print(_title(where), highlight=False)
    table = Table()
    for name in _COLUMNS:
        table.add_column(name, justify="left" if name in {"case", "unit", "goal", "note"} else "right")
    for item in rows:
        style = "red" if item.met is False else None
        table.add_row(*_cells(item), style=style)
    console.print(table)
    console.print(EXPLANATION, highlight=False)
    console.print(f"Written to {FOLDER}/bench.json and {FOLDER}/bench.md", highlight=False)


_COLUMNS = ("case", "unit", "ours", "floor", "ratio", "goal", "met", "runs", "spread", "note")


def _cells(item: Row) -> list[str]:
    return [
        item.case,
        item.unit,
        _number(item.ours),
        _number(item.floor),
        "" if item.ratio is None else f"{item.ratio:.2f}",
        item.goal,
        {None: "", True: "yes", False: "no"}[item.met],
        str(item.runs),
        f"{item.spread:.0%}" + ("" if item.floor_spread is None else f" / {item.floor_spread:.0%}"),
        item.note,
    ]


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _title(where: dict[str, Any]) -> str:
    return (
        f"{where['time']} · {where['cores']} cores ({where['processor']}), shared with the brokers · "
        f"Python {where['python']} · {where['system']} · load before {where['load_before']:.1f}"
    )


def _markdown(rows: Sequence[Row], where: dict[str, Any]) -> str:
    lines = [_title(where), "", f"| {' | '.join(_COLUMNS)} |", f"|{'---|' * len(_COLUMNS)}"]
    lines += [f"| {' | '.join(_cells(item))} |" for item in rows]
    return "\n".join([*lines, "", EXPLANATION, ""])


def progress(text: str) -> None:
    """One line to stderr: a measurement of minutes should show that it goes on."""
    sys.stderr.write(f"bench: {text}\n")
    sys.stderr.flush()
