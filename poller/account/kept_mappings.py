"""Event source mappings that calls made, kept so that they are there again at the next start, under the same UUID.

What is kept is the request, so a mapping is completed from the settings anew at each start. One that cannot be
completed then stays, Disabled and with the reason, until it can.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from poller.account.documents import Change, Documents
from poller.mapping_calls import values_of
from poller.resources import EventSourceMapping

KIND = "EventSourceMapping"


@dataclass(frozen=True, slots=True)
class KeptMapping:
    """One mapping as it was asked for."""

    request: Mapping[str, Any]
    """AWS's properties, those of updates included."""
    extensions: Mapping[str, Any]
    """As `EventSources` of the settings has them."""
    last_modified: float
    """Seconds since the epoch."""

    def document(self) -> dict[str, Any]:
        """As it is kept."""
        return {
            "Request": dict(self.request),
            "Extensions": dict(self.extensions),
            "LastModified": self.last_modified,
        }


class KeptMappings:
    """The mappings on the disk, by UUID. Changes are the control plane's to make, one at a time; they block."""

    def __init__(self, documents: Documents, time: Callable[[], float]) -> None:
        """Read what was kept.

        Raises:
            StateError: it cannot be read.
        """
        self._documents = documents
        self._time = time
        self._kept = {
            identifier: KeptMapping(item["Request"], item["Extensions"], item["LastModified"])
            for identifier, item in documents.all(KIND).items()
        }

    def all(self) -> Iterator[tuple[str, KeptMapping]]:
        """Every mapping by its UUID, in the order in which they were made."""
        yield from self._kept.items()

    def put(
        self, mapping: EventSourceMapping, extensions: Mapping[str, Any] | None, also: list[Change] | None = None
    ) -> float:
        """Keep a mapping as it shall be from now on; returns its LastModified.

        Args:
            mapping: complete.
            extensions: as they were given; None for those it had.
            also: what else is to be written with it.

        Raises:
            StateError: nothing was changed.
        """
        before = self._kept.get(mapping.UUID)
        given = extensions if extensions is not None else before.extensions if before else {}
        kept = KeptMapping(values_of(mapping), given, self._time())
        self._documents.change([Change(KIND, mapping.UUID, kept.document()), *(also or ())])
        self._kept = {**self._kept, mapping.UUID: kept}
        return kept.last_modified

    def remove(self, identifier: str, also: list[Change]) -> None:
        """Keep a mapping no more.

        Raises:
            StateError: nothing was changed.
        """
        self._documents.change([Change(KIND, identifier, None), *also])
        self._kept = {name: item for name, item in self._kept.items() if name != identifier}
