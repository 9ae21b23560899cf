"""Rows: medians, spreads, ratios and verdicts of what was measured; kept as JSON in `build/`, shown as a table."""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

FOLDER = Path("build")
FLOOR = "floor"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A goal, and what came of it."""

    goal: str
    value: float | None
    """What is compared: the figure, or its ratio to the floor or a peer; None when there was none to compare with."""
    met: bool | None


@dataclass(frozen=True, slots=True)
class Row:
    """One figure beside its floor and the peers, from runs that alternated."""

    case: str
    client: str
    """The library between the program and the broker; empty where that makes no difference."""
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
    peers: dict[str, float] = field(default_factory=dict)
    """Medians, by name."""
    peer_spreads: dict[str, float] = field(default_factory=dict)
    goals: list[Verdict] = field(default_factory=list)
    met: bool | None = None
    """All goals that could be judged."""
    samples: list[float] = field(default_factory=list)
    floor_samples: list[float] = field(default_factory=list)
    peer_samples: dict[str, list[float]] = field(default_factory=dict)
    details: dict[str, float] = field(default_factory=dict)
    """More of the same runs, medians; the key ends with the unit."""
    note: str = ""
    """The details for the table."""
    x: float | None = None
    """Where a row of a series stands on the plot's axis: a size, a number, a time."""
    group: str = ""
    """The case's name on the command line, which is known where the results are put together."""


@dataclass(frozen=True, slots=True)
class Goal:
    """What was set out to be reached: of the figure itself, or of its ratio to the floor or a peer."""

    comparison: Literal["<", "<=", ">="]
    value: float
    of: str = ""
    """`floor` or a peer's name; empty for the figure itself."""

    def __str__(self) -> str:
        sign = {"<": "<", "<=": "≤", ">=": "≥"}[self.comparison]
        if self.of == FLOOR:
            return f"{sign} {self.value:.0%} of the floor"
        return f"{sign} {self.value:g}" + (f" times {self.of}" if self.of else "")

    def judge(self, ours: float, ratios: Mapping[str, float]) -> Verdict:
        """`ratios` to the floor and to peers, by name."""
        value = ratios.get(self.of) if self.of else ours
        if value is None:
            return Verdict(str(self), None, None)
        met = {"<": value < self.value, "<=": value <= self.value, ">=": value >= self.value}[self.comparison]
        return Verdict(str(self), value, met)


def row(
    case: str,
    unit: str,
    ours: Sequence[float],
    floor: Sequence[float] = (),
    *,
    client: str = "",
    peers: Mapping[str, Sequence[float]] | None = None,
    goals: Sequence[Goal] = (),
    details: Mapping[str, Sequence[float]] | None = None,
    note: str = "",
    x: float | None = None,
) -> Row:
    """Condense the runs of one case; all figures in the order of the runs, `note` with the details' names."""
    median = statistics.median(ours)
    medians = {name: statistics.median(values) for name, values in (details or {}).items()}
    others = {name: values for name, values in (peers or {}).items() if values}
    ratios = {
        name: _ratio(ours, values) for name, values in [(FLOOR, floor), *others.items()] if values and all(values)
    }
    verdicts = [goal.judge(median, ratios) for goal in goals]
    judged = [verdict.met for verdict in verdicts if verdict.met is not None]
    return Row(
        case=case,
        client=client,
        unit=unit,
        ours=median,
        floor=statistics.median(floor) if floor else None,
        ratio=ratios.get(FLOOR),
        runs=len(ours),
        spread=_spread(ours),
        floor_spread=_spread(floor) if floor else None,
        peers={name: statistics.median(values) for name, values in others.items()},
        peer_spreads={name: _spread(values) for name, values in others.items()},
        goals=verdicts,
        met=all(judged) if judged else None,
        samples=list(ours),
        floor_samples=list(floor),
        peer_samples={name: list(values) for name, values in others.items()},
        details=medians,
        note=note.format(**medians),
        x=x,
    )


def _ratio(ours: Sequence[float], others: Sequence[float]) -> float:
    return statistics.median([a / b for a, b in zip(ours, others, strict=True)])


def _spread(values: Sequence[float]) -> float:
    median = statistics.median(values)
    return (max(values) - min(values)) / abs(median) if median else 0.0


def machine() -> dict[str, Any]:
    """What it ran on, and how busy that was with other things."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "cores": len(os.sched_getaffinity(0)),
        "processor": models[0].partition(":")[2].strip() if models else platform.machine(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "load_before": round(os.getloadavg()[0], 2),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


# --- the results so far --------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Results:
    """What `build/bench.json` holds: the rows of every case, and when and where each case was measured last."""

    rows: list[Row] = field(default_factory=list)
    measured: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By group."""

    @classmethod
    def load(cls, path: Path) -> Results:
        """Of an earlier run; empty when there is none, or when it is of an earlier form."""
        try:
            content = json.loads(path.read_text())
            rows = [
                Row(**{**item, "goals": [Verdict(**goal) for goal in item.get("goals", [])]})
                for item in content["rows"]
            ]
            return cls(rows, content["measured"])
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return cls()

    def replace(self, group: str, rows: Sequence[Row], where: Mapping[str, Any]) -> None:
        """Put a case's new rows in the place of its old ones, so that cases may be measured one at a time."""
        self.rows = [item for item in self.rows if item.group != group] + [replace(item, group=group) for item in rows]
        self.measured[group] = dict(where)

    def of(self, group: str) -> list[Row]:
        return [item for item in self.rows if item.group == group]

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {"measured": self.measured, "rows": [asdict(item) for item in self.rows]}
        path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def progress(text: str) -> None:
    """One line to stderr: a measurement of minutes should show that it goes on."""
    sys.stderr.write(f"bench: {text}\n")
    sys.stderr.flush()
