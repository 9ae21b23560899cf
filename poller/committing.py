"""When a poller's progress goes to its broker: at most so often, and not beyond a commit that is held up (D.1.2)."""

from __future__ import annotations

from poller.metrics import MappingMetrics
from poller.model import Progress
from poller.policy.lanes import Lanes
from poller.sources import Source

COMMIT_INTERVAL = 0.1
"""Seconds between two commits of a stream: a blocking commit takes about 2 ms, a batch may take less."""


class Committing:
    """Commits positions, or acknowledges messages, of one poller. Owned by its thread."""

    def __init__(self, source: Source, lanes: Lanes) -> None:
        self._source = source
        self._lanes = lanes
        self._last = float("-inf")
        self._uncounted = 0
        """Positions or messages that a commit is to make durable which is held up."""
        self.owed = False
        """Something happened that may be progress."""
        self.held_up = False
        """The last commit is not with the broker. Nothing new is started then: if this consumer is lost, little is
        repeated."""

    def forget(self) -> None:
        """The connection is gone, and with it what was on its way."""
        self.held_up = False
        self._uncounted = 0

    def wait(self, now: float) -> float:
        """Seconds until something may be committed without any event before."""
        return self._last + COMMIT_INTERVAL - now if self.owed else float("inf")

    def acknowledge(self, now: float, metrics: MappingMetrics) -> None:
        """Commit what there is, if it is owed and time; a queue's messages are acknowledged at once."""
        if self.owed and (not self._source.features.ordered or now - self._last >= COMMIT_INTERVAL):
            self._last = now
            self.commit(self._lanes.take_progress(), metrics)
            self.owed = self.held_up

    def commit(self, progress: Progress, metrics: MappingMetrics) -> None:
        """Commit now, whenever the last commit was."""
        if progress or self.held_up:
            self.held_up = not self._source.acknowledge(progress)
            self._uncounted += progress.size
            if not self.held_up:
                metrics.count("committed_event_count", self._uncounted)
                self._uncounted = 0
