"""Calls on functions, versions and aliases with any contents: never a 500, and what is answered is what is kept."""

from __future__ import annotations

import asyncio
import json
import logging
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote

import pytest
from api_service import RUNTIME, template_of
from hypothesis import example, given
from hypothesis import strategies as st
from packages import ROLE, describing, linked, request, zip_of
from prometheus_client import CollectorRegistry

from fuzz.odd import any_json, any_text, no_hang
from fuzz.tally import tried
from poller.account.documents import ForgettingDocuments
from poller.account.function_requests import (
    CREATE_ALIAS,
    CREATE_FUNCTION,
    LOCAL_FOLDER,
    UPDATE_ALIAS,
    UPDATE_CODE,
    UPDATE_CONFIGURATION,
)
from poller.account.layers import ADD_PERMISSION, PUBLISH_LAYER_VERSION
from poller.account.setup import AccountFunctions
from poller.api import functions
from poller.api import layers as layer_calls
from poller.api.endpoint import Endpoint
from poller.api.health import application
from poller.clock import SystemClock
from poller.shares import shares_of
from poller.template import Template

PATH = "/2015-03-31/functions"
LAYERS = "/2018-10-31/layers"
LAYER = "arn:aws:lambda:us-east-1:123456789012:layer"

packages = st.sampled_from(
    [
        b64encode(content).decode()
        for content in (
            describing("first"),
            describing("second"),
            describing("third"),
            describing("fourth"),
            b"",
            b"PK\x05\x06" + bytes(18),
            describing("first")[:-9],
            zip_of(("../x", "x")),
            linked("x", "/etc/passwd"),
        )
    ]
)
LIKELY: dict[str, st.SearchStrategy[Any]] = {
    "FunctionName": st.sampled_from(["f", "g", "f:1", "declared", "arn:aws:lambda:us-east-1:123456789012:function:g"]),
    "Role": st.just(ROLE),
    "Runtime": st.just(RUNTIME),
    "Handler": st.sampled_from(["app.handler", "x"]),
    "Code": st.fixed_dictionaries({"ZipFile": packages})
    | st.just({"S3Bucket": LOCAL_FOLDER, "S3Key": str(Path(__file__).parents[1] / "handlers")}),
    "ZipFile": packages,
    "Environment": st.just({"Variables": {"AB": "c"}}),
    "Timeout": st.sampled_from([5, 900, 901]),
    "MemorySize": st.just(256),
    "Publish": st.booleans(),
    "DryRun": st.booleans(),
    "Name": st.sampled_from(["live", "other", "1"]),
    "FunctionVersion": st.sampled_from(["1", "2", "$LATEST"]),
    "RoutingConfig": st.sampled_from(
        [{}, {"AdditionalVersionWeights": {"1": 0.5}}, {"AdditionalVersionWeights": {"2": 1}}]
    ),
    "Description": st.sampled_from(["", "a", "ä"]),
    "Tags": st.just({"a": "b"}),
    "Layers": st.lists(st.sampled_from([f"{LAYER}:l:1", f"{LAYER}:l:2", f"{LAYER}:m:1", f"{LAYER}:l"]), max_size=6),
    "Content": st.fixed_dictionaries({"ZipFile": packages}),
    "LicenseInfo": st.just("MIT"),
    "CompatibleRuntimes": st.sampled_from([[], ["python3.12"], ["cobol"]]),
    "CompatibleArchitectures": st.sampled_from([["arm64"], ["arm64", "x86_64"], ["z80"]]),
    "StatementId": st.sampled_from(["s", "t", "x y"]),
    "Action": st.just("lambda:GetLayerVersion"),
    "Principal": st.sampled_from(["*", "123456789012", "nobody"]),
    "OrganizationId": st.just("o-1234567890"),
}
NEEDED = (
    *("FunctionName", "Role", "Runtime", "Handler", "Code", "Name", "FunctionVersion", "ZipFile", "Content"),
    *("StatementId", "Action", "Principal"),
)


