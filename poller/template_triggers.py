"""What a template says of triggers: events of S3 and schedules, of SAM functions and as resources of CloudFormation."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from typing import Any, TypeVar
from urllib.parse import unquote

from poller.errors import ConfigError, Problem
from poller.supported import check_names
from poller.template_events import TriggerEvent
from poller.triggers.resources import (
    BUCKET,
    LambdaConfiguration,
    PlainSchedule,
    Rule,
    RuleTarget,
    S3Event,
    S3Filter,
    Schedule,
    SchedulerSchedule,
    SchedulerTarget,
    ScheduleV2,
)
from poller.triggers.s3_events import S3Trigger
from poller.triggers.schedule_expressions import Timing, parse_expression
from poller.triggers.schedule_trigger import ScheduleTrigger
from poller.triggers.scheduled_events import input_problem
from poller.triggers.supported import (
    TRIGGER_REFUSED,
    TRIGGER_RESOURCES,
    TRIGGER_TARGET_REFUSED,
    TRIGGER_WITHOUT_EFFECT,
    TRIGGERS,
)
from poller.validation import Model, closest, describe, join, parse, under

NOT_VALID = "Parameter ScheduleExpression is not valid."
"""AWS's words."""

M = TypeVar("M", bound=Model)


@dataclass(frozen=True, slots=True)
class DeclaredSchedule:
    """An enabled schedule, and how its times follow from TimeScale."""

    trigger: ScheduleTrigger
    timing: Callable[[float], Timing]


@dataclass(frozen=True, slots=True)
class _Identity:
    """Whose a schedule is."""

    name: str
    """As the template calls it."""
    function: str
    arn: str
    enabled: bool
    """A schedule that is not is checked all the same."""


