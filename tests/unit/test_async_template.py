"""What templates say of asynchronous invocation, and what is refused of it (B.2, B.3, B.4)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from templates import SECRET, _transform_in_process, document, load, problems  # noqa: F401 - a fixture

from poller import async_wiring
from poller.async_invoke.broker import queue_url
from poller.async_invoke.configuration import AsyncConfiguration, FunctionTarget
from poller.destinations.aws import AwsTarget
from poller.endpoints import KafkaTarget
from poller.resources import EventSourceMapping
from poller.sources.kafka_security import KafkaSecurity

REGION, ACCOUNT = "us-east-1", "123456789012"
QUEUE = f"arn:aws:sqs:{REGION}:{ACCOUNT}:failed"
TOPIC = f"arn:aws:sns:{REGION}:{ACCOUNT}:results"
BUS = f"arn:aws:events:{REGION}:{ACCOUNT}:event-bus/results"
BUCKET = "arn:aws:s3:::results"
TASKS = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:Tasks"
CONFIG_AT = "Resources.Telemetry.Properties.EventInvokeConfig"


def endpoints(**more: str) -> dict[str, Any]:
    """Settings that know what stands behind the ARNs."""
    behind = {
        QUEUE: "kafka://127.0.0.1:19092/failed",
        TOPIC: "amqp://guest:guest@127.0.0.1:5672//results",
        BUS: "file:bus.jsonl",
        BUCKET: "file:bucket.jsonl",
    }
    settings = document()["Metadata"]["Poller"]
    return {**settings, "Endpoints": {**settings["Endpoints"], **behind}, **more}


def configured(config: Any, **more: Any) -> dict[str, Any]:
    return document(function={"EventInvokeConfig": config}, **{"Metadata": {"Poller": endpoints()}, **more})


def destinations(success: str = "", failure: str = "") -> dict[str, Any]:
    return {"DestinationConfig": {"OnSuccess": {"Destination": success}, "OnFailure": {"Destination": failure}}}


def wired(folder: Path, content: dict[str, Any], name: str = "Telemetry") -> AsyncConfiguration:
    return load(folder, content).asynchronous[name]


def test_event_invoke_config_of_a_sam_function_is_read(tmp_path: Path) -> None:  # B.2
    found = wired(
        tmp_path,
        configured({"MaximumRetryAttempts": 1, "MaximumEventAgeInSeconds": "90", **destinations(TASKS, QUEUE)}),
    )
    assert (found.maximum_retry_attempts, found.maximum_event_age) == (1, 90.0)
    assert found.on_success is not None
    assert found.on_success.target == FunctionTarget("Tasks")
    assert str(found.on_failure) == "kafka://127.0.0.1:19092/failed"
    assert found.dead_letter_queue is None


def test_what_is_not_configured_is_as_aws_has_it(tmp_path: Path) -> None:  # B.1: 2 retries, 6 hours
    found = wired(tmp_path, configured(destinations(failure=QUEUE)))
    assert (found.maximum_retry_attempts, found.maximum_event_age) == (2, 21_600)
    assert load(tmp_path, document()).asynchronous == {}


def test_globals_are_merged_below_a_function_s_own_values(tmp_path: Path) -> None:
    below = {"Function": {"EventInvokeConfig": {"MaximumRetryAttempts": 0, "MaximumEventAgeInSeconds": 60}}}
    loaded = load(tmp_path, configured({"MaximumRetryAttempts": 1}, Globals=below))
    own, inherited = loaded.asynchronous["Telemetry"], loaded.asynchronous["Tasks"]
    assert (own.maximum_retry_attempts, own.maximum_event_age) == (1, 60)
    assert (inherited.maximum_retry_attempts, inherited.maximum_event_age) == (0, 60)


def test_a_dead_letter_queue_is_found_by_its_arn(tmp_path: Path) -> None:  # B.4
    content = document(
        function={"DeadLetterQueue": {"Type": "SNS", "TargetArn": TOPIC}}, Metadata={"Poller": endpoints()}
    )
    assert str(wired(tmp_path, content).dead_letter_queue) == "amqp://127.0.0.1:5672//results"


def test_plain_cloudformation_has_resources_and_dead_letter_config(tmp_path: Path) -> None:  # B.2, B.4
    resources = {
        "Failed": {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": "failed"}},
        "Plain": {
            "Type": "AWS::Lambda::Function",
            "Properties": {
                "Code": "code",
                "Handler": "app.handler",
                "Runtime": "python3.13",
                "DeadLetterConfig": {"TargetArn": {"Fn::GetAtt": ["Failed", "Arn"]}},
            },
        },
        "PlainConfig": {
            "Type": "AWS::Lambda::EventInvokeConfig",
            "Properties": {
                "FunctionName": {"Ref": "Plain"},
                "Qualifier": "$LATEST",
                "MaximumRetryAttempts": 0,
                **destinations(success=BUS),
            },
        },
    }
    found = wired(tmp_path, document(resources=resources, Metadata={"Poller": endpoints()}), "Plain")
    assert found.maximum_retry_attempts == 0
    assert str(found.dead_letter_queue) == "kafka://127.0.0.1:19092/failed"
    assert found.on_success is not None
    assert (found.on_success.bus_arn, str(found.on_success)) == (BUS, f"file:{tmp_path / 'bus.jsonl'}")


def test_an_arn_without_an_address_is_aws_s_own_where_its_client_is_installed(tmp_path: Path) -> None:  # B.3
    pytest.importorskip("boto3")
    found = wired(tmp_path, configured(destinations(failure=UNKNOWN)))
    assert found.on_failure is not None
    assert found.on_failure.target == AwsTarget(UNKNOWN, REGION)


def test_brokers_and_files_may_be_named_without_an_arn(tmp_path: Path) -> None:  # an extension
    found = wired(tmp_path, configured(destinations("file:done.jsonl", "kafka://127.0.0.1:19092/failed")))
    assert str(found.on_success) == f"file:{tmp_path / 'done.jsonl'}"
    assert str(found.on_failure) == "kafka://127.0.0.1:19092/failed"


def test_a_topic_on_a_cluster_that_a_mapping_reads_is_written_to_with_its_login(tmp_path: Path) -> None:
    login = [{"Type": "SASL_SCRAM_512_AUTH", "URI": SECRET}]
    content = configured(destinations(failure=QUEUE), readings={"SourceAccessConfigurations": login})
    loaded = load(tmp_path, content)
    found = loaded.asynchronous["Telemetry"].on_failure
    assert found is not None
    assert isinstance(found.target, KafkaTarget)
    assert found.target.security == loaded.mappings[0].security != KafkaSecurity()


@pytest.mark.statement(26)
@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"MaximumEventAgeInSeconds": 59}, "MaximumEventAgeInSeconds: 59 is below 60"),
        ({"MaximumEventAgeInSeconds": 21_601}, "MaximumEventAgeInSeconds: 21601 is above 21600"),
        ({"MaximumRetryAttempts": 3}, "MaximumRetryAttempts: 3 is above 2"),
        ({"MaximumRetryAttempts": -1}, "MaximumRetryAttempts: -1 is below 0"),
    ],
)
def test_values_out_of_range_are_refused(tmp_path: Path, config: dict[str, Any], reason: str) -> None:
    """B.2, G 26: in the template; the call that answers 400 reads the same model."""
    assert problems(tmp_path, configured(config)) == [f"{CONFIG_AT}.{reason}"]


DESTINATION = f"{CONFIG_AT}.DestinationConfig"
UNKNOWN = f"arn:aws:sqs:{REGION}:{ACCOUNT}:unknown"
INVALID = "The provided destination config DestinationConfig(onSuccess={}, onFailure={}) is invalid."
REFUSED = {
    "nothing set": ({}, [f"{CONFIG_AT}: You must specify at least one of error handling or destination setting."]),
    "not a mapping": ([1], [f"{CONFIG_AT}: a list is not a mapping"]),
    "misspelt": (
        {"MaximumRetryAttempt": 1},
        [f"{CONFIG_AT}.MaximumRetryAttempt: unknown property (did you mean MaximumRetryAttempts?)"],
    ),
    "the function itself": (
        destinations(TASKS.replace("Tasks", "Telemetry")),
        [f"{DESTINATION}.OnSuccess.Destination: You can't specify the function as a destination for itself."],
    ),
    "a missing function": (
        destinations(failure=TASKS.replace("Tasks", "Task")),
        [
            (
                f"{DESTINATION}.OnFailure.Destination: The destination ARN {TASKS.replace('Tasks', 'Task')} is invalid. "
                "(did you mean Tasks?)"
            )
        ],
    ),
    "a bucket for success": (
        destinations(BUCKET),
        [f"{DESTINATION}.OnSuccess.Destination: {INVALID.format(f'OnSuccess(destination={BUCKET})', 'null')}"],
    ),
    "a stream": (
        destinations(failure="arn:aws:kinesis:x:1:stream/s"),
        [
            f"{DESTINATION}.OnFailure.Destination: "
            + INVALID.format("null", "OnFailure(destination=arn:aws:kinesis:x:1:stream/s)")
        ],
    ),
    "a FIFO queue": (
        destinations(failure=f"{QUEUE}.fifo"),
        [f"{DESTINATION}.OnFailure.Destination: {INVALID.format('null', f'OnFailure(destination={QUEUE}.fifo)')}"],
    ),
    "an ARN without an address": (
        destinations(failure=UNKNOWN),
        [
            (
                f"{DESTINATION}.OnFailure.Destination: no address is known for {UNKNOWN} "
                f"(add under Metadata.Poller.Endpoints: {UNKNOWN}: kafka://host:9092/topic; "
                "AWS itself needs pip install 'poller[aws]')"
            )
        ],
    ),
    "another type than the ARN's": (
        {"DestinationConfig": {"OnFailure": {"Type": "SNS", "Destination": QUEUE}}},
        [f"{DESTINATION}.OnFailure.Type: SNS is not what the ARN is of (that is SQS)"],
    ),
    "a queue to be made": (
        {"DestinationConfig": {"OnFailure": {"Type": "SQS"}}},
        [f"{DESTINATION}.OnFailure.Destination: is missing (nothing is made here: name it by its ARN)"],
    ),
    "a version": (
        destinations(f"{TASKS}:3"),
        [f"{DESTINATION}.OnSuccess.Destination: The destination ARN {TASKS}:3 is invalid. (there is no 3 of Tasks)"],
    ),
    "no URL": (
        destinations("results"),
        [f"{DESTINATION}.OnSuccess.Destination: must begin with kafka://, amqp:// or file:"],
    ),
}


@pytest.mark.parametrize(("config", "expected"), REFUSED.values(), ids=REFUSED)
def test_a_configuration_that_makes_no_sense_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: Any, expected: list[str]
) -> None:
    """B.2, with AWS's texts where there are any; without boto3."""
    monkeypatch.setattr(async_wiring, "find_spec", lambda _: None)
    assert problems(tmp_path, configured(config)) == expected


