"""Log files: a file for each log stream, in bounded space, read beside the writer (E.5), and `poller logs`."""

import json
import os
import subprocess
import sys
import threading
import types
from pathlib import Path

import pytest
import templates
from handlers.rig import HANDLERS
from unit.test_pool import Answers, submit

from poller.cli import main
from poller.function_pools import FunctionPools
from poller.logs.pattern import compile_pattern
from poller.logs.places import group_folder, log_files
from poller.logs.reading import LogReader
from poller.logs.writer import MOST_WAITING, LogFiles
from poller.model import FunctionConfiguration, LoggingConfiguration
from poller.settings import Settings
from poller.shares import shares_of
from poller.workers.supervisor import Workers

ROOT = Path(__file__).parents[2]
STREAM = "2025/11/25/[$LATEST]" + "0" * 32
OTHER = "2025/11/25/[$LATEST]" + "1" * 32
GROUP = "/aws/lambda/Orders"


@pytest.fixture
def files(tmp_path):
    return LogFiles(tmp_path, 64 * 1024)


def messages(folder, prefix="", since=0):
    return [event.message for event in LogReader(folder, prefix).new_events(since)]


def test_a_file_lies_where_its_group_and_stream_say_and_only_its_owner_reads_it(tmp_path):
    files = LogFiles(tmp_path / "state", 64 * 1024)
    files.stream(GROUP, STREAM)("START RequestId: r", "r")
    files.flush()
    path = tmp_path / "state/logs/aws/lambda/Orders" / STREAM
    assert path.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    event = json.loads(path.read_text())
    assert (event["requestId"], event["message"]) == ("r", "START RequestId: r")
    assert abs(event["timestamp"] / 1000 - path.stat().st_mtime) < 60


@pytest.mark.parametrize("group", ["../../etc", "a/../../b", "/..", "."])
def test_no_name_of_a_log_group_leads_out_of_the_state_folder(tmp_path, group):
    folder = group_folder(tmp_path, group)
    assert folder.resolve().is_relative_to((tmp_path / "logs").resolve())


def test_events_of_several_streams_come_in_order_of_their_times_and_each_once(tmp_path, files):
    one, two = files.stream(GROUP, STREAM), files.stream(GROUP, OTHER)
    reader = LogReader(group_folder(tmp_path, GROUP))
    one("a\nb", "r1")
    two("c", "")
    files.flush()
    assert [(event.message, event.request_id) for event in reader.new_events()] == [("a\nb", "r1"), ("c", "")]
    assert list(reader.new_events()) == []
    one("d", "r2")
    files.flush()
    assert [event.message for event in reader.new_events()] == ["d"]


def test_what_is_older_than_asked_for_is_left_out(tmp_path, files):
    files.stream(GROUP, STREAM)("now", "")
    files.flush()
    (event,) = LogReader(group_folder(tmp_path, GROUP)).new_events()
    assert messages(group_folder(tmp_path, GROUP), since=event.timestamp) == ["now"]
    assert messages(group_folder(tmp_path, GROUP), since=event.timestamp + 1) == []


def test_a_group_takes_no_more_than_it_may_and_the_oldest_goes_first(tmp_path, files):
    folder = group_folder(tmp_path, GROUP)
    for name in (OTHER, STREAM):
        say = files.stream(GROUP, name)
        for number in range(200):
            say(f"{number} " + "x" * 1000, "r")
            files.flush()
            assert sum(file.size for file in log_files(folder)) <= 64 * 1024
    found = messages(folder)
    assert found[-1].startswith("199 ")
    assert [int(message.split()[0]) for message in found] == list(range(200 - len(found), 200))
    assert 40 < len(found) < 64
    assert len(list(log_files(folder))) > 1


def test_a_follower_loses_nothing_when_a_file_is_ended_and_the_next_begun(tmp_path, files):
    reader = LogReader(group_folder(tmp_path, GROUP))
    say = files.stream(GROUP, STREAM)
    found = []
    for number in range(50):
        say(f"{number} " + "x" * 900, "r")
        files.flush()
        if number % 7 == 0:
            found += [event.message for event in reader.new_events()]
    found += [event.message for event in reader.new_events()]
    assert [int(message.split()[0]) for message in found] == list(range(50))


def test_of_a_group_that_functions_share_only_the_functions_own_streams_are_read(tmp_path, files):
    for name in ("Orders", "Other"):
        files.stream("shared", f"2025/11/25/{name}[$LATEST]{'0' * 32}")(name, "")
    files.flush()
    assert messages(group_folder(tmp_path, "shared"), "Orders[") == ["Orders"]


