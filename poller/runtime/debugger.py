"""How a function's process is told to wait for a debugger, by its language: with variables. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from poller.model import FunctionConfiguration
from poller.runtime.runtimes import Language, understood

HOST = "127.0.0.1"

PORTS: Mapping[Language, int] = {"python": 5678, "nodejs": 9229, "java": 5005}
"""Where a debugger looks when nobody names a port. Other languages have no way to wait for one."""

PYTHON_PORT = "_POLLER_DEBUG_PORT"
"""Variable that `bootstrap` takes away before the handler is imported."""


def debugger_variables(configuration: FunctionConfiguration) -> dict[str, str]:
    """Variables that have the process listen for a debugger, and wait for it; none when nobody wants to debug."""
    port = configuration.debug_port
    if port is None:
        return {}
    match understood(configuration.runtime).language:
        case "python":
            # The second stops a warning about Python's own frozen modules, which nobody steps through.
            return {PYTHON_PORT: str(port), "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
        case "nodejs":
            return _added(configuration, "NODE_OPTIONS", f"--inspect-brk={HOST}:{port}")
        case "java":
            agent = f"-agentlib:jdwp=transport=dt_socket,server=y,suspend=y,address={HOST}:{port}"
            return _added(configuration, "JAVA_TOOL_OPTIONS", agent)
        case "provided":
            return {}


def _added(configuration: FunctionConfiguration, name: str, option: str) -> dict[str, str]:
    return {name: f"{configuration.environment.get(name, '')} {option}".strip()}
