"""docs/reference/behaviour.md against the tests: a behaviour that no test shows fails the build, and so does a statement
of the specification about filters and replies that the page leaves out.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs/reference/behaviour.md"
MARK = re.compile(r"(as )?AWS\b.*|choice|extension\b.*|differs: .+|not supported: .+")
REFERENCE = re.compile(r"`((?:unit|cgroups|integration|contract|faults|fuzz|e2e)/\w+\.py)::(\w+)`")
TESTS_NAMED = re.compile(f"{REFERENCE.pattern}(, {REFERENCE.pattern})*")
NONE = "\N{EN DASH}"

STATEMENTS = {
    "C.5": (
        "Several filters are ORed",
        "The key of the data",
        "Other keys",
        "What Lambda adds to an event",
        "Filters come before the limits of a batch",
        "An empty FilterCriteria",
        "Operator equals:",
        "Operators null and empty",
        "Operator equals-ignore-case",
        "Operators prefix and suffix",
        "Operator anything-but",
        "Operator numeric",
        "Operator exists",
        "Several keys of one object",
        "Several items of one array",
        "Operator $or",
        "An array in the data",
        "EventBridge's further operators",
        "Data JSON, pattern JSON",
        "Data text, pattern text",
        "Data text, pattern JSON",
        "Data JSON, pattern text",
        "Data that is not UTF-8",
        "No pattern for the data key",
        "Filtered out, Kafka",
        "Filtered out, MQ",
        "Refused patterns",
    ),
    "C.6": (
        "Replies that mean success",
        "Replies that mean failure",
        "A reply that is not JSON",
        "Named Kafka records",
        "An unknown topic-partition or offset",
        "Named RabbitMQ messages",
        "An unknown messageId",
        "Without ReportBatchItemFailures",
        "An exception",
        "Retries used up through partial responses",
    ),
}
"""How the rule begins that the page has for each row and sentence of these sections."""


class Row(NamedTuple):
    """One behaviour as the page has it."""

    line: int
    rule: str
    mark: str
    section: str
    test: str

    @property
    def tests(self) -> list[tuple[str, str]]:
        """File and function of each test that is named."""
        return REFERENCE.findall(self.test)


def _rows() -> Iterator[Row]:
    inside = False
    for number, line in enumerate(PAGE.read_text().splitlines(), start=1):
        if not line.startswith("|"):
            inside = False
        elif line.startswith("| Rule |"):
            inside = True
        elif inside and not line.startswith("| ---"):
            cells = [cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            assert len(cells) == 4, f"line {number} has {len(cells)} cells"
            yield Row(number, *cells)


ROWS = list(_rows())
every_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.line}: {row.rule[:50]}")


@cache
def _functions(file: str) -> frozenset[str]:
    path = TESTS / file
    tree = ast.parse(path.read_text()) if path.exists() else ast.Module([], [])
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def test_the_page_has_rules() -> None:
    assert len(ROWS) > 100


@every_row
def test_a_behaviour_says_how_it_stands_beside_aws_and_why_where_it_differs(row: Row) -> None:
    assert MARK.fullmatch(row.mark), row.mark


@every_row
def test_a_behaviour_names_a_test_unless_it_is_not_supported(row: Row) -> None:
    assert TESTS_NAMED.fullmatch(row.test) or (row.mark.startswith("not supported") and row.test == NONE)


@every_row
def test_the_test_of_a_behaviour_exists(row: Row) -> None:
    for file, name in row.tests:
        assert name.startswith("test_")
        assert name in _functions(file), f"{file}::{name}"


@pytest.mark.parametrize(
    ("section", "start"), [(name, start) for name, starts in STATEMENTS.items() for start in starts]
)
def test_every_statement_about_filters_and_replies_has_a_row(section: str, start: str) -> None:
    found = [row for row in ROWS if section in row.section.split(", ") and row.rule.startswith(start)]
    assert len(found) == 1
