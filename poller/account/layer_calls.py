"""The calls on layers (A.7), as the API's take and answer them. Any thread; changes block for the disk.

A version is never changed. One that is deleted can be named by no function any more; those that have it keep it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from poller.account.function_requests import code_of
from poller.account.layer_policies import LayerPolicies
from poller.account.layer_shelf import LayerShelf, version_number
from poller.account.layers import ARCHITECTURE, PUBLISH_LAYER_VERSION, RUNTIME, VERSION_ARN, LayerVersion
from poller.account.shapes import Structure, checked
from poller.requests import max_items

LONGEST_PAGE = 50

_BY_ARN = Structure({"Arn": VERSION_ARN}, ("Arn",))
_FILTERS = Structure({"CompatibleArchitecture": ARCHITECTURE, "CompatibleRuntime": RUNTIME})


class Layers:
    """The calls on a shelf.

    Args:
        shelf: what they change.
        clock: seconds since the epoch.
    """

    def __init__(self, shelf: LayerShelf, clock: Callable[[], float]) -> None:
        self.shelf = shelf
        self._catalogue = shelf.catalogue
        self._clock = clock
        self.policies = LayerPolicies(shelf)

    def publish(self, layer_name: str, body: Any) -> dict[str, Any]:
        """PublishLayerVersion: the version.

        Raises:
            ApiError: 400, 403 or 413, with what is wrong.
            StateError: it could not be kept, and there is no such version.
        """
        request = checked({**body, "LayerName": layer_name} if isinstance(body, dict) else body, PUBLISH_LAYER_VERSION)
        shelf, catalogue, packages = self.shelf, self._catalogue, self._catalogue.packages
        name, given = shelf.name_of(layer_name), code_of(request["Content"])
        if given.zip_file is not None:
            package = packages.add_zip(given.zip_file)
        else:
            assert given.folder is not None
            package = packages.add_folder(given.folder)
        try:
            with catalogue.changing:
                properties = {key: request[key] for key in request if key not in {"LayerName", "Content"}}
                number = shelf.next_number(name)
                made = LayerVersion(shelf.arn(name), number, package, self._clock(), properties)
                shelf.put(name, made)
        finally:
            packages.let_go(package)
            catalogue.collect()
        return self._shown(made)

    def get(self, layer_name: str, number: str) -> dict[str, Any]:
        """GetLayerVersion.

        Raises:
            ApiError: 400, 403 or 404.
        """
        return self._shown(self.shelf.find(self.shelf.name_of(layer_name), version_number(number)))

    def get_by_arn(self, arn: str | None) -> dict[str, Any]:
        """GetLayerVersionByArn.

        Raises:
            ApiError: 400, 403 or 404.
        """
        checked({"Arn": arn}, _BY_ARN)
        assert arn is not None
        return self._shown(self.shelf.of_arn(arn))

    def listed(
        self, architecture: str | None, runtime: str | None, marker: str | None, most: str | None
    ) -> dict[str, Any]:
        """ListLayers, by name, each with the newest version that fits.

        Raises:
            ApiError: 400.
        """
        _check_filters(architecture, runtime)
        count = max_items(most, LONGEST_PAGE) or LONGEST_PAGE
        found = {}
        for name in self.shelf.names():
            fitting = [version for version in self.shelf.versions(name).values() if version.fits(architecture, runtime)]
            if fitting and (marker is None or name > marker):
                found[name] = fitting[0]
        shown = [
            {"LayerName": name, "LayerArn": version.layer_arn, "LatestMatchingVersion": version.listed()}
            for name, version in list(found.items())[:count]
        ]
        return {"Layers": shown, **({"NextMarker": list(found)[count - 1]} if len(found) > count else {})}

    def listed_versions(
        self, layer_name: str, architecture: str | None, runtime: str | None, marker: str | None, most: str | None
    ) -> dict[str, Any]:
        """ListLayerVersions: those that fit, the newest first; none of a layer that there is not.

        Raises:
            ApiError: 400 or 403.
        """
        _check_filters(architecture, runtime)
        name, count = self.shelf.name_of(layer_name), max_items(most, LONGEST_PAGE) or LONGEST_PAGE
        below = None if marker is None else version_number(marker)
        found = [
            version
            for number, version in self.shelf.versions(name).items()
            if version.fits(architecture, runtime) and (below is None or number < below)
        ]
        shown = [version.listed() for version in found[:count]]
        following = {"NextMarker": str(found[count - 1].number)} if len(found) > count else {}
        return {"LayerVersions": shown, **following}

    def delete(self, layer_name: str, number: str) -> None:
        """DeleteLayerVersion, with its policy; of one that there is not, nothing happens.

        Raises:
            ApiError: 400 or 403.
            StateError: nothing was changed.
        """
        name, wanted = self.shelf.name_of(layer_name), version_number(number)
        with self._catalogue.changing:
            if wanted in self.shelf.versions(name):
                self.shelf.remove(name, wanted)
        self._catalogue.collect()

    def _shown(self, version: LayerVersion) -> dict[str, Any]:
        return version.answer(self._catalogue.packages.location(version.package))


def _check_filters(architecture: str | None, runtime: str | None) -> None:
    checked({"CompatibleArchitecture": architecture, "CompatibleRuntime": runtime}, _FILTERS)
