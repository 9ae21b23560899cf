"""An account in memory, with functions, versions and aliases that calls made, for what hangs on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from api_service import ACCOUNT, REGION, template_of

from poller.account.configs import FunctionConfigs
from poller.account.configs_usage import Usage
from poller.account.documents import Documents, ForgettingDocuments
from poller.api_errors import ApiError
from poller.runtime.prewarming import ProvisionedConcurrency

DECLARED = {"declared": {"Handler": "basic.echo", "ReservedConcurrentExecutions": 7}}


def refused(call: Any, *arguments: Any) -> tuple[int, str, str]:
    """Status, type and text of the refusal; the call must be refused."""
    try:
        answer = call(*arguments)
    except ApiError as error:
        return error.status, error.type, error.text
    raise AssertionError(f"not refused: {answer}")


@dataclass
class Account:
    """Functions by name with their qualifiers; `declared` is the template's."""

    account_id: str = ACCOUNT
    region: str = REGION
    functions: dict[str, set[str]] = field(
        default_factory=lambda: {"f": {"1", "2", "live"}, "g": set(), "declared": set()}
    )
    mappings: dict[str, bool] = field(default_factory=dict)
    """Whether the template declares it, by UUID."""
    reserved: dict[str, int | None] = field(default_factory=dict)
    """What pools were told last."""
    initialised: dict[str, Mapping[str, int]] = field(default_factory=dict)
    """Likewise, of the environments that are kept initialised."""
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: {"live": ("1",)})
    """Where they lead to, of all functions."""

    def has(self, function_name: str, qualifier: str = "") -> bool:
        return (
            qualifier in {"", "$LATEST", *self.functions[function_name]} if function_name in self.functions else False
        )

    def names(self) -> list[str]:
        return list(self.functions)

    def is_declared(self, function_name: str) -> bool:
        return function_name == "declared"

    def has_mapping(self, identifier: str) -> bool:
        return identifier in self.mappings

    def is_declared_mapping(self, identifier: str) -> bool:
        return self.mappings.get(identifier, False)

    def reserve(self, function_name: str, concurrency: int | None) -> None:
        self.reserved[function_name] = concurrency

    def leads_to(self, function_name: str, qualifier: str) -> tuple[str, ...]:
        return self.aliases.get(qualifier, (qualifier,))

    def provision(self, function_name: str, counts: Mapping[str, int]) -> None:
        self.initialised[function_name] = counts

    def provisioned(self, function_name: str, version: str) -> ProvisionedConcurrency:
        return ProvisionedConcurrency(0, 0, None)

    def usage(self) -> Usage:
        return Usage(len(self.functions), 5)


def configs_of(
    folder: Path,
    account: Account | None = None,
    documents: Documents | None = None,
    declared: Mapping[str, Any] | None = None,
    **settings: Any,
) -> FunctionConfigs:
    """The configurations of such an account; LastModified is always 17.0."""
    template = template_of(folder, declared or DECLARED, **settings)
    return FunctionConfigs(account or Account(), template, documents or ForgettingDocuments(), lambda: 17.0)
