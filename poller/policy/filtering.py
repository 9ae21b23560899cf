"""FilterCriteria: which records reach the function (C.5). Pure: texts and bytes in, a yes or no out.

Patterns are validated and normalised once, by `compile_filters`; `Filters.matches` then only interprets them, in plain
loops, as it is asked of every record. Whatever is refused is refused at load; matching never raises.

Operators are those of AWS's event filtering, and of the superset that EventBridge publishes for its rules: wildcard,
cidr, anything-but of a single value or of prefix, suffix, equals-ignore-case and wildcard, and prefix and suffix with
equals-ignore-case. They mean here what EventBridge says; whether Lambda itself takes them is not known.

Arrays in the data: a field matches when any element matches, and fields of one nested pattern have to match within
one element. An array without elements counts as an absent field.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from json.scanner import make_scanner
from typing import Any, NoReturn

from poller.policy.filter_operators import OPERATORS, InvalidFilterPattern, Number, Test, only_pair

__all__ = ["MAXIMUM_PATTERN_DEPTH", "MAXIMUM_PATTERN_LENGTH", "Filters", "InvalidFilterPattern", "compile_filters"]

MAXIMUM_PATTERN_LENGTH = 4096
"""Characters of one pattern (C.1)."""

MAXIMUM_PATTERN_DEPTH = 64
"""Objects within objects, `$or` branches included. Our own bound: it keeps matching clear of Python's stack limit."""


@dataclass(frozen=True, slots=True)
class _Leaf:
    """The array at a field: any item may match."""

    equals: frozenset[object]
    tests: tuple[Test, ...]
    present: bool
    """Whether any value matches."""
    absent: bool
    """Whether the lack of the field matches. An object in its place is a lack: operators see only leaves."""

    def matches(self, value: object) -> bool:
        """Whether the field's value matches: any element of an array, nothing of an object."""
        if isinstance(value, (list, dict)):
            values = [element for element in _elements(value) if not isinstance(element, dict)]
            return any(map(self.matches, values)) if values else self.absent
        if self.present or value in self.equals:
            return True
        for test in self.tests:  # noqa: SIM110 - twice as fast as `any`
            if test(value):
                return True
        return False

    def matches_absent(self) -> bool:
        """Whether the lack of the field matches."""
        return self.absent


@dataclass(frozen=True, slots=True)
class _Object:
    """Every field must match, and of each `$or` one branch."""

    fields: tuple[tuple[str, _Leaf | _Object], ...]
    either: tuple[tuple[_Object, ...], ...]

    def matches(self, value: object) -> bool:
        """Whether the object, or one of the objects of an array, matches."""
        if isinstance(value, dict):
            return self._matches_fields(value)
        values = [element for element in _elements(value) if isinstance(element, dict)]
        return any(self._matches_fields(element) for element in values) if values else self.matches_absent()

    def matches_absent(self) -> bool:
        """Whether the lack of an object matches: the fields below are absent, too, which `exists` may ask for."""
        return self._matches_fields({})

    def _matches_fields(self, data: Mapping[str, object]) -> bool:
        for name, pattern in self.fields:
            if not (pattern.matches(data[name]) if name in data else pattern.matches_absent()):
                return False
        return not self.either or all(any(branch.matches(data) for branch in branches) for branches in self.either)


class _Tombstone:
    """The record has no data at all."""


class _Unreadable:
    """The data is not UTF-8, or is JSON nested deeper than can be read."""


_Content = str | dict[str, Any] | list[Any] | _Tombstone | _Unreadable


class Filters:
    """The compiled patterns of one mapping. Immutable, so any thread may use it. False when there is no pattern."""

    def __init__(self, patterns: Sequence[_Object]) -> None:
        self._patterns = tuple(patterns)

    def __bool__(self) -> bool:
        return bool(self._patterns)

    def matches(self, data: bytes | None) -> bool:
        """Whether the record is for the function. Several patterns are ORed; without any, every record is.

        Never raises.

        Args:
            data: the decoded data of the record: Kafka's value, RabbitMQ's body. None is a tombstone.
        """
        if not self._patterns:
            return True
        content = _read(data)
        for pattern in self._patterns:  # noqa: SIM110 - as in a leaf
            if _record_matches(pattern, content):
                return True
        return False


def compile_filters(patterns: Sequence[str], data_key: str) -> Filters:
    """Validate and normalise the patterns of a FilterCriteria.

    Args:
        patterns: the JSON texts under `Filters[].Pattern`.
        data_key: the key that stands for the record's data: `value` for Kafka, `data` for Amazon MQ.

    Raises:
        InvalidFilterPattern: with the first thing that is wrong.
    """
    return Filters([_compile(text, data_key) for text in patterns])


# --- Matching -------------------------------------------------------------------------------------------------------


def _record_matches(pattern: _Object, content: _Content) -> bool:
    """The top level of a pattern, where the only field is the data key."""
    for _, data_pattern in pattern.fields:
        if not _data_matches(data_pattern, content):
            return False
    return not pattern.either or all(
        any(_record_matches(branch, content) for branch in branches) for branches in pattern.either
    )


def _data_matches(pattern: _Leaf | _Object, content: _Content) -> bool:
    """The table of formats in C.5, for Kafka and MQ: where pattern and data differ in format, the record passes.

    A tombstone is decided here, as AWS does not say: a pattern for text sees an absent value, which `null` and
    `{"exists": false}` match; a pattern for JSON has nothing to read, as with plain text, so the record passes.
    """
    if isinstance(content, _Unreadable):
        return True
    if isinstance(pattern, _Object):
        return pattern.matches(content) if isinstance(content, (dict, list)) else True
    if isinstance(content, _Tombstone):
        return pattern.matches_absent() or None in pattern.equals
    return pattern.matches(content) if isinstance(content, str) else True


