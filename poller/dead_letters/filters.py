"""Which dead letters a command is about: by error, time and key; and what a redrive did and may do next. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from poller.dead_letters.letter import Letter

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


@dataclass(frozen=True, slots=True)
class Filter:
    """What a letter has to be; all of it."""

    error: str = ""
    """Part of the error's type, its message or the condition, in capitals or not."""
    since: float | None = None
    """Seconds since the epoch; a letter that tells no time fails both."""
    until: float | None = None
    key: bytes | None = None
    """The whole key of one of its records, or the messageId."""

    def matches(self, letter: Letter) -> bool:
        """Whether the command is about this letter."""
        if self.key is not None and self.key not in letter.keys:
            return False
        if self.since is not None and (letter.time is None or letter.time < self.since):
            return False
        if self.until is not None and (letter.time is None or letter.time >= self.until):
            return False
        wanted = self.error.lower()
        return any(wanted in text.lower() for text in (letter.error_type, letter.error_message, letter.condition))


def moment(text: str, now: float) -> float:
    """`2h` (ago, also s, m and d) or an ISO time, by default in this machine's zone, in seconds since the epoch.

    Raises:
        ValueError: with a text for a person.
    """
    ago = re.fullmatch(r"([0-9]{1,9})([smhd])", text)
    if ago:
        return now - int(ago[1]) * _UNITS[ago[2]]
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is neither a time (2025-11-25T10:00) nor an age (30m, 2h, 7d)") from None


def age(seconds: float) -> str:
    """`45s`, `12m`, `3h`, `8d`: the largest unit that fits."""
    unit = next((unit for unit in ("d", "h", "m") if seconds >= _UNITS[unit]), "s")
    return f"{max(0, int(seconds / _UNITS[unit]))}{unit}"


def due(sent: int, rate: float | None) -> float:
    """Seconds after the start at which the next may be sent, when `sent` are."""
    return sent / rate if rate else 0.0


def next_batch(rate: float | None, most: int) -> int:
    """How many letters to send together: at most a second's worth, so that the rate is even."""
    return most if rate is None else max(1, min(most, int(rate)))
