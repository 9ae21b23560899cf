"""The lines of a function's log (E.5)."""

import pytest

from poller.log import FunctionLog
from poller.runtime.handler_log import HandlerLog, error_type


@pytest.mark.parametrize(
    ("name", "reported"),
    [
        ("Runtime.ExitError", "Runtime.ExitError"),
        ("Function.ResponseSizeTooLarge", "Function.ResponseSizeTooLarge"),
        ("ValueError", "Function.Unknown"),
        ("Runtime.x", "Function.Unknown"),
    ],
)
def test_error_types_are_reported_by_the_platforms_pattern(name, reported):  # E.1
    assert error_type(name) == reported


def test_lines_are_found_under_any_chunking():
    text = "ä\n\nlong line\n".encode() * 3 + b"rest"
    for size in range(1, len(text)):
        lines = []
        log = HandlerLog(lambda line, _, lines=lines: lines.append(line), "id")
        for start in range(0, len(text), size):
            log.output(text[start : start + size])
        log.flush()
        assert lines == ["ä", "", "long line"] * 3 + ["rest"]


def test_an_error_object_nested_too_deep_to_be_read_is_logged_as_it_is() -> None:  # A.4
    lines: list[str] = []
    log = HandlerLog(lambda line, _: lines.append(line), "id")
    log.error(b"[" * 100_000)
    assert lines[0].startswith("[[[[")


def told_of_an_answer(log: HandlerLog, output: bytes) -> None:
    log.begin(with_the_rest=True)
    log.output(output)
    log.end(duration=0.002, memory_size=128, memory=20, init=None, failure=None)


@pytest.mark.parametrize(
    ("output", "between"),
    [(b"", []), (b"said\n", ["said"]), (b"no newline", ["no newline"])],
    ids=["nothing", "a line", "a line without its end"],
)
def test_start_is_the_first_line_of_an_event_that_is_answered_already(output: bytes, between: list[str]) -> None:  # E.5
    lines: list[str] = []
    log = HandlerLog(lambda line, _: lines.append(line), "id")
    log.emit("of the init phase")
    log.begin(with_the_rest=True)
    assert lines == ["of the init phase"], "START waits for what comes next"
    told_of_an_answer(log, output)
    assert [line.split(" ")[0] if "RequestId" in line else line for line in lines[1:]] == [
        "START",
        *between,
        "END",
        "REPORT",
    ]
    assert log.tail().startswith(b"START RequestId: id"), "A.1: the tail is from START to REPORT"
    assert log.tail().decode().splitlines() == lines[1:]


def test_the_platforms_lines_of_such_an_event_are_said_in_one_go(monkeypatch: pytest.MonkeyPatch) -> None:  # E.5
    said: list[list[str]] = []
    monkeypatch.setattr(FunctionLog, "say", lambda _, lines, __: said.append([line.split()[0] for line in lines]))
    told_of_an_answer(HandlerLog(FunctionLog("fn"), "id"), b"")
    assert said == [["START", "END", "REPORT"]]
