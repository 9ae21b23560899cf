"""`poller check-idempotency`: an event twice in one environment and once in a new one; what differs is told."""

import json
import sys
from pathlib import Path

import pytest

from poller.cli import main
from poller.idempotency.comparing import Difference, Run, differences, handler_lines, without_names

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
"""


@pytest.fixture
def check(tmp_path, capsys):
    (tmp_path / "app.py").write_text(HANDLERS)
    (tmp_path / "event.json").write_text('{"id": 7}')

    def run(handler, *options):
        template = tmp_path / "template.yaml"
        template.write_text(
            "Resources:\n  Orders:\n    Type: AWS::Lambda::Function\n    Properties:\n      Code: .\n"
            f"      Handler: app.{handler}\n      Runtime: {RUNTIME}\n"
        )
        event = ["--event", str(tmp_path / "event.json")]
        code = main(["check-idempotency", "Orders", "--template", str(template), *event, *options])
        return code, capsys.readouterr()

    return run


def found(check, handler):
    code, output = check(handler, "--json")
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


def test_the_text_shows_both_values(check):
    code, output = check("counts")
    assert code == 3
    assert "  result\n    first:  1\n    second: 2\n" in output.out


def test_of_a_function_that_fails_nothing_can_be_said(check):
    code, output = check("fails")
    assert code == 3
    assert "the function failed, so nothing can be said" in output.err
    assert output.out == ""


def test_an_event_that_is_no_json_is_refused(check, tmp_path):
    (tmp_path / "event.json").write_text("{")
    code, output = check("steady")
    assert code == 2
    assert "Could not parse request body into json" in output.err


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
