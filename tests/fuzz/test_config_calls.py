"""Odd calls on what hangs on functions, and on mappings: never a 500, and what is refused has changed nothing."""

from __future__ import annotations

import asyncio
import json
import logging
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from account_rig import Account, configs_of
from api_service import arn, template_of
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from fuzz.odd import any_json, any_text, no_hang
from fuzz.tally import tried
from poller.account.documents import ForgettingDocuments
from poller.api import event_source_mappings, function_configs
from poller.api.endpoint import Endpoint
from poller.api.health import application
from poller.clock import SystemClock
from poller.control_plane import ControlPlane
from poller.metrics import Metrics

UUID = "1f3d8a4e-0000-4000-8000-000000000000"
MAPPING = f"arn:aws:lambda:us-east-1:123456789012:event-source-mapping:{UUID}"
KINDS = (
    "FunctionEventInvokeConfig",
    "FunctionConcurrency",
    "ProvisionedConcurrencyConfig",
    "FunctionRecursionConfig",
    "Policy",
    "Tags",
    "EventSourceMapping",
)


def usually(right: st.SearchStrategy[Any], odd: st.SearchStrategy[Any] = any_json) -> st.SearchStrategy[Any]:
    """What it should be, most of the time."""
    return st.one_of(right, right, right, right, odd)


functions = usually(
    st.sampled_from(["f", "g", "f:1", "f:live", arn("f"), f"{arn('f')}:live", "nobody", "declared"]), any_text
)
resources = usually(st.sampled_from([arn("f"), arn("g"), MAPPING, arn("nobody"), f"{arn('f')}:1"]), any_text)
qualifiers = usually(st.none() | st.sampled_from(["1", "live", "$LATEST", "9", "dead", "", "s"]), any_text)
destination = st.sampled_from(
    [
        *("", arn("g"), arn("f"), arn("nobody"), "arn", "arn:aws:sqs:us-east-1:123456789012:q", "kafka://topic"),
        *(
            "kafka://127.0.0.1:9092/t",
            "amqp://u:p@h/%2F/x",
            "file:x",
            "file:",
            "amqp://[",
            "http://x",
            "arn:aws:s3:::b",
        ),
    ]
)
to = usually(st.none() | st.fixed_dictionaries({"Destination": usually(destination)}))
fields: Mapping[str, st.SearchStrategy[Any]] = {
    "MaximumRetryAttempts": usually(st.none() | st.integers(-1, 3)),
    "MaximumEventAgeInSeconds": usually(st.sampled_from([None, 59, 60, 21_600])),
    "DestinationConfig": usually(st.none() | st.fixed_dictionaries({"OnSuccess": to, "OnFailure": to})),
    "ReservedConcurrentExecutions": usually(st.integers(-1, 1000)),
    "ProvisionedConcurrentExecutions": usually(st.integers(-1, 1000)),
    "UpdateRuntimeOn": usually(st.sampled_from(["Auto", "Manual", "FunctionUpdate", "Never"])),
    "RuntimeVersionArn": usually(st.sampled_from([None, None, "arn:aws:lambda:us-east-1::runtime:x"])),
    "RecursiveLoop": usually(st.sampled_from(["Allow", "Terminate"])),
    "Tags": usually(st.dictionaries(any_text, any_text, max_size=3)),
    "StatementId": usually(st.sampled_from(["s", "s2"])),
    "Action": usually(st.sampled_from(["lambda:InvokeFunction", "*"])),
    "Principal": usually(st.sampled_from(["*", "s3.amazonaws.com", "123456789012"])),
    "SourceArn": usually(st.sampled_from([None, "arn:aws:s3:::bucket"])),
    "RevisionId": usually(st.sampled_from([None, None, None, "stale"])),
}
"""What is null counts as left out."""
CALLS: Mapping[str, tuple[str, str, tuple[str, ...]]] = {
    "PutFunctionEventInvokeConfig": (
        "PUT",
        "/2019-09-25/functions/{}/event-invoke-config",
        ("MaximumRetryAttempts", "MaximumEventAgeInSeconds", "DestinationConfig"),
    ),
    "UpdateFunctionEventInvokeConfig": (
        "POST",
        "/2019-09-25/functions/{}/event-invoke-config",
        ("MaximumRetryAttempts", "MaximumEventAgeInSeconds", "DestinationConfig"),
    ),
    "GetFunctionEventInvokeConfig": ("GET", "/2019-09-25/functions/{}/event-invoke-config", ()),
    "DeleteFunctionEventInvokeConfig": ("DELETE", "/2019-09-25/functions/{}/event-invoke-config", ()),
    "ListFunctionEventInvokeConfigs": ("GET", "/2019-09-25/functions/{}/event-invoke-config/list", ()),
    "PutFunctionConcurrency": ("PUT", "/2017-10-31/functions/{}/concurrency", ("ReservedConcurrentExecutions",)),
    "DeleteFunctionConcurrency": ("DELETE", "/2017-10-31/functions/{}/concurrency", ()),
    "GetFunctionConcurrency": ("GET", "/2019-09-30/functions/{}/concurrency", ()),
    "PutProvisionedConcurrencyConfig": (
        "PUT",
        "/2019-09-30/functions/{}/provisioned-concurrency",
        ("ProvisionedConcurrentExecutions",),
    ),
    "GetProvisionedConcurrencyConfig": ("GET", "/2019-09-30/functions/{}/provisioned-concurrency", ()),
    "DeleteProvisionedConcurrencyConfig": ("DELETE", "/2019-09-30/functions/{}/provisioned-concurrency", ()),
    "ListProvisionedConcurrencyConfigs": ("GET", "/2019-09-30/functions/{}/provisioned-concurrency?List=ALL", ()),
    "PutRuntimeManagementConfig": (
        "PUT",
        "/2021-07-20/functions/{}/runtime-management-config",
        ("UpdateRuntimeOn", "RuntimeVersionArn"),
    ),
    "GetRuntimeManagementConfig": ("GET", "/2021-07-20/functions/{}/runtime-management-config", ()),
    "PutFunctionRecursionConfig": ("PUT", "/2024-08-31/functions/{}/recursion-config", ("RecursiveLoop",)),
    "GetFunctionRecursionConfig": ("GET", "/2024-08-31/functions/{}/recursion-config", ()),
    "AddPermission": (
        "POST",
        "/2015-03-31/functions/{}/policy",
        ("StatementId", "Action", "Principal", "SourceArn", "RevisionId"),
    ),
    "RemovePermission": ("DELETE", "/2015-03-31/functions/{}/policy/s", ()),
    "GetPolicy": ("GET", "/2015-03-31/functions/{}/policy", ()),
    "TagResource": ("POST", "/2017-03-31/tags/{}", ("Tags",)),
    "UntagResource": ("DELETE", "/2017-03-31/tags/{}", ()),
    "ListTags": ("GET", "/2017-03-31/tags/{}", ()),
    "GetAccountSettings": ("GET", "/2016-08-19/account-settings", ()),
}


