"""`--debug FUNCTION`: that function waits for a debugger, without timeouts; no other one notices."""

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from debug_client import DebugClient
from handlers.rig import HANDLERS, wait_until_gone
from inspector_client import InspectorClient
from unit.test_pool import Answers, submit

from poller.debugging import debug_problem
from poller.errors import ConfigError
from poller.function_pools import FunctionPools
from poller.model import FunctionConfiguration
from poller.runtime.debugger import debugger_variables
from poller.runtime.toolchains import find
from poller.settings import Settings
from poller.validation import parse

STOP = 7
"""The line of `debugged.py` to stop at."""


@pytest.fixture
def port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture
def pool(port, tmp_path):
    made = []
    pools = FunctionPools(Settings(Debug=f"debugged:{port}"), tmp_path, None)

    def make(name, handler):
        configuration = FunctionConfiguration(name, HANDLERS, handler, timeout=0.001 if name == "debugged" else 30.0)
        made.append(pools.make(configuration, 10))
        made[-1].start()
        return made[-1]

    yield make
    for one in made:
        one.stop()


def attached(client):
    client.ask("initialize", adapterID="test", pathFormat="path", linesStartAt1=True)
    attach = client.send("attach", justMyCode=False)
    client.event("initialized")
    source = {"path": str(HANDLERS / "debugged.py")}
    found = client.ask("setBreakpoints", source=source, breakpoints=[{"line": STOP}])
    client.ask("configurationDone")
    client.answer(attach)
    return found


def test_a_debugger_attaches_before_the_import_stops_where_it_wants_and_goes_on(pool, port):
    debugged, other = pool("debugged", "debugged.handler"), pool("other", "basic.count")
    answers, others = Answers(), Answers()
    client = DebugClient(port)
    try:
        assert attached(client)["breakpoints"][0]["line"] == STOP
        submit(debugged, answers, event=21)
        stopped = client.event("stopped")
        assert stopped["reason"] == "breakpoint"
        frame = client.ask("stackTrace", threadId=stopped["threadId"])["stackFrames"][0]
        assert (Path(frame["source"]["path"]).name, frame["line"]) == ("debugged.py", STOP)
        scope = client.ask("scopes", frameId=frame["id"])["scopes"][0]
        seen = client.ask("variables", variablesReference=scope["variablesReference"])["variables"]
        assert {"event": "21"}.items() <= {each["name"]: each["value"] for each in seen}.items()
        submit(other, others)
        assert others.wait(1)[0].status == 200
        assert not answers.results  # a millisecond of Timeout has passed long ago
        client.ask("continue", threadId=stopped["threadId"])
        (result,) = answers.wait(1)
        assert json.loads(result.payload) == [42, None]
        assert result.function_error is None
        assert debugged.stats().cold_starts == 1
    finally:
        client.close()


def test_there_is_one_environment_and_a_second_call_at_once_is_throttled(pool, port):
    debugged, answers = pool("debugged", "debugged.handler"), Answers()
    submit(debugged, answers, wait=False)  # the environment waits for a debugger
    assert answers.wait(1)[0].status == 429
    submit(debugged, answers, wait=True, event=1)
    assert debugged.stats().waiting == 1
    client = DebugClient(port)
    try:
        attached(client)
        client.ask("continue", threadId=client.event("stopped")["threadId"])
        assert json.loads(answers.wait(2)[1].payload) == [2, None]
    finally:
        client.close()


def test_a_stop_does_not_wait_for_a_debugger_that_never_comes(pool, port):
    debugged = pool("debugged", "debugged.handler")
    DebugClient(port).close()  # it listens
    worker = next(iter(debugged._roster.workers.values()))
    pid = worker.environment._sandbox.dialogue.process.pid
    stopping = threading.Thread(target=debugged.stop, args=(3600.0,))
    stopping.start()
    stopping.join(20)
    assert not stopping.is_alive()
    wait_until_gone(pid)


