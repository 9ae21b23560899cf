"""Every testable statement of part G on invocations, function URLs and event source mappings has a test, or the build fails."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

TESTS = Path(__file__).parents[1]
SHOWN = range(1, 41)
"""Statements that are shown: all."""
WITH_BROKERS = range(34, 41)
"""Those about records and messages: shown with real brokers, besides."""


class Marked(NamedTuple):
    """A test that shows a statement."""

    number: int
    where: str
    folder: str
    docstring: str


def _marked() -> Iterator[Marked]:
    for path in sorted(TESTS.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.FunctionDef):
                continue
            for decorator in node.decorator_list:
                if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.statement":
                    folder = path.relative_to(TESTS).parts[0]
                    text = ast.get_docstring(node) or ""
                    for number in decorator.args:
                        yield Marked(ast.literal_eval(number), f"{path.name}::{node.name}", folder, text)


MARKED = list(_marked())


@pytest.mark.parametrize("number", SHOWN)
def test_a_statement_has_a_test_that_needs_no_broker(number: int) -> None:
    assert [one for one in MARKED if one.number == number and one.folder == "unit"]


@pytest.mark.parametrize("number", WITH_BROKERS)
def test_a_statement_about_records_is_shown_with_real_brokers_too(number: int) -> None:
    assert [one for one in MARKED if one.number == number and one.folder != "unit"]


@pytest.mark.parametrize("marked", MARKED, ids=lambda one: f"{one.number}-{one.where}")
def test_a_test_that_shows_a_statement_names_it(marked: Marked) -> None:
    assert marked.number in range(1, 41)
    assert re.search(rf"\b(G|Statement) {marked.number}\b", marked.docstring)
