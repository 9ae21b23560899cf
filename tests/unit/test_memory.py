"""MemorySize is a limit of all that a function's process starts; over it is an end by the platform (A.4, E.3)."""

import ctypes
import os
import re
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
from handlers.rig import HANDLERS, PATIENCE, error_of, is_running
from unit.test_pool import Answers, submit
from waiting import eventually

from poller.function_pools import FunctionPools
from poller.model import FunctionConfiguration
from poller.runtime import memory
from poller.runtime.memory import MEGABYTE, Held, MemoryWatch, held_by
from poller.settings import Settings


@pytest.fixture
def pool(tmp_path):
    made = []

    def make(handler, client="poller", **settings):
        pools = FunctionPools(Settings(Reload="false", **settings), tmp_path, None)
        lines = []
        one = pools.make(FunctionConfiguration("fn", HANDLERS, handler, runtime_client=client, timeout=60.0), 10)
        one._environments = replace(one._environments, log=lambda line, _: lines.append(line))
        one.start()
        pools.start(lambda: [one])
        made.append((pools, one))
        return one, lines

    yield make
    for pools, one in made:
        pools.stop()
        one.stop()


@pytest.mark.parametrize(
    ("handler", "client"),
    [
        ("basic.grow", "poller"),
        ("basic.grow_in_child", "poller"),
        pytest.param(
            "basic.grow",
            "aws",
            marks=pytest.mark.skipif(
                find_spec("awslambdaric") is None and not os.environ.get("CI"), reason="AWS's client is not installed"
            ),
        ),
    ],
)
def test_a_function_that_holds_too_much_is_killed_with_all_it_started_and_told_as_on_lambda(
    pool, handler, client
):  # A.4
    one, lines = pool(handler, client)
    answers = Answers()
    submit(one, answers, request_id="id-1")
    text = "RequestId: id-1 Error: Runtime exited with error: signal: killed"
    assert error_of(answers.wait(1)[0]) == {"errorType": "Runtime.ExitError", "errorMessage": text}
    assert f"{text}\nRuntime.OutOfMemory" in lines
    assert lines[-1].endswith("\tMax Memory Used: 128 MB\t" + lines[-1].rpartition("128 MB\t")[2])
    assert "Status: error\tError Type: Runtime.OutOfMemory" in lines[-1]
    submit(one, answers, request_id="id-2")  # in a new process, which fails the same way
    assert answers.wait(2)[1].function_error == "Unhandled"
    assert one.stats().cold_starts == 2


def test_a_function_within_its_limit_is_left_alone_and_its_children_count_in_the_report(pool):
    one, lines = pool("basic.use_memory")
    answers = Answers()
    submit(one, answers, event=60)
    assert answers.wait(1)[0].function_error is None
    used = int(re.search(r"Max Memory Used: (\d+) MB", lines[-1])[1])
    assert 60 <= used <= 128


def test_where_the_kernel_does_not_limit_processes_a_function_with_more_than_1024_is_killed(pool, caplog):  # E.3
    one, lines = pool("greedy.waits_with_threads")
    answers = Answers()
    submit(one, answers, request_id="id-1", event=1030)
    text = "RequestId: id-1 Error: Runtime exited with error: signal: killed"
    assert error_of(answers.wait(1)[0]) == {"errorType": "Runtime.ExitError", "errorMessage": text}
    assert "Runtime.OutOfMemory" not in lines[-1]
    assert re.search(r"killed an environment that has \d{4} processes and threads, more than 1024", caplog.text)


def test_nothing_is_killed_where_the_settings_say_so_or_where_somebody_debugs(tmp_path):
    pools = FunctionPools(Settings(EnforceMemory="false", Reload="false"), tmp_path, None)
    pools.start(list)
    assert pools._memory is None
    pools = FunctionPools(Settings(Debug="fn", Reload="false"), tmp_path, None)
    one = pools.make(FunctionConfiguration("fn", HANDLERS, "basic.count"), 10)
    pools.start(lambda: [one])
    assert list(pools._memory._watched()) == []
    pools.stop()


def test_a_look_that_fails_ends_no_other_look(monkeypatch, caplog):
    monkeypatch.setattr(memory, "INTERVAL", 0.001)

    class Broken:
        def look_at_memory(self):
            raise RuntimeError("out of luck")

    class Sound:
        seen = threading.Event()

        def look_at_memory(self):
            self.seen.set()

    watch = MemoryWatch(lambda: [Broken(), Sound()])
    watch.start()
    try:
        assert Sound.seen.wait(PATIENCE)
    finally:
        watch.stop()
    assert "RuntimeError: out of luck" in caplog.text


