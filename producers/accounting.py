"""What became of every message of one run: the sums, and whether each is where it should be. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

NAMED = 3
"""Identities that a complaint names at most."""


@dataclass(frozen=True, slots=True)
class Account:
    """The sums of one mapping. Every produced message is in exactly one of the four."""

    produced: int
    handled: int
    dead_lettered: int
    waiting: int
    lost: int
    repeated: int
    """Messages a handler got again after it had stored them: at least once, not exactly once."""
    per_second: float | None
    """Stored messages a second, by the handlers' own clock; None when all came in one batch."""
    complaints: tuple[str, ...]
    """What should not be, in words."""

    @property
    def good(self) -> bool:
        """Everything is worked off, and every message is where it belongs."""
        return not (self.waiting or self.lost or self.complaints)


def account(
    produced: Mapping[str, bool],
    handled: Mapping[str, Mapping[str, Any]],
    dead: Collection[str],
    waiting: Collection[str] | int,
    totals: Mapping[str, str] | None = None,
) -> Account:
    """Add it up.

    Args:
        produced: identity of every confirmed message, and whether it is poison.
        handled: rows that the handlers stored, by identity: `at`, `deliveries`, perhaps `total`.
        dead: identities in the dead-letter topic or queue.
        waiting: what the broker has not seen finished: identities, or a number where it does not say which.
        totals: what the handler should have worked out, by identity, where it works something out.
    """
    dead = set(dead) & produced.keys()
    stored = handled.keys() & produced.keys()
    missing = produced.keys() - stored - dead
    still = min(waiting, len(missing)) if isinstance(waiting, int) else len(missing & set(waiting))
    good = {identity for identity, poison in produced.items() if not poison}
    wrong = {identity for identity in stored & (totals or {}).keys() if handled[identity]["total"] != totals[identity]}  # type: ignore[index]
    complaints = (
        complain("handled although poison", stored - good),
        complain("dead-lettered although good", dead & good),
        complain("handled with a wrong result", wrong),
    )
    return Account(
        produced=len(produced),
        handled=len(stored - dead),
        dead_lettered=len(dead),
        waiting=still,
        lost=len(missing) - still,
        repeated=sum(handled[identity]["deliveries"] > 1 for identity in stored),
        per_second=per_second([float(handled[identity]["at"]) for identity in stored]),
        complaints=tuple(complaint for complaint in complaints if complaint),
    )


def complain(what: str, identities: Collection[str]) -> str:
    """A sentence that names some of them; empty for none."""
    if not identities:
        return ""
    some = ", ".join(sorted(identities)[:NAMED])
    return f"{len(identities)} {what}: {some}{', …' if len(identities) > NAMED else ''}"


def per_second(times: list[float]) -> float | None:
    """Rate between the first and the last batch, which does not count the first: its beginning is not known."""
    if not times or min(times) == max(times):
        return None
    first = min(times)
    return sum(time > first for time in times) / (max(times) - first)
