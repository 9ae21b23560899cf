"""Runtime management: Get and PutRuntimeManagementConfig. There is nothing to keep, since only Auto can be true.

A function runs on what this machine has for its runtime, in whatever version that is when an environment starts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from poller.account.function_keys import called, existing, not_here
from poller.account.shapes import Structure, Text, checked
from poller.api_errors import invalid_parameter
from poller.invocation_request import LATEST

if TYPE_CHECKING:
    from poller.account.configs import Account

_ARN = (
    r"((arn:(aws[a-zA-Z-]*):lambda:(eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}::runtime:.+)|"
    r"(arn:(aws[a-zA-Z-]*):lambda:(eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:\d{12}:"
    r"runtime/[A-Za-z0-9_.-]{1,128}/version/[A-Za-z0-9_.-]{1,128}))"
)
_PUT = Structure(
    {
        "UpdateRuntimeOn": Text(names=("Auto", "Manual", "FunctionUpdate")),
        "RuntimeVersionArn": Text(26, 2048, _ARN),
    },
    ("UpdateRuntimeOn",),
)


class RuntimeManagement:
    """Any thread; does not block."""

    def __init__(self, account: Account) -> None:
        self._account = account

    def put(self, function_name: str, qualifier: str | None, body: Mapping[str, Any]) -> dict[str, Any]:
        """PutRuntimeManagementConfig: Auto, which it is anyway.

        Raises:
            ApiError: 400 for what is not true here, 404.
        """
        request = checked(body, _PUT)
        answer = self.get(function_name, qualifier)
        if request["UpdateRuntimeOn"] != "Auto" or "RuntimeVersionArn" in request:
            text = (
                "RuntimeVersionArn"
                if "RuntimeVersionArn" in request
                else f"UpdateRuntimeOn {request['UpdateRuntimeOn']}"
            )
            hint = "functions run on what this machine has for their runtime, in its present version: that is Auto"
            raise invalid_parameter(f"{text} is not supported", hint)
        return answer

    def get(self, function_name: str, qualifier: str | None) -> dict[str, Any]:
        """GetRuntimeManagementConfig.

        Raises:
            ApiError: 400 for an alias, 404.
        """
        found = called(self._account, function_name, qualifier)
        if not existing(self._account, found):
            raise not_here(found)
        if found.qualifier and found.qualifier != LATEST and not found.qualifier.isdecimal():
            raise invalid_parameter("Runtime management belongs to a function or one of its versions, not to an alias.")
        return {"UpdateRuntimeOn": "Auto", "FunctionArn": found.arn}
