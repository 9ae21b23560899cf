"""What every answer of Lambda's API has in common: how an error looks (A.3), whatever call it belongs to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from poller.api_errors import IN_USE, NOT_FOUND, VALIDATION, ApiError
from poller.request_ids import new_request_id

CAPITAL_MESSAGE = frozenset(
    {
        NOT_FOUND,
        IN_USE,
        "AccessDeniedException",
        "ServiceException",
        "RecursiveInvocationException",
        "NoPublishedVersionException",
        "ServiceQuotaExceededException",
    }
)
"""Errors whose text stands under `Message`; all others have it under `message`."""

SERVER_FAULT = 500


def refusal(error: ApiError) -> Response:
    """The answer to a call that is refused, for a Starlette route."""
    headers = {"x-amzn-ErrorType": error.type, "x-amzn-RequestId": new_request_id()}
    # In ASCII: a lone surrogate, which a caller's JSON may hold and a text repeat, has no other form.
    return Response(json.dumps(body_of(error), separators=(",", ":")), error.status, headers, "application/json")


def internal() -> ApiError:
    """500: a fault of ours."""
    return ApiError(500, "ServiceException", "An internal error; the log of the service has more.")


def body_of(error: ApiError) -> Mapping[str, Any]:
    """A.3: the text's key depends on the error; ValidationException has no `Type`. What we know beside it is ours."""
    body = {"Message" if error.type in CAPITAL_MESSAGE else "message": error.text}
    if error.type != VALIDATION:
        body["Type"] = "User" if error.status < SERVER_FAULT else "Service"
    if error.explanation:
        body["Explanation"] = error.explanation
    return body
