"""What a call of Invoke asks for: function, qualifier, type, log, client context, and what is wrong with it. Pure.

A.1 says what is allowed; the texts are those that the service was recorded with.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from poller.api_errors import (
    NOT_FOUND,
    VALIDATION,
    ApiError,
    invalid_parameter,
    matching,
    no_longer,
    no_shorter,
    one_of,
)

LATEST = "$LATEST"
MAXIMUM_CLIENT_CONTEXT = 3583
"""Bytes of base64."""
MAXIMUM_ASYNCHRONOUS_PAYLOAD = 1024 * 1024
"""Bytes of an event for `Event`: 1 MB (A.2)."""
MAXIMUM_INVOKE_ASYNC_PAYLOAD = 256 * 1024
"""Bytes of an event for the deprecated InvokeAsync (A.1)."""
MAXIMUM_FUNCTION_NAME = 256
MAXIMUM_QUALIFIER = 128

INVOCATION_TYPES = ("Event", "RequestResponse", "DryRun")
STREAMED_TYPES = ("RequestResponse", "DryRun")
LOG_TYPES = ("None", "Tail")

FUNCTION_NAME_PATTERN = (
    r"(arn:(aws[a-zA-Z-]*)?:lambda:)?((eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:)?(\d{12}:)?(function:)?"
    r"([a-zA-Z0-9-_\.]+)(:(\$LATEST(\.PUBLISHED)?|[a-zA-Z0-9-_]+))?"
)
"""AWS's, to the letter: it stands in the text."""
QUALIFIER_PATTERN = r"\$(LATEST(\.PUBLISHED)?)|[a-zA-Z0-9-_$]+"

_FUNCTION_NAME = re.compile(FUNCTION_NAME_PATTERN, re.ASCII)
_QUALIFIER = re.compile(QUALIFIER_PATTERN, re.ASCII)
_REGION, _ACCOUNT, _NAME, _SUFFIX = 3, 9, 11, 13
"""Groups of the pattern."""


@dataclass(frozen=True, slots=True)
class CalledFunction:
    """Which function a call names, and how."""

    name: str
    qualifier: str
    """As the call gives it, in the name or beside it; empty when it gives none."""
    arn: str
    """With the qualifier where one was given: `invoked_function_arn` follows the call."""


@lru_cache(1024)
def called_function(function_name: str, qualifier: str | None, *, account_id: str, region: str) -> CalledFunction:
    """Read a name, partial or full ARN, each with or without a qualifier, and the parameter `Qualifier`.

    Args:
        function_name: the part of the path, percent-decoded.
        qualifier: the parameter; None when there is none.
        account_id: of the functions that are here.
        region: likewise.

    Raises:
        ApiError: 400 for names that cannot be one, or qualifiers that contradict each other; 404 for another region.
    """
    details = []
    if qualifier is not None:
        details += _length("qualifier", qualifier, MAXIMUM_QUALIFIER)
        if not _QUALIFIER.fullmatch(qualifier):
            details.append(_detail(qualifier, "qualifier", matching(QUALIFIER_PATTERN)))
    details += _length("functionName", function_name, MAXIMUM_FUNCTION_NAME)
    found = _FUNCTION_NAME.fullmatch(function_name)
    if not found:
        details.append(_detail(function_name, "functionName", matching(FUNCTION_NAME_PATTERN)))
    if details or not found:
        raise _violations(details)
    given = found[_SUFFIX] or ""
    if given and qualifier and given != qualifier:
        raise invalid_parameter("The derived qualifier from the function name does not match the specified qualifier.")
    there = (found[_REGION] or region).rstrip(":")
    if there != region:
        text = f"Functions from '{there}' are not reachable in this region ('{region}')"
        raise ApiError(404, NOT_FOUND, text)
    account, asked = (found[_ACCOUNT] or account_id).rstrip(":"), given or qualifier or ""
    arn = f"arn:aws:lambda:{region}:{account}:function:{found[_NAME]}"
    called = CalledFunction(found[_NAME], asked, f"{arn}:{asked}" if asked else arn)
    if account != account_id:
        raise function_missing(called)
    return called


def function_missing(called: CalledFunction) -> ApiError:
    """404: there is no such function, or it has no such version or alias."""
    arn = called.arn if called.qualifier else f"{called.arn}:{LATEST}"
    return ApiError(404, NOT_FOUND, f"Function not found: {arn}")


def chosen(value: str | None, field: str, names: Sequence[str], default: str) -> str:
    """One of several names, from a header.

    Raises:
        ApiError: 400, it is none of them.
    """
    if value is None:
        return default
    if value not in names:
        raise _violations([_detail(value, field, one_of(names))])
    return value


def client_context(encoded: str | None) -> str | None:
    """The JSON text of `X-Amz-Client-Context`.

    Raises:
        ApiError: 400; it is too long, no base64, or no JSON object (the texts are unverified).
    """
    if encoded is None:
        return None
    if len(encoded) > MAXIMUM_CLIENT_CONTEXT:
        raise _violations([_detail(encoded, "clientContext", no_longer(MAXIMUM_CLIENT_CONTEXT))])
    try:
        text = base64.b64decode(encoded, validate=True).decode()
        if isinstance(json.loads(text), dict):
            return text
    except (ValueError, RecursionError):  # binascii.Error and UnicodeDecodeError are ValueErrors
        pass
    text = "Client context must be a valid Base64-encoded JSON object."
    raise ApiError(400, "InvalidRequestContentException", text)


def too_large(size: int | None, invocation_type: str, limit: int) -> ApiError:
    """413: the payload is above the limit of its type; the size is None when it was not read to its end."""
    text = f"payload is too large for the {invocation_type} invocation type (limit {limit} bytes)"
    shown = f"more than {limit}" if size is None else str(size)
    return ApiError(413, "RequestTooLargeException", f"{shown} byte {text}")


def _length(field: str, value: str, limit: int) -> list[str]:
    if not value:
        return [_detail(value, field, no_shorter(1))]
    return [_detail(value, field, no_longer(limit))] if len(value) > limit else []


def _detail(value: str, field: str, constraint: str) -> str:
    return f"Value '{value}' at '{field}' failed to satisfy constraint: {constraint}"


def _violations(details: Sequence[str]) -> ApiError:
    count = len(details)
    head = "1 validation error" if count == 1 else f"{count} validation errors"
    return ApiError(400, VALIDATION, f"{head} detected: {'; '.join(details)}")
