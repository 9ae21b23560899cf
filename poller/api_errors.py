"""Errors of the calls on event source mappings: HTTP status, type and AWS's text (A.3, C.3). Pure.

`poller validate` and the calls say the same: AWS's text first, where AWS has one, then what is wrong here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from poller.errors import PollerError, Problem

INVALID_PARAMETER = "InvalidParameterValueException"
VALIDATION = "ValidationException"
NOT_FOUND = "ResourceNotFoundException"
CONFLICT = "ResourceConflictException"
IN_USE = "ResourceInUseException"

UNRECOGNIZED_SOURCE = "Unrecognized event source."
FUNCTION_MISSING = "Function does not exist"
UNSUPPORTED_DESTINATION = "Unsupported DestinationConfig parameter for given event source mapping type."
ACCESS_MISSING = "Required 'sourceAccessConfigurations' parameter is missing."
INVALID_FILTER = "Invalid filter pattern definition."
MAPPING_MISSING = "The resource you requested does not exist."

_TEXTS = frozenset({UNRECOGNIZED_SOURCE, FUNCTION_MISSING, UNSUPPORTED_DESTINATION, ACCESS_MISSING, INVALID_FILTER})
"""Reasons of problems that are AWS's own text for an InvalidParameterValueException."""

STARTING_POSITIONS = ("LATEST", "AT_TIMESTAMP", "TRIM_HORIZON")
"""In the order of AWS's text (C.3)."""

LONGEST_VALUE = 80
"""Characters of a wrong value that a text repeats."""


class ApiError(PollerError):
    """A call is refused. Equal when all four are, so that it can stand beside a `Problem` as a value.

    Args:
        status: of HTTP.
        type_: as the header `x-amzn-ErrorType` names it.
        text: AWS's, or ours where AWS has none.
        explanation: what is wrong here and what would be right; stands behind AWS's text.
    """

    def __init__(self, status: int, type_: str, text: str, explanation: str = "") -> None:
        super().__init__(f"{text} ({explanation})" if explanation else text)
        self.status = status
        self.type = type_
        self.text = text
        self.explanation = explanation

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ApiError) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    @property
    def _key(self) -> tuple[int, str, str, str]:
        return self.status, self.type, self.text, self.explanation


def invalid_parameter(text: str, explanation: str = "") -> ApiError:
    """400: a parameter, or two of them together, make no sense."""
    return ApiError(400, INVALID_PARAMETER, text, explanation)


def mapping_missing() -> ApiError:
    """404: get, update or delete of a UUID that no mapping has."""
    return ApiError(404, NOT_FOUND, MAPPING_MISSING)


def in_use(call: str) -> ApiError:
    """400: `update` or `delete` while the mapping is Creating, Updating or Deleting (C.2; the text is unverified)."""
    return ApiError(400, IN_USE, f"Cannot {call} the event source mapping because it is in use.")


def declared_by_template(what: str) -> ApiError:
    """409: what the template declares is the template's, unless AllowDrift says otherwise. AWS knows no such thing.

    Args:
        what: such as `function orders`.
    """
    text = f"The {what} is declared by the template: change it there, or run with --allow-drift."
    return ApiError(409, CONFLICT, text)


def duplicate_kafka(servers: Sequence[str], function_arn: str, topic: str, existing: str) -> ApiError:
    """409: the same function and topic, and a broker in common; `existing` is the UUID of the mapping that is there."""
    text = (
        f'An event source mapping with event source ("{",".join(servers)}"), function ("{function_arn}"), '
        f'topics ("{topic}") already exists. Please update or delete the existing mapping with UUID {existing}'
    )
    return ApiError(409, CONFLICT, text)


def duplicate_arn(event_source_arn: str | None, function_arn: str, existing: str) -> ApiError:
    """409: the same function, ARN and topic or queue. For MSK and MQ the text is unverified."""
    text = (
        f'An event source mapping with event source ("{event_source_arn}") and function ("{function_arn}") '
        f"already exists. Please update or delete the existing mapping with UUID {existing}"
    )
    return ApiError(409, CONFLICT, text)


