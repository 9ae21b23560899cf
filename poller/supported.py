"""What of AWS's templates works here, what has no effect here, and what is refused, each with its reason.

The template's reader and the documentation take their lists from this file, so neither can forget anything.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from poller.errors import Problem
from poller.triggers.supported import TRIGGER_RESOURCES
from poller.validation import closest, join

SECTIONS = {
    "AWSTemplateFormatVersion",
    "Conditions",
    "Description",
    "Globals",
    "Mappings",
    "Metadata",
    "Outputs",
    "Parameters",
    "Resources",
    "Transform",
}
SECTIONS_REFUSED = {"Rules": "rules on parameters are not checked here; use AllowedValues of the parameter"}

ATTRIBUTES = {
    "Condition",
    "CreationPolicy",
    "DeletionPolicy",
    "DependsOn",
    "Metadata",
    "Properties",
    "Type",
    "UpdatePolicy",
    "UpdateReplacePolicy",
}

_NO_IAM = "there is no IAM here: everything is permitted"
_NO_IMAGES = "functions are folders or archives with code: give CodeUri, Handler and Runtime"
_NO_VERSIONS = "versions and aliases are made by calls of the API here, not by the template"

FUNCTION = {
    "CodeUri",
    "DeadLetterQueue",
    "Environment",
    "EphemeralStorage",
    "EventInvokeConfig",
    "Events",
    "FunctionName",
    "FunctionUrlConfig",
    "Handler",
    "Layers",
    "LoggingConfig",
    "MemorySize",
    "PackageType",
    "RecursiveLoop",
    "ReservedConcurrentExecutions",
    "Runtime",
    "Timeout",
}
"""Supported properties of AWS::Serverless::Function."""

SERVERLESS_ONLY = {"CodeUri", "DeadLetterQueue", "EventInvokeConfig", "Events", "FunctionUrlConfig"}
LAMBDA_ONLY = {"Code", "DeadLetterConfig"}
"""Supported properties that AWS::Lambda::Function has instead of those."""
KEPT_BACK = {"DeadLetterQueue", "EventInvokeConfig", "FunctionUrlConfig"}
"""Properties that are not for AWS's transform, which would make resources of them."""
LAMBDA_REFUSED = {
    "CodeUri": "AWS::Lambda::Function has Code",
    "DeadLetterQueue": "AWS::Lambda::Function has DeadLetterConfig",
    "EventInvokeConfig": "AWS::Lambda::EventInvokeConfig is a resource of its own",
    "FunctionUrlConfig": "AWS::Lambda::Url is a resource of its own",
}

FUNCTION_WITHOUT_EFFECT = {
    "Architectures": "handlers run on this machine's processor",
    "AssumeRolePolicyDocument": _NO_IAM,
    "CodeSigningConfigArn": "the code is a local folder",
    "Description": "a remark",
    "KmsKeyArn": "nothing is encrypted at rest here",
    "PermissionsBoundary": _NO_IAM,
    "Policies": _NO_IAM,
    "PropagateTags": "tags are for AWS's bill and console",
    "Role": _NO_IAM,
    "RolePath": _NO_IAM,
    "RuntimeManagementConfig": "handlers run on this machine's interpreter",
    "SourceKMSKeyArn": "the code is a local folder",
    "Tags": "tags are for AWS's bill and console",
    "Tracing": "there is no X-Ray here",
    "VpcConfig": "handlers use this machine's network",
}
FUNCTION_REFUSED = {
    "AutoPublishAlias": _NO_VERSIONS,
    "AutoPublishAliasAllProperties": _NO_VERSIONS,
    "AutoPublishCodeSha256": _NO_VERSIONS,
    "CapacityProviderConfig": "there are no managed instances here",
    "DeploymentPreference": _NO_VERSIONS,
    "DurableConfig": "there are no durable functions here",
    "FileSystemConfigs": "network file systems are not mounted here",
    "FunctionScalingConfig": "there are no managed instances here",
    "ImageConfig": _NO_IMAGES,
    "ImageUri": _NO_IMAGES,
    "InlineCode": "put the code into a folder, and name that in CodeUri",
    "ProvisionedConcurrencyConfig": f"{_NO_VERSIONS}; the setting ProvisionedConcurrency of a function "
    "(Metadata.Poller.Functions) keeps its environments initialised",
    "PublishToLatestPublished": _NO_VERSIONS,
    "SnapStart": "environments always start anew",
    "TenancyConfig": "there is no tenant isolation here",
    "VersionDeletionPolicy": _NO_VERSIONS,
    "VersionDescription": _NO_VERSIONS,
}

_IN_GLOBALS = "AWS takes it in a function, not in Globals"
FUNCTION_ONLY = dict.fromkeys(("Events", "FunctionName", "PackageType", "Policies", "Role"), _IN_GLOBALS)
"""Properties of a function that Globals may not have."""

