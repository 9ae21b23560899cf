"""docker-compose.yml gives its containers no more than they need."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
OURS = [name for name, service in SERVICES.items() if service["image"] == "poller"]
BROKERS = {"kafka": None, "rabbitmq": "rabbitmq"}
"""The user each has to be told; Kafka's image names one itself."""


def user_of_the_image() -> str:
    stages = (ROOT / "Dockerfile").read_text().split("\nFROM ")
    return [line.partition(" ")[2] for line in stages[-1].splitlines() if line.startswith("USER ")][-1]


def test_the_image_runs_as_a_user_without_rights() -> None:
    assert user_of_the_image() == "poller"
    assert "useradd --system --uid 10001" in (ROOT / "Dockerfile").read_text()


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_has_no_capabilities_and_can_gain_none(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not service.keys() & {"privileged", "devices", "pid", "ipc", "network_mode", "userns_mode", "cgroup"}


@pytest.mark.parametrize("name", OURS)
def test_a_container_of_ours_writes_to_its_own_folders_only_and_is_not_root(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["tmpfs"] == ["/tmp"]
    assert service.get("user", "poller") not in {"root", "0"}
    for volume in service.get("volumes", []):
        assert volume.endswith(":ro") or volume.startswith(("results:", "state:"))


def test_the_brokers_are_not_root() -> None:
    assert SERVICES.keys() - OURS == BROKERS.keys()
    assert {name: SERVICES[name].get("user") for name in BROKERS} == BROKERS


@pytest.mark.parametrize("name", SERVICES)
def test_every_port_is_published_on_this_machine_only(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


@pytest.mark.parametrize("name", SERVICES)
def test_no_container_gets_the_engine_s_socket(name: str) -> None:
    assert not any("docker.sock" in volume for volume in SERVICES[name].get("volumes", []))
