"""What every model of the configuration shares: strictness, AWS's way of reading numbers, and errors for a person."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from poller.api_errors import ApiError, at_least, at_most, matching, no_longer, no_shorter, one_of, violation
from poller.errors import ConfigError, Problem

LONGEST_VALUE = 80
"""Characters of a wrong value that an error repeats."""


class Model(BaseModel):
    """Base of the configuration's models: frozen, and unknown fields are refused. Field names are AWS's."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, populate_by_name=True)


def _integer(value: Any) -> Any:
    # CloudFormation hands every parameter over as text and reads it again as what the property wants.
    if isinstance(value, bool):
        raise ValueError(f"{describe(value)} is not a whole number")  # noqa: TRY004 - pydantic wants a ValueError
    return value


def _number(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError(f"{describe(value)} is not a number")  # noqa: TRY004 - pydantic wants a ValueError
    return value


def _boolean(value: Any) -> Any:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in {"true", "false"}:
        return value.lower() == "true"
    raise ValueError(f"{describe(value)} is neither true nor false")


def _text(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else value


Integer = Annotated[int, BeforeValidator(_integer)]
"""A whole number, also as text ("10")."""
Number = Annotated[float, BeforeValidator(_number), Field(allow_inf_nan=False)]
"""A number, also as text ("1.5")."""
Boolean = Annotated[bool, BeforeValidator(_boolean)]
"""true or false, also as text."""
Text = Annotated[str, BeforeValidator(_text)]
"""A string; numbers and booleans are turned into one, as CloudFormation does."""

M = TypeVar("M", bound=BaseModel)


class Violation(ValueError):  # noqa: N818 - AWS's words
    """A validator of ours refuses what AWS's service model refuses, too; `constraint` is AWS's part of the text."""

    def __init__(self, text: str, constraint: str) -> None:
        super().__init__(text)
        self.constraint = constraint


def in_pattern(pattern: str, what: str, theirs: str = "") -> AfterValidator:
    """Validator that refuses what the pattern does not match; `theirs` is AWS's own, for its text."""
    compiled = re.compile(pattern)

    def check(value: str) -> str:
        if not compiled.fullmatch(value):
            text = f"{describe(value)} is not {what}"
            raise Violation(text, matching(theirs)) if theirs else ValueError(text)
        return value

    return AfterValidator(check)


def parse(model: type[M], values: Any, where: Callable[[str], str]) -> M:
    """Build a model.

    Args:
        model: what to build.
        values: as they stood in the template, the settings or a request.
        where: turns a field's path in the model (`DestinationConfig.OnFailure`) into the path to show.

    Raises:
        ConfigError: with one problem for every field that is wrong.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ConfigError([_problem(item, model, where) for item in _without_echoes(error)]) from None


def under(path: str) -> Callable[[str], str]:
    """A `where` for `parse`: the fields stand right below that path."""
    return lambda field: join(path, field)


def join(path: str, field: str) -> str:
    """Path of a field below a path; either may be empty."""
    if not path or not field or field.startswith("["):
        return path + field
    return f"{path}.{field}"


def closest(name: str, known: Iterable[str]) -> str:
    """`did you mean …?` for a misspelt name, or nothing when none is near."""
    by_lower = {option.lower(): option for option in known}
    near = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.7)
    return f"did you mean {by_lower[near[0]]}?" if near else ""


def describe(value: Any) -> str:
    """A wrong value as an error shows it; mappings only by their kind, for they may hold a secret."""
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, str | int | float | bool | None):
        text = json.dumps(value, ensure_ascii=False)
    elif isinstance(value, list | tuple):
        return "a list"
    else:
        text = str(value)
    text = text.encode(errors="backslashreplace").decode()  # a lone surrogate, which pydantic's errors cannot hold
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 1] + "…"


def plural(count: int, noun: str) -> str:
    """`1 topic`, `2 topics`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


_REASONS: Mapping[str, Callable[[Any, Mapping[str, Any]], str]] = {
    "missing": lambda _value, _: "is missing",
    "greater_than": lambda value, limits: f"{describe(value)} is not above {limits['gt']:g}",
    "greater_than_equal": lambda value, limits: f"{describe(value)} is below {limits['ge']}",
    "less_than_equal": lambda value, limits: f"{describe(value)} is above {limits['le']}",
    "literal_error": lambda value, limits: f"{describe(value)} is not {limits['expected'].replace(chr(39), '')}",
    "string_too_short": lambda _value, limits: f"is shorter than {plural(limits['min_length'], 'character')}",
    "string_too_long": lambda value, limits: f"has {len(value)} characters, {limits['max_length']} are allowed",
    "too_short": lambda _value, limits: (
        f"has {plural(limits['actual_length'], 'item')}, at least {limits['min_length']} must be there"
    ),
    "too_long": lambda _value, limits: (
        f"has {plural(limits['actual_length'], 'item')}, at most {limits['max_length']} may be there"
    ),
    "value_error": lambda _value, limits: str(limits["error"]),
    "finite_number": lambda value, _: f"{describe(value)} is not a number",
}
_CONSTRAINTS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "greater_than_equal": lambda limits: at_least(limits["ge"]),
    "less_than_equal": lambda limits: at_most(limits["le"]),
    "literal_error": lambda limits: one_of(re.findall(r"'([^']*)'", limits["expected"])),
    "string_too_short": lambda limits: no_shorter(limits["min_length"]),
    "string_too_long": lambda limits: no_longer(limits["max_length"]),
    "too_short": lambda limits: no_shorter(limits["min_length"]),
    "too_long": lambda limits: no_longer(limits["max_length"]),
    "value_error": lambda limits: getattr(limits["error"], "constraint", ""),
}
"""What AWS's service model says of the same (A.3)."""
_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "string": "text",
    "list": "a list",
    "tuple": "a list",
    "dict": "a mapping",
    "model": "a mapping",
    "path": "a path",
}


