"""Whether this machine runs a function: its interpreter, and the client that the setting `RuntimeClient` wants."""

from __future__ import annotations

import functools
import logging
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal

from poller.errors import Problem
from poller.resources import Function
from poller.runtime.runtimes import understood
from poller.runtime.toolchains import find, machine

Client = Literal["poller", "aws"]

_log = logging.getLogger(__name__)

_PROBE_SECONDS = 10
_IS_THERE = "import importlib.util, sys; sys.exit(importlib.util.find_spec('awslambdaric') is None)"


def supported(
    functions: Iterable[tuple[Function, Callable[[str], str]]], *, client: Client, strict: bool
) -> tuple[list[Function], list[Problem], list[Problem]]:
    """The functions with the client that runs them, what is wrong with them on this machine, and what to warn of.

    Blocks for the start of some programs, once for each runtime, and with AWS's client once for each function.

    Args:
        functions: each with what turns a property's path into the path to show.
        client: the setting `RuntimeClient`.
        strict: the setting `StrictRuntime`.
    """
    fitting, problems, warnings = [], [], []
    for function, where in functions:
        problem = unsupported(function.Runtime, function.Code, client=client, strict=strict)
        if problem is not None:
            problems.append(Problem(where("Runtime"), *problem))
        elif (warning := substitution(function.Runtime)) is not None:
            warnings.append(Problem(where("Runtime"), warning, "StrictRuntime: true refuses that"))
        fitting.append(function.model_copy(update={"runtime_client": client}))
    return fitting, problems, warnings


def unsupported(runtime: str, code: Path, *, client: Client, strict: bool) -> tuple[str, str] | None:
    """What is wrong with a runtime on this machine, and what would be right; None when it runs."""
    found = find(runtime)
    if found is None:
        return f"there is nothing for {runtime} on this machine", f"it has {machine()}"
    if strict and not found.exact:
        return f"there is no {runtime} on this machine, and StrictRuntime is true", f"it has {machine()}"
    if client == "aws":
        return _without_client(runtime, code, found.tool.path)
    return None


def warn_of_substitutions(runtimes: Iterable[tuple[str, str]]) -> None:
    """Log a warning for each function that another version runs than it names. Blocks as `unsupported`.

    Args:
        runtimes: names of functions with their `Runtime`.
    """
    for name, runtime in runtimes:
        warning = substitution(runtime)
        if warning is not None:
            _log.warning("%s", warning, extra={"function": name})


def substitution(runtime: str) -> str | None:
    """What to warn of when another version runs a function than it names."""
    found = find(runtime)
    if found is None or found.exact:
        return None
    language = understood(runtime).language
    return f"there is no {runtime} on this machine: {language} {found.tool.version} ({found.tool.path}) runs it"


def _without_client(runtime: str, code: Path, interpreter: str) -> tuple[str, str] | None:
    language = understood(runtime).language
    if language == "nodejs" and not (code / "node_modules" / "aws-lambda-ric").is_dir():
        return (
            f"RuntimeClient is aws, and there is no aws-lambda-ric in {code}/node_modules",
            "npm install aws-lambda-ric",
        )
    if language == "python" and not _has_client(interpreter, code):
        text = f"RuntimeClient is aws, and {interpreter} finds no awslambdaric, neither its own nor one in {code}"
        return text, "pip install awslambdaric"
    return None


@functools.cache
def _has_client(interpreter: str, code: Path) -> bool:
    try:
        probe = subprocess.run(  # noqa: S603 - the interpreter was found by its name
            [interpreter, "-c", _IS_THERE], cwd=code, stdin=subprocess.DEVNULL, timeout=_PROBE_SECONDS, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return probe.returncode == 0
