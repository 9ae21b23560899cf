"""What the platform writes to a function's log (E.5), in text and as JSON. Each method gives the events of one moment.

`failure` is None, `timeout`, or the type of an error; times are in seconds, memory in MB; `phase` is `init` or
`invoke` (E.3).
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

from poller.log import json_time
from poller.model import FunctionConfiguration
from poller.runtime.lambda_logging import error_text
from poller.runtime.log_levels import ApplicationLevel, is_shown
from poller.runtime.platform_records import (
    Report,
    begun,
    done,
    init_done,
    init_reported,
    init_started,
    reported,
    runtime_version_arn,
)

Events = tuple[str, ...]

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_encode_as_the_runtime = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


class LogFormat(Protocol):
    """`LoggingConfig.LogFormat`. Any thread."""

    def init_start(self, version: str, phase: str) -> Events:
        """A process is about to start."""
        ...

    def init_end(self, phase: str, duration: float, failure: str | None) -> Events:
        """Init is over."""
        ...

    def start(self, request_id: str) -> Events:
        """An invocation begins."""
        ...

    def timed_out(self, request_id: str, limit: float) -> Events:
        """It was given up."""
        ...

    def exited(self, text: str, error_type: str) -> Events:
        """The process is gone."""
        ...

    def error(self, payload: bytes) -> Events:
        """An error object of the handler's, as its runtime logs it."""
        ...

    def end(self, report: Report) -> Events:
        """The invocation is over."""
        ...

    def shows(self, line: bytes) -> bool:
        """Whether a line of the handler's output is written."""
        ...


def log_format(configuration: FunctionConfiguration) -> LogFormat:
    """The format that a function's LoggingConfig asks for."""
    if configuration.logging.log_format == "JSON":
        return JsonFormat(configuration)
    return TextFormat(configuration.region, configuration.version)


class TextFormat:
    """Lambda's lines."""

    def __init__(self, region: str = "us-east-1", version: str = "$LATEST") -> None:
        self._region = region
        self._version = version

    def init_start(self, version: str, phase: str) -> Events:  # noqa: ARG002 - the line is the same
        """INIT_START."""
        arn = runtime_version_arn(self._region, version)
        return (f"INIT_START Runtime Version: {version}\tRuntime Version ARN: {arn}",)

    def init_end(self, phase: str, duration: float, failure: str | None) -> Events:
        """INIT_REPORT, of an init that failed; any other is told by the first REPORT."""
        if failure is None:
            return ()
        return (f"INIT_REPORT Init Duration: {duration * 1000:.2f} ms\tPhase: {phase}\t{_status(failure)}",)

    def start(self, request_id: str) -> Events:
        """START."""
        return (f"START RequestId: {request_id} Version: {self._version}",)

    def timed_out(self, request_id: str, limit: float) -> Events:
        """The line before END."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00")
        return (f"{now}Z {request_id} Task timed out after {limit:.2f} seconds",)

    def exited(self, text: str, error_type: str) -> Events:
        """How it ended, and the type."""
        return (f"{text}\n{error_type}",)

    def error(self, payload: bytes) -> Events:
        """One event, indented with no-break spaces."""
        try:
            return (error_text(json.loads(payload)),)
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):  # made by the handler itself
            return (payload.decode(errors="replace"),)

    def end(self, report: Report) -> Events:
        """END and REPORT."""
        milliseconds = report.duration * 1000
        text = (
            f"REPORT RequestId: {report.request_id}\tDuration: {milliseconds:.2f} ms\t"
            f"Billed Duration: {math.ceil(milliseconds)} ms\tMemory Size: {report.memory_size} MB\t"
            f"Max Memory Used: {report.memory} MB\t"
        )
        if report.init is not None:
            text += f"Init Duration: {report.init * 1000:.2f} ms\t"
        if report.failure is not None:
            text += _status(report.failure)
        return (f"END RequestId: {report.request_id}", text)

    def shows(self, line: bytes) -> bool:  # noqa: ARG002 - there are no levels in text format
        """Everything."""
        return True


def _status(failure: str) -> str:
    return "Status: timeout" if failure == "timeout" else f"Status: error\tError Type: {failure}"


class JsonFormat:
    """`platform.*` events, those that SystemLogLevel shows.

    Lambda's developer guide says which level each has: what went wrong is WARN, start and report are INFO, the rest of
    what went well is DEBUG. How a process timed out or ended stands in those events and in no line beside them.
    """

    def __init__(self, configuration: FunctionConfiguration) -> None:
        self._configuration = configuration
        self._least = configuration.logging.system_log_level
        self._application = configuration.logging.application_log_level
        self.shows = ApplicationLevel(self._application).shows

    def init_start(self, version: str, phase: str) -> Events:
        """platform.initStart."""
        return self._event("INFO", "initStart", init_started(self._configuration, version, phase))

    def init_end(self, phase: str, duration: float, failure: str | None) -> Events:
        """platform.initRuntimeDone and platform.initReport."""
        level = "DEBUG" if failure is None else "WARN"
        record = init_done(self._configuration, phase, failure)
        report = init_reported(record, duration)
        return self._event(level, "initRuntimeDone", record) + self._event(level, "initReport", report)

    def start(self, request_id: str) -> Events:
        """platform.start."""
        return self._event("INFO", "start", begun(request_id, self._configuration.version))

    def timed_out(self, request_id: str, limit: float) -> Events:  # noqa: ARG002 - the report has status timeout
        """Nothing."""
        return ()

    def exited(self, text: str, error_type: str) -> Events:  # noqa: ARG002 - the report has the type
        """Nothing."""
        return ()

    def error(self, payload: bytes) -> Events:
        """The error object, with time and level before it."""
        if not is_shown("ERROR", self._application):
            return ()
        try:
            described = json.loads(payload)
            when = json_time(time.time())[:19] + "Z"
            text = _encode_as_the_runtime({"timestamp": when, "level": "ERROR", **described})
            text.encode()
        except (ValueError, TypeError, RecursionError):  # made by the handler itself
            return (payload.decode(errors="replace"),)
        return (text,)

    def end(self, report: Report) -> Events:
        """platform.runtimeDone and platform.report."""
        failed = report.failure is not None
        events = self._event("WARN" if failed else "DEBUG", "runtimeDone", done(report))
        return events + self._event("WARN" if failed else "INFO", "report", reported(report))

    def _event(self, level: str, name: str, record: Mapping[str, Any]) -> Events:
        if not is_shown(level, self._least):
            return ()
        return (_encode({"time": json_time(time.time()), "type": f"platform.{name}", "record": record}),)
