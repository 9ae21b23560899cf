"""`poller run --debug FUNCTION[:PORT]`: which function waits for a debugger, and whether it can."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Mapping
from typing import NamedTuple

from poller.errors import Problem
from poller.invocation_request import LATEST
from poller.model import FunctionConfiguration
from poller.runtime.debugger import HOST, PORTS
from poller.runtime.runtimes import understood
from poller.runtime.toolchains import find
from poller.settings import Settings
from poller.validation import closest

_PROBE_SECONDS = 30
_PROBE = "import importlib.util, sys; sys.exit(importlib.util.find_spec('debugpy') is None)"


class Debugged(NamedTuple):
    """What the setting says."""

    function_name: str
    port: int | None
    """None is the one that debuggers of the function's language look at."""


def debugged(settings: Settings) -> Debugged | None:
    """The function that waits for a debugger; None when none does."""
    if not settings.Debug:
        return None
    name, colon, port = settings.Debug.partition(":")
    return Debugged(name, int(port) if colon else None)


def debug_port(settings: Settings, configuration: FunctionConfiguration) -> int | None:
    """Where this function waits for a debugger; None when it does not."""
    found = debugged(settings)
    if found is None or (found.function_name, LATEST) != (configuration.function_name, configuration.version):
        return None
    return found.port or PORTS.get(understood(configuration.runtime).language)


def debug_problem(settings: Settings, functions: Mapping[str, FunctionConfiguration]) -> Problem | None:
    """Why the function cannot be debugged here. Blocks for the start of its interpreter.

    Args:
        settings: whose `Debug` is meant.
        functions: all of them, by name.
    """
    found = debugged(settings)
    if found is None:
        return None
    configuration = functions.get(found.function_name)
    if configuration is None:
        hint = closest(found.function_name, functions) or f"there are {', '.join(functions) or 'none'}"
        return Problem("Debug", f"there is no function {found.function_name}", hint)
    if settings.Workers > 1:
        return Problem("Debug", "needs one process", "set Workers to 1")
    language = understood(configuration.runtime).language
    if language not in PORTS:
        return Problem("Debug", f"{configuration.runtime} has no way to wait for a debugger")
    if language == "python" and (problem := _python_problem(configuration)) is not None:
        return problem
    return _port_problem(found.port or PORTS[language])


def _port_problem(port: int) -> Problem | None:
    """A debugger that finds somebody else there would be told nothing, and each init would fail."""
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((HOST, port))
        except OSError as error:
            hint = "give another one, as in FUNCTION:5700"
            return Problem("Debug", f"cannot listen on port {port} for a debugger: {error.strerror}", hint)
    return None


def _python_problem(configuration: FunctionConfiguration) -> Problem | None:
    if configuration.runtime_client != "poller":
        hint = "take RuntimeClient: aws away meanwhile"
        return Problem("Debug", "AWS's client has no way to wait for a debugger", hint)
    runtime = find(configuration.runtime)
    assert runtime is not None, "Python runs this program"
    python = runtime.tool.path
    probe = subprocess.run(  # noqa: S603 - the person's own interpreter
        [python, "-c", _PROBE], cwd=configuration.code, stdin=subprocess.DEVNULL, timeout=_PROBE_SECONDS, check=False
    )
    if probe.returncode:
        hint = f"{python} -m pip install debugpy"
        return Problem("Debug", f"debugpy is not there for the function's interpreter ({python})", hint)
    return None
