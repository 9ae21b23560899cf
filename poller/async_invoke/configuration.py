"""How a function's asynchronous events are treated: its event invoke configuration, with addresses in place of ARNs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from poller.async_invoke.rows import Kind
from poller.destinations.aws import AwsTarget
from poller.endpoints import Target
from poller.policy.async_events import MAXIMUM_EVENT_AGE, MAXIMUM_RETRY_ATTEMPTS, AsyncPolicy


@dataclass(frozen=True, slots=True)
class FunctionTarget:
    """Another function, which gets the record as its own asynchronous event."""

    function_name: str
    qualifier: str = ""

    def __str__(self) -> str:
        return f"function {self.function_name}"


@dataclass(frozen=True, slots=True)
class AsyncDestination:
    """Where records or dead letters of a function go."""

    target: Target | AwsTarget | FunctionTarget
    bus_arn: str = ""
    """Of an EventBridge bus: records then are the `detail` of an event (B.3)."""
    renewed: Callable[[], Target | None] = field(default=lambda: None, compare=False, repr=False)
    """The target with its login read anew, as `RenewingDestination` asks for it; None where it has none to read."""

    def __str__(self) -> str:
        return str(self.target)


@dataclass(frozen=True, slots=True)
class AsyncConfiguration:
    """Of one function; without any, AWS's defaults."""

    maximum_retry_attempts: int = MAXIMUM_RETRY_ATTEMPTS
    maximum_event_age: float = MAXIMUM_EVENT_AGE
    """Seconds."""
    on_success: AsyncDestination | None = None
    on_failure: AsyncDestination | None = None
    dead_letter_queue: AsyncDestination | None = None

    def destination(self, kind: Kind) -> AsyncDestination | None:
        """The one of that kind."""
        by_kind: Mapping[Kind, AsyncDestination | None] = {
            "OnSuccess": self.on_success,
            "OnFailure": self.on_failure,
            "DeadLetterQueue": self.dead_letter_queue,
        }
        return by_kind[kind]

    def policy(self, time_scale: float) -> AsyncPolicy:
        """What is decided by."""
        return AsyncPolicy(self.maximum_retry_attempts, self.maximum_event_age, time_scale)
