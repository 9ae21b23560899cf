"""Odd values: JSON with everything in it that JSON, Python or a person may bring, and a guard against hanging."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

PATIENCE = 60
"""Seconds after which an input counts as one that hangs: far beyond what any of them takes on a loaded machine."""

any_text = st.text(st.characters(exclude_categories=()), max_size=12)
"""Lone surrogates and NUL included."""
utf8_text = st.text(max_size=12)

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | any_text
    | st.sampled_from(["", "²", "1e999", "NaN", "-0", "\0", "\ud800", "x" * 300, 10**400, float("nan"), float("inf")])
)


def tree(leaves: st.SearchStrategy[Any], names: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    """Lists and mappings of such leaves."""
    return st.recursive(
        leaves,
        lambda below: st.lists(below, max_size=4) | st.dictionaries(names, below, max_size=4),
        max_leaves=12,
    )


any_json = tree(scalars, any_text)


def nested(depth: int, opening: bytes = b"[", closing: bytes = b"]", core: bytes = b"1") -> bytes:
    """JSON that deep, around Python's own limit a matter of where it is read."""
    return opening * depth + core + closing * depth


depths = st.integers(850, 1000) | st.sampled_from([10, 100, 5_000, 100_000])


@contextlib.contextmanager
def no_hang() -> Iterator[None]:
    """Ends what does not end by itself; only on the main thread."""

    def give_up(_signal: int, _frame: object) -> None:
        raise AssertionError(f"it did not end within {PATIENCE} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(PATIENCE)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
