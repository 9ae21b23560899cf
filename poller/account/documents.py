"""Where what calls have made is kept: JSON documents by kind and key. The protocol, and the kind that forgets.

A kind is the resource's name in AWS's words (`Function`, `Alias`, `FunctionUrlConfig`, `EventSourceMapping`), a key is
what it is found by, such as `orders:$LATEST`. Whoever keeps a kind reads it whole at the start and has it in memory;
afterwards it only writes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

Document = Mapping[str, Any]
"""JSON values only."""


class Change(NamedTuple):
    """One document put in place, or taken away where it is None."""

    kind: str
    key: str
    document: Document | None


class Documents(Protocol):
    """Any thread."""

    def all(self, kind: str) -> dict[str, dict[str, Any]]:
        """Every document of a kind by its key, in the order in which they were first put."""
        ...

    def change(self, changes: Sequence[Change]) -> None:
        """All of these changes or none; they are durable when it returns. Blocks for the disk.

        Raises:
            StateError: nothing was changed; the caller answers with that and changes nothing in memory either.
        """
        ...


class ForgettingDocuments:
    """Documents that end with the process: for tests, and where there is no state folder."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], str] = {}

    def all(self, kind: str) -> dict[str, dict[str, Any]]:
        """As `Documents`."""
        return {key: json.loads(text) for (its_kind, key), text in self._kept.items() if its_kind == kind}

    def change(self, changes: Sequence[Change]) -> None:
        """As `Documents`."""
        kept = dict(self._kept)
        for kind, key, document in changes:
            if document is None:
                kept.pop((kind, key), None)
            else:
                kept[kind, key] = json.dumps(document)
        self._kept = kept
