"""Saving a function's code runs it anew from the next invocation on, and disturbs nothing that is in work."""

import itertools
import json
import queue
import shutil
import threading
from pathlib import Path

import pytest
from api_service import template_of
from handlers.rig import HANDLERS, Gate, is_running, wait_until_gone
from packages import request
from scripted import FakeClock
from unit.test_pool import Answers, submit
from waiting import eventually

from poller.account.function_requests import LOCAL_FOLDER
from poller.control_plane import ControlPlane
from poller.metrics import Metrics
from poller.model import FunctionConfiguration, Invocation
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
    for number in range(24):
        submit(one, answers, request_id=str(number))
    try:
        answers.wait(24)
    finally:
        ended.set()
        thread.join()
    assert sorted(int(result.request_id) for result in answers.results) == list(range(24))
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
    """A pool that counts its reloads."""

    def __init__(self, name, code, **configuration):
        self.configuration = FunctionConfiguration(name, code, "app.handler", **configuration)
        self.reloads = 0
        self.reloaded = threading.Semaphore(0)

    def reload(self):
        self.reloads += 1
        self.reloaded.release()


class Scripted:
    """A watch whose changes are a test's: says which folders it watches, and sees what it is told."""

    def __init__(self, state_folder, pools):
        self.pools = pools
        self.looks = queue.Queue()
        self.meanwhile = lambda: None
        """Called while the watches are set up."""
        self._told = queue.Queue()
        self.watch = CodeWatch(state_folder, self._changes)

    def _changes(self, folders, ending):
        self.looks.put(folders)
        self.meanwhile()
        yield []
        while not ending.is_set():
            try:
                write, paths = self._told.get(timeout=0.01)
            except queue.Empty:
                yield []
            else:
                write()
                yield paths

    def look(self):
        """The folders that it begins to watch."""
        return self.looks.get(timeout=10)

    def saved(self, *paths, write=lambda: None):
        """Tell it these changes, which are written where it cannot look at them before it is told."""
        self._told.put((write, paths))

    def add(self, pool):
        """A pool is made, which then is one of those that run."""
        self.watch.made(pool.configuration)
        self.pools.append(pool)

    def __enter__(self):
        self.watch.start(lambda: list(self.pools))
        return self

    def __exit__(self, *_):
        self.watch.stop()
        assert not self.watch._thread.is_alive()


@pytest.fixture
def folders(tmp_path):
    made = [tmp_path / name for name in ("a", "b", "c")]
    for folder in made:
        folder.mkdir()
    return made


def test_only_functions_whose_folder_changed_are_reloaded(tmp_path, folders, caplog):
    caplog.set_level("INFO")
    a, b, _ = folders
    pools = [Counting("first", a), Counting("second", a), Counting("other", b), Counting("debugged", b, debug_port=1)]
    with Scripted(tmp_path / ".poller", pools) as scripted:
        assert scripted.look() == [a, b]
        scripted.saved(a / "app.py", a / "lib.py")
        scripted.saved(a / "x.pyc")
        scripted.saved(b / "app.py")
        assert pools[2].reloaded.acquire(timeout=10)
    assert [pool.reloads for pool in pools] == [1, 1, 1, 0]
    assert "saved: app.py and 1 more; the next invocation runs it" in caplog.text


def test_a_function_that_is_made_later_is_watched_from_then_on(tmp_path, folders):
    a, b, _ = folders
    with Scripted(tmp_path / ".poller", [Counting("first", a)]) as scripted:
        assert scripted.look() == [a]
        later = Counting("later", b)
        scripted.add(later)
        while scripted.look() != [a, b]:  # it may look before the pool is one of those that run
            pass
        scripted.saved(b / "app.py")
        assert later.reloaded.acquire(timeout=10)
        assert scripted.pools[0].reloads == 0


def test_without_a_function_it_waits_for_the_first(tmp_path, folders):
    with Scripted(tmp_path / ".poller", []) as scripted:
        first = Counting("first", folders[0])
        scripted.pools.append(first)
        scripted.watch.made(first.configuration)
        assert scripted.look() == [folders[0]]
    with Scripted(tmp_path / ".poller", []):
        pass  # it ends, too


def test_a_folder_that_nothing_runs_on_is_watched_no_more(tmp_path, folders):
    a, b, _ = folders
    pools = [Counting("first", a), Counting("second", b)]
    with Scripted(tmp_path / ".poller", pools) as scripted:
        assert scripted.look() == [a, b]
        del pools[1]
        scripted.watch.ended()
        assert scripted.look() == [a]


