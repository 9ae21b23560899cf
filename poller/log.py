"""Logs: readable on a terminal, one JSON object a line elsewhere. Always on stderr; stdout is for results.

The schema of a JSON line: `time` (ISO 8601, UTC, milliseconds), `level`, `logger`, `message`, then whatever of
`worker`, `mapping`, `function`, `requestId` is known, and `exception` (a traceback) for faults of ours.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from functools import lru_cache
from typing import Literal, TextIO

DELAY = 0.1
"""Seconds that a line may wait for others."""

LONGEST_RUN = 200
"""Lines that are written together at most."""

LogFormat = Literal["auto", "text", "json"]

CONTEXT = {"worker": "worker", "mapping": "mapping", "function": "function", "request_id": "requestId"}
"""Attributes of a log record that are ours, and their names in a JSON line."""


_encode = json.JSONEncoder(ensure_ascii=False).encode
_quote = json.encoder.encode_basestring
_NEWLINE = "\n"


@lru_cache(maxsize=4)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()[:19]


def json_time(seconds: float) -> str:
    """A moment as the JSON lines tell it."""
    whole, milliseconds = divmod(round(seconds * 1000), 1000)
    return f"{_second(whole)}.{milliseconds:03}Z"


class JsonFormatter(logging.Formatter):
    """One JSON object a record.

    Args:
        worker: who speaks, where a record does not say; 0 where there is only one.
    """

    def __init__(self, worker: int = 0) -> None:
        super().__init__()
        self._worker = worker
        self.worker_member = f', "worker": {worker}' if worker else ""
        """For lines that are formatted elsewhere."""

    def format(self, record: logging.LogRecord) -> str:
        """See the module's docstring for the schema."""
        line: dict[str, object] = {
            "time": json_time(record.created),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        for attribute, name in CONTEXT.items():
            value = getattr(record, attribute, self._worker if attribute == "worker" else None)
            if value:
                line[name] = value
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return _encode(line)


class TextFormatter(logging.Formatter):
    """Time, level, who, what: for a person's eyes. `worker` as in `JsonFormatter`."""

    def __init__(self, worker: int = 0) -> None:
        super().__init__()
        self._worker = worker

    def format(self, record: logging.LogRecord) -> str:
        """The mapping or function stands before the message, and the worker before both where there are several."""
        when = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S.%f")[:-3]
        who = getattr(record, "mapping", None) or getattr(record, "function", None) or record.name
        if worker := getattr(record, "worker", self._worker):
            who = f"{worker} {who}"
        text = f"{when} {record.levelname:<7} {who}  {record.getMessage()}"
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return text


class RunningHandler(logging.StreamHandler[TextIO]):
    """Writes what is said within `DELAY` in one go, warnings and worse at once.

    Each write gives the interpreter's lock up, and under load a thread waits longer for it than the line took to make:
    three lines an invocation would be the largest part of a small batch. So the thread that writes for a speaker who
    says no more leaves alone what speakers write themselves. At a normal end `logging` flushes the rest.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._lines: list[str] = []
        self._began = 0.0
        """When the first of these lines was said, in monotonic seconds."""
        self._spoken = threading.Event()
        threading.Thread(target=self._write_runs, name="log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Called by `logging` with the handler's lock held, on any thread."""
        self._lines.append(self.format(record) + self.terminator)
        self._flush_if_due(first=len(self._lines) == 1, now=record.levelno > logging.INFO)

    def say(self, lines: Sequence[str]) -> None:
        """As `emit`, for lines of level INFO that are formatted already, with their ends. Any thread."""
        with self.lock or nullcontext():
            first = not self._lines
            self._lines += lines
            self._flush_if_due(first=first, now=False)

    def _flush_if_due(self, *, first: bool, now: bool) -> None:
        if now or len(self._lines) >= LONGEST_RUN:
            self.flush()
        elif first:
            self._began = time.monotonic()
            self._spoken.set()

    def flush(self) -> None:
        """Write what has gathered."""
        with self.lock or nullcontext():
            text, self._lines = "".join(self._lines), []
            try:
                self.stream.write(text)
                self.stream.flush()
            except (OSError, ValueError):
                pass  # nobody reads any more

    def relay(self, lines: str) -> None:
        """Write whole lines of another process, as they are, after what was said here before. Any thread."""
        with self.lock or nullcontext():
            self._lines.append(lines)
            self.flush()

    def _write_runs(self) -> None:
        while True:
            self._spoken.wait()
            self._spoken.clear()
            while left := self._write_if_due(time.monotonic()):
                time.sleep(left)

    def _write_if_due(self, now: float) -> float:
        """Seconds until what has gathered is due; 0 when nothing is left to write."""
        with self.lock or nullcontext():
            if not self._lines:
                return 0.0
            left = self._began + DELAY - now
            if left > 0:
                return left
            self.flush()
            return 0.0


def chosen(log_format: LogFormat) -> Literal["text", "json"]:
    """What `auto` means here: text on a terminal and JSON elsewhere."""
    if log_format == "auto":
        return "text" if sys.stderr.isatty() else "json"
    return log_format


def configure(log_format: LogFormat = "auto", level: str = "INFO", *, worker: int = 0) -> None:
    """Send all logs to stderr. Called once by the command line, on the main thread.

    Args:
        log_format: see `chosen`.
        level: a name of the standard library's, such as `INFO`.
        worker: number of this worker, for every line; 0 when the service has none.
    """
    handler = RunningHandler(sys.stderr)
    handler.setFormatter(TextFormatter(worker) if chosen(log_format) == "text" else JsonFormatter(worker))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # What matters of the client libraries' troubles is told once, by the connectors. They themselves log every step of
    # a reconnect, and failures they get over as errors with tracebacks: only somebody who debugs wants to see that.
    for noisy in ("kafka", "confluent_kafka", "pika"):
        logging.getLogger(noisy).setLevel(logging.ERROR if level == "DEBUG" else logging.CRITICAL)
    logging.getLogger("uvicorn").setLevel(max(logging.ERROR, logging.getLevelName(level)))
    logging.getLogger("uvicorn.error").addFilter(_not_cut_on_purpose)


def _not_cut_on_purpose(record: logging.LogRecord) -> bool:
    """False for what uvicorn says of an answer that ends without its end.

    So a client is told that a streamed response failed, and why stands in the function's own lines.
    """
    return record.msg != "ASGI callable returned without completing response."


def relay(lines: str) -> None:
    """Pass on log lines of another process that ends them properly; they stay whole. Any thread."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, RunningHandler):
            handler.relay(lines)


class FunctionLog:
    """A function's log lines (E.5) as records of the poller's log. Callable from any thread."""

    def __init__(self, function_name: str) -> None:
        self._logger = logging.getLogger(f"poller.function.{function_name}")
        self._function = function_name
        self._fields = f', "level": "INFO", "logger": {_quote(self._logger.name)}, "message": '
        self._end = f', "function": {_quote(function_name)}'

    def __call__(self, line: str, request_id: str) -> None:
        """Log one line; `request_id` is empty for what belongs to no invocation, such as an import's output."""
        self.say((line,), request_id)

    def say(self, lines: Sequence[str], request_id: str) -> None:
        """Log lines of the same moment."""
        if not self._logger.isEnabledFor(logging.INFO):
            return
        handlers = logging.root.handlers
        handler = handlers[0] if len(handlers) == 1 else None
        if isinstance(handler, RunningHandler) and isinstance(handler.formatter, JsonFormatter):
            # What the rest of this function comes to, at a tenth of its cost: there are three lines an invocation.
            start = f'{{"time": "{json_time(time.time())}"{self._fields}'
            owner = f', "requestId": {_quote(request_id)}}}\n' if request_id else "}\n"
            end = f"{handler.formatter.worker_member}{self._end}{owner}"
            handler.say([f"{start}{_quote(line.rstrip(_NEWLINE))}{end}" for line in lines])
            return
        for line in lines:
            # Not `info`: looking for the caller in the stack is half of what a line costs.
            record = logging.LogRecord(self._logger.name, logging.INFO, "", 0, line.rstrip("\n"), None, None)
            record.function, record.request_id = self._function, request_id
            self._logger.handle(record)