def test_a_flood_is_written_by_who_floods_so_that_memory_stays_bounded(tmp_path):
    files = LogFiles(tmp_path, 64 * 1024 * 1024)
    say = files.stream(GROUP, STREAM)
    files._thread = threading.current_thread()  # nobody else writes
    for _ in range(3 * MOST_WAITING // 100_000):
        say("x" * 100_000, "r")
        assert files._waiting <= MOST_WAITING
    files.flush()
    assert len(messages(group_folder(tmp_path, GROUP))) == 3 * MOST_WAITING // 100_000


def test_a_disk_that_cannot_be_written_costs_events_and_one_warning(tmp_path, caplog):
    (tmp_path / "logs").write_text("a file in the place of the folder")
    files = LogFiles(tmp_path, 64 * 1024)
    say = files.stream(GROUP, STREAM)
    for _ in range(3):
        say("lost", "r")
        files.flush()
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    (tmp_path / "logs").unlink()
    say("kept", "r")
    files.flush()
    assert messages(group_folder(tmp_path, GROUP)) == ["kept"]


def test_a_line_that_is_cut_off_is_passed_over(tmp_path, files):
    say = files.stream(GROUP, STREAM)
    say("one", "")
    files.flush()
    path = tmp_path / "logs/aws/lambda/Orders" / STREAM
    with path.open("ab") as opened:
        opened.write(b'{"timestamp":1,"reques\n')
    say("two", "")
    files.flush()
    assert messages(group_folder(tmp_path, GROUP)) == ["one", "two"]


@pytest.mark.parametrize(
    ("pattern", "event", "matches"),
    [
        ("ERROR", "[ERROR] x", True),
        ("ERROR", "[error] x", False),
        ("ERROR timeout", "timeout of ERROR", True),
        ("ERROR timeout", "ERROR", False),
        ("?ERROR ?WARN", "a WARN", True),
        ("?ERROR ?WARN", "INFO", False),
        ("ERROR -retry", "ERROR, retry", False),
        ("ERROR -retry", "ERROR", True),
        ('"took 3 s"', "it took 3 s", True),
        ('-"took 3 s"', "it took 3 s", False),
        (r'"say \"no\""', 'say "no"', True),
        ("%took [0-9]+ s%", "took 17 s", True),
        ("%^took%", "it took 17 s", False),
        ("", "anything", True),
        ('{ $.level = "ERROR" }', '{"level":"ERROR"}', True),
        ('{ $.level = "ERROR" }', "ERROR", False),
        ('{ $.level != "ERROR" }', '{"level":"INFO"}', True),
        ('{ $.level != "ERROR" }', '{"other":1}', False),
        ('{ $.message = "order*" }', '{"message":"order 7"}', True),
        ("{ $.record.metrics.durationMs > 3 }", '{"record":{"metrics":{"durationMs":3.5}}}', True),
        ("{ $.record.metrics.durationMs > 3 }", '{"record":{"metrics":{"durationMs":true}}}', False),
        ("{ $.items[1].id = 7 }", '{"items":[{},{"id":7}]}', True),
        ('{ $.a = 1 && $.b = 2 || $.c = "x" }', '{"c":"x"}', True),
        ('{ $.a = 1 && $.b = 2 || $.c = "x" }', '{"a":1}', False),
        ("{ $.level = ERROR }", '{"level":"ERROR"}', True),
    ],
)  # fmt: skip
def test_a_filter_pattern_matches_as_cloudwatchs(pattern, event, matches):
    assert compile_pattern(pattern)(event) is matches


@pytest.mark.parametrize(
    ("pattern", "told"),
    [
        ('"open', "is no term"),
        ("%(%", "is no regular expression"),
        ("{ $.a }", "is no comparison"),
        ("{ ($.a = 1) }", "is no comparison"),
        ('{ $.a > "x" }', "compares numbers"),
    ],
)
def test_a_filter_that_is_none_is_refused(pattern, told):
    with pytest.raises(ValueError, match=told.replace("$", r"\$")):
        compile_pattern(pattern)


# --- the command ----------------------------------------------------------------------------------------------------


@pytest.fixture
def template(tmp_path):
    (tmp_path / "app.py").write_text("def handler(event, context): ...\n")
    path = tmp_path / "template.yaml"
    path.write_text(
        "Resources:\n  Orders:\n    Type: AWS::Lambda::Function\n    Properties:\n      Code: .\n"
        "      Handler: app.handler\n      Runtime: python3.13\n"
        "  Shared:\n    Type: AWS::Lambda::Function\n    Properties:\n      Code: .\n"
        "      Handler: app.handler\n      Runtime: python3.13\n      LoggingConfig: {LogGroup: shared}\n"
    )
    return path


@pytest.fixture
def written(tmp_path, template):
    files = LogFiles(tmp_path / ".poller", 1_000_000)
    files.stream(GROUP, STREAM)("one ERROR", "r1")
    files.stream(GROUP, STREAM)("two\nlines", "r2")
    files.stream("shared", f"2025/11/25/Shared[$LATEST]{'0' * 32}")("mine", "r3")
    files.stream("shared", f"2025/11/25/Others[$LATEST]{'0' * 32}")("not mine", "r4")
    files.stream("/aws/lambda/ByCall", STREAM)("made by a call", "r5")
    files.flush()
    return template


def logs(template, *arguments):
    return main(["logs", *arguments, "--template", str(template)])


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["Orders"], ["one ERROR", "two\nlines"]),
        (["Orders", "--filter", "ERROR"], ["one ERROR"]),
        (["Orders", "--request-id", "r2"], ["two\nlines"]),
        (["Orders", "--since", "10m"], ["one ERROR", "two\nlines"]),
        (["Orders", "--since", "2999-01-01"], []),
        (["Shared"], ["mine"]),
        (["ByCall"], ["made by a call"]),
    ],
)
def test_logs_prints_what_a_function_wrote_with_its_time(written, capsys, arguments, shown):
    assert logs(written, *arguments, "--json") == 0
    assert [json.loads(line)["message"] for line in capsys.readouterr().out.splitlines()] == shown
    assert logs(written, *arguments) == 0
    text = capsys.readouterr().out
    assert all(f"Z {message}\n" in text for message in shown)