def test_another_pool_of_a_folder_that_is_watched_changes_nothing(tmp_path, folders):
    with Scripted(tmp_path / ".poller", [Counting("first", folders[0])]) as scripted:
        scripted.look()
        scripted.saved(folders[0] / "app.py")
        assert scripted.pools[0].reloaded.acquire(timeout=10), "it watches"
        scripted.add(second := Counting("second", folders[0]))
        scripted.saved(folders[0] / "app.py")
        assert second.reloaded.acquire(timeout=10)
        assert scripted.looks.empty()


def test_packages_in_the_state_folder_are_not_watched(tmp_path, folders):
    kept = tmp_path / ".poller" / "code" / "x"
    kept.mkdir(parents=True)
    with Scripted(tmp_path / ".poller", [Counting("first", folders[0]), Counting("zip", kept)]) as scripted:
        assert scripted.look() == [folders[0]]


def test_what_is_saved_before_the_watches_are_there_is_noticed(tmp_path, folders):
    old, new = Counting("old", folders[0]), Counting("new", folders[1])
    with Scripted(tmp_path / ".poller", [old]) as scripted:
        scripted.look()
        scripted.meanwhile = lambda: save(folders[1], "while nobody looked")
        scripted.pools.append(new)
        scripted.watch.made(new.configuration)
        assert new.reloaded.acquire(timeout=10)
    assert old.reloads == 0


def swapped(folder, scripted):
    shutil.copytree(folder, folder.with_name("built"))
    folder.rename(folder.with_name("before"))
    folder.with_name("built").rename(folder)


def made_again(folder, scripted):
    def write():
        folder.rmdir()
        folder.mkdir()  # which may get the same number, so that only its watch knows

    scripted.saved(folder, write=write)


def gone_for_a_while(folder, scripted):
    folder.rmdir()
    while folder in scripted.look():
        pass
    folder.mkdir()


@pytest.mark.parametrize("replace", [swapped, made_again, gone_for_a_while])
@pytest.mark.parametrize("what", ["code", "layer"])
def test_a_folder_that_is_replaced_runs_and_is_watched_again(tmp_path, folders, monkeypatch, replace, what):
    a, b, _ = folders
    one = Counting("one", a) if what == "code" else Counting("one", b, layers=(a,))
    changed = []
    monkeypatch.setattr("poller.reloading.layers.changed", changed.append)
    with Scripted(tmp_path / ".poller", [one, Counting("other", b)]) as scripted:
        assert scripted.look() == [a, b]
        replace(a, scripted)
        assert one.reloaded.acquire(timeout=10)
        while scripted.look() != [a, b]:  # it may look while there is none
            pass
        scripted.saved(a / "app.py")
        assert one.reloaded.acquire(timeout=10)
    assert [pool.reloads for pool in scripted.pools] == [2, 0]
    assert changed == ([] if what == "code" else [a, a])


def test_a_link_that_leads_to_another_folder_is_followed(tmp_path, folders):
    a, b, _ = folders
    link = tmp_path / "current"
    link.symlink_to(a)
    one = Counting("one", link)
    with Scripted(tmp_path / ".poller", [one]) as scripted:
        assert scripted.look() == [a]
        (tmp_path / "next").symlink_to(b)
        (tmp_path / "next").rename(link)
        assert one.reloaded.acquire(timeout=10)
        assert scripted.look() == [b]
        scripted.saved(b / "app.py")
        assert one.reloaded.acquire(timeout=10)


def test_a_folder_that_is_not_there_yet_is_run_and_watched_when_it_comes(tmp_path, monkeypatch):
    monkeypatch.setattr("poller.reloading.LOOK", 10)
    one, debugged = Counting("one", tmp_path / "built"), Counting("debugged", tmp_path / "built", debug_port=1)
    with Scripted(tmp_path / ".poller", [one, debugged]) as scripted:
        (tmp_path / "built").mkdir()
        assert scripted.look() == [tmp_path / "built"]
    assert debugged.reloads == 0


def test_saving_a_file_of_a_layer_reloads_the_functions_that_use_it(tmp_path, folders, monkeypatch):
    code, layer, other = folders
    user, nobody = Counting("user", code, layers=(layer, other)), Counting("nobody", code)
    changed = []
    monkeypatch.setattr("poller.reloading.layers.changed", changed.append)
    with Scripted(tmp_path / ".poller", [user, nobody]) as scripted:
        assert scripted.look() == [code, layer, other]
        scripted.saved(layer / "python" / "__pycache__" / "x.pyc")
        scripted.saved(layer / "nodejs" / "node_modules" / "x" / "index.js")
        assert user.reloaded.acquire(timeout=10)
        assert (user.reloads, nobody.reloads, changed) == (1, 0, [layer])
        scripted.saved(code / "app.py", other / "python" / "lib.py")  # in one go, as a version control system does
        assert user.reloaded.acquire(timeout=10)
        assert nobody.reloaded.acquire(timeout=10)
    assert (user.reloads, nobody.reloads, changed) == (2, 1, [layer, other])


