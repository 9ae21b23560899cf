"""Events of S3 and schedules as templates have them: AWS's names, ranges and defaults, as models.

Of a SAM function, and of the resources of CloudFormation that SAM makes of its events.
"""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from functools import cache
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from poller.triggers.schedule_trigger import MAXIMUM_EVENT_AGE, MAXIMUM_RETRY_ATTEMPTS
from poller.validation import Boolean, Integer, Model, Text, closest, describe, in_pattern

S3_EVENTS = (
    "s3:ObjectCreated:*",
    "s3:ObjectCreated:Put",
    "s3:ObjectCreated:Post",
    "s3:ObjectCreated:Copy",
    "s3:ObjectCreated:CompleteMultipartUpload",
    "s3:ObjectRemoved:*",
    "s3:ObjectRemoved:Delete",
    "s3:ObjectRemoved:DeleteMarkerCreated",
    "s3:ObjectRestore:*",
    "s3:ObjectRestore:Post",
    "s3:ObjectRestore:Completed",
    "s3:ObjectRestore:Delete",
    "s3:ReducedRedundancyLostObject",
    "s3:Replication:*",
    "s3:Replication:OperationFailedReplication",
    "s3:Replication:OperationMissedThreshold",
    "s3:Replication:OperationNotTracked",
    "s3:Replication:OperationReplicatedAfterThreshold",
    "s3:LifecycleExpiration:*",
    "s3:LifecycleExpiration:Delete",
    "s3:LifecycleExpiration:DeleteMarkerCreated",
    "s3:LifecycleTransition",
    "s3:IntelligentTiering",
    "s3:ObjectTagging:*",
    "s3:ObjectTagging:Put",
    "s3:ObjectTagging:Delete",
    "s3:ObjectAcl:Put",
)
"""All that AWS's API knows."""

BUCKET = r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"


def _event_name(value: str) -> str:
    if value not in S3_EVENTS:
        near = closest(value, S3_EVENTS)
        raise ValueError(f"{describe(value)} is no event of S3" + (f", {near}" if near else ""))
    return value


