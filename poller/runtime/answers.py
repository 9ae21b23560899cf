"""What Invoke answers when there is no answer of the handler's own (A.3, A.4). Pure."""

from __future__ import annotations

import json

from poller.model import InvocationResult


def error_answer(request_id: str, status: int, text: str) -> InvocationResult:
    """The function was not run: A.3's body, with its key of the text for that status."""
    origin, key = ("Service", "Message") if status >= 500 else ("User", "message")  # noqa: PLR2004
    return InvocationResult(request_id, compact(Type=origin, **{key: text}), status=status)


def throttled(request_id: str, reason: str) -> InvocationResult:
    """The function was not run for want of concurrency (A.3)."""
    return InvocationResult(request_id, compact(Reason=reason, Type="User", message="Rate Exceeded."), status=429)


def stopped(request_id: str) -> InvocationResult:
    """The function was not run, and will not be."""
    return error_answer(request_id, 500, "The function was stopped before this invocation began.")


def compact(**members: str) -> bytes:
    """An object as JSON without blanks."""
    return json.dumps(members, separators=(",", ":")).encode()
