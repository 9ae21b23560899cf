"""From the bench's results to the documentation: the page's measured parts and the plots beside it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from test_bench_report import WHERE, throughput

from tests.bench import plots, publish, svg
from tests.bench.report import Results, row

SVG = "{http://www.w3.org/2000/svg}"


def everything() -> Results:
    """One row or two of each case."""
    results = Results()
    results.replace("kafka", [throughput(), throughput(client="kafka-python", goals=[])], WHERE)
    for group in ("workers", "rabbitmq", "partitions", "batches", "values"):
        rows = [
            row(f"{group} {x}", "records/s", [100.0 * x], [120.0 * x], client=client, x=x)
            for client in ("confluent-kafka", "kafka-python")
            for x in (1, 10, 100)
        ]
        results.replace(group, rows, WHERE)
    results.replace(
        "filters",
        [throughput("1 KiB, batch 100, filter on the value", peers={"no filter": [150.0] * 3}, goals=[])],
        WHERE,
    )
    results.replace("async", [row("asynchronous events accepted", "events/s", [9000.0], [4000.0])], WHERE)
    results.replace("invocation", [row("invocation of 1 KiB, p50", "µs", [50.0], [40.0])], WHERE)
    results.replace("environments", [row("cold start", "ms", [50.0], client="pipe")], WHERE)
    results.replace("invoke", [row("Invoke over HTTP, 1 client", "requests/s", [50.0], [40.0])], WHERE)
    results.replace("idle", [row("memory when idle", "MB", [80.0], [60.0], client="kafka-python")], WHERE)
    results.replace(
        "latency",
        [
            row(
                f"kafka produce to handler, {rate:,} records/s, window {window} ms, p{percent}",
                "ms",
                [window + percent / 10],
                [percent / 20],
                client="confluent-kafka",
                details={"max_ms": [600.0]},
                x=rate,
            )
            for rate in (1, 1000)
            for window in (0, 500)
            for percent in (50, 99)
        ],
        WHERE,
    )
    results.replace(
        "mappings",
        [
            row(f"{number} mappings, {what}", unit, [number * 2.0], client="kafka-python", x=number)
            for number in (1, 10)
            for what, unit in (("memory when idle", "MB"), ("threads", "threads"))
        ],
        WHERE,
    )
    results.replace("backlog", [row("backlog: memory", "MB", [70.0, 71.0, 70.0], client="kafka-python")], WHERE)
    return results


def page(*names: str) -> str:
    parts = [f"Words before {name}.\n\n<!-- measured: {name} -->\nearlier figures\n<!-- end -->\n" for name in names]
    return "\n".join(parts) + "\nThe end.\n"


def test_the_page_has_every_part_that_can_be_written() -> None:
    assert list(publish.parts(publish.PAGE.read_text())) == list(publish.SECTIONS)


def test_parts_are_written_with_date_machine_table_and_plot_and_the_words_between_them_stay() -> None:
    written, left = publish.render(page("kafka"), everything())
    assert left == []
    assert written.startswith("Words before kafka.\n")
    assert written.endswith("The end.\n")
    assert "earlier figures" not in written
    assert (
        "25 November 2026, 2 cores (Test) shared with the brokers, Python 3.13.1; medians of 3 runs in turn." in written
    )
    assert "](performance-kafka.svg)" in written
    assert "| 200 B | confluent-kafka | 90 | 100 | 90 % | 40 |" in written


def test_all_parts_can_be_written_and_writing_again_changes_nothing() -> None:
    once, left = publish.render(page(*publish.SECTIONS), everything())
    assert left == []
    assert "earlier figures" not in once
    assert publish.render(once, everything()) == (once, [])


@pytest.mark.parametrize("missing", ["not at all", "quick"])
def test_what_was_not_measured_in_full_keeps_its_earlier_figures(missing: str) -> None:
    results = everything()
    if missing == "quick":
        results.replace("idle", results.of("idle"), {**WHERE, "quick": True})
    else:
        del results.measured["idle"]
    written, left = publish.render(page("kafka", "costs"), results)
    assert left == ["costs"]  # one of its two cases is enough
    assert written.count("earlier figures") == 1


def test_a_part_of_an_unknown_name_is_an_error() -> None:
    with pytest.raises(KeyError, match="throughputs"):
        publish.render(page("throughputs"), everything())


def test_without_figures_publishing_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(publish, "FOLDER", tmp_path)
    assert publish.main() == 1
    assert "make bench" in capsys.readouterr().err


def test_publishing_writes_the_page_and_the_plots_of_the_parts_that_were_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "performance.md").write_text(page(*publish.SECTIONS))
    results = everything()
    del results.measured["latency"]
    results.save(tmp_path / "bench.json")
    monkeypatch.setattr(publish, "FOLDER", tmp_path)
    monkeypatch.setattr(publish, "ROOT", tmp_path)
    monkeypatch.setattr(publish, "PAGE", docs / "performance.md")
    assert publish.main() == 0
    assert "latency: not measured in full" in capsys.readouterr().err
    named = re.findall(r"\]\((performance-\w+\.svg)\)", (docs / "performance.md").read_text())
    assert sorted(named) == sorted(path.name for path in docs.glob("*.svg"))
    assert "performance-kafka.svg" in named
    assert "performance-latency.svg" not in named


# --- plots ---------------------------------------------------------------------------------------------------------


def texts(document: str) -> list[str]:
    return [element.text or "" for element in ET.fromstring(document).iter(f"{SVG}text")]


@pytest.mark.parametrize(
    "draw",
    [plots.kafka, plots.latency, plots.mappings, plots.partitions, plots.batches, plots.values, plots.backlog],
    ids=lambda draw: draw.__name__,
)
def test_every_plot_is_well_formed_fits_its_frame_and_knows_dark_pages(draw: Callable[[Results], str]) -> None:
    document = draw(everything())
    root = ET.fromstring(document)
    width, height = map(float, root.attrib["viewBox"].split()[2:])
    for element in root.iter(f"{SVG}text"):
        assert 0 <= float(element.attrib["x"]) <= width
        assert 0 <= float(element.attrib["y"]) <= height
    for element in root.iter(f"{SVG}circle"):
        assert 0 <= float(element.attrib["cx"]) <= width
        assert 0 <= float(element.attrib["cy"]) <= height
    assert "prefers-color-scheme:dark" in document
    assert root.attrib["aria-label"]


def test_the_kafka_plot_names_ours_the_floors_and_the_peers() -> None:
    rows = [throughput("kafka 200 B, 1 handler", client=client) for client in ("confluent-kafka", "kafka-python")]
    results = Results()
    results.replace("kafka", rows, WHERE)
    shown = texts(plots.kafka(results))
    assert {"ours, confluent-kafka", "ours, kafka-python", "bare confluent-kafka", "Benthos", "90", "40"} <= set(shown)


def test_bars_are_as_long_as_their_values() -> None:
    document = svg.bars("t", [svg.Panel("p", [svg.Bar("a", 50, "ours"), svg.Bar("b", 100, "peer")])], unit="u")
    half, whole = (
        float(bar.attrib["width"]) for bar in ET.fromstring(document).iter(f"{SVG}rect") if "rx" in bar.attrib
    )
    assert whole == pytest.approx(2 * half, rel=1e-3)


def test_labels_are_text_and_never_markup() -> None:
    document = svg.bars("a < b", [svg.Panel("p & q", [svg.Bar('"x" <y>', 1, "ours")])], unit="u")
    assert {"a < b", "p & q", '"x" <y>'} <= set(texts(document))


def test_labels_of_lines_that_end_at_one_place_are_not_over_one_another() -> None:
    series = [svg.Line(name, [(1, 5.0), (10, 5.0)], "ours") for name in "abc"]
    document = svg.lines("t", series, x="x", y="y")
    places = [
        float(element.attrib["y"])
        for element in ET.fromstring(document).iter(f"{SVG}text")
        if re.fullmatch("[abc] 5", element.text or "")
    ]
    assert len(places) == 3
    assert all(abs(one - other) >= 14 for one in places for other in places if one is not other)


def test_nothing_measured_is_drawn_as_nothing() -> None:
    ET.fromstring(svg.bars("t", [], unit="u"))
    ET.fromstring(svg.ranges("t", [], unit="u", ends=""))
    ET.fromstring(svg.lines("t", [], x="x", y="y"))


@pytest.mark.parametrize(
    ("value", "text"), [(1_234_567, "1.23 M"), (565_091, "565 k"), (99.5, "99.5"), (0.071, "0.071"), (0, "0")]
)
def test_numbers_on_plots_are_short(value: float, text: str) -> None:
    assert svg.short(value) == text
