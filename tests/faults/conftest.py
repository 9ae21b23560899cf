"""Fixtures of the fault suite: books that are entered in one tally, and the table at the end of the run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from faults.tally import CLIENT, FORM, Tally
from integration.harness.ledger import Ledger
from integration.harness.runs import wait_until_gone

_TALLY = pytest.StashKey[Tally]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_TALLY] = Tally()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    tally = config.stash[_TALLY]
    if not tally.faults:
        return
    terminalreporter.section(f"faults, {FORM} form, Kafka client: {CLIENT}")
    for name, count in tally.rows():
        terminalreporter.write_line(f"{name:<58} {count:>10,}")
    tally.write()


@pytest.fixture
def tally(pytestconfig: pytest.Config) -> Tally:
    """What the whole run counts."""
    return pytestconfig.stash[_TALLY]


@pytest.fixture
def ledgers(tmp_path: Path, tally: Tally) -> Iterator[Callable[[str], Ledger]]:
    """Opens the books of one mapping by name; when the test is over no handler may be left behind."""
    opened: dict[str, Ledger] = {}

    def open_(name: str) -> Ledger:
        folder = tmp_path / name
        folder.mkdir()
        opened[name] = Ledger(folder, seed=len(opened) + 1)
        return opened[name]

    yield open_
    for ledger in opened.values():
        tally.close(ledger)
        wait_until_gone(ledger)


@pytest.fixture
def ledger(ledgers: Callable[[str], Ledger]) -> Ledger:
    """The books of a test with one mapping."""
    return ledgers("books")
