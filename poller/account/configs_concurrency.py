"""Reserved concurrency of functions (E.3): Put, Get and DeleteFunctionConcurrency, acted on at once."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from poller.account.function_keys import called, existing
from poller.account.shelf import Shelf
from poller.api_errors import invalid_parameter
from poller.invocation_request import CalledFunction, function_missing
from poller.requests import request_of
from poller.settings import Settings
from poller.validation import Integer, Model

if TYPE_CHECKING:
    from poller.account.configs import Account
    from poller.account.configs_provisioned import ProvisionedConcurrencyConfigs

LEAST_UNRESERVED = 100
"""Of the account's concurrency, whatever functions reserve (A.2)."""

_RESERVED = "ReservedConcurrentExecutions"


class PutFunctionConcurrency(Model):
    """The body of the call."""

    ReservedConcurrentExecutions: Annotated[Integer, Field(ge=0)]


class ReservedConcurrency:
    """Any thread. Changes block for the disk."""

    def __init__(self, shelf: Shelf, account: Account, settings: Settings, calls: threading.RLock) -> None:
        self.shelf = shelf
        self._account = account
        self._limit = settings.AccountConcurrency
        self._calls = calls
        self.provisioned: ProvisionedConcurrencyConfigs | None = None
        """Which counts as well; None while there is none."""

    def put(self, function_name: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """PutFunctionConcurrency.

        Raises:
            ApiError: as recorded for E.3; 409 when the template declares the function.
            StateError: nothing was changed.
        """
        wanted = request_of(PutFunctionConcurrency, body).ReservedConcurrentExecutions
        with self._calls:
            found = self._function(function_name)
            reserved = self.reserved()
            before = reserved.get(found.name) or 0
            self._refuse_below_provisioned(found.name, wanted)
            left = self._limit - sum(reserved.values()) + before - wanted - self._provisioned_by_others(found.name)
            if wanted > before and left < LEAST_UNRESERVED:
                text = (
                    "Specified ReservedConcurrentExecutions for function decreases account's "
                    f"UnreservedConcurrentExecution below its minimum value of [{LEAST_UNRESERVED}]."
                )
                raise invalid_parameter(text, f"the setting AccountConcurrency is {self._limit}")
            self.shelf.put(found.name, {_RESERVED: wanted})
            self._account.reserve(found.name, wanted)
        return {_RESERVED: wanted}

    def get(self, function_name: str) -> dict[str, Any]:
        """GetFunctionConcurrency: empty where the function reserves none."""
        return dict(self.shelf.get(self._function(function_name).name) or {})

    def delete(self, function_name: str) -> None:
        """DeleteFunctionConcurrency; without any, nothing happens."""
        with self._calls:
            found = self._function(function_name)
            self.shelf.put(found.name, None)
            self._account.reserve(found.name, None)

    def of(self, name: str) -> int | None:
        """What a function reserves; None when nothing. For whoever makes its pool."""
        return (self.shelf.get(name) or {}).get(_RESERVED)

    def reserved(self) -> dict[str, int]:
        """What each function reserves that does."""
        return {name: item[_RESERVED] for name, item in self.shelf.all().items() if self._account.has(name)}

    def _refuse_below_provisioned(self, name: str, wanted: int) -> None:
        total = 0 if self.provisioned is None else self.provisioned.total(name)
        if wanted < total:
            text = "ReservedConcurrentExecutions  should not be lower than function's total provisioned concurrency"
            raise invalid_parameter(f"{text} [{total}].")

    def _provisioned_by_others(self, name: str) -> int:
        """What functions keep initialised that reserve nothing."""
        if self.provisioned is None:
            return 0
        return self.provisioned.unreserved() - (self.provisioned.total(name) if self.of(name) is None else 0)

    def _function(self, function_name: str) -> CalledFunction:
        found = called(self._account, function_name)
        if found.qualifier:
            text = (
                "This operation is permitted on Lambda functions only. Aliases and versions do not support this "
                "operation. Please specify either a function name or an unqualified function ARN."
            )
            raise invalid_parameter(text)
        if not existing(self._account, found):
            raise function_missing(found)
        return found
