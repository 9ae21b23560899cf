"""YAML as CloudFormation reads it: short tags become their long form, and what YAML would swallow is an error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from poller.errors import ConfigError, Problem
from poller.validation import describe

WITHOUT_PREFIX = {"Ref", "Condition"}
"""Tags whose long form has no `Fn::` before it."""

MAXIMUM_DEPTH = 64
"""Mappings and lists within one another. A template needs a dozen, and every reader of it recurses."""

MAXIMUM_VALUES = 100_000
"""Values of a document, each alias counted as what it stands for: a few lines of aliases can stand for billions."""

TOO_DEEP = f"is nested deeper than {MAXIMUM_DEPTH} levels, or holds an alias of what is around it"

NOT_IN_CLOUDFORMATION = {f"tag:yaml.org,2002:{tag}" for tag in ("binary", "omap", "pairs", "set", "timestamp")}
"""Tags for values that JSON does not have."""


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

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:  # noqa: FBT001, FBT002
        """PyYAML lets Python's own errors through where a tag, such as `!!int x`, does not fit its value."""
        try:
            return super().construct_object(node, deep=deep)
        except (ValueError, LookupError, AttributeError):
            text = f"{describe(node.value)} is not what it is tagged as, or longer than a number can be"
            raise yaml.constructor.ConstructorError(None, None, text, node.start_mark) from None

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Merge keys; each once, or merging what was merged would double the mapping each time."""
        super().flatten_mapping(node)
        node.value = list({key.value: (key, value) for key, value in node.value}.values())

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
        """Keys stay text, whatever YAML would make of `on` or `1`."""
        if node.id != "mapping":  # `!!map x`
            text = f"{describe(node.value)} is not what it is tagged as"
            raise yaml.constructor.ConstructorError(None, None, text, node.start_mark)
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
_Loader.yaml_constructors = {
    tag: constructor for tag, constructor in _Loader.yaml_constructors.items() if tag not in NOT_IN_CLOUDFORMATION
}
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read(path: Path) -> dict[str, Any]:
    """Read a YAML (or JSON) file that holds one mapping. Short tags such as `!Ref` come out in their long form.

    Raises:
        ConfigError: no such file, not YAML (with the line), a key twice, nested too deep, too large with its aliases,
            or something other than a mapping.
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
        document = yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader # nosec B506
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{path}, line {mark.line + 1}, column {mark.column + 1}" if mark else str(path)
        raise ConfigError([Problem(place, f"not valid YAML: {error.problem}")]) from None
    except yaml.YAMLError as error:
        raise ConfigError([Problem(str(path), f"not valid YAML: {' '.join(str(error).split())}")]) from None
    except RecursionError:
        raise ConfigError([Problem(str(path), TOO_DEEP)]) from None
    if document is None:
        raise ConfigError([Problem(str(path), "is empty")])
    if not isinstance(document, dict):
        kind = "a list" if isinstance(document, list) else "plain text"
        raise ConfigError([Problem(str(path), f"holds {kind}, not a mapping of sections")])
    if problem := _Extent().problem(document):
        raise ConfigError([Problem(str(path), problem)])
    return document


class _Extent:
    """How deep and how large a document is. Aliases are one object in many places, and are walked once."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[int, int]] = {}

    def problem(self, document: Any) -> str:
        """What is wrong with it; empty when nothing is."""
        try:
            _, values = self._measure(document, 0)
        except RecursionError:
            return TOO_DEEP
        return "" if values <= MAXIMUM_VALUES else f"holds more than {MAXIMUM_VALUES} values, aliases counted"

    def _measure(self, value: Any, depth: int) -> tuple[int, int]:
        """Levels below, and values in it. RecursionError when it is too deep, or an alias stands inside itself."""
        if not isinstance(value, dict | list):
            return 0, 1
        if depth == MAXIMUM_DEPTH:
            raise RecursionError
        if id(value) not in self._known:
            items = value.values() if isinstance(value, dict) else value
            measured = [self._measure(item, depth + 1) for item in items]
            levels = 1 + max((levels for levels, _ in measured), default=0)
            self._known[id(value)] = levels, 1 + sum(values for _, values in measured)
        levels, values = self._known[id(value)]
        if depth + levels > MAXIMUM_DEPTH:
            raise RecursionError
        return levels, values
