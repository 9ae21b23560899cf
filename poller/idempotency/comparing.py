"""What differs between two invocations of the same event, as far as it shows on this machine. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

SHOWN = 300
"""Characters of a value in a difference."""

MOST_LINES = 5
"""Differing lines or files that are shown of one kind."""

_PLATFORM = re.compile(r"(INIT_START|INIT_REPORT|START|END|REPORT) |\{\"time\":\"[^\"]*\",\"type\":\"platform\.")

_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?Z?")

Files = Mapping[str, str]
"""What each file holds, as a digest, by its path."""


@dataclass(frozen=True, slots=True)
class Run:
    """One invocation, and what was there after it."""

    payload: str
    function_error: str | None
    lines: Sequence[str]
    """What the handler wrote, the platform's lines left out."""
    temporary: Files
    """Below TMPDIR."""
    code: Files
    """Below the working folder."""


class Difference(NamedTuple):
    """Something that the second invocation shows and the first does not, or the other way round."""

    what: str
    first: str
    second: str


def handler_lines(lines: Sequence[str]) -> list[str]:
    """Those of a log that are not the platform's; a logger's times are called so."""
    return [_TIME.sub("<time>", line) for line in lines if not _PLATFORM.match(line)]


def without_names(text: str, names: Mapping[str, str]) -> str:
    """A text in which what is new for every invocation (request id, folders) is called by its kind."""
    for name, kind in sorted(names.items(), key=lambda item: -len(item[0])):
        text = text.replace(name, kind)
    return text


def differences(first: Run, second: Run) -> list[Difference]:
    """Everything that differs."""
    found: list[Difference] = []
    if first.function_error != second.function_error or _value(first.payload) != _value(second.payload):
        found.append(Difference("result", _shown(first.payload), _shown(second.payload)))
    if list(first.lines) != list(second.lines):
        found += _lines(first.lines, second.lines)
    found += _files("file in TMPDIR", first.temporary, second.temporary)
    found += _files("file in the working folder", first.code, second.code)
    return found


def _value(payload: str) -> Any:
    try:
        return json.loads(payload) if payload else None
    except (ValueError, RecursionError):
        return payload


def _lines(first: Sequence[str], second: Sequence[str]) -> list[Difference]:
    pairs = [
        (_at(first, number), _at(second, number))
        for number in range(max(len(first), len(second)))
        if _at(first, number) != _at(second, number)
    ]
    found = [Difference("output", _shown(one), _shown(other)) for one, other in pairs[:MOST_LINES]]
    return [*found, *_more("output", len(pairs))]


def _at(lines: Sequence[str], number: int) -> str:
    return lines[number] if number < len(lines) else "(no line)"


def _files(what: str, first: Files, second: Files) -> list[Difference]:
    names = [name for name in sorted({*first, *second}) if first.get(name) != second.get(name)]
    found = [
        Difference(
            f"{what}: {name}",
            _state(first.get(name)),
            "other content" if name in first and name in second else _state(second.get(name)),
        )
        for name in names[:MOST_LINES]
    ]
    return [*found, *_more(what, len(names))]


def _state(digest: str | None) -> str:
    return "(not there)" if digest is None else "there"


def _more(what: str, number: int) -> list[Difference]:
    return [Difference(what, "", f"and {number - MOST_LINES} more")] if number > MOST_LINES else []


def _shown(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"