def _several(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


EventName = Annotated[str, AfterValidator(_event_name)]


# --- S3 -------------------------------------------------------------------------------------------------------------


class FilterRule(Model):
    """The beginning or the end of the keys."""

    Name: Annotated[Literal["prefix", "suffix"], BeforeValidator(_lower)]
    """One of each at most."""
    Value: Annotated[Text, Field(max_length=1024)]
    """What is special in URLs may be percent-encoded."""


def _one_of_a_kind(rules: tuple[FilterRule, ...]) -> tuple[FilterRule, ...]:
    if len({rule.Name for rule in rules}) < len(rules):
        raise ValueError("has two rules of one kind: a prefix and a suffix at most")
    return rules


class KeyFilter(Model):
    """Which keys."""

    Rules: Annotated[tuple[FilterRule, ...], AfterValidator(_one_of_a_kind)]


class S3Filter(Model):
    """Which objects."""

    S3Key: KeyFilter

    def value(self, name: str) -> str:
        """Of the prefix or suffix; empty without one."""
        return next((rule.Value for rule in self.S3Key.Rules if rule.Name == name), "")


class S3Event(Model):
    """Event `S3` of a SAM function."""

    Bucket: Annotated[
        str,
        in_pattern(BUCKET, "a bucket's name: give the bucket a BucketName, by which your S3 server knows it"),
    ]
    """A bucket of the template, or the name of one."""
    Events: Annotated[tuple[EventName, ...], BeforeValidator(_several), Field(min_length=1)]
    """Such as `s3:ObjectCreated:*`."""
    Filter: S3Filter | None = None


class LambdaConfiguration(Model):
    """An item of `NotificationConfiguration.LambdaConfigurations` of AWS::S3::Bucket."""

    Event: EventName
    Function: str
    """ARN."""
    Filter: S3Filter | None = None


# --- schedules ------------------------------------------------------------------------------------------------------


class RunRetries(Model):
    """How long a run is tried that cannot be put on the function's queue, as the disk does not work."""

    MaximumEventAgeInSeconds: Annotated[Integer, Field(ge=60, le=86_400)] = MAXIMUM_EVENT_AGE
    """Of a run that the disk does not take."""
    MaximumRetryAttempts: Annotated[Integer, Field(ge=0, le=185)] = MAXIMUM_RETRY_ATTEMPTS
    """… and how often it is tried again."""


ResourceName = Annotated[str, in_pattern(r"[.\-_A-Za-z0-9]{1,64}", "1 to 64 letters, digits, '.', '-' or '_'")]
Expression = Annotated[str, Field(min_length=1, max_length=256)]
EventInput = Annotated[str, Field(max_length=8192)]
Switch = Literal["ENABLED", "DISABLED"]


class Schedule(Model):
    """Event `Schedule` of a SAM function: a rule of EventBridge, whose times are UTC."""

    Schedule: Expression
    """`rate(5 minutes)` or `cron(0 8 ? * MON-FRI *)`."""
    Name: ResourceName | None = None
    """Of the rule, in the event's ARN."""
    Input: EventInput | None = None
    """JSON that the function gets instead of the scheduled event."""
    Enabled: Boolean | None = None
    """Another way to say State."""
    State: Switch | None = None
    RetryPolicy: RunRetries = RunRetries()

    @model_validator(mode="after")
    def _one_switch(self) -> Self:
        if self.Enabled is not None and self.State is not None:
            raise ValueError("State and Enabled Properties cannot both be specified.")
        return self

    @property
    def is_enabled(self) -> bool:
        """Whether it runs."""
        return self.Enabled is not False and self.State != "DISABLED"


class RuleTarget(Model):
    """An item of `Targets` of AWS::Events::Rule."""

    Arn: str
    Id: Annotated[Text, Field(min_length=1, max_length=64)]
    Input: EventInput | None = None
    RetryPolicy: RunRetries = RunRetries()


class Rule(Model):
    """AWS::Events::Rule with a ScheduleExpression."""

    ScheduleExpression: Expression
    Name: ResourceName | None = None
    State: Literal["ENABLED", "DISABLED", "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS"] = "ENABLED"
    Targets: Annotated[tuple[dict[str, Any], ...], Field(min_length=1)]
    """Functions."""


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


def _zone(value: str) -> str:
    if value != "UTC" and not _zones():
        raise ValueError("no time zone is known on this machine: install its time zone data (Debian: tzdata)")
    if value != "UTC" and value not in _zones():
        near = closest(value, _zones())
        raise ValueError(f"{describe(value)} is no time zone, such as Europe/Berlin" + (f", {near}" if near else ""))
    return value


def _moment(value: Any) -> Any:
    if isinstance(value, datetime):  # as YAML reads it without quotes
        moment = value
    else:
        try:
            moment = datetime.fromisoformat(value)
        except (TypeError, ValueError):
            raise ValueError(f"{describe(value)} is no time, such as 2026-11-20T13:00:00Z") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


Moment = Annotated[datetime, BeforeValidator(_moment)]


class TimeWindow(Model):
    """How exact a schedule has to be. A run is made at the beginning of its window."""

    Mode: Literal["OFF", "FLEXIBLE"]
    MaximumWindowInMinutes: Annotated[Integer, Field(ge=1, le=1440)] | None = None
    """With FLEXIBLE. Runs are made at the beginning."""


class SchedulerSchedule(Model):
    """What event `ScheduleV2` of a SAM function and AWS::Scheduler::Schedule share: EventBridge's Scheduler."""

    ScheduleExpression: Expression
    """`rate(5 minutes)`, `cron(0 8 ? * MON-FRI *)` or `at(2026-11-20T13:00:00)`."""
    ScheduleExpressionTimezone: Annotated[str, AfterValidator(_zone)] = "UTC"
    """Of cron and at."""
    StartDate: Moment | None = None
    """A rate counts from it."""
    EndDate: Moment | None = None
    """The last moment of a run. Times without an offset are UTC."""
    FlexibleTimeWindow: TimeWindow | None = None
    GroupName: ResourceName = "default"
    """In the event's ARN."""
    Name: ResourceName | None = None
    """In the event's ARN."""
    State: Switch = "ENABLED"

    @property
    def zone(self) -> tzinfo:
        """The time zone."""
        return UTC if self.ScheduleExpressionTimezone == "UTC" else ZoneInfo(self.ScheduleExpressionTimezone)


class ScheduleV2(SchedulerSchedule):
    """Event `ScheduleV2` of a SAM function."""

    Input: EventInput | None = None
    """JSON that the function gets instead of the scheduled event."""
    RetryPolicy: RunRetries = RunRetries()


class SchedulerTarget(Model):
    """`Target` of AWS::Scheduler::Schedule."""

    Arn: str
    Input: EventInput | None = None
    RetryPolicy: RunRetries = RunRetries()


class PlainSchedule(SchedulerSchedule):
    """AWS::Scheduler::Schedule."""

    Target: dict[str, Any]
    """A function."""
