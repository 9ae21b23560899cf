"""Which operation of Lambda's API a request is, and which of them are built."""

from __future__ import annotations

import re
from functools import cache

from poller.api.operation_table import OPERATIONS

BUILT = frozenset(
    {
        "AddLayerVersionPermission",
        "AddPermission",
        "CreateAlias",
        "CreateEventSourceMapping",
        "CreateFunction",
        "CreateFunctionUrlConfig",
        "DeleteAlias",
        "DeleteEventSourceMapping",
        "DeleteFunction",
        "DeleteFunctionConcurrency",
        "DeleteFunctionEventInvokeConfig",
        "DeleteFunctionUrlConfig",
        "DeleteLayerVersion",
        "DeleteProvisionedConcurrencyConfig",
        "GetAccountSettings",
        "GetAlias",
        "GetEventSourceMapping",
        "GetFunction",
        "GetFunctionCodeSigningConfig",
        "GetFunctionConcurrency",
        "GetFunctionConfiguration",
        "GetFunctionEventInvokeConfig",
        "GetFunctionRecursionConfig",
        "GetFunctionUrlConfig",
        "GetLayerVersion",
        "GetLayerVersionByArn",
        "GetLayerVersionPolicy",
        "GetPolicy",
        "GetProvisionedConcurrencyConfig",
        "GetRuntimeManagementConfig",
        "Invoke",
        "InvokeAsync",
        "InvokeWithResponseStream",
        "ListAliases",
        "ListEventSourceMappings",
        "ListFunctionEventInvokeConfigs",
        "ListFunctionUrlConfigs",
        "ListFunctions",
        "ListLayerVersions",
        "ListLayers",
        "ListProvisionedConcurrencyConfigs",
        "ListTags",
        "ListVersionsByFunction",
        "PublishLayerVersion",
        "PublishVersion",
        "PutFunctionConcurrency",
        "PutFunctionEventInvokeConfig",
        "PutFunctionRecursionConfig",
        "PutProvisionedConcurrencyConfig",
        "PutRuntimeManagementConfig",
        "RemoveLayerVersionPermission",
        "RemovePermission",
        "TagResource",
        "UntagResource",
        "UpdateAlias",
        "UpdateEventSourceMapping",
        "UpdateFunctionCode",
        "UpdateFunctionConfiguration",
        "UpdateFunctionEventInvokeConfig",
        "UpdateFunctionUrlConfig",
    }
)


def operation_of(method: str, path: str, query: str = "") -> str | None:
    """The name of the operation with this method and this path, percent-encoded; None when there is none."""
    for name, its_method, pattern, needed in _patterns():
        if method == its_method and pattern.fullmatch(path) and needed in query:
            return name
    return None


@cache
def _patterns() -> list[tuple[str, str, re.Pattern[str], str]]:
    """Name, method, path and what the query has to hold; those that want a query first."""
    made = []
    for name, method, uri in OPERATIONS:
        path, _, query = uri.partition("?")
        parts = ["[^/]+" if part.startswith("{") else re.escape(part) for part in path.split("/")]
        made.append((name, method, re.compile("/".join(parts) + "/?"), query))
    return sorted(made, key=lambda one: not one[3])
