"""Asynchronous events of versions and aliases: each by its own configuration, to its own destinations (B.1, B.2)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from async_rig import Rig, in_file, lines
from waiting import eventually

from poller.async_invoke.configuration import AsyncConfiguration
from poller.async_invoke.lanes import AsyncFunction
from poller.async_invoke.waiting import WaitingEvents


def alias(rig: Rig, name: str, configuration: AsyncConfiguration) -> None:
    """Of `fn`; what runs is the same code."""
    of = rig.functions["fn"]
    rig.functions[f"fn:{name}"] = AsyncFunction(of.function, configuration, of.pool)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    one = Rig(tmp_path)
    one.add("fn", AsyncConfiguration(on_success=in_file(tmp_path / "latest")))
    alias(one, "live", AsyncConfiguration(maximum_retry_attempts=0, on_failure=in_file(tmp_path / "live")))
    one.start()
    yield one
    one.stop()


def test_an_event_of_an_alias_is_treated_by_the_alias_s_configuration(rig: Rig, tmp_path: Path) -> None:  # B.2
    rig.accept("fn", {"fail": "boom"}, qualifier="live")
    rig.accept("fn", {"number": 1})
    [record] = eventually(lambda: lines(tmp_path / "live"))
    assert record["requestContext"]["functionArn"].endswith(":fn:live")
    assert record["requestContext"]["approximateInvokeCount"] == 1
    [record] = eventually(lambda: lines(tmp_path / "latest"))
    assert record["requestContext"]["functionArn"].endswith(":fn:$LATEST")
    eventually(lambda: not rig.waiting())


def test_its_records_wait_under_its_name_and_are_counted_for_the_function(rig: Rig, tmp_path: Path) -> None:
    alias(rig, "away", AsyncConfiguration(on_success=in_file(tmp_path / "missing" / "done")))
    rig.accept("fn", {"number": 1}, qualifier="away")
    eventually(lambda: rig.metric("destination_delivery_failures_total", "fn"))
    waiting = WaitingEvents(tmp_path / "state")
    assert [(one.function, one.waits_for) for one in waiting.lines("fn", 10)] == [("fn:away", "OnSuccess")]
    assert (waiting.count("fn", None), waiting.count("f", None), waiting.count(None, None)) == (1, 0, 1)
    assert waiting.purge("fn", None) == 1


def test_an_event_whose_version_was_deleted_does_not_run_on_another_one(rig: Rig, tmp_path: Path) -> None:
    alias(rig, "7", AsyncConfiguration())
    gate = tmp_path / "gate"
    rig.accept("fn", {"fail_until": str(gate)}, qualifier="7")
    eventually(lambda: rig.written_down() >= 1)
    version = rig.functions.pop("fn:7")
    before = len(rig.attempts("fn"))
    gate.touch()
    rig.accept("fn", {"number": 2})
    eventually(lambda: lines(tmp_path / "latest"))
    assert [one["event"] for one in rig.attempts("fn")[before:] if "number" not in one["event"]] == []
    rig.functions["fn:7"] = version
    eventually(lambda: not rig.waiting())
    assert rig.attempts("fn")[-1]["arn"].endswith(":fn:7")
