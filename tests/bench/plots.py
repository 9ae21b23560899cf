"""Which figures a plot shows: from results to SVG. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from tests.bench.report import Results, Row
from tests.bench.svg import Bar, Line, Panel, bars, lines, ranges

_KINDS = ("ours", "second")
"""Colours of our clients, in the order in which they come."""


def kafka(results: Results) -> str:
    """Ours with one handler, floors and peers, a panel a size and batch."""
    panels = []
    rows = [row for row in results.of("kafka") if row.case.endswith("1 handler")]
    for case in dict.fromkeys(row.case for row in rows):
        same = [row for row in rows if row.case == case]
        shown = [Bar(f"ours, {row.client}", row.ours, "ours") for row in same]
        shown += [Bar(f"bare {row.client}", row.floor, "floor") for row in same if row.floor]
        shown += [Bar(name, value, "peer") for name, value in same[0].peers.items()]
        panels.append(Panel(case.removeprefix("kafka "), shown))
    return bars("Kafka to one handler, 4 partitions", panels, unit="records a second")


def latency(results: Results) -> str:
    """From the median to the 99th percentile, a panel a rate."""
    panels: dict[float, list[Bar]] = {}
    for median, late in pairs(results.of("latency")):
        shown = panels.setdefault(median.x or 0, [])
        if window(median) == "0 ms" and median.floor and late.floor:
            shown.append(Bar(f"bare {median.client}", median.floor, "floor", to=late.floor))
        shown.append(Bar(f"{median.client}, window {window(median)}", median.ours, "ours", to=late.ours))
    return ranges(
        "Kafka, from produce to handler",
        [Panel(f"{rate:,.0f} record{'s' if rate > 1 else ''} a second", shown) for rate, shown in panels.items()],
        unit="milliseconds",
        ends="dot: median, bar: 99th percentile; the window is inside",
    )


def pairs(rows: Iterable[Row]) -> Iterator[tuple[Row, Row]]:
    """The rows of the median and of the 99th percentile that belong together."""
    late = {(row.case.removesuffix(", p99"), row.client): row for row in rows if row.case.endswith(", p99")}
    for row in rows:
        if row.case.endswith(", p50"):
            yield row, late[row.case.removesuffix(", p50"), row.client]


def window(row: Row) -> str:
    """`500 ms`, of a latency row."""
    return row.case.partition(", window ")[2].partition(",")[0]


def mappings(results: Results) -> str:
    """Memory by number of mappings."""
    rows = [row for row in results.of("mappings") if row.unit == "MB"]
    return lines("Memory when idle", _by_client(rows, lambda row: row.ours), x="mappings in one process", y="MB")


def partitions(results: Results) -> str:
    return _sweep(results, "partitions", "Records a second by partitions, 200 B, batches of 100", "partitions")


def batches(results: Results) -> str:
    return _sweep(results, "batches", "Records a second by BatchSize, 200 B, 4 partitions", "BatchSize")


def values(results: Results) -> str:
    """Megabytes a second, since that is what grows with the value."""
    rows = results.of("values")
    series = _by_client(rows, lambda row: row.ours * (row.x or 0) / 1e6)
    series += _by_client(rows, lambda row: (row.floor or 0) * (row.x or 0) / 1e6, bare=True)
    return lines("Megabytes of values a second by size of a value", series, x="bytes of a value", y="MB/s")


def backlog(results: Results) -> str:
    """Memory over time."""
    rows = [row for row in results.of("backlog") if row.unit == "MB"]
    series = [
        Line(row.client, [(number / 4, value) for number, value in enumerate(row.samples)], kind)
        for row, kind in zip(rows, _KINDS, strict=False)
    ]
    return lines("Memory while a backlog is worked off", series, x="seconds", y="MB resident", logarithmic=False)


def _sweep(results: Results, group: str, title: str, x: str) -> str:
    rows = results.of(group)
    series = _by_client(rows, lambda row: row.ours) + _by_client(rows, lambda row: row.floor or 0, bare=True)
    return lines(title, series, x=x, y="records/s")


def _by_client(rows: Sequence[Row], figure: Callable[[Row], float], *, bare: bool = False) -> list[Line]:
    """A line a client, of ours or, dashed, of its bare loop."""
    return [
        Line(
            f"{'bare ' if bare else ''}{client}",
            [(row.x or 0, figure(row)) for row in rows if row.client == client],
            kind,
            dashed=bare,
        )
        for client, kind in zip(dict.fromkeys(row.client for row in rows), _KINDS, strict=False)
    ]
