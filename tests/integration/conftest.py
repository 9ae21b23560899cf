"""What tests with a running service share: its books, and what they count."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from async_rig import Rig
from brokers import RabbitMQBroker
from contract.source_harnesses import KAFKA_CLIENTS, Calls
from integration.harness.ledger import Ledger
from integration.harness.runs import wait_until_gone
from integration.harness.service import KAFKA_CLIENT
from secure_brokers import CERTIFICATE, SCRAM

from poller.async_invoke.configuration import AsyncConfiguration
from poller.sources.rabbitmq import RabbitMQSource

OPEN, TLS = "", "TLS"
DOORS = (SCRAM, CERTIFICATE)
"""How the program gets into a Kafka with logins. RabbitMQ has one door beside the open one."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests that are marked `secure` run on secure brokers, too; with POLLER_SECURE=full all run there, and only there.

    The marker may name doors of Kafka; else it is all of them.
    """
    marker = metafunc.definition.get_closest_marker("secure")
    full = os.environ.get("POLLER_SECURE") == "full"
    wanted = [name for name in ("kafka", "rabbitmq") if name in metafunc.fixturenames]
    if not wanted or not (full or marker):
        return
    doors = marker.args if marker and marker.args and not full else DOORS
    values = [(door, TLS)[: len(wanted)] for door in doors] if "kafka" in wanted else [(TLS,)]
    if not full:
        values.insert(0, (OPEN,) * len(wanted))
    ids = [value[0] or "open" for value in values]
    metafunc.parametrize(wanted, values, indirect=True, ids=ids, scope="session")


@pytest.fixture(params=list(KAFKA_CLIENTS))
def kafka_client(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each of the clients that the setting `KafkaClient` names, for tests of what may depend on it."""
    client: str = request.param
    monkeypatch.setenv(KAFKA_CLIENT, client)
    return client


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> Callable[..., None]:
    def record(**counts: object) -> None:
        for name, count in counts.items():
            record_property(name, count)
        print(", ".join(f"{name}: {count}" for name, count in counts.items()))

    return record


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """The books; when the test is over no handler may be left behind."""
    kept = Ledger(tmp_path)
    yield kept
    wait_until_gone(kept)


@pytest.fixture
def opened_queue(rabbitmq: RabbitMQBroker) -> Iterator[Callable[..., RabbitMQSource]]:
    """Opens sources of queues that are closed when the test is over."""
    sources = []

    def open_one(queue: str, **settings: Any) -> RabbitMQSource:
        source = RabbitMQSource(rabbitmq.settings(queue, **settings))
        sources.append(source)
        source.open(Calls().listener())
        return source

    yield open_one
    for source in sources:
        source.close()


@pytest.fixture
def sharing(tmp_path: Path, rabbitmq: RabbitMQBroker) -> Iterator[Callable[..., Rig]]:
    """Makes programs; those with the same `account` share their queues."""
    logging.getLogger("pika").setLevel(logging.CRITICAL)  # as the program does
    made: list[Rig] = []

    def make(
        configuration: AsyncConfiguration | None = None,
        *,
        name: str = "one",
        start: bool = True,
        reserved: int | None = None,
        **values: Any,
    ) -> Rig:
        folder = tmp_path / name
        folder.mkdir()
        one = Rig(folder, **{"queue": rabbitmq.url, **values})
        one.add("fn", configuration, reserved_concurrent_executions=reserved)
        made.append(one)
        if start:
            one.start()
        return one

    yield make
    for one in made:
        one.stop()
