"""A SAM template becomes functions and mappings, or a list of everything that is wrong with it."""

from __future__ import annotations

import copy
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from templates import (
    BROKER,
    NO_LOGIN,
    PROVISIONED,
    QUEUE,
    READINGS,
    SECRET,
    _transform_in_process,  # noqa: F401 - a fixture
    document,
    load,
    problems,
    write,
)

from poller import supported, template
from poller.api_errors import error_of
from poller.endpoints import FileTarget, KafkaTarget, RabbitMQTarget
from poller.errors import ConfigError, PollerError
from poller.runtime.runtimes import RUNTIMES
from poller.sam import FUNCTION, TRANSFORM, Translator

EVENT = "Resources.Telemetry.Properties.Events.Readings"
MQ_EVENT = "Resources.Tasks.Properties.Events.Queue"
ADD_PROVISIONED = "(add ProvisionedPollerConfig: {MinimumPollers: 1, MaximumPollers: 1})"
NO_LOGIN_HINT = "(for a cluster without login give one VPC_SUBNET and one VPC_SECURITY_GROUP)"
EXTENSIONS = "Metadata.Poller.EventSources"
CODE = "(name the folder with the function's code, or a zip archive of it)"
KAFKA_ARN = "arn:aws:kafka:us-east-1:123456789012:cluster/telemetry/1"
SQS_ARN = "arn:aws:sqs:us-east-1:123456789012:failed"


# --- good templates ------------------------------------------------------------------------------------------------


def test_a_kafka_event_becomes_a_mapping_with_the_defaults_of_the_service(tmp_path: Path) -> None:  # C.1
    loaded = load(tmp_path, document())
    mapping = next(item for item in loaded.mappings if item.name == "Telemetry.Readings")
    assert mapping.kind == "SelfManagedKafka"
    assert mapping.FunctionName == "Telemetry"
    assert mapping.Topics == ("telemetry",)
    assert mapping.bootstrap_servers == ("127.0.0.1:19092",)
    assert (mapping.BatchSize, mapping.MaximumBatchingWindowInSeconds, mapping.StartingPosition) == (
        100,
        None,
        "TRIM_HORIZON",
    )
    assert (mapping.maximum_retry_attempts, mapping.MaximumRecordAgeInSeconds) == (-1, -1)
    assert mapping.Enabled
    assert not mapping.report_batch_item_failures
    assert mapping.on_failure is None
    assert mapping.consumer_group_id == mapping.UUID


def test_every_property_of_a_provisioned_kafka_event_arrives(tmp_path: Path) -> None:  # C.1
    loaded = load(
        tmp_path,
        document(
            readings={
                "BatchSize": 50,
                "MaximumBatchingWindowInSeconds": 0,
                "StartingPosition": "LATEST",
                "ProvisionedPollerConfig": {"MinimumPollers": 2, "MaximumPollers": 2},
                "MaximumRetryAttempts": 2,
                "MaximumRecordAgeInSeconds": 60,
                "BisectBatchOnFunctionError": True,
                "FunctionResponseTypes": ["ReportBatchItemFailures"],
                "DestinationConfig": {"OnFailure": {"Type": "Kafka", "Destination": "kafka://telemetry-dlq"}},
                "ConsumerGroupId": "telemetry",
                "FilterCriteria": {"Filters": [{"Pattern": '{"value": {"battery": [{"numeric": ["<", 20]}]}}'}]},
                "Enabled": False,
            }
        ),
    )
    mapping = loaded.mappings[0]
    assert (mapping.BatchSize, mapping.MaximumBatchingWindowInSeconds, mapping.StartingPosition) == (50, 0, "LATEST")
    assert mapping.ProvisionedPollerConfig is not None
    assert mapping.ProvisionedPollerConfig.MinimumPollers == 2
    assert (mapping.maximum_retry_attempts, mapping.MaximumRecordAgeInSeconds) == (2, 60)
    assert mapping.BisectBatchOnFunctionError
    assert mapping.report_batch_item_failures
    assert mapping.on_failure == KafkaTarget(("127.0.0.1:19092",), "telemetry-dlq")
    assert mapping.consumer_group_id == "telemetry"
    assert mapping.filter_patterns == ('{"value": {"battery": [{"numeric": ["<", 20]}]}}',)
    assert not mapping.Enabled


def test_a_time_to_begin_with_arrives_in_milliseconds(tmp_path: Path) -> None:  # C.1, D.1.2
    for seconds in (1764064800.25, "1764064800.25", 1764064800):
        position = {"StartingPosition": "AT_TIMESTAMP", "StartingPositionTimestamp": seconds}
        mapping = load(tmp_path, document(readings=position)).mappings[0]
        assert (mapping.StartingPosition, mapping.starting_timestamp) == ("AT_TIMESTAMP", int(float(seconds) * 1000))


def test_an_mq_event_gets_its_address_login_and_virtual_host(tmp_path: Path) -> None:  # D.2
    access = [*QUEUE["SourceAccessConfigurations"], {"Type": "VIRTUAL_HOST", "URI": "a b/c"}]
    mapping = load(tmp_path, document(queue={"SourceAccessConfigurations": access})).mappings[1]
    assert (mapping.kind, mapping.Queues, mapping.virtual_host) == ("MQ", ("tasks",), "a b/c")
    assert mapping.broker_url is not None
    assert mapping.broker_url.get_secret_value() == "amqp://guest:top-secret@127.0.0.1:5672/a%20b%2Fc"


def test_no_secret_shows_in_a_template_s_representation(tmp_path: Path) -> None:
    extension = {"Tasks.Queue": {"MaximumRetryAttempts": 1, "OnFailure": "amqp://u:hidden@h:1/x/y"}}
    loaded = load(tmp_path, document(settings={"EventSources": extension}))
    for text in (repr(loaded), str(loaded.settings), str(loaded.mappings[1].on_failure)):
        assert "top-secret" not in text
        assert "hidden" not in text


def test_extensions_of_an_mq_event_bound_its_retries(tmp_path: Path) -> None:  # F.4
    extension = {
        "MaximumRetryAttempts": 3,
        "OnFailure": "amqp:///dead/tasks",
        "FunctionResponseTypes": ["ReportBatchItemFailures"],
    }
    mapping = load(tmp_path, document(settings={"EventSources": {"Tasks.Queue": extension}})).mappings[1]
    assert mapping.maximum_retry_attempts == 3
    assert mapping.report_batch_item_failures
    assert mapping.broker_url is not None
    assert mapping.on_failure == RabbitMQTarget(mapping.broker_url, "dead", "tasks")


def test_a_kafka_event_may_send_dead_letters_to_a_file_or_to_rabbitmq(tmp_path: Path) -> None:
    for uri, target in (("file:dead.jsonl", FileTarget), ("amqp://u:p@h:5672/exchange/key", RabbitMQTarget)):
        extension = {"Telemetry.Readings": {"OnFailure": uri, "ErrorHeaders": "none"}}
        mapping = load(tmp_path, document(settings={"EventSources": extension})).mappings[0]
        assert isinstance(mapping.on_failure, target)
        assert mapping.extensions.ErrorHeaders == "none"
        if isinstance(mapping.on_failure, FileTarget):
            assert mapping.on_failure.path == tmp_path / "dead.jsonl"


