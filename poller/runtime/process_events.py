"""What a handler's process writes, as events of its function's log, and for who subscribed to telemetry (E.1, E.5)."""

from __future__ import annotations

from collections.abc import Callable

from poller.runtime.handler_log import HandlerLog
from poller.runtime.log_frames import FrameCutter
from poller.runtime.telemetry_stream import Telemetry


class ProcessEvents:
    """Of one process. For the environment's owner.

    Args:
        log: the log of the invocation in work.
        telemetry: whom to tell of each event, too.
    """

    def __init__(self, log: Callable[[], HandlerLog], telemetry: Telemetry) -> None:
        self._log = log
        self._telemetry = telemetry
        self._cutter = FrameCutter()

    def take(self, chunk: bytes) -> None:
        """Hand on what is complete with this chunk: frames as they are, the rest as lines."""
        log, telemetry = self._log(), self._telemetry
        for piece in self._cutter.cut(chunk):
            if piece.framed:
                event = piece.content.rstrip(b"\r\n")
                log.event(event)
                if telemetry.wanted:
                    telemetry.tell("function", event.decode(errors="replace"))
            else:
                log.output(piece.content)
                if telemetry.wanted:
                    telemetry.output(piece.content)
