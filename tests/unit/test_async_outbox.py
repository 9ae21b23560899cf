"""Records on their way: what is lost as its destination refuses it for good, and a login that changes (B.3)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from async_rig import Rig, in_file
from waiting import eventually

from poller.async_invoke.configuration import AsyncConfiguration, AsyncDestination
from poller.destinations.memory import MemoryDestination
from poller.endpoints import KafkaTarget
from poller.errors import DestinationLoginRefused, DestinationRefused
from poller.model import DeadLetter
from poller.sources.kafka_security import KafkaSecurity

Make = Callable[[AsyncConfiguration], Rig]


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Make]:
    made: list[Rig] = []

    def make(configuration: AsyncConfiguration) -> Rig:
        one = Rig(tmp_path)
        one.add("fn", configuration)
        made.append(one)
        one.start()
        return one

    yield make
    for one in made:
        one.stop()


class Narrow(MemoryDestination):
    """Takes nothing over 2,000 bytes."""

    def send(self, letters: Sequence[DeadLetter]) -> None:
        if any(len(letter.body) > 2000 for letter in letters):
            raise DestinationRefused("too large", "Record")
        super().send(letters)


class Closed(MemoryDestination):
    def send(self, letters: Sequence[DeadLetter]) -> None:
        raise DestinationLoginRefused("wrong password")


def test_a_record_that_its_destination_refuses_for_good_is_lost_and_the_next_one_is_not(
    rig: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:  # B.3
    narrow = Narrow()
    monkeypatch.setattr("poller.async_invoke.outbox.destination_of", lambda _: narrow)
    one = rig(AsyncConfiguration(on_success=in_file(tmp_path / "done")))
    large = one.accept("fn", {"padding": "x" * 2000})
    eventually(lambda: "is lost" in caplog.text)
    small = one.accept("fn", {"number": 1})
    eventually(lambda: narrow.letters and not one.waiting())
    assert [json.loads(letter.body)["requestContext"]["requestId"] for letter in narrow.letters] == [small]
    assert one.metric("destination_delivery_failures_total", "fn") == 1
    assert f"{large}: its record for OnSuccess of fn" in caplog.text
    assert "xxx" not in caplog.text


def test_a_login_that_is_refused_is_read_anew_before_the_record_is_sent_again(
    rig: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = KafkaTarget(("127.0.0.1:9092",), "done", KafkaSecurity(username="fn", password="old"))
    newer = replace(before, security=KafkaSecurity(username="fn", password="new"))
    topic = MemoryDestination()
    behind = {before: Closed(), newer: topic}
    monkeypatch.setattr("poller.async_invoke.outbox.destination_of", behind.__getitem__)
    one = rig(AsyncConfiguration(on_success=AsyncDestination(before, renewed=lambda: newer)))
    one.accept("fn", {"number": 1})
    eventually(lambda: topic.letters and not one.waiting())
    assert one.metric("destination_delivery_failures_total", "fn") == 1
