"""Figures of the bench: medians, ratios, verdicts, what is kept between runs, and how it is shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.bench import tables
from tests.bench.report import Goal, Results, Row, row

WHERE = {
    "time": "2026-11-25T10:00:00Z",
    "cores": 2,
    "processor": "Test",
    "python": "3.13.1",
    "system": "Linux 6",
    "load_before": 0.1,
}
OF_FLOOR = Goal(">=", 0.85, of="floor")
TWICE = Goal(">=", 2.0, of="Benthos")


def throughput(case: str = "kafka 200 B", **others: object) -> Row:
    given = {"client": "confluent-kafka", "peers": {"Benthos": [40.0, 50.0, 30.0]}, "goals": [OF_FLOOR, TWICE]}
    return row(case, "records/s", [90.0, 100.0, 80.0], [100.0, 100.0, 100.0], **{**given, **others})


def test_a_row_has_the_medians_of_ours_the_floor_and_each_peer() -> None:
    measured = throughput()
    assert (measured.ours, measured.floor, measured.peers) == (90.0, 100.0, {"Benthos": 40.0})
    assert measured.runs == 3
    assert measured.spread == pytest.approx(20 / 90)
    assert measured.floor_spread == 0.0
    assert measured.peer_spreads == {"Benthos": pytest.approx(20 / 40)}


def test_a_ratio_is_the_median_of_the_runs_own_ratios() -> None:
    # The second run met a machine of half the speed; both of it did.
    measured = row("case", "records/s", [90.0, 45.0, 90.0], [100.0, 50.0, 60.0])
    assert measured.ratio == 0.9


@pytest.mark.parametrize(
    ("goal", "ours", "others", "met"),
    [
        (Goal("<", 20.0), 19.9, {}, True),
        (Goal("<", 20.0), 20.0, {}, False),
        (Goal("<=", 100.0), 100.0, {}, True),
        (OF_FLOOR, 84.0, {"floor": 0.84}, False),
        (OF_FLOOR, 85.0, {"floor": 0.85}, True),
        (TWICE, 85.0, {"floor": 0.2, "Benthos": 2.1}, True),
        (TWICE, 85.0, {"floor": 9.0, "Benthos": 1.9}, False),
    ],
)
def test_a_goal_judges_the_figure_or_its_ratio(goal: Goal, ours: float, others: dict[str, float], *, met: bool) -> None:
    assert goal.judge(ours, others).met is met


def test_every_goal_has_its_own_verdict_and_one_missed_goal_misses_the_row() -> None:
    measured = throughput(peers={"Benthos": [80.0, 80.0, 80.0]})
    assert [verdict.met for verdict in measured.goals] == [True, False]
    assert measured.met is False


def test_a_goal_relative_to_a_peer_that_is_not_here_is_not_judged() -> None:
    measured = throughput(peers={})
    assert [verdict.met for verdict in measured.goals] == [True, None]
    assert measured.met is True
    assert tables.verdict(measured.goals[1]) == "≥ 2 times Benthos: not measured"


def test_a_row_without_goals_is_neither_met_nor_missed() -> None:
    assert throughput(goals=[]).met is None


def test_details_are_medians_and_stand_in_the_note() -> None:
    measured = throughput(details={"poller_us": [3.0, 9.0, 4.04]}, note="CPU {poller_us:.1f}")
    assert measured.note == "CPU 4.0"


def test_results_survive_being_saved(tmp_path: Path) -> None:
    results = Results()
    results.replace("kafka", [throughput()], WHERE)
    results.save(tmp_path / "build" / "bench.json")
    assert Results.load(tmp_path / "build" / "bench.json") == results


def test_measuring_one_case_again_keeps_the_others(tmp_path: Path) -> None:
    results = Results()
    idle = row("memory", "MB", [80.0])
    results.replace("idle", [idle], WHERE)
    results.replace("kafka", [throughput(), throughput()], WHERE)
    results.replace("kafka", [throughput("again")], {**WHERE, "cores": 8})
    assert [(item.group, item.case) for item in results.rows] == [("idle", "memory"), ("kafka", "again")]
    assert {group: where["cores"] for group, where in results.measured.items()} == {"idle": 2, "kafka": 8}


@pytest.mark.parametrize("content", ["", "{", json.dumps({"rows": [{"case": "of an earlier form"}]})])
def test_an_unreadable_file_of_results_is_as_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "bench.json").write_text(content)
    assert Results.load(tmp_path / "bench.json") == Results()


def test_rows_in_the_file_name_case_client_unit_ours_floor_peers_runs_and_spread(tmp_path: Path) -> None:
    results = Results()
    results.replace("kafka", [throughput()], WHERE)
    results.save(tmp_path / "bench.json")
    (saved,) = json.loads((tmp_path / "bench.json").read_text())["rows"]
    assert {"case", "client", "unit", "ours", "floor", "runs", "spread"} <= saved.keys()
    assert saved["peers"] == {"Benthos": 40.0}


def test_the_table_shows_every_goal_with_its_verdict() -> None:
    results = Results()
    results.replace("kafka", [throughput()], WHERE)
    text = tables.markdown(results)
    assert "≥ 85% of the floor: met (90%); ≥ 2 times Benthos: met (2.25)" in text
    assert "Benthos 40" in text
    assert "2026-11-25T10:00:00Z · 2 cores (Test)" in text


@pytest.mark.parametrize(
    ("value", "text"), [(None, "-"), (123_456.7, "123,457"), (100.4, "100"), (99.96, "100"), (0.1234, "0.123")]
)
def test_numbers_are_shown_with_the_digits_that_mean_something(value: float | None, text: str) -> None:
    assert tables.number(value) == text
