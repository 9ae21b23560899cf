"""Plots as SVG by hand: bars, ranges, lines. Pure: figures in, text out, the same text for the same figures.

Colours follow the reader's light or dark scheme; every value that matters stands as text beside its mark, too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH = 860
"""Units of the drawing; it is shown as wide as the page."""
_STYLE = """\
text{font:12px system-ui,sans-serif;fill:#24292f}.head{font-weight:600}.dim{fill:#59636e}.paper{fill:#fff}
.ours{fill:#0969da;stroke:#0969da}.second{fill:#1a7f37;stroke:#1a7f37}.floor{fill:#8c959f;stroke:#8c959f}
.peer{fill:#bf8700;stroke:#bf8700}.grid{stroke:#d1d9e0}.dashed{stroke-dasharray:5 4}
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.dim{fill:#9198a1}.paper{fill:#0d1117}
.ours{fill:#4493f8;stroke:#4493f8}.second{fill:#3fb950;stroke:#3fb950}.floor{fill:#768390;stroke:#768390}
.peer{fill:#d29922;stroke:#d29922}.grid{stroke:#3d444d}}
.line{fill:none;stroke-width:2}"""


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar, or with `to` a range from `value` to there."""

    label: str
    value: float
    kind: str
    """Its colour: `ours`, `second`, `floor` or `peer`."""
    to: float | None = None


@dataclass(frozen=True, slots=True)
class Panel:
    """Bars or ranges under one heading, on an axis that all panels share."""

    heading: str
    bars: Sequence[Bar]


@dataclass(frozen=True, slots=True)
class Line:
    """A series of points, by x."""

    label: str
    points: Sequence[tuple[float, float]]
    kind: str
    dashed: bool = False


def short(value: float) -> str:
    """A number in few characters: `1.2 M`, `560 k`, `99`, `4.2`."""
    for size, unit in (1e6, " M"), (1e3, " k"):
        if abs(value) >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def bars(title: str, panels: Sequence[Panel], *, unit: str) -> str:
    """Horizontal bars from zero."""
    most = max((bar.value for panel in panels for bar in panel.bars), default=0) or 1
    left, right = 210, 90
    scale = (WIDTH - left - right) / most

    def mark(bar: Bar, y: int) -> Iterable[str]:
        width = bar.value * scale
        yield f'<rect class="{bar.kind}" x="{left}" y="{y}" width="{width:.1f}" height="14" rx="2"/>'
        yield _text(left + width + 6, y + 11, short(bar.value))

    return _panels(title, panels, mark, left=left, foot=f"{unit}; longer is faster")


def ranges(title: str, panels: Sequence[Panel], *, unit: str, ends: str) -> str:
    """From one value to another on a logarithmic axis: from a dot to a bar. `ends` says what they are."""
    every = [value for panel in panels for bar in panel.bars for value in (bar.value, bar.to or bar.value) if value > 0]
    low = math.floor(math.log10(min(every, default=1)))
    high = max(low + 1, math.ceil(math.log10(max(every, default=10))))
    left, right = 240, 130

    def place(value: float) -> float:
        return left + (math.log10(max(value, 10**low)) - low) / (high - low) * (WIDTH - left - right)

    def mark(bar: Bar, y: int) -> Iterable[str]:
        to = bar.value if bar.to is None else bar.to
        start, end = place(bar.value), place(to)
        yield f'<path class="line {bar.kind}" d="M{start:.1f} {y + 7}H{end:.1f}"/>'
        yield f'<circle class="{bar.kind}" cx="{start:.1f}" cy="{y + 7}" r="4"/>'
        yield f'<path class="line {bar.kind}" d="M{end:.1f} {y + 1}V{y + 13}"/>'
        yield _text(max(start, end) + 8, y + 11, f"{short(bar.value)} to {short(to)}")

    ticks = [(place(10.0**power), short(10.0**power)) for power in range(low, high + 1)]
    return _panels(title, panels, mark, left=left, foot=f"{unit}, logarithmic; {ends}", ticks=ticks)


def _panels(
    title: str,
    panels: Sequence[Panel],
    mark: Callable[[Bar, int], Iterable[str]],
    *,
    left: int,
    foot: str,
    ticks: Sequence[tuple[float, str]] = (),
) -> str:
    parts, y = [_text(12, 22, title, "head")], 36
    top = y
    for panel in panels:
        y += 18
        parts.append(_text(12, y, panel.heading, "head dim"))
        y += 8
        for bar in panel.bars:
            parts.append(_text(left - 10, y + 11, bar.label, anchor="end"))
            parts += mark(bar, y)
            y += 20
    grid = [f'<path class="grid" d="M{x:.1f} {top}V{y}"/>' for x, _ in ticks]
    parts += [_text(x, y + 14, label, "dim", anchor="middle") for x, label in ticks]
    y += 32 if ticks else 18
    parts.append(_text(12, y, foot, "dim"))
    return _document(y + 12, [*grid, *parts], title)


def lines(title: str, series: Sequence[Line], *, x: str, y: str, logarithmic: bool = True) -> str:
    """Series over x; y begins at zero. The label stands at the end of its line."""
    left, right, top, height = 70, 190, 56, 250
    points = [point for line in series for point in line.points]
    xs = sorted({point[0] for point in points}) or [1.0]
    most = max((point[1] for point in points), default=0) or 1
    step = _step(most)
    peak = math.ceil(most / step) * step

    def across(value: float) -> float:
        low, high, at = (math.log(v) if logarithmic else v for v in (xs[0], xs[-1], value))
        return left + ((at - low) / (high - low) if high > low else 0.5) * (WIDTH - left - right)

    def down(value: float) -> float:
        return top + (1 - value / peak) * height

    parts = [_text(12, 22, title, "head"), _text(12, 38, y, "dim")]
    for number in range(round(peak / step) + 1):
        at = down(number * step)
        parts.append(f'<path class="grid" d="M{left} {at:.1f}H{WIDTH - right}"/>')
        parts.append(_text(left - 8, at + 4, short(number * step), "dim", anchor="end"))
    shown = xs if len(xs) <= 8 else [xs[0], xs[len(xs) // 2], xs[-1]]
    parts += [_text(across(value), top + height + 18, short(value), "dim", anchor="middle") for value in shown]
    parts.append(_text((left + WIDTH - right) / 2, top + height + 36, x, "dim", anchor="middle"))
    taken: list[float] = []
    for line in sorted(series, key=lambda line: line.points[-1][1] if line.points else 0.0):
        path = "L".join(f"{across(point[0]):.1f} {down(point[1]):.1f}" for point in line.points)
        parts.append(f'<path class="line {line.kind}{" dashed" if line.dashed else ""}" d="M{path}"/>')
        if len(line.points) <= 8:
            parts += [
                f'<circle class="{line.kind}" cx="{across(point[0]):.1f}" cy="{down(point[1]):.1f}" r="3"/>'
                for point in line.points
            ]
        at = down(line.points[-1][1]) + 4
        if taken:
            at = min(at, taken[-1] - 14)  # from the lowest up, none over another
        taken.append(at)
        parts.append(_text(WIDTH - right + 8, at, f"{line.label} {short(line.points[-1][1])}"))
    return _document(top + height + 48, parts, title)


def _step(most: float) -> float:
    """Between grid lines: 1, 2 or 5 times a power of ten, so that there are three to six of them."""
    power = 10.0 ** math.floor(math.log10(most / 3))
    return next(power * factor for factor in (1, 2, 5, 10) if most / (power * factor) <= 6)


def _text(x: float, y: float, text: str, style: str = "", *, anchor: str = "start") -> str:
    attributes = (f' class="{style}"' if style else "") + (f' text-anchor="{anchor}"' if anchor != "start" else "")
    return f'<text x="{x:.1f}" y="{y:.1f}"{attributes}>{escape(text)}</text>'


def _document(height: float, parts: Iterable[str], title: str) -> str:
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" role="img" '
        f'aria-label="{escape(title, quote=True)}">\n<style>{_STYLE}</style>\n'
        f'<rect class="paper" width="{WIDTH}" height="{height:.0f}"/>\n{body}\n</svg>\n'
    )
