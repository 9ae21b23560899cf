"""The context object of a Python handler (E.4).

The handler's interpreter loads this file by its path, so it imports the standard library only.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from typing import Any

_SHOWN = (
    "aws_request_id",
    "log_group_name",
    "log_stream_name",
    "function_name",
    "memory_limit_in_mb",
    "function_version",
    "invoked_function_arn",
    "client_context",
    "identity",
    "tenant_id",
)

_W3C = ("traceparent", "tracestate", "baggage")


class _Fields:
    """Named attributes from a JSON object; what is absent is None."""

    __slots__: tuple[str, ...] = ()

    def __init__(self, values: dict[str, Any]) -> None:
        for name in self.__slots__:
            setattr(self, name, values.get(name))

    def __repr__(self) -> str:
        fields = ",".join(f"{name}={getattr(self, name)}" for name in self.__slots__)
        return f"{type(self).__name__}([{fields}])"


class CognitoIdentity(_Fields):
    """`context.identity`."""

    __slots__ = ("cognito_identity_id", "cognito_identity_pool_id")


class Client(_Fields):
    """`context.client_context.client`."""

    __slots__ = ("installation_id", "app_title", "app_version_name", "app_version_code", "app_package_name")  # noqa: RUF023 - the order of its repr


class ClientContext(_Fields):
    """`context.client_context`."""

    __slots__ = ("custom", "env", "client")  # noqa: RUF023 - the order of its repr
    client: Any


class LambdaContext:
    """The handler's second argument (E.4).

    Made from the header of an `invoke` frame and the monotonic time at which the event was begun. Raises whatever a
    `client_context` that is not such JSON gives rise to.
    """

    function_name = os.environ.get("AWS_LAMBDA_FUNCTION_NAME")
    function_version = os.environ.get("AWS_LAMBDA_FUNCTION_VERSION")
    memory_limit_in_mb = os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")
    log_group_name = os.environ.get("AWS_LAMBDA_LOG_GROUP_NAME")
    log_stream_name = os.environ.get("AWS_LAMBDA_LOG_STREAM_NAME")
    tenant_id = None

    def __init__(self, header: dict[str, Any], began: float) -> None:
        self.aws_request_id: str = header["request_id"]
        self.invoked_function_arn: str = header["invoked_function_arn"]
        self.identity = CognitoIdentity({})
        self.client_context: ClientContext | None = None
        self._deadline: float = began + header["limit"]
        self._w3c: dict[str, str] = {}
        client_context = header.get("client_context")
        if client_context:
            values = json.loads(client_context)
            fields = values.pop("w3c", None) if isinstance(values, dict) else None
            if isinstance(fields, dict):
                self._w3c = {name: fields[name] for name in _W3C if isinstance(fields.get(name), str)}
            self.client_context = _client_context(values)

    def w3c(self) -> dict[str, str]:
        """The trace context that came with the invocation, as W3C names its fields."""
        return dict(self._w3c)

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until the function is stopped, never below 0."""
        return max(0, int((self._deadline - time.monotonic()) * 1000))

    def log(self, msg: object) -> None:
        """Write to the function's log, as is: an event of its own where the root logger still has Lambda's handler."""
        for handler in logging.getLogger().handlers:
            if hasattr(handler, "log_sink"):
                handler.log_sink.log(str(msg))
                return
        sys.stdout.write(str(msg))

    def __repr__(self) -> str:
        return f"LambdaContext([{','.join(f'{name}={getattr(self, name)}' for name in _SHOWN)}])"


def _client_context(values: Any) -> ClientContext | None:
    if values is None:
        return None
    context = ClientContext(values)
    context.client = Client(context.client) if context.client is not None else None
    return context
