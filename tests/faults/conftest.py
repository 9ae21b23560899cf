"""Fixtures of the fault suite: books that are entered in one tally, and the table at the end of the run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from faults.tally import CLIENT, FORM, Tally
from integration.harness.ledger import Ledger
from integration.harness.runs import wait_until_gone

_TALLY = pytest.StashKey[Tally]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_TALLY] = Tally()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A process that runs a part of the tests (`-n 2`) hands in its counts at its end."""
    handed_in = getattr(session.config, "workeroutput", None)
    if handed_in is not None:
        handed_in["tally"] = session.config.stash[_TALLY].counts()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    counts = getattr(node, "workeroutput", {}).get("tally")
    if counts is not None:
        node.config.stash[_TALLY].add(counts)


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
