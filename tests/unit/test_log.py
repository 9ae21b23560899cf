"""Logs: one JSON object a line where no person looks, text where one does."""

from __future__ import annotations

import io
import json
import logging
import re
import sys
import threading
import time
from collections.abc import Iterator
from queue import SimpleQueue

import pytest

from poller.log import DELAY, LONGEST_RUN, FunctionLog, JsonFormatter, RunningHandler, TextFormatter, configure, relay


@pytest.fixture
def restored_root() -> Iterator[None]:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield
    root.handlers[:], level = before
    root.setLevel(level)


def made(message: str = "said", **extra: object) -> logging.LogRecord:
    record = logging.LogRecord("poller.x", logging.WARNING, "f.py", 1, message, (), None)
    record.created = 1_764_064_800.123
    record.__dict__.update(extra)
    return record


def test_a_json_line_has_the_documented_members_and_only_the_context_that_is_known() -> None:
    assert json.loads(JsonFormatter().format(made(mapping="F.E", request_id="r"))) == {
        "time": "2025-11-25T10:00:00.123Z",
        "level": "WARNING",
        "logger": "poller.x",
        "message": "said",
        "mapping": "F.E",
        "requestId": "r",
    }
    assert "function" not in json.loads(JsonFormatter().format(made(function="")))


def test_a_message_of_several_lines_stays_one_json_line() -> None:
    assert "\n" not in JsonFormatter().format(made("one\ntwo"))


def test_a_fault_of_ours_comes_with_its_traceback() -> None:
    record = made()
    record.exc_info = (ZeroDivisionError, ZeroDivisionError("why"), None)
    assert "ZeroDivisionError: why" in json.loads(JsonFormatter().format(record))["exception"]
    assert "ZeroDivisionError: why" in TextFormatter().format(record)


def test_where_there_are_several_workers_every_line_says_which_one(
    restored_root: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    configure("json", worker=3)
    logging.getLogger("poller.x").warning("said")
    FunctionLog("F")("printed", "r")
    logging.getLogger().handlers[0].flush()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(line["message"], line["worker"]) for line in lines] == [("said", 3), ("printed", 3)]
    assert list(lines[1])[4:] == ["worker", "function", "requestId"]
    assert TextFormatter(3).format(made(mapping="F.E")).endswith("WARNING 3 F.E  said")
    assert TextFormatter().format(made(worker=3, mapping="F.E")).endswith("WARNING 3 F.E  said")


