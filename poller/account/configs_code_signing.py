"""Code signing: GetFunctionCodeSigningConfig. No function has any, but tools ask whenever they read a function."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from poller.account.function_keys import called, existing, not_here

if TYPE_CHECKING:
    from poller.account.configs import Account


class CodeSigning:
    """Any thread; does not block."""

    def __init__(self, account: Account) -> None:
        self._account = account

    def get(self, function_name: str) -> dict[str, Any]:
        """GetFunctionCodeSigningConfig: the function, without a configuration.

        Raises:
            ApiError: 400 for what can be no name, 404.
        """
        found = called(self._account, function_name)
        if not existing(self._account, found):
            raise not_here(found)
        return {"FunctionName": found.name}
