"""A login that was refused is read anew before the next try (D.1.3, D.2), for sources and for dead letters."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from pathlib import Path

import pytest
from scripted import Rig
from templates import (
    PROVISIONED,
    SECRET,
    _transform_in_process,  # noqa: F401 - a fixture
    document,
    load,
)

from poller.assembly import source_of
from poller.destinations.renewing import RenewingDestination
from poller.endpoints import FileTarget, KafkaTarget, RabbitMQTarget, Target
from poller.errors import DestinationError, DestinationLoginRefused, SourceRejected, SourceUnavailable
from poller.model import DeadLetter
from poller.resources import EventSourceMapping
from poller.template import Template
from poller.wiring import with_login_read_anew

LOGIN = "arn:aws:secretsmanager:us-east-1:000000000000:secret:login"
SCRAM = [{"Type": "SASL_SCRAM_512_AUTH", "URI": LOGIN}]


@pytest.fixture
def loaded(tmp_path: Path) -> Template:
    """A Kafka and an MQ mapping whose passwords stand in files, and dead letters at their own brokers."""
    (tmp_path / "kafka.json").write_text(json.dumps({"username": "u", "password": "at first"}))
    (tmp_path / "password").write_text("at first\n")
    readings = {
        "SourceAccessConfigurations": SCRAM,
        "ProvisionedPollerConfig": PROVISIONED,
        "DestinationConfig": {"OnFailure": {"Destination": "kafka://dead"}},
    }
    settings = {
        "Secrets": {LOGIN: {"File": "kafka.json"}, SECRET: {"username": "u", "password": {"File": "password"}}},
        "EventSources": {"Tasks.Queue": {"MaximumRetryAttempts": 1, "OnFailure": "amqp:////dead"}},
    }
    return load(tmp_path, document(readings=readings, settings=settings))


def rotate(folder: Path) -> None:
    (folder / "kafka.json").write_text(json.dumps({"username": "u", "password": "rotated"}))
    (folder / "password").write_text("rotated\n")


def mappings(template: Template) -> tuple[EventSourceMapping, EventSourceMapping]:
    by_name = {mapping.name: mapping for mapping in template.mappings}
    return by_name["Telemetry.Readings"], by_name["Tasks.Queue"]


def test_the_loop_has_a_login_read_anew_before_each_try_after_a_refusal_and_at_no_other_time() -> None:
    rig = Rig()
    for failing, renewed in (
        (SourceUnavailable("no broker"), 0),
        (SourceRejected("no such topic"), 0),
        (SourceRejected("wrong password", code="EVENT_SOURCE_AUTHN_ERROR"), 0),  # refused now, read anew next time
        (SourceUnavailable("no broker"), 1),
        (None, 2),  # it is still the refusal that it comes back from
        (None, 2),
    ):
        rig.source.failing = failing
        try:
            rig.poller.open()
        except (SourceUnavailable, SourceRejected) as problem:
            rig.poller._suspend(problem, 0)
        assert rig.source.logins_renewed == renewed, failing


@pytest.mark.parametrize("in_a_worker", [False, True])
def test_what_the_files_hold_now_is_the_login_of_mapping_and_dead_letters(
    loaded: Template, tmp_path: Path, in_a_worker: bool
) -> None:
    template: Template = pickle.loads(pickle.dumps(loaded)) if in_a_worker else loaded
    kafka, queue = mappings(template)
    assert kafka.security.password == "at first"
    rotate(tmp_path)
    kafka_now = with_login_read_anew(kafka, template.settings)
    queue_now = with_login_read_anew(queue, template.settings)
    assert kafka_now is not None
    assert kafka_now.security.password == "rotated"
    assert isinstance(kafka_now.on_failure, KafkaTarget)
    assert kafka_now.on_failure.security == kafka_now.security
    assert queue_now is not None
    assert queue_now.broker_url is not None
    assert queue_now.broker_url.get_secret_value() == "amqp://u:rotated@127.0.0.1:5672/%2F"
    assert isinstance(queue_now.on_failure, RabbitMQTarget)
    assert queue_now.on_failure.broker_url == queue_now.broker_url
    changed = {"security", "broker_url", "on_failure"}
    for before, now in ((kafka, kafka_now), (queue, queue_now)):
        assert now.model_copy(update={name: getattr(before, name) for name in changed}) == before


def test_the_next_open_of_a_source_uses_the_login_read_anew(loaded: Template, tmp_path: Path) -> None:
    kafka, queue = mappings(loaded)
    for mapping, client in ((kafka, "kafka-python"), (kafka, "confluent-kafka"), (queue, "auto")):
        source = source_of(mapping, 0, client, lambda mapping=mapping: with_login_read_anew(mapping, loaded.settings))
        rotate(tmp_path)
        source.renew_login()
        assert "rotated" in (
            source._settings.password if mapping is queue else source._settings.security.password  # type: ignore[attr-defined]
        )
        (tmp_path / "kafka.json").write_text("{")
        (tmp_path / "password").unlink()
        source.renew_login()  # what cannot be read does not take back what was read before
        assert "rotated" in (
            source._settings.password if mapping is queue else source._settings.security.password  # type: ignore[attr-defined]
        )


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "kafka.json cannot be read: No such file or directory"),
        ("top-secret", "must be a mapping such as"),
        ('{"username": "u", "passwort": "top-secret"}', "has no password"),
    ],
)
def test_a_secret_that_cannot_be_used_is_told_without_it_and_changes_nothing(
    loaded: Template, tmp_path: Path, content: str | None, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    kafka, _ = mappings(loaded)
    file = tmp_path / "kafka.json"
    file.unlink() if content is None else file.write_text(content)
    assert with_login_read_anew(kafka, loaded.settings) is None
    assert told in caplog.text
    assert f"Metadata.Poller.Secrets.{LOGIN}" in caplog.text
    assert "top-secret" not in caplog.text


def test_only_the_secrets_of_the_mapping_are_read(loaded: Template, tmp_path: Path) -> None:
    kafka, _ = mappings(loaded)
    (tmp_path / "password").unlink()  # RabbitMQ's
    rotate_kafka = {"username": "u", "password": "rotated"}
    (tmp_path / "kafka.json").write_text(json.dumps(rotate_kafka))
    assert with_login_read_anew(kafka, loaded.settings) is not None


class _Destination:
    def __init__(self, target: Target) -> None:
        self.target = target
        self.closed = False
        self.failing: DestinationError | None = None

    def send(self, letters: Sequence[DeadLetter]) -> None:
        if self.failing:
            raise self.failing

    def close(self) -> None:
        self.closed = True


def test_a_destination_is_made_anew_with_the_login_read_after_a_refusal() -> None:
    made: list[_Destination] = []
    first, second = FileTarget(Path("first")), FileTarget(Path("second"))
    answers: list[Target | None] = []

    def make(target: Target) -> _Destination:
        made.append(_Destination(target))
        return made[-1]

    destination = RenewingDestination(first, make, lambda: answers.pop(0))
    for failing in (DestinationError("away"), DestinationLoginRefused("wrong password")):
        made[0].failing = failing
        with pytest.raises(type(failing)):
            destination.send([])
        assert len(made) == 1
    answers += [None, first, second]
    for _ in range(2):  # it cannot be read, and then it is the same
        with pytest.raises(DestinationLoginRefused):
            destination.send([])
        assert [one.target for one in made] == [first]
    destination.send([])
    destination.send([])
    assert [one.target for one in made] == [first, second]
    assert made[0].closed
    assert answers == []
