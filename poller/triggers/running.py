"""All triggers of a service together: what is started, stopped, and asked how it is."""

from __future__ import annotations

from poller.clock import Clock
from poller.settings import Settings
from poller.triggers.s3_intake import Accept, S3Intake
from poller.triggers.s3_reader import S3Reader
from poller.triggers.scheduler import Scheduler
from poller.triggers.wiring import Triggers, source_of


class RunningTriggers:
    """Triggers with their threads. `start` and `stop` may be called in any order and more than once.

    Args:
        triggers: of the template.
        settings: all of them.
        accept: `AsyncInvoker.accept`.
        clock: the machine's.
    """

    def __init__(self, triggers: Triggers, settings: Settings, accept: Accept, clock: Clock) -> None:
        self.s3 = S3Intake(triggers.s3, accept, region=settings.Region, clock=clock)
        """For the webhook."""
        self._scheduler = Scheduler(triggers.schedules, accept, clock)
        self._reader: S3Reader | None = None
        if triggers.s3_place is not None:
            source = source_of(triggers.s3_place, settings)
            self._reader = S3Reader(source, str(triggers.s3_place), self.s3, clock)

    def start(self) -> None:
        """Run schedules and read notifications from now on; returns at once."""
        self._scheduler.start()
        if self._reader is not None:
            self._reader.start()

    def stop(self) -> None:
        """Put nothing more on queues. Blocks until what is under way is there, seconds at most."""
        self._scheduler.stop()
        if self._reader is not None:
            self._reader.stop()

    def states(self) -> list[dict[str, object]]:
        """What notifications are read from, as `/readyz` shows mappings; empty where only the webhook is there."""
        if self._reader is None:
            return []
        problem, started = self._reader.problem, self._reader.started
        return [{"Mapping": "S3Events", "State": "Enabled" if started or problem else "Creating", "Problem": problem}]

    def alive(self) -> bool:
        """Whether every thread that was started still runs."""
        return self._scheduler.alive() and (self._reader is None or self._reader.alive())
