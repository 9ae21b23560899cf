"""Model 1: one synchronous invocation, as Lambda's `RequestResponse` (A.1)."""

from __future__ import annotations

import json
import re
import threading

from poller.model import Invocation, InvocationResult
from poller.request_ids import new_request_id
from poller.runtime.answers import error_answer
from poller.runtime.pool import FunctionPool


def invoke(
    pool: FunctionPool, payload: bytes, *, client_context: str | None = None, request_id: str | None = None
) -> InvocationResult:
    """Invoke the function and wait for its answer. Any thread but the pool's own.

    Blocks for a cold start and the function's timeout at most; a started pool answers for certain. Besides the
    statuses of `ExecutionEnvironment.invoke` there are 400 for a payload that is not JSON and 429 when no environment
    is free (A.3). An empty payload is legal.

    Args:
        pool: the function.
        payload: the event.
        client_context: JSON text for `context.client_context`.
        request_id: a UUID; a new one by default.
    """
    request_id = request_id or new_request_id()
    reason = why_no_json(payload)
    if reason is not None:
        return error_answer(request_id, 400, reason)
    invocation = Invocation(request_id, payload, pool.configuration.function_arn, client_context=client_context)
    answered = threading.Event()
    results: list[InvocationResult] = []

    def on_result(result: InvocationResult) -> None:
        results.append(result)
        answered.set()

    pool.submit(invocation, on_result, wait=False)
    answered.wait()
    return results[0]


def why_no_json(payload: bytes) -> str | None:
    """AWS's text for a payload that is not JSON (A.3); None for one that is, and for an empty one, which is legal."""
    if not payload:
        return None
    try:
        text = payload.decode(json.detect_encoding(payload), "surrogatepass")
        _JSON.decode(text)
    except _NotANumber as found:
        before = text[: next(match.start() for match in _NO_NUMBERS.finditer(text) if match[0][0] != '"')]
        return no_json(f"Non-standard token '{found}'", before.count("\n") + 1, len(before) - before.rfind("\n"))
    except (ValueError, RecursionError) as error:
        return _not_json(error)
    return None


class _NotANumber(Exception):  # noqa: N818 - what was found is in it
    """Python's parser takes it for a number, and JSON has none like it."""


def _refuse(token: str) -> None:
    raise _NotANumber(token)


_JSON = json.JSONDecoder(parse_constant=_refuse)
_NO_NUMBERS = re.compile(r'"(?:[^"\\]|\\.)*"|NaN|-?Infinity', re.DOTALL)
"""Texts, so that what stands in them is passed over, and what is no number."""


def _not_json(error: ValueError | RecursionError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return no_json(error.msg, error.lineno, error.colno)
    return no_json(str(error))


def no_json(reason: str, line: int = 1, column: int = 1) -> str:
    """AWS's text for a payload that is not JSON, about that place in it."""
    return (
        f"Could not parse request body into json: Could not parse payload into json: {reason}\n"
        f" at [Source: REDACTED; line: {line}, column: {column}]"
    )