def violation(value: Any, field: str, constraint: str) -> ApiError:
    """400: a value out of its range, enumeration or pattern (A.3).

    Args:
        value: what was given.
        field: its path under AWS's names, such as `FilterCriteria.Filters[0].Pattern`.
        constraint: such as `Member must have value less than or equal to 300`.
    """
    return ApiError(400, VALIDATION, _validation([_detail(value, field, constraint)]))


def at_least(limit: Any) -> str:
    """Constraint on a number."""
    return f"Member must have value greater than or equal to {limit}"


def at_most(limit: Any) -> str:
    """Constraint on a number."""
    return f"Member must have value less than or equal to {limit}"


def no_shorter(limit: int) -> str:
    """Constraint on a text or a list."""
    return f"Member must have length greater than or equal to {limit}"


def no_longer(limit: int) -> str:
    """Constraint on a text or a list."""
    return f"Member must have length less than or equal to {limit}"


def matching(pattern: str) -> str:
    """Constraint on a text."""
    return f"Member must satisfy regular expression pattern: {pattern}"


def one_of(names: Iterable[str]) -> str:
    """Constraint on a name."""
    return f"Member must satisfy enum value set: [{', '.join(names)}]"


def error_of(problems: Sequence[Problem]) -> ApiError:
    """The one error that a call answers with, of everything that is wrong with its mapping.

    As on AWS, ranges are looked at first, all of them at once, then the rest, of which the first one counts. What else
    is wrong stands in the explanation, so that nothing is found out one call at a time.
    """
    errors = [_error(problem) for problem in problems]
    violations = [error for error in errors if error is not None and error.type == VALIDATION]
    if violations:
        details = [error.text.removeprefix(_ONE_VIOLATION) for error in violations]
        return ApiError(400, VALIDATION, _validation(details), "; ".join(filter(None, map(_explanation, problems))))
    first, *others = sorted(problems, key=lambda problem: _error(problem) is None)
    rest = [str(problem) for problem in others]
    error = _error(first)
    if error is None:
        return invalid_parameter(str(first), "; ".join(rest))
    return ApiError(error.status, error.type, error.text, "; ".join(filter(None, (first.suggestion, *rest))))


def _explanation(problem: Problem) -> str:
    """What a problem adds to AWS's text: only its suggestion where its reason is that text."""
    return problem.suggestion if problem.reason.startswith(_ONE_VIOLATION) else str(problem)


def _error(problem: Problem) -> ApiError | None:
    """The error that a problem is in AWS's words; None when it is ours."""
    if problem.reason.startswith(_ONE_VIOLATION):
        return ApiError(400, VALIDATION, problem.reason)
    return problem.error or (invalid_parameter(problem.reason) if problem.reason in _TEXTS else None)


_ONE_VIOLATION = "1 validation error detected: "


def _validation(details: Sequence[str]) -> str:
    head = _ONE_VIOLATION if len(details) == 1 else f"{len(details)} validation errors detected: "
    return head + "; ".join(details)


def _detail(value: Any, field: str, constraint: str) -> str:
    return f"Value {_shown(value)} at '{_wire_name(field)}' failed to satisfy constraint: {constraint}"


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, Mapping):
        return "'{…}'"  # it may hold a secret
    if isinstance(value, list | tuple):
        text = f"[{', '.join(_shown(item).strip(chr(39)) for item in value)}]"
    else:
        text = str(value).lower() if isinstance(value, bool) else str(value)
    text = text.encode(errors="backslashreplace").decode()
    return f"'{text}'" if len(text) <= LONGEST_VALUE else f"'{text[: LONGEST_VALUE - 1]}…'"


def _wire_name(field: str) -> str:
    """`FilterCriteria.Filters[0].Pattern` as the service writes it: `filterCriteria.filters.1.member.pattern`."""
    parts = []
    for part in field.replace("[", ".[").split("."):
        if part.startswith("["):
            parts.append(f"{int(part[1:-1]) + 1}.member")
        else:
            parts.append(part if "_" in part else part.lower() if part.isupper() else part[:1].lower() + part[1:])
    return ".".join(parts)
