"""Levels of log events in JSON format (E.5): which are shown, and what level a line of the handler's has. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping

APPLICATION_LEVELS = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL")

_RANK: Mapping[str, int] = {
    **{name: rank for rank, name in enumerate(APPLICATION_LEVELS)},
    "WARNING": 3,  # Python's names
    "CRITICAL": 5,
}
_DEFAULT = _RANK["INFO"]


def is_shown(level: str, least: str) -> bool:
    """Whether an event of this level is written where `least` is the least important one that is."""
    return _RANK[level] >= _RANK[least]


class ApplicationLevel:
    """Which lines of the handler's output are written.

    A line that is a JSON object says its level itself, under `level`. Any other, and one that names none of Lambda's
    levels, has level INFO.
    """

    def __init__(self, least: str) -> None:
        self._least = _RANK[least]

    def shows(self, line: bytes) -> bool:
        """Whether this line is important enough."""
        if not line.startswith(b"{"):
            return self._least <= _DEFAULT
        return _level_of(line) >= self._least


def _level_of(line: bytes) -> int:
    try:
        level = json.loads(line)["level"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return _DEFAULT
    return _RANK.get(level.upper(), _DEFAULT) if isinstance(level, str) else _DEFAULT
