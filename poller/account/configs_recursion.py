"""What happens to a function that invokes itself in a circle (B.5): Put and GetFunctionRecursionConfig."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from poller.account.function_keys import called, existing
from poller.account.shelf import Shelf
from poller.api_errors import matching, one_of, violation
from poller.invocation_request import FUNCTION_NAME_PATTERN, CalledFunction, function_missing
from poller.requests import request_of
from poller.validation import Model

if TYPE_CHECKING:
    from poller.account.configs import Account

_LOOP = "RecursiveLoop"
_CHOICES = ("Terminate", "Allow")
"""In the order of AWS's text."""
_UNQUALIFIED = re.sub(r"\(:\(.*", "", FUNCTION_NAME_PATTERN)
"""AWS's pattern of this call: a name without a qualifier."""


class PutFunctionRecursionConfig(Model):
    """The body of the call."""

    RecursiveLoop: Literal["Allow", "Terminate"]


class RecursionConfigs:
    """Any thread. Changes block for the disk."""

    def __init__(self, shelf: Shelf, account: Account, calls: threading.RLock) -> None:
        self.shelf = shelf
        self._account = account
        self._calls = calls

    def put(self, function_name: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """PutFunctionRecursionConfig.

        Raises:
            ApiError: 400 for another value, 404, 409 when the template declares the function.
            StateError: nothing was changed.
        """
        value = body.get(_LOOP)
        if value is not None and value not in _CHOICES:
            raise violation(value, _LOOP, one_of(_CHOICES))
        chosen = request_of(PutFunctionRecursionConfig, body).RecursiveLoop
        with self._calls:
            found = self._function(function_name)
            self.shelf.put(found.name, {_LOOP: chosen})
        return {_LOOP: chosen}

    def get(self, function_name: str) -> dict[str, Any]:
        """GetFunctionRecursionConfig."""
        return {_LOOP: (self.shelf.get(self._function(function_name).name) or {}).get(_LOOP, "Terminate")}

    def allowed(self, name: str) -> bool:
        """Whether a function may be invoked however often an event has gone round."""
        return (self.shelf.get(name) or {}).get(_LOOP) == "Allow"

    def _function(self, function_name: str) -> CalledFunction:
        found = called(self._account, function_name)
        if found.qualifier:
            raise violation(function_name, "FunctionName", matching(_UNQUALIFIED))
        if not existing(self._account, found):
            raise function_missing(found)
        return found