def bodies(members: Any) -> st.SearchStrategy[Any]:
    """Mostly good ones, with something odd in them now and then."""
    good = {name: LIKELY[name] for name in members if name in NEEDED}
    more = {name: LIKELY[name] for name in members if name in LIKELY and name not in NEEDED}
    odd = st.dictionaries(st.sampled_from(sorted(members)) | any_text, any_json, max_size=2)
    whole = st.fixed_dictionaries(good, optional=more)
    return whole | whole | whole | st.builds(lambda one, other: {**one, **other}, whole, odd) | any_json


names = (
    st.just("f")
    | st.just("f")
    | st.sampled_from(["f", "g", "f:1", "f:live", "declared", "%00", "é", "x" * 300, "a%2Fb", "f%3A%24LATEST"])
)
aliases = st.just("live") | st.sampled_from(["live", "other", "1", "%ff", "x" * 300])
queries = st.just("") | st.just("") | st.sampled_from(["", "Qualifier=1", "Qualifier=live", "Qualifier=%24LATEST", "Qualifier=", "MaxItems=0"]) | st.builds(
    lambda marker, most, version: f"Marker={quote(marker, errors='replace')}&MaxItems={most}&FunctionVersion={version}",
    any_text | st.sampled_from(["f:$LATEST", "1"]),
    st.sampled_from(["1", "2", "-1", "x", "9" * 5000, "²"]),
    st.sampled_from(["ALL", "1", "x"]),
)  # fmt: skip


layers = st.just("l") | st.sampled_from(["l", "m", quote(f"{LAYER}:l"), quote(f"{LAYER}s:l"), "l:1", "é", "x" * 150])
numbers = st.just("1") | st.sampled_from(["1", "2", "0", "-1", "x", "9" * 5000, "%C2%B2", "policy"])
found = st.builds(
    lambda runtime, marker, most, arn: (
        f"CompatibleRuntime={runtime}&Marker={quote(marker, errors='replace')}&MaxItems={most}{arn}"
    ),
    st.sampled_from(["python3.12", "cobol"]),
    any_text | st.sampled_from(["l", "1"]),
    st.sampled_from(["1", "50", "51", "x"]),
    st.sampled_from(
        ["", f"&find=LayerVersion&Arn={quote(LAYER)}:l:1", "&find=LayerVersion&Arn=x", "&find=LayerVersion"]
    ),
)


def on_layers(
    method: str, end: str = "", body: st.SearchStrategy[Any] | None = None
) -> st.SearchStrategy[tuple[str, str, str, Any]]:
    """One kind of call on layers."""
    places = st.builds(
        lambda name, number: f"{LAYERS}{end}".replace("NAME", name).replace("NO", number), layers, numbers
    )
    return st.tuples(st.just(method), places, st.just("") | found, st.none() if body is None else body)


def call(
    method: str, path: str, body: st.SearchStrategy[Any] | None = None
) -> st.SearchStrategy[tuple[str, str, str, Any]]:
    """One kind of call."""
    places = st.builds(lambda name, alias: path.replace("NAME", name).replace("ALIAS", alias), names, aliases)
    return st.tuples(st.just(method), places, queries, st.none() if body is None else body)


CREATE = call("POST", PATH, bodies(CREATE_FUNCTION.members))
CALLS = st.one_of(
    CREATE,
    CREATE,
    call("PUT", f"{PATH}/NAME/code", bodies(UPDATE_CODE.members)),
    call("PUT", f"{PATH}/NAME/configuration", bodies(UPDATE_CONFIGURATION.members)),
    call("POST", f"{PATH}/NAME/versions", bodies(["Description", "CodeSha256", "RevisionId"])),
    call("POST", f"{PATH}/NAME/aliases", bodies(CREATE_ALIAS.members)),
    call("PUT", f"{PATH}/NAME/aliases/ALIAS", bodies(UPDATE_ALIAS.members)),
    call("DELETE", f"{PATH}/NAME/aliases/ALIAS"),
    call("DELETE", f"{PATH}/NAME"),
    call("GET", PATH),
    *(call("GET", f"{PATH}/NAME{end}") for end in ("", "/configuration", "/versions", "/aliases", "/aliases/ALIAS")),
)


