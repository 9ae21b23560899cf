"""`python -m tests.bench --publish`: writes the measured parts of the documentation from `build/bench.json`.

The page holds them between `<!-- measured: NAME -->` and `<!-- end -->`; its plots lie beside it. A part whose cases
were not measured, or only with --quick, stays as it is.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from tests.bench import filters, plots, tables
from tests.bench.processes import ROOT
from tests.bench.report import FOLDER, Results, Row

PAGE = ROOT / "docs" / "explanation" / "performance.md"
PART = re.compile(r"<!-- measured: (?P<name>.+?) -->\n.*?<!-- end -->", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page."""

    groups: tuple[str, ...]
    table: Callable[[Results], str]
    plots: tuple[tuple[str, str, Callable[[Results], str]], ...] = ()
    """Name of the file, text for those who do not see it, and what draws it."""


def main() -> int:
    results = Results.load(FOLDER / "bench.json")
    if not results.rows:
        sys.stderr.write(f"bench: {FOLDER}/bench.json has no figures: measure first, `make bench`\n")
        return 1
    page = PAGE.read_text()
    written, left = render(page, results)
    PAGE.write_text(written)
    for name, section in SECTIONS.items():
        if name not in left:
            for file, _, draw in section.plots:
                (PAGE.parent / file).write_text(draw(results))
    for name in left:
        sys.stderr.write(f"bench: {name}: not measured in full, the page keeps its earlier figures\n")
    sys.stdout.write(f"Written to {PAGE.relative_to(ROOT)}\n")
    return 0


def render(page: str, results: Results) -> tuple[str, list[str]]:
    """The page with its measured parts anew, and the names of those that are left as they are. KeyError: no such part."""
    left: list[str] = []

    def part(found: re.Match[str]) -> str:
        name = found["name"]
        section = SECTIONS[name]
        if not all(measured(results, group) for group in section.groups):
            left.append(name)
            return found[0]
        images = [f"![{text}]({file})" for file, text, _ in section.plots]
        body = "\n\n".join([when(results, section.groups), *images, section.table(results)])
        return f"<!-- measured: {name} -->\n{body}\n<!-- end -->"

    return PART.sub(part, page), left


def measured(results: Results, group: str) -> bool:
    """Whether a case has figures to show."""
    return group in results.measured and not results.measured[group].get("quick")


def when(results: Results, groups: Iterable[str]) -> str:
    """Date and machine of a part's cases."""
    first = results.measured[next(iter(groups))]
    day = time.strptime(first["time"], "%Y-%m-%dT%H:%M:%SZ")
    runs = max(row.runs for group in groups for row in results.of(group))
    how = f"medians of {runs} runs in turn" if runs > 1 else "single runs"
    return (
        f"{day.tm_mday} {time.strftime('%B %Y', day)}, {first['cores']} cores ({first['processor']}) shared with the "
        f"brokers, Python {first['python']}; {how}."
    )


# --- tables --------------------------------------------------------------------------------------------------------


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value * 100:.0f} %"


def _spreads(row: Row) -> str:
    return _percent(row.spread) + ("" if row.floor_spread is None else f" / {_percent(row.floor_spread)}")


def _goals(row: Row) -> str:
    return "; ".join(map(tables.verdict, row.goals))


def _throughput(group: str) -> Callable[[Results], str]:
    def table(results: Results) -> str:
        rows = results.of(group)
        names = list(dict.fromkeys(name for row in rows for name in row.peers))
        columns = ["Case", "Client", "Ours", "Floor", "Ours / floor", *names, "Goals", "Spread ours / floor", "CPU, MB"]
        return tables.grid(
            columns,
            [
                [
                    row.case.removeprefix(f"{group} "),
                    row.client,
                    f"{row.ours:,.0f}",
                    tables.number(row.floor),
                    _percent(row.ratio),
                    *(tables.number(row.peers.get(name)) for name in names),
                    _goals(row),
                    _spreads(row),
                    row.note,
                ]
                for row in rows
            ],
        )

    return table


def _workers(results: Results) -> str:
    return tables.grid(
        ["Case", "Ours", "Spread", ""],
        [
            [row.case.removeprefix("kafka "), f"{row.ours:,.0f}/s", _percent(row.spread), row.note]
            for row in results.of("workers")
        ],
    )


def _filters(results: Results) -> str:
    return tables.grid(
        ["Case", "Client", "Ours", "Unit", "Ours / floor", "Without the filter", "Goals", "Spread ours / floor", ""],
        [
            [
                row.case,
                row.client,
                tables.number(row.ours),
                row.unit,
                _percent(row.ratio),
                tables.number(row.peers.get(filters.WITHOUT)),
                _goals(row),
                _spreads(row),
                row.note,
            ]
            for row in results.of("filters")
        ],
    )