@pytest.fixture(scope="module", autouse=True)
def _quiet() -> Iterator[None]:
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.CRITICAL)
    yield
    root.setLevel(level)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


class Service:
    """Answers one request after another, without a port."""

    def __init__(self, routes: list[Any]) -> None:
        self._app = Endpoint(application(CollectorRegistry(), list, lambda: True, calls=routes), "not here")

    def ask(self, method: str, path: str, query: str, body: bytes) -> tuple[int, bytes]:
        messages: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            messages.append(message)

        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": quote(path, safe="/", errors="surrogatepass").encode(),
            "root_path": "",
            "scheme": "http",
            "server": ("127.0.0.1", 9001),
            "query_string": query.encode(),
            "headers": [(b"host", b"localhost")],
        }
        with no_hang():
            asyncio.run(self._app(scope, receive, send))
        status = messages[0]["status"]
        headers = dict(messages[0]["headers"])
        content = b"".join(message.get("body", b"") for message in messages[1:])
        assert status < 500, content
        assert headers[b"x-amzn-requestid"]
        if status >= 400:
            assert headers[b"x-amzn-errortype"].endswith(b"Exception")
        assert status == 204 or isinstance(json.loads(content), dict)
        return status, content


def kept(documents: ForgettingDocuments) -> dict[str, Any]:
    return {kind: documents.all(kind) for kind in KINDS}


@st.composite
def calls(draw: st.DrawFn) -> tuple[str, str, str | None, Any]:
    """Operation, name, qualifier and body."""
    operation = draw(st.sampled_from(list(CALLS)))
    name = draw(resources if "/tags/" in CALLS[operation][1] else functions)
    wanted = st.fixed_dictionaries({field: fields[field] for field in CALLS[operation][2]})
    return operation, name, draw(qualifiers), draw(usually(wanted))


