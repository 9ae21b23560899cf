"""Mappings that calls made outlive a restart as they were; those of the template are the template's (C.1, C.2)."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_mapping_life import KAFKA, LOGIN, MQ, MQ_ARN, World, refused
from waiting import eventually

from poller.account.documents import ForgettingDocuments
from poller.account.store import StoredDocuments
from poller.clock import SystemClock
from poller.control_plane import ControlPlane
from poller.errors import StateError
from poller.metrics import Metrics
from poller.template import load

DECLARED = """
  E:
    Type: AWS::Lambda::EventSourceMapping
    Properties:
      FunctionName: !Ref g
      SelfManagedEventSource: {Endpoints: {KafkaBootstrapServers: ["b1:9092"]}}
      Topics: [orders]
      SourceAccessConfigurations: [{Type: BASIC_AUTH, URI: "LOGIN"}]
""".replace("LOGIN", LOGIN["URI"])


class Restarted(World):
    """A world that can start anew, from what is on the disk and a template that may have changed."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        super().__init__(folder, monkeypatch)
        self.plane.stop()
        self.documents = StoredDocuments(folder / "state")
        self.begin()

    def begin(self) -> None:
        self.plane = ControlPlane(self.template, Metrics(), SystemClock(), documents=self.documents)
        self.plane.start()

    def restart(self, *changes: tuple[str, str]) -> None:
        """Stop; start with these texts of the template replaced."""
        self.plane.stop()
        path = self.folder / "template.yaml"
        text = path.read_text()
        for before, after in changes:
            assert before in text
            text = text.replace(before, after)
        path.write_text(text)
        self.template = load(path, environment={})
        self.documents.close()
        self.documents = StoredDocuments(self.folder / "state")
        self.begin()

    def answer(self, uuid: str) -> dict[str, Any]:
        return self.plane.sources.get_event_source_mapping(uuid)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Restarted]:
    made = Restarted(tmp_path, monkeypatch)
    yield made
    made.plane.stop()
    made.documents.close()


def lasting(answer: dict[str, Any]) -> dict[str, Any]:
    """What a restart may not change: LastProcessingResult begins anew."""
    return {name: value for name, value in answer.items() if name not in {"State", "LastProcessingResult"}}


@pytest.mark.parametrize("request_", [KAFKA, MQ], ids=["Kafka", "MQ"])
def test_a_mapping_that_a_call_made_is_there_again(world: Restarted, request_: dict[str, Any]) -> None:  # C.1
    uuid = world.create(request_, BatchSize=7)
    world.update(uuid, BatchSize=8)
    before = world.answer(uuid)
    world.restart()
    assert lasting(world.answer(uuid)) == lasting(before)
    world.wait_for_state(uuid, "Enabled")
    values = [f"value {number}" for number in range(3)]
    (world.produce if request_ is KAFKA else world.publish)(*values)
    eventually(lambda: set(values) <= set(world.functions["f"].handled()))


def test_it_is_in_the_same_consumer_group_with_the_same_extensions_and_tags(world: Restarted) -> None:
    request = {**KAFKA, "Tags": {"team": "a"}}
    uuid = str(world.plane.sources.create_event_source_mapping(request, {"OnFailure": "file:letters"})["UUID"])
    world.wait_for_state(uuid, "Enabled")
    world.update(uuid, BatchSize=8)
    world.restart()
    assert world.answer(uuid)["SelfManagedKafkaEventSourceConfig"] == {"ConsumerGroupId": uuid}
    assert str(world.plane.sources.runners()[0].mapping.on_failure) == f"file:{world.folder}/letters"
    arn = world.answer(uuid)["EventSourceMappingArn"]
    assert world.plane.configs.tags.listed(arn) == {"Tags": {"team": "a"}}


def test_one_that_is_switched_off_stays_so_and_a_deleted_one_stays_away(world: Restarted) -> None:  # C.2
    off = world.create(MQ, Enabled=False)
    gone = world.create(KAFKA)
    world.plane.sources.delete_event_source_mapping(gone)  # and nobody waits until it has ended
    world.restart()
    assert world.state(off) == "Disabled"
    assert refused(lambda: world.answer(gone))[0] == 404