def _beside_floor(results: Results, *groups: str) -> str:
    rows = [row for group in groups for row in results.of(group)]
    return tables.grid(
        ["Case", "Client", "Ours", "Floor", "Unit", "Goals", "Spread ours / floor", ""],
        [
            [
                row.case,
                row.client,
                tables.number(row.ours),
                tables.number(row.floor),
                row.unit,
                _goals(row),
                _spreads(row),
                row.note,
            ]
            for row in rows
        ],
    )


def _environments(results: Results) -> str:
    return tables.grid(
        ["Case", "Way", "Figure", "Unit", "Goals", "Spread", ""],
        [
            [row.case, row.client, tables.number(row.ours), row.unit, _goals(row), _percent(row.spread), row.note]
            for row in results.of("environments")
        ],
    )


def _latency(results: Results) -> str:
    rows = results.of("latency")
    return tables.grid(
        ["Records/s", "Client", "Window", "p50 (floor)", "p99 (floor)", "Goal", "Longest"],
        [
            [
                f"{median.x:,.0f}",
                median.client,
                plots.window(median),
                f"{tables.number(median.ours)} ({tables.number(median.floor)}) ms",
                f"{tables.number(late.ours)} ({tables.number(late.floor)}) ms",
                _goals(late),
                f"{tables.number(late.details['max_ms'])} ms",
            ]
            for median, late in plots.pairs(rows)
        ],
    )


def _mappings(results: Results) -> str:
    rows = results.of("mappings")
    whats = list(dict.fromkeys(_what(row) for row in rows))
    points = list(dict.fromkeys((row.client, row.x or 0) for row in rows))
    found = {(row.client, row.x, _what(row)): row for row in rows}
    columns = ["Mappings", "Client", *(f"{what} ({found[(*points[0], what)].unit})" for what in whats)]
    return tables.grid(
        columns,
        [
            [f"{x:,.0f}", client, *(tables.number(found[client, x, what].ours) for what in whats)]
            for client, x in points
        ],
    )


def _what(row: Row) -> str:
    what = row.case.partition(", ")[2]
    return what[0].upper() + what[1:]


def _sweeps(results: Results) -> str:
    rows = [row for group in ("partitions", "batches", "values") for row in results.of(group)]
    return tables.grid(
        ["Case", "Client", "Ours", "Floor", "Ours / floor", "CPU, MB"],
        [
            [row.case, row.client, tables.number(row.ours), tables.number(row.floor), _percent(row.ratio), row.note]
            for row in rows
        ],
    )


def _backlog(results: Results) -> str:
    return tables.grid(
        ["Case", "Client", "Figure", "Unit", "Goal", "Lowest to highest"],
        [
            [
                row.case,
                row.client,
                tables.number(row.ours),
                row.unit,
                _goals(row),
                "" if len(row.samples) < 2 else f"{min(row.samples):.0f} to {max(row.samples):.0f}",
            ]
            for row in results.of("backlog")
        ],
    )


_FILE = "performance-{}.svg"
SECTIONS = {
    "kafka": Section(
        ("kafka",),
        _throughput("kafka"),
        ((_FILE.format("kafka"), "Records a second of ours, floors and peers", plots.kafka),),
    ),
    "workers": Section(("workers",), _workers),
    "rabbitmq": Section(("rabbitmq",), _throughput("rabbitmq")),
    "async": Section(("async",), _throughput("async")),
    "filters": Section(("filters",), _filters),
    "invoke": Section(("invoke",), lambda results: _beside_floor(results, "invoke")),
    "costs": Section(("invocation", "idle"), lambda results: _beside_floor(results, "invocation", "idle")),
    "environments": Section(("environments",), _environments),
    "latency": Section(
        ("latency",),
        _latency,
        ((_FILE.format("latency"), "Milliseconds from produce to handler, p50 to p99", plots.latency),),
    ),
    "mappings": Section(
        ("mappings",),
        _mappings,
        ((_FILE.format("mappings"), "Memory by number of mappings in one process", plots.mappings),),
    ),
    "sweeps": Section(
        ("partitions", "batches", "values"),
        _sweeps,
        (
            (_FILE.format("partitions"), "Records a second by number of partitions", plots.partitions),
            (_FILE.format("batches"), "Records a second by BatchSize", plots.batches),
            (_FILE.format("values"), "Records a second by size of the value", plots.values),
        ),
    ),
    "backlog": Section(
        ("backlog",),
        _backlog,
        ((_FILE.format("backlog"), "Memory while five million records are worked off", plots.backlog),),
    ),
}


def parts(page: str) -> Sequence[str]:
    """Names of a page's measured parts."""
    return [found["name"] for found in PART.finditer(page)]
