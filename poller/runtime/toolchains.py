"""What this machine has to run functions with: interpreters of Python, Node.js and Java, by asking each what it is.

Every answer is kept: a program is started once, when the first function wants it.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from poller.runtime.runtimes import RUNTIMES, Language, understood

_PROBE_SECONDS = 10
_NEWEST_PYTHON = 15


class Tool(NamedTuple):
    """A program that was seen to run."""

    path: str
    version: str
    """Such as `3.13`, `20` or `17`."""


RUNNING = Tool(sys.executable, f"{sys.version_info[0]}.{sys.version_info[1]}")
"""The Python that runs this program."""


class Found(NamedTuple):
    """What serves a runtime."""

    tool: Tool
    exact: bool
    """Whether it is the version that was asked for, or the nearest."""


def find(runtime: str) -> Found | None:
    """The program for a runtime: of its very version, else of the nearest; None when there is none of its language.

    Blocks for the start of some programs, once per runtime. Of `provided` runtimes there is nothing to find.
    """
    name = understood(runtime)
    if name.language == "provided":
        return Found(Tool("bootstrap", name.version), exact=True)
    return _find(name.language, name.version)


@functools.cache
def _find(language: Language, version: str) -> Found | None:
    if language == "python":
        return _python(version)
    tools = _nodes() if language == "nodejs" else _javas()
    nearest = min(tools, key=lambda tool: _distance(tool.version, version), default=None)
    return None if nearest is None else Found(nearest, exact=nearest.version == version)


def forget() -> None:
    """Look anew the next time: PATH has changed."""
    _find.cache_clear()


def machine() -> str:
    """What this machine has, for an error. Blocks for the start of some programs."""
    found = []
    for runtime in RUNTIMES:
        serves = find(runtime)
        if serves is not None and serves.exact:
            found.append(runtime)
    return ", ".join(found)


def _python(version: str) -> Found:
    """The running one comes first of its version: it has a virtual environment's packages.

    Others are looked for by their names on PATH, where they may be a version manager's stand-ins that start nothing.
    """
    if version == RUNNING.version:
        return Found(RUNNING, exact=True)
    names = sorted((f"3.{minor}" for minor in range(9, _NEWEST_PYTHON + 1)), key=lambda item: _distance(item, version))
    for candidate in dict.fromkeys((version, *names)):
        if candidate == RUNNING.version:
            return Found(RUNNING, exact=False)
        path = shutil.which(f"python{candidate}")
        told = path and _told([path, "-c", "import sys; print(sys.executable); print('%d.%d' % sys.version_info[:2])"])
        lines = told.splitlines() if told else []
        if path and len(lines) == 2:  # noqa: PLR2004 - as many as are printed
            return Found(Tool(lines[0] or path, lines[1]), exact=lines[1] == version)
    return Found(RUNNING, exact=False)


def _nodes() -> list[Tool]:
    majors = [understood(name).version for name in RUNTIMES if name.startswith("nodejs")]
    names = ["node", "nodejs", *(f"node{major}" for major in majors)]
    return _tools(names, "--version", r"v(\d+)\.")


def _javas() -> list[Tool]:
    home = os.environ.get("JAVA_HOME")
    own = [str(Path(home) / "bin" / "java")] if home else []
    return _tools([*own, "java"], "-version", r'version "(?:1\.)?(\d+)')


def _tools(names: Iterable[str], option: str, pattern: str) -> list[Tool]:
    tools: Mapping[str, None] = dict.fromkeys(filter(None, map(shutil.which, names)))
    found = []
    for path in tools:
        version = re.search(pattern, _told([path, option]) or "")
        if version is not None:
            found.append(Tool(path, version[1]))
    return found


def _told(command: Sequence[str]) -> str | None:
    """What a program says on its output, Java's on the other; None when it does not run."""
    try:
        probe = subprocess.run(  # noqa: S603 - the name is a runtime's, the path is the person's own
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_PROBE_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return probe.stdout or probe.stderr


def _distance(version: str, wanted: str) -> tuple[int, bool]:
    """How far a version is from the wanted one; of two as far, the newer one is nearer."""
    difference = _number(version) - _number(wanted)
    return abs(difference), difference < 0


def _number(version: str) -> int:
    last = version.rpartition(".")[2]
    return int(last) if last.isdigit() else 0
