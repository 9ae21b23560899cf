"""How what hangs on a function, a version or an alias is named among the documents, and whom a call is about. Pure."""

from __future__ import annotations

import re

from poller.account.directory import Directory
from poller.api_errors import NOT_FOUND, ApiError
from poller.invocation_request import LATEST, CalledFunction, called_function

_ALIAS = re.compile(r"(?![0-9]+$)[a-zA-Z0-9-_]+", re.ASCII)


def key_of(name: str, qualifier: str = "") -> str:
    """`orders:$LATEST`, `orders:1`, `orders:live`."""
    return f"{name}:{qualifier or LATEST}"


def function_of(key: str) -> str:
    """The function's name in a key."""
    return key.partition(":")[0]


def called(account: Directory, function_name: str, qualifier: str | None = None) -> CalledFunction:
    """What a path names, and the parameter Qualifier beside it; whether there is such a function is not looked at.

    Raises:
        ApiError: 400 for what can be no name, 404 for another region or account.
    """
    return called_function(function_name, qualifier, account_id=account.account_id, region=account.region)


def existing(account: Directory, found: CalledFunction) -> bool:
    """Whether there is such a function, and it has that version or alias."""
    return account.has(found.name, found.qualifier)


def function_arn(account: Directory, name: str) -> str:
    """Without a qualifier."""
    return f"arn:aws:lambda:{account.region}:{account.account_id}:function:{name}"


def not_here(found: CalledFunction) -> ApiError:
    """404 of a function, version or alias that is not there, by its ARN as it was named (as AddPermission has it)."""
    if _ALIAS.fullmatch(found.qualifier):
        return ApiError(404, NOT_FOUND, f"Cannot find alias arn: {found.arn}")
    return ApiError(404, NOT_FOUND, f"Function not found: {found.arn}")
