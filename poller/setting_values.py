"""Values of single settings: what a text may be, and what `auto` means on this machine."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from poller.validation import describe


def reloads(wanted: str) -> bool:
    """What `Reload` means on this machine."""
    return find_spec("watchfiles") is not None if wanted == "auto" else wanted == "true"


def watchable(value: str) -> str:
    """Validator of `Reload`."""
    if value == "true" and not reloads("auto"):
        raise ValueError("watchfiles is not installed (pip install 'poller[dev]')")
    return value


def debug_function(value: str) -> str:
    """Validator of `Debug`."""
    name, colon, port = value.partition(":")
    if value and (not name or (colon and not (port.isascii() and port.isdigit() and 0 < int(port) <= 65_535))):  # noqa: PLR2004
        raise ValueError(f"{describe(value)} is not FUNCTION or FUNCTION:PORT")
    return value


def switch(value: Any) -> Any:
    """Validator of what may be true, false or auto."""
    return str(value).lower() if isinstance(value, bool) else value
