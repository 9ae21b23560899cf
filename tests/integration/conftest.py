"""What tests with a running service share: its books, and what they count."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from contract.source_harnesses import KAFKA_CLIENTS
from integration.harness.ledger import Ledger
from integration.harness.runs import wait_until_gone
from integration.harness.service import KAFKA_CLIENT
from secure_brokers import CERTIFICATE, SCRAM

DOORS = {"kafka": ["", SCRAM, CERTIFICATE], "rabbitmq": ["", "TLS"]}
"""How the program gets into a broker; the first is the open one."""
BOTH = [("", ""), (SCRAM, "TLS"), (CERTIFICATE, "TLS")]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests that are marked `secure` run on secure brokers, too; with POLLER_SECURE=full all run there, and only there."""
    full = os.environ.get("POLLER_SECURE") == "full"
    if not (full or metafunc.definition.get_closest_marker("secure")):
        return
    wanted = [name for name in DOORS if name in metafunc.fixturenames]
    values: Sequence[object] = BOTH if len(wanted) > 1 else DOORS[wanted[0]] if wanted else []
    if wanted:
        ids = [f"{value if isinstance(value, str) else value[0]}" or "open" for value in values]
        start = 1 if full else 0
        metafunc.parametrize(",".join(wanted), values[start:], indirect=True, ids=ids[start:], scope="session")


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
