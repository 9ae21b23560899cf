"""GetAccountSettings: the account's limits as the settings have them, and what of it functions take up (A.2)."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from poller.account.configs_concurrency import ReservedConcurrency
from poller.settings import Settings

if TYPE_CHECKING:
    from poller.account.configs import Account

TOTAL_CODE_SIZE = 80_530_636_800
CODE_SIZE_UNZIPPED = 262_144_000
CODE_SIZE_ZIPPED = 52_428_800
"""Bytes: AWS's quotas of an account (75 GB), of a function's code, and of a zip file that is sent."""


class Usage(NamedTuple):
    """What functions take up."""

    functions: int
    code_size: int
    """Bytes of all deployment packages, of versions and layers too, as CodeSize shows each."""


def size_of(folder: Path) -> int:
    """Bytes of the files in a function's folder; links are not followed. Blocks."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):  # it went away meanwhile
                total += os.lstat(os.path.join(parent, name)).st_size  # noqa: PTH118 - of many files
    return total


class AccountSettings:
    """Any thread."""

    def __init__(self, account: Account, concurrency: ReservedConcurrency, settings: Settings) -> None:
        self._account = account
        self._concurrency = concurrency
        self._limit = settings.AccountConcurrency

    def get(self) -> dict[str, Any]:
        """GetAccountSettings. Blocks while code folders are measured."""
        usage = self._account.usage()
        reserved = sum(self._concurrency.reserved().values())
        return {
            "AccountLimit": {
                "TotalCodeSize": TOTAL_CODE_SIZE,
                "CodeSizeUnzipped": CODE_SIZE_UNZIPPED,
                "CodeSizeZipped": CODE_SIZE_ZIPPED,
                "ConcurrentExecutions": self._limit,
                "UnreservedConcurrentExecutions": max(0, self._limit - reserved),
            },
            "AccountUsage": {"TotalCodeSize": usage.code_size, "FunctionCount": usage.functions},
        }