@pytest.mark.skipif(find("nodejs22.x") is None and not os.environ.get("CI"), reason="there is no Node.js here")
def test_a_debugger_of_nodejs_stops_in_the_handler_and_goes_on(port, tmp_path):
    (tmp_path / "index.mjs").write_text(
        "export const handler = async (event) => {\n  const doubled = event * 2;\n  debugger;\n  return doubled;\n};\n"
    )
    pools = FunctionPools(Settings(Debug=f"fn:{port}"), tmp_path / "state", None)
    one, answers = (
        pools.make(FunctionConfiguration("fn", tmp_path, "index.handler", "nodejs22.x", timeout=0.001), 10),
        Answers(),
    )
    one.start()
    client = InspectorClient(port)
    try:
        client.ask("Debugger.enable")
        client.ask("Runtime.enable")
        client.ask("Runtime.runIfWaitingForDebugger")
        client.event("Debugger.paused")  # in the first line of all
        client.ask("Debugger.resume")
        submit(one, answers, event=21)
        frame = client.event("Debugger.paused")["callFrames"][0]
        assert frame["functionName"] == "handler"
        seen = client.ask("Debugger.evaluateOnCallFrame", callFrameId=frame["callFrameId"], expression="doubled")
        assert seen["result"]["value"] == 42
        assert not answers.results
        client.ask("Debugger.resume")
        assert answers.wait(1)[0].payload == b"42"
    finally:
        client.close()
        one.stop()


@pytest.mark.parametrize(
    ("runtime", "variables"),
    [
        ("nodejs22.x", {"NODE_OPTIONS": "--max-http-header-size=1 --inspect-brk=127.0.0.1:7"}),
        (
            "java21",
            {"JAVA_TOOL_OPTIONS": "-agentlib:jdwp=transport=dt_socket,server=y,suspend=y,address=127.0.0.1:7"},
        ),
        ("provided.al2023", {}),
    ],
)
def test_other_languages_are_told_by_their_own_variables(runtime, variables):
    environment = {"NODE_OPTIONS": "--max-http-header-size=1"}
    configuration = FunctionConfiguration("fn", Path(), "h.h", runtime=runtime, environment=environment, debug_port=7)
    assert debugger_variables(configuration) == variables


@pytest.mark.parametrize("text", ["F:", "F:0", "F:65536", "F:x", ":5678", "F:1:2", "F:²"])
def test_a_setting_that_names_no_function_and_port_is_refused(text):
    with pytest.raises(ConfigError, match="is not FUNCTION or FUNCTION:PORT"):
        parse(Settings, {"Debug": text}, lambda field: field)


def _problem(debug="Orders", workers=1, **configuration):
    functions = {"Orders": FunctionConfiguration("Orders", HANDLERS, "h.h", **configuration)}
    return str(debug_problem(Settings(Debug=debug, Workers=workers), functions))


@pytest.mark.parametrize("runtime", [f"python3.{sys.version_info[1]}", "nodejs22.x"])
def test_a_port_that_is_taken_is_said_before_anything_starts(runtime):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"cannot listen on port {port} for a debugger: " in _problem(f"Orders:{port}", runtime=runtime)


def test_what_cannot_be_debugged_is_said_before_anything_starts(monkeypatch):
    assert "there is no function Order (did you mean Orders?)" in _problem("Order")
    assert "needs one process (set Workers to 1)" in _problem(workers=2)
    assert "provided.al2023 has no way to wait for a debugger" in _problem(runtime="provided.al2023")
    assert "RuntimeClient: aws" in _problem(runtime_client="aws")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert _problem(f"Orders:{port}", runtime=f"python3.{sys.version_info[1]}") == "None"
    missing = subprocess.CompletedProcess([], 1)
    monkeypatch.setattr("poller.debugging.subprocess.run", lambda *_, **__: missing)
    assert f"{sys.executable} -m pip install debugpy" in _problem(runtime=f"python3.{sys.version_info[1]}")