def test_an_sqs_arn_as_destination_goes_where_its_endpoint_says(tmp_path: Path) -> None:  # D.1.2
    loaded = load(
        tmp_path,
        document(
            readings={
                "DestinationConfig": {"OnFailure": {"Type": "SQS", "Destination": {"Fn::GetAtt": ["Failed", "Arn"]}}}
            },
            resources={"Failed": {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": "failed"}}},
            settings={"Endpoints": {BROKER: "amqp://h", SQS_ARN: "kafka://other:9092/failed"}},
        ),
    )
    assert loaded.mappings[0].on_failure == KafkaTarget(("other:9092",), "failed")


def test_an_msk_event_reads_the_cluster_that_its_endpoint_names(tmp_path: Path) -> None:  # D.1.1
    msk = {"Type": "MSK", "Properties": {"Stream": KAFKA_ARN, "Topics": ["telemetry"], "StartingPosition": "LATEST"}}
    changed = document(settings={"Endpoints": {BROKER: "amqp://h", KAFKA_ARN: "kafka://a:9092,b:9092"}})
    changed["Resources"]["Telemetry"]["Properties"]["Events"] = {"Readings": msk}
    mapping = load(tmp_path, changed).mappings[0]
    assert (mapping.kind, mapping.EventSourceArn, mapping.bootstrap_servers) == ("MSK", KAFKA_ARN, ("a:9092", "b:9092"))


def test_plain_cloudformation_needs_no_transform(tmp_path: Path) -> None:
    loaded = load(
        tmp_path,
        {
            "Resources": {
                "Telemetry": {
                    "Type": "AWS::Lambda::Function",
                    "Properties": {
                        "FunctionName": "telemetry-prod",
                        "Code": "code",
                        "Handler": "app.handler",
                        "Runtime": "python3.12",
                        "Role": {"Fn::GetAtt": "Role.Arn"},
                    },
                },
                "Role": {"Type": "AWS::IAM::Role", "Properties": {"Anything": {"Fn::ImportValue": "x"}}},
                "Readings": {
                    "Type": "AWS::Lambda::EventSourceMapping",
                    "Properties": {
                        "FunctionName": {"Ref": "Telemetry"},
                        "SelfManagedEventSource": {"Endpoints": {"KafkaBootstrapServers": ["a:9092"]}},
                        "Topics": ["telemetry"],
                        "SourceAccessConfigurations": NO_LOGIN,
                    },
                },
            }
        },
    )
    assert [item.FunctionName for item in loaded.functions] == ["telemetry-prod"]
    assert [(item.name, item.FunctionName) for item in loaded.mappings] == [("Readings", "telemetry-prod")]


@pytest.mark.parametrize(
    "name",
    [
        "Telemetry",
        "arn:aws:lambda:us-east-1:123456789012:function:Telemetry",
        "123456789012:function:Telemetry",
        "Telemetry:$LATEST",
        {"Fn::GetAtt": ["Telemetry", "Arn"]},
    ],
)
def test_a_mapping_names_its_function_in_every_way_of_the_api(tmp_path: Path, name: Any) -> None:  # A.1
    plain = {**QUEUE, "EventSourceArn": BROKER, "FunctionName": name, "Queues": ["other"]}
    del plain["Broker"]
    extra = {"Map": {"Type": "AWS::Lambda::EventSourceMapping", "Properties": plain}}
    loaded = load(tmp_path, document(resources=extra))
    assert next(item for item in loaded.mappings if item.name == "Map").FunctionName == "Telemetry"


def test_globals_parameters_and_pseudo_parameters_reach_functions_and_settings(tmp_path: Path) -> None:
    text = """
Transform: AWS::Serverless-2016-10-31
Parameters:
  Brokers: {Type: CommaDelimitedList, Default: "a:9092"}
  Timeout: {Type: Number, Default: 7}
  RabbitMQ: {Type: String, Default: amqp://guest:guest@localhost}
Conditions:
  InEurope: !Equals [!Ref AWS::Region, eu-west-1]
Globals:
  Function:
    Runtime: python3.13
    Handler: app.handler
    CodeUri: code
    Timeout: !Ref Timeout
    EphemeralStorage: {Size: 2048}
    Environment: {Variables: {WHERE: !Sub "${AWS::Region}/${AWS::AccountId}"}}
Metadata:
  Poller:
    Region: eu-west-1
    AccountId: "000000000042"
    Endpoints:
      arn:aws:mq:us-east-1:000000000000:broker:tasks:b-1: !Sub "${RabbitMQ}:5672"
Resources:
  Telemetry:
    Type: AWS::Serverless::Function
    Properties:
      MemorySize: !If [InEurope, 256, 512]
      Environment: {Variables: {SELF: !Ref AWS::StackName, DEBUG: true, LEVEL: 3}}
      Policies: [!ImportValue not-looked-at]
      Events:
        Readings:
          Type: SelfManagedKafka
          Properties:
            KafkaBootstrapServers: !Ref Brokers
            Topics: [!Join ["-", [telemetry, !Select [0, [a]]]]]
            BatchSize: "10"
            SourceAccessConfigurations:
              - {Type: VPC_SUBNET, URI: subnet-0}
              - {Type: VPC_SECURITY_GROUP, URI: sg-0}
        Tasks:
          Type: MQ
          Properties:
            Broker: arn:aws:mq:us-east-1:000000000000:broker:tasks:b-1
            Queues: [tasks]
            SourceAccessConfigurations: [{Type: BASIC_AUTH, URI: "arn:aws:secretsmanager:x"}]
  Elsewhere:
    Type: AWS::Serverless::Function
    Condition: Elsewhere
    Properties: {}
"""
    text = text.replace("Globals:", "  Elsewhere: !Not [!Condition InEurope]\nGlobals:")
    loaded = load(tmp_path, text, parameters={"Brokers": "x:1, y:2"}, environment={"POLLER_PARAMETER_Timeout": "9"})
    configuration = loaded.functions[0].configuration()
    assert configuration.function_arn == "arn:aws:lambda:eu-west-1:000000000042:function:Telemetry"
    assert (configuration.timeout, configuration.memory_size, configuration.ephemeral_storage) == (9.0, 256, 2048)
    assert configuration.environment == {
        "WHERE": "eu-west-1/000000000042",
        "SELF": "poller",
        "DEBUG": "true",
        "LEVEL": "3",
    }
    assert configuration.code == tmp_path / "code"
    assert len(loaded.functions) == 1
    kafka, rabbitmq = sorted(loaded.mappings, key=lambda item: item.name)
    assert (kafka.bootstrap_servers, kafka.Topics, kafka.BatchSize) == (("x:1", "y:2"), ("telemetry-a",), 10)
    assert rabbitmq.broker_url is not None
    assert rabbitmq.broker_url.get_secret_value() == "amqp://guest:guest@localhost:5672/%2F"


def test_a_mapping_keeps_its_uuid_over_a_restart_and_with_servers_in_another_order(tmp_path: Path) -> None:
    def uuid(servers: list[str], topic: str = "telemetry") -> str:
        return load(tmp_path, document(readings={"KafkaBootstrapServers": servers, "Topics": [topic]})).mappings[0].UUID

    assert uuid(["a:1", "b:1"]) == uuid(["b:1", "a:1"])
    assert uuid(["a:1"]) != uuid(["b:1"])
    assert uuid(["a:1"]) != uuid(["a:1"], "other")


def test_two_mappings_of_one_topic_in_two_functions_are_no_duplicates(tmp_path: Path) -> None:  # C.3
    changed = document()
    changed["Resources"]["Second"] = changed["Resources"]["Telemetry"]
    assert len(load(tmp_path, changed).mappings) == 3


def test_aws_s_own_transform_runs_in_a_child_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template, "Translator", Translator)
    monkeypatch.setenv("AWS_PROFILE", "not-on-this-machine")  # which the transform's library looks up, for nothing
    loaded = load(tmp_path, document(function={"Timeout": 5}))
    assert loaded.functions[0].Timeout == 5
    assert [item.name for item in loaded.mappings] == ["Telemetry.Readings", "Tasks.Queue"]


def test_a_transform_that_breaks_down_is_our_fault_and_says_so() -> None:
    translator = Translator("us-east-1")
    try:
        with pytest.raises(PollerError, match="AWS's SAM transform broke down: KeyError: 'Resources'"):
            translator.translate({"Transform": TRANSFORM})
    finally:
        translator.close()


def test_an_ended_transform_can_be_closed_again() -> None:
    translator = Translator("us-east-1")
    translator.close()
    translator.close()


# --- files that are no templates -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "FOLDER/template.yaml: is empty"),
        ("# nothing\n", "FOLDER/template.yaml: is empty"),
        ("just text", "FOLDER/template.yaml: holds plain text, not a mapping of sections"),
        ("- a\n- b\n", "FOLDER/template.yaml: holds a list, not a mapping of sections"),
        (
            "Resources:\n  A: {\n",
            "FOLDER/template.yaml, line 3, column 1: not valid YAML: expected the node content, but found '<stream end>'",
        ),
        ("a: b: c", "FOLDER/template.yaml, line 1, column 5: not valid YAML: mapping values are not allowed here"),
        (
            "Resources:\n\tA: 1\n",
            "FOLDER/template.yaml, line 2, column 1: not valid YAML: found character '\\t' that cannot start any token",
        ),
        (
            "Resources:\n  A: {}\n  B: {}\n  A: {}\n",
            "FOLDER/template.yaml, line 4, column 3: not valid YAML: A stands here again; it is already in line 2",
        ),
        ("[a]: 1\n", "FOLDER/template.yaml, line 1, column 1: not valid YAML: a key must be plain text"),
        (
            "a: \x00",
            'FOLDER/template.yaml: not valid YAML: unacceptable character #x0000: special characters are not allowed in "<unicode string>", position 3',
        ),
    ],
)
def test_a_file_that_is_no_template_is_refused_with_its_line(tmp_path: Path, text: str, expected: str) -> None:
    assert problems(tmp_path, text) == [expected]


