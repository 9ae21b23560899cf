"""A function's LoggingConfig: format, levels and log group of its log (E.5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from poller.model import LoggingConfiguration
from poller.validation import Model, in_pattern

LEVEL_IN_TEXT = (
    'LogLevel is not supported when LogFormat is set to "Text". Remove LogLevel from your request or change the '
    'LogFormat to "JSON" and try again.'
)


class LoggingConfig(Model):
    """As CreateFunction takes it."""

    LogFormat: Literal["Text", "JSON"] = "Text"
    """Of the platform's lines and of what Python's `logging` writes."""
    ApplicationLogLevel: Literal["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"] | None = None
    """Least important level of the handler's lines. With `JSON` only, and `INFO` there."""
    SystemLogLevel: Literal["DEBUG", "INFO", "WARN"] | None = None
    """Least important level of the platform's lines. With `JSON` only, and `INFO` there."""
    LogGroup: (
        Annotated[
            str,
            Field(min_length=1, max_length=512),
            in_pattern(r"[.\-_/#A-Za-z0-9]+", "letters, digits and . - _ / #", r"[\.\-_/#A-Za-z0-9]+"),
        ]
        | None
    ) = None
    """Where the log goes; by default `/aws/lambda/NAME`."""

    def configuration(self) -> LoggingConfiguration:
        """What the runtime needs to know."""
        return LoggingConfiguration(
            log_format=self.LogFormat,
            application_log_level=self.ApplicationLogLevel or "INFO",
            system_log_level=self.SystemLogLevel or "INFO",
            log_group=self.LogGroup,
        )


def _levels_need_json(config: LoggingConfig) -> LoggingConfig:
    if config.LogFormat == "Text" and (config.ApplicationLogLevel or config.SystemLogLevel):
        raise ValueError(LEVEL_IN_TEXT)
    return config


FunctionLoggingConfig = Annotated[LoggingConfig, AfterValidator(_levels_need_json)]


def default_logging(name: str) -> dict[str, Any]:
    """What a function's answers show that was made without a LoggingConfig (recorded)."""
    return {"LogFormat": "Text", "LogGroup": f"/aws/lambda/{name}"}


def merged_logging(before: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """A LoggingConfig after a call that gives some of it: the rest stays, and levels come and go with JSON (recorded).

    Args:
        before: complete, as answers show it.
        given: what the call has of it, each value allowed.

    Raises:
        ValueError: levels beside the format Text, in AWS's words.
    """
    merged = {**before, **given}
    levels = {"ApplicationLogLevel", "SystemLogLevel"}
    if merged["LogFormat"] == "JSON":
        return {**dict.fromkeys(levels, "INFO"), **merged}
    if levels & given.keys():
        raise ValueError(LEVEL_IN_TEXT)
    return {name: value for name, value in merged.items() if name not in levels}