def _without_echoes(error: ValidationError) -> list[ErrorDetails]:
    """A list of wrong items is not also too short: pydantic counts the right ones."""
    items = error.errors(include_url=False)
    parents = {item["loc"][:-1] for item in items}
    return [item for item in items if item["type"] != "too_short" or item["loc"] not in parents]


def _problem(item: ErrorDetails, model: type[BaseModel], where: Callable[[str], str]) -> Problem:
    field = ""
    for part in item["loc"]:
        field = join(field, f"[{part}]" if isinstance(part, int) else part)
    kind, value = item["type"], item["input"]
    if isinstance(value, str) and kind in {"too_short", "too_long"}:
        kind = f"string_{kind}"  # where a validator of ours comes before, pydantic takes a text for a list
    if kind == "extra_forbidden":
        return Problem(where(field), "unknown property", closest(str(item["loc"][-1]), _fields(model, item["loc"])))
    if kind in _REASONS:
        limits = item.get("ctx", {})
        return Problem(where(field), _REASONS[kind](value, limits), error=_error(kind, value, field, limits))
    expected = _KINDS.get(kind.split("_")[0])
    return Problem(where(field), f"{describe(value)} is not {expected}" if expected else item["msg"])


def _error(kind: str, value: Any, field: str, limits: Mapping[str, Any]) -> ApiError | None:
    constraint = _CONSTRAINTS[kind](limits) if kind in _CONSTRAINTS else ""
    return violation(value, field, constraint) if constraint else None


def _fields(model: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    """Names of the fields that stand beside the last part of a location."""
    for part in loc[:-1]:
        inner = _model_of(model.model_fields[part].annotation) if part in model.model_fields else model
        if inner is None:
            return []
        model = inner
    return [info.alias or name for name, info in model.model_fields.items()]


def _model_of(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        inner = _model_of(argument)
        if inner is not None:
            return inner
    return None
