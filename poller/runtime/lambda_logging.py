"""The log of a Python handler as Lambda's runtime sets it up (E.5): the root logger, and where its events go.

The handler's interpreter loads this file by its path, so it imports the standard library only; we use it, too. Each
record goes out in a frame (`log_frames`), so that one of several lines, as with a traceback, is one event of the log,
and what follows it another. The frames are written to the process's own output, so that they keep their place among
what is printed.
"""

from __future__ import annotations

import json
import logging
import os
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_FRAME = b"\xa5\x5a\x00\x03"
_NO_BREAK_SPACE = "\N{NO-BREAK SPACE}"


class LogSink:
    """Where log events go: a pipe that blocks. Any thread, and forks, too."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def log(self, msg: str) -> None:
        """Write one event. Raises OSError where nobody reads, UnicodeEncodeError for a lone surrogate."""
        event = msg.encode()
        microseconds = time.time_ns() // 1000
        left = memoryview(_FRAME + len(event).to_bytes(4, "big") + microseconds.to_bytes(8, "big") + event)
        while left:
            left = left[os.write(self._fd, left) :]


class LambdaLoggerHandler(logging.Handler):
    """Raises what goes wrong, as AWS's does: a record that cannot be formatted is an error of the handler's."""

    def __init__(self, log_sink: LogSink, request_id: Callable[[], str]) -> None:
        super().__init__()
        self.log_sink = log_sink
        """By AWS's name: `context.log` looks for it."""
        self._request_id = request_id

    def emit(self, record: logging.LogRecord) -> None:
        """Write it, with the id of the request that is in work."""
        record.aws_request_id = self._request_id()
        msg = self.format(record)
        self.log_sink.log(msg)


def set_up_logging(
    log_sink: LogSink, request_id: Callable[[], str], json_formatter: Callable[[], logging.Formatter]
) -> None:
    """Give the root logger its handler. In text format the level stays at WARNING, unless the function names one."""
    logging.Formatter.converter = time.gmtime
    handler = LambdaLoggerHandler(log_sink, request_id)
    if os.environ.get("AWS_LAMBDA_LOG_FORMAT", "").upper() == "JSON":
        handler.setFormatter(json_formatter())
    else:
        line = "[%(levelname)s]\t%(asctime)s.%(msecs)03dZ\t%(aws_request_id)s\t%(message)s\n"
        handler.setFormatter(logging.Formatter(line, "%Y-%m-%dT%H:%M:%S"))
    root = logging.getLogger()
    root.addHandler(handler)
    level = os.environ.get("AWS_LAMBDA_LOG_LEVEL", "").upper()
    level = {"TRACE": "DEBUG"}.get(level, level)
    if isinstance(logging.getLevelName(level), int):
        root.setLevel(level)


def error_text(error: dict[str, Any]) -> str:
    """An error object (A.4) in text format: one event, indented with no-break spaces."""
    lines = [f"[ERROR] {error['errorType']}: {error['errorMessage']}".removesuffix(": ")]
    lines.append("Traceback (most recent call last):")
    for frame in error["stackTrace"]:
        for line in frame.splitlines():
            text = line.lstrip(" ")
            lines.append(_NO_BREAK_SPACE * (len(line) - len(text)) + text)
    return "\n".join(lines)


def log_error(log_sink: LogSink, error: dict[str, Any]) -> None:
    """Write an error object that is too large to be answered with: else the poller writes it."""
    if os.environ.get("AWS_LAMBDA_LOG_FORMAT", "").upper() == "JSON":
        when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        log_sink.log(json.dumps({"timestamp": when, "level": "ERROR", **error}))
    else:
        log_sink.log(error_text(error))
