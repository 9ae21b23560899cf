"""What tests with a running service share: its books, and what they count."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from contract.source_harnesses import KAFKA_CLIENTS
from integration.harness.ledger import Ledger
from integration.harness.runs import wait_until_gone
from integration.harness.service import KAFKA_CLIENT


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