def test_a_system_without_watches_costs_a_warning_and_no_more(tmp_path, caplog):
    def full(*_):
        raise OSError(28, "no watches left")

    watch = CodeWatch(tmp_path / ".poller", full)
    watch.start(lambda: [Counting("fn", tmp_path)])
    watch._thread.join(10)
    assert "changes need a restart" in caplog.text
    watch.stop()


def test_a_folder_that_goes_while_it_is_looked_at_is_no_trouble(tmp_path, folders):
    pools, looks = [Counting("fn", folders[0])], []

    def changes(asked, ending):
        looks.append(asked)
        if len(looks) == 1:
            raise FileNotFoundError(asked[0])
        watch.stopped.set()
        ending.wait()
        return ()

    watch = CodeWatch(tmp_path / ".poller", changes)
    watch.stopped = threading.Event()
    watch.start(lambda: pools)
    watch.made(Counting("other", folders[1]).configuration)
    assert watch.stopped.wait(10)
    watch.stop()
    assert looks[:2] == [[folders[0]], [folders[0]]]


def test_a_function_that_a_call_makes_runs_what_is_saved_and_is_watched_until_it_is_deleted(tmp_path):
    made = tmp_path / "made"
    made.mkdir()
    save(made, "old")
    template = template_of(tmp_path, {"declared": {"Handler": "basic.count"}}, Reload="true")
    plane = ControlPlane(template, Metrics(), FakeClock())

    def ask(name):
        answers = Answers()
        plane.pool(name).submit(Invocation("id", b"null", name), answers, wait=True)
        return json.loads(answers.wait(1)[0].payload)

    plane.start()
    try:
        code = {"S3Bucket": LOCAL_FOLDER, "S3Key": str(made)}
        plane.account.functions.create_function({**request("made"), "Code": code})
        first, (text, pid) = ask("declared"), ask("made")
        assert text == "old"
        save(made, "saved right after the first invocation")
        wait_until_gone(pid)
        assert ask("made")[0] == "saved right after the first invocation"
        assert ask("declared")["pid"] == first["pid"], "it was not restarted"
        watch = plane._function_pools._code
        assert watch._watched == {HANDLERS.resolve(), made.resolve()}
        plane.account.functions.delete_function("made")
        eventually(lambda: watch._watched == {HANDLERS.resolve()})
    finally:
        plane.stop()


def test_a_handlers_own_compiled_files_do_not_reload_it(pool, tmp_path):
    save(tmp_path, "steady")
    one, answers, seen = pool(tmp_path), Answers(), []

    class Watch(CodeWatch):
        def _reload(self, changed):
            super()._reload(changed)
            seen.extend(changed)

    watch = Watch(tmp_path / ".poller")
    watch.start(lambda: [one])
    asks = itertools.count(1)

    def ask_until_compiled_files_are_seen():
        seen.clear()

        def are_seen():
            asked(one, answers, next(asks))
            shutil.rmtree(tmp_path / "__pycache__", ignore_errors=True)
            return any("__pycache__" in path.parts for path in seen)

        eventually(are_seen, pause=0.1)

    try:
        ask_until_compiled_files_are_seen()  # watching begins a moment after the start, and then takes app.py for new
        before = one.generation
        (tmp_path / "__pycache__").mkdir()
        ask_until_compiled_files_are_seen()
        assert one.generation == before
    finally:
        watch.stop()


def test_a_folder_that_is_deleted_and_made_again_reloads_by_itself(pool, tmp_path):
    code = tmp_path / "code"
    code.mkdir()
    save(code, "old")
    one, answers = pool(code), Answers()
    pid = asked(one, answers, 1)[1]
    watch = CodeWatch(tmp_path / ".poller")
    watch.start(lambda: [one])
    try:
        for text in ("first", "second"):

            def is_seen(text=text, pid=pid):
                shutil.rmtree(code)
                code.mkdir()
                save(code, text)
                return not is_running(pid)

            eventually(is_seen, pause=0.2)
            found, pid = asked(one, answers, len(answers.results) + 1)
            assert found == text
    finally:
        watch.stop()


def test_a_file_that_is_saved_reloads_by_itself(pool, tmp_path):
    save(tmp_path, "old")
    one, answers = pool(tmp_path), Answers()
    pid = asked(one, answers, 1)[1]
    watch = CodeWatch(tmp_path / ".poller")
    watch.start(lambda: [one])
    try:
        sizes = itertools.count(1)

        def is_seen():
            save(tmp_path, "new " + "x" * next(sizes))
            return not is_running(pid)

        eventually(is_seen, pause=0.1)  # watching begins a moment after the start
        assert asked(one, answers, 2)[0].startswith("new ")
    finally:
        watch.stop()
    assert not watch._thread.is_alive()
