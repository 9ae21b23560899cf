"""How many inputs the fuzz tests try, and the tally of what they tried.

`make test` tries a hundred or so of each, always the same; `make fuzz` takes the profile `long`, whose size FUZZ_EXAMPLES sets.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from fuzz import tally

SLOW_IS_FINE = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture]

settings.register_profile(
    "short",
    max_examples=100,
    deadline=None,
    suppress_health_check=SLOW_IS_FINE,
    derandomize=True,  # what `make test` says depends on the program alone; `make fuzz` looks for what is new
)
settings.register_profile(
    "long",
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "5000")),
    deadline=None,
    suppress_health_check=SLOW_IS_FINE,
    print_blob=True,
)


settings.load_profile("short")  # --hypothesis-profile comes after this and wins


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker("slow")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker of pytest-xdist sends its tally to the process that reports."""
    output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["tally"] = dict(tally.TRIED)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over what a worker counted."""
    tally.TRIED.update(Counter(getattr(node, "workeroutput", {}).get("tally", {})))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """`inputs tried` by kind."""
    if tally.TRIED:
        terminalreporter.section("inputs tried")
        for kind, number in sorted(tally.TRIED.items()):
            terminalreporter.write_line(f"{number:>10,}  {kind}")
