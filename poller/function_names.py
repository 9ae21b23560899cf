"""How calls and templates name a function (A.1, C.1). Pure."""

from __future__ import annotations


def named_function(text: str) -> tuple[str, str]:
    """Name and qualifier from a name, or a full or partial ARN, with a qualifier or without.

    The qualifier is empty where there is none, and for `$LATEST`.
    """
    parts = text.split(":")
    if "function" in parts[:-1]:
        parts = parts[parts.index("function") + 1 :]
    name, qualifier = parts[0], ":".join(parts[1:])
    return name, "" if qualifier == "$LATEST" else qualifier
