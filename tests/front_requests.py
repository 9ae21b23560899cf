"""Requests for tests of the fronts' pure parts, and an account whose functions answer at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from poller.fronts.request import FrontRequest
from poller.model import Invocation, InvocationResult

TIME = 1_764_064_800.0
TRACE = "Root=1-69257d20-000000000000000000000000"


def front_request(method: str = "GET", path: str = "/", **given: Any) -> FrontRequest:
    values: dict[str, Any] = {
        "method": method,
        "path": path,
        "query": "",
        "headers": [],
        "body": b"",
        "source_ip": "203.0.113.9",
        "scheme": "https",
        "port": 443,
        "protocol": "HTTP/1.1",
        "request_id": "the-id",
        "time": TIME,
        "trace_id": TRACE,
        **given,
    }
    return FrontRequest(**values)


class AnsweringPool:
    """Answers with the event, or with what it is told; not at all when it is told None.

    What is told to be streamed goes to a caller that takes a stream in two pieces, as from an environment.
    """

    def __init__(self) -> None:
        self.invoked: list[Invocation] = []
        self.answers: list[InvocationResult | None] = []

    def submit(self, invocation: Invocation, on_result: Callable[[InvocationResult], None], *, wait: bool) -> None:
        assert not wait
        self.invoked.append(invocation)
        answer = self.answers.pop(0) if self.answers else InvocationResult(invocation.request_id, invocation.payload)
        if answer is not None:
            stream = invocation.response_stream
            if stream is not None and answer.streamed:
                stream.attach("$LATEST", lambda: None)
                stream.begin(answer.content_type)
                stream.take(answer.payload[:3])
                stream.take(answer.payload[3:])
                answer = answer._replace(payload=b"") if answer.function_error is None else answer
            on_result(answer)


class Account:
    """Functions `f` and `g`, which the template declares; `f` has the alias `live`."""

    account_id, region = "123456789012", "us-east-1"

    def __init__(self) -> None:
        self.only = AnsweringPool()
        self.there = {"f", "g"}
        self.full = False

    def pool(self, function_name: str, qualifier: str = "") -> Any:
        return self.only if function_name in self.there else None

    def at_account_limit(self, function_name: str, qualifier: str = "") -> bool:
        return self.full

    def has(self, function_name: str, qualifier: str = "") -> bool:
        return function_name in self.there and (
            qualifier in {"", "$LATEST"} or (function_name, qualifier) == ("f", "live")
        )

    def is_declared(self, function_name: str) -> bool:
        return function_name in self.there
