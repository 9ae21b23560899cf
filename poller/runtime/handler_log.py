"""The log of one invocation (E.5): the platform's lines, the handler's output cut into lines, and the 4 KB tail."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

LogSink = Callable[[str, str], None]
"""Takes one event without its newline, and the request it belongs to. Called on the environment's thread; must not
raise. What is slow here slows the function."""

TAIL = 4096
"""Bytes of the log tail (A.1)."""
MAXIMUM_EVENT = 256 * 1024
"""Bytes of one log event, CloudWatch's limit: a longer line is cut, so that memory stays bounded."""

_NO_BREAK_SPACE = "\u00a0"


class HandlerLog:
    """Log of one invocation. Used on the environment's thread only."""

    def __init__(self, sink: LogSink, request_id: str, version: str = "$LATEST") -> None:
        self._sink = sink
        self._version = version
        self.request_id = request_id
        self._tail = bytearray()
        self._partial = bytearray()

    def output(self, chunk: bytes) -> None:
        """What the handler wrote to stdout or stderr; each line is an event of its own."""
        start, newline = 0, chunk.find(b"\n")
        while newline >= 0:
            if self._partial:
                self._partial += chunk[start:newline]
                self.flush()
            else:
                self._emit_bytes(chunk[start:newline])
            start = newline + 1
            newline = chunk.find(b"\n", start)
        if start < len(chunk):
            self._partial += chunk[start:]
            if len(self._partial) > MAXIMUM_EVENT:
                self.flush()

    def flush(self) -> None:
        """Give out a last line that had no newline."""
        if self._partial:
            line, self._partial = bytes(self._partial), bytearray()
            self._emit_bytes(line)

    def emit(self, event: str) -> None:
        """One event of the platform."""
        self._tail += event.encode(errors="replace") + b"\n"
        if len(self._tail) > 4 * TAIL:
            del self._tail[:-TAIL]
        self._sink(event, self.request_id)

    def tail(self) -> bytes:
        """The last 4 KB, of START to REPORT if `begin` was called before START."""
        return bytes(self._tail[-TAIL:])

    def begin(self) -> None:
        """Write START; what came before belongs to the init phase and is not in the tail."""
        self._tail.clear()
        self.emit(f"START RequestId: {self.request_id} Version: {self._version}")

    def end(self, *, duration: float, memory_size: int, memory: int, init: float | None, failure: str | None) -> None:
        """Write END and REPORT. `failure` is `timeout` or the type of an error; times in seconds, memory in MB."""
        self.flush()
        self.emit(f"END RequestId: {self.request_id}")
        milliseconds = duration * 1000
        report = (
            f"REPORT RequestId: {self.request_id}\tDuration: {milliseconds:.2f} ms\t"
            f"Billed Duration: {math.ceil(milliseconds)} ms\tMemory Size: {memory_size} MB\t"
            f"Max Memory Used: {memory} MB\t"
        )
        if init is not None:
            report += f"Init Duration: {init * 1000:.2f} ms\t"
        if failure is not None:
            report += "Status: timeout" if failure == "timeout" else f"Status: error\tError Type: {failure}"
        self.emit(report)

    def init_report(self, phase: str, duration: float, failure: str) -> None:
        """Write the INIT_REPORT of an init that failed; `phase` is `init` or `invoke` (E.3)."""
        self.flush()
        status = "Status: timeout" if failure == "timeout" else f"Status: error\tError Type: {failure}"
        self.emit(f"INIT_REPORT Init Duration: {duration * 1000:.2f} ms\tPhase: {phase}\t{status}")

    def timed_out(self, limit: float) -> None:
        """Write the line of a timeout."""
        self.flush()
        now = datetime.now(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00")
        self.emit(f"{now}Z {self.request_id} Task timed out after {limit:.2f} seconds")

    def error(self, payload: bytes) -> None:
        """Write an error object as Lambda's runtime logs it: one event, indented with no-break spaces."""
        self.flush()
        try:
            described = json.loads(payload)
            text = self._described(described)
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):  # made by the handler itself
            text = payload.decode(errors="replace")
        self.emit(text[:MAXIMUM_EVENT])

    @staticmethod
    def _described(described: dict[str, Any]) -> str:
        lines = [f"[ERROR] {described['errorType']}: {described['errorMessage']}".removesuffix(": ")]
        lines.append("Traceback (most recent call last):")
        for frame in described["stackTrace"]:
            for line in frame.splitlines():
                text = line.lstrip(" ")
                lines.append(_NO_BREAK_SPACE * (len(line) - len(text)) + text)
        return "\n".join(lines)

    def _emit_bytes(self, line: bytes) -> None:
        for start in range(0, len(line) or 1, MAXIMUM_EVENT):
            piece = line[start : start + MAXIMUM_EVENT]
            self._tail += piece[-TAIL:] + b"\n"
            if len(self._tail) > 4 * TAIL:
                del self._tail[:-TAIL]
            self._sink(piece.decode(errors="replace"), self.request_id)


def error_type(name: str) -> str:
    """How REPORT names an error: types of the platform's pattern as they are, any other as unknown (E.1)."""
    return name if re.fullmatch(r"(Runtime|Function)\.[A-Z][a-zA-Z]+", name) else "Function.Unknown"
