"""A function with all that belongs to it: its versions and aliases, as one value, and what publishing makes of it."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from poller.account.aliases import Alias
from poller.account.versions import FunctionVersion, order
from poller.invocation_request import LATEST
from poller.model import FunctionConfiguration

FUNCTION, ALIAS = "Function", "Alias"
"""Kinds of documents; keys are `orders:$LATEST`, `orders:3` and `orders:live`."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A function with all that belongs to it; replaced, never changed."""

    latest: FunctionVersion
    published: Mapping[str, FunctionVersion] = field(default_factory=dict)
    """By number, in the order in which they were published."""
    aliases: Mapping[str, Alias] = field(default_factory=dict)
    last_number: int = 0
    """Of the version that was published last; numbers are never used again."""
    declared: FunctionConfiguration | None = None
    """As the template has it, of one that the template declares."""

    @property
    def is_declared(self) -> bool:
        """Whether it is the template's."""
        return self.declared is not None

    def version(self, qualifier: str) -> FunctionVersion | None:
        """What a qualifier means; of an alias its main version."""
        if qualifier in {"", LATEST}:
            return self.latest
        alias = self.aliases.get(qualifier)
        number = qualifier if alias is None else alias.version
        return self.latest if number == LATEST else self.published.get(number)

    def versions(self) -> Iterable[FunctionVersion]:
        """`$LATEST` first."""
        return self.latest, *self.published.values()

    def documents(self) -> dict[tuple[str, str], dict[str, object]]:
        """All it is kept as, by kind and key."""
        kept: dict[tuple[str, str], dict[str, object]] = {}
        for version in self.versions():
            kept[FUNCTION, version.key] = version.document()
        kept[FUNCTION, self.latest.key]["LastVersion"] = self.last_number
        for alias in self.aliases.values():
            kept[ALIAS, f"{self.latest.name}:{alias.name}"] = alias.document()
        return kept


def published(
    entry: Entry, latest: FunctionVersion, now: float, description: str | None = None
) -> tuple[Entry, FunctionVersion]:
    """The function with a version of what `$LATEST` is, and that version: the last one, if nothing has changed since.

    Args:
        entry: as it is.
        latest: `$LATEST`, with code that stays.
        now: seconds since the epoch.
        description: of the version, instead of that of `$LATEST`.
    """
    before = entry.published.get(str(entry.last_number))
    if before is not None and latest.is_as_published(before):
        return entry, before
    properties = dict(latest.properties)
    if description is not None:
        properties["Description"] = description
    version = replace(
        latest,
        version=str(entry.last_number + 1),
        properties=properties,
        revision_id=new_revision(),
        last_modified=now,
        published_as=latest.properties["Description"],
    )
    versions = {**entry.published, version.version: version}
    return replace(entry, published=versions, last_number=entry.last_number + 1), version


def restored(versions: Mapping[str, Mapping[str, Any]], aliases: Mapping[str, Mapping[str, Any]]) -> Entry:
    """A function from all it was kept as, each by its key.

    Raises:
        LookupError, TypeError, ValueError, AttributeError: something else was kept under these names.
    """
    found = [FunctionVersion.of_document(key, document) for key, document in versions.items()]
    latest, *published = sorted(found, key=lambda version: order(version.version))
    return Entry(
        latest,
        {version.version: version for version in published},
        {key.rpartition(":")[2]: Alias.of_document(key.rpartition(":")[2], item) for key, item in aliases.items()},
        int(versions[f"{latest.name}:{LATEST}"]["LastVersion"]),
    )


def new_revision() -> str:
    """A RevisionId."""
    return str(uuid.UUID(int=random.getrandbits(128), version=4))
