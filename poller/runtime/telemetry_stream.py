"""What happens in one environment, to those who subscribed to it (E.1), and a log that tells of it."""

from __future__ import annotations

from time import monotonic, time

from poller.model import FunctionConfiguration
from poller.runtime.handler_log import MAXIMUM_EVENT
from poller.runtime.log_format import Events, LogFormat
from poller.runtime.platform_records import (
    Record,
    Report,
    begun,
    done,
    init_done,
    init_reported,
    init_started,
    reported,
)
from poller.runtime.telemetry import Event, Subscription, subscribed
from poller.runtime.telemetry_sender import TelemetrySender


class Telemetry:
    """The subscribers of one environment. Used on its thread; without any, telling costs a call."""

    def __init__(self) -> None:
        self._senders: list[TelemetrySender] = []
        self._early: list[Event] = []
        """What happened since the beginning of an init: who subscribes in it is told of that, too."""
        self._initializing = False
        self._lines = {"function": b"", "extension": b""}
        """A last line that is not complete, by type."""
        self.produced = 0
        """Bytes of the last answer to an event."""

    @property
    def wanted(self) -> bool:
        """Whether anybody subscribed."""
        return bool(self._senders)

    def begin_init(self) -> None:
        """A process is about to start."""
        self._initializing, self._early = True, []

    def end_init(self) -> None:
        """Nobody may subscribe any more."""
        self._initializing, self._early = False, []

    def subscribe(self, wanted: Subscription) -> None:
        """One more; or the same one again, whose first subscription stays."""
        again = any(sender.wanted.name == wanted.name for sender in self._senders)
        if not again:
            sender = TelemetrySender(wanted)
            for early in self._early:
                sender.put(early)
            self._senders.append(sender)
        self.tell("platform.telemetrySubscription", subscribed(wanted, again=again))

    def tell(self, kind: str, record: Record | str) -> None:
        """Tell of what just happened."""
        if self._initializing or self._senders:
            event = Event(kind, record, time())
            if self._initializing and kind.startswith("platform."):
                self._early.append(event)
            for sender in self._senders:
                sender.put(event)

    def output(self, chunk: bytes, kind: str = "function") -> None:
        """Tell of what the function or an extension wrote: of each line when it is complete, or too long."""
        if not self._senders:
            return
        *whole, rest = (self._lines[kind] + chunk).split(b"\n")
        while len(rest) > MAXIMUM_EVENT:
            whole.append(rest[:MAXIMUM_EVENT])
            rest = rest[MAXIMUM_EVENT:]
        self._lines[kind] = rest
        for line in whole:
            self.tell(kind, line.decode(errors="replace"))

    def close(self, seconds: float) -> None:
        """Send what waits, for so long at most. Nobody is subscribed any more then; idempotent."""
        senders, self._senders = self._senders, []
        self._lines = dict.fromkeys(self._lines, b"")
        for sender in senders:
            sender.stop()
        deadline = monotonic() + seconds
        for sender in senders:
            sender.wait(deadline - monotonic())


class ToldFormat:
    """The format of a log that tells subscribers of the same moments. On the environment's thread."""

    def __init__(self, inner: LogFormat, telemetry: Telemetry, configuration: FunctionConfiguration) -> None:
        self._inner = inner
        self._telemetry = telemetry
        self._configuration = configuration
        self.shows = inner.shows

    def init_start(self, version: str, phase: str) -> Events:
        """platform.initStart."""
        self._telemetry.begin_init()
        self._telemetry.tell("platform.initStart", init_started(self._configuration, version, phase))
        return self._inner.init_start(version, phase)

    def init_end(self, phase: str, duration: float, failure: str | None) -> Events:
        """platform.initRuntimeDone and platform.initReport."""
        record = init_done(self._configuration, phase, failure)
        self._telemetry.tell("platform.initRuntimeDone", record)
        self._telemetry.tell("platform.initReport", init_reported(record, duration))
        return self._inner.init_end(phase, duration, failure)

    def start(self, request_id: str) -> Events:
        """platform.start."""
        self._telemetry.produced = 0
        self._telemetry.tell("platform.start", begun(request_id, self._configuration.version))
        return self._inner.start(request_id)

    def timed_out(self, request_id: str, limit: float) -> Events:
        """The end has the status."""
        return self._inner.timed_out(request_id, limit)

    def exited(self, text: str, error_type: str) -> Events:
        """platform.fault, which only the Logs API knows."""
        self._telemetry.tell("platform.fault", f"{text}\n{error_type}")
        return self._inner.exited(text, error_type)

    def error(self, payload: bytes) -> Events:
        """What the runtime writes of it is the function's output."""
        events = self._inner.error(payload)
        for event in events:
            self._telemetry.tell("function", event[:MAXIMUM_EVENT])
        return events

    def end(self, report: Report) -> Events:
        """platform.runtimeDone and platform.report; for the Logs API platform.end, too."""
        tell = self._telemetry.tell
        tell("platform.runtimeDone", done(report, {"producedBytes": self._telemetry.produced}))
        tell("platform.end", {"requestId": report.request_id})
        tell("platform.report", reported(report))
        return self._inner.end(report)
