"""The life of an event source mapping: made, changed, switched off and deleted by the API's calls (C.1, C.2, C.3)."""

from __future__ import annotations

import json
import threading
from base64 import b64decode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from builders import answer, function_error
from packages import request
from waiting import eventually

from poller.api_errors import ApiError
from poller.clock import SystemClock
from poller.control_plane import ControlPlane
from poller.destinations.file import FileDestination
from poller.errors import DestinationError, SourceUnavailable
from poller.metrics import Metrics
from poller.model import FunctionConfiguration, Invocation, InvocationResult
from poller.runtime.answers import error_answer
from poller.runtime.pool_stats import PoolStats
from poller.shares import shares_of
from poller.sources.memory import MemoryTopic, MemoryTopicSource
from poller.sources.memory_queue import MemoryQueue, MemoryQueueSource
from poller.template import load

FUNCTION = """
Resources:
  {name}:
    Type: AWS::Lambda::Function
    Properties:
      FunctionName: {name}
      Code: code
      Handler: handler.handler
      Runtime: python3.13
      Role: arn:aws:iam::1:role/r
"""
MQ_ARN = "arn:aws:mq:us-east-1:123456789012:broker:b:b-1"
SETTINGS = f"""
Metadata:
  Poller:
    TimeScale: 1000
    ShutdownGrace: 5
    Endpoints: {{"{MQ_ARN}": "amqp://mq:5672"}}
    Secrets: {{"arn:aws:secretsmanager:us-east-1:123456789012:secret:login": {{username: u, password: p}}}}
"""
LOGIN = {"Type": "BASIC_AUTH", "URI": "arn:aws:secretsmanager:us-east-1:123456789012:secret:login"}
KAFKA: dict[str, Any] = {
    "FunctionName": "f",
    "SelfManagedEventSource": {"Endpoints": {"KAFKA_BOOTSTRAP_SERVERS": ["b1:9092", "b2:9092"]}},
    "Topics": ["orders"],
    "SourceAccessConfigurations": [LOGIN],
    "MaximumBatchingWindowInSeconds": 0,
}
MQ: dict[str, Any] = {
    "FunctionName": "f",
    "EventSourceArn": MQ_ARN,
    "Queues": ["tasks"],
    "SourceAccessConfigurations": [LOGIN],
    "MaximumBatchingWindowInSeconds": 0,
}
PROVISIONED = {"ProvisionedPollerConfig": {"MinimumPollers": 1, "MaximumPollers": 1}}


class Handlers:
    """Stands for a function's pool: answers on threads of its own as the test says."""

    by_function: dict[str, Handlers]

    def __init__(self, configuration: FunctionConfiguration, **_: object) -> None:
        self.batches: list[list[str]] = []
        """What arrived, as texts."""
        self.result: Callable[[list[str]], InvocationResult] = lambda _: answer()
        self.is_running = False
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.configuration = configuration
        name, version = configuration.function_name, configuration.version
        self.by_function[name if version == "$LATEST" else f"{name}:{version}"] = self
        self.arns: list[str] = []
        """As invoked."""

    def reload(self) -> None:
        """It has no code."""

    def start(self) -> None:
        self.is_running = True

    def stop(self, grace: float = 0.0) -> None:
        self.may_answer.set()

    def look_at_memory(self) -> None:
        """There are no processes."""

    def stats(self) -> PoolStats:
        return PoolStats(0, 0, 0, 0, 0, 0, 0, 0)

    def submit(self, invocation: Invocation, on_result: Callable[[InvocationResult], None], *, wait: bool) -> None:
        assert wait
        if not self.is_running:
            text = "The function is not running."
            threading.Thread(
                target=on_result, args=(error_answer(invocation.request_id, 500, text),), daemon=True
            ).start()
            return
        values = texts(json.loads(invocation.payload))
        self.batches.append(values)
        self.arns.append(invocation.invoked_function_arn)

        def run() -> None:
            self.may_answer.wait(30)
            on_result(self.result(values))

        threading.Thread(target=run, daemon=True).start()

    def handled(self) -> list[str]:
        return [value for batch in self.batches for value in batch]


def texts(event: dict[str, Any]) -> list[str]:
    """The data of every record of an event."""
    groups = event.get("records") or event["rmqMessagesByQueue"]
    return [b64decode(item.get("value", item.get("data"))).decode() for group in groups.values() for item in group]


