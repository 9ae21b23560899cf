"""CloudFormation's intrinsic functions, pseudo parameters and conditions, worked out from what is known locally."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from poller.errors import Problem
from poller.validation import closest, describe, join

FUNCTIONS = ("Ref", "Fn::GetAtt", "Fn::Sub", "Fn::Join", "Fn::Select", "Fn::Split", "Fn::FindInMap", "Fn::If")
CONDITIONS = ("Fn::Equals", "Fn::And", "Fn::Or", "Fn::Not", "Condition")

NO_VALUE = "AWS::NoValue"

LONGEST_CHAIN = 50
"""Conditions that depend on one another in a row. Each is some calls deep in Python's stack."""

_PLACEHOLDER = re.compile(r"\$\{(!?)([^}]*)\}")


class Unresolvable(Exception):  # noqa: N818 - a value that stays inside this file and its test
    """An intrinsic function that cannot be worked out, or is written wrongly; no reason when it was told already."""

    def __init__(self, reason: str, suggestion: str = "") -> None:
        super().__init__(reason)
        self.reason, self.suggestion = reason, suggestion


class _Marker:
    """A value that is none."""


_ABSENT = _Marker()
"""What `AWS::NoValue` resolves to: its property is left out."""

UNKNOWN = _Marker()
"""For `references`: the value could not be found out, and that has been reported."""


class Resolver:
    """Works out intrinsic functions in the template's values. Problems are collected, with their paths.

    Args:
        references: what `Ref` gives, by name: parameters, pseudo parameters and resources.
        attributes: what `Fn::GetAtt` gives, by `LogicalId.Attribute`.
        mappings: the template's `Mappings` section.
        conditions: the template's `Conditions` section, unresolved.
    """

    def __init__(
        self,
        references: Mapping[str, Any],
        attributes: Mapping[str, str] | None = None,
        mappings: Mapping[str, Any] | None = None,
        conditions: Mapping[str, Any] | None = None,
    ) -> None:
        self.problems: list[Problem] = []
        self.failures = 0
        """Grows with every value that could not be resolved, whether that is a problem or known already."""
        self._references = references
        self._attributes = attributes or {}
        self._mappings = mappings or {}
        self._conditions = conditions or {}
        self._evaluating: list[str] = []

    def resolve(self, value: Any, path: str) -> Any:
        """The value with every intrinsic function replaced. What cannot be resolved is a problem and becomes None."""
        resolved = self._resolve(value, path)
        return None if resolved is _ABSENT else resolved

    def condition(self, name: str, path: str) -> bool:
        """Whether a condition of the `Conditions` section holds."""
        try:
            return self._condition(name)
        except Unresolvable as fault:
            self._fail(path, fault)
            return False

    def _fail(self, path: str, fault: Unresolvable) -> None:
        self.failures += 1
        if fault.reason:
            self.problems.append(Problem(path, fault.reason, fault.suggestion))

    def _resolve(self, value: Any, path: str) -> Any:
        if isinstance(value, list):
            items = (self._resolve(item, join(path, f"[{index}]")) for index, item in enumerate(value))
            return [item for item in items if item is not _ABSENT]
        if value is None:
            self._fail(path, Unresolvable("has no value", "leave it out, or give it one"))
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            name, argument = next(iter(value.items()))
            if name in FUNCTIONS:
                try:
                    return self._call(name, argument, path)
                except Unresolvable as fault:
                    self._fail(path, fault)
                    return None
            if name.startswith("Fn::"):
                supported = ", ".join(function.removeprefix("Fn::") for function in FUNCTIONS)
                short = name.removeprefix("Fn::")
                reason = f"the function {short} is not supported"
                self._fail(path, Unresolvable(reason, f"supported: {supported}"))
                return None
        pairs = ((key, self._resolve(item, join(path, key))) for key, item in value.items())
        return {key: item for key, item in pairs if item is not _ABSENT}

    def _call(self, name: str, argument: Any, path: str) -> Any:
        match name:
            case "Ref":
                return self._ref(argument)
            case "Fn::Sub":
                return self._sub(argument, path)
            case "Fn::If":
                condition, then, otherwise = _arguments("If", argument, 3)
                return self._resolve(then if self._condition(condition) else otherwise, path)
        if name == "Fn::GetAtt" and isinstance(argument, str):
            argument = argument.split(".", 1)
        failures_before = self.failures
        resolved = self._resolve(argument, path)
        if self.failures > failures_before:
            return None
        if name == "Fn::GetAtt":
            return self._attribute(".".join(map(str, _arguments("GetAtt", resolved, 2))))
        return self._find_in_map(resolved) if name == "Fn::FindInMap" else _ON_VALUES[name](resolved)

    def _ref(self, name: Any) -> Any:
        if name == NO_VALUE:
            return _ABSENT
        if not isinstance(name, str) or name not in self._references:
            raise Unresolvable(
                f"Ref names {describe(name)}, which is no parameter, pseudo parameter or resource of this template",
                closest(str(name), self._references),
            )
        if self._references[name] is UNKNOWN:
            raise Unresolvable("")
        return self._references[name]

    def _attribute(self, name: str) -> str:
        if name not in self._attributes:
            raise Unresolvable(
                f"GetAtt names {describe(name)}, which is not known here", closest(name, self._attributes)
            )
        return self._attributes[name]

    def _sub(self, argument: Any, path: str) -> str | None:
        template, variables = argument, {}
        if isinstance(argument, list):
            template, variables = _arguments("Sub", argument, 2)
        if not isinstance(template, str) or not isinstance(variables, dict):
            raise Unresolvable("Sub needs a text, or a list of a text and a mapping")
        failures_before = self.failures
        resolved = self._resolve(variables, path)
        if self.failures > failures_before:
            return None

        def replace(match: re.Match[str]) -> str:
            literal, name = match.group(1), match.group(2).strip()
            if literal:
                return f"${{{match.group(2)}}}"
            if name in resolved:
                return _text("Sub", resolved[name])
            return _text("Sub", self._attribute(name) if "." in name else self._ref(name))

        return _PLACEHOLDER.sub(replace, template)

    def _find_in_map(self, keys: Any) -> Any:
        found: Any = self._mappings
        for key in _arguments("FindInMap", keys, 3):
            if not isinstance(found, dict) or str(key) not in found:
                known = found if isinstance(found, dict) else ()
                raise Unresolvable(f"FindInMap finds no {describe(key)} in Mappings", closest(str(key), known))
            found = found[str(key)]
        return found

    def _condition(self, name: Any) -> bool:
        if not isinstance(name, str) or name not in self._conditions:
            raise Unresolvable(
                f"{describe(name)} is no condition of this template", closest(str(name), self._conditions)
            )
        if name in self._evaluating:
            raise Unresolvable(f"the condition {name} depends on itself")
        if len(self._evaluating) == LONGEST_CHAIN:
            raise Unresolvable(f"more than {LONGEST_CHAIN} conditions depend on one another in a row")
        self._evaluating.append(name)
        try:
            return self._evaluate(self._conditions[name], name)
        finally:
            self._evaluating.pop()

    def _evaluate(self, expression: Any, name: str) -> bool:
        if isinstance(expression, dict) and len(expression) == 1:
            function, argument = next(iter(expression.items()))
            match function, argument:
                case "Condition", str():
                    return self._condition(argument)
                case "Fn::Equals", [left, right]:
                    path = f"Conditions.{name}"
                    return _comparable(self._resolve(left, path)) == _comparable(self._resolve(right, path))
                case "Fn::Not", [only]:
                    return not self._evaluate(only, name)
                case "Fn::And", [_, *_]:
                    return all(self._evaluate(item, name) for item in argument)
                case "Fn::Or", [_, *_]:
                    return any(self._evaluate(item, name) for item in argument)
        supported = ", ".join(function.removeprefix("Fn::") for function in CONDITIONS)
        raise Unresolvable(f"the condition {name} cannot be worked out", f"supported: {supported}")


