"""What of S3 events and schedules works here, what has no effect, and what is refused, each with its reason.

As `poller.supported` for the rest: the template's reader and the documentation take their lists from here.
"""

from __future__ import annotations

from collections.abc import Mapping

NO_IAM = "there is no IAM here: everything is permitted"

TRIGGERS: Mapping[str, frozenset[str]] = {
    "S3": frozenset({"Bucket", "Events", "Filter"}),
    "Schedule": frozenset({"Enabled", "Input", "Name", "RetryPolicy", "Schedule", "State"}),
    "ScheduleV2": frozenset(
        {
            "EndDate",
            "FlexibleTimeWindow",
            "GroupName",
            "Input",
            "Name",
            "RetryPolicy",
            "ScheduleExpression",
            "ScheduleExpressionTimezone",
            "StartDate",
            "State",
        }
    ),
}
"""Event types of a SAM function that put events on its asynchronous queue, with their supported properties."""

TRIGGER_RESOURCES: Mapping[str, frozenset[str]] = {
    "AWS::S3::Bucket": frozenset({"NotificationConfiguration"}),
    "AWS::Events::Rule": frozenset({"Name", "ScheduleExpression", "State", "Targets"}),
    "AWS::Scheduler::Schedule": (TRIGGERS["ScheduleV2"] - {"Input", "RetryPolicy"}) | {"Target"},
}
"""Resources of CloudFormation that do the same, with their supported properties. Of a bucket, which an S3 server of
one's own stands for, nothing else is looked at."""
TRIGGER_WITHOUT_EFFECT = {
    "Description": "a remark",
    "KmsKeyArn": "nothing is encrypted at rest here",
    "OmitName": "a schedule without a name is called by its logical ID here",
    "PermissionsBoundary": NO_IAM,
    "RoleArn": NO_IAM,
    "Tags": "tags are for AWS's bill and console",
}
TRIGGER_REFUSED = {
    "DeadLetterConfig": "the event goes on the function's own queue; the function's EventInvokeConfig and "
    "DeadLetterQueue say what becomes of it there",
    "EventBusName": "there is no event bus here",
    "EventPattern": "there is no event bus here; for a schedule give ScheduleExpression",
    "InputPath": "the whole event or an Input is handed over",
    "InputTransformer": "the whole event or an Input is handed over",
}

TRIGGER_TARGET_REFUSED = {
    **{key: TRIGGER_REFUSED[key] for key in ("DeadLetterConfig", "InputPath", "InputTransformer")},
    **dict.fromkeys(
        (
            "AppSyncParameters",
            "BatchParameters",
            "EcsParameters",
            "EventBridgeParameters",
            "HttpParameters",
            "KinesisParameters",
            "RedshiftDataParameters",
            "RunCommandParameters",
            "SageMakerPipelineParameters",
            "SqsParameters",
        ),
        "only functions are run here",
    ),
}
"""… and of their targets."""
