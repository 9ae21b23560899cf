"""The thread that keeps one worker running: starts its process, takes its log and its reports, starts it again."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from time import monotonic
from typing import TYPE_CHECKING

from poller import log
from poller.policy.retrying import BackOff
from poller.policy.workers import failures_after
from poller.workers.process import WorkerProcess, exit_text
from poller.workers.report import Reports

if TYPE_CHECKING:
    from poller.workers.child import Orders

LOOK = 5.0
"""Seconds after which a report is asked for though nobody scrapes: that much of its counts is lost with a worker."""

LOOK_SHARE = 50
"""Looks are that many times further apart than an answer takes, so that 500 mappings do not make it a burden: their
report costs 0.2 s of processor time."""

SILENCE = 10.0
"""Seconds without an answer that are told: a process that is stopped, or has no processor."""

_log = logging.getLogger(__name__)


class Keeper(threading.Thread):
    """The thread `worker-<n>`. Owns the process; every other method may be called from any thread."""

    def __init__(self, orders: Orders, reports: Reports, back_off: BackOff) -> None:
        self.share = orders.share
        super().__init__(name=f"worker-{self.share.worker}", daemon=True)
        self._orders = orders
        self._reports = reports
        self._back_off = back_off
        self._stopping = threading.Event()
        self._changed = threading.Condition()
        """Guards all that follows."""
        self._process: WorkerProcess | None = None
        self._asked: float | None = None
        self._took = 0.0
        self._trouble = ""
        self._starts = 0
        self.ended_well = True
        """Whether the process ended as it should when it was told to; for when this thread has ended."""

    # --- for others --------------------------------------------------------------------------------------------------

    def ask(self) -> None:
        """Ask the worker for a report, unless that was done and it has not answered yet."""
        with self._changed:
            if self._process is not None and self._asked is None and self._process.ask():
                self._asked = monotonic()

    def wait_for_report(self, deadline: float) -> None:
        """Until it has answered, or has ended, or the deadline (monotonic seconds) has passed."""
        with self._changed:
            self._changed.wait_for(lambda: self._asked is None, max(0.0, deadline - monotonic()))

    def trouble(self) -> str:
        """What is the matter with the worker, for a person; empty when it is well or has just been started first."""
        with self._changed:
            silent = monotonic() - self._asked if self._asked is not None else 0.0
            if silent > SILENCE:
                return f"worker {self.share.worker} has not answered for {silent:.0f} s"
            return self._trouble

    def state(self) -> Mapping[str, object]:
        """For `/healthz`."""
        with self._changed:
            pid, starts = self._process.pid if self._process else None, self._starts
        return {"worker": self.share.worker, "pid": pid, "starts": starts, "problem": self.trouble()}

    def stop(self) -> None:
        """Let the worker end what is in work, and start it no more. Does not wait."""
        self._stopping.set()
        with self._changed:
            if self._process is not None:
                self._process.terminate()

    def kill(self) -> None:
        """End the worker at once, after `stop` did not help."""
        with self._changed:
            if self._process is not None:
                self._process.kill()

    # --- the thread --------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Keep the worker running until `stop`."""
        failures = 0
        while not self._stopping.is_set():
            started = monotonic()
            try:
                ended = exit_text(self._run_once())
            except OSError as error:
                ended = f"it cannot be started: {error}"
            except Exception as error:  # noqa: BLE001 - a fault of ours must not leave a worker alone for good
                _log.exception("a fault in keeping it", extra={"worker": self.share.worker})
                ended = f"{type(error).__name__}: {error}"
            if self._stopping.is_set():
                return
            failures = failures_after(failures, monotonic() - started)
            pause = self._back_off.pause(failures, self.name)
            with self._changed:
                self._trouble = f"worker {self.share.worker} has ended ({ended}) and is started again"
            _log.error("ended: %s; starting again in %.1f s", ended, pause, extra={"worker": self.share.worker})
            self._stopping.wait(pause)

    def _run_once(self) -> int:
        """From a start of the process to its end, whose status is returned."""
        process = WorkerProcess()
        with self._changed:
            self._process = process
            self._starts += 1
            if self._stopping.is_set():  # `stop` came too early for this process
                process.terminate()
        try:
            process.instruct(self._orders)
            self._listen(process)
        finally:
            with self._changed:
                self._process = self._asked = None
                self._changed.notify_all()
            status, rest = process.close()
            log.relay(rest)
            self._reports.end(self.share.worker)
            # Before it listens to signals, one simply ends it: nothing was begun then.
            self.ended_well = status in {0, -15}
        return status

    def _listen(self, process: WorkerProcess) -> None:
        goes_on = True
        looked, pause = monotonic(), LOOK
        while goes_on:
            lines, reports, goes_on = process.listen(max(0.0, looked + pause - monotonic()))
            if lines:
                log.relay(lines)
            for report in reports:
                self._reports.take(self.share.worker, report)
            if reports:
                with self._changed:
                    self._took = monotonic() - self._asked if self._asked else self._took
                    self._asked, self._trouble = None, ""
                    self._changed.notify_all()
            if monotonic() - looked >= pause:
                looked, pause = monotonic(), max(LOOK, LOOK_SHARE * self._took)
                self.ask()
