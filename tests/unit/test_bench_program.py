"""The bench's command: which cases run, and what becomes of the results of the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from test_bench_report import throughput

from tests.bench import __main__ as program
from tests.bench import report
from tests.bench.report import Results, Row
from tests.brokers import BrokerUnavailable


def failing(error: Exception) -> Callable[[], Iterator[Row]]:
    def case() -> Iterator[Row]:
        yield throughput("before it failed")
        raise error

    return case


@pytest.fixture(autouse=True)
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the results go."""
    monkeypatch.setattr(report, "FOLDER", tmp_path)
    return tmp_path / "bench.json"


@pytest.fixture
def cases(monkeypatch: pytest.MonkeyPatch) -> dict[str, Callable[[], Iterator[Row]]]:
    """The cases that there are."""
    known: dict[str, Callable[[], Iterator[Row]]] = {}

    class Bench:
        def __init__(self, *_: Any, **__: Any) -> None:
            self.cases = known

    monkeypatch.setattr(program, "Bench", Bench)
    return known


def test_a_case_without_figures_keeps_its_earlier_ones_and_the_next_case_runs(
    path: Path, cases: dict[str, Callable[[], Iterator[Row]]], capsys: pytest.CaptureFixture[str]
) -> None:
    cases |= {"kafka": lambda: iter([throughput("earlier")]), "idle": lambda: iter([throughput("idle")])}
    assert program.measure(["kafka"], runs=1, quick=False) == 0
    cases["kafka"] = failing(RuntimeError("7 records were handled, but only 5 produced"))
    assert program.measure(["kafka", "idle"], runs=1, quick=False) == 1
    assert [(row.group, row.case) for row in Results.load(path).rows] == [("kafka", "earlier"), ("idle", "idle")]
    assert "bench: kafka has no figures, its earlier ones stay: 7 records were handled" in capsys.readouterr().err


def test_without_a_broker_nothing_more_is_tried_and_what_was_measured_is_kept(
    path: Path, cases: dict[str, Callable[[], Iterator[Row]]], capsys: pytest.CaptureFixture[str]
) -> None:
    cases |= {"idle": lambda: iter([throughput("idle")]), "kafka": failing(BrokerUnavailable("no engine answers"))}
    assert program.measure(["idle", "kafka", "latency"], runs=1, quick=False) == 1
    assert [row.group for row in Results.load(path).rows] == ["idle"]
    assert "bench: no engine answers\n" in capsys.readouterr().err


def test_quick_results_say_so(path: Path, cases: dict[str, Callable[[], Iterator[Row]]]) -> None:
    cases["idle"] = lambda: iter([throughput("idle")])
    program.measure(["idle"], runs=1, quick=True)
    assert Results.load(path).measured["idle"]["quick"] is True
    assert "for orientation only" in path.with_suffix(".md").read_text()


@pytest.mark.parametrize(
    ("arguments", "names", "runs"),
    [
        ([], list(program.USUAL), 3),
        (["--quick"], list(program.USUAL), 1),
        (["--only", "idle", "--runs", "5"], ["idle"], 5),
        (["--only", "growth"], list(program.GROWTH), 3),
    ],
)
def test_options_choose_cases_and_runs(
    arguments: list[str], names: list[str], runs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = []
    monkeypatch.setattr("sys.argv", ["bench", *arguments])
    monkeypatch.setattr(program.signal, "signal", lambda *_: None)
    monkeypatch.setattr(program, "measure", lambda *cases, **options: given.append((*cases, options)) or 0)
    assert program.main() == 0
    assert given == [(names, {"runs": runs, "quick": "--quick" in arguments})]


def test_every_case_can_be_asked_for_by_name() -> None:
    from contextlib import ExitStack

    with ExitStack() as stack:
        assert set(program.Bench(stack, Path(), runs=1, quick=True).cases) == {*program.USUAL, *program.GROWTH}
