"""Neighbours of one key stand together, whatever a poll gave."""

from __future__ import annotations

from poller.runs import runs_of


def test_neighbours_of_one_key_stand_together_in_order() -> None:
    assert [(key, list(run)) for key, run in runs_of(["a1", "a2", "b1", "a3"], lambda item: item[0])] == [
        ("a", ["a1", "a2"]),
        ("b", ["b1"]),
        ("a", ["a3"]),
    ]
    assert [(key, list(run)) for key, run in runs_of(["a1", "a2"], lambda item: item[0])] == [("a", ["a1", "a2"])]
    assert [(key, list(run)) for key, run in runs_of(["a1"], lambda item: item[0])] == [("a", ["a1"])]
    assert list(runs_of([], len)) == []
