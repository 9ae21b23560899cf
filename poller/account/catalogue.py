"""The functions of an account, each with its versions and aliases: in memory, in what runs, and in the documents.

A change is a whole new `Entry`. It is durable first, then it is what runs: whoever got an answer finds it so after any
end of the program. What the template declares is no document; where calls may change it (AllowDrift), they do so until
the next start.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from poller.account.documents import Change, Documents
from poller.account.entries import ALIAS, FUNCTION, Entry, restored
from poller.account.environments import Environments
from poller.account.packages import Packages
from poller.account.versions import FunctionVersion
from poller.api_errors import CONFLICT, NOT_FOUND, ApiError, declared_by_template
from poller.invocation_request import CalledFunction
from poller.model import FunctionConfiguration

CODE_IS_GONE = "The function's code is not there any more."

Deleted = Callable[[str, str], Sequence[Change]]
"""Told of a function, or with a qualifier of one version or alias, that goes; gives what else goes with it."""

_log = logging.getLogger(__name__)


class Catalogue:
    """Any thread. Whoever changes something holds `changing` from looking to `put`.

    Args:
        base: what all functions have that calls make, their account and region among it.
        documents: where those are kept.
        packages: where their code is.
        environments: what runs.
        allow_drift: let calls change what the template declares.
    """

    def __init__(
        self,
        base: FunctionConfiguration,
        documents: Documents,
        packages: Packages,
        environments: Environments,
        *,
        allow_drift: bool,
    ) -> None:
        self.account_id, self.region = base.account_id, base.region
        self._base = base
        self.packages = packages
        self.changing = threading.RLock()
        """One change at a time."""
        self._documents = documents
        self._environments = environments
        self._allow_drift = allow_drift
        self._entries: Mapping[str, Entry] = {}
        """Replaced, never changed."""
        self._deleted: list[tuple[Deleted, Callable[[], None]]] = []
        self._is_ours = False
        """Whether the state folder is known to be nobody else's, so that its packages may be removed."""
        self.also_used: Callable[[], set[str]] = set
        """Folders of packages that are no function's, but in use as well."""
        environments.on_finished.append(self.collect)

    # --- what there is ------------------------------------------------------------------------------------------------

    def names(self) -> list[str]:
        """In order."""
        return sorted(self._entries)

    def get(self, name: str) -> Entry | None:
        """A function; None when there is none of that name."""
        return self._entries.get(name)

    def has(self, name: str, qualifier: str) -> bool:
        """As `Directory`."""
        entry = self._entries.get(name)
        return entry is not None and entry.version(qualifier) is not None

    def can_run(self, name: str, qualifier: str) -> bool:
        """Whether there is such a function, version or alias, and its code."""
        entry = self._entries.get(name)
        version = None if entry is None else entry.version(qualifier)
        return version is not None and not version.failure

    def is_declared(self, name: str) -> bool:
        """As `Directory`."""
        entry = self._entries.get(name)
        return entry is not None and entry.is_declared

    def existing(self, called: CalledFunction) -> tuple[Entry, FunctionVersion]:
        """The function, and the version that the call means.

        Raises:
            ApiError: 404.
        """
        entry = self._entries.get(called.name)
        version = None if entry is None else entry.version(called.qualifier)
        if entry is None or version is None:
            raise ApiError(404, NOT_FOUND, f"Function not found: {called.arn}")
        return entry, version

    def changeable(self, called: CalledFunction) -> Entry:
        """The function, for a call that changes it.

        Raises:
            ApiError: 404; 409, the template declares it.
        """
        entry, _ = self.existing(called)
        if entry.is_declared and not self._allow_drift:
            raise declared_by_template(f"function {called.name}")
        return entry

    def refuse_unready(self, name: str, qualifier: str) -> None:
        """For a call that invokes.

        Raises:
            ApiError: 409; the function cannot run.
        """
        entry = self._entries.get(name)
        version = entry and entry.version(qualifier)
        if version and version.failure:
            text = "The operation cannot be performed at this time. The function is currently in the following state: "
            raise ApiError(409, CONFLICT, text + version.state, version.failure)

    def arn(self, name: str, qualifier: str = "") -> str:
        """Of a function, or of its version or alias."""
        arn = f"arn:aws:lambda:{self.region}:{self.account_id}:function:{name}"
        return f"{arn}:{qualifier}" if qualifier else arn

    def reserved(self, name: str) -> int | None:
        """ReservedConcurrentExecutions of a function, as it is now."""
        configuration = self._environments.configuration(name)
        return None if configuration is None else configuration.reserved_concurrent_executions

    # --- changes ------------------------------------------------------------------------------------------------------

    def on_deleted(self, callback: Deleted, recall: Callable[[], None] = lambda: None) -> None:
        """Have somebody told of what goes, before it goes; what they give is changed in the same transaction.

        Args:
            callback: gives the changes, and may forget at once.
            recall: called when nothing could be written, so that nothing has gone.
        """
        self._deleted.append((callback, recall))

    def put(self, entry: Entry, gone: Sequence[str] = (), also: Sequence[Change] = ()) -> None:
        """Have the function like this from now on; durable when it returns.

        Args:
            entry: the function.
            gone: versions and aliases of it that go with this change.
            also: what else is to be written with it.

        Raises:
            StateError: it could not be written, and nothing has changed.
        """
        name = entry.latest.name
        self._write(self._entries.get(name), entry, [*self._told(name, gone), *also])
        self._entries = {**self._entries, name: entry}
        self._run(entry)

    def remove(self, name: str) -> None:
        """Have the function no more, with all its versions and aliases.

        Raises:
            StateError: it could not be written, and nothing has changed.
        """
        self._write(self._entries[name], None, self._told(name, [""]))
        self._entries = {key: entry for key, entry in self._entries.items() if key != name}
        self._environments.remove(name)

    def collect(self) -> None:
        """Remove packages that nothing uses any more."""
        with self.changing:
            if self._is_ours:
                versions = [version for entry in self._entries.values() for version in entry.versions()]
                had = {str(folder) for version in versions for folder in version.folders}
                self.packages.collect(had | self._environments.folders() | self.also_used())

    def own(self) -> None:
        """Something was kept or restored, so the state folder is known to be nobody else's."""
        self._is_ours = True

    def _write(self, before: Entry | None, after: Entry | None, told: Sequence[Change]) -> None:
        old = {} if before is None or before.is_declared else before.documents()
        new = {} if after is None or after.is_declared else after.documents()
        changes = [Change(*key, document) for key, document in new.items() if old.get(key) != document]
        changes += [Change(*key, None) for key in old if key not in new]
        if not changes and not told:
            return
        try:
            self._documents.change([*changes, *told])
        except BaseException:
            with ExitStack() as all_of_them:  # where one fails, too
                for _, recall in self._deleted:
                    all_of_them.callback(recall)
            raise
        self._is_ours = True

    def _told(self, name: str, gone: Sequence[str]) -> list[Change]:
        return [change for qualifier in gone for callback, _ in self._deleted for change in callback(name, qualifier)]

    def _run(self, entry: Entry) -> None:
        base = entry.declared or self._base
        configurations = {version.version: version.configuration(base) for version in entry.versions()}
        self._environments.put(entry.latest.name, configurations, entry.aliases)

    # --- at the start -------------------------------------------------------------------------------------------------

    def declare(self, entries: Iterable[Entry]) -> None:
        """Have the template's functions."""
        for entry in entries:
            self._entries = {**self._entries, entry.latest.name: entry}
            self._run(entry)

    def restore(self) -> None:
        """Have what calls made before; what the template declares wins over a document of the same name.

        Raises:
            StateError: the documents cannot be read.
        """
        kept: dict[str, dict[str, dict[str, Any]]] = {}
        aliases: dict[str, dict[str, dict[str, Any]]] = {}
        for into, kind in ((kept, FUNCTION), (aliases, ALIAS)):
            for key, document in self._documents.all(kind).items():
                into.setdefault(key.rpartition(":")[0], {})[key] = document
        for name, documents in kept.items():
            if self.is_declared(name):
                _log.warning("function %s was made by calls, and the template declares it now: the template wins", name)
                continue
            try:
                entry = restored(documents, aliases.get(name, {}))
            except (LookupError, TypeError, ValueError, AttributeError) as error:
                _log.error("function %s cannot be restored, its documents are not of this program: %r", name, error)
                continue
            versions = {key: as_it_can_run(version) for key, version in entry.published.items()}
            entry = replace(entry, latest=as_it_can_run(entry.latest), published=versions)
            self._entries = {**self._entries, name: entry}
            self._run(entry)
        if kept or self._is_ours:
            self._is_ours = True
            self.packages.clean()
            self.collect()


def as_it_can_run(version: FunctionVersion) -> FunctionVersion:
    """The version, failed where a folder is gone that it runs on. Blocks for the disk."""
    gone = next((folder for folder in version.folders if not folder.is_dir()), None)
    if gone is None:
        return replace(version, failure="")
    _log.error("%s of function %s cannot run: %s is gone", version.version, version.name, gone)
    return replace(version, failure=f"{CODE_IS_GONE} ({gone})")