_MAPPING_NAMES = (
    "BatchSize",
    "BisectBatchOnFunctionError",
    "DestinationConfig",
    "Enabled",
    "FilterCriteria",
    "FunctionResponseTypes",
    "MaximumBatchingWindowInSeconds",
    "MaximumRecordAgeInSeconds",
    "MaximumRetryAttempts",
    "MetricsConfig",
    "ProvisionedPollerConfig",
    "Queues",
    "SourceAccessConfigurations",
    "StartingPosition",
    "StartingPositionTimestamp",
    "Topics",
)

EVENTS: Mapping[str, Mapping[str, str]] = {
    "SelfManagedKafka": {
        "KafkaBootstrapServers": "SelfManagedEventSource.Endpoints.KAFKA_BOOTSTRAP_SERVERS",
        "ConsumerGroupId": "SelfManagedKafkaEventSourceConfig.ConsumerGroupId",
        **{name: name for name in _MAPPING_NAMES},
    },
    "MSK": {
        "Stream": "EventSourceArn",
        "ConsumerGroupId": "AmazonManagedKafkaEventSourceConfig.ConsumerGroupId",
        **{name: name for name in _MAPPING_NAMES},
    },
    "MQ": {"Broker": "EventSourceArn", **{name: name for name in _MAPPING_NAMES}},
}
"""Supported event types of a SAM function: property of the event, and where SAM puts it in the mapping."""

EVENTS_REFUSED = {
    "AlexaSkill",
    "CloudWatchEvent",
    "CloudWatchLogs",
    "Cognito",
    "DocumentDB",
    "DynamoDB",
    "EventBridgeRule",
    "IoTRule",
    "Kinesis",
    "SNS",
    "SQS",
}

EVENTS_REFUSED_BECAUSE = dict.fromkeys(
    ("CloudWatchEvent", "EventBridgeRule"), "there is no event bus here; for a schedule use Schedule or ScheduleV2"
)
"""What is to say of some of them."""

MAPPING = {
    *_MAPPING_NAMES,
    "AmazonManagedKafkaEventSourceConfig",
    "EventSourceArn",
    "FunctionName",
    "SelfManagedEventSource",
    "SelfManagedKafkaEventSourceConfig",
}
"""Supported properties of AWS::Lambda::EventSourceMapping."""

MAPPING_WITHOUT_EFFECT = {
    "DynamicPolicyName": _NO_IAM,
    "KmsKeyArn": "nothing is encrypted at rest here",
    "SecretsManagerKmsKeyId": _NO_IAM,
    "Tags": "tags are for AWS's bill and console",
}
MAPPING_REFUSED = {
    "DocumentDBEventSourceConfig": "it belongs to DocumentDB",
    "LoggingConfig": "the log's level is Metadata.Poller.LogLevel here",
    "ParallelizationFactor": "it belongs to Kinesis and DynamoDB streams",
    "ScalingConfig": "it belongs to SQS; ReservedConcurrentExecutions of the function is a bound here, too",
    "SchemaRegistryConfig": "records are handed over as they are, and no registry is asked",
    "TumblingWindowInSeconds": "it belongs to Kinesis and DynamoDB streams",
}

EVENT_INVOKE_CONFIG = {
    "DestinationConfig",
    "FunctionName",
    "MaximumEventAgeInSeconds",
    "MaximumRetryAttempts",
    "Qualifier",
}
"""Supported properties of AWS::Lambda::EventInvokeConfig: all there are."""

FUNCTION_URL = {"AuthType", "Cors", "InvokeMode", "Qualifier", "TargetFunctionArn"}
"""Supported properties of AWS::Lambda::Url: all there are."""

RESOURCES = (
    "AWS::Serverless::Function",
    "AWS::Lambda::Function",
    "AWS::Lambda::EventSourceMapping",
    "AWS::Lambda::EventInvokeConfig",
    *TRIGGER_RESOURCES,
    "AWS::Lambda::Url",
    "AWS::Serverless::HttpApi",
    "AWS::Serverless::Api",
    "AWS::Serverless::LayerVersion",
    "AWS::Lambda::LayerVersion",
)

SERVERLESS = frozenset(kind for kind in RESOURCES if kind.startswith("AWS::Serverless::"))
"""Those that need SAM's transform."""

LAYER_WITHOUT_EFFECT = {
    "CompatibleArchitectures": "layers are used on this machine's processor",
    "CompatibleRuntimes": "every function that names the layer gets it",
    "Description": "a remark",
    "LayerName": "only its ARN is made of it",
    "LicenseInfo": "a remark",
    "Metadata": "a remark",
    "PublishLambdaVersion": "there are no versions here",
    "RetentionPolicy": "nothing is published, so nothing is deleted",
}

