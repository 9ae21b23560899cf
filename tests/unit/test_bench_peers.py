"""Floors and peers of the bench do the same job as the program: the same event, the same handler, nothing skipped."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from poller import events
from tests.bench import floor_kafka, peers
from tests.bench.peers import adapter, loading

ADDRESS = "127.0.0.1:19092"
VALUES = ['{"temperature": 21.5}', "Zürich, and a few bytes more"]
ROWS = [(number, events.TIMESTAMP + number, b"device", value.encode()) for number, value in enumerate(VALUES)]


def event_of_the_program() -> Any:
    return json.loads(events.kafka_event(topic="readings", values=VALUES, key="device", bootstrap_servers=ADDRESS))


class Handler:
    """Answers when it is asked, and remembers how many events were unanswered at most."""

    def __init__(self) -> None:
        self.waiting = 0
        self.most = 0
        self.answered = 0

    def send(self, event: bytes) -> None:
        self.waiting += 1
        self.most = max(self.most, self.waiting)

    def receive(self) -> bytes:
        assert self.waiting, "nothing is on its way"
        self.waiting -= 1
        self.answered += 1
        return b"null"


def test_the_event_of_the_floor_is_that_of_the_program() -> None:
    event = floor_kafka.encode(floor_kafka.event_head(ADDRESS), "readings", 0, ROWS)
    assert json.loads(event) == event_of_the_program()


def test_the_event_of_the_python_peers_is_that_of_the_program() -> None:
    assert loading.build_event(ADDRESS, "readings", [(0, *row) for row in ROWS]) == event_of_the_program()


@pytest.mark.parametrize(
    ("size", "batches", "left"), [(2, [[1, 2], [3, 4]], [5]), (5, [[1, 2, 3, 4, 5]], []), (6, [], [1, 2, 3, 4, 5])]
)
def test_batches_are_full_and_the_rest_waits(size: int, batches: list[list[int]], left: list[int]) -> None:
    buffer = [1, 2, 3, 4, 5]
    assert list(floor_kafka.cut(buffer, size)) == batches
    assert buffer == left


def test_a_batch_size_of_nothing_takes_all_there_is() -> None:
    buffer = [1, 2, 3]
    assert list(floor_kafka.cut(buffer, 0)) == [[1, 2, 3]]
    assert list(floor_kafka.cut(buffer, 0)) == []


def test_a_bare_loop_has_four_batches_on_their_way_at_most() -> None:
    handler = Handler()
    pipeline = floor_kafka.Pipeline(handler)  # type: ignore[arg-type]
    for number in range(10):
        pipeline.submit(b"{}", 0, number + 1)
    assert handler.most == floor_kafka.IN_FLIGHT == 4


def test_a_bare_loop_commits_after_a_second_and_only_what_was_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(floor_kafka.time, "monotonic", lambda: now)
    handler = Handler()
    pipeline = floor_kafka.Pipeline(handler)  # type: ignore[arg-type]
    pipeline.submit(b"{}", "a", 10)
    pipeline.submit(b"{}", "b", 5)
    pipeline.submit(b"{}", "a", 20)
    assert pipeline.due() == {}
    now = 101.0
    assert pipeline.due() == {"a": 20, "b": 5}
    assert handler.answered == 3
    now = 102.0
    assert pipeline.due() == {}  # nothing new


def test_the_child_of_benthos_calls_the_handler_once_an_event_and_answers_with_its_result(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(
        "def handler(event, context):\n    return [event['records'], context.get_remaining_time_in_millis() > 0, 'ä']\n"
    )
    payloads = [b'{"records": 1}', b'{"records": "' + b"x" * 3_000_000 + b'"}']
    child = subprocess.run(
        [sys.executable, adapter.__file__, "app.handler"],
        input=b"".join(struct.pack(">I", len(payload)) + payload for payload in payloads),
        stdout=subprocess.PIPE,
        env={**os.environ, "LAMBDA_TASK_ROOT": str(tmp_path)},
        check=True,
        timeout=60,
    )
    answers, output = [], child.stdout
    while output:
        (length,) = struct.unpack(">I", output[:4])
        answers.append(json.loads(output[4 : 4 + length]))
        output = output[4 + length :]
    assert answers == [[1, True, "ä"], ["x" * 3_000_000, True, "ä"]]


def test_benthos_gets_its_event_from_bloblang_unless_our_input_builds_it(tmp_path: Path) -> None:
    job = peers.Job(ADDRESS, "readings", "group", 100, tmp_path, tmp_path / "ledger")
    person = peers.benthos_configuration(job, whole_event=False)["pipeline"]["processors"]
    ours = peers.benthos_configuration(job, whole_event=True)["pipeline"]["processors"]
    assert [next(iter(processor)) for processor in person] == ["mapping", "archive", "mapping", "subprocess"]
    assert [next(iter(processor)) for processor in ours] == ["subprocess"]
    assert person[-1] == ours[-1]


def test_without_go_benthos_is_left_out_with_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    assert peers._benthos() == {}
    assert capsys.readouterr().err == "bench: Benthos is left out: there is no Go to build it with\n"


def test_what_cannot_be_installed_is_left_out_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(peers, "BUILD", tmp_path)
    monkeypatch.setattr(peers, "_run", lambda *_, **__: "no such package")
    assert peers._python() == {}
    assert capsys.readouterr().err.splitlines()[1:] == [
        "bench: FastStream and Arroyo are left out: they cannot be installed here: no such package"
    ]
