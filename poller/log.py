"""Logs: readable on a terminal, one JSON object a line elsewhere. Always on stderr; stdout is for results.

The schema of a JSON line: `time` (ISO 8601, UTC, milliseconds), `level`, `logger`, `message`, then whatever of
`mapping`, `function`, `requestId` is known, and `exception` (a traceback) for faults of ours.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from functools import lru_cache
from typing import Literal

LogFormat = Literal["auto", "text", "json"]

CONTEXT = {"mapping": "mapping", "function": "function", "request_id": "requestId"}
"""Attributes of a log record that are ours, and their names in a JSON line."""


_encode = json.JSONEncoder(ensure_ascii=False).encode


@lru_cache(maxsize=4)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()[:19]


class JsonFormatter(logging.Formatter):
    """One JSON object a record."""

    def format(self, record: logging.LogRecord) -> str:
        """See the module's docstring for the schema."""
        seconds, milliseconds = divmod(round(record.created * 1000), 1000)
        line: dict[str, object] = {
            "time": f"{_second(seconds)}.{milliseconds:03}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        for attribute, name in CONTEXT.items():
            value = getattr(record, attribute, None)
            if value:
                line[name] = value
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return _encode(line)


class TextFormatter(logging.Formatter):
    """Time, level, who, what: for a person's eyes."""

    def format(self, record: logging.LogRecord) -> str:
        """The mapping or function stands before the message."""
        when = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S.%f")[:-3]
        who = getattr(record, "mapping", None) or getattr(record, "function", None) or record.name
        text = f"{when} {record.levelname:<7} {who}  {record.getMessage()}"
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return text


def configure(log_format: LogFormat = "auto", level: str = "INFO") -> None:
    """Send all logs to stderr. Called once by the command line, on the main thread.

    Args:
        log_format: `auto` is text on a terminal and JSON elsewhere.
        level: a name of the standard library's, such as `INFO`.
    """
    as_text = log_format == "text" or (log_format == "auto" and sys.stderr.isatty())
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(TextFormatter() if as_text else JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # What matters of the client libraries' troubles is told once, by the connectors. They themselves log every step of
    # a reconnect, and failures they get over as errors with tracebacks: only somebody who debugs wants to see that.
    for noisy in ("kafka", "pika"):
        logging.getLogger(noisy).setLevel(logging.ERROR if level == "DEBUG" else logging.CRITICAL)
    logging.getLogger("uvicorn").setLevel(max(logging.ERROR, logging.getLevelName(level)))


class FunctionLog:
    """A function's log lines (E.5) as records of the poller's log. Callable from any thread."""

    def __init__(self, function_name: str) -> None:
        self._logger = logging.getLogger(f"poller.function.{function_name}")
        self._function = function_name

    def __call__(self, line: str, request_id: str) -> None:
        """Log one line; `request_id` is empty for what belongs to no invocation, such as an import's output."""
        if self._logger.isEnabledFor(logging.INFO):
            # Not `info`: three lines an invocation, and looking for the caller in the stack is half of what one costs.
            record = logging.LogRecord(self._logger.name, logging.INFO, "", 0, line.rstrip("\n"), None, None)
            record.function, record.request_id = self._function, request_id
            self._logger.handle(record)
