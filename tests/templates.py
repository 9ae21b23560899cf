"""Templates for tests: a good one in parts that a test replaces, and a quick way to what is wrong with one."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from poller import sam, template
from poller.errors import ConfigError, Problem
from poller.runtime.toolchains import machine
from poller.template import Template

BROKER = "arn:aws:mq:us-east-1:000000000000:broker:tasks:b-1"
SECRET = "arn:aws:secretsmanager:us-east-1:000000000000:secret:tasks"
NO_LOGIN = [
    {"Type": "VPC_SUBNET", "URI": "subnet:subnet-0"},
    {"Type": "VPC_SECURITY_GROUP", "URI": "security_group:sg-0"},
]
PROVISIONED = {"MinimumPollers": 1, "MaximumPollers": 1}

READINGS = {
    "KafkaBootstrapServers": ["127.0.0.1:19092"],
    "Topics": ["telemetry"],
    "SourceAccessConfigurations": NO_LOGIN,
}
QUEUE = {
    "Broker": BROKER,
    "Queues": ["tasks"],
    "SourceAccessConfigurations": [{"Type": "BASIC_AUTH", "URI": SECRET}],
}
SETTINGS = {
    "Endpoints": {BROKER: "amqp://127.0.0.1:5672"},
    "Secrets": {SECRET: {"username": "guest", "password": "top-secret"}},
}


def document(
    *,
    readings: Mapping[str, Any] | None = None,
    queue: Mapping[str, Any] | None = None,
    function: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    resources: Mapping[str, Any] | None = None,
    **sections: Any,
) -> dict[str, Any]:
    """A template whose Telemetry reads Kafka and whose Tasks reads RabbitMQ; what is given is added or replaced.

    A value of `...` takes a property away.
    """
    common = {"CodeUri": "code", "Handler": "app.handler", "Runtime": "python3.13"}
    whole = {
        "Transform": sam.TRANSFORM,
        "Metadata": {"Poller": _with(SETTINGS, settings)},
        "Resources": {
            "Telemetry": {
                "Type": sam.FUNCTION,
                "Properties": {
                    **_with(common, function),
                    "Events": {"Readings": {"Type": "SelfManagedKafka", "Properties": _with(READINGS, readings)}},
                },
            },
            "Tasks": {
                "Type": sam.FUNCTION,
                "Properties": {**common, "Events": {"Queue": {"Type": "MQ", "Properties": _with(QUEUE, queue)}}},
            },
            **(resources or {}),
        },
    }
    return copy.deepcopy(_with(whole, sections))


def _with(values: Mapping[str, Any], changes: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: value for name, value in {**values, **(changes or {})}.items() if value is not ...}


def write(folder: Path, content: Mapping[str, Any] | str) -> Path:
    """The template's file, beside a folder `code` with app.py in it."""
    (folder / "code").mkdir(exist_ok=True)
    (folder / "code" / "app.py").write_text("def handler(event, context):\n    return event\n")
    path = folder / "template.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(dict(content), sort_keys=False))
    return path


def load(folder: Path, content: Mapping[str, Any] | str, **options: Any) -> Template:
    return template.load(write(folder, content), **{"environment": {}, **options})


def problems(folder: Path, content: Mapping[str, Any] | str, **options: Any) -> list[str]:
    """Everything that is wrong, as a person reads it; the folder's own path is taken out."""
    with pytest.raises(ConfigError) as caught:
        load(folder, content, **options)
    return [
        str(problem).replace(f"{folder}", "FOLDER").replace(machine(), "MACHINE") for problem in caught.value.problems
    ]


class TranslatorInProcess:
    """AWS's transform without a child process: one import for all tests."""

    def __init__(self, region: str) -> None:
        pass

    def close(self) -> None:
        pass

    def translate(self, content: Mapping[str, Any]) -> sam.Translation:
        answer = sam._translate(json.loads(json.dumps(content)))
        functions = {name: list(sam._events(resource)) for name, resource in content["Resources"].items()}
        found: tuple[Problem, ...] = tuple(sam._problem(fault, functions) for fault in answer["faults"])
        return sam.Translation(answer["resources"], found)


@pytest.fixture(autouse=True)
def _transform_in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setattr(template, "Translator", TranslatorInProcess)
