"""Counts the inputs that were tried, for the report at the end of a run."""

from __future__ import annotations

from collections import Counter

TRIED: Counter[str] = Counter()


def tried(kind: str, number: int = 1) -> None:
    """Count inputs of a kind, such as `frames` or `frames: refused`."""
    TRIED[kind] += number
