"""What templates say of events of S3 and of schedules, and what is refused of it (B.6)."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from templates import SECRET, _transform_in_process, document, load, problems  # noqa: F401 - a fixture

from poller.endpoints import KafkaTarget
from poller.sam import FUNCTION, TRANSFORM
from poller.sources.kafka_security import KafkaSecurity
from poller.triggers.wiring import Triggers

PROPERTIES = {"CodeUri": "code", "Handler": "app.handler", "Runtime": "python3.13"}
ARN = {"Fn::GetAtt": ["Work", "Arn"]}
UPLOADS = {
    "Type": "AWS::S3::Bucket",
    "Properties": {"BucketName": "uploads", "VersioningConfiguration": {"Status": "x"}},
}
AT = "Resources.Work.Properties.Events.E"


def template(
    events: dict[str, Any] | None = None, settings: dict[str, Any] | None = None, **resources: Any
) -> dict[str, Any]:
    work = {"Type": FUNCTION, "Properties": {**PROPERTIES, "Events": events or {}}}
    return {
        "Transform": TRANSFORM,
        "Metadata": {"Poller": settings or {}},
        "Resources": {"Work": work, "Uploads": UPLOADS, **resources},
    }


def event(kind: str, **properties: Any) -> dict[str, Any]:
    return {"E": {"Type": kind, "Properties": properties}}


def s3(**properties: Any) -> dict[str, Any]:
    return event("S3", **{"Bucket": {"Ref": "Uploads"}, "Events": "s3:ObjectCreated:*", **properties})


def rules(**values: str) -> dict[str, Any]:
    return {"Filter": {"S3Key": {"Rules": [{"Name": name, "Value": value} for name, value in values.items()]}}}


def triggers(folder: Path, content: dict[str, Any]) -> Triggers:
    return load(folder, content).triggers


def following(folder: Path, content: dict[str, Any], after: str = "2026-11-25T10:30:30+00:00") -> str:
    """When the one schedule runs next."""
    (schedule,) = triggers(folder, content).schedules
    moment = schedule.timing.following(datetime.fromisoformat(after).timestamp())
    assert moment is not None
    return f"{datetime.fromtimestamp(moment, UTC):%d %H:%M:%S}"


# --- S3 -------------------------------------------------------------------------------------------------------------


def test_an_event_of_s3_names_bucket_events_and_filter(tmp_path: Path) -> None:
    (found,) = triggers(tmp_path, template(s3(**rules(prefix="in/", Suffix=".jpg")))).s3
    assert (found.name, found.function_name, found.bucket) == ("Work.E", "Work", "uploads")
    assert (found.events, found.prefix, found.suffix) == (("s3:ObjectCreated:*",), "in/", ".jpg")


def test_a_filter_s_value_may_be_percent_encoded_as_aws_asks_for(tmp_path: Path) -> None:
    (found,) = triggers(tmp_path, template(s3(**rules(prefix="a%20b+c/")))).s3
    assert found.prefix == "a b+c/"


def test_a_bucket_may_be_named_without_being_a_resource(tmp_path: Path) -> None:
    (found,) = triggers(tmp_path, template(s3(Bucket="other.bucket", Events=["s3:ObjectRemoved:Delete"]))).s3
    assert (found.bucket, found.events) == ("other.bucket", ("s3:ObjectRemoved:Delete",))


def test_a_bucket_of_cloudformation_has_configurations_of_functions(tmp_path: Path) -> None:
    configurations = [{"Event": "s3:ObjectCreated:Put", "Function": ARN, **rules(suffix=".csv")}]
    others = {"QueueConfigurations": [{"Event": "s3:ObjectRemoved:*", "Queue": "arn:aws:sqs:x"}]}
    bucket = {"BucketName": "plain", "NotificationConfiguration": {"LambdaConfigurations": configurations, **others}}
    (found,) = triggers(tmp_path, template(Plain={"Type": "AWS::S3::Bucket", "Properties": bucket})).s3
    assert (found.name, found.bucket, found.suffix) == ("Plain.LambdaConfigurations[0]", "plain", ".csv")


def test_a_bucket_without_functions_is_passed_over(tmp_path: Path) -> None:
    bucket = {"Unknown": {"Ref": "Nowhere"}, "NotificationConfiguration": {"EventBridgeConfiguration": {}}}
    assert not triggers(tmp_path, template(Plain={"Type": "AWS::S3::Bucket", "Properties": bucket}))


# --- schedules ------------------------------------------------------------------------------------------------------


def test_a_schedule_of_sam_is_a_rule_of_eventbridge(tmp_path: Path) -> None:
    content = template(event("Schedule", Schedule="rate(5 minutes)", Description="d"))
    (found,) = triggers(tmp_path, content).schedules
    assert (found.name, found.function_name) == ("Work.E", "Work")
    assert found.arn == "arn:aws:events:us-east-1:123456789012:rule/WorkE"
    assert following(tmp_path, content) == "25 10:35:00"


def test_a_schedule_of_the_scheduler_has_a_time_zone(tmp_path: Path) -> None:
    content = template(
        event(
            "ScheduleV2",
            ScheduleExpression="cron(0 8 * * ? *)",
            ScheduleExpressionTimezone="Europe/Berlin",
            Name="early",
            GroupName="reports",
            FlexibleTimeWindow={"Mode": "FLEXIBLE", "MaximumWindowInMinutes": 15},
            RetryPolicy={"MaximumRetryAttempts": 2, "MaximumEventAgeInSeconds": 60},
        )
    )
    (found,) = triggers(tmp_path, content).schedules
    assert found.arn == "arn:aws:scheduler:us-east-1:123456789012:schedule/reports/early"
    assert (found.maximum_retry_attempts, found.maximum_event_age) == (2, 60)
    assert following(tmp_path, content) == "26 07:00:00"


def test_start_and_end_bound_a_schedule(tmp_path: Path) -> None:
    dates = {"StartDate": "2026-11-26T10:07:00Z", "EndDate": datetime(2026, 11, 27, tzinfo=UTC)}
    content = template(event("ScheduleV2", ScheduleExpression="rate(1 hour)", **dates))
    assert following(tmp_path, content) == "26 10:07:00"
    (found,) = triggers(tmp_path, content).schedules
    assert found.timing.following(datetime(2026, 11, 26, 23, 10, tzinfo=UTC).timestamp()) is None


@pytest.mark.parametrize("switch", [{"Enabled": False}, {"Enabled": "false"}, {"State": "DISABLED"}])
def test_a_disabled_schedule_never_runs(tmp_path: Path, switch: dict[str, Any]) -> None:
    assert triggers(tmp_path, template(event("Schedule", Schedule="rate(1 day)", **switch))).schedules == ()


def test_a_rule_of_cloudformation_runs_its_targets(tmp_path: Path) -> None:
    targets = [{"Arn": ARN, "Id": "a", "Input": '{"a":1}'}, {"Arn": ARN, "Id": "b"}]
    rule = {"Name": "nightly", "ScheduleExpression": "cron(0 1 * * ? *)", "Targets": targets}
    found = triggers(tmp_path, template(Nightly={"Type": "AWS::Events::Rule", "Properties": rule})).schedules
    assert [(one.name, one.input) for one in found] == [("Nightly.a", '{"a":1}'), ("Nightly.b", None)]
    assert found[0].arn.endswith(":rule/nightly")


def test_a_schedule_of_cloudformation_runs_its_target(tmp_path: Path) -> None:
    schedule = {
        "ScheduleExpression": "at(2026-12-01T08:00:00)",
        "FlexibleTimeWindow": {"Mode": "OFF"},
        "Target": {"Arn": ARN, "RoleArn": "arn:aws:iam::1:role/r"},
    }
    content = template(Once={"Type": "AWS::Scheduler::Schedule", "Properties": schedule})
    assert following(tmp_path, content) == "01 08:00:00"


def test_time_scale_of_the_settings_hurries_rates(tmp_path: Path) -> None:
    content = template(event("Schedule", Schedule="rate(1 minute)"), {"TimeScale": 60})
    assert following(tmp_path, content) == "25 10:30:31"


# --- notifications' queue -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("amqp://guest:secret@127.0.0.1:5672/uploads", "amqp://127.0.0.1:5672/uploads"),
        ("amqp://guest:secret@127.0.0.1:5672/%2Fteam/up%20loads", "amqp://127.0.0.1:5672/up loads"),
        ("kafka://127.0.0.1:9092/uploads", "kafka://127.0.0.1:9092/uploads"),
    ],
)
def test_notifications_may_come_over_a_queue_or_topic(tmp_path: Path, url: str, shown: str) -> None:
    assert str(triggers(tmp_path, template(s3(), {"S3Events": url})).s3_place) == shown


def test_a_topic_on_a_cluster_that_a_mapping_reads_is_read_with_its_login(tmp_path: Path) -> None:
    login = [{"Type": "SASL_SCRAM_512_AUTH", "URI": SECRET}]
    started = template(s3())["Resources"]
    settings = {"S3Events": "kafka://127.0.0.1:19092,127.0.0.1:19093/uploads"}
    content = document(readings={"SourceAccessConfigurations": login}, settings=settings, resources=started)
    loaded = load(tmp_path, content)
    place = loaded.triggers.s3_place
    assert isinstance(place, KafkaTarget)
    assert place.security == loaded.mappings[0].security != KafkaSecurity()


# --- refused --------------------------------------------------------------------------------------------------------

NOT_VALID = "Parameter ScheduleExpression is not valid."
RULE = {"ScheduleExpression": "rate(1 day)", "Targets": [{"Arn": ARN, "Id": "a"}]}

WRONG: dict[str, tuple[dict[str, Any], list[str]]] = {
    "events of S3": (
        template(
            event(
                "S3",
                Events=["s3:ObjectCreated:Putt", 5],
                Filter={"S3Key": {"Rules": [{"Name": "infix", "Value": "x"}]}},
            )
        ),
        [
            f"{AT}.Bucket: is missing",
            f'{AT}.Events[0]: "s3:ObjectCreated:Putt" is no event of S3, did you mean s3:ObjectCreated:Put?',
            f"{AT}.Events[1]: 5 is not text",
            f'{AT}.Filter.S3Key.Rules[0].Name: "infix" is not prefix or suffix',
        ],
    ),
    "two prefixes": (
        template(s3(Filter={"S3Key": {"Rules": [{"Name": "prefix", "Value": "a"}, {"Name": "Prefix", "Value": "b"}]}})),
        [f"{AT}.Filter.S3Key.Rules: has two rules of one kind: a prefix and a suffix at most"],
    ),
    "a bucket without a name": (
        template(s3(Bucket={"Ref": "Nameless"}), Nameless={"Type": "AWS::S3::Bucket"}),
        [
            f'{AT}.Bucket: "Nameless" is not a bucket\'s name: give the bucket a BucketName, by which your S3 server knows it'
        ],
    ),
    "a configuration of a bucket without a name": (
        template(
            Plain={
                "Type": "AWS::S3::Bucket",
                "Properties": {
                    "NotificationConfiguration": {
                        "LambdaConfigurations": [
                            {"Event": "s3:ObjectCreated:*", "Function": ARN},
                            {"Event": "s3:ObjectCreated", "Function": ARN},
                            5,
                        ]
                    }
                },
            }
        ),
        [
            'Resources.Plain.Properties.BucketName: "Plain" is not a bucket\'s name (give the one by which your S3 server knows it)',
            'Resources.Plain.Properties.NotificationConfiguration.LambdaConfigurations[1].Event: "s3:ObjectCreated" is no event of S3, did you mean s3:ObjectCreated:*?',
            "Resources.Plain.Properties.NotificationConfiguration.LambdaConfigurations[2]: 5 is not a mapping",
        ],
    ),
    "overlapping events": (
        template({**s3(), "F": {"Type": "S3", "Properties": {"Bucket": "uploads", "Events": "s3:ObjectCreated:Put"}}}),
        [
            (
                "Resources.Work.Properties.Events.F: Configurations overlap. Configurations on the same bucket cannot share a "
                "common event type. (the other one is Work.E)"
            )
        ],
    ),
    "events that overlap in one": (
        template(s3(Events=["s3:ObjectCreated:*", "s3:ObjectCreated:Put"], **rules(prefix="a"))),
        [
            (
                f"{AT}.Events: Configuration is ambiguously defined. Cannot have overlapping suffixes in two rules if the "
                "prefixes are overlapping for the same event type."
            )
        ],
    ),
    "expressions": (
        template(
            {
                "E": {"Type": "Schedule", "Properties": {"Schedule": "rate(1 minutes)"}},
                "F": {"Type": "Schedule", "Properties": {"Schedule": "at(2026-12-01T08:00:00)", "Enabled": False}},
                "G": {
                    "Type": "ScheduleV2",
                    "Properties": {"ScheduleExpression": "cron(0 8 * * * *)", "State": "DISABLED"},
                },
            }
        ),
        [
            f"{AT}.Schedule: {NOT_VALID} a rate of 1 is in minute, not in minutes",
            f"{AT[:-1]}F.Schedule: {NOT_VALID} It has not one of the forms rate(5 minutes), cron(0 8 ? * MON-FRI *)",
            f"{AT[:-1]}G.ScheduleExpression: {NOT_VALID} exactly one of Day-of-month and Day-of-week has to be ?",
        ],
    ),
    "a schedule": (
        template(
            event(
                "Schedule",
                Schedule="rate(1 day)",
                Input="{",
                Enabled=True,
                State="ENABLED",
                DeadLetterConfig={},
                Nmae="x",
            )
        ),
        [
            (
                f"{AT}.DeadLetterConfig: not supported: the event goes on the function's own queue; the function's "
                "EventInvokeConfig and DeadLetterQueue say what becomes of it there"
            ),
            f"{AT}.Nmae: unknown property (did you mean Name?)",
            f"{AT}: State and Enabled Properties cannot both be specified.",
        ],
    ),
    "an input": (
        template(event("Schedule", Schedule="rate(1 day)", Input="{")),
        [f"{AT}.Input: is not JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"],
    ),
    "a schedule of the scheduler": (
        template(
            event(
                "ScheduleV2",
                ScheduleExpression="rate(1 day)",
                ScheduleExpressionTimezone="Europe/Berlyn",
                StartDate="soon",
                RetryPolicy={"MaximumRetryAttempts": 186},
                FlexibleTimeWindow={"Mode": "SOMETIMES"},
            )
        ),
        [
            f'{AT}.ScheduleExpressionTimezone: "Europe/Berlyn" is no time zone, such as Europe/Berlin, did you mean Europe/Berlin?',
            f'{AT}.StartDate: "soon" is no time, such as 2026-11-20T13:00:00Z',
            f'{AT}.FlexibleTimeWindow.Mode: "SOMETIMES" is not OFF or FLEXIBLE',
            f"{AT}.RetryPolicy.MaximumRetryAttempts: 186 is above 185",
        ],
    ),
    "dates and windows": (
        template(
            event(
                "ScheduleV2",
                ScheduleExpression="rate(1 day)",
                StartDate="2026-11-20T13:00:00",
                EndDate="2026-11-20T12:00:00",
                FlexibleTimeWindow={"Mode": "FLEXIBLE"},
            )
        ),
        [
            f"{AT}.EndDate: is not after StartDate",
            f"{AT}.FlexibleTimeWindow.MaximumWindowInMinutes: goes with Mode FLEXIBLE, and that with it",
        ],
    ),
    "a pattern": (
        template(event("EventBridgeRule", Pattern={"source": ["x"]})),
        [
            (
                f"{AT}.Type: events of type EventBridgeRule are not supported (there is no event bus here; for a schedule use "
                "Schedule or ScheduleV2)"
            )
        ],
    ),
    "a rule with a pattern": (
        template(Rule={"Type": "AWS::Events::Rule", "Properties": {**RULE, "EventPattern": {}, "EventBusName": "b"}}),
        [
            "Resources.Rule.Properties.EventPattern: not supported: there is no event bus here; for a schedule give ScheduleExpression",
            "Resources.Rule.Properties.EventBusName: not supported: there is no event bus here",
        ],
    ),
    "targets": (
        template(
            Rule={
                "Type": "AWS::Events::Rule",
                "Properties": {
                    **RULE,
                    "Targets": [
                        {"Arn": "arn:aws:sqs:us-east-1:1:q", "Id": "a"},
                        {"Arn": "arn:aws:lambda:us-east-1:123456789012:function:Other", "Id": "b", "SqsParameters": {}},
                        {"Arn": ARN},
                        5,
                    ],
                },
            }
        ),
        [
            "Resources.Rule.Properties.Targets[3]: 5 is not a mapping",
        ],
    ),
    "functions of targets": (
        template(
            Rule={
                "Type": "AWS::Events::Rule",
                "Properties": {
                    **RULE,
                    "Targets": [
                        {"Arn": "arn:aws:sqs:us-east-1:1:q", "Id": "a"},
                        {"Arn": "arn:aws:lambda:us-east-1:123456789012:function:Wrok", "Id": "b", "SqsParameters": {}},
                        {"Arn": ARN},
                    ],
                },
            }
        ),
        [
            "Resources.Rule.Properties.Targets[0].Arn: is not the ARN of a function (only functions are run here)",
            "Resources.Rule.Properties.Targets[1].Arn: Function does not exist (did you mean Work?)",
            "Resources.Rule.Properties.Targets[1].SqsParameters: not supported: only functions are run here",
            "Resources.Rule.Properties.Targets[2].Id: is missing",
        ],
    ),
    "a queue without a function": (
        template(settings={"S3Events": "amqp://guest:guest@127.0.0.1/q"}),
        ["Metadata.Poller.S3Events: no function of the template has an event of S3 (add one, or take it out)"],
    ),
    "queues": (
        template(s3(), {"S3Events": "amqp://guest:guest@127.0.0.1/"}),
        [
            (
                "Metadata.Poller.S3Events: names no queue; before it may stand a virtual host (such as "
                "amqp://user:password@host:5672/queue or kafka://host:9092/topic)"
            )
        ],
    ),
    "a queue of another kind": (
        template(s3(), {"S3Events": "nats://127.0.0.1/q"}),
        [
            (
                "Metadata.Poller.S3Events: begins neither with amqp:// nor with kafka:// (such as "
                "amqp://user:password@host:5672/queue or kafka://host:9092/topic)"
            )
        ],
    ),
    "workers": (
        template(s3(), {"Workers": 2}),
        [
            (
                "Metadata.Poller.Workers: is 2, and events of S3 and schedules need one process (set Workers to 1, or take "
                "those events out)"
            )
        ],
    ),
    "shapes": (
        template(
            {
                "E": {"Type": "S3", "Properties": 5, "Propertys": {}},
                "F": {"Type": "Schedule", "Properties": {"Schedule": {"Ref": "Nowhere"}}},
            }
        ),
        [
            f"{AT}.Propertys: unknown attribute of an event (did you mean Properties?)",
            f"{AT}.Properties: 5 is not a mapping",
            f'{AT[:-1]}F.Schedule: Ref names "Nowhere", which is no parameter, pseudo parameter or resource of this template',
        ],
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_told_all_at_once_with_its_path(tmp_path: Path, case: str) -> None:
    content, expected = WRONG[case]
    assert sorted(problems(tmp_path, content)) == sorted(expected)
