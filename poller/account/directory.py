"""Which functions an account has, for whatever hangs on one: configurations, addresses, schedules."""

from __future__ import annotations

from typing import Protocol


class Directory(Protocol):
    """Any thread; does not block."""

    account_id: str
    region: str

    def has(self, function_name: str, qualifier: str = "") -> bool:
        """Whether there is such a function, and it has such a version or alias; empty and `$LATEST` it always has."""
        ...

    def names(self) -> list[str]:
        """Of all functions."""
        ...

    def is_declared(self, function_name: str) -> bool:
        """Whether the template declares the function: calls may change such a one only with AllowDrift."""
        ...