def test_one_whose_function_is_gone_stays_enabled_and_its_records_wait(world: Restarted) -> None:  # C.2
    uuid = world.create(MQ)
    world.restart(("Resources:\n  f:", "Resources:\n  h:"), ("FunctionName: f\n", "FunctionName: h\n"))
    world.wait_for_state(uuid, "Enabled")
    world.publish("one")
    assert world.answer(uuid)["FunctionArn"].endswith(":function:f")
    world.restart(("Resources:\n  h:", "Resources:\n  f:"), ("FunctionName: h\n", "FunctionName: f\n"))
    eventually(lambda: "one" in world.functions["f"].handled())


def test_one_whose_address_is_gone_from_the_settings_is_disabled_until_it_is_back(
    world: Restarted, caplog: pytest.LogCaptureFixture
) -> None:  # C.2
    uuid = world.create(MQ)
    address = f'Endpoints: {{"{MQ_ARN}": "amqp://mq:5672"}}'
    with caplog.at_level(logging.ERROR):
        world.restart((address, "Endpoints: {}"))
    assert f"no address is known for {MQ_ARN}" in caplog.text
    answer = world.answer(uuid)
    assert (answer["State"], answer["StateTransitionReason"]) == ("Disabled", "ESM_CONFIG_NOT_VALID")
    assert "no address is known" in refused(lambda: world.update(uuid, Enabled=True))[2]
    world.restart(("Endpoints: {}", address))
    world.wait_for_state(uuid, "Enabled")
    assert world.answer(uuid)["StateTransitionReason"] == "USER_INITIATED"


def test_the_template_s_mappings_are_the_template_s(world: Restarted) -> None:
    world.restart(("\nMetadata:", f"{DECLARED}\nMetadata:"))
    [mapping] = world.template.mappings
    text = f"The event source mapping {mapping.UUID} is declared by the template: change it there, or run with "
    refusal = (409, "ResourceConflictException", text + "--allow-drift.")
    sources = world.plane.sources
    assert refused(lambda: sources.update_event_source_mapping(mapping.UUID, {"BatchSize": 1})) == refusal
    assert refused(lambda: sources.delete_event_source_mapping(mapping.UUID)) == refusal
    assert world.answer(mapping.UUID)["BatchSize"] == 100


def test_with_allow_drift_they_are_changed_until_the_next_start(world: Restarted) -> None:
    world.restart(("\nMetadata:", f"{DECLARED}\nMetadata:"), ("Poller:", "Poller:\n    AllowDrift: true"))
    [mapping] = world.template.mappings
    world.wait_for_state(mapping.UUID, "Enabled")
    world.update(mapping.UUID, BatchSize=1)
    assert world.answer(mapping.UUID)["BatchSize"] == 1
    world.restart()
    assert world.answer(mapping.UUID)["BatchSize"] == 100
    world.wait_for_state(mapping.UUID, "Enabled")
    world.plane.sources.delete_event_source_mapping(mapping.UUID)
    world.restart()
    assert world.answer(mapping.UUID)["BatchSize"] == 100


def test_one_that_the_template_has_meanwhile_gives_way(world: Restarted, caplog: pytest.LogCaptureFixture) -> None:
    uuid = world.create(KAFKA, FunctionName="g")
    world.restart(("\nMetadata:", f"{DECLARED}\nMetadata:"))
    answer = world.answer(uuid)
    assert (answer["State"], answer["StateTransitionReason"]) == ("Disabled", "ESM_CONFIG_NOT_VALID")
    assert "already exists" in caplog.text


class Full(ForgettingDocuments):
    """Its disk can be full."""

    is_full = False

    def change(self, changes: Any) -> None:
        if self.is_full:
            raise StateError("no space left")
        super().change(changes)


def test_what_cannot_be_kept_is_not_done(world: Restarted) -> None:
    world.plane.stop()
    documents = Full()
    world.plane = plane = ControlPlane(world.template, Metrics(), SystemClock(), documents=documents)
    plane.start()
    uuid = world.create(MQ)
    before = world.answer(uuid)
    documents.is_full = True
    with pytest.raises(StateError):
        plane.sources.create_event_source_mapping({**KAFKA, "Tags": {"a": "b"}})
    with pytest.raises(StateError):
        plane.sources.update_event_source_mapping(uuid, {"BatchSize": 1})
    with pytest.raises(StateError):
        plane.sources.delete_event_source_mapping(uuid)
    assert plane.sources.list_event_source_mappings()["EventSourceMappings"] == [before]
    documents.is_full = False
    world.update(uuid, BatchSize=1)
