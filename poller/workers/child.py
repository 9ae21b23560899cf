"""The process of one worker: `python -m poller.workers.child`, started by the supervisor and by nobody else.

It has a connection, over which it gets its orders and answers every message with a report, and a leash, a pipe whose
end it never sees as long as the supervisor lives. The rest is as in a service of one process, without a port.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection

from poller import log, service
from poller.clock import SystemClock
from poller.control_plane import ControlPlane
from poller.metrics import Metrics
from poller.policy.workers import Share
from poller.stop_signals import HARD_STOP, StopSignals
from poller.template import Template
from poller.workers.report import Report, totals_of


@dataclass(frozen=True, slots=True)
class Orders:
    """What a worker is told when it starts."""

    template: Template
    """As the supervisor has loaded it: what a worker starts with later is the same."""
    share: Share
    log_format: log.LogFormat
    """`text` or `json`: a worker does not see where the log goes."""
    python_path: str | None
    """The supervisor's PYTHONPATH. The worker's own names the libraries of its interpreter, which other versions of
    Python, those of functions' runtimes, must not find."""


def main() -> int:
    """Serve until SIGTERM or the end of the supervisor; returns the exit status."""
    connection, leash = Connection(int(sys.argv[1])), int(sys.argv[2])
    for fd in (connection.fileno(), leash):
        os.set_inheritable(fd, False)  # noqa: FBT003 - so it is called; handlers must not hold them
    _hold(leash)
    stopping = StopSignals()
    orders: Orders = connection.recv()
    use_python_path(orders.python_path)
    settings = orders.template.settings
    log.configure(orders.log_format, settings.LogLevel, worker=orders.share.worker)
    metrics = Metrics()
    plane = ControlPlane(orders.template, metrics, SystemClock(), orders.share)
    service.tune()
    plane.start()
    reporter = _Reporter(connection, plane, metrics)
    reporter.start()
    stopping.wait()
    plane.stop()
    reporter.report()
    return 0


def use_python_path(value: str | None) -> None:
    """Let what this process starts have the PYTHONPATH that the person has set, or none."""
    os.environ.pop("PYTHONPATH", None)
    if value is not None:
        os.environ["PYTHONPATH"] = value


class _Reporter(threading.Thread):
    """The thread `report`: answers the supervisor."""

    def __init__(self, connection: Connection, plane: ControlPlane, metrics: Metrics) -> None:
        super().__init__(name="report", daemon=True)
        self._connection = connection
        self._plane = plane
        self._metrics = metrics
        self._lock = threading.Lock()

    def run(self) -> None:
        """One report for each message."""
        while True:
            try:
                self._connection.recv_bytes()
            except (EOFError, OSError):
                # The leash is faster where there is one. No clean-up: nobody is left who could ask for it.
                os._exit(HARD_STOP)
            self.report()

    def report(self) -> None:
        """Send a report, asked or not. Any thread."""
        plane = self._plane
        report = Report(
            alive=plane.alive(),
            states=plane.mapping_states(),
            mappings=list(plane.mappings()),
            functions=list(plane.functions()),
            totals=totals_of(self._metrics.registry),
        )
        with self._lock, suppress(OSError):
            self._connection.send(report)


def _hold(leash: int) -> None:
    """Let the kernel kill this process when the supervisor's end of the pipe closes, whatever both are doing.

    Nothing is ever written to it, so its end is the only news of it. Handlers are held the same way by this process.
    """
    if hasattr(fcntl, "F_SETSIG"):
        fcntl.fcntl(leash, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(leash, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(leash, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)


if __name__ == "__main__":
    # Under its real name: orders are of classes that both ends have to know by the same one.
    from poller.workers.child import main as run

    sys.exit(run())
