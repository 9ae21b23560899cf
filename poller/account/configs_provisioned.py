"""Provisioned concurrency of versions and aliases (E.3): Put, Get, Delete and ListProvisionedConcurrencyConfigs.

A version's environments serve whoever invokes it: itself, or any alias that leads to it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from poller.account.aliases import Alias
from poller.account.configs_concurrency import LEAST_UNRESERVED, ReservedConcurrency
from poller.account.documents import Document
from poller.account.function_keys import called, existing, function_arn, function_of, key_of, not_here
from poller.account.shelf import Shelf
from poller.account.versions import written
from poller.api_errors import CONFLICT, NOT_FOUND, ApiError, invalid_parameter, violation
from poller.invocation_request import LATEST, CalledFunction
from poller.requests import max_items, request_of
from poller.runtime.prewarming import ProvisionedConcurrency
from poller.settings import Settings
from poller.validation import Integer, Model

if TYPE_CHECKING:
    from poller.account.configs import Account

LONGEST_PAGE = 50

INIT_FAILED = "FUNCTION_ERROR_INIT_FAILURE"
"""StatusReason of FAILED."""

UNPUBLISHED = "Provisioned Concurrency Configs cannot be applied to unpublished function versions."
WEIGHTED = "Alias with weights can not be used with Provisioned Concurrency"
TAKEN = "Alias can't be used for Provisioned Concurrency configuration on an already Provisioned version"
POINTED = "Version is pointed by a Provisioned Concurrency alias"

_COUNT = "ProvisionedConcurrentExecutions"


class PutProvisionedConcurrencyConfig(Model):
    """The body of the call."""

    ProvisionedConcurrentExecutions: Annotated[Integer, Field(ge=1)]


class ProvisionedConcurrencyConfigs:
    """Any thread. Changes block for the disk.

    Args:
        shelf: the documents, by `orders:live` or `orders:1`.
        account: whose functions these are.
        reserved: what functions reserve.
        settings: the account's limit, and what the settings keep initialised of `$LATEST`.
        calls: one change at a time, and none while functions change.
        time: seconds since the epoch.
    """

    def __init__(
        self,
        shelf: Shelf,
        account: Account,
        reserved: ReservedConcurrency,
        settings: Settings,
        *,
        calls: threading.RLock,
        time: Callable[[], float],
    ) -> None:
        self.shelf = shelf
        self._account = account
        self._reserved = reserved
        self._settings = settings
        self._calls = calls
        self._time = time

    # --- the calls ----------------------------------------------------------------------------------------------------

    def put(self, function_name: str, qualifier: str | None, body: Mapping[str, Any]) -> dict[str, Any]:
        """PutProvisionedConcurrencyConfig: how it stands as it begins, IN_PROGRESS.

        Raises:
            ApiError: as recorded for E.3; 409 when the template declares the function.
            StateError: nothing was changed.
        """
        wanted = request_of(PutProvisionedConcurrencyConfig, body).ProvisionedConcurrentExecutions
        found = self._named(function_name, qualifier)
        if found.qualifier == LATEST:
            raise invalid_parameter(UNPUBLISHED)
        with self._calls:
            version = self._version(found)
            self._refuse_taken(found.name, found.qualifier, version)
            key = key_of(found.name, found.qualifier)
            self.shelf.refuse_declared(key)
            self._refuse_too_many(found.name, key, wanted)
            before = self._account.provisioned(found.name, version)
            document = {_COUNT: wanted, "LastModified": self._time()}
            self.shelf.put(key, document)
            self._account.provision(found.name, self.counts(found.name))
        return _answer(document, ProvisionedConcurrency(wanted, min(before.available, wanted), None), "IN_PROGRESS")

    def get(self, function_name: str, qualifier: str | None) -> dict[str, Any]:
        """GetProvisionedConcurrencyConfig.

        Raises:
            ApiError: as recorded; 404 where there is none.
        """
        found = self._published(function_name, qualifier)
        document = self.shelf.get(key_of(found.name, found.qualifier))
        if document is None:
            text = "No Provisioned Concurrency Config found for this function"
            raise ApiError(404, "ProvisionedConcurrencyConfigNotFoundException", text)
        return self._shown(found.name, found.qualifier, document)

    def delete(self, function_name: str, qualifier: str | None) -> None:
        """DeleteProvisionedConcurrencyConfig; without any, nothing happens.

        Raises:
            ApiError: as recorded; 409 when the template declares the function.
            StateError: nothing was changed.
        """
        with self._calls:
            found = self._published(function_name, qualifier)
            key = key_of(found.name, found.qualifier)
            self.shelf.refuse_declared(key)
            if self.shelf.get(key) is not None:
                self.shelf.put(key, None)
                self._account.provision(found.name, self.counts(found.name))

    def listed(self, function_name: str, marker: str | None, most: str | None) -> dict[str, Any]:
        """ListProvisionedConcurrencyConfigs, by qualifier.

        Raises:
            ApiError: 404, no such function; 400, MaxItems out of range.
        """
        found = called(self._account, function_name)
        count = max_items(most, LONGEST_PAGE) or LONGEST_PAGE
        if not self._account.has(found.name):
            raise ApiError(404, NOT_FOUND, f"Function not found: {function_arn(self._account, found.name)}")
        configs = self._of(found.name)
        names = [name for name in sorted(configs) if marker is None or name > marker]
        arn = function_arn(self._account, found.name)
        shown = [
            {"FunctionArn": f"{arn}:{name}", **self._shown(found.name, name, configs[name])} for name in names[:count]
        ]
        answer: dict[str, Any] = {"ProvisionedConcurrencyConfigs": shown}
        return answer if len(names) <= count else {**answer, "NextMarker": names[count - 1]}

    # --- for others ---------------------------------------------------------------------------------------------------

    def counts(self, name: str) -> dict[str, int]:
        """Environments to be kept initialised, by version and alias of a function."""
        return {qualifier: document[_COUNT] for qualifier, document in self._of(name).items()}

    def total(self, name: str) -> int:
        """Over all versions and aliases, and what the settings say of `$LATEST`."""
        own = self._settings.Functions.get(name)
        return sum(self.counts(name).values()) + (own.ProvisionedConcurrency if own is not None else 0)

    def unreserved(self) -> int:
        """Of all functions that reserve no concurrency: what the account's other functions do not have."""
        names = [name for name in self._account.names() if self._reserved.of(name) is None]
        return sum(map(self.total, names))

    def check_alias(self, name: str, alias: Alias) -> None:
        """For UpdateAlias, before it is done.

        Raises:
            ApiError: the alias has provisioned concurrency, which cannot go where it would lead.
        """
        if self.shelf.get(key_of(name, alias.name)) is not None:
            self._refuse_taken(name, alias.name, _only(alias.versions))

    # --- inside -------------------------------------------------------------------------------------------------------

    def _of(self, name: str) -> dict[str, Document]:
        """By qualifier, as far as there are such versions and aliases."""
        found = {key.partition(":")[2]: item for key, item in self.shelf.all().items() if function_of(key) == name}
        return {qualifier: item for qualifier, item in found.items() if self._account.has(name, qualifier)}

    def _named(self, function_name: str, qualifier: str | None) -> CalledFunction:
        found = called(self._account, function_name, qualifier)
        if not found.qualifier:
            raise violation(None, "Qualifier", "Member must not be null")
        return found

    def _published(self, function_name: str, qualifier: str | None) -> CalledFunction:
        found = self._named(function_name, qualifier)
        if found.qualifier == LATEST:
            raise invalid_parameter("The function resource provided must be an alias or a published version.")
        if not existing(self._account, found):
            raise not_here(found)
        return found

    def _version(self, found: CalledFunction) -> str:
        """The one version whose environments are meant."""
        if not existing(self._account, found):
            raise not_here(found)
        return _only(self._account.leads_to(found.name, found.qualifier))

    def _refuse_taken(self, name: str, qualifier: str, version: str) -> None:
        """A version has its provisioned concurrency from one configuration: its own, or that of one alias."""
        for other in self._of(name):
            if other != qualifier and version in self._account.leads_to(name, other):
                raise ApiError(409, CONFLICT, POINTED if qualifier == version else TAKEN)

    def _refuse_too_many(self, name: str, key: str, wanted: int) -> None:
        before = (self.shelf.get(key) or {}).get(_COUNT, 0)
        reserved = self._reserved.of(name)
        if reserved is not None:
            if self.total(name) - before + wanted > reserved:
                text = (
                    "Requested Provisioned Concurrency should not be greater than the reservedConcurrentExecution for"
                )
                raise invalid_parameter(f"{text} function", f"the function reserves {reserved}")
            return
        left = self._settings.AccountConcurrency - sum(self._reserved.reserved().values())
        left -= self.unreserved() - before
        told = f"the setting AccountConcurrency is {self._settings.AccountConcurrency}"
        if wanted > left:
            text = "Specified ConcurrentExecutions for function is greater than account's unreserved concurrency"
            raise invalid_parameter(f"{text} [{left}].", told)
        if left - wanted < LEAST_UNRESERVED:
            text = "Specified ConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below"
            raise invalid_parameter(f"{text} its minimum value of [{LEAST_UNRESERVED}].", told)

    def _shown(self, name: str, qualifier: str, document: Document) -> dict[str, Any]:
        stands = self._account.provisioned(name, _only(self._account.leads_to(name, qualifier)))
        stands = stands._replace(requested=document[_COUNT])
        return _answer(document, stands, stands.status)


def _only(versions: tuple[str, ...]) -> str:
    if len(versions) > 1:
        raise invalid_parameter(WEIGHTED)
    if LATEST in versions:
        raise invalid_parameter(UNPUBLISHED)
    return versions[0]


def _answer(document: Document, stands: ProvisionedConcurrency, status: str) -> dict[str, Any]:
    """Here an environment is allocated once it is initialised, so the two numbers are one."""
    return {
        "RequestedProvisionedConcurrentExecutions": stands.requested,
        "AvailableProvisionedConcurrentExecutions": stands.available,
        "AllocatedProvisionedConcurrentExecutions": stands.available,
        "Status": status,
        **({"StatusReason": INIT_FAILED} if status == "FAILED" else {}),
        "LastModified": written(document["LastModified"]),
    }
