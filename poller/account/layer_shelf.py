"""The layers of an account by name and number: in memory, and in the documents (A.7). Any thread; changes block.

A number is never used again, also when its version is deleted.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping

from poller.account.catalogue import Catalogue
from poller.account.documents import Change, Documents
from poller.account.layers import LAYER_NAME, LayerVersion
from poller.account.shapes import Structure, checked
from poller.api_errors import ApiError, invalid_parameter, mapping_missing

LAYER, LAYER_VERSION = "Layer", "LayerVersion"
"""Kinds of documents; keys are `libraries` and `libraries:3`."""

_NAMED = Structure({"LayerName": LAYER_NAME})
_NUMBER = re.compile(r"-?[0-9]{1,18}", re.ASCII)
_PARTS = re.compile(r"arn:[^:]*:lambda:([^:]+):([^:]+):layer:([^:]+)(?::([0-9]+))?", re.ASCII)

_log = logging.getLogger(__name__)


class LayerShelf:
    """Whoever changes something holds `changing` of the catalogue from looking to `put`.

    Args:
        catalogue: of the account's functions; told which packages are in use.
        documents: where layers are kept.
        restore: whether those that were kept are there again.

    Raises:
        StateError: the documents cannot be read.
    """

    def __init__(self, catalogue: Catalogue, documents: Documents, *, restore: bool) -> None:
        self.catalogue = catalogue
        self._documents = documents
        self._layers: Mapping[str, Mapping[int, LayerVersion]] = {}
        """By name and number, the newest first. Replaced, never changed."""
        self._last: dict[str, int] = {}
        """The number that was given last, by name."""
        if restore:
            self._restore()
        catalogue.also_used = self._folders

    # --- what there is ------------------------------------------------------------------------------------------------

    def names(self) -> list[str]:
        """Of layers that have a version, in order."""
        return sorted(self._layers)

    def versions(self, name: str) -> Mapping[int, LayerVersion]:
        """Of a layer, by number, the newest first; none of one that there is not."""
        return self._layers.get(name, {})

    def find(self, name: str, number: int) -> LayerVersion:
        """A version.

        Raises:
            ApiError: 404.
        """
        version = self.versions(name).get(number)
        if version is None:
            raise mapping_missing()  # the same words: "The resource you requested does not exist."
        return version

    def of_arn(self, arn: str) -> LayerVersion:
        """The version of an ARN that follows AWS's pattern.

        Raises:
            ApiError: 403, it is of another account or region; 404.
        """
        found = _PARTS.fullmatch(arn)
        if found is None:  # a layer of AWS's own
            raise mapping_missing()
        self._refuse_foreign(arn, found)
        return self.find(found[3], _whole(found[4]))

    def arn(self, name: str) -> str:
        """LayerArn."""
        return f"arn:aws:lambda:{self.catalogue.region}:{self.catalogue.account_id}:layer:{name}"

    def name_of(self, layer_name: str) -> str:
        """What a path names.

        Raises:
            ApiError: 400, it is no name; 403, it is of another account or region.
        """
        checked({"LayerName": layer_name}, _NAMED)
        found = _PARTS.fullmatch(layer_name)
        if found is None:
            return layer_name
        self._refuse_foreign(layer_name, found)
        return found[3]

    def size(self) -> int:
        """Bytes of all versions, as they were sent."""
        return sum(version.package.size for versions in self._layers.values() for version in versions.values())

    # --- changes ------------------------------------------------------------------------------------------------------

    def next_number(self, name: str) -> int:
        """Of the version that is published next."""
        return self._last.get(name, 0) + 1

    def put(self, name: str, version: LayerVersion) -> None:
        """Have a new version, or another in place of one; durable when it returns.

        Raises:
            StateError: nothing was changed.
        """
        last = max(self._last.get(name, 0), version.number)
        changes = [Change(LAYER_VERSION, f"{name}:{version.number}", version.document())]
        if last != self._last.get(name):
            changes.append(Change(LAYER, name, {"LastVersion": last}))
        self._documents.change(changes)
        self._last[name] = last
        self._have(name, {**self.versions(name), version.number: version})
        self.catalogue.own()

    def remove(self, name: str, number: int) -> None:
        """Have a version no more.

        Raises:
            StateError: nothing was changed.
        """
        self._documents.change([Change(LAYER_VERSION, f"{name}:{number}", None)])
        self._have(name, {key: version for key, version in self.versions(name).items() if key != number})

    # --- inside -------------------------------------------------------------------------------------------------------

    def _have(self, name: str, versions: Mapping[int, LayerVersion]) -> None:
        left = {key: item for key, item in self._layers.items() if key != name}
        if versions:
            left[name] = dict(sorted(versions.items(), reverse=True))
        self._layers = left

    def _folders(self) -> set[str]:
        return {str(version.package.folder) for versions in self._layers.values() for version in versions.values()}

    def _refuse_foreign(self, arn: str, parts: re.Match[str]) -> None:
        account, region = self.catalogue.account_id, self.catalogue.region
        if (parts[1], parts[2]) != (region, account):
            text = (
                f"User: arn:aws:iam::{account}:root is not authorized to perform: lambda:GetLayerVersion on resource: "
                f"{arn} because no resource-based policy allows the lambda:GetLayerVersion action"
            )
            raise ApiError(403, "AccessDeniedException", text, f"this is account {account} in {region}")

    def _restore(self) -> None:
        for name, document in self._documents.all(LAYER).items():
            try:
                self._last[name] = int(document["LastVersion"])
            except (LookupError, TypeError, ValueError) as error:
                _log.error("layer %s cannot be restored, its document is not of this program: %r", name, error)
            self.catalogue.own()
        for key, document in self._documents.all(LAYER_VERSION).items():
            name, _, number = key.rpartition(":")
            self._last[name] = max(self._last.get(name, 0), _whole(number))  # where the layer's document is lost
            try:
                version = LayerVersion.of_document(document)
            except (LookupError, TypeError, ValueError, AttributeError) as error:
                _log.error("layer version %s cannot be restored, its document is not of this program: %r", key, error)
                continue
            if not version.package.folder.is_dir():
                _log.error("layer version %s is left out: %s is gone", key, version.package.folder)
                continue
            self._have(name, {**self.versions(name), version.number: version})


def version_number(text: str) -> int:
    """What a path or a marker says of a version.

    Raises:
        ApiError: 400, it can be none.
    """
    if not _NUMBER.fullmatch(text):
        raise invalid_parameter(f"{text[:20].encode(errors='backslashreplace').decode()} is no version of a layer.")
    if int(text) < 1:
        raise invalid_parameter("Layer Version Cannot be less than 1.")
    return int(text)


def _whole(digits: str) -> int:
    """Of an ARN, which may be as long as anybody likes: none is longer than those that can be asked for."""
    return int(digits) if _NUMBER.fullmatch(digits) else 0
