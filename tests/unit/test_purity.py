"""The policy package decides and does nothing else; so do the parts of others that understand letters, triggers and HTTP."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

POLLER = Path(__file__).parents[2] / "poller"
FRONTS = ("request", "events", "replies", "routes", "streaming")
LETTERS = ("letter", "event_records", "reading", "filters", "ledger")
TRIGGERS = ("cron", "due_runs", "s3_events", "s3_notifications", "schedule_expressions", "scheduled_events")
PURE = [
    *sorted((POLLER / "policy").glob("*.py")),
    POLLER / "api_errors.py",
    POLLER / "errors.py",
    POLLER / "records.py",
    POLLER / "runs.py",
    POLLER / "runtime" / "event_columns.py",
    POLLER / "function_names.py",
    POLLER / "account" / "aliases.py",
    POLLER / "invocation_request.py",
    *(POLLER / "triggers" / f"{name}.py" for name in TRIGGERS),
    *(POLLER / "dead_letters" / f"{name}.py" for name in LETTERS),
    *(POLLER / "fronts" / f"{name}.py" for name in FRONTS),
]
OURS = {
    "poller.function_names",
    "poller.invocation_request",
    "poller.model",
    "poller.records",
    "poller.runs",
    "poller.runtime.event_columns",
    "poller.errors",
    "poller.api_errors",
    *(f"poller.dead_letters.{name}" for name in LETTERS),
    *(f"poller.triggers.{name}" for name in TRIGGERS),
    *(f"poller.fronts.{name}" for name in FRONTS),
    "urllib.parse",
}
ALLOWED = {
    "bisect", "marshal",
    "__future__", "collections", "dataclasses", "decimal", "enum", "functools", "itertools", "json", "math", "operator",
    "calendar", "re", "typing", "zlib", "datetime", "ipaddress", "base64", "binascii", "fnmatch", "string", "contextlib",
}  # fmt: skip
CLOCKS = {"now", "utcnow", "today", "time", "monotonic", "sleep", "random"}


@pytest.mark.parametrize("path", PURE, ids=lambda path: path.name)
def test_a_policy_module_imports_no_input_output_clock_thread_log_or_randomness(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        else:
            continue
        for name in names:
            ours = name in OURS or name.startswith("poller.policy")
            assert ours or name == "urllib.parse" or name.split(".")[0] in ALLOWED, f"{path.name} imports {name}"


@pytest.mark.parametrize("path", PURE, ids=lambda path: path.name)
def test_a_policy_module_reads_no_clock_and_opens_no_file(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name):
                assert node.func.id not in {"open", "print", "input"}, f"{path.name}:{node.lineno}"
            elif isinstance(node.func, ast.Attribute):
                assert node.func.attr not in CLOCKS, f"{path.name}:{node.lineno}"
