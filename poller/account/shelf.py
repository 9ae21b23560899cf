"""The documents of one kind: what calls made stands on the disk, what the template declares in memory only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from poller.account.documents import Change, Document, Documents
from poller.api_errors import declared_by_template


class Ownership(NamedTuple):
    """Whose a document is."""

    of_template: Callable[[str], str]
    """By the document's key: what of the template it belongs to, such as `function orders`; empty when to nothing."""
    allow_drift: bool
    """Whether calls may change what is the template's, until the next start."""


class Shelf:
    """Reading is for any thread and blocks for nothing; changes are the caller's to do one at a time.

    Args:
        kind: of the documents.
        documents: where those are kept that calls made.
        ownership: which are the template's.
        declared: what the template says, by key.
    """

    def __init__(
        self, kind: str, documents: Documents, ownership: Ownership, declared: Mapping[str, Document] | None = None
    ) -> None:
        self._kind = kind
        self._documents = documents
        self._ownership = ownership
        self._declared: Mapping[str, Document] = dict(declared or {})
        self._kept: Mapping[str, Document] = documents.all(kind)
        # Both are replaced, never changed, so that anybody may look at any time.
        self._recallable: Mapping[str, Document] = {}
        """What the template declares and was forgotten last, as the disk has none of it."""

    def get(self, key: str) -> Document | None:
        """The document; None when there is none."""
        return (self._declared if self._ownership.of_template(key) else self._kept).get(key)

    def all(self) -> dict[str, Document]:
        """Every document by its key. What calls once made for a name that the template has taken since is not here."""
        kept = {key: document for key, document in self._kept.items() if not self._ownership.of_template(key)}
        return {**self._declared, **kept}

    def put(self, key: str, document: Document | None) -> None:
        """Have that document, or none; durable when it returns, if it is not the template's. Blocks for the disk.

        Raises:
            ApiError: 409, it is the template's.
            StateError: nothing was changed.
        """
        self.refuse_declared(key)
        if self._ownership.of_template(key):
            self._declared = _changed(self._declared, key, document)
            return
        self._documents.change([Change(self._kind, key, document)])
        self._kept = _changed(self._kept, key, document)

    def refuse_declared(self, key: str) -> None:
        """Raises ApiError: 409, what has this key is the template's, and may not be changed."""
        what = self._ownership.of_template(key)
        if what and not self._ownership.allow_drift:
            raise declared_by_template(what)

    def adopt(self, key: str, document: Document) -> Change:
        """Have a document in memory; the change is the caller's to write, beside others of its own."""
        self._recallable = {}  # what was forgotten before was written
        self._kept = _changed(self._kept, key, document)
        return Change(self._kind, key, document)

    def forget(self, belongs: Callable[[str], bool]) -> list[Change]:
        """Have no such documents in memory any more; the changes are the caller's to write, beside others of its own.

        Args:
            belongs: says by its key which document goes.
        """
        gone = [key for key in self._kept if belongs(key)]
        self._kept = {key: document for key, document in self._kept.items() if key not in gone}
        self._recallable = {key: document for key, document in self._declared.items() if belongs(key)}
        self._declared = {key: document for key, document in self._declared.items() if not belongs(key)}
        return [Change(self._kind, key, None) for key in gone]

    def recall(self) -> None:
        """Read the disk anew: what was adopted or forgotten last could not be written.

        Raises:
            StateError: it cannot be read. What the template declares is back all the same.
        """
        self._declared, self._recallable = {**self._declared, **self._recallable}, {}
        self._kept = self._documents.all(self._kind)


def _changed(before: Mapping[str, Document], key: str, document: Document | None) -> Mapping[str, Document]:
    if document is None:
        return {name: item for name, item in before.items() if name != key}
    return {**before, key: document}