def _arguments(function: str, value: Any, count: int) -> list[Any]:
    if not isinstance(value, list) or len(value) != count:
        raise Unresolvable(f"{function} needs a list of {count} items")
    return value


def _text(function: str, value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str | int | float):
        raise Unresolvable(f"{function} cannot put {describe(value)} into a text")
    return str(value)


def _join(arguments: Any) -> str:
    delimiter, parts = _arguments("Join", arguments, 2)
    if not isinstance(parts, list):
        raise Unresolvable("Join needs a list of texts")
    return str(delimiter).join(_text("Join", part) for part in parts)


def _select(arguments: Any) -> Any:
    index, parts = _arguments("Select", arguments, 2)
    if not isinstance(parts, list):
        raise Unresolvable("Select needs a list to select from")
    if not re.fullmatch(r"[0-9]{1,9}", str(index)) or int(index) >= len(parts):
        raise Unresolvable(f"Select finds no item {describe(index)} in a list of {len(parts)}")
    return parts[int(index)]


def _split(arguments: Any) -> list[str]:
    delimiter, text = _arguments("Split", arguments, 2)
    if not isinstance(delimiter, str) or not delimiter or not isinstance(text, str):
        raise Unresolvable("Split needs a delimiter and a text")
    return text.split(delimiter)


_ON_VALUES: Mapping[str, Callable[[Any], Any]] = {"Fn::Join": _join, "Fn::Select": _select, "Fn::Split": _split}


def _comparable(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