LAYER_CALLS = st.one_of(
    on_layers("POST", "/NAME/versions", bodies([*PUBLISH_LAYER_VERSION.members][1:])),
    on_layers("POST", "/NAME/versions", bodies([*PUBLISH_LAYER_VERSION.members][1:])),
    on_layers("POST", "/NAME/versions/NO/policy", bodies(ADD_PERMISSION.members)),
    on_layers("POST", "/NAME/versions/NO/policy", bodies(ADD_PERMISSION.members)),
    *(on_layers("DELETE", f"/NAME/versions/NO{end}") for end in ("", "/policy/s", "/policy/%00")),
    *(on_layers("GET", end) for end in ("", "/NAME/versions", "/NAME/versions/NO", "/NAME/versions/NO/policy")),
    call("PUT", f"{PATH}/NAME/configuration", bodies(["Layers", "Description"])),
)


@pytest.fixture(scope="module", autouse=True)
def _quiet() -> Iterator[None]:
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.CRITICAL)
    yield
    root.setLevel(level)


def account_of(template: Template, documents: ForgettingDocuments) -> AccountFunctions:
    return AccountFunctions(template, shares_of(template, 1)[0], SystemClock(), documents)


def kept(account: AccountFunctions) -> list[Any]:
    """All that calls made, as they show it."""
    made = [name for name in account.catalogue.names() if not account.catalogue.is_declared(name)]
    shown = [item for item in account.functions.list_functions("ALL")["Functions"] if item["FunctionName"] in made]
    shelf = account.layers.shelf
    layers = [version.document() for name in shelf.names() for version in shelf.versions(name).values()]
    return [shown, [account.publishing.list_aliases(name) for name in made], layers]


async def answered(endpoint: Endpoint, method: str, path: str, query: str, body: bytes) -> tuple[int, bytes]:
    messages: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        messages.append(message)

    raw = path.encode()
    scope = {
        "type": "http",
        "method": method,
        "path": raw.decode(),
        "raw_path": raw,
        "root_path": "",
        "scheme": "http",
        "server": ("127.0.0.1", 9001),
        "query_string": query.encode(),
        "headers": [(b"host", b"localhost")],
    }
    await endpoint(scope, receive, send)
    return messages[0]["status"], b"".join(message.get("body", b"") for message in messages[1:])


@given(st.lists(CALLS, min_size=1, max_size=7) | st.lists(LAYER_CALLS, min_size=1, max_size=7))
@example([("POST", PATH, "", {"FunctionName": "f", "Role": ROLE, "Handler": "\ud800", "Runtime": RUNTIME, "Code": {}})])
@example([("POST", PATH, "", {"FunctionName": "f", "Timeout": 10**400})])
def test_any_calls_are_answered_and_what_was_made_is_what_is_kept(calls: list[tuple[str, str, str, Any]]) -> None:
    with TemporaryDirectory() as folder, no_hang():
        template = template_of(Path(folder), {"declared": {"Handler": "basic.echo"}})
        documents = ForgettingDocuments()
        account = account_of(template, documents)
        app = application(
            CollectorRegistry(),
            list,
            lambda: True,
            calls=[*functions.routes(account), *layer_calls.routes(account.layers)],
        )
        endpoint = Endpoint(app, "not here")
        layer = ("POST", f"{LAYERS}/l/versions", "", {"Content": {"ZipFile": b64encode(describing("first")).decode()}})
        first = ("POST", PATH, "", request(Publish=True, Layers=[f"{LAYER}:l:1"]))
        for method, path, query, body in [layer, first, *calls]:
            content = b"" if body is None else json.dumps(body).encode()
            before = kept(account)
            status, answer = asyncio.run(answered(endpoint, method, path, query, content))
            tried(f"calls on {'layers' if path.startswith(LAYERS) else 'functions'}: {method} {status}")
            assert status < 500, (method, path, answer)
            assert b"Traceback" not in answer
            if status >= 400 or method == "GET":
                assert kept(account) == before
        assert kept(account_of(template, documents)) == kept(account)
        account.environments.stop(0)
