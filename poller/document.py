"""YAML as CloudFormation reads it: short tags become their long form, and what YAML would swallow is an error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from poller.errors import ConfigError, Problem

WITHOUT_PREFIX = {"Ref", "Condition"}
"""Tags whose long form has no `Fn::` before it."""


class _Loader(yaml.SafeLoader):
    """Plain values only, text for dates, and no key twice."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Look for keys that stand twice before merge keys (`<<`) are worked out, which may override on purpose."""
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        first_lines: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key must be plain text", key.start_mark)
            if key.value in first_lines:
                text = f"{key.value} stands here again; it is already in line {first_lines[key.value]}"
                raise yaml.constructor.ConstructorError(None, None, text, key.start_mark)
            first_lines[key.value] = key.start_mark.line + 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
        """Keys stay text, whatever YAML would make of `on` or `1`."""
        self.flatten_mapping(node)
        return {key.value: self.construct_object(value, deep=deep) for key, value in node.value}


def _short_tag(loader: _Loader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    value: Any
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        assert isinstance(node, yaml.MappingNode)
        value = loader.construct_mapping(node, deep=True)
    if suffix == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {suffix if suffix in WITHOUT_PREFIX else f"Fn::{suffix}": value}


_Loader.add_multi_constructor("!", _short_tag)
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read(path: Path) -> dict[str, Any]:
    """Read a YAML (or JSON) file that holds one mapping. Short tags such as `!Ref` come out in their long form.

    Raises:
        ConfigError: no such file, not YAML (with the line), a key twice, or something other than a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError([Problem(str(path), "no such file")]) from None
    except UnicodeDecodeError as error:
        raise ConfigError([Problem(str(path), f"is not UTF-8 text (byte {error.start})")]) from None
    except OSError as error:
        raise ConfigError([Problem(str(path), f"cannot be read: {error.strerror}")]) from None
    try:
        document = yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{path}, line {mark.line + 1}, column {mark.column + 1}" if mark else str(path)
        raise ConfigError([Problem(place, f"not valid YAML: {error.problem}")]) from None
    except yaml.YAMLError as error:
        raise ConfigError([Problem(str(path), f"not valid YAML: {' '.join(str(error).split())}")]) from None
    if document is None:
        raise ConfigError([Problem(str(path), "is empty")])
    if not isinstance(document, dict):
        kind = "a list" if isinstance(document, list) else "plain text"
        raise ConfigError([Problem(str(path), f"holds {kind}, not a mapping of sections")])
    return document
