"""EphemeralStorage: one file cannot outgrow it, and a folder that did ends its environment (E.3)."""

import json
import os
import re

import pytest
from handlers.rig import HANDLERS, Function, error_of, exited
from unit.test_pool import Answers, submit

from poller.function_pools import FunctionPools
from poller.model import FunctionConfiguration
from poller.runtime import ephemeral_storage
from poller.runtime.ephemeral_storage import StorageCount, sizes
from poller.settings import Settings


@pytest.fixture(params=["poller", "aws"])
def function(request):
    made = []

    def make(handler, **configuration):
        made.append(Function(handler, runtime_client=request.param, timeout=20.0, **configuration))
        return made[-1]

    yield make
    for one in made:
        one.environment.stop(grace=0)


def test_a_file_that_would_be_longer_than_the_storage_cannot_be_written_and_the_function_goes_on(function):
    fn = function("greedy.write_at", ephemeral_storage=600)
    assert json.loads(fn.invoke(599).payload) == 1
    started = fn.environment.cold_starts
    assert json.loads(fn.invoke(600).payload) == "EFBIG"  # ENOSPC on Lambda
    assert json.loads(fn.invoke(10).payload) == 1
    assert fn.environment.cold_starts == started


def test_an_environment_whose_folder_holds_more_is_ended_and_the_folder_emptied(tmp_path, caplog):
    pools = FunctionPools(Settings(Reload="false"), tmp_path, None)
    one = pools.make(FunctionConfiguration("fn", HANDLERS, "greedy.fill", timeout=60.0), 1)
    one.start()
    pools.start(lambda: [one])
    answers = Answers()
    try:
        submit(one, answers, request_id="id-1", event=[300, 300])
        assert error_of(answers.wait(1)[0]) == exited("with error: signal: killed")
        submit(one, answers, request_id="id-2", event=[])
        assert json.loads(answers.wait(2)[1].payload) == []
    finally:
        pools.stop()
        one.stop()
    assert re.search(r"killed an environment that has 60\d MB in its temporary folder, more than 512 MB", caplog.text)


def test_what_is_on_the_disk_counts_once_whatever_it_is_called(tmp_path):
    inner = tmp_path / "a/b"
    inner.mkdir(parents=True)
    (inner / "file").write_bytes(bytes(100_000))
    one_name = sum(sizes(tmp_path))
    assert 100_000 <= one_name < 200_000
    os.link(inner / "file", tmp_path / "second")
    (tmp_path / "link").symlink_to("/usr")
    (tmp_path / "loop").symlink_to(tmp_path)
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(10**9)
    assert one_name <= sum(sizes(tmp_path)) < one_name + 50_000
    assert list(sizes(tmp_path / "gone")) == []


def test_a_folder_is_counted_once_a_second_and_less_often_when_that_takes_long(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(bytes(10_000))
    clock = iter(range(1000))
    monkeypatch.setattr(ephemeral_storage, "perf_counter", lambda: next(clock) / 1000)  # each look takes 2 ms of it
    count = StorageCount()
    assert count.look(tmp_path, 100.0) >= 10_000
    assert count.look(tmp_path, 100.9) is None
    assert count.look(tmp_path, 101.0) >= 10_000
    monkeypatch.setattr(ephemeral_storage, "perf_counter", lambda: float(next(clock)))
    assert count.look(tmp_path, 102.0) >= 10_000
    assert count.look(tmp_path, 150.0) is None  # a second of work is 2 % of fifty
    assert count.look(tmp_path, 153.0) >= 10_000


def test_a_large_folder_is_counted_a_little_at_a_time(tmp_path, monkeypatch):
    for number in range(200):
        (tmp_path / str(number)).write_bytes(b"x")
    monkeypatch.setattr(ephemeral_storage, "_SLICE", -1.0)
    count = StorageCount()
    found = [count.look(tmp_path, 100.0) for _ in range(4)]
    assert found == [None, None, None, sum(sizes(tmp_path))]