@pytest.mark.parametrize(
    ("queue", "expected"),
    [
        ({"Type": "SQS"}, "TargetArn: is missing (no queue is made here: name one by its ARN)"),
        ({"TargetArn": BUS}, "TargetArn: is not the ARN of an SQS queue or SNS topic, FIFO ones excepted"),
        ({"TargetArn": f"{QUEUE}.fifo"}, "TargetArn: is not the ARN of an SQS queue or SNS topic, FIFO ones excepted"),
        ({"Type": "SNS", "TargetArn": QUEUE}, "Type: SNS is not what the ARN is of"),
    ],
)
def test_a_dead_letter_queue_that_makes_no_sense_is_refused(
    tmp_path: Path, queue: dict[str, Any], expected: str
) -> None:  # B.4
    content = document(function={"DeadLetterQueue": queue}, Metadata={"Poller": endpoints()})
    assert problems(tmp_path, content) == [f"Resources.Telemetry.Properties.DeadLetterQueue.{expected}"]


def resource(**properties: Any) -> dict[str, Any]:
    values = {"FunctionName": "Telemetry", "Qualifier": "$LATEST", "MaximumRetryAttempts": 0, **properties}
    return {"Config": {"Type": "AWS::Lambda::EventInvokeConfig", "Properties": values}}


