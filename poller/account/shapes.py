"""What a request may hold, as AWS's service model says it, and the violations in AWS's words (A.3). Pure.

A shape is a value; `violations` walks a request along it and gives what is wrong, in the order of the shape. A value of
another type than the model's never comes from a client of AWS: it is refused on its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from poller.api_errors import (
    VALIDATION,
    ApiError,
    at_least,
    at_most,
    invalid_parameter,
    matching,
    no_longer,
    no_shorter,
    one_of,
)
from poller.validation import closest

NOT_NULL = "Member must not be null"

_LARGE = 1e300


@dataclass(frozen=True, slots=True)
class Text:
    """A string."""

    least: int = 0
    most: int = 0
    """0 is without a limit."""
    pattern: str = ""
    """AWS's, to the letter."""
    names: Sequence[str] = ()

    def broken(self, value: str) -> list[str]:
        """The constraints that it breaks, in AWS's order."""
        found = []
        if self.names and value not in self.names:
            found.append(one_of(self.names))
        if self.most and len(value) > self.most:
            found.append(no_longer(self.most))
        if len(value) < self.least:
            found.append(no_shorter(self.least))
        if self.pattern and not re.fullmatch(self.pattern, value, re.ASCII):
            found.append(matching(self.pattern))
        return found

    def all(self) -> list[str]:
        """Every constraint, as AWS repeats them for a member of a list or mapping."""
        found = [one_of(self.names)] if self.names else []
        if self.most:
            found += [no_longer(self.most), no_shorter(self.least)]
        return [*found, matching(self.pattern)] if self.pattern else found


@dataclass(frozen=True, slots=True)
class Number:
    """A number; whole unless its limits are not."""

    least: float
    most: float

    def broken(self, value: float) -> list[str]:
        """The constraints that it breaks."""
        return ([at_most(self.most)] if value > self.most else []) + (
            [at_least(self.least)] if value < self.least else []
        )

    def all(self) -> list[str]:
        """As of `Text`."""
        return [at_most(self.most), at_least(self.least)]


@dataclass(frozen=True, slots=True)
class Flag:
    """true or false."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A list."""

    member: Text
    most: int = 0
    least: int = 0


@dataclass(frozen=True, slots=True)
class Mapped:
    """A mapping of names to values."""

    key: Text
    value: Text | Number
    is_secret: bool = False


@dataclass(frozen=True, slots=True)
class Structure:
    """Members by name."""

    members: Mapping[str, Shape]
    required: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Anything:
    """What nobody looks into: it is refused, or said to be nothing, whatever it holds."""


Shape = Text | Number | Flag | Listed | Mapped | Structure | Anything


@dataclass(slots=True)
class _Found:
    details: list[str] = field(default_factory=list)

    def add(self, shown: str, path: str, constraint: str) -> None:
        self.details.append(f"Value {shown} at '{path}' failed to satisfy constraint: {constraint}")


def checked(request: Any, shape: Structure) -> dict[str, Any]:
    """The members of a request that hold something.

    Raises:
        ApiError: 400: everything that violates the model at once, a value of another type, or an unknown member.
    """
    found = _Found()
    _look(request, shape, "", found)
    if found.details:
        raise violations(found.details)
    return _without_nulls(request)


def violations(details: Sequence[str]) -> ApiError:
    """The error of so many violations."""
    count = len(details)
    head = "1 validation error" if count == 1 else f"{count} validation errors"
    return ApiError(400, VALIDATION, f"{head} detected: {'; '.join(details)}")


def _without_nulls(value: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _without_nulls(item) if isinstance(item, dict) else item
        for name, item in value.items()
        if item is not None
    }