def test_lines_of_another_process_come_after_what_was_said_before_them(
    restored_root: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    configure("text")
    logging.getLogger("poller.x").info("ours")
    relay("theirs\n")
    assert [line.rpartition("  ")[2] for line in stream.getvalue().splitlines()] == ["ours", "theirs"]


@pytest.mark.parametrize(("context", "who"), [({"mapping": "F.E"}, "F.E"), ({"function": "F"}, "F"), ({}, "poller.x")])
def test_text_says_who_before_what(context: dict[str, object], who: str) -> None:
    assert TextFormatter().format(made(**context)).endswith(f"WARNING {who}  said")


@pytest.mark.parametrize(
    ("log_format", "terminal", "formatter"),
    [
        ("auto", True, TextFormatter),
        ("auto", False, JsonFormatter),
        ("text", False, TextFormatter),
        ("json", True, JsonFormatter),
    ],
)
def test_auto_is_text_on_a_terminal_and_json_elsewhere(
    log_format: str, terminal: bool, formatter: type, monkeypatch: pytest.MonkeyPatch, restored_root: None
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    configure(log_format, "DEBUG")  # type: ignore[arg-type]
    [handler] = logging.getLogger().handlers
    assert isinstance(handler.formatter, formatter)


@pytest.mark.parametrize(("level", "shown"), [("DEBUG", True), ("INFO", False), ("ERROR", False)])
def test_errors_that_the_client_libraries_get_over_are_for_debugging_only(
    level: str, shown: bool, restored_root: None
) -> None:
    configure("json", level)
    for name in ("kafka.net.transport", "pika.adapters"):
        assert logging.getLogger(name).isEnabledFor(logging.ERROR) is shown


class Stream(io.StringIO):
    """Counts writes and tells of them."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[str] = []
        self.written = threading.Event()

    def write(self, text: str) -> int:
        self.writes.append(text)
        self.written.set()
        return len(text)


def test_an_answer_that_is_cut_on_purpose_is_no_error_of_the_server(
    capsys: pytest.CaptureFixture[str], restored_root: None
) -> None:
    configure("text")
    server = logging.getLogger("uvicorn.error")
    server.error("ASGI callable returned without completing response.")
    server.error("Exception in ASGI application")
    [line] = capsys.readouterr().err.splitlines()
    assert "Exception in ASGI application" in line


def test_lines_said_together_are_written_together_and_a_warning_at_once() -> None:
    stream = Stream()
    handler = RunningHandler(stream)
    handler.setFormatter(logging.Formatter("%(message)s"))
    for level in (logging.INFO, logging.INFO, logging.WARNING):
        record = made(logging.getLevelName(level))
        record.levelno = level
        handler.handle(record)
    assert stream.writes == ["INFO\nINFO\nWARNING\n"]


def test_a_single_line_is_written_soon() -> None:
    stream = Stream()
    handler = RunningHandler(stream)
    record = made()
    record.levelno = logging.INFO
    handler.handle(record)
    assert stream.written.wait(5)
    assert "said" in stream.writes[0]


class Clock:
    """In the place of `time`: the thread `log` says how long it would sleep, and goes on when it is told."""

    time = staticmethod(time.time)

    def __init__(self) -> None:
        self.now = 100.0
        self.asleep: SimpleQueue[float] = SimpleQueue()
        self._woken: SimpleQueue[None] = SimpleQueue()

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.asleep.put(seconds)
        self._woken.get()

    def wake_at(self, now: float) -> None:
        self.now = now
        self._woken.put(None)


def test_what_the_speaker_has_written_himself_is_not_written_for_him_and_what_follows_has_its_whole_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("poller.log.time", clock := Clock())
    stream = Stream()
    handler = RunningHandler(stream)
    handler.say(["first\n"])
    assert clock.asleep.get(timeout=10) == pytest.approx(DELAY)
    clock.now = 100.0 + 0.2 * DELAY
    handler.say(["more\n"] * LONGEST_RUN)
    stream.written.clear()
    clock.now = 100.0 + 0.7 * DELAY
    handler.say(["last\n"])
    clock.wake_at(100.0 + DELAY)
    assert clock.asleep.get(timeout=10) == pytest.approx(0.7 * DELAY)
    assert stream.writes == ["first\n" + "more\n" * LONGEST_RUN]
    clock.wake_at(100.0 + 1.8 * DELAY)
    assert stream.written.wait(10)
    assert stream.writes[1:] == ["last\n"]


def test_a_stream_that_nobody_reads_any_more_is_no_error() -> None:
    stream = Stream()
    stream.close()
    stream.write = io.StringIO.write.__get__(stream)  # type: ignore[method-assign]
    RunningHandler(stream).handle(made())


def test_a_functions_lines_carry_its_name_and_request(caplog: pytest.LogCaptureFixture) -> None:  # E.5
    caplog.set_level(logging.INFO)
    FunctionLog("F")("START RequestId: r Version: $LATEST\n", "r")
    [record] = caplog.records
    assert record.getMessage() == "START RequestId: r Version: $LATEST"
    assert (record.function, record.request_id) == ("F", "r")  # type: ignore[attr-defined]


@pytest.mark.parametrize("line", ["START", 'a "quoted"\ttab and \\', "größer ✓ \u2028\0", "two\nlines\n", ""])
@pytest.mark.parametrize("request_id", ["r-1", ""])
def test_a_functions_line_is_the_same_json_however_it_gets_there(
    line: str, request_id: str, restored_root: None
) -> None:
    written = []
    for handlers in (1, 2):  # with another handler beside it, it goes through `logging`
        stream = Stream()
        handler = RunningHandler(stream)
        handler.setFormatter(JsonFormatter())
        root = logging.getLogger()
        root.setLevel(logging.INFO)
        root.handlers[:] = [handler, logging.NullHandler()][:handlers]
        FunctionLog("F")(line, request_id)
        handler.flush()
        time, _, rest = "".join(stream.writes).partition(",")
        assert re.fullmatch(r'{"time": "\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"', time)
        written.append(rest)
    assert written[0] == written[1]
    assert json.loads("{" + written[0])["message"] == line.rstrip("\n")