def test_a_version_s_or_missing_function_s_configuration_is_refused(tmp_path: Path) -> None:
    path = "Resources.Config.Properties"
    assert problems(tmp_path, document(resources=resource(Qualifier="live"))) == [
        f'{path}.Qualifier: not supported: versions and aliases ("live") ($LATEST is)'
    ]
    assert problems(tmp_path, document(resources=resource(FunctionName="Telemetri"))) == [
        f"{path}.FunctionName: Function does not exist (did you mean Telemetry?)"
    ]


def test_a_function_has_one_configuration(tmp_path: Path) -> None:
    content = document(function={"EventInvokeConfig": {"MaximumRetryAttempts": 1}}, resources=resource())
    assert len(problems(tmp_path, content)) == 1
    assert "has an event invoke configuration already" in problems(tmp_path, content)[0]


def test_several_workers_and_asynchronous_settings_do_not_go_together(tmp_path: Path) -> None:
    content = document(
        function={"EventInvokeConfig": {"MaximumRetryAttempts": 1}}, Metadata={"Poller": endpoints(Workers=2)}
    )
    assert problems(tmp_path, content) == [
        (
            "Metadata.Poller.Workers: is 2, and asynchronous invocation needs one process "
            "(set Workers to 1, or take EventInvokeConfig and dead-letter queues out)"
        )
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("kafka://127.0.0.1:9092", "must have the form amqp://user:password@host:5672"),
        ("amqp://127.0.0.1:5672", "holds no login"),
        ("amqp://poller:top-secret@[", "is not a URL"),
        ("amqp://poller:top-secret@127.0.0.1:5672/vhost?cacertfile=ca.pem", "has cacertfile without TLS"),
        ("amqps://poller:top-secret@127.0.0.1:5671/vhost?cacertfile=missing.pem", "which cannot be read"),
        ("amqps://poller:top-secret@127.0.0.1:5671?verify=none", "knows no other option behind ?"),
    ],
)
def test_an_address_of_a_shared_queue_that_cannot_be_is_refused_and_not_repeated(
    tmp_path: Path, value: str, text: str
) -> None:
    (problem,) = problems(tmp_path, document(Metadata={"Poller": endpoints(AsyncQueue=value)}))
    assert problem.startswith("Metadata.Poller.AsyncQueue: ")
    assert text in problem
    assert "top-secret" not in problem