def test_a_file_that_is_missing_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PollerError, match=r"nothing\.yaml: no such file"):
        template.load(tmp_path / "nothing.yaml")
    with pytest.raises(PollerError, match="cannot be read: Is a directory"):
        template.load(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"a: \xe9")
    with pytest.raises(PollerError, match=r"is not UTF-8 text \(byte 3\)"):
        template.load(tmp_path / "latin.yaml")


def test_a_key_may_be_merged_and_overridden(tmp_path: Path) -> None:
    text = "Resources: &r\n  A: {}\nMore:\n  <<: *r\n  A: {b: 1}\n"
    assert problems(tmp_path, text)[0] == "More: unknown section"


# --- wrong templates -----------------------------------------------------------------------------------------------

WRONG: dict[str, tuple[dict[str, Any], list[str]]] = {
    "unknown section": (document(Resorces={}), ["Resorces: unknown section (did you mean Resources?)"]),
    "rules": (
        document(Rules={}),
        ["Rules: not supported: rules on parameters are not checked here; use AllowedValues of the parameter"],
    ),
    "no resources": ({"Description": "x"}, ["Resources: is missing (a template has at least one function)"]),
    "empty resources": ({"Resources": {}}, ["Resources: names no resource (a template has at least one function)"]),
    "another transform": (
        document(Transform=[TRANSFORM, "AWS::Include"]),
        ['Transform: "AWS::Include" is not supported (supported: AWS::Serverless-2016-10-31)'],
    ),
    "no transform": (
        document(Transform=..., Resources={"A": {"Type": FUNCTION}}),
        [
            "Transform: is missing (AWS::Serverless::Function needs Transform: AWS::Serverless-2016-10-31)",
            "Resources.A.Properties.CodeUri: is missing " + CODE,
            "Resources.A.Properties.Handler: is missing (such as handler.handler)",
            "Resources.A.Properties.Runtime: is missing (such as python3.14)",
        ],
    ),
    "resource that is no mapping": (
        document(resources={"A": 5}),
        ["Resources.A: 5 is not a mapping with Type and Properties"],
    ),
    "resource without type": (document(resources={"A": {}}), ["Resources.A.Type: is missing"]),
    "properties that are no mapping": (
        document(resources={"A": {"Type": FUNCTION, "Properties": []}}),
        ["Resources.A.Properties: a list is not a mapping"],
    ),
    "unknown attribute": (
        document(resources={"A": {"Type": "AWS::IAM::Role", "DependOn": "B"}}),
        ["Resources.A.DependOn: unknown attribute of a resource (did you mean DependsOn?)"],
    ),
    "misspelt type": (
        document(resources={"A": {"Type": "AWS::Lambda::Funktion"}}),
        ["Resources.A.Type: AWS::Lambda::Funktion is not supported (did you mean AWS::Lambda::Function?)"],
    ),
    "type of another service": (
        document(resources={"A": {"Type": "AWS::StepFunctions::StateMachine"}}),
        [
            (
                "Resources.A.Type: AWS::StepFunctions::StateMachine is not supported "
                f"(supported: {', '.join(supported.RESOURCES)})"
            )
        ],
    ),
    "unknown condition": (
        document(
            Conditions={"Production": {"Fn::Equals": [1, 1]}},
            resources={"A": {"Type": FUNCTION, "Condition": "Productoin"}},
        ),
        ['Resources.A.Condition: "Productoin" is no condition of this template (did you mean Production?)'],
    ),
    "globals of an API": (
        document(Globals={"SimpleTable": {}}),
        ["Globals.SimpleTable: not supported: Globals.Function, HttpApi and Api are"],
    ),
    "misspelt global": (
        document(Globals={"Function": {"MemorySze": 1}}),
        ["Globals.Function.MemorySze: unknown property (did you mean MemorySize?)"],
    ),
    "wrong global": (
        document(Globals={"Function": {"Timeout": 901}}),
        ["Globals.Function.Timeout: 901 is above 900"],
    ),
    "metadata in lower case": (
        document(Metadata={"poller": {}, "Poller": document()["Metadata"]["Poller"]}),
        ["Metadata.poller: unknown section (did you mean Poller?)"],
    ),
    "only in a function": (
        document(Globals={"Function": {"Role": "r", "Events": {}}}),
        [
            "Globals.Function.Role: not supported: AWS takes it in a function, not in Globals",
            "Globals.Function.Events: not supported: AWS takes it in a function, not in Globals",
        ],
    ),
    # --- functions (A.7)
    "no such code": (
        document(function={"CodeUri": "kode"}),
        ["Resources.Telemetry.Properties.CodeUri: there is no kode (looked for FOLDER/kode)"],
    ),
    "code is a file": (
        document(function={"CodeUri": "code/app.py"}),
        [
            "Resources.Telemetry.Properties.CodeUri: code/app.py is neither a folder nor a zip archive " + CODE,
        ],
    ),
    "code in S3": (
        document(function={"CodeUri": "s3://bucket/key"}),
        ["Resources.Telemetry.Properties.CodeUri: is not local " + CODE],
    ),
    "no code": (
        document(function={"CodeUri": ...}),
        ["Resources.Telemetry.Properties.CodeUri: is missing " + CODE],
    ),
    "no module": (
        document(function={"Handler": "ap.handler"}),
        [
            "Resources.Telemetry.Properties.Handler: there is no ap.py in FOLDER/code (the part before the last dot is the module)"
        ],
    ),
    "handler without function": (
        document(function={"Handler": "app"}),
        ['Resources.Telemetry.Properties.Handler: "app" has no function (write module.function, such as app.handler)'],
    ),
    "handler with a blank": (
        document(function={"Handler": "app .handler", "CodeUri": "kode"}),
        [
            "Resources.Telemetry.Properties.CodeUri: there is no kode (looked for FOLDER/kode)",
            'Resources.Telemetry.Properties.Handler: "app .handler" is not a handler, such as handler.handler',
        ],
    ),
    "another language": (
        document(function={"Runtime": "ruby3.4"}),
        [
            (
                "Resources.Telemetry.Properties.Runtime: the runtime ruby3.4 is not supported: "
                f"{', '.join(RUNTIMES)}; this machine has MACHINE"
            )
        ],
    ),
    "no program for an operating system": (
        document(function={"Runtime": "provided.al2023", "Handler": "bootstrap"}),
        [
            "Resources.Telemetry.Properties.Handler: there is no file bootstrap in FOLDER/code (the program that is to run has this name)"
        ],
    ),
    "inline code": (
        document(function={"InlineCode": "x", "CodeUri": ...}),
        [
            "Resources.Telemetry.Properties.InlineCode: not supported: put the code into a folder, and name that in CodeUri"
        ],
    ),
    "container image": (
        document(function={"PackageType": "Image"}),
        [
            "Resources.Telemetry.Properties.PackageType: container images are not supported: give CodeUri, Handler and Runtime"
        ],
    ),
    "ranges of a function": (
        document(
            function={
                "Timeout": 0,
                "MemorySize": 127,
                "EphemeralStorage": {"Size": 511},
                "ReservedConcurrentExecutions": -1,
                "FunctionName": "a b",
            }
        ),
        [
            "Resources.Telemetry.Properties.FunctionName: \"a b\" is not 1 to 64 letters, digits, '-' or '_'",
            "Resources.Telemetry.Properties.Timeout: 0 is below 1",
            "Resources.Telemetry.Properties.MemorySize: 127 is below 128",
            "Resources.Telemetry.Properties.EphemeralStorage.Size: 511 is below 512",
            "Resources.Telemetry.Properties.ReservedConcurrentExecutions: -1 is below 0",
        ],
    ),
    "kinds of a function": (
        document(function={"Timeout": "soon", "MemorySize": True, "Environment": {"Variables": {"LIST": []}}}),
        [
            'Resources.Telemetry.Properties.Timeout: "soon" is not a whole number',
            "Resources.Telemetry.Properties.MemorySize: true is not a whole number",
            "Resources.Telemetry.Properties.Environment.Variables.LIST: a list is not text",
        ],
    ),
    "no value": (
        document(function={"Timeout": None}),
        ["Resources.Telemetry.Properties.Timeout: has no value (leave it out, or give it one)"],
    ),
    "two functions of one name": (
        document(function={"FunctionName": "Tasks"}),
        ["Resources: two functions have the name Tasks"],
    ),
    # --- events
    "event that is no mapping": (
        document(
            function={"Events": ...},
            Resources={
                "A": {
                    "Type": FUNCTION,
                    "Properties": {
                        "CodeUri": "code",
                        "Handler": "app.handler",
                        "Runtime": "python3.13",
                        "Events": {
                            "E": 5,
                            "F": {},
                            "G": {"Type": "Kafka"},
                            "H": {"Type": "SQS"},
                            "I": {"Type": "MQ", "Propertis": {}},
                        },
                    },
                }
            },
        ),
        [
            "Resources.A.Properties.Events.E: 5 is not a mapping with Type and Properties",
            "Resources.A.Properties.Events.F.Type: is missing (supported: SelfManagedKafka, MSK, MQ, S3, Schedule, ScheduleV2, HttpApi, Api)",
            'Resources.A.Properties.Events.G.Type: "Kafka" is no type of event (supported: SelfManagedKafka, MSK, MQ, S3, Schedule, ScheduleV2, HttpApi, Api)',
            "Resources.A.Properties.Events.H.Type: events of type SQS are not supported (supported: SelfManagedKafka, MSK, MQ, S3, Schedule, ScheduleV2, HttpApi, Api)",
            "Resources.A.Properties.Events.I.Propertis: unknown attribute of an event (did you mean Properties?)",
            "Resources.A.Properties.Events.I: Unrecognized event source. (give EventSourceArn or SelfManagedEventSource)",
        ],
    ),
    "misspelt property": (
        document(readings={"BatchSiz": 10}),
        [f"{EVENT}.BatchSiz: unknown property (did you mean BatchSize?)"],
    ),
    "ranges of an event": (  # C.1
        document(
            readings={
                "BatchSize": 10_001,
                "MaximumBatchingWindowInSeconds": 301,
                "MaximumRetryAttempts": 10_001,
                "MaximumRecordAgeInSeconds": 59,
                "ProvisionedPollerConfig": {"MinimumPollers": 201, "MaximumPollers": 201},
            }
        ),
        [
            f"{EVENT}.BatchSize: 10001 is above 10000",
            f"{EVENT}.MaximumBatchingWindowInSeconds: 301 is above 300",
            f"{EVENT}.MaximumRetryAttempts: 10001 is above 10000",
            f"{EVENT}.MaximumRecordAgeInSeconds: 59 is neither -1 nor 60 to 604800",
            f"{EVENT}.ProvisionedPollerConfig.MinimumPollers: 201 is above 200",
        ],
    ),
    "batch of none": (document(readings={"BatchSize": 0}), [f"{EVENT}.BatchSize: 0 is below 1"]),
    "ten thousand as text": (
        document(readings={"BatchSize": "many", "Enabled": "perhaps", "StartingPosition": "TRIM"}),
        [
            (
                f"{EVENT}.StartingPosition: 1 validation error detected: Value 'TRIM' at 'startingPosition' failed to "
                "satisfy constraint: Member must satisfy enum value set: [LATEST, AT_TIMESTAMP, TRIM_HORIZON]"
            ),
            f'{EVENT}.Enabled: "perhaps" is neither true nor false',
            f'{EVENT}.BatchSize: "many" is not a whole number',
        ],
    ),
    "a position at no time": (
        document(readings={"StartingPosition": "AT_TIMESTAMP"}),
        [f"{EVENT}.StartingPositionTimestamp: is missing (AT_TIMESTAMP wants a time in seconds since 1970)"],
    ),
    "a time for another position": (
        document(readings={"StartingPosition": "LATEST", "StartingPositionTimestamp": 1.0}),
        [f"{EVENT}.StartingPositionTimestamp: belongs to AT_TIMESTAMP (set StartingPosition: AT_TIMESTAMP)"],
    ),
    "a time for no position": (
        document(readings={"StartingPosition": ..., "StartingPositionTimestamp": 1.0}),
        [f"{EVENT}.StartingPositionTimestamp: belongs to AT_TIMESTAMP (set StartingPosition: AT_TIMESTAMP)"],
    ),
    "a time to come": (
        document(readings={"StartingPosition": "AT_TIMESTAMP", "StartingPositionTimestamp": 99_999_999_999.5}),
        [f"{EVENT}.StartingPositionTimestamp: 99999999999.5 is in the future"],
    ),
    "a time in milliseconds": (
        document(readings={"StartingPosition": "AT_TIMESTAMP", "StartingPositionTimestamp": 1_764_064_800_000}),
        [
            (
                f"{EVENT}.StartingPositionTimestamp: 1764064800000 is in the future; "
                "it is a time in seconds since 1970, not in milliseconds"
            )
        ],
    ),
    "no time at all": (
        document(readings={"StartingPosition": "AT_TIMESTAMP", "StartingPositionTimestamp": "yesterday"}),
        [f'{EVENT}.StartingPositionTimestamp: "yesterday" is not a number'],
    ),
    "a time that is true or before 1970": (
        document(
            readings={"StartingPosition": "AT_TIMESTAMP", "StartingPositionTimestamp": True},
            queue={"StartingPositionTimestamp": 1},
        ),
        [
            f"{EVENT}.StartingPositionTimestamp: true is not a number",
            f"{MQ_EVENT}.StartingPositionTimestamp: belongs to Kafka; MQ has no such property",
        ],
    ),
    "no topic": (document(readings={"Topics": ...}), [f"{EVENT}.Topics: is missing (name exactly one topic)"]),
    "two topics": (
        document(readings={"Topics": ["aa", "bb"]}),
        [f"{EVENT}.Topics: names 2 topics, exactly 1 is allowed"],
    ),
    "name of a topic": (
        document(readings={"Topics": [".a"]}),
        [f'{EVENT}.Topics[0]: ".a" is not a topic: 2 to 249 letters, digits, . _ or -'],
    ),
    "eleven servers": (
        document(readings={"KafkaBootstrapServers": [f"h{number}:9092" for number in range(11)]}),
        [f"{EVENT}.KafkaBootstrapServers: has 11 items, at most 10 may be there"],
    ),
    "servers in one text": (
        document(readings={"KafkaBootstrapServers": ["a:1,b:2"]}),
        [
            f'{EVENT}.KafkaBootstrapServers[0]: "a:1,b:2" is not host:port; several servers are several items of the list'
        ],
    ),
    "no servers": (
        document(readings={"KafkaBootstrapServers": ...}),
        [f"{EVENT}: Unrecognized event source. (give EventSourceArn or SelfManagedEventSource)"],
    ),
    "no login said": (  # C.3
        document(readings={"SourceAccessConfigurations": ...}),
        [
            f"{EVENT}.SourceAccessConfigurations: Required 'sourceAccessConfigurations' parameter is missing. {NO_LOGIN_HINT}"
        ],
    ),
    "half of the network": (
        document(readings={"SourceAccessConfigurations": NO_LOGIN[:1]}),
        [f"{EVENT}.SourceAccessConfigurations: VPC_SUBNET and VPC_SECURITY_GROUP must both be there {NO_LOGIN_HINT}"],
    ),
    "needs provisioned mode": (  # D.1.2
        document(
            readings={
                "MaximumRetryAttempts": 0,
                "MaximumRecordAgeInSeconds": 60,
                "BisectBatchOnFunctionError": True,
                "FunctionResponseTypes": ["ReportBatchItemFailures"],
                "DestinationConfig": {"OnFailure": {"Destination": "kafka://telemetry-dlq"}},
            }
        ),
        [
            f"{EVENT}.MaximumRetryAttempts: needs ProvisionedPollerConfig, as on AWS {ADD_PROVISIONED}",
            f"{EVENT}.MaximumRecordAgeInSeconds: needs ProvisionedPollerConfig, as on AWS {ADD_PROVISIONED}",
            f"{EVENT}.BisectBatchOnFunctionError: needs ProvisionedPollerConfig, as on AWS {ADD_PROVISIONED}",
            f"{EVENT}.FunctionResponseTypes: needs ProvisionedPollerConfig, as on AWS {ADD_PROVISIONED}",
            f"{EVENT}.DestinationConfig.OnFailure.Destination: kafka:// needs ProvisionedPollerConfig, as on AWS {ADD_PROVISIONED}",
        ],
    ),
    "more pollers than there may be": (  # C.1
        document(readings={"ProvisionedPollerConfig": {"MinimumPollers": 0, "MaximumPollers": 2001}}),
        [
            f"{EVENT}.ProvisionedPollerConfig.MinimumPollers: 0 is below 1",
            f"{EVENT}.ProvisionedPollerConfig.MaximumPollers: 2001 is above 2000",
        ],
    ),
    "fewer than the least": (
        document(readings={"ProvisionedPollerConfig": {"MinimumPollers": 3, "MaximumPollers": 2}}),
        [f"{EVENT}.ProvisionedPollerConfig.MaximumPollers: 2 is below MinimumPollers 3"],
    ),
    "group of pollers": (
        document(readings={"ProvisionedPollerConfig": {**PROVISIONED, "PollerGroupName": "g"}}),
        [f"{EVENT}.ProvisionedPollerConfig.PollerGroupName: not supported: pollers are not grouped here"],
    ),
    "dead letters to the source itself": (  # D.1.4
        document(
            readings={
                "ProvisionedPollerConfig": PROVISIONED,
                "DestinationConfig": {"OnFailure": {"Destination": "kafka://telemetry"}},
            }
        ),
        [
            f"{EVENT}.DestinationConfig.OnFailure.Destination: is the topic that the mapping reads; given-up records would come back for ever"
        ],
    ),
    "destination of ours in a property of AWS": (
        document(readings={"DestinationConfig": {"OnFailure": {"Destination": "file:dead.jsonl"}}}),
        [
            (
                f'{EVENT}.DestinationConfig.OnFailure.Destination: "file:dead.jsonl" is not kafka://topic nor an ARN of SQS, SNS or S3 '
                f"(amqp://… and file:… stand in {EXTENSIONS}.Telemetry.Readings.OnFailure)"
            )
        ],
    ),
    "SQS without an endpoint": (
        document(readings={"DestinationConfig": {"OnFailure": {"Destination": SQS_ARN}}}),
        [
            (
                f"{EVENT}.DestinationConfig.OnFailure.Destination: no address is known for {SQS_ARN} "
                f"(add under Metadata.Poller.Endpoints: {SQS_ARN}: kafka://host:9092/topic)"
            )
        ],
    ),
    "misspelt response type": (
        document(readings={"ProvisionedPollerConfig": PROVISIONED, "FunctionResponseTypes": ["ReportFailures"]}),
        [f'{EVENT}.FunctionResponseTypes[0]: "ReportFailures" is not ReportBatchItemFailures'],
    ),
    "schema registry": (  # D.1.5
        document(readings={"SchemaRegistryConfig": {}}),
        [f"{EVENT}.SchemaRegistryConfig: not supported: records are handed over as they are, and no registry is asked"],
    ),
    "eleven filters": (
        document(readings={"FilterCriteria": {"Filters": [{"Pattern": '{"value": ["a"]}'}] * 11}}),
        [f"{EVENT}.FilterCriteria.Filters: has 11 items, at most 10 may be there"],
    ),
    "pattern that is no text": (
        document(readings={"FilterCriteria": {"Filters": [{"Pattern": {"value": ["a"]}}]}}),
        [f"{EVENT}.FilterCriteria.Filters[0].Pattern: a mapping is not text"],
    ),
    "queues of Kafka": (
        document(readings={"Queues": ["q"]}),
        [f"{EVENT}.Queues: belongs to MQ; a Kafka source has Topics"],
    ),
    # --- MQ (D.2)
    "two queues": (
        document(queue={"Queues": ["a", "b"]}),
        [f"{MQ_EVENT}.Queues: names 2 queues, exactly 1 is allowed"],
    ),
    "Kafka's properties for MQ": (
        document(
            queue={
                "Topics": ["tt"],
                "StartingPosition": "LATEST",
                "ProvisionedPollerConfig": PROVISIONED,
                "MaximumRetryAttempts": 3,
                "BisectBatchOnFunctionError": True,
                "DestinationConfig": {"OnFailure": {"Destination": SQS_ARN}},
            }
        ),
        [
            f"{MQ_EVENT}.Topics: belongs to Kafka; MQ has no such property",
            f"{MQ_EVENT}.StartingPosition: belongs to Kafka; MQ has no such property",
            f"{MQ_EVENT}.ProvisionedPollerConfig: belongs to Kafka; MQ has no such property",
            f"{MQ_EVENT}.MaximumRetryAttempts: AWS has no such property for MQ (use {EXTENSIONS}.Tasks.Queue.MaximumRetryAttempts)",
            (
                f"{MQ_EVENT}.BisectBatchOnFunctionError: AWS has no such property for MQ "
                f"(name the messages that failed: {EXTENSIONS}.Tasks.Queue.FunctionResponseTypes)"
            ),
            (
                f"{MQ_EVENT}.DestinationConfig: Unsupported DestinationConfig parameter for given event source mapping type. "
                f"(use {EXTENSIONS}.Tasks.Queue.OnFailure)"
            ),
        ],
    ),
    "no access to MQ": (
        document(queue={"SourceAccessConfigurations": ...}),
        [
            (
                f"{MQ_EVENT}.SourceAccessConfigurations: Required 'sourceAccessConfigurations' parameter is missing. "
                "(give Type: BASIC_AUTH and, as URI, the ARN of a secret)"
            )
        ],
    ),
    "misspelt access to MQ": (
        document(queue={"SourceAccessConfigurations": [{"Type": "BASIC_AUT", "URI": SECRET}]}),
        [
            f"{MQ_EVENT}.SourceAccessConfigurations[0].Type: BASIC_AUT is not BASIC_AUTH or VIRTUAL_HOST (did you mean BASIC_AUTH?)"
        ],
    ),
    "virtual host without login": (
        document(queue={"SourceAccessConfigurations": [{"Type": "VIRTUAL_HOST", "URI": "v"}] * 2}),
        [
            f"{MQ_EVENT}.SourceAccessConfigurations: BASIC_AUTH is missing (give Type: BASIC_AUTH and, as URI, the ARN of a secret)",
            f"{MQ_EVENT}.SourceAccessConfigurations: VIRTUAL_HOST stands 2 times, 1 is allowed",
        ],
    ),
    "no endpoint": (
        document(settings={"Endpoints": {}}),
        [
            (
                f"{MQ_EVENT}.Broker: no address is known for {BROKER} "
                f"(add under Metadata.Poller.Endpoints: {BROKER}: amqp://user:password@host:5672)"
            )
        ],
    ),
    "no login": (
        document(settings={"Secrets": {}}),
        [
            (
                f"{MQ_EVENT}.SourceAccessConfigurations: no secret is known for {SECRET} "
                f"(add under Metadata.Poller.Secrets: {SECRET}: {{username: …, password: …}}, or put the login into the URL)"
            )
        ],
    ),
    "half a login": (
        document(settings={"Secrets": {SECRET: {"user": "x", "password": "y"}}}),
        [(f"Metadata.Poller.Secrets.{SECRET}: has no username (expected for BASIC_AUTH: username, password)")],
    ),
    "two logins": (
        document(settings={"Endpoints": {BROKER: "amqp://a:b@host"}}),
        [
            f"Metadata.Poller.Endpoints.{BROKER}: holds a login, and Metadata.Poller.Secrets holds one, too: keep one of them"
        ],
    ),
    "endpoint of another kind": (
        document(settings={"Endpoints": {BROKER: "http://host"}}),
        [f"Metadata.Poller.Endpoints.{BROKER}: must have the form amqp://user:password@host:5672"],
    ),
    # --- extensions
    "extension of no event": (
        document(settings={"EventSources": {"Tasks.Quee": {}}}),
        [f"{EXTENSIONS}.Tasks.Quee: the template has no such event source (did you mean Tasks.Queue?)"],
    ),
    "settings of no function": (
        document(settings={"Functions": {"Telemetri": {}}}),
        ["Metadata.Poller.Functions.Telemetri: the template has no such function (did you mean Telemetry?)"],
    ),
    "more provisioned than the function may have": (
        document(
            settings={"Functions": {"Telemetry": {"ProvisionedConcurrency": 3}}},
            function={"ReservedConcurrentExecutions": 2},
        ),
        [
            (
                "Metadata.Poller.Functions.Telemetry.ProvisionedConcurrency: 3 is above the function's "
                "ReservedConcurrentExecutions of 2"
            )
        ],
    ),
    "more provisioned than the account has": (
        document(settings={"AccountConcurrency": 5, "Functions": {"Telemetry": {"ProvisionedConcurrency": 7}}}),
        [
            (
                "Metadata.Poller.Functions: the functions that reserve no concurrency provision 2 more than "
                "AccountConcurrency leaves them (raise AccountConcurrency or lower ProvisionedConcurrency)"
            )
        ],
    ),
    "misspelt extension": (
        document(settings={"EventSources": {"Tasks.Queue": {"MaximumRetryAttemps": 1}}}),
        [f"{EXTENSIONS}.Tasks.Queue.MaximumRetryAttemps: unknown property (did you mean MaximumRetryAttempts?)"],
    ),
    "extensions for the other kind": (
        document(
            settings={
                "EventSources": {
                    "Tasks.Queue": {"ErrorHeaders": "none", "EventGrouping": "Poller"},
                    "Telemetry.Readings": {"MaximumRetryAttempts": 1, "FunctionResponseTypes": [], "Concurrency": 2},
                }
            }
        ),
        [
            f"{EXTENSIONS}.Telemetry.Readings.Concurrency: belongs to MQ; consumers of a Kafka topic are the event's ProvisionedPollerConfig",
            f"{EXTENSIONS}.Telemetry.Readings.FunctionResponseTypes: belongs to MQ; for Kafka it is AWS's own property FunctionResponseTypes of the event",
            f"{EXTENSIONS}.Telemetry.Readings.MaximumRetryAttempts: belongs to MQ; for Kafka it is AWS's own property MaximumRetryAttempts of the event",
            f"{EXTENSIONS}.Tasks.Queue.ErrorHeaders: belongs to Kafka: dead letters of MQ messages have no such headers",
            f"{EXTENSIONS}.Tasks.Queue.EventGrouping: belongs to Kafka: a queue has no partitions, and one batch in work anyway",
        ],
    ),
    "Spring's headers where no Kafka topic is": (
        document(settings={"EventSources": {"Telemetry.Readings": {"OnFailure": "file:x", "ErrorHeaders": "spring"}}}),
        [
            (
                f"{EXTENSIONS}.Telemetry.Readings.ErrorHeaders: Spring Kafka's headers are for letters in a Kafka topic; "
                "this mapping's go elsewhere (choose connect or none)"
            )
        ],
    ),
    "a grouping that there is not": (
        document(settings={"EventSources": {"Telemetry.Readings": {"EventGrouping": "Topic"}}}),
        [f'{EXTENSIONS}.Telemetry.Readings.EventGrouping: "Topic" is not Partition or Poller'],
    ),
    "dead letters that never come": (
        document(settings={"EventSources": {"Tasks.Queue": {"OnFailure": "amqp:///dead/tasks"}}}),
        [
            (
                f"{EXTENSIONS}.Tasks.Queue.OnFailure: a message is retried without end, so nothing would ever get there "
                f"(add {EXTENSIONS}.Tasks.Queue.MaximumRetryAttempts)"
            )
        ],
    ),
    "two destinations": (
        document(
            readings={
                "ProvisionedPollerConfig": PROVISIONED,
                "DestinationConfig": {"OnFailure": {"Destination": "kafka://dlq"}},
            },
            settings={"EventSources": {"Telemetry.Readings": {"OnFailure": "file:x"}}},
        ),
        [
            f"{EXTENSIONS}.Telemetry.Readings.OnFailure: stands beside {EVENT}.DestinationConfig.OnFailure.Destination; a mapping has one on-failure destination"
        ],
    ),
    "file in no folder": (
        document(settings={"EventSources": {"Telemetry.Readings": {"OnFailure": "file:nowhere/dead.jsonl"}}}),
        [f"{EXTENSIONS}.Telemetry.Readings.OnFailure: the folder FOLDER/nowhere is missing"],
    ),
    "broker of no one": (
        document(settings={"EventSources": {"Telemetry.Readings": {"OnFailure": "amqp:///dead/tasks"}}}),
        [
            (
                f"{EXTENSIONS}.Telemetry.Readings.OnFailure: names no broker, and the mapping reads none of RabbitMQ; "
                "give amqp://user:password@host:5672/exchange/routing-key"
            )
        ],
    ),
    # --- plain mappings
    "plain mapping of no function": (
        document(
            resources={
                "Map": {
                    "Type": "AWS::Lambda::EventSourceMapping",
                    "Properties": {"FunctionName": "Task", "EventSourceArn": "arn:aws:sqs:us-east-1:123456789012:q"},
                }
            }
        ),
        [
            "Resources.Map.Properties.FunctionName: Function does not exist (did you mean Tasks?)",
            (
                "Resources.Map.Properties.EventSourceArn: sqs is not supported as an event source "
                "(supported: MSK (arn:aws:kafka:…), MQ (arn:aws:mq:…) and SelfManagedEventSource)"
            ),
        ],
    ),
    "plain mapping of nothing": (  # C.3
        document(
            resources={"Map": {"Type": "AWS::Lambda::EventSourceMapping", "Properties": {"ParallelizationFactor": 2}}}
        ),
        [
            "Resources.Map.Properties.ParallelizationFactor: not supported: it belongs to Kinesis and DynamoDB streams",
            "Resources.Map.Properties: Unrecognized event source. (give EventSourceArn or SelfManagedEventSource)",
            "Resources.Map.Properties.FunctionName: is missing",
        ],
    ),
    "alias": (
        document(
            resources={
                "Map": {
                    "Type": "AWS::Lambda::EventSourceMapping",
                    "Properties": {
                        "FunctionName": "Tasks:live",
                        "EventSourceArn": BROKER,
                        "Queues": ["other"],
                        "SourceAccessConfigurations": QUEUE["SourceAccessConfigurations"],
                    },
                }
            }
        ),
        ["Resources.Map.Properties.FunctionName: not supported: versions and aliases (live)"],
    ),
    "logical id in use": (
        document(
            resources={
                "TelemetryReadings": {
                    "Type": "AWS::Lambda::EventSourceMapping",
                    "Properties": {
                        "FunctionName": "Tasks",
                        "EventSourceArn": BROKER,
                        "Queues": ["other"],
                        "SourceAccessConfigurations": QUEUE["SourceAccessConfigurations"],
                    },
                }
            }
        ),
        [
            f"{EVENT}: AWS's transform would call the mapping TelemetryReadings, a logical ID that is in use (rename the event)"
        ],
    ),
    # --- parameters and functions of CloudFormation
    "reference to nothing": (
        document(
            Parameters={"Servers": {"Type": "String", "Default": "x"}},
            readings={"KafkaBootstrapServers": {"Ref": "Server"}},
        ),
        [
            f'{EVENT}.KafkaBootstrapServers: Ref names "Server", which is no parameter, pseudo parameter or resource of this template (did you mean Servers?)'
        ],
    ),
    "parameter without a value": (
        document(Parameters={"Size": {"Type": "Number"}}, readings={"BatchSize": {"Ref": "Size"}}),
        ["Parameters.Size: has no value (give --parameter Size=…, POLLER_PARAMETER_Size, or a Default)"],
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_template_is_refused_with_path_reason_and_remedy(tmp_path: Path, case: str) -> None:
    content, expected = WRONG[case]
    assert problems(tmp_path, content) == expected


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        document(
            readings={"BatchSize": 0},
            queue={"Queues": []},
            function={"Timeout": 0, "SnapStart": {}},
            settings={"Prot": 1},
            Globals={"Function": {"Tracng": "Active"}},
            Resorces={},
        ),
    )
    assert [text.partition(":")[0] for text in found] == [
        "Resorces",
        "Metadata.Poller.Prot",
        "Globals.Function.Tracng",
        "Resources.Telemetry.Properties.SnapStart",
        f"{EVENT}.BatchSize",
        f"{MQ_EVENT}.Queues",
        "Resources.Telemetry.Properties.Timeout",
    ]


def test_an_error_of_aws_s_transform_has_the_path_of_its_event(tmp_path: Path) -> None:
    changed = document(settings={"Endpoints": {BROKER: "amqp://h", KAFKA_ARN: "kafka://a:1"}})
    changed["Resources"]["Telemetry"]["Properties"]["Events"]["Stream"] = {
        "Type": "MSK",
        "Properties": {"Stream": KAFKA_ARN, "Topics": ["tt"]},
    }
    changed["Resources"]["Tasks"]["Properties"]["FunctionName"] = ["a"]
    assert problems(tmp_path, changed) == [
        "Resources.Telemetry.Properties.Events.Stream: Missing required property 'StartingPosition'",
        "Resources.Tasks: Type of property 'FunctionName' is invalid",
    ]


@pytest.mark.parametrize("servers", [["127.0.0.1:19092"], ["other:9092", "127.0.0.1:19092"]])
def test_a_second_mapping_of_function_and_topic_with_a_shared_broker_is_a_duplicate(
    tmp_path: Path, servers: list[str]
) -> None:  # C.3
    changed = document()
    events = changed["Resources"]["Telemetry"]["Properties"]["Events"]
    events["Again"] = {"Type": "SelfManagedKafka", "Properties": {**READINGS, "KafkaBootstrapServers": servers}}
    uuid = load(tmp_path, document()).mappings[0].UUID
    found = problems(tmp_path, changed)
    arn = "arn:aws:lambda:us-east-1:123456789012:function:Telemetry"
    assert found == [
        (
            f'{EVENT.removesuffix("Readings")}Again: An event source mapping with event source ("{",".join(servers)}"), '
            f'function ("{arn}"), topics ("telemetry") already exists. '
            f"Please update or delete the existing mapping with UUID {uuid} (the first one is {EVENT})"
        )
    ]


def test_a_second_mapping_of_function_broker_and_queue_is_a_duplicate(tmp_path: Path) -> None:
    changed = document()
    changed["Resources"]["Tasks"]["Properties"]["Events"]["Again"] = {"Type": "MQ", "Properties": QUEUE}
    found = problems(tmp_path, changed)
    assert len(found) == 1
    assert "already exists. Please update or delete the existing mapping with UUID" in found[0]


@pytest.mark.parametrize("logical_id", ["Telemetry", "Tasks"])
def test_a_duplicate_is_a_conflict_for_the_api_in_the_same_words(tmp_path: Path, logical_id: str) -> None:  # C.3
    changed = document()
    events = changed["Resources"][logical_id]["Properties"]["Events"]
    events["Again"] = next(iter(events.values()))
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, changed)
    error = error_of(caught.value.problems)
    assert (error.status, error.type) == (409, "ResourceConflictException")
    assert error.text == caught.value.problems[0].reason
    assert error.text.startswith("An event source mapping with event source (")


