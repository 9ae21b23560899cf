"""`poller check-idempotency`: an event twice in one environment and once in a new one; what differs is told."""

import json
import os
import sys
from pathlib import Path

import pytest
from handlers.rig import HANDLERS as HANDLERS_FOLDER

from poller.cli import main
from poller.idempotency.comparing import Difference, Run, differences, handler_lines, without_names
from poller.runtime.environment import ExecutionEnvironment
from poller.runtime.toolchains import find

RUNTIME = f"python3.{sys.version_info[1]}"
HANDLERS = """
import json, logging, os, sys, tempfile, time, uuid
calls = []
def steady(event, context):
    print("got", event["id"], context.aws_request_id)
    open(os.path.join(tempfile.gettempdir(), "last"), "w").write(context.aws_request_id)
    return {"id": event["id"], "request": context.aws_request_id, "tmp": tempfile.gettempdir()}
def counts(event, context):
    calls.append(event)
    return len(calls)
def random(event, context):
    return str(uuid.uuid4())
def appends(event, context):
    with open("ledger.txt", "a") as ledger:
        ledger.write("charged\\n")
def caches(event, context):
    path = os.path.join(tempfile.gettempdir(), "cache")
    open(path, "a").write("x")
def warns(event, context):
    if calls:
        print("seen before")
    calls.append(event)
def logs(event, context):
    logging.getLogger().warning("seen %s", event["id"])
    time.sleep(0.002)  # so that the time of the next line is another one
def fails(event, context):
    raise ValueError("why")
def holds_too_much(event, context):
    held = b"x" * (300 << 20)
    time.sleep(60)
"""


@pytest.fixture
def check(tmp_path, capsys):
    (tmp_path / "app.py").write_text(HANDLERS)
    (tmp_path / "event.json").write_text('{"id": 7}')

    def run(handler, *options, runtime=RUNTIME, resources=None, settings=None):
        template = tmp_path / "template.yaml"
        properties = {"FunctionName": "Orders", "Code": ".", "Handler": f"app.{handler}", "Runtime": runtime}
        function = {"Type": "AWS::Lambda::Function", "Properties": properties}
        whole = {"Resources": {"Orders": function, **(resources or {})}, "Metadata": {"Poller": settings or {}}}
        template.write_text(json.dumps(whole))
        event = ["--event", str(tmp_path / "event.json")]
        code = main(["check-idempotency", "Orders", "--template", str(template), *event, *options])
        return code, capsys.readouterr()

    return run


def found(check, handler, runtime=RUNTIME, **template):
    code, output = check(handler, "--json", runtime=runtime, **template)
    report = json.loads(output.out)
    assert code == (0 if report["Idempotent"] else 3)
    assert "not seen" in report["Note"]
    return [(each["Environment"], each["What"]) for each in report["Differences"]]


def test_a_function_that_does_the_same_again_passes_though_request_ids_and_folders_differ(check):
    assert found(check, "steady") == []
    code, output = check("steady")
    assert code == 0
    assert output.out.splitlines() == [
        "Orders, again in the same environment: no difference",
        "Orders, again in a new environment: no difference",
        "not seen: what the function sends to brokers, databases, destinations and other services",
    ]


def test_the_time_of_a_logged_line_is_no_difference(check):
    assert found(check, "logs") == []


@pytest.mark.parametrize(
    ("handler", "told"),
    [
        ("counts", [("warm", "result")]),
        ("random", [("warm", "result"), ("fresh", "result")]),
        (
            "appends",
            [("warm", "file in the working folder: ledger.txt"), ("fresh", "file in the working folder: ledger.txt")],
        ),
        ("caches", [("warm", "file in TMPDIR: cache")]),
        ("warns", [("warm", "output")]),
    ],
)
def test_what_differs_is_told_with_where_it_did(check, handler, told):
    assert found(check, handler) == told


NODE = """
import { appendFileSync } from 'node:fs';
let calls = 0;
export const steady = async (event, context) => {
  console.log('got', event.id);
  return { id: event.id, request: context.awsRequestId, tmp: process.env.TMPDIR };
};
export const counts = async () => ++calls;
export const random = async () => Math.random();
export const appends = async () => appendFileSync('ledger.txt', 'charged\\n');
export const caches = async () => appendFileSync(`${process.env.TMPDIR}/cache`, 'x');
export const fails = async () => { throw new Error('why'); };
"""