def test_a_shared_queue_s_address_has_a_virtual_host_and_shows_no_password(tmp_path: Path) -> None:
    url = "amqp://poller:top-secret@127.0.0.1/a%2Fb"
    settings = load(tmp_path, document(Metadata={"Poller": endpoints(AsyncQueue=url)})).settings
    assert queue_url(settings, tmp_path) == "amqp://poller:top-secret@127.0.0.1:5672/a%2Fb"
    assert "top-secret" not in repr(settings)
    plain = load(tmp_path, document()).settings
    assert queue_url(plain, tmp_path) is None


def test_programs_that_share_a_queue_have_one_process_each(tmp_path: Path) -> None:
    shared = endpoints(AsyncQueue="amqp://guest:guest@127.0.0.1", Workers=2)
    assert problems(tmp_path, document(Metadata={"Poller": shared})) == [
        (
            "Metadata.Poller.Workers: is 2, and with AsyncQueue each program has one "
            "(set Workers to 1, and run several programs with the same AsyncQueue)"
        )
    ]


def test_a_topic_on_a_mapping_s_cluster_is_written_to_with_the_login_that_the_mapping_has_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a refusal: the login is read anew, as for the mapping's own dead letters."""
    found = wired(tmp_path, configured(destinations(failure=QUEUE))).on_failure
    assert found is not None
    assert isinstance(found.target, KafkaTarget)
    newer = KafkaSecurity(username="another", password="password")

    def read_anew(mapping: EventSourceMapping, _: object) -> EventSourceMapping:
        return mapping.model_copy(update={"security": newer})

    monkeypatch.setattr(async_wiring, "with_login_read_anew", read_anew)
    renewed = found.renewed()
    assert isinstance(renewed, KafkaTarget)
    assert (renewed.topic, renewed.security) == (found.target.topic, newer)
    monkeypatch.setattr(async_wiring, "with_login_read_anew", lambda *_: None)
    assert found.renewed() is None, "what cannot be read leaves the login as it is"
    elsewhere = wired(tmp_path, configured(destinations(failure=TOPIC))).on_failure
    assert elsewhere is not None
    assert elsewhere.renewed() is None


def test_the_state_folder_is_beside_the_template_unless_told(tmp_path: Path) -> None:
    assert load(tmp_path, document()).state_folder == tmp_path / ".poller"
    told = document(Metadata={"Poller": endpoints(StateFolder="/var/lib/poller")})
    assert load(tmp_path, told).state_folder == Path("/var/lib/poller")
