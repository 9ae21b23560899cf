"""Saving a function's code runs it anew from the next invocation on, and disturbs nothing that is in work."""

import json
import shutil
import threading
from pathlib import Path

import pytest
from handlers.rig import Gate, is_running, wait_until_gone
from unit.test_pool import Answers, submit

from poller.model import FunctionConfiguration
from poller.reloading import CodeWatch, is_code
from poller.runtime.pool import FunctionPool


@pytest.fixture
def pool():
    made = []

    def make(folder, handler="app.handler", **configuration):
        function = FunctionConfiguration("fn", folder, handler, **{"timeout": 30.0, **configuration})
        made.append(FunctionPool(function, log=lambda *_: None))
        made[-1].start()
        return made[-1]

    yield make
    for one in made:
        one.stop()
        assert one.stats().environments == 0


def save(folder, text):
    (folder / "app.py").write_text(f"import os\ndef handler(event, context):\n    return [{text!r}, os.getpid()]\n")


def asked(pool, answers, count):
    submit(pool, answers)
    return json.loads(answers.wait(count)[-1].payload)


def test_an_idle_environment_is_stopped_and_the_next_invocation_runs_the_new_code(pool, tmp_path):
    save(tmp_path, "old")
    one, answers = pool(tmp_path), Answers()
    text, pid = asked(one, answers, 1)
    assert text == "old"
    save(tmp_path, "newer code")
    one.reload()
    wait_until_gone(pid)
    assert asked(one, answers, 2)[0] == "newer code"
    assert one.stats().cold_starts == 2


def test_what_is_in_work_ends_where_it_is_and_what_waits_runs_in_a_new_environment(pool, tmp_path):
    gate = Gate(tmp_path)
    one, answers = pool(tmp_path, "gate.handler", reserved_concurrent_executions=1), Answers()
    for name in "abc":  # b and c lie in the pipe behind a
        submit(one, answers, event=gate.event(name), request_id=name)
    gate.entered("a")
    one.reload()
    assert one.stats().waiting == 2
    gate.open("a", "b", "c")
    pids = {result.request_id: json.loads(result.payload) for result in answers.wait(3)}
    assert answers.statuses == [200, 200, 200]
    assert [result.request_id for result in answers.results] == ["a", "b", "c"]
    assert pids["a"] != pids["b"] == pids["c"]
    wait_until_gone(pids["a"])
    assert (one.stats().environments, one.stats().cold_starts) == (1, 2)


def test_an_environment_that_has_nothing_more_to_do_after_a_reload_ends(pool, tmp_path):
    gate = Gate(tmp_path)
    one, answers = pool(tmp_path, "gate.handler"), Answers()
    submit(one, answers, event=gate.event("a"))
    gate.entered("a")
    one.reload()
    gate.open("a")
    wait_until_gone(json.loads(answers.wait(1)[0].payload))


def test_reloads_and_invocations_at_once_lose_nothing_and_repeat_nothing(pool, tmp_path):
    save(tmp_path, "x")
    one, answers = pool(tmp_path, reserved_concurrent_executions=2), Answers()
    ended = threading.Event()

    def reload_again_and_again():
        while not ended.is_set():
            one.reload()
            ended.wait(0.02)

    thread = threading.Thread(target=reload_again_and_again)
    thread.start()
    for number in range(60):
        submit(one, answers, request_id=str(number))
    try:
        answers.wait(60)
    finally:
        ended.set()
        thread.join()
    assert sorted(int(result.request_id) for result in answers.results) == list(range(60))
    assert set(answers.statuses) == {200}


def test_a_stop_right_after_a_reload_leaves_no_process(pool, tmp_path):
    gate = Gate(tmp_path)
    one, answers = pool(tmp_path, "gate.handler", reserved_concurrent_executions=1), Answers()
    submit(one, answers, event=gate.event("a"))
    gate.entered("a")
    submit(one, answers, event=gate.event("b"))
    one.reload()
    one.stop()
    assert sorted(result.status for result in answers.wait(2)) == [500, 500]


@pytest.mark.parametrize(
    ("changed", "is_it"),
    [
        ("app.py", True),
        ("lib/prices.json", True),
        ("sub/deep/x.toml", True),
        ("__pycache__/app.cpython-313.pyc", False),
        ("__pycache__", False),
        ("lib/__pycache__", False),
        (".", False),
        ("lib/x.pyc", False),
        (".git/index", False),
        ("node_modules/a/index.js", False),
        (".app.py.swp", False),
        ("4913", False),
        ("app.py~", False),
        ("#app.py#", False),
        (".#app.py", False),
        (".poller/logs/aws/lambda/fn/2025", False),
        ("../other/app.py", False),
    ],
)
def test_what_is_code_and_what_changes_by_itself(changed, is_it):
    folder = Path("/srv/app")
    path = Path("/srv/other/app.py") if changed.startswith("..") else folder / changed
    assert is_code(path, folder, folder / ".poller") is is_it


class Counting:
    def __init__(self, name):
        self.configuration = FunctionConfiguration(name, Path(), "app.handler")
        self.reloads = 0

    def reload(self):
        self.reloads += 1


def test_only_functions_whose_folder_changed_are_reloaded(tmp_path, caplog):
    caplog.set_level("INFO")
    folders = [tmp_path / name for name in ("a", "b")]
    for folder in folders:
        folder.mkdir()
    first, second, other = Counting("first"), Counting("second"), Counting("other")
    changes = [[folders[0] / "app.py", folders[0] / "lib.py"], [folders[0] / "x.pyc"], [folders[1] / "app.py"]]
    watch = CodeWatch({folders[0]: [first, second], folders[1]: [other]}, tmp_path / ".poller", lambda *_: changes)
    watch._run()
    assert (first.reloads, second.reloads, other.reloads) == (1, 1, 1)
    assert "saved: app.py and 1 more; the next invocation runs it" in caplog.text


def test_a_system_without_watches_costs_a_warning_and_no_more(tmp_path, caplog):
    def full(*_):
        raise OSError(28, "no watches left")

    CodeWatch({tmp_path: [Counting("fn")]}, tmp_path / ".poller", full)._run()
    assert "changes need a restart" in caplog.text


def test_a_handlers_own_compiled_files_do_not_reload_it(pool, tmp_path):
    save(tmp_path, "steady")
    one, answers, seen = pool(tmp_path), Answers(), []

    class Watch(CodeWatch):
        def _reload(self, changed):
            seen.extend(changed)
            super()._reload(changed)

    watch = Watch({tmp_path: [one]}, tmp_path / ".poller")
    watch.start()
    try:
        number = 0
        while not any("__pycache__" in path.parts for path in seen):  # watching begins a moment after the start
            number += 1
            asked(one, answers, number)
            shutil.rmtree(tmp_path / "__pycache__", ignore_errors=True)
            assert number < 100
            threading.Event().wait(0.1)
        assert one.generation == 0
    finally:
        watch.stop()


def test_a_file_that_is_saved_reloads_by_itself(pool, tmp_path):
    save(tmp_path, "old")
    one, answers = pool(tmp_path), Answers()
    pid = asked(one, answers, 1)[1]
    watch = CodeWatch({tmp_path: [one]}, tmp_path / ".poller")
    watch.start()
    try:
        # Written again until it is seen: watching begins a moment after the start.
        number = 0
        while is_running(pid):
            number += 1
            save(tmp_path, "new " + "x" * number)
            threading.Event().wait(0.1)
            assert number < 100
        assert asked(one, answers, 2)[0].startswith("new ")
    finally:
        watch.stop()
    assert not watch._thread.is_alive()
