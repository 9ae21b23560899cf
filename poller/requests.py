"""From the JSON body or the query of a call to a model, with AWS's words for what is wrong (A.3). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from poller.api_errors import at_least, at_most, error_of, invalid_parameter, violation
from poller.errors import ConfigError
from poller.validation import Model, parse

M = TypeVar("M", bound=Model)


def request_of(model: type[M], values: Mapping[str, Any]) -> M:
    """The request.

    Raises:
        ApiError: 400, with everything that is wrong.
    """
    missing = [name for name, field in model.model_fields.items() if field.is_required() and values.get(name) is None]
    if missing:
        raise violation(None, missing[0], "Member must not be null")
    try:
        return parse(model, {name: value for name, value in values.items() if value is not None}, lambda field: field)
    except ConfigError as error:
        raise error_of(error.problems) from None


def max_items(text: str | None, highest: int) -> int | None:
    """The parameter MaxItems.

    Raises:
        ApiError: 400, it is no number or out of range.
    """
    if text is None:
        return None
    try:
        value = int(text) if len(text) <= len(str(highest)) + 1 else highest + 1
    except ValueError:
        raise invalid_parameter(f"MaxItems is not a whole number: {text[:20]}") from None
    if value < 1:
        raise violation(value, "MaxItems", at_least(1))
    if value > highest:
        raise violation(value, "MaxItems", at_most(highest))
    return value