@given(made=st.lists(calls(), min_size=3, max_size=10))
def test_calls_on_configurations(folder: Path, made: list[tuple[str, str, str | None, Any]]) -> None:
    documents, account = ForgettingDocuments(), Account()
    account.mappings[UUID] = False
    configs = configs_of(folder, account, documents)
    service = Service(function_configs.routes(configs))
    for operation, name, qualifier, body in made:
        method, path, _ = CALLS[operation]
        pairs = [] if qualifier is None else [("Qualifier", qualifier), ("tagKeys", qualifier), ("MaxItems", qualifier)]
        path, _, all_of_them = path.partition("?")
        query = "&".join(filter(None, [all_of_them, urlencode(pairs, errors="surrogatepass")]))
        before = kept(documents), dict(account.reserved)
        content = b"" if method in {"GET", "DELETE"} else json.dumps(body).encode()
        status, _ = service.ask(method, path.replace("{}", name), query, content)
        tried(f"{operation}: {status}")
        if status >= 400:
            assert (kept(documents), account.reserved) == before
    again = configs_of(folder, account, documents)
    for shelf, other in (
        (configs.event_invoke.shelf, again.event_invoke.shelf),
        (configs.concurrency.shelf, again.concurrency.shelf),
        (configs.provisioned.shelf, again.provisioned.shelf),
        (configs.recursion.shelf, again.recursion.shelf),
        (configs.policies.shelf, again.policies.shelf),
        (configs.tags.shelf, again.tags.shelf),
    ):
        assert json.dumps(shelf.all()) == json.dumps(other.all()), "what is in memory is what is kept"


KAFKA = {
    "FunctionName": "f",
    "SelfManagedEventSource": {"Endpoints": {"KAFKA_BOOTSTRAP_SERVERS": ["127.0.0.1:1"]}},
    "Topics": ["orders"],
    "SourceAccessConfigurations": [
        {"Type": "VPC_SUBNET", "URI": "subnet:subnet-1"},
        {"Type": "VPC_SECURITY_GROUP", "URI": "security_group:sg-1"},
    ],
}
changes = st.dictionaries(
    st.sampled_from(
        [
            *("FunctionName", "BatchSize", "Topics", "Queues", "StartingPosition", "FilterCriteria", "Tags", "UUID"),
            *("DestinationConfig", "SourceAccessConfigurations", "SelfManagedEventSource", "EventSourceArn"),
            *("ProvisionedPollerConfig", "MaximumRetryAttempts", "FunctionResponseTypes", "name", "Nonsense"),
        ]
    ),
    any_json,
    max_size=3,
)


@given(
    created=changes,
    updated=changes,
    listed=st.dictionaries(
        st.sampled_from(["FunctionName", "Marker", "MaxItems", "EventSourceArn"]), any_text, max_size=3
    ),
    removed=st.booleans(),
)
def test_calls_on_mappings(
    folder: Path, created: dict[str, Any], updated: dict[str, Any], listed: dict[str, str], removed: bool
) -> None:
    """Switched off, so that nothing is connected to."""
    documents, path = ForgettingDocuments(), event_source_mappings.PATH
    template = template_of(folder, {"f": {"Handler": "basic.echo"}})
    plane = ControlPlane(template, Metrics(), SystemClock(), documents=documents)
    service = Service(event_source_mappings.routes(plane.sources))
    status, _ = service.ask("POST", path, "", json.dumps({**KAFKA, **created, "Enabled": False}).encode())
    tried(f"CreateEventSourceMapping: {status}")
    if status >= 400:
        assert kept(documents) == kept(ForgettingDocuments())
        status, _ = service.ask("POST", path, "", json.dumps({**KAFKA, "Enabled": False}).encode())
        assert status == 202
    [uuid] = documents.all("EventSourceMapping")
    before = kept(documents)
    status, _ = service.ask("PUT", f"{path}/{uuid}", "", json.dumps({**updated, "Enabled": False}).encode())
    tried(f"UpdateEventSourceMapping: {status}")
    if status >= 400:
        assert kept(documents) == before
    service.ask("GET", path, urlencode(listed, errors="surrogatepass"), b"")
    shown = service.ask("GET", f"{path}/{uuid}", "", b"")
    again = ControlPlane(template, Metrics(), SystemClock(), documents=documents)
    assert Service(event_source_mappings.routes(again.sources)).ask("GET", f"{path}/{uuid}", "", b"") == shown
    if removed:
        assert service.ask("DELETE", f"{path}/{uuid}", "", b"")[0] == 202
        assert kept(documents) == kept(ForgettingDocuments())