@pytest.mark.skipif(find("nodejs22.x") is None and not os.environ.get("CI"), reason="there is no Node.js here")
def test_a_function_of_nodejs_is_looked_at_in_the_same_way(check, tmp_path):
    (tmp_path / "app.mjs").write_text(NODE)
    (tmp_path / "app.py").unlink()
    assert found(check, "steady", "nodejs22.x") == []
    assert found(check, "counts", "nodejs22.x") == [("warm", "result")]
    assert found(check, "random", "nodejs22.x") == [("warm", "result"), ("fresh", "result")]
    assert found(check, "caches", "nodejs22.x") == [("warm", "file in TMPDIR: cache")]
    ledger = "file in the working folder: ledger.txt"
    assert found(check, "appends", "nodejs22.x") == [("warm", ledger), ("fresh", ledger)]
    code, output = check("fails", runtime="nodejs22.x")
    assert (code, output.out) == (3, "")
    assert '"errorMessage":"why"' in output.err


def test_a_bootstrap_is_looked_at_in_the_same_way(check, tmp_path):
    program = tmp_path / "bootstrap"
    program.write_text(f"#!{sys.executable}\n{(HANDLERS_FOLDER / 'scripted_bootstrap.py').read_text()}")
    program.chmod(0o755)
    (tmp_path / "event.json").write_text('["echo", [1]]')
    assert found(check, "nothing", "provided.al2023") == []
    (tmp_path / "event.json").write_text('["headers"]')  # the time that is left, among them
    assert found(check, "nothing", "provided.al2023") == [("warm", "result"), ("fresh", "result")]


def test_a_function_with_destinations_sends_nothing_there(check, tmp_path):
    config = {
        "Type": "AWS::Lambda::EventInvokeConfig",
        "Properties": {
            "FunctionName": "Orders",
            "Qualifier": "$LATEST",
            "DestinationConfig": {"OnSuccess": {"Destination": "arn:aws:sqs:us-east-1:123456789012:done"}},
        },
    }
    settings = {"Endpoints": {"arn:aws:sqs:us-east-1:123456789012:done": f"file:{tmp_path}/done"}}
    assert found(check, "steady", resources={"Config": config}, settings=settings) == []
    assert not (tmp_path / "done").exists()


def test_the_text_shows_both_values(check):
    code, output = check("counts")
    assert code == 3
    assert "  result\n    first:  1\n    second: 2\n" in output.out


def test_of_a_function_that_fails_nothing_can_be_said(check):
    code, output = check("fails")
    assert code == 3
    assert "the function failed, so nothing can be said" in output.err
    assert output.out == ""


def test_a_function_that_holds_too_much_memory_is_killed_unless_the_settings_say_otherwise(check):  # A.4, E.3
    code, output = check("holds_too_much")
    assert code == 3
    assert "Runtime exited with error: signal: killed" in output.err
    code, output = check("holds_too_much", settings={"EnforceMemory": False})
    assert "Task timed out after" in output.err


def test_an_event_that_is_no_json_is_refused(check, tmp_path):
    (tmp_path / "event.json").write_text("{")
    code, output = check("steady")
    assert code == 2
    assert "Could not parse request body into json" in output.err


def test_both_environments_are_stopped_when_ctrl_c_comes_while_the_first_is(check, monkeypatch):
    stop, stopped = ExecutionEnvironment.stop, []

    def interrupted(self):
        stop(self)
        stopped.append(self)
        if len(stopped) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(ExecutionEnvironment, "stop", interrupted)
    code, _ = check("steady")
    assert code == 130
    assert len(set(stopped)) == 2


def run(payload="1", lines=(), temporary=None, code=None):
    return Run(payload, None, lines, temporary or {}, code or {})


def test_json_that_is_written_otherwise_is_the_same_result():
    assert differences(run('{"a":1,"b":2}'), run('{"b": 2, "a": 1}')) == []


def test_many_differences_are_cut_short():
    found = differences(run(lines=[str(n) for n in range(20)]), run(lines=[]))
    assert len(found) == 6
    assert found[-1] == Difference("output", "", "and 15 more")


def test_only_the_handlers_own_lines_count():
    lines = [
        "INIT_START Runtime Version: x",
        "START RequestId: r",
        "mine",
        "START",
        "END RequestId: r",
        "REPORT RequestId: r",
    ]
    assert handler_lines([*lines, '{"time":"t","type":"platform.report","record":{}}']) == ["mine", "START"]


def test_longer_names_are_replaced_before_those_within_them():
    assert without_names("/tmp/x/id", {"/tmp/x": "<TMPDIR>", "/tmp/x/id": "<FILE>"}) == "<FILE>"


def test_the_state_folder_and_caches_are_no_effects(check, tmp_path):
    (tmp_path / ".poller").mkdir()
    assert found(check, "steady") == []
    assert Path(tmp_path / "__pycache__").exists()