class TriggerReader:
    """Gathers triggers; `problems` is what is wrong with them.

    Args:
        account: for ARNs.
        region: for ARNs.
        checked: gives the supported properties, resolved: `ResourceReader._checked`.
        named_function: a function's name from a name or ARN, at a path: `ResourceReader._named_function`.
    """

    def __init__(
        self,
        account: str,
        region: str,
        *,
        checked: Callable[..., dict[str, Any]],
        named_function: Callable[[str, str], str],
    ) -> None:
        self.problems: list[Problem] = []
        self.schedules: list[DeclaredSchedule] = []
        self.s3: list[S3Trigger] = []
        self._account = account
        self._region = region
        self._checked = checked
        self._named_function = named_function

    # --- SAM ----------------------------------------------------------------------------------------------------------

    def event(self, logical_id: str, function_name: str, event: TriggerEvent) -> None:
        """Read an event of a SAM function. AWS's transform does not see it."""
        path = event.path
        for key in event.unknown:
            self._problem(join(path, key), "unknown attribute of an event", closest(key, ["Type", "Properties"]))
        if not isinstance(event.properties, dict):
            self._problem(join(path, "Properties"), f"{describe(event.properties)} is not a mapping")
            return
        given = self._checked(event.properties, path, TRIGGERS[event.kind], TRIGGER_REFUSED, TRIGGER_WITHOUT_EFFECT)
        name, made = f"{logical_id}.{event.name}", f"{logical_id}{event.name}"
        match event.kind:
            case "S3":
                if s3 := self._parsed(S3Event, given, path):
                    self._s3(S3Trigger(name, function_name, s3.Bucket, s3.Events), s3.Filter, path)
            case "Schedule":
                if rule := self._parsed(Schedule, given, path):
                    target = RuleTarget(Arn=function_name, Id="0", Input=rule.Input, RetryPolicy=rule.RetryPolicy)
                    identity = _Identity(name, function_name, self._rule_arn(rule.Name or made), rule.is_enabled)
                    self._add(identity, partial(parse_expression, rule.Schedule), target, join(path, "Schedule"), path)
            case _:
                if schedule := self._parsed(ScheduleV2, given, path):
                    whom = SchedulerTarget(Arn=function_name, Input=schedule.Input, RetryPolicy=schedule.RetryPolicy)
                    self._scheduled(self._identity(name, function_name, schedule, made), schedule, whom, path, path)

    # --- CloudFormation -----------------------------------------------------------------------------------------------

    def resource(self, name: str, kind: str, properties: Mapping[str, Any], path: str) -> None:
        """Read a resource of one of `TRIGGER_RESOURCES`."""
        if kind == "AWS::S3::Bucket":
            self._bucket(name, properties, path)
            return
        known = TRIGGER_RESOURCES[kind]
        given = self._checked(properties, path, known, TRIGGER_REFUSED, TRIGGER_WITHOUT_EFFECT)
        if kind == "AWS::Events::Rule":
            self._plain_rule(name, given, path)
        elif schedule := self._parsed(PlainSchedule, given, path):
            at = join(path, "Target")
            target = self._target(SchedulerTarget, schedule.Target, at)
            if target and (function := self._function(target, at)):
                self._scheduled(self._identity(name, function, schedule, name), schedule, target, path, at)

    def _bucket(self, name: str, properties: Mapping[str, Any], path: str) -> None:
        section = properties.get("NotificationConfiguration")
        if not isinstance(section, dict) or not any(
            key == "LambdaConfigurations" or key.startswith("Fn::") for key in section
        ):
            return  # what else a bucket is like, and whom else it tells, is for the S3 server that has it
        wanted = {key: value for key, value in properties.items() if key in {"BucketName", "NotificationConfiguration"}}
        given = self._checked(wanted, path, set(wanted), {}, ())
        place = join(path, "NotificationConfiguration.LambdaConfigurations")
        configuration = given.get("NotificationConfiguration")
        items = configuration.get("LambdaConfigurations", []) if isinstance(configuration, dict) else []
        if not isinstance(items, list):
            self._problem(place, f"{describe(items)} is not a list")
            return
        for number, item in enumerate(items):
            at = f"{place}[{number}]"
            if one := self._parsed(LambdaConfiguration, item, at):
                function = self._named_function(one.Function, join(at, "Function"))
                label = f"{name}.LambdaConfigurations[{number}]"
                bucket = given.get("BucketName", name)
                if isinstance(bucket, str) and re.fullmatch(BUCKET, bucket):
                    self._s3(S3Trigger(label, function, bucket, (one.Event,)), one.Filter, at)
                else:
                    reason = f"{describe(bucket)} is not a bucket's name"
                    self._problem(join(path, "BucketName"), reason, "give the one by which your S3 server knows it")

    def _plain_rule(self, name: str, given: Mapping[str, Any], path: str) -> None:
        rule = self._parsed(Rule, given, path)
        if rule is None:
            return
        for number, item in enumerate(rule.Targets):
            at = join(path, f"Targets[{number}]")
            target = self._target(RuleTarget, item, at)
            if target and (function := self._function(target, at)):
                label = name if len(rule.Targets) == 1 else f"{name}.{target.Id}"
                identity = _Identity(label, function, self._rule_arn(rule.Name or name), rule.State != "DISABLED")
                timing = partial(parse_expression, rule.ScheduleExpression)
                self._add(identity, timing, target, join(path, "ScheduleExpression"), at)

    def _target(self, model: type[M], values: Any, path: str) -> M | None:
        if not isinstance(values, dict):
            self._problem(path, f"{describe(values)} is not a mapping")
            return None
        kept, wrong = check_names(
            values,
            path,
            supported=set(model.model_fields),
            refused=TRIGGER_TARGET_REFUSED,
            without_effect=TRIGGER_WITHOUT_EFFECT,
        )
        self.problems += wrong
        return self._parsed(model, kept, path)

    def _function(self, target: RuleTarget | SchedulerTarget, path: str) -> str | None:
        arn = target.Arn.split(":")
        if arn[0] != "arn" or arn[2:3] != ["lambda"]:
            self._problem(join(path, "Arn"), "is not the ARN of a function", "only functions are run here")
            return None
        return self._named_function(target.Arn, join(path, "Arn"))

    # --- both ---------------------------------------------------------------------------------------------------------

    def _s3(self, unfiltered: S3Trigger, given: S3Filter | None, path: str) -> None:
        # AWS's manual: what is special in a filter's value is percent-encoded.
        prefix, suffix = (unquote(given.value(kind)) if given else "" for kind in ("prefix", "suffix"))
        trigger = replace(unfiltered, prefix=prefix, suffix=suffix)
        # SAM makes a configuration of each event, and AWS compares all with all.
        each = [replace(trigger, events=(event,)) for event in trigger.events]
        if words := next(filter(None, (one.overlaps(other) for one, other in combinations(each, 2))), ""):
            self._problem(join(path, "Events"), words)
        for other in self.s3:
            if words := trigger.overlaps(other):
                self._problem(path, words, f"the other one is {other.name}")
        self.s3.append(trigger)

    def _rule_arn(self, rule: str) -> str:
        return f"arn:aws:events:{self._region}:{self._account}:rule/{rule}"

    def _identity(self, name: str, function: str, given: SchedulerSchedule, made: str) -> _Identity:
        schedule = f"{given.GroupName}/{given.Name or made}"
        arn = f"arn:aws:scheduler:{self._region}:{self._account}:schedule/{schedule}"
        return _Identity(name, function, arn, given.State == "ENABLED")

    def _scheduled(
        self, identity: _Identity, given: SchedulerSchedule, target: RuleTarget | SchedulerTarget, path: str, at: str
    ) -> None:
        start, end = given.StartDate, given.EndDate
        if start is not None and end is not None and end <= start:
            self._problem(join(path, "EndDate"), "is not after StartDate")
        window = given.FlexibleTimeWindow
        if window is not None and (window.Mode == "FLEXIBLE") != (window.MaximumWindowInMinutes is not None):
            place = join(path, "FlexibleTimeWindow.MaximumWindowInMinutes")
            self._problem(place, "goes with Mode FLEXIBLE, and that with it")
        timing = partial(
            parse_expression,
            given.ScheduleExpression,
            once=True,
            zone=given.zone,
            start=None if start is None else start.timestamp(),
            end=None if end is None else end.timestamp(),
        )
        self._add(identity, timing, target, join(path, "ScheduleExpression"), at)

    def _add(
        self,
        identity: _Identity,
        timing: Callable[..., Timing],
        target: RuleTarget | SchedulerTarget,
        expression_at: str,
        target_at: str,
    ) -> None:
        if target.Input is not None and (reason := input_problem(identity.arn, target.Input)):
            self._problem(join(target_at, "Input"), reason)
        found = self._timing(timing, expression_at)
        if found is not None and identity.enabled:
            trigger = ScheduleTrigger(
                identity.name,
                identity.function,
                identity.arn,
                found,
                input=target.Input,
                maximum_event_age=float(target.RetryPolicy.MaximumEventAgeInSeconds),
                maximum_retry_attempts=target.RetryPolicy.MaximumRetryAttempts,
            )
            self.schedules.append(DeclaredSchedule(trigger, lambda scale: timing(time_scale=scale)))

    def _timing(self, timing: Callable[..., Timing], path: str) -> Timing | None:
        try:
            return timing()
        except ValueError as error:
            self._problem(path, f"{NOT_VALID} It {error}" if str(error).startswith("has ") else f"{NOT_VALID} {error}")
            return None

    def _parsed(self, model: type[M], values: Any, path: str) -> M | None:
        if not isinstance(values, dict):
            self._problem(path, f"{describe(values)} is not a mapping")
            return None
        try:
            return parse(model, values, under(path))
        except ConfigError as error:
            self.problems += error.problems
            return None

    def _problem(self, path: str, reason: str, suggestion: str = "") -> None:
        self.problems.append(Problem(path, reason, suggestion))
