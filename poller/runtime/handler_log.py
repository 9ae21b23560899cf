"""The log of one invocation (E.5): the platform's events, the handler's output cut into lines, and the 4 KB tail."""

from __future__ import annotations

import re
from collections.abc import Callable

from poller.log import FunctionLog
from poller.runtime.log_format import Events, LogFormat, TextFormat
from poller.runtime.platform_records import Report

LogSink = Callable[[str, str], None]
"""Takes one event without its newline, and the request it belongs to. Called by the environment's owner; must not
raise. What is slow here slows the function."""

TAIL = 4096
"""Bytes of the log tail (A.1)."""
MAXIMUM_EVENT = 256 * 1024
"""Bytes of one log event, CloudWatch's limit: a longer line is cut, so that memory stays bounded."""

_TEXT = TextFormat()


class HandlerLog:
    """Log of one invocation. For the environment's owner."""

    def __init__(self, sink: LogSink, request_id: str, log_format: LogFormat = _TEXT) -> None:
        self._sink = sink
        self.request_id = request_id
        self._format = log_format
        self._tail = bytearray()
        self._partial = bytearray()
        self._begun = False
        self._held: Events = ()
        """What is given out with what comes next."""

    def use(self, log_format: LogFormat) -> None:
        """Write what comes from here on in this format."""
        self._format = log_format

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

    def event(self, content: bytes) -> None:
        """An event of the handler's that it wrote as one, whatever lines are in it."""
        if self._format.shows(content):
            self.emit(content.decode(errors="replace"))

    def flush(self) -> None:
        """Give out a last line that had no newline."""
        if self._partial:
            line, self._partial = bytes(self._partial), bytearray()
            self._emit_bytes(line)

    def emit(self, event: str) -> None:
        """One event, the platform's or the handler's."""
        self._emit_all((event,))

    def tail(self) -> bytes:
        """The last 4 KB, of START to REPORT if `begin` was called before START."""
        return bytes(self._tail[-TAIL:])

    def init_start(self, version: str, phase: str = "init") -> None:
        """A process is about to start; `version` as of its runtime, `phase` is `init` or `invoke` (E.3)."""
        self._emit_all(self._format.init_start(version, phase))

    def init_report(self, phase: str, duration: float, failure: str | None) -> None:
        """Init is over; `failure` is `timeout`, the type of an error, or None when it went well."""
        self.flush()
        self._emit_all(self._format.init_end(phase, duration, failure))

    def begin(self, *, with_the_rest: bool = False) -> None:
        """Write START, once; what came before belongs to the init phase and is not in the tail.

        Of an event that is answered already it may be written `with_the_rest`: in one go with the next line.
        """
        if self._begun:
            return
        self._begun = True
        self._tail.clear()
        self._held = self._format.start(self.request_id)
        if not with_the_rest:
            self._emit_all(())

    def end(self, *, duration: float, memory_size: int, memory: int, init: float | None, failure: str | None) -> None:
        """Write END and REPORT. `failure` is `timeout` or the type of an error; times in seconds, memory in MB."""
        if self._partial:
            self.flush()
        self._emit_all(self._format.end(Report(self.request_id, duration, memory_size, memory, init, failure)))

    def timed_out(self, limit: float) -> None:
        """Write the line of a timeout."""
        self.flush()
        self._emit_all(self._format.timed_out(self.request_id, limit))

    def exited(self, text: str, failure: str) -> None:
        """Write how the process ended."""
        self.flush()
        self._emit_all(self._format.exited(text, failure))

    def error(self, payload: bytes) -> None:
        """Write an error object as Lambda's runtime logs it: one event."""
        self.flush()
        for event in self._format.error(payload):
            self.emit(event[:MAXIMUM_EVENT])

    def _emit_all(self, events: Events) -> None:
        """Events of one moment, behind what was held: in every invocation."""
        if self._held:
            events, self._held = self._held + events, ()
        if not events:
            return
        sink, request_id, tail = self._sink, self.request_id, self._tail
        tail += "\n".join((*events, "")).encode(errors="replace")
        if isinstance(sink, FunctionLog):  # takes them in one go
            sink.say(events, request_id)
        else:
            for event in events:
                sink(event, request_id)
        if len(tail) > 4 * TAIL:
            del tail[:-TAIL]

    def _emit_bytes(self, line: bytes) -> None:
        if not self._format.shows(line):
            return
        self._emit_all(())
        for start in range(0, len(line) or 1, MAXIMUM_EVENT):
            piece = line[start : start + MAXIMUM_EVENT]
            self._tail += piece[-TAIL:] + b"\n"
            if len(self._tail) > 4 * TAIL:
                del self._tail[:-TAIL]
            self._sink(piece.decode(errors="replace"), self.request_id)


def error_type(name: str) -> str:
    """How REPORT names an error: types of the platform's pattern as they are, any other as unknown (E.1)."""
    return name if re.fullmatch(r"(Runtime|Function)\.[A-Z][a-zA-Z]+", name) else "Function.Unknown"