class World:
    """A control plane on brokers in memory."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.topic, self.queue = MemoryTopic("orders"), MemoryQueue("tasks")
        self.functions: dict[str, Handlers] = {}
        monkeypatch.setattr(Handlers, "by_function", self.functions, raising=False)
        monkeypatch.setattr("poller.function_pools.FunctionPool", Handlers)
        monkeypatch.setattr("poller.assembly.source_of", self._source)
        (folder / "code").mkdir()
        (folder / "code" / "handler.py").write_text("def handler(event, context): ...\n")
        resources = FUNCTION.format(name="f") + FUNCTION.format(name="g").removeprefix("\nResources:\n")
        (folder / "template.yaml").write_text(resources + SETTINGS)
        self.template = load(folder / "template.yaml", environment={})
        self.metrics = Metrics()
        self.plane = ControlPlane(self.template, self.metrics, SystemClock())
        self.plane.start()

    def _source(self, mapping: Any, *_: object) -> MemoryTopicSource | MemoryQueueSource:
        if mapping.kind == "MQ":
            return MemoryQueueSource(self.queue, prefetch=2 * mapping.BatchSize, waits=True)
        return MemoryTopicSource(self.topic, waits=True)

    def create(self, request: dict[str, Any], **changes: Any) -> str:
        """Make a mapping and wait until it is what it shall be; returns its UUID."""
        uuid = str(self.plane.sources.create_event_source_mapping({**request, **changes})["UUID"])
        self.wait_for_state(uuid, "Disabled" if changes.get("Enabled") is False else "Enabled")
        return uuid

    def update(self, uuid: str, **changes: Any) -> str:
        """Change a mapping, wait until it is done; returns the state of the answer."""
        state = str(self.plane.sources.update_event_source_mapping(uuid, changes)["State"])
        self.wait_for_state(uuid, "Disabled" if changes.get("Enabled") is False else "Enabled")
        return state

    def state(self, uuid: str) -> str:
        return str(self.plane.sources.get_event_source_mapping(uuid)["State"])

    def wait_for_state(self, uuid: str, state: str) -> None:
        eventually(lambda: self.state(uuid) == state)

    def produce(self, *values: str) -> None:
        for value in values:
            self.topic.produce(value.encode())

    def publish(self, *values: str) -> None:
        for value in values:
            self.queue.publish(value.encode(), message_id=value)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    made = World(tmp_path, monkeypatch)
    yield made
    for function in made.functions.values():
        function.may_answer.set()
    made.plane.stop()


def refused(call: Callable[[], object]) -> tuple[int, str, str]:
    with pytest.raises(ApiError) as caught:
        call()
    return caught.value.status, caught.value.type, caught.value.text


# --- made ---------------------------------------------------------------------------------------------------------


@pytest.mark.statement(27)
def test_a_new_kafka_mapping_answers_with_the_defaults_and_its_uuid_as_group(world: World) -> None:  # C.1
    """Statement 27."""
    request = {name: value for name, value in KAFKA.items() if name != "MaximumBatchingWindowInSeconds"}
    made = world.plane.sources.create_event_source_mapping(request)
    uuid = made["UUID"]
    assert isinstance(made.pop("LastModified"), float)
    assert made == {
        "UUID": uuid,
        "EventSourceMappingArn": f"arn:aws:lambda:us-east-1:123456789012:event-source-mapping:{uuid}",
        "FunctionArn": "arn:aws:lambda:us-east-1:123456789012:function:f",
        "BatchSize": 100,
        "StartingPosition": "TRIM_HORIZON",
        "Topics": ["orders"],
        "SelfManagedEventSource": KAFKA["SelfManagedEventSource"],
        "SelfManagedKafkaEventSourceConfig": {"ConsumerGroupId": uuid},
        "SourceAccessConfigurations": [LOGIN],
        "LastProcessingResult": "No records processed",
        "State": "Creating",
        "StateTransitionReason": "USER_INITIATED",
    }
    world.wait_for_state(uuid, "Enabled")


def test_a_new_mq_mapping_answers_with_its_queue_and_batch_size(world: World) -> None:  # C.1
    request = {name: value for name, value in MQ.items() if name != "MaximumBatchingWindowInSeconds"}
    made = world.plane.sources.create_event_source_mapping(request)
    shown = {
        name: value for name, value in made.items() if name not in {"UUID", "EventSourceMappingArn", "LastModified"}
    }
    assert shown == {
        "FunctionArn": "arn:aws:lambda:us-east-1:123456789012:function:f",
        "BatchSize": 100,
        "EventSourceArn": MQ_ARN,
        "Queues": ["tasks"],
        "SourceAccessConfigurations": [LOGIN],
        "LastProcessingResult": "No records processed",
        "State": "Creating",
        "StateTransitionReason": "USER_INITIATED",
    }


@pytest.mark.statement(28)
def test_the_same_function_topic_and_one_shared_broker_is_a_duplicate(world: World) -> None:  # C.3
    """Statement 28."""
    first = world.create(KAFKA)
    source = {"Endpoints": {"KAFKA_BOOTSTRAP_SERVERS": ["b2:9092", "b3:9092"]}}
    assert refused(lambda: world.create({**KAFKA, "SelfManagedEventSource": source})) == (
        409,
        "ResourceConflictException",
        (
            'An event source mapping with event source ("b2:9092,b3:9092"), function '
            '("arn:aws:lambda:us-east-1:123456789012:function:f"), topics ("orders") already exists. '
            f"Please update or delete the existing mapping with UUID {first}"
        ),
    )
    world.create({**KAFKA, "SelfManagedEventSource": {"Endpoints": {"KAFKA_BOOTSTRAP_SERVERS": ["b3:9092"]}}})
    world.create({**KAFKA, "FunctionName": "g"})


@pytest.mark.statement(29)
def test_a_self_managed_cluster_without_access_configurations_is_refused(world: World) -> None:  # C.3
    """Statement 29."""
    request = {name: value for name, value in KAFKA.items() if name != "SourceAccessConfigurations"}
    text = "Required 'sourceAccessConfigurations' parameter is missing."
    assert refused(lambda: world.create(request)) == (400, "InvalidParameterValueException", text)


@pytest.mark.statement(30)
def test_an_unknown_uuid_is_not_found_by_get_update_and_delete(world: World) -> None:  # C.3
    """Statement 30."""
    missing = (404, "ResourceNotFoundException", "The resource you requested does not exist.")
    assert refused(lambda: world.plane.sources.get_event_source_mapping("no")) == missing
    assert refused(lambda: world.plane.sources.update_event_source_mapping("no", {"BatchSize": 1})) == missing
    assert refused(lambda: world.plane.sources.delete_event_source_mapping("no")) == missing


@pytest.mark.statement(31)
def test_made_with_enabled_false_it_is_disabled_at_once_and_reads_nothing(world: World) -> None:  # C.2
    """Statement 31."""
    world.produce("1")
    made = world.plane.sources.create_event_source_mapping({**KAFKA, "Enabled": False})
    assert made["State"] == "Disabled"
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(f"poller-{made['UUID']}")]
    assert world.functions["f"].batches == []
    assert world.topic.committed == {}
    assert world.update(made["UUID"], Enabled=True) == "Enabling"
    eventually(lambda: world.functions["f"].handled() == ["1"])


@pytest.mark.parametrize(
    ("changes", "type_", "text"),
    [
        ({"FunctionName": "no"}, "InvalidParameterValueException", "Function does not exist"),
        ({"SelfManagedEventSource": None}, "InvalidParameterValueException", "Unrecognized event source."),
        (
            {"BatchSize": 10_001},
            "ValidationException",
            (
                "1 validation error detected: Value '10001' at 'batchSize' failed to satisfy constraint: Member must have "
                "value less than or equal to 10000"
            ),
        ),
        (
            {"FilterCriteria": {"Filters": [{"Pattern": '{"value": "a"}'}]}},
            "InvalidParameterValueException",
            "Invalid filter pattern definition.",
        ),
    ],
)
def test_what_is_wrong_is_refused_in_the_words_of_aws(
    world: World, changes: dict[str, Any], type_: str, text: str
) -> None:  # C.3
    request = {name: value for name, value in {**KAFKA, **changes}.items() if value is not None}
    assert refused(lambda: world.create(request)) == (400, type_, text)
    assert world.plane.sources.list_event_source_mappings() == {"EventSourceMappings": []}


@pytest.mark.parametrize("parameter", ["name", "security", "broker_url", "Colour"])
def test_what_is_no_parameter_of_the_call_is_refused(world: World, parameter: str) -> None:
    status, type_, text = refused(lambda: world.create({**KAFKA, parameter: "x"}))
    assert (status, type_) == (400, "InvalidParameterValueException")
    assert parameter in text


def test_a_broker_that_does_not_answer_refuses_nothing_and_the_state_tells(world: World) -> None:  # C.2
    world.topic.outage = SourceUnavailable("no broker at b1:9092")
    uuid = world.create(KAFKA)
    [status] = world.plane.mapping_states()
    assert (status["UUID"], status["Problem"]) == (uuid, "no broker at b1:9092")
    world.topic.outage = None
    world.produce("1")
    eventually(lambda: world.functions["f"].handled() == ["1"])
    assert world.plane.mapping_states()[0]["Problem"] == ""


def test_the_last_result_is_ok_after_a_success_and_a_problem_after_a_failure(world: World) -> None:  # C.2
    uuid = world.create(KAFKA)

    def result() -> object:
        return world.plane.sources.get_event_source_mapping(uuid)["LastProcessingResult"]

    assert result() == "No records processed"
    world.produce("1")
    eventually(lambda: result() == "OK")
    world.functions["f"].result = lambda _: function_error()
    world.produce("2")
    eventually(lambda: result() == "PROBLEM: Function call failed")
    world.functions["f"].result = lambda _: answer()
    eventually(lambda: result() == "OK")
    world.update(uuid, Enabled=False)
    assert result() == "OK", "who reads nothing has still read before"


# --- changed ------------------------------------------------------------------------------------------------------


def test_disabled_it_reads_nothing_and_enabled_again_it_goes_on_where_it_was(world: World) -> None:  # C.2
    uuid = world.create(KAFKA)
    world.produce("1", "2")
    eventually(lambda: world.functions["f"].handled() == ["1", "2"])
    assert world.update(uuid, Enabled=False) == "Disabling"
    assert world.topic.owners == {}, "it has left its group"
    world.produce("3")
    assert world.update(uuid, Enabled=True) == "Enabling"
    eventually(lambda: world.functions["f"].handled() == ["1", "2", "3"])


def test_another_batch_size_acts_from_the_next_batch_on_and_nothing_is_lost_or_repeated(world: World) -> None:  # C.1
    uuid = world.create(KAFKA, BatchSize=2)
    world.functions["f"].may_answer.clear()
    world.produce(*map(str, range(7)))
    eventually(lambda: len(world.functions["f"].batches) == 1)
    assert world.update(uuid, BatchSize=3) == "Updating"
    world.functions["f"].may_answer.set()
    eventually(lambda: len(world.functions["f"].handled()) == 7)
    first, *rest = world.functions["f"].batches
    assert len(first) <= 2
    assert max(map(len, rest)) == 3
    assert world.functions["f"].handled() == list(map(str, range(7)))


def test_a_queue_gives_as_many_messages_as_the_new_batch_size_wants(world: World) -> None:  # C.1
    uuid = world.create(MQ, BatchSize=1)
    world.functions["f"].may_answer.clear()
    world.publish("0")
    eventually(lambda: len(world.functions["f"].batches) == 1)
    world.update(uuid, BatchSize=10)
    world.publish(*map(str, range(1, 11)))
    world.functions["f"].may_answer.set()
    eventually(lambda: len(world.functions["f"].handled()) == 11)
    assert max(map(len, world.functions["f"].batches)) > 1
    assert world.plane.sources.get_event_source_mapping(uuid)["BatchSize"] == 10


def test_another_filter_acts_on_what_waits_for_a_batch(world: World) -> None:  # C.1, C.5
    uuid = world.create(KAFKA, BatchSize=1)
    world.functions["f"].may_answer.clear()
    world.produce("a", "b", "c")
    eventually(lambda: len(world.functions["f"].batches) == 1)
    world.update(uuid, FilterCriteria={"Filters": [{"Pattern": '{"value": ["c"]}'}]})
    world.functions["f"].may_answer.set()
    eventually(lambda: world.topic.committed == {"orders-0": 3})
    assert world.functions["f"].handled() == ["a", "c"]
    shown = world.plane.sources.get_event_source_mapping(uuid)
    assert shown["FilterCriteria"] == {"Filters": [{"Pattern": '{"value": ["c"]}'}]}
    world.update(uuid, FilterCriteria={})
    assert "FilterCriteria" not in world.plane.sources.get_event_source_mapping(uuid)
    world.produce("d")
    eventually(lambda: world.functions["f"].handled() == ["a", "c", "d"])


def test_another_function_gets_the_following_batches(world: World) -> None:  # C.1
    uuid = world.create(KAFKA, BatchSize=1)
    world.functions["f"].may_answer.clear()
    world.produce("1", "2")
    eventually(lambda: world.functions["f"].handled() == ["1"])
    world.update(uuid, FunctionName="arn:aws:lambda:us-east-1:123456789012:function:g")
    world.functions["f"].may_answer.set()
    eventually(lambda: world.functions["g"].handled() == ["2"])
    assert world.functions["f"].handled() == ["1"]
    assert world.plane.sources.get_event_source_mapping(uuid)["FunctionArn"].endswith(":g")
    series = {"mapping": uuid, "function": "g", "source": "orders"}
    eventually(lambda: world.metrics.registry.get_sample_value("poller_invoked_event_count_total", series) == 1)


def test_a_mapping_of_an_alias_follows_it_from_the_next_batch_on(world: World) -> None:  # C.1
    account = world.plane.account
    account.functions.create_function(request("v", Publish=True))
    account.functions.update_function_configuration("v", {"Description": "two"})
    account.publishing.publish_version("v", {})
    account.publishing.create_alias("v", {"Name": "live", "FunctionVersion": "1"})
    uuid = world.create(KAFKA, FunctionName="v:live", BatchSize=1)
    arn = "arn:aws:lambda:us-east-1:123456789012:function:v:live"
    assert world.plane.sources.get_event_source_mapping(uuid)["FunctionArn"] == arn
    world.produce("1")
    eventually(lambda: "v:1" in world.functions and world.functions["v:1"].handled() == ["1"])
    account.publishing.update_alias("v", "live", {"FunctionVersion": "2"})
    world.produce("2")
    eventually(lambda: "v:2" in world.functions and world.functions["v:2"].handled() == ["2"])
    assert world.functions["v:2"].arns == [arn]
    world.update(uuid, BatchSize=2)
    assert world.plane.sources.get_event_source_mapping(uuid)["FunctionArn"] == arn
    world.update(uuid, FunctionName="v:1")
    world.produce("3")
    eventually(lambda: world.functions["v:1"].handled() == ["1", "3"])
    for name, found in (("v", [uuid]), ("v:1", [uuid]), ("v:live", []), ("f", [])):
        listed = world.plane.sources.list_event_source_mappings(function_name=name)["EventSourceMappings"]
        assert [item["UUID"] for item in listed] == found


def test_a_mapping_of_a_version_that_is_not_there_is_refused(world: World) -> None:  # C.3
    for name in ("f:1", "f:live", "none"):
        with pytest.raises(ApiError, match="Function does not exist"):
            world.create(KAFKA, FunctionName=name)


def test_letters_that_wait_for_a_destination_go_to_the_new_one(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # C.1, D.1.4
    send, tried = FileDestination.send, threading.Event()

    def refuse_the_first(self: FileDestination, letters: Any) -> None:
        if self._path.name == "first":
            tried.set()
            raise DestinationError("full")
        send(self, letters)

    monkeypatch.setattr(FileDestination, "send", refuse_the_first)
    extensions = {"OnFailure": "file:first"}
    world.functions["f"].result = lambda values: function_error() if "bad" in values else answer()
    request = {**KAFKA, **PROVISIONED, "BatchSize": 1, "MaximumRetryAttempts": 0}
    uuid = str(world.plane.sources.create_event_source_mapping(request, extensions)["UUID"])
    world.wait_for_state(uuid, "Enabled")
    world.produce("bad", "good")
    assert tried.wait(30)
    assert world.topic.committed.get("orders-0", 0) == 0, "its letter is not durable"
    world.plane.sources.update_event_source_mapping(uuid, {}, {"OnFailure": "file:second"})
    eventually(lambda: world.topic.committed == {"orders-0": 2})
    assert (tmp_path / "second").read_text().count("RetryAttemptsExhausted") == 1
    assert world.functions["f"].handled() == ["bad", "good"]


@pytest.mark.parametrize(
    ("request_", "changes"),
    [
        (KAFKA, {"Topics": ["others"]}),
        (KAFKA, {"StartingPosition": "LATEST"}),
        (KAFKA, {"SelfManagedEventSource": {"Endpoints": {"KAFKA_BOOTSTRAP_SERVERS": ["b9:9092"]}}}),
        (KAFKA, {"SelfManagedKafkaEventSourceConfig": {"ConsumerGroupId": "others"}}),
        (MQ, {"Queues": ["others"]}),
        (MQ, {"EventSourceArn": MQ_ARN + "2"}),
        (MQ, {"SourceAccessConfigurations": [LOGIN, {"Type": "VIRTUAL_HOST", "URI": "other"}]}),
    ],
)
def test_what_is_fixed_when_it_is_made_cannot_be_updated(
    world: World, request_: dict[str, Any], changes: dict[str, Any]
) -> None:  # C.1
    uuid = world.create(request_, Enabled=False)
    status, type_, text = refused(lambda: world.update(uuid, **changes))
    assert (status, type_) == (400, "InvalidParameterValueException")
    assert next(iter(changes)) in text
    assert "cannot be updated" in text


def test_an_update_that_leaves_provisioned_mode_is_refused_while_a_limit_needs_it(world: World) -> None:  # C.1
    uuid = world.create({**KAFKA, **PROVISIONED, "MaximumRetryAttempts": 3}, Enabled=False)
    assert "MaximumRetryAttempts" in refused(lambda: world.update(uuid, ProvisionedPollerConfig={}))[2]
    world.plane.sources.update_event_source_mapping(uuid, {"ProvisionedPollerConfig": {}, "MaximumRetryAttempts": -1})
    assert "ProvisionedPollerConfig" not in world.plane.sources.get_event_source_mapping(uuid)


def test_an_update_keeps_the_pollers_that_the_lag_has_brought_within_the_new_bounds(world: World) -> None:  # C.1, C.8
    uuid = world.create(KAFKA)
    runner = world.plane.sources._runners[uuid]
    runner.resize(2)
    world.update(uuid, BatchSize=7)
    assert runner.wanted == 2
    world.update(uuid, **PROVISIONED)
    assert runner.wanted == 1
    world.update(uuid, ProvisionedPollerConfig={"MinimumPollers": 2, "MaximumPollers": 2})
    assert runner.wanted == 2
    world.update(uuid, Enabled=False)
    world.update(uuid, Enabled=True, ProvisionedPollerConfig={"MinimumPollers": 1, "MaximumPollers": 2})
    assert runner.wanted == 1, "it starts with the least"


def test_a_failing_batch_keeps_its_count_of_attempts_over_an_update(world: World) -> None:  # C.1
    world.functions["f"].result = lambda _: function_error()
    uuid = world.create({**KAFKA, **PROVISIONED, "MaximumRetryAttempts": 10_000})
    world.produce("bad")
    eventually(lambda: len(world.functions["f"].batches) > 4)
    world.update(uuid, MaximumRetryAttempts=2)
    eventually(lambda: world.topic.committed == {"orders-0": 1})


# --- ended --------------------------------------------------------------------------------------------------------


def test_deleted_it_answers_deleting_and_is_gone_then(world: World) -> None:  # C.2
    uuid = world.create(KAFKA)
    world.produce("1")
    eventually(lambda: world.functions["f"].handled() == ["1"])
    assert world.plane.sources.delete_event_source_mapping(uuid)["State"] == "Deleting"
    eventually(lambda: world.plane.sources.list_event_source_mappings() == {"EventSourceMappings": []})
    assert refused(lambda: world.plane.sources.get_event_source_mapping(uuid))[0] == 404
    assert world.topic.owners == {}
    assert world.topic.committed == {"orders-0": 1}
    series = [sample for metric in world.metrics.registry.collect() for sample in metric.samples]
    assert not [sample for sample in series if sample.labels.get("mapping") == uuid]


def test_while_a_change_is_carried_out_another_one_is_refused(world: World) -> None:  # C.2
    uuid = world.create(KAFKA)
    world.functions["f"].may_answer.clear()
    world.produce("1")
    eventually(lambda: world.functions["f"].batches != [])
    world.plane.sources.update_event_source_mapping(uuid, {"Enabled": False})
    in_use = "event source mapping because it is in use."
    refusal = (400, "ResourceInUseException")
    assert refused(lambda: world.plane.sources.delete_event_source_mapping(uuid)) == (
        *refusal,
        f"Cannot delete the {in_use}",
    )
    assert refused(lambda: world.update(uuid, BatchSize=1)) == (*refusal, f"Cannot update the {in_use}")
    world.functions["f"].may_answer.set()
    world.wait_for_state(uuid, "Disabled")
    assert world.topic.committed == {"orders-0": 1}, "what was in work was let end"


def test_messages_that_no_handler_has_seen_go_back_at_once_and_what_is_in_work_may_end(world: World) -> None:  # C.2
    uuid = world.create(MQ, BatchSize=2)
    world.functions["f"].may_answer.clear()
    world.publish("1")
    eventually(lambda: world.functions["f"].batches == [["1"]])
    world.publish("2", "3")
    eventually(lambda: not world.queue.ready)
    world.plane.sources.update_event_source_mapping(uuid, {"Enabled": False})
    eventually(lambda: [message.message_id for message in world.queue.ready] == ["2", "3"])
    assert {message.deliveries for message in world.queue.ready} == {0}, "they have not failed"
    assert world.state(uuid) == "Disabling"
    world.functions["f"].may_answer.set()
    world.wait_for_state(uuid, "Disabled")
    assert [message.message_id for message in world.queue.ready] == ["2", "3"]


def test_what_does_not_end_within_seconds_comes_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:  # C.2
    monkeypatch.setattr("poller.mapping_runner.LEAVING_GRACE", 0.01)
    uuid = world.create(MQ)
    world.functions["f"].may_answer.clear()
    world.publish("1")
    eventually(lambda: world.functions["f"].batches == [["1"]])
    world.update(uuid, Enabled=False)
    assert [message.message_id for message in world.queue.ready] == ["1"]


def test_a_deletion_takes_effect_while_the_broker_does_not_answer(world: World) -> None:  # C.2
    world.topic.outage = SourceUnavailable("gone")
    uuid = world.create(KAFKA)
    world.plane.sources.delete_event_source_mapping(uuid)
    eventually(lambda: world.plane.sources.list_event_source_mappings() == {"EventSourceMappings": []})


# --- listed -------------------------------------------------------------------------------------------------------


def test_mappings_are_listed_by_source_and_function_page_by_page(world: World) -> None:  # C.1
    of_f = world.create(KAFKA, Enabled=False)
    of_g = world.create({**KAFKA, "FunctionName": "g"}, Enabled=False)
    of_queue = world.create(MQ, Enabled=False)

    def listed(**wanted: Any) -> set[str]:
        return {
            item["UUID"] for item in world.plane.sources.list_event_source_mappings(**wanted)["EventSourceMappings"]
        }

    assert listed() == {of_f, of_g, of_queue}
    assert listed(event_source_arn=MQ_ARN) == {of_queue}
    assert listed(function_name="arn:aws:lambda:us-east-1:123456789012:function:g:$LATEST") == {of_g}
    first = world.plane.sources.list_event_source_mappings(max_items=2)
    rest = world.plane.sources.list_event_source_mappings(max_items=2, marker=first["NextMarker"])
    assert "NextMarker" not in rest
    pages = [item["UUID"] for answer_ in (first, rest) for item in answer_["EventSourceMappings"]]
    assert sorted(pages) == sorted([of_f, of_g, of_queue])
    assert refused(lambda: world.plane.sources.list_event_source_mappings(max_items=0))[:2] == (
        400,
        "ValidationException",
    )


def test_a_service_of_several_workers_refuses_changes(tmp_path: Path, world: World) -> None:
    plane = ControlPlane(world.template, Metrics(), SystemClock(), shares_of(world.template, 2)[0])
    assert "several workers" in refused(lambda: plane.sources.create_event_source_mapping(KAFKA))[2]
