"""What hangs on functions: their configurations of every kind, for the API's calls and for who acts by them.

The calls take and answer what the API's do, as plain values, and refuse with `ApiError`; any thread may make them. What
the template declares of a function is shown, and changed only with AllowDrift, until the next start.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Protocol

from poller.account.configs_code_signing import CodeSigning
from poller.account.configs_concurrency import ReservedConcurrency
from poller.account.configs_event_invoke import EventInvokeConfigs
from poller.account.configs_policy import Policies
from poller.account.configs_provisioned import ProvisionedConcurrencyConfigs
from poller.account.configs_recursion import RecursionConfigs
from poller.account.configs_runtime import RuntimeManagement
from poller.account.configs_tags import MAPPING, Tags
from poller.account.configs_usage import AccountSettings, Usage
from poller.account.directory import Directory
from poller.account.documents import Change, Documents
from poller.account.function_keys import function_of, key_of
from poller.account.shelf import Ownership, Shelf
from poller.async_invoke.configuration import AsyncConfiguration
from poller.runtime.prewarming import ProvisionedConcurrency
from poller.template import Template


class Account(Directory, Protocol):
    """What the configurations need to know of an account, and what they do to it. Any thread; does not block."""

    def has_mapping(self, identifier: str) -> bool:
        """Whether there is an event source mapping with this UUID."""

    def is_declared_mapping(self, identifier: str) -> bool:
        """Whether the template declares it."""

    def reserve(self, function_name: str, concurrency: int | None) -> None:
        """Let a function's reserved concurrency be that from now on; None is none, 0 switches it off (E.3)."""

    def leads_to(self, function_name: str, qualifier: str) -> tuple[str, ...]:
        """The versions that a version or alias of a function stands for; of one that there is."""

    def provision(self, function_name: str, counts: Mapping[str, int]) -> None:
        """Keep so many environments of a function initialised from now on, by version and alias (E.3)."""

    def provisioned(self, function_name: str, version: str) -> ProvisionedConcurrency:
        """How the provisioned concurrency of a version stands."""

    def usage(self) -> Usage:
        """What the account's functions take up. May read folders, and so block."""


class FunctionConfigs:
    """The shelves, and the calls on each."""

    def __init__(
        self,
        account: Account,
        template: Template,
        documents: Documents,
        time: Callable[[], float],
        changing: threading.RLock | None = None,
    ) -> None:
        """Read what was kept.

        Args:
            account: whose functions these are.
            template: what it declares.
            documents: where what calls make is kept.
            time: seconds since the epoch, for LastModified.
            changing: held while functions change, so that nothing is hung on one that is just going.

        Raises:
            StateError: what was kept cannot be read.
        """
        drift = template.settings.AllowDrift

        def of_function(key: str) -> str:
            name = function_of(key)
            return f"function {name}" if account.is_declared(name) else ""

        def of_resource(resource: str) -> str:
            kind, _, name = resource.partition(":")
            if kind == MAPPING:
                return f"event source mapping {name}" if account.is_declared_mapping(name) else ""
            return of_function(name)

        self._calls = calls = changing or threading.RLock()
        """One change at a time."""
        owners = Ownership(of_function, drift)
        begun = time()
        invoke = {
            key_of(name): {**config, "LastModified": begun} for name, config in template.event_invoke_configs.items()
        }
        reserved = {
            item.FunctionName: {"ReservedConcurrentExecutions": item.ReservedConcurrentExecutions}
            for item in template.functions
            if item.ReservedConcurrentExecutions is not None
        }
        self.event_invoke = EventInvokeConfigs(
            Shelf("FunctionEventInvokeConfig", documents, owners, invoke), account, template, calls, time
        )
        self.concurrency = ReservedConcurrency(
            Shelf("FunctionConcurrency", documents, owners, reserved), account, template.settings, calls
        )
        self.provisioned = ProvisionedConcurrencyConfigs(
            Shelf("ProvisionedConcurrencyConfig", documents, owners),
            account,
            self.concurrency,
            template.settings,
            calls=calls,
            time=time,
        )
        self.concurrency.provisioned = self.provisioned
        loops = {item.FunctionName: {"RecursiveLoop": item.RecursiveLoop} for item in template.functions}
        self.recursion = RecursionConfigs(Shelf("FunctionRecursionConfig", documents, owners, loops), account, calls)
        self.policies = Policies(Shelf("Policy", documents, owners), account, calls)
        self.tags = Tags(Shelf("Tags", documents, Ownership(of_resource, drift)), account, calls)
        self.runtime = RuntimeManagement(account)
        self.code_signing = CodeSigning(account)
        self.settings = AccountSettings(account, self.concurrency, template.settings)

    def asynchronous(self, name: str, qualifier: str = "") -> AsyncConfiguration:
        """How the asynchronous events of a function's version or alias are treated now, dead-letter queue apart."""
        return self.event_invoke.configuration(name, qualifier)

    def forget(self, name: str, qualifier: str = "") -> list[Change]:
        """Drop what hangs on a function, or on one version or alias of it, that is being deleted.

        It is gone from memory at once; the changes are the caller's to write together with its own, and `recall` is
        for when they cannot be written.

        Args:
            name: of the function.
            qualifier: of what is deleted; empty for the whole function.
        """
        if qualifier:
            key = key_of(name, qualifier)
            shelves = (self.event_invoke.shelf, self.policies.shelf, self.provisioned.shelf)
            with self._calls:
                return [change for shelf in shelves for change in shelf.forget(key.__eq__)]

        def belongs(key: str) -> bool:
            return function_of(key) == name

        with self._calls:
            gone = [change for part in self._of_functions() for change in part.shelf.forget(belongs)]
            return [*gone, *self.tags.forget_function(name)]

    def recall(self) -> None:
        """Read anew what is kept: what `forget`, or `adopt` of the tags, returned could not be written.

        Raises:
            StateError: it cannot be read.
        """
        for part in (*self._of_functions(), self.tags):
            part.shelf.recall()

    def _of_functions(
        self,
    ) -> tuple[
        EventInvokeConfigs | ReservedConcurrency | ProvisionedConcurrencyConfigs | RecursionConfigs | Policies, ...
    ]:
        return self.event_invoke, self.concurrency, self.provisioned, self.recursion, self.policies
