"""Rows as tables: on the terminal, in `build/bench.md`, and in the documentation. Pure, save `show`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.bench.report import Results, Row, Verdict

EXPLANATION = """\
Medians; the spread is from the lowest run to the highest, as a share of the median. Ours is `poller run` as a process
of its own with its default logs; the floor is a bare loop on the same client, handler file and pipe. Everything in a
row ran in turn, for latency and idleness at the same time. A ratio is the median of the runs' own ratios. Rates count
from the beginning of the first invocation to the end of the last, so without start-up, and only when every record was
handled and committed; processor time counts from the first poll on, joining the group included, and leaves the brokers
out. CPU in the notes: microseconds of processor time a record, of the poller + its handlers against the bare loop +
its handler; MB: the poller's peak, resident. Both numbers of the spread: ours / floor."""

_COLUMNS = ("case", "client", "unit", "ours", "floor", "ratio", "peers", "goals", "runs", "spread", "note")
_LEFT = {"case", "client", "unit", "peers", "goals", "note"}


def title(where: Mapping[str, Any]) -> str:
    """When and on what."""
    quick = " · quick, for orientation only" if where.get("quick") else ""
    return (
        f"{where['time']} · {where['cores']} cores ({where['processor']}), shared with the brokers · "
        f"Python {where['python']} · {where['system']} · load before {where['load_before']:.1f}{quick}"
    )


def number(value: float | None) -> str:
    """Short, with the digits that mean something."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def verdict(given: Verdict) -> str:
    """`≥ 85 % of the floor: met (91 %)`."""
    if given.met is None:
        return f"{given.goal}: not measured"
    assert given.value is not None
    shown = f"{given.value:.0%}" if "%" in given.goal else number(given.value)
    return f"{given.goal}: {'met' if given.met else 'NOT MET'} ({shown})"


def spreads(item: Row) -> str:
    return f"{item.spread:.0%}" + ("" if item.floor_spread is None else f" / {item.floor_spread:.0%}")


def cells(item: Row) -> list[str]:
    """A row's texts, one per column."""
    return [
        item.case,
        item.client,
        item.unit,
        number(item.ours),
        number(item.floor),
        "" if item.ratio is None else f"{item.ratio:.2f}",
        ", ".join(f"{name} {number(value)}" for name, value in item.peers.items()),
        "; ".join(map(verdict, item.goals)),
        str(item.runs),
        spreads(item),
        item.note,
    ]


def grid(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def markdown(results: Results) -> str:
    """All that was measured, a table a group."""
    parts = []
    for group, where in results.measured.items():
        parts += [f"## {group}", title(where), grid(_COLUMNS, [cells(item) for item in results.of(group)])]
    return "\n\n".join([*parts, EXPLANATION, ""])


def show(results: Results, groups: Sequence[str], *, terminal: bool) -> None:
    """Print the groups that were measured now."""
    console = Console(width=None if terminal else 200)
    for group in groups:
        if not (rows := results.of(group)):
            continue
        console.print(title(results.measured[group]), highlight=False)
        table = Table()
        for name in _COLUMNS:
            table.add_column(name, justify="left" if name in _LEFT else "right")
        for item in rows:
            table.add_row(*cells(item), style="red" if item.met is False else None)
        console.print(table)
    console.print(EXPLANATION, highlight=False)
