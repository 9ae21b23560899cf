"""From a template's mappings to what runs for them: defaults, windows, retries, destinations, states."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from textwrap import indent

import pytest
from scripted import FakeClock

from poller.assembly import batching_limits, destination_of, retry_policy, source_of
from poller.control_plane import ControlPlane
from poller.destinations.file import FileDestination
from poller.destinations.kafka import KafkaDestination
from poller.destinations.rabbitmq import RabbitMQDestination
from poller.mapping_runner import _join
from poller.metrics import Metrics
from poller.policy.batching import WindowStart
from poller.policy.workers import PollerBounds
from poller.resources import EventSourceMapping
from poller.shares import bounds_of, shares_of
from poller.shares import pollers_of as pollers_of_one
from poller.sources.kafka import KafkaSource
from poller.sources.kafka_librdkafka import LibrdkafkaSource
from poller.sources.rabbitmq import RabbitMQSource
from poller.template import Template, load

MQ_ARN = "arn:aws:mq:us-east-1:000000000000:broker:b:b-1"
HEAD = """
Resources:
  F:
    Type: AWS::Lambda::Function
    Properties: {FunctionName: f, Code: code, Handler: handler.handler, Runtime: python3.13, Role: arn:aws:iam::1:role/r}
  E:
    Type: AWS::Lambda::EventSourceMapping
    Properties:
      FunctionName: !Ref F
"""
KAFKA = """
SelfManagedEventSource: {Endpoints: {KafkaBootstrapServers: ["b1:9092", "b2:9092"]}}
Topics: [orders]
StartingPosition: TRIM_HORIZON
SourceAccessConfigurations:
  - {Type: VPC_SUBNET, URI: "subnet:subnet-1"}
  - {Type: VPC_SECURITY_GROUP, URI: "security_group:sg-1"}
"""
PROVISIONED = "ProvisionedPollerConfig: {MinimumPollers: 1, MaximumPollers: 1}\n"
MQ = f"""
EventSourceArn: {MQ_ARN}
Queues: [tasks]
SourceAccessConfigurations: [{{Type: BASIC_AUTH, URI: "arn:aws:secretsmanager:us-east-1:000000000000:secret:s"}}]
"""
SETTINGS = f"""
Metadata:
  Poller:
    Endpoints: {{"{MQ_ARN}": "amqp://u:p@mq:5672"}}
