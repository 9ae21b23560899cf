"""The runtimes that a function may name (A.7, E.2), by the language that runs it. Pure."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

Language = Literal["python", "nodejs", "java", "provided"]

RUNTIMES = (
    "python3.9",
    "python3.10",
    "python3.11",
    "python3.12",
    "python3.13",
    "python3.14",
    "nodejs18.x",
    "nodejs20.x",
    "nodejs22.x",
    "nodejs24.x",
    "java11",
    "java17",
    "java21",
    "java25",
    "provided.al2",
    "provided.al2023",
)
"""AWS's names. Of the interpreted ones the machine has to have an interpreter."""

_NAME = re.compile(r"(python|nodejs|java|provided)\.?(.*)")


class RuntimeName(NamedTuple):
    """A runtime's name, understood."""

    language: Language
    version: str
    """`3.13`, `20`, `17` or `al2023`."""


def understood(runtime: str) -> RuntimeName:
    """The parts of a name that is one of RUNTIMES, or is like one.

    Raises:
        ValueError: no language that is run here.
    """
    found = _NAME.fullmatch(runtime)
    if found is None:
        raise ValueError(f"{runtime} is no runtime of a language that is run here")
    return RuntimeName(found[1], found[2].removesuffix(".x"))  # type: ignore[arg-type]
