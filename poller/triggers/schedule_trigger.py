"""One schedule of a template: what it runs, when, and how long it tries. Plain values."""

from __future__ import annotations

from dataclasses import dataclass, field

from poller.policy.retrying import BackOff
from poller.triggers.schedule_expressions import Timing

MAXIMUM_EVENT_AGE = 86_400
MAXIMUM_RETRY_ATTEMPTS = 185
"""EventBridge's defaults."""


@dataclass(frozen=True, slots=True)
class ScheduleTrigger:
    """A rule of EventBridge, or a schedule of its Scheduler, with one function."""

    name: str
    """As the template calls it, such as `Report.Nightly`."""
    function_name: str
    arn: str
    """Of the rule or schedule."""
    timing: Timing
    input: str | None = None
    """JSON in place of the scheduled event."""
    maximum_event_age: float = MAXIMUM_EVENT_AGE
    """Seconds after which a run that could not be put on the function's queue is given up."""
    maximum_retry_attempts: int = MAXIMUM_RETRY_ATTEMPTS
    """… and attempts after the first."""
    back_off: BackOff = field(default_factory=lambda: BackOff(first=1.0, cap=300.0))
