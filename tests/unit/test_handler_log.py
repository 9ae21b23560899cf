"""The lines of a function's log (E.5)."""

import pytest

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