def test_a_missing_function_is_an_invalid_parameter_for_the_api_in_the_same_words(tmp_path: Path) -> None:  # C.3
    mapping = {**QUEUE, "EventSourceArn": BROKER, "FunctionName": "Task", "Queues": ["other"]}
    del mapping["Broker"]
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, document(resources={"M": {"Type": "AWS::Lambda::EventSourceMapping", "Properties": mapping}}))
    error = error_of(caught.value.problems)
    assert (error.status, error.type) == (400, "InvalidParameterValueException")
    assert str(error) == "Function does not exist (did you mean Tasks?)"


def test_properties_without_effect_here_are_let_pass_whatever_they_hold(tmp_path: Path) -> None:
    anything = {"Fn::ImportValue": "elsewhere"}
    loaded = load(
        tmp_path,
        document(
            function=dict.fromkeys(supported.FUNCTION_WITHOUT_EFFECT, anything),
            readings={"KmsKeyArn": anything, "Tags": anything},
            resources={
                f"R{number}": {"Type": kind, "Properties": anything}
                for number, kind in enumerate(supported.PASSED_OVER)
            },
        ),
    )
    assert len(loaded.functions) == 2


def test_every_property_of_a_sam_function_is_known_here() -> None:
    from samtranslator.model.sam_resources import SamFunction

    known = supported.FUNCTION | set(supported.FUNCTION_WITHOUT_EFFECT) | set(supported.FUNCTION_REFUSED)
    assert set(SamFunction.property_types) <= known


