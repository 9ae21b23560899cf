"""The service in this process, with its port open, for clients that speak HTTP: functions of tests/handlers."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from handlers.rig import HANDLERS

from poller.account.documents import Documents, ForgettingDocuments
from poller.api import event_source_mappings, function_configs, function_urls, functions, layers
from poller.api.endpoint import Endpoint, door
from poller.api.health import application
from poller.api.invocations import Invocations
from poller.api.server import HttpServer, bind
from poller.clock import SystemClock
from poller.control_plane import ControlPlane
from poller.fronts.serving import Fronts
from poller.metrics import Metrics
from poller.running_service import identity_of
from poller.service import async_invoker
from poller.template import Template, load

RUNTIME = f"python{sys.version_info[0]}.{sys.version_info[1]}"
ACCOUNT, REGION = "123456789012", "us-east-1"


def arn(function: str) -> str:
    return f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{function}"


def template_of(folder: Path, functions: Mapping[str, Mapping[str, Any]], **settings: Any) -> Template:
    """A template of functions by name, each with its Handler and what else it needs."""
    common = {"Code": str(HANDLERS), "Runtime": RUNTIME, "Role": f"arn:aws:iam::{ACCOUNT}:role/r"}
    resources = {
        f"F{number}": {"Type": "AWS::Lambda::Function", "Properties": {**common, "FunctionName": name, **properties}}
        for number, (name, properties) in enumerate(functions.items())
    }
    path = folder / "template.json"
    path.write_text(json.dumps({"Metadata": {"Poller": settings}, "Resources": resources}))
    return load(path, environment={})


@contextmanager
def served(template: Template, documents: Documents | None = None) -> Iterator[str]:
    """Serve the template's functions; gives the URL."""
    with served_with_apis(template, documents) as (url, _):
        yield url


@contextmanager
def served_with_apis(template: Template, documents: Documents | None = None) -> Iterator[tuple[str, str]]:
    """Serve the template's functions and APIs; gives the URL, and that of the APIs."""
    metrics = Metrics()
    documents = documents or ForgettingDocuments()
    plane = ControlPlane(template, metrics, SystemClock(), documents=documents)
    fronts = Fronts(template, plane, documents, metrics.registry, plane.account.catalogue.changing)
    plane.on_function_deleted(fronts.urls.gone, fronts.urls.recall)
    entrance = door(template.settings)
    routes = [
        *event_source_mappings.routes(plane.sources),
        *functions.routes(plane.account, entrance.readable),
        *layers.routes(plane.account.layers, entrance.readable),
        *function_configs.routes(plane.configs),
        *function_urls.routes(fronts.urls),
    ]
    identity = identity_of(template.path)
    app = application(metrics.registry, plane.mapping_states, plane.alive, calls=routes, identity=identity)
    asynchronous = async_invoker(template, plane, metrics)
    endpoint = Endpoint(app, Invocations(plane, asynchronous), entrance, urls=fronts.url_front)
    server = HttpServer(endpoint, bind(template.settings.Bind, 0))
    plane.start()
    asynchronous.start()
    server.start()
    fronts.start(server.address)
    try:
        yield f"http://{server.address}", f"http://{fronts.api_address}"
    finally:
        asynchronous.leave()
        plane.stop(asynchronous.drain)
        server.stop()
        fronts.stop()
        asynchronous.stop(1.0)


def aws_client(url: str, **options: Any) -> Any:
    """boto3's client of Lambda, which tries nothing twice."""
    given = {
        "endpoint_url": url,
        "region_name": REGION,
        "aws_access_key_id": "AKIDEXAMPLE",
        "aws_secret_access_key": "example",
        "config": Config(retries={"total_max_attempts": 1}, read_timeout=60, proxies={}),
        **options,
    }
    return boto3.session.Session().client("lambda", **given)


Connect = Callable[..., Any]
