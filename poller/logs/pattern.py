"""Filter patterns of CloudWatch Logs, as `--filter` takes them. Pure.

    ERROR timeout        both words are in it
    ?ERROR ?WARN         one of them is
    ERROR -retry         the first is, the second is not
    "took 3 seconds"     these characters are in it
    %took [0-9]+ s%      a regular expression finds something
    { $.level = "ERROR" && $.duration > 3 }
                         the event is a JSON object with such members: = != < <= > >=, * stands for any characters
                         at an end of a text, && binds more than ||

As in CloudWatch, capitals matter.
"""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

Matches = Callable[[str], bool]

_WORD = re.compile(
    r'\s*(?P<sign>[?-]?)(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|%(?P<regex>[^%]*)%|(?P<word>[^\s"%{}]+))(?=\s|$)'
)
_COMPARISON = re.compile(
    r"""\s*\$(?P<path>(?:\.[A-Za-z0-9_-]+|\[[0-9]+\])+)\s*(?P<operator>!=|<=|>=|=|<|>)\s*"""
    r"""(?:"(?P<text>(?:[^"\\]|\\.)*)"|(?P<plain>[^\s"&|{}()]+))\s*"""
)
_OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_MISSING = object()


def compile_pattern(pattern: str) -> Matches:
    """What says whether an event matches.

    Raises:
        ValueError: it is none, with a text for a person.
    """
    text = pattern.strip()
    return _json_pattern(text[1:-1]) if text.startswith("{") and text.endswith("}") else _terms(text)


def _terms(text: str) -> Matches:
    needed: list[Matches] = []
    optional: list[Matches] = []
    position = 0
    while position < len(text):
        found = _WORD.match(text, position)
        if found is None:
            rest = text[position:].strip()
            raise ValueError(f'{rest!r} is no term: a word, "text in quotes", %expression% or {{ … }}')
        position = found.end()
        matches = _term(found)
        if found["sign"] == "-":
            needed.append(_not(matches))
        else:
            (optional if found["sign"] else needed).append(matches)
    return lambda event: all(each(event) for each in needed) and (not optional or any(each(event) for each in optional))


def _term(found: re.Match[str]) -> Matches:
    if found["regex"] is not None:
        try:
            expression = re.compile(found["regex"])
        except re.error as error:
            raise ValueError(f"%{found['regex']}% is no regular expression: {error}") from None
        return lambda event: expression.search(event) is not None
    wanted = _unescaped(found["quoted"]) if found["word"] is None else found["word"]
    return lambda event: wanted in event


def _not(matches: Matches) -> Matches:
    return lambda event: not matches(event)


def _json_pattern(text: str) -> Matches:
    alternatives = [[_comparison(part) for part in each.split("&&")] for each in text.split("||")]

    def matches(event: str) -> bool:
        try:
            members = json.loads(event)
        except (ValueError, RecursionError):
            return False
        return any(all(each(members) for each in every) for every in alternatives)

    return matches


def _comparison(text: str) -> Callable[[Any], bool]:
    found = _COMPARISON.fullmatch(text)
    if found is None:
        raise ValueError(f'{text.strip()!r} is no comparison, such as $.level = "ERROR" or $.duration > 3')
    names = re.findall(r"\.[^.\[]+|\[\d+\]", found["path"])
    path = [int(name[1:-1]) if name.startswith("[") else name[1:] for name in names]
    compare = _OPERATORS[found["operator"]]
    plain = found["plain"]
    number = None if plain is None else _number(plain)
    if number is not None:
        return lambda members: _is_number(value := _at(members, path)) and compare(value, number)
    wanted = _unescaped(found["text"]) if plain is None else plain
    if found["operator"] not in {"=", "!="}:
        raise ValueError(f"{wanted!r} is no number, and {found['operator']} compares numbers")
    expression = re.compile(".*".join(map(re.escape, wanted.split("*"))), re.DOTALL)
    equal = found["operator"] == "="

    def matches(members: Any) -> bool:
        value = _at(members, path)
        if value is _MISSING:
            return False
        return (expression.fullmatch(_text(value)) is not None) == equal

    return matches


def _at(members: Any, path: list[str | int]) -> Any:
    for name in path:
        if isinstance(name, int):
            members = members[name] if isinstance(members, list) and name < len(members) else _MISSING
        else:
            members = members.get(name, _MISSING) if isinstance(members, dict) else _MISSING
    return members


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)
