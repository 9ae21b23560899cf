"""The audit of requirements: it fails for what is known, and says so where nothing can be known."""

from __future__ import annotations

import importlib.util
import json
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "containers" / "audit.py"


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("audit", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


AUDIT = load()


def reports(*dependencies: dict[str, Any]) -> str:
    return json.dumps({"dependencies": dependencies, "fixes": []})


FINE = {"name": "pika", "version": "1.4.4", "vulns": []}
BAD = {"name": "urllib3", "version": "1.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["1.1"]}]}
UNKNOWN = {"name": "rich", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("output", "code", "told"),
    [
        (reports(FINE), 0, "audit: 1 requirements, 0 known vulnerabilities\n"),
        (reports(FINE, UNKNOWN), 0, "audit: 1 requirements, 0 known vulnerabilities, no answer about rich\n"),
        (
            reports(FINE, BAD),
            1,
            "audit: urllib3 1.0: PYSEC-1, fixed in 1.1\naudit: 2 requirements, 1 known vulnerabilities\n",
        ),
        (reports(UNKNOWN), 0, "audit: skipped, for no advisories about Python packages can be reached from here\n"),
        ("", 0, "audit: skipped, for no advisories about Python packages can be reached from here\n"),
    ],
)
def test_what_is_known_fails_and_what_cannot_be_known_is_told(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    output: str,
    code: int,
    told: str,
) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 0, output, ""))
    assert AUDIT.main() == code
    assert capsys.readouterr().out == told


def test_the_one_that_is_asked_for_first_is_a_requirement() -> None:
    assert any(f"{AUDIT.ASKED_FIRST}==" in (AUDIT.ROOT / name).read_text() for name in AUDIT.PINS)