def test_globals_take_what_aws_s_transform_takes() -> None:
    from samtranslator.plugins.globals.globals import Globals

    taken = (supported.FUNCTION | set(supported.FUNCTION_WITHOUT_EFFECT)) - set(supported.FUNCTION_ONLY)
    assert taken <= set(Globals.supported_properties["AWS::Serverless::Function"]) | {"Code"}


def test_every_property_of_the_supported_events_is_known_here() -> None:
    from samtranslator.model.eventsources import pull

    for kind, properties in supported.EVENTS.items():
        known = {*properties, *supported.MAPPING_WITHOUT_EFFECT, *supported.MAPPING_REFUSED}
        aliens = {"KafkaBootstrapServers", "ConsumerGroupId"} if kind != "SelfManagedKafka" else set()
        assert set(getattr(pull, kind).property_types) - aliens <= known


def test_relative_paths_are_relative_to_the_template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, document())
    monkeypatch.chdir(tmp_path)
    assert template.load(Path("template.yaml"), environment={}).functions[0].Code == tmp_path / "code"


# --- whatever a person may write -----------------------------------------------------------------------------------

JUNK = [
    None,
    [],
    {},
    5,
    -1,
    True,
    "",
    "zzz",
    ["x"],
    [[]],
    [{}],
    {"a": 1},
    {"Ref": "Nope"},
    {"Fn::Join": [",", [None]]},
    1.5,
]
WHOLE = document(
    readings={
        "ProvisionedPollerConfig": PROVISIONED,
        "DestinationConfig": {"OnFailure": {"Type": "Kafka", "Destination": "kafka://dlq"}},
        "FilterCriteria": {"Filters": [{"Pattern": '{"value": ["a"]}'}]},
        "FunctionResponseTypes": ["ReportBatchItemFailures"],
    },
    function={"Environment": {"Variables": {"AA": "b"}}},
    settings={"EventSources": {"Tasks.Queue": {"MaximumRetryAttempts": 1, "OnFailure": "amqp:///x/k"}}},
    Parameters={"Size": {"Type": "Number", "Default": 1, "AllowedValues": [1]}},
    Conditions={"C": {"Fn::Equals": ["a", "a"]}},
    Globals={"Function": {"Timeout": 5}},
)


def _places(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [*([place] if place else []), *(inner for key, item in members for inner in _places(item, (*place, key)))]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.sampled_from(_places(WHOLE)), junk=st.sampled_from(JUNK))
def test_junk_anywhere_is_accepted_or_refused_but_never_a_traceback(
    tmp_path: Path, place: tuple[Any, ...], junk: Any
) -> None:
    content = copy.deepcopy(WHOLE)
    inner: Any = content
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = junk
    with suppress(ConfigError):
        load(tmp_path, content)
