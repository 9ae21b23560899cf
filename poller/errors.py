"""Our own faults and the person's mistakes. A failing handler is not among them: that is an `InvocationResult`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from poller.api_errors import ApiError


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a template or setting: where, what, and what would be right."""

    path: str
    """Such as `Resources.Telemetry.Properties.Events.Readings.BatchSize`."""
    reason: str
    suggestion: str = ""
    error: ApiError | None = None
    """What a call of the API answers for it, where that is more than `reason` as InvalidParameterValueException."""

    def __str__(self) -> str:
        text = f"{self.path}: {self.reason}" if self.path else self.reason
        return f"{text} ({self.suggestion})" if self.suggestion else text


LOGIN_REFUSED = "EVENT_SOURCE_AUTHN_ERROR"
"""The StateTransitionReason (C.2) after which a login is read anew."""


class PollerError(Exception):
    """Base of all errors that this program raises on purpose. The text is meant for a person."""


class ConfigError(PollerError):
    """The template or the settings are wrong. Carries every problem at once; nothing was started."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class SourceError(PollerError):
    """The broker of a mapping cannot be read."""


class SourceUnavailable(SourceError):  # noqa: N818 - reads as what it says
    """No connection, or it was lost. Opening again later may help."""


class SourceRejected(SourceError):  # noqa: N818
    """The broker is there and said no: credentials, permission, missing topic or queue."""

    def __init__(
        self, message: str, *, code: str = "ESM_CONFIG_NOT_VALID", last_processing_result: str | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        """StateTransitionReason of C.2: ESM_CONFIG_NOT_VALID, EVENT_SOURCE_AUTHN_ERROR or EVENT_SOURCE_AUTHZ_ERROR."""
        self.last_processing_result = last_processing_result
        """LastProcessingResult of C.2, where there is one for this refusal."""


class DestinationError(PollerError):
    """A dead letter could not be made durable."""


Refusal = Literal["Record", "Missing", "Denied"]
"""What a destination refuses: this record, for its size or form; all, as there is no such place; all of this sender."""


class DestinationRefused(DestinationError):  # noqa: N818 - reads as what it says
    """… since the destination says no, and by itself will not say anything else."""

    def __init__(self, message: str, kind: Refusal) -> None:
        super().__init__(message)
        self.kind: Refusal = kind


class DestinationLoginRefused(DestinationError):  # noqa: N818
    """… since the broker does not take the login. With another one it may work."""


class StateError(PollerError):
    """The state folder cannot be used. What was not accepted yet is not accepted."""


class StateInUse(StateError):  # noqa: N818 - reads as what it says
    """Another service uses the state folder."""