"""


def template(tmp_path: Path, properties: str, extensions: str = "", **environment: str) -> Template:
    (tmp_path / "code").mkdir(exist_ok=True)
    (tmp_path / "code" / "handler.py").write_text("def handler(event, context): ...\n")
    text = HEAD + indent(properties, "      ")
    if MQ_ARN in properties:
        text += SETTINGS
        text += f"    EventSources: {{E: {extensions}}}\n" if extensions else ""
    elif extensions:
        text += f"Metadata: {{Poller: {{EventSources: {{E: {extensions}}}}}}}\n"
    (tmp_path / "template.yaml").write_text(text)
    return load(tmp_path / "template.yaml", environment=environment)


def mapping(tmp_path: Path, properties: str, extensions: str = "") -> EventSourceMapping:
    [only] = template(tmp_path, properties, extensions).mappings
    return only


@pytest.mark.parametrize(
    ("properties", "window", "start"),
    [
        (KAFKA, 0.5, WindowStart.PREVIOUS_RESULT),
        (KAFKA + PROVISIONED, 0.5, WindowStart.PREVIOUS_HANDOVER),
        (KAFKA + "MaximumBatchingWindowInSeconds: 0\n", 0.0, WindowStart.PREVIOUS_RESULT),
        (MQ, 0.5, WindowStart.FIRST_RECORD),
        (MQ + "MaximumBatchingWindowInSeconds: 7\n", 7.0, WindowStart.FIRST_RECORD),
    ],
)
def test_the_window_is_500_ms_by_default_and_starts_where_the_source_says(
    tmp_path: Path, properties: str, window: float, start: WindowStart
) -> None:  # C.1, C.4
    limits = batching_limits(mapping(tmp_path, properties), overhead=10)
    assert (limits.window, limits.window_start, limits.batch_size, limits.overhead) == (window, start, 100, 10)


@pytest.mark.parametrize(
    ("properties", "extensions", "attempts"),
    [
        (KAFKA, "", -1),
        (KAFKA + PROVISIONED, "", -1),
        (KAFKA + PROVISIONED + "MaximumRetryAttempts: 3\n", "", 3),
        (KAFKA + PROVISIONED + 'DestinationConfig: {OnFailure: {Destination: "kafka://dlq"}}\n', "", 10),
        (KAFKA, '{OnFailure: "file:dead.jsonl"}', -1),  # on demand nothing ends the retries
        (MQ, "", -1),
        (MQ, "{MaximumRetryAttempts: 2}", 2),
    ],
)
def test_retries_are_without_end_but_10_when_a_provisioned_mapping_has_an_on_failure_destination(
    tmp_path: Path, properties: str, extensions: str, attempts: int
) -> None:  # C.1, D.1.2
    policy = retry_policy(mapping(tmp_path, properties, extensions), time_scale=60)
    assert policy.maximum_retry_attempts == attempts
    assert policy.redelivers == (MQ_ARN in properties)
    assert policy.back_off.time_scale == 60


def test_each_kind_of_mapping_gets_its_source(tmp_path: Path) -> None:
    assert isinstance(source_of(mapping(tmp_path, KAFKA), 0, "kafka-python"), KafkaSource)
    kafka = source_of(mapping(tmp_path, KAFKA), 0, "confluent-kafka")
    assert isinstance(kafka, LibrdkafkaSource)
    assert kafka.overhead(1) > 100
    assert isinstance(source_of(mapping(tmp_path, MQ), 0), RabbitMQSource)


def test_the_faster_client_of_kafka_is_taken_where_it_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    assert isinstance(source_of(mapping(tmp_path, KAFKA), 0), LibrdkafkaSource)
    monkeypatch.setattr("poller.settings.find_spec", lambda _: None)
    assert isinstance(source_of(mapping(tmp_path, KAFKA), 0), KafkaSource)
    source_of(mapping(tmp_path, KAFKA), 1)
    assert [line.partition(" with ")[2] for line in caplog.messages] == ["confluent-kafka", "kafka-python"]


@pytest.mark.parametrize(
    ("properties", "extensions", "kind"),
    [
        (KAFKA + PROVISIONED + 'DestinationConfig: {OnFailure: {Destination: "kafka://dlq"}}\n', "", KafkaDestination),
        (MQ, '{MaximumRetryAttempts: 1, OnFailure: "amqp:///ex/key"}', RabbitMQDestination),
        (MQ, '{MaximumRetryAttempts: 1, OnFailure: "file:dead.jsonl"}', FileDestination),
    ],
)
def test_each_kind_of_target_gets_its_destination(tmp_path: Path, properties: str, extensions: str, kind: type) -> None:
    target = mapping(tmp_path, properties, extensions).on_failure
    assert target is not None
    assert isinstance(destination_of(target), kind)


def plane(tmp_path: Path, properties: str) -> ControlPlane:
    return ControlPlane(template(tmp_path, properties), Metrics(), FakeClock())


def state(made: ControlPlane) -> Mapping[str, object]:
    [only] = made.mapping_states()
    return only


def test_a_mapping_made_with_enabled_false_is_disabled_at_once_and_reads_nothing(tmp_path: Path) -> None:  # C.2, G 31
    made = plane(tmp_path, KAFKA + "Enabled: false\n")
    assert state(made)["State"] == "Disabled"
    made.start()
    assert made.alive()
    [snapshot] = made.mappings()
    assert (snapshot.pollers, snapshot.enabled) == (0, False)
    made.stop()


def test_a_new_mapping_is_creating_with_no_records_processed(tmp_path: Path) -> None:  # C.1, C.2
    made = plane(tmp_path, KAFKA)
    assert state(made) == {
        "Mapping": "E",
        "UUID": state(made)["UUID"],
        "State": "Creating",
        "StateTransitionReason": "USER_INITIATED",
        "LastProcessingResult": "No records processed",
        "Problem": "",
    }


def test_provisioned_pollers_are_that_many_members_of_the_group(tmp_path: Path) -> None:  # C.8
    made = plane(tmp_path, KAFKA + "ProvisionedPollerConfig: {MinimumPollers: 3, MaximumPollers: 3}\n")
    [snapshot] = made.mappings()
    assert snapshot.pollers == 3


def test_a_queue_has_the_consumers_that_were_asked_for_and_nothing_scales_them(tmp_path: Path) -> None:  # C.8
    [only] = template(tmp_path, MQ, "{Concurrency: 4}").mappings
    assert (pollers_of_one(only), bounds_of(only)) == (4, None)


def test_on_demand_a_mapping_starts_with_one_and_has_no_maximum_but_the_partitions(tmp_path: Path) -> None:  # C.8
    [only] = template(tmp_path, KAFKA).mappings
    assert bounds_of(only) == PollerBounds(1, None)
    [provisioned] = template(tmp_path, KAFKA + "ProvisionedPollerConfig: {MinimumPollers: 3}\n").mappings
    assert bounds_of(provisioned) == PollerBounds(3, 200)


def test_five_batches_are_in_work_of_a_provisioned_poller_and_one_of_each_partition_on_demand(tmp_path: Path) -> None:
    # C.8
    assert batching_limits(mapping(tmp_path, KAFKA + PROVISIONED), overhead=10).concurrency == 5
    assert batching_limits(mapping(tmp_path, KAFKA), overhead=10).concurrency is None
    assert batching_limits(mapping(tmp_path, MQ), overhead=10).concurrency is None


def plane_of(worker: int, tmp_path: Path, properties: str, function: str = "") -> ControlPlane:
    """The control plane of one of two workers."""
    made = template(tmp_path, properties)
    if function:
        [only] = made.functions
        made = replace(made, functions=(only.model_copy(update={"ReservedConcurrentExecutions": int(function)}),))
    return ControlPlane(made, Metrics(), FakeClock(), shares_of(made, 2)[worker - 1])


def pollers_of(*planes: ControlPlane) -> list[int]:
    return [snapshot.pollers for made in planes for snapshot in made.mappings()]


@pytest.mark.parametrize(
    ("properties", "function", "pollers"),
    [
        (KAFKA, "", [1, 1]),
        (KAFKA + "ProvisionedPollerConfig: {MinimumPollers: 3, MaximumPollers: 3}\n", "", [2, 1]),
        (KAFKA, "1", [1, 0]),
        (KAFKA, "0", [1, 1]),
        (KAFKA + "ProvisionedPollerConfig: {MinimumPollers: 1}\n", "", [1, 0]),
        (MQ, "", [1, 0]),
        (KAFKA + "Enabled: false\n", "", [0, 0]),
    ],
)
def test_two_workers_have_together_the_pollers_of_one_service(
    tmp_path: Path, properties: str, function: str, pollers: list[int]
) -> None:  # A.2, C.8
    assert pollers_of(*(plane_of(worker, tmp_path, properties, function) for worker in (1, 2))) == pollers


def test_a_worker_without_pollers_of_a_mapping_starts_nothing_for_it_and_sends_no_dead_letters(tmp_path: Path) -> None:
    second = plane_of(2, tmp_path, MQ)
    second.start()
    assert [snapshot.pollers for snapshot in second.mappings()] == [0]
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith(("poller-", "destination-"))]
    assert second.alive()
    second.stop()


def limit_of(plane: ControlPlane) -> int:
    environments = plane.account.environments
    configuration = environments.configuration("f")
    assert configuration is not None
    return environments._pool(configuration)._roster.limit


def test_two_workers_have_together_the_concurrency_of_one_service(tmp_path: Path) -> None:  # A.2
    limits = [limit_of(plane_of(worker, tmp_path, KAFKA, "5")) for worker in (1, 2)]
    assert limits == [3, 2]
    assert [limit_of(plane_of(worker, tmp_path, KAFKA)) for worker in (1, 2)] == [500, 500]


def test_the_functions_pool_shows_in_the_metrics(tmp_path: Path) -> None:
    [function] = plane(tmp_path, KAFKA).functions()
    assert (function.function, function.environments, function.invocations) == ("f", 0, 0)


def test_a_poller_that_hangs_is_left_at_the_stop_and_its_stack_is_told(caplog: pytest.LogCaptureFixture) -> None:
    hung = threading.Event()
    thread = threading.Thread(target=hung.wait, name="poller-F.E-0", daemon=True)
    thread.start()
    _join(thread, time.monotonic())
    hung.set()
    thread.join()
    assert "poller-F.E-0 does not end" in caplog.text
    assert "hung.wait" in caplog.text or "self._cond.wait" in caplog.text


def test_settings_of_a_function_reach_its_environments(tmp_path: Path) -> None:  # E.3
    def plane(*settings: str, **environment: str) -> ControlPlane:
        loaded = template(tmp_path, KAFKA, **environment)
        path = tmp_path / "template.yaml"
        path.write_text(path.read_text() + "".join(settings))
        return ControlPlane(load(loaded.path, environment=environment), Metrics(), FakeClock())

    section = "Metadata: {Poller: {Functions: {f: {ProvisionedConcurrency: 2, Freeze: true}}}}\n"
    for made, expected in (
        (plane(section, POLLER_IDLE_TIMEOUT="7"), (7.0, True, 2)),
        (plane(), (300.0, False, 0)),
    ):
        made._environments.start()
        try:
            [pool] = made._environments.pools()
            assert (pool.idle_timeout, pool.freeze, pool.stats().provisioned) == expected
            assert [item.provisioned_concurrency for item in made.functions()] == [expected[2]]
        finally:
            made._environments.stop(5)
