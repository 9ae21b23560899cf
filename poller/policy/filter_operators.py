"""The operators of filter patterns (C.5), one row and one function each. Pure.

Each function takes the operator's argument and the place it stands at, and gives the test of one value of the data;
a wrong argument raises `InvalidFilterPattern`. Tests never raise.
"""

from __future__ import annotations

import ipaddress
import operator
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from poller.api_errors import INVALID_FILTER

Test = Callable[[object], bool]


class InvalidFilterPattern(ValueError):  # noqa: N818 - AWS's words
    """A pattern cannot be used. The text is AWS's; `detail` says what is wrong and where."""

    def __init__(self, detail: str) -> None:
        super().__init__(INVALID_FILTER)
        self.detail = detail


Number = bytes
"""A JSON number, by its text: `300` and `300.0` are different values here (C.5), and neither is a string.

No other value of JSON is bytes, and `str.encode` makes them without a call into Python: a value may have many numbers.
"""


def only_pair(expression: dict[str, Any], where: str) -> tuple[str, Any]:
    """Key and value of an object that must have just one."""
    if len(expression) != 1:
        raise InvalidFilterPattern(f"{where}: an operator is an object with exactly one key")
    return next(iter(expression.items()))


def _text(argument: object, where: str) -> str:
    if not isinstance(argument, str):
        raise InvalidFilterPattern(f"{where}: must be a string")
    return argument


def _text_or_ignore_case(argument: object, where: str) -> tuple[str, bool]:
    if not isinstance(argument, dict):
        return _text(argument, where), False
    name, text = only_pair(argument, where)
    if name != "equals-ignore-case":
        raise InvalidFilterPattern(f"{where}: `{name}` cannot stand here; equals-ignore-case can")
    return _text(text, where).lower(), True


def _equals_ignore_case(argument: object, where: str) -> Test:
    wanted = _text(argument, where).lower()
    return lambda value: isinstance(value, str) and value.lower() == wanted


def _prefix(argument: object, where: str) -> Test:
    wanted, ignore_case = _text_or_ignore_case(argument, where)
    return lambda value: isinstance(value, str) and (value.lower() if ignore_case else value).startswith(wanted)


def _suffix(argument: object, where: str) -> Test:
    wanted, ignore_case = _text_or_ignore_case(argument, where)
    return lambda value: isinstance(value, str) and (value.lower() if ignore_case else value).endswith(wanted)


def _wildcard(argument: object, where: str) -> Test:
    """`*` stands for any characters, also none. A backslash takes its meaning away, or that of another backslash."""
    first, *others = _wildcard_parts(_text(argument, where), where)
    if not others:
        return lambda value: value == first
    *middle, last = others

    def test(value: object) -> bool:
        # Part by part from the left: no backtracking, so no pattern is slow on any value.
        if not isinstance(value, str) or not value.startswith(first):
            return False
        at, end = len(first), len(value) - len(last)
        for part in middle:
            found = value.find(part, at, end)
            if found < 0:
                return False
            at = found + len(part)
        return at <= end and value.endswith(last)

    return test


def _wildcard_parts(text: str, where: str) -> list[str]:
    parts = [""]
    characters = iter(text)
    previous = ""
    for character in characters:
        if character == "*":
            if previous == "*":
                raise InvalidFilterPattern(f"{where}: two wildcards in a row")
            parts.append("")
            previous = character
            continue
        literal = next(characters, "") if character == "\\" else character
        if character == "\\" and literal not in ("*", "\\"):
            raise InvalidFilterPattern(f"{where}: a backslash may only stand before * or another backslash")
        parts[-1] += literal
        previous = ""
    return parts


def _anything_but(argument: object, where: str) -> Test:
    """Present, and none of these. By EventBridge's rules: only strings or only numbers, never null or booleans."""
    if isinstance(argument, dict):
        name, below = only_pair(argument, where)
        if name not in _ANYTHING_BUT:
            raise InvalidFilterPattern(f"{where}: `{name}` cannot stand here; {', '.join(sorted(_ANYTHING_BUT))} can")
        texts = below if isinstance(below, list) else [below]
        if not texts or not all(texts):
            raise InvalidFilterPattern(f"{where}: {name} must be a string, or an array of strings, that is not empty")
        excluding = [_ANYTHING_BUT[name](_text(text, f"{where}: {name}"), where) for text in texts]
        return lambda value: not any(test(value) for test in excluding)
    values = argument if isinstance(argument, list) else [argument]
    if not values or not any(all(isinstance(value, kind) for value in values) for kind in (str, Number)):
        raise InvalidFilterPattern(f"{where}: must be strings only or numbers only, at least one")
    excluded = frozenset(values)
    return lambda value: value not in excluded


_COMPARISONS: dict[object, Callable[[Decimal, Decimal], bool]] = {
    "=": operator.eq,
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}


def _numeric(argument: object, where: str) -> Test:
    """JSON numbers by their value; strings that look like numbers never match."""
    terms = argument if isinstance(argument, list) else []
    operators, bounds = terms[::2], [_decimal(term) for term in terms[1::2]]
    shape = [str(name)[:1] for name in operators]
    if (
        shape not in (["="], [">"], ["<"], [">", "<"])
        or not all(isinstance(name, str) and name in _COMPARISONS for name in operators)
        or len(bounds) < len(operators)
        or any(bound is None for bound in bounds)
    ):
        raise InvalidFilterPattern(
            f'{where}: must be one of = > >= < <= and a number, or a lower and an upper bound: [">", 0, "<=", 5]'
        )
    limits = [(_COMPARISONS[name], bound) for name, bound in zip(operators, bounds, strict=True) if bound is not None]
    if limits[0][1] >= limits[-1][1] and len(limits) > 1:
        raise InvalidFilterPattern(f"{where}: the lower bound is not below the upper one")

    def test(value: object) -> bool:
        number = _decimal(value)
        if number is None:
            return False
        for compare, bound in limits:  # noqa: SIM110 - each value of each record: half the time of `all`
            if not compare(number, bound):
                return False
        return True

    return test


def _decimal(value: object) -> Decimal | None:
    """The exact value of a JSON number; None for anything else, and for an exponent past what Decimal can hold."""
    if not isinstance(value, Number):
        return None
    try:
        return Decimal(value.decode())
    except ArithmeticError:
        return None


def _cidr(argument: object, where: str) -> Test:
    """Strings that are an IPv4 or IPv6 address within the block."""
    address, _, length = _text(argument, where).partition("/")
    try:
        # A mask such as /255.0.0.0 is none of EventBridge's forms.
        block = ipaddress.ip_network(f"{address}/{length}", strict=False) if length.isdecimal() else None
    except ValueError:
        block = None
    if block is None:
        raise InvalidFilterPattern(f"{where}: must be an address block such as 10.0.0.0/24")

    def test(value: object) -> bool:
        try:
            return isinstance(value, str) and ipaddress.ip_address(value) in block
        except ValueError:
            return False

    return test


_ANYTHING_BUT: dict[str, Callable[[object, str], Test]] = {
    "equals-ignore-case": _equals_ignore_case,
    "prefix": _prefix,
    "suffix": _suffix,
    "wildcard": _wildcard,
}

OPERATORS: dict[str, Callable[[object, str], Test] | None] = {
    **_ANYTHING_BUT,
    "anything-but": _anything_but,
    "cidr": _cidr,
    "exists": None,  # asks for the field, not for a value: see filtering.py
    "numeric": _numeric,
}
