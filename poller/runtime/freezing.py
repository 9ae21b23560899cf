"""`Freeze: true`: between two events no code of a function runs, as on Lambda (E.3).

Lambda freezes the whole sandbox. Here SIGSTOP goes to the process group and SIGCONT wakes it for the next event, so
background threads and child processes go on where they were. A process that left the group, a daemon or one with a
session of its own, runs on, and so do external extensions, which have groups of their own: they may still be busy with
the last event. A child that the handler itself had stopped is woken with the others. Clocks go on while
nothing runs, as they do on Lambda.
"""

from __future__ import annotations

import fcntl
import signal

from poller.runtime.dialogue import Dialogue

CAN_FREEZE = hasattr(fcntl, "F_SETSIG")
"""Only where the kernel kills an environment's processes with the poller: stopped ones would outlive it."""


class Freezing:
    """Whether an environment's processes are stopped. Used on the environment's thread."""

    def __init__(self) -> None:
        self._frozen: Dialogue | None = None

    def freeze(self, dialogue: Dialogue | None) -> None:
        """Stop them, if there are any. Idempotent."""
        if dialogue is not None and dialogue is not self._frozen:
            dialogue.signal(signal.SIGSTOP)
            self._frozen = dialogue

    def thaw(self) -> None:
        """Let them go on, if they were stopped. Costs a comparison if not."""
        if self._frozen is not None:
            self._frozen.signal(signal.SIGCONT)
            self._frozen = None
