"""A function with an extension in its layer, on our own client for Python and on the Runtime API; and the API alone."""

import json
import sys
from pathlib import Path

import pytest
from handlers.rig import HANDLERS, Function

from poller.model import FunctionConfiguration
from poller.runtime.extensions_api import ExtensionsApi
from poller.runtime.http_wire import Request

BASE = "/2020-01-01/extension/"
INVOKE = {"eventType": "INVOKE", "requestId": "id-1"}
SHUTDOWN = {"eventType": "SHUTDOWN"}


def call(api, method, path, body=b"", **headers):
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return api.handle(Request(method, BASE + path, names, body, len(body), {}, keep_alive=True))


def api_with(*external):
    numbers = iter(range(1000))
    return ExtensionsApi(FunctionConfiguration("fn", HANDLERS, "a.b"), external, lambda: f"i-{next(numbers)}")


def register(api, name="ext", events=("INVOKE", "SHUTDOWN"), **more):
    return call(api, "POST", "register", json.dumps({"events": events}).encode(), lambda_extension_name=name, **more)


def refusal(answer):
    return answer.reply.status, json.loads(answer.reply.body)["errorType"]


@pytest.fixture(params=["pipe", "api"])
def extended_configuration(request, tmp_path):
    """Makes a function whose layer has an extension; on our own client for Python, and on the Runtime API."""
    for name, script in (("code/bootstrap", "scripted_bootstrap"), ("layer/extensions/watcher", "scripted_extension")):
        program = tmp_path / name
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(f"#!{sys.executable}\n{(HANDLERS / f'{script}.py').read_text()}")
        program.chmod(0o755)
    own = {"code": HANDLERS, "handler": "extended.handler"}
    if request.param == "api":
        own = {"code": tmp_path / "code", "handler": "x", "runtime": "provided.al2023"}

    def make(extension="", *, timeout=20.0, **variables):
        return {
            **own,
            "timeout": timeout,
            "environment": {"NOTE": str(tmp_path / "note"), "EXTENSION": extension, **variables},
            "layers": (tmp_path / "layer",),
        }

    return make


@pytest.fixture
def extended_function(extended_configuration):
    made = []

    def make(*args, **more):
        fn = Function(**extended_configuration(*args, **more))
        made.append(fn)
        return fn

    yield make
    for one in made:
        one.environment.stop()


def told(tmp_path, what=None):
    path = tmp_path / "note"
    notes = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return notes if what is None else [note[1:] for note in notes if note[0] == what]


def children():
    """Numbers of the processes that this thread has started and nobody has reaped."""
    return Path("/proc/thread-self/children").read_text().split()
