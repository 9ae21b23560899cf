"""An HTTP request as events are made of it: its parts, as they were sent. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl

Fields = Sequence[tuple[str, str]]
"""Headers or query parameters in order, repeats kept."""


@dataclass(frozen=True, slots=True)
class FrontRequest:
    """One request, complete."""

    method: str
    path: str
    """Percent-encoded, as it was sent, without what only leads to the URL or API; starts with a slash."""
    query: str
    """Percent-encoded, as it was sent."""
    headers: Fields
    """Names as they were sent."""
    body: bytes
    source_ip: str
    scheme: str
    port: int
    """Of this machine, that was called."""
    protocol: str
    """Such as `HTTP/1.1`."""
    request_id: str
    time: float
    """Seconds since the epoch when it came in."""
    trace_id: str
    """Of X-Ray, as the header has it: `Root=1-…`."""

    def header(self, name: str) -> str | None:
        """The last value of a header, by its name in lower case."""
        return next((value for key, value in reversed(self.headers) if key.lower() == name), None)

    @property
    def user_agent(self) -> str | None:
        """What the client says it is."""
        return self.header("user-agent")

    @property
    def parameters(self) -> list[tuple[str, str]]:
        """The query's parameters, decoded."""
        return parse_qsl(self.query, keep_blank_values=True, errors="replace")

    def forwarded(self) -> list[tuple[str, str]]:
        """Headers with those that a front adds: whom it speaks for, and the trace."""
        before = [value for key, value in self.headers if key.lower() == "x-forwarded-for"]
        added = {
            "X-Amzn-Trace-Id": self.trace_id,
            "X-Forwarded-For": ", ".join([*before, self.source_ip]),
            "X-Forwarded-Port": str(self.port),
            "X-Forwarded-Proto": self.scheme,
        }
        ours = {name.lower() for name in added}
        return [*(field for field in self.headers if field[0].lower() not in ours), *added.items()]


def joined(fields: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Each name once, repeated values with a comma between (payload 2.0)."""
    return {name: ",".join(values) for name, values in gathered(fields).items()}


def last(fields: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Each name once, with its last value (payload 1.0). Names that differ by case only are one."""
    return {name: values[-1] for name, values in gathered(fields, fold=True).items()}


def gathered(fields: Iterable[tuple[str, str]], *, fold: bool = False) -> dict[str, list[str]]:
    """Each name with all its values; with `fold` the first spelling of a name counts for all."""
    spelt: dict[str, str] = {}
    found: dict[str, list[str]] = {}
    for name, value in fields:
        found.setdefault(spelt.setdefault(name.lower(), name) if fold else name, []).append(value)
    return found


def media_type(value: str | None) -> str:
    """Type and subtype of a Content-Type or the first of an Accept header, in lower case; empty without one."""
    return (value or "").partition(",")[0].partition(";")[0].strip().lower()


def text_of(raw: bytes) -> str:
    """A header's value: UTF-8 where it is, else every byte a character."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")