def _look(value: Any, shape: Shape, path: str, found: _Found) -> None:
    match shape:
        case Text():
            _of_type(value, str, path, "text")
            _refuse_unprintable(value, path)
            for constraint in shape.broken(value):
                found.add(f"'{_printable(value)}'", path, constraint)
        case Number():
            _refuse_no_number(value, path, is_whole=isinstance(shape.most, int))
            for constraint in shape.broken(value):
                found.add(f"'{value}'", path, constraint)
        case Flag():
            _of_type(value, bool, path, "true or false")
        case Listed():
            _look_at_list(value, shape, path, found)
        case Mapped():
            _look_at_mapping(value, shape, path, found)
        case Structure():
            _look_at_members(value, shape, path, found)
        case Anything():
            pass


def _look_at_members(value: Mapping[str, Any], shape: Structure, path: str, found: _Found) -> None:
    _of_type(value, dict, path, "a mapping")
    unknown = [name for name in value if name not in shape.members]
    if unknown:
        hint = closest(unknown[0], shape.members)
        raise invalid_parameter(f"unknown parameter: {_printable(', '.join(unknown))}", hint)
    for name, member in shape.members.items():
        below = f"{path}.{_wire(name)}" if path else _wire(name)
        if value.get(name) is not None:
            _look(value[name], member, below, found)
        elif name in shape.required:
            found.add("null", below, NOT_NULL)


def _look_at_list(value: Sequence[Any], shape: Listed, path: str, found: _Found) -> None:
    _of_type(value, list, path, "a list")
    for item in value:
        _of_type(item, str, path, "a list of texts")
        _refuse_unprintable(item, path)
    shown = f"'[{_printable(', '.join(value))}]'"
    if shape.most and len(value) > shape.most:
        found.add(shown, path, no_longer(shape.most))
    if len(value) < shape.least:
        found.add(shown, path, no_shorter(shape.least))
    if any(shape.member.broken(item) for item in value):
        constraints = ", ".join([*shape.member.all(), NOT_NULL])
        found.add(shown, path, f"Member must satisfy constraint: [{constraints}]")


def _look_at_mapping(value: Mapping[str, Any], shape: Mapped, path: str, found: _Found) -> None:
    _of_type(value, dict, path, "a mapping")
    for name, item in value.items():
        _refuse_unprintable(name, path)
        if isinstance(shape.value, Text):
            _of_type(item, str, path, "a mapping of texts")
            _refuse_unprintable(item, path)
        elif not _is_number(item):
            raise _other_type(path, "a mapping of numbers")
    shown = "'***'" if shape.is_secret else f"'{{{_printable(', '.join(_pairs(value)))}}}'"
    if any(shape.key.broken(name) for name in value):
        found.add(shown, path, f"Map keys must satisfy constraint: [{', '.join(shape.key.all())}]")
    member: Any = shape.value
    if any(member.broken(item) for item in value.values()):
        constraints = ", ".join([*member.all(), NOT_NULL])
        found.add(shown, path, f"Map value must satisfy constraint: [{constraints}]")


def _pairs(value: Mapping[str, Any]) -> Iterator[str]:
    for name, item in value.items():
        yield f"{name}={item if isinstance(item, str) else float(item)}"


def _refuse_no_number(value: Any, path: str, *, is_whole: bool) -> None:
    if not _is_number(value) or (is_whole and not isinstance(value, int)):
        raise _other_type(path, "a whole number" if is_whole else "a number")


def _is_number(value: Any) -> bool:
    """JSON's numbers, without those that Python reads beside them."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -_LARGE <= value <= _LARGE


def _refuse_unprintable(value: str, path: str) -> None:
    """No variable, file or answer can hold these."""
    if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise _other_type(path, "text that can be written in UTF-8 and has no NUL")


def _of_type(value: Any, kind: type, path: str, what: str) -> None:
    if not isinstance(value, kind):
        raise _other_type(path, what)


def _other_type(path: str, what: str) -> ApiError:
    return ApiError(400, "SerializationException", f"{path or 'The request'} is not {what}.")


def _printable(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()


def _wire(name: str) -> str:
    """A member as the service writes it: `FunctionName` is `functionName`."""
    return name[:1].lower() + name[1:]