PASSED_OVER = {
    "AWS::AmazonMQ::Broker": "your own broker stands for it: Metadata.Poller.Endpoints",
    "AWS::AmazonMQ::Configuration": "your own broker has its own configuration",
    "AWS::CloudWatch::Alarm": "alarms are made from /metrics here",
    "AWS::EC2::SecurityGroup": "handlers and pollers use this machine's network",
    "AWS::EC2::Subnet": "handlers and pollers use this machine's network",
    "AWS::EC2::VPC": "handlers and pollers use this machine's network",
    "AWS::Events::EventBus": "only its ARN is known; Metadata.Poller.Endpoints says where events for it go",
    "AWS::IAM::InstanceProfile": _NO_IAM,
    "AWS::IAM::ManagedPolicy": _NO_IAM,
    "AWS::IAM::Policy": _NO_IAM,
    "AWS::IAM::Role": _NO_IAM,
    "AWS::KMS::Alias": "nothing is encrypted at rest here",
    "AWS::KMS::Key": "nothing is encrypted at rest here",
    "AWS::Lambda::Permission": _NO_IAM,
    "AWS::Logs::LogGroup": "log groups are made as functions write to them; Metadata.Poller.LogFiles",
    "AWS::MSK::Cluster": "your own cluster stands for it: Metadata.Poller.Endpoints",
    "AWS::S3::BucketPolicy": _NO_IAM,
    "AWS::SNS::Topic": "only its ARN is known; Metadata.Poller.Endpoints says where dead letters for it go",
    "AWS::SQS::Queue": "only its ARN is known; Metadata.Poller.Endpoints says where dead letters for it go",
    "AWS::Scheduler::ScheduleGroup": "only its name is known, which stands in the ARNs of schedules",
    "AWS::SecretsManager::Secret": "its value stands in Metadata.Poller.Secrets",
}
"""Resource types that a template may hold for AWS's sake; nothing is made of them here."""

ARN_FORMATS = {
    "AWS::AmazonMQ::Broker": "arn:{partition}:mq:{region}:{account}:broker:{name}:{name}",
    "AWS::EC2::SecurityGroup": "{name}",
    "AWS::EC2::Subnet": "{name}",
    "AWS::Events::EventBus": "arn:{partition}:events:{region}:{account}:event-bus/{name}",
    "AWS::IAM::Role": "arn:{partition}:iam::{account}:role/{name}",
    "AWS::Lambda::Function": "arn:{partition}:lambda:{region}:{account}:function:{name}",
    "AWS::Lambda::LayerVersion": "arn:{partition}:lambda:{region}:{account}:layer:{name}:1",
    "AWS::MSK::Cluster": "arn:{partition}:kafka:{region}:{account}:cluster/{name}/{name}",
    "AWS::S3::Bucket": "arn:{partition}:s3:::{name}",
    "AWS::SNS::Topic": "arn:{partition}:sns:{region}:{account}:{name}",
    "AWS::SQS::Queue": "arn:{partition}:sqs:{region}:{account}:{name}",
    "AWS::SecretsManager::Secret": "arn:{partition}:secretsmanager:{region}:{account}:secret:{name}",
    "AWS::Serverless::Function": "arn:{partition}:lambda:{region}:{account}:function:{name}",
    "AWS::Serverless::LayerVersion": "arn:{partition}:lambda:{region}:{account}:layer:{name}:1",
}
"""ARNs of resources, as Ref or GetAtt give them; the name is the one the template gives, else the logical ID."""

REF_FORMATS = {
    **{
        name: ARN_FORMATS[name]
        for name in (
            "AWS::AmazonMQ::Broker",
            "AWS::MSK::Cluster",
            "AWS::SNS::Topic",
            "AWS::SecretsManager::Secret",
            "AWS::Lambda::LayerVersion",
            "AWS::Serverless::LayerVersion",
        )
    },
    "AWS::SQS::Queue": "https://sqs.{region}.amazonaws.com/{account}/{name}",
    "AWS::Serverless::Api": "{logical}",
    "AWS::Serverless::HttpApi": "{logical}",
}
"""What Ref gives, where it is not the name."""

NAME_PROPERTIES = (
    "BrokerName",
    "BucketName",
    "ClusterName",
    "FunctionName",
    "LayerName",
    "LogGroupName",
    "Name",
    "QueueName",
    "RoleName",
    "TopicName",
)
"""Properties by which a template names a resource."""


def check_names(
    values: Mapping[str, Any],
    path: str,
    *,
    supported: Collection[str],
    refused: Mapping[str, str],
    without_effect: Collection[str] = (),
) -> tuple[dict[str, Any], list[Problem]]:
    """The values that do something here, and a problem for each that is refused or unknown."""
    problems, kept = [], {}
    known = [*supported, *without_effect, *refused]
    for name, value in values.items():
        if name in supported:
            kept[name] = value
        elif name in refused:
            problems.append(Problem(join(path, name), f"not supported: {refused[name]}"))
        elif name not in without_effect:
            problems.append(Problem(join(path, name), "unknown property", closest(name, known)))
    return kept, problems
