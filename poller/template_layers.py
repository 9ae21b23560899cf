"""A template's layers: local folders and archives behind what functions name in `Layers`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from poller import supported
from poller.errors import Problem
from poller.template_content import local_content
from poller.validation import closest, describe, join

CONTENT = {"AWS::Serverless::LayerVersion": "ContentUri", "AWS::Lambda::LayerVersion": "Content"}
"""By type of resource: the property that names a folder or an archive."""

MAXIMUM_LAYERS = 5


class LayerReader:
    """Reads the layers of one template; what is wrong gathers in `problems`.

    Args:
        folder: the template's.
    """

    def __init__(self, folder: Path) -> None:
        self.problems: list[Problem] = []
        self._folder = folder
        self._layers: dict[str, Path | None] = {}
        """By ARN; None for one that is wrong, which is told already."""

    def declare(self, arn: str, kind: str, properties: Mapping[str, Any], path: str) -> None:
        """Read a resource; `arn` is what Ref gives for it."""
        name = CONTENT[kind]
        _, wrong = supported.check_names(
            properties, path, supported={name}, refused={}, without_effect=supported.LAYER_WITHOUT_EFFECT
        )
        self.problems += wrong
        self._layers[arn] = self._content(properties.get(name), join(path, name))

    def folders(self, layers: Any, path: str) -> tuple[Path, ...]:
        """What a function's `Layers` names, in its order."""
        if layers is None:
            return ()
        if not isinstance(layers, list) or not all(isinstance(item, str) for item in layers):
            self._problem(path, f"{describe(layers)} is not a list of layers", "name layers of the template with !Ref")
            return ()
        if len(layers) > MAXIMUM_LAYERS:
            self._problem(path, f"{len(layers)} layers are more than {MAXIMUM_LAYERS}")
        found = []
        for number, arn in enumerate(layers):
            if arn not in self._layers:
                near = closest(arn, self._layers)
                self._problem(
                    f"{path}[{number}]",
                    f"{describe(arn)} is no layer of the template",
                    near or "declare an AWS::Serverless::LayerVersion with a local ContentUri, and name it with !Ref",
                )
            elif (content := self._layers[arn]) is not None:
                found.append(content)
        return tuple(found)

    def _content(self, value: Any, path: str) -> Path | None:
        content = local_content(self._folder, value, "name a folder or a zip archive")
        if isinstance(content, Path):
            return content
        self._problem(path, *content)
        return None

    def _problem(self, path: str, reason: str, suggestion: str = "") -> None:
        self.problems.append(Problem(path, reason, suggestion))