def _read(data: bytes | None) -> _Content:
    """What format the data has. Only objects and arrays count as JSON: a bare `300` or `"abc"` is plain text."""
    if data is None:
        return _Tombstone()
    try:
        text = data.decode()
        stripped = text.strip(_BLANKS)
        if stripped[:1] not in {"{", "["}:
            return text
        content: dict[str, Any] | list[Any]
        content, end = _scan(stripped, 0)
    except (UnicodeDecodeError, RecursionError):
        return _Unreadable()
    except (ValueError, StopIteration):
        return text
    return content if end == len(stripped) else text


def _elements(value: object) -> list[object]:
    """The value, or the elements of an array, arrays within it opened. A stack of our own: data may be nested deep."""
    if not isinstance(value, list):
        return [value]
    found: list[object] = []
    pending: list[object] = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, list):
            pending.extend(item)
        else:
            found.append(item)
    return found


# --- Loading --------------------------------------------------------------------------------------------------------


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("a key stands twice in one object")
    return fields


_DATA = json.JSONDecoder(parse_int=str.encode, parse_float=str.encode, parse_constant=_refuse_constant)
_scan = make_scanner(_DATA)  # type: ignore[arg-type] # typeshed has another class there
"""Not `decode`: that looks for blanks with regular expressions, a third of what a small value costs."""
_BLANKS = " \t\r\n"
_PATTERN = json.JSONDecoder(
    parse_int=str.encode, parse_float=str.encode, parse_constant=_refuse_constant, object_pairs_hook=_unique
)


def _compile(text: str, data_key: str) -> _Object:
    if len(text) > MAXIMUM_PATTERN_LENGTH:
        raise InvalidFilterPattern(f"the pattern has {len(text)} characters; {MAXIMUM_PATTERN_LENGTH} is the limit")
    try:
        pattern = _PATTERN.decode(text)
    except (ValueError, RecursionError) as error:
        raise InvalidFilterPattern(f"the pattern is not valid JSON: {error}") from None
    if not isinstance(pattern, dict):
        raise InvalidFilterPattern(f'the pattern must be a JSON object, such as {{"{data_key}": …}}')
    return _compile_object(pattern, "", MAXIMUM_PATTERN_DEPTH, data_key)


def _compile_object(node: dict[str, Any], path: str, depth: int, only: str | None, *, in_or: bool = False) -> _Object:
    where = path or "the pattern"
    if depth == 0:
        raise InvalidFilterPattern(f"the pattern is nested deeper than {MAXIMUM_PATTERN_DEPTH} levels")
    if not node:
        raise InvalidFilterPattern(f"{where} is an empty object; name a field to match")
    fields: list[tuple[str, _Leaf | _Object]] = []
    either: list[tuple[_Object, ...]] = []
    for name, below in node.items():
        here = f"{path}.{name}" if path else name
        if name == "$or":
            either.append(_compile_or(below, path, here, depth, only))
            continue
        if only is not None and name != only:
            # AWS matches no other key of a Kafka or MQ record (C.5), so such a filter would drop every record, which
            # counts as handled. That can only be a mistake.
            raise InvalidFilterPattern(f"{here}: only `{only}` can be matched for this source; no record would pass")
        if in_or and name in OPERATORS:
            raise InvalidFilterPattern(f"{here}: the name of an operator cannot be a field inside $or")
        if isinstance(below, dict):
            fields.append((name, _compile_object(below, here, depth - 1, None, in_or=in_or)))
        elif isinstance(below, list):
            fields.append((name, _compile_leaf(below, here)))
        else:
            raise InvalidFilterPattern(f"{here}: must be an array of values, such as [{_show(below)}], or an object")
    return _Object(tuple(fields), tuple(either))


def _compile_or(branches: object, path: str, here: str, depth: int, only: str | None) -> tuple[_Object, ...]:
    if (
        not isinstance(branches, list)
        or len(branches) < 2  # noqa: PLR2004 - EventBridge's bound: one branch is no choice
        or not all(isinstance(branch, dict) for branch in branches)
    ):
        raise InvalidFilterPattern(f"{here}: must be an array of at least two objects")
    return tuple(_compile_object(branch, path, depth - 1, only, in_or=True) for branch in branches)


def _compile_leaf(items: list[Any], here: str) -> _Leaf:
    if not items:
        raise InvalidFilterPattern(f"{here}: the array is empty; no record would pass")
    equals: set[object] = set()
    tests: list[Test] = []
    exists: set[bool] = set()
    for item in items:
        if isinstance(item, list):
            raise InvalidFilterPattern(f"{here}: an array cannot be a value to match")
        if not isinstance(item, dict):
            equals.add(item)
            continue
        name, argument = only_pair(item, here)
        if name not in OPERATORS:
            raise InvalidFilterPattern(f"{here}: `{name}` is no operator; there are {', '.join(sorted(OPERATORS))}")
        build = OPERATORS[name]
        if build is not None:
            tests.append(build(argument, f"{here}: {name}"))
        elif isinstance(argument, bool):
            exists.add(argument)
        else:
            raise InvalidFilterPattern(f"{here}: exists must be true or false")
    return _Leaf(frozenset(equals), tuple(tests), present=True in exists, absent=False in exists)


def _show(value: object) -> str:
    return value.decode() if isinstance(value, Number) else json.dumps(value)
