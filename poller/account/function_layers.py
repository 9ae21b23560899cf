"""What functions have of layers: the versions that they name, and whether these can be together (A.7, A.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from poller.account.catalogue import as_it_can_run
from poller.account.configs_usage import CODE_SIZE_UNZIPPED, size_of
from poller.account.layer_shelf import LayerShelf
from poller.account.versions import FunctionVersion, UsedLayer
from poller.api_errors import NOT_FOUND, ApiError, invalid_parameter

MOST_LAYERS = 5
"""Of a function."""

_REGION = 3
"""Which part of an ARN it is."""


class FunctionLayers:
    """Any thread. The caller holds `changing` of the catalogue until it has put the function.

    Args:
        shelf: the account's layers.
    """

    def __init__(self, shelf: LayerShelf) -> None:
        self._shelf = shelf

    def named(self, arns: Sequence[str]) -> tuple[UsedLayer, ...]:
        """What a function has that names these.

        Raises:
            ApiError: 400, one is not there, or they cannot be together; 403, one is of another account.
        """
        if len(arns) > MOST_LAYERS:
            raise invalid_parameter(f"Cannot reference more than {MOST_LAYERS} layers.")
        found: dict[str, UsedLayer] = {}
        for arn in arns:
            region = self._shelf.catalogue.region
            if arn.split(":")[_REGION] not in {"", region}:  # AWS's own have none
                text = "Layers are not in the same region as the function. Layers are expected to be in region"
                raise invalid_parameter(f"{text} {region}.")
            try:
                version = self._shelf.of_arn(arn)
            except ApiError as error:
                if error.type != NOT_FOUND:
                    raise
                raise invalid_parameter(f"Layer version {arn} does not exist.") from None
            if version.layer_arn in found:
                text = "Two different versions of the same layer are not allowed to be referenced in the same function."
                both = f"{found[version.layer_arn].arn} and {arn}"
                raise invalid_parameter(f"{text} {both} are versions of the same layer.")
            found[version.layer_arn] = version.used
        return tuple(found.values())

    def fitted(self, version: FunctionVersion) -> FunctionVersion:
        """A function that is to be like this, with its layers brought together. Blocks for the disk.

        It has failed where its code or a layer is not there any more, which is then left as it is.

        Raises:
            ApiError: 400, they are too large together.
            StateError: the disk does not take it.
        """
        if not version.layers:
            return as_it_can_run(replace(version, opt=None))
        if not all(layer.package.folder.is_dir() for layer in version.layers):
            return as_it_can_run(version)
        size = sum(map(size_of, (version.code.folder, *(layer.package.folder for layer in version.layers))))
        if size > CODE_SIZE_UNZIPPED:
            text = f"Function code combined with layers exceeds the maximum allowed size of {CODE_SIZE_UNZIPPED} bytes."
            raise invalid_parameter(f"{text} The actual size is {size} bytes.")
        if len(version.layers) == 1:
            return as_it_can_run(replace(version, opt=None))
        packages = self._shelf.catalogue.packages
        merged = packages.add_merged([layer.package for layer in version.layers])
        packages.let_go(merged)  # the caller holds `changing`, and nothing is removed without it
        return as_it_can_run(replace(version, opt=merged.folder))