def test_logs_in_json_are_filtered_by_their_members(tmp_path, template, capsys):  # E.5
    pools = FunctionPools(Settings(Reload="false"), tmp_path / ".poller", LogFiles(tmp_path / ".poller", 1_000_000))
    logging = LoggingConfiguration("JSON", "DEBUG", "DEBUG")
    one = pools.make(FunctionConfiguration("Orders", HANDLERS, "writing.levels", timeout=30.0, logging=logging), 1)
    answers = Answers()
    one.start()
    submit(one, answers, request_id="r-1")
    answers.wait(1)
    one.stop()
    pools.stop()

    def found(pattern):
        assert logs(template, "Orders", "--json", "--since", "10m", "--filter", pattern) == 0
        return [json.loads(json.loads(line)["message"]) for line in capsys.readouterr().out.splitlines()]

    assert [line["message"] for line in found('{ $.level = "ERROR" }')] == ["bad", "own error"]
    assert [line["message"] for line in found('{ $.customer = "c-*" }')] == ["order 7"]
    assert [line["type"] for line in found('{ $.type = "platform.*" && $.record.requestId = "r-1" }')] == [
        "platform.start",
        "platform.runtimeDone",
        "platform.report",
    ]
    (report,) = found("{ $.record.metrics.memorySizeMB >= 128 }")
    assert report["type"] == "platform.report"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["Order"], "no such function (did you mean Orders?)"),
        (["Orders", "--since", "yesterday"], "neither a time"),
        (["Orders", "--filter", "%(%"], "--filter: %(% is no regular expression"),
    ],
)
def test_logs_refuses_what_means_nothing(written, capsys, arguments, told):
    assert logs(written, *arguments) == 2
    assert told in capsys.readouterr().err


def test_without_log_files_it_says_how_to_have_them(template, capsys):
    assert logs(template, "Orders") == 2
    assert "LogFiles: true" in capsys.readouterr().err


def _following(template, **pipes):
    command = [sys.executable, "-m", "poller.cli", "logs", "Orders", "--follow", "--template", str(template)]
    return subprocess.Popen(command, cwd=ROOT, text=True, stderr=subprocess.PIPE, **pipes)


def test_following_prints_what_comes_and_ends_with_ctrl_c(written, tmp_path):
    with _following(written, stdout=subprocess.PIPE) as process:
        lines = [process.stdout.readline() for _ in range(3)]
        assert lines[0].endswith("one ERROR\n")
        files = LogFiles(tmp_path / ".poller", 1_000_000)
        files.stream(GROUP, OTHER)("three", "r3")
        files.flush()
        assert process.stdout.readline().endswith("Z three\n")
        process.send_signal(2)
        assert process.wait(10) == 130
        assert process.stderr.read() == ""


def test_following_ends_when_nobody_reads_any_more_though_nothing_comes(written):
    reading, writing = os.pipe()
    with _following(written, stdout=writing) as process:
        os.close(writing)
        os.read(reading, 1)
        os.close(reading)
        assert process.wait(10) == 1
        assert process.stderr.read() == ""


@pytest.mark.parametrize(
    ("terminal", "wanted", "files"), [(True, "auto", "true"), (False, "auto", "false"), (False, "true", "true")]
)
def test_workers_write_files_where_the_supervisors_log_goes_to_a_terminal(
    tmp_path, monkeypatch, terminal, wanted, files
):
    monkeypatch.setattr(sys, "stderr", types.SimpleNamespace(isatty=lambda: terminal))
    found = templates.load(tmp_path, templates.document(settings={"LogFiles": wanted, "Workers": 2}))
    workers = Workers(found, shares_of(found, 2))
    assert {keeper._orders.template.settings.LogFiles for keeper in workers.keepers} == {files}