def test_what_processes_share_counts_once():
    code = (
        "import os\nheld = bytearray(b'x') * (64 * 2**20)\n"
        "for _ in range(3):\n    if not os.fork(): break\n"
        "print('ready', flush=True)\nimport time; time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        try:
            for _ in range(4):
                process.stdout.readline()
            quick = held_by([process.pid], 10**12)
            assert quick.memory > 4 * 64 * MEGABYTE  # enough to see that it is below
            assert 64 * MEGABYTE < held_by([process.pid], 128 * MEGABYTE).memory < 128 * MEGABYTE
            assert quick.threads == 4
        finally:
            for pid in reversed(list(memory.threads_by_process(process.pid))):
                os.kill(pid, 9)
    assert not is_running(process.pid)
    assert held_by([process.pid], 0) is None


@contextmanager
def running(code):
    """A process that has run this, says so, and then waits."""
    code += "\nprint('ready', flush=True)\nsys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", "import os, subprocess, sys, threading\n" + code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout.readline() == b"ready\n"
        yield process.pid


def resident(pid):
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_what_one_process_holds_is_exactly_what_the_kernel_says_is_resident():
    with running("held = bytearray(b'x') * (16 * 2**20)") as pid:
        eventually(lambda: held_by([pid], 10**12) == Held(resident(pid), 1))  # it may still be about to wait
        assert held_by([pid, pid], 0) == Held(resident(pid), 1), "it counts once, and shares with nobody"


def test_what_any_thread_of_a_process_started_counts():
    code = (
        "begun, child = threading.Event(), [sys.executable, '-c', 'import sys; print(1, flush=True); sys.stdin.read()']\n"
        "def start():\n"
        "    with subprocess.Popen(child, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:\n"
        "        process.stdout.readline()\n"
        "        begun.set()\n"
        "        threading.Event().wait()\n"
        "threading.Thread(target=start, daemon=True).start()\n"
        "begun.wait()"
    )
    with running(code) as pid:
        threads = memory.threads_by_process(pid)
        [child] = threads.keys() - {pid}
        assert threads == {pid: 2, child: 1}
        eventually(lambda: held_by([pid], 10**12) == Held(resident(pid) + resident(child), 3))


def test_a_process_that_is_gone_takes_nothing_from_the_others_and_one_that_nobody_waited_for_holds_nothing():
    with subprocess.Popen([sys.executable, "-c", ""]) as process, running("") as pid:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert held_by([process.pid], 10**12) == Held(0, 1)
        process.wait()
        eventually(lambda: held_by([process.pid, pid], 10**12) == Held(resident(pid), 1))
        assert held_by([process.pid], 10**12) is None


def test_a_look_at_one_process_with_one_thread_reads_two_files_and_never_gives_the_interpreter_s_lock_up(monkeypatch):
    with running("") as pid:
        seen, read = [], memory._read
        monkeypatch.setattr(memory, "_read", lambda path, library: seen.append((path, library)) or read(path, library))
        monkeypatch.setattr(memory, "os", SimpleNamespace(O_RDONLY=os.O_RDONLY, O_CLOEXEC=os.O_CLOEXEC))
        assert held_by([pid], 10**12) is not None
        assert isinstance(memory._at_hand, ctypes.PyDLL)
        assert seen == [
            (f"/proc/{pid}/status", memory._at_hand),
            (f"/proc/{pid}/task/{pid}/children", memory._at_hand),
        ]


def test_looks_leave_no_descriptor_open():
    before = list(Path("/proc/self/fd").iterdir())
    with running("") as pid, running("") as other:
        open_there = len(list(Path("/proc/self/fd").iterdir()))
        for _ in range(20):
            held_by([pid, other, 2**22 + 1], 0)  # the last one is none
        assert len(list(Path("/proc/self/fd").iterdir())) == open_there
    assert len(list(Path("/proc/self/fd").iterdir())) == len(before)


def test_of_thousands_of_children_none_is_missed(tmp_path, monkeypatch):
    library = memory._at_hand
    pieces = SimpleNamespace(  # as the kernel gives such a file: a page less what of an entry does not fit in it
        open=library.open, close=library.close, read=lambda file, room, size: library.read(file, room, min(size, 4092))
    )
    monkeypatch.setattr(memory, "_at_hand", pieces)
    children = range(100_000, 105_000)
    for pid in (1, *children):
        (tmp_path / f"{pid}/task/{pid}").mkdir(parents=True)
    (tmp_path / "1/task/1/children").write_text("".join(f"{child} " for child in children))
    assert memory.threads_by_process(1, tmp_path) == dict.fromkeys((1, *children), 1)


def test_a_system_that_does_not_tell_is_said_once(monkeypatch, caplog):
    monkeypatch.setattr(memory, "_held_alone", lambda _: None)
    watch = MemoryWatch(list)
    watch.start()
    watch.stop()
    assert "MemorySize is not enforced" in caplog.text
    assert not watch._thread.is_alive()
