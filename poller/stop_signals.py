"""SIGTERM and SIGINT, heard by the main thread whenever they come."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

HARD_STOP = 130
"""Exit status after a second signal."""

_NUMBERS = (signal.SIGTERM, signal.SIGINT)


class StopSignals:
    """From now on SIGTERM and SIGINT ask the process to stop, and a second one ends it at once. On the main thread.

    What waits is a read of a pipe into which Python's own handler writes the number of every signal. A
    `threading.Event` would lose one: a signal that comes after the interpreter's last look at its signals and before
    the thread sleeps on the event's lock wakes nobody, and one that comes while the thread holds that lock never gets
    it in `Event.set`.
    """

    def __init__(self) -> None:
        self._heard = False
        self._pipe, written = os.pipe()
        os.set_blocking(written, False)
        signal.set_wakeup_fd(written, warn_on_full_buffer=False)
        for number in _NUMBERS:
            signal.signal(number, self._on_signal)

    def wait(self) -> None:
        """Until the first signal, also one that came before."""
        while not set(_NUMBERS).intersection(os.read(self._pipe, 64)):
            pass

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        if self._heard:
            # No clean-up: that is what the second signal asks for. The process groups of handlers see their pipes end.
            # Not sys.stderr: the thread may be within a write to it.
            os.write(2, f"second {signal.Signals(number).name}: stopping at once\n".encode())
            os._exit(HARD_STOP)
        self._heard = True


@contextmanager
def terminated_as_by_ctrl_c() -> Iterator[None]:
    """SIGTERM raises KeyboardInterrupt within, so that a command leaves no process and no folder. On the main thread.

    `timeout 5 poller invoke` and a CI job that is cancelled send it.
    """
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
