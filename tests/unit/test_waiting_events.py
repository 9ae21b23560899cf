"""`poller events`: what waits is listed, shown and purged, beside a running service and without one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from async_rig import Rig, in_file
from templates import _transform_in_process, document, write  # noqa: F401 - a fixture
from waiting import eventually

from poller.async_invoke.configuration import AsyncConfiguration
from poller.cli import main


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """One event waits for its second attempt, and one record for a folder that is not there."""
    one = Rig(tmp_path, time_scale=1.0)
    one.add("fn", AsyncConfiguration(on_success=in_file(tmp_path / "missing" / "done")))
    one.start()
    yield one
    one.stop()


@pytest.fixture
def template(tmp_path: Path) -> Path:
    return write(tmp_path, document(Metadata={"Poller": {**document()["Metadata"]["Poller"], "StateFolder": "state"}}))


def answer(capsys: pytest.CaptureFixture[str], *arguments: str, template: Path) -> Any:
    assert main(["events", *arguments, "--json", "--template", str(template)]) == 0
    return json.loads(capsys.readouterr().out)


def test_events_and_records_that_wait_are_listed_shown_and_purged(
    rig: Rig, template: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    failing, done = rig.accept("fn", {"fail": "boom"}), rig.accept("fn", {"number": 1})
    eventually(lambda: rig.metric("destination_delivery_failures_total", "fn"))

    def listed() -> dict[str, dict[str, Any]]:
        return {line["RequestId"]: line for line in answer(capsys, "list", template=template)}

    eventually(lambda: listed()[failing]["Attempts"] == 1)
    assert (listed()[failing]["WaitsFor"], listed()[done]["WaitsFor"]) == ("attempt", "OnSuccess")
    shown = answer(capsys, "show", failing, template=template)
    assert (shown["Payload"], shown["LastStatus"]) == ({"fail": "boom"}, 200)
    assert shown["LastAnswer"]["errorMessage"] == "boom"
    assert answer(capsys, "show", done, template=template)["Record"]["responsePayload"] == {"done": 1}

    rig.stop()  # and the same without a service
    assert listed().keys() == {failing, done}
    assert main(["events", "list", "--template", str(template)]) == 0
    table = capsys.readouterr()
    assert failing in table.out
    assert "2 waiting in" in table.err
    assert main(["events", "show", failing, "--template", str(template)]) == 0
    assert 'LastAnswer: {"errorMessage": "boom"' in capsys.readouterr().out
    assert answer(capsys, "purge", "--request-id", done, "--yes", template=template) == {"Purged": 1}
    assert answer(capsys, "purge", "--function", "other", "--yes", template=template) == {"Purged": 0}
    assert main(["events", "purge", "--yes", "--template", str(template)]) == 0
    assert "purged: 1 from" in capsys.readouterr().out
    assert listed() == {}


def test_an_event_that_is_purged_while_it_is_tried_leaves_nothing(
    rig: Rig, template: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rig.accept("fn", {"wait_for": str(tmp_path / "gate")})
    eventually(lambda: rig.attempts("fn"))
    assert answer(capsys, "purge", "--yes", template=template) == {"Purged": 1}
    (tmp_path / "gate").touch()
    rig.stop(drain=30)
    assert rig.waiting() == 0
    assert rig.metric("destination_delivery_failures_total", "fn") == 0


def test_nothing_waits_where_there_is_no_state(template: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert answer(capsys, "list", template=template) == []
    assert answer(capsys, "purge", "--yes", template=template) == {"Purged": 0}
    assert not (template.parent / "state").exists()


def test_what_cannot_be_done_is_told(template: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["events", "show", "nothing", "--template", str(template)]) == 2
    assert "no such event waits in" in capsys.readouterr().err
    assert main(["events", "purge", "--template", str(template)]) == 2
    assert "--yes: is missing" in capsys.readouterr().err
    (template.parent / "state").mkdir()
    (template.parent / "state" / "async.sqlite3").write_text("no database, and longer than a header is" * 30)
    assert main(["events", "list", "--template", str(template)]) == 1
    assert "file is not a database" in capsys.readouterr().err


def test_a_folder_that_is_not_there_is_told_with_its_count(
    template: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["events", "list", "--template", str(template)]) == 0
    assert f"0 waiting in {tmp_path / 'state'}, a folder that is not there" in capsys.readouterr().err
