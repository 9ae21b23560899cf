"""`poller run` as a process, called over its port: the functions answer, and the port is not opened by oversight."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from api_service import RUNTIME, aws_client
from debug_client import DebugClient

POLLER = Path(sys.executable).with_name("poller")
HANDLER = "import os\n\ndef echo(event, context):\n    return event\n\ndef names(event, context):\n    return list(os.environ)\n"
INVOKE = "/2015-03-31/functions/Echo/invocations"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A template of functions that no event source feeds."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "app.py").write_text(HANDLER)
    common = {"CodeUri": "code", "Runtime": RUNTIME}
    resources = {
        name: {"Type": "AWS::Serverless::Function", "Properties": {**common, "Handler": f"app.{name.lower()}"}}
        for name in ("Echo", "Names")
    }
    template = {"Transform": "AWS::Serverless-2016-10-31", "Resources": resources}
    (tmp_path / "template.yaml").write_text(yaml.safe_dump(template))
    return tmp_path


def environment(**variables: str) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("POLLER_")} | variables


@contextmanager
def running(folder: Path, *arguments: str, **variables: str) -> Iterator[str]:
    """The service's URL; it has to end well."""
    command = [POLLER, "run", "--port", "0", *arguments]
    with subprocess.Popen(
        command, cwd=folder, env=environment(**variables), stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        found = None
        while found is None:
            line = process.stderr.readline()
            assert line, "it ended before it served"
            found = re.search(r"http://[^/]+:(\d+)/metrics", line)
        try:
            yield f"http://127.0.0.1:{found[1]}"
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=30)
    assert process.returncode == 0


def invoke(client: Any, name: str, payload: bytes = b"{}") -> bytes:
    return client.invoke(FunctionName=name, Payload=payload)["Payload"].read()


def test_a_function_without_event_sources_is_there_to_be_called(folder: Path) -> None:
    with running(folder) as url:
        client = aws_client(url)
        assert invoke(client, "Echo", b'{"a": 1}') == b'{"a": 1}'
        client.close()
        refused = httpx.post(url + INVOKE, headers={"Origin": "https://elsewhere.example"})
        assert refused.status_code == 403
        assert httpx.post(url + INVOKE, headers={"Host": "elsewhere.example"}).status_code == 403


def test_signed_calls_are_answered_on_every_address_and_handlers_do_not_get_the_secret(folder: Path) -> None:
    (folder / "settings.yaml").write_text("SignatureKeys: {AKIDEXAMPLE: {Env: CALLERS_SECRET}}\n")
    arguments = ("--bind", "0.0.0.0", "--require-signature", "--settings", "settings.yaml")
    with running(folder, *arguments, CALLERS_SECRET="example") as url:
        client = aws_client(url)
        assert b"CALLERS_SECRET" not in invoke(client, "Names")
        client.close()
        assert httpx.post(url + INVOKE).status_code == 403


def test_an_address_that_others_reach_is_refused_before_anything_starts(folder: Path) -> None:
    done = subprocess.run(
        [POLLER, "run", "--bind", "0.0.0.0", "--port", "0"],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    assert line.startswith("poller: --bind: 0.0.0.0 can be reached from other machines")
    with running(folder, "--bind", "0.0.0.0", "--insecure-bind") as url:
        assert httpx.post(url + INVOKE, content=b"[1]").text == "[1]"


def test_poller_invoke_asks_the_service_that_runs_and_else_runs_the_function_itself(folder: Path) -> None:
    def invoke(port: str) -> dict[str, Any]:
        command = [POLLER, "invoke", "Echo", "--event", "-", "--json"]
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment(POLLER_PORT=port),
            input="[1]",
            capture_output=True,
            text=True,
            check=True,
        )
        return dict(json.loads(done.stdout))

    with running(folder) as url:
        answer = invoke(url.rpartition(":")[2])
        assert (answer["Payload"], answer["Endpoint"]) == ([1], url)
    answer = invoke(url.rpartition(":")[2])
    assert (answer["Payload"], answer["Endpoint"]) == ([1], None)


def test_run_debug_holds_one_function_for_an_editor_and_no_other(folder: Path) -> None:
    """What an editor sends with the launch.json of the documentation: attach to the port, and breakpoints."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with running(folder, "--debug", f"Echo:{port}") as url:
        client, other = aws_client(url), aws_client(url)
        answers: list[bytes] = []
        debugger = DebugClient(port)
        try:
            debugger.ask("initialize", adapterID="test", pathFormat="path", linesStartAt1=True)
            attach = debugger.send("attach", justMyCode=True)
            debugger.event("initialized")
            source = {"path": str(folder / "code" / "app.py")}
            debugger.ask("setBreakpoints", source=source, breakpoints=[{"line": 4}])
            debugger.ask("configurationDone")
            debugger.answer(attach)
            calling = threading.Thread(target=lambda: answers.append(invoke(client, "Echo", b"[21]")))
            calling.start()
            stopped = debugger.event("stopped")
            assert stopped["reason"] == "breakpoint"
            assert "PATH" in json.loads(invoke(other, "Names"))
            assert not answers
            debugger.ask("continue", threadId=stopped["threadId"])
            calling.join(20)
            assert answers == [b"[21]"]
        finally:
            debugger.close()
            client.close()
            other.close()
