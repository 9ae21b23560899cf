"""The context object of a Python handler (E.4).

The handler's interpreter loads this file by its path, so it imports the standard library only.
"""

from __future__ import annotations

import json
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

    __slots__ = ("app_package_name", "app_title", "app_version_code", "app_version_name", "installation_id")


class ClientContext(_Fields):
    """`context.client_context`."""

    __slots__ = ("client", "custom", "env")
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
        client_context = header.get("client_context")
        if client_context:
            self.client_context = _client_context(client_context)

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until the function is stopped, never below 0."""
        return max(0, int((self._deadline - time.monotonic()) * 1000))

    def log(self, msg: object) -> None:
        """Write to the function's log, as is."""
        sys.stdout.write(str(msg))

    def __repr__(self) -> str:
        return f"LambdaContext([{','.join(f'{name}={getattr(self, name)}' for name in _SHOWN)}])"


def _client_context(text: str) -> ClientContext:
    context = ClientContext(json.loads(text))
    context.client = Client(context.client) if context.client is not None else None
    return context
