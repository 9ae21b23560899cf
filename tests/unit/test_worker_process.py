"""A worker's process: its log in whole lines, its reports, its end, and its starts after that."""

from __future__ import annotations

import functools
import io
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from handlers.rig import descriptors, is_running, wait_until_gone
from waiting import eventually

from poller.log import JsonFormatter, RunningHandler
from poller.metrics import Metrics
from poller.policy.retrying import BackOff
from poller.policy.workers import Share
from poller.workers import keeper
from poller.workers.child import use_python_path
from poller.workers.keeper import Keeper
from poller.workers.process import WorkerProcess, exit_text
from poller.workers.report import Report, Reports

START = """
import os, signal, sys, time
from multiprocessing.connection import Connection
from poller.workers.report import Report
connection = Connection(int(sys.argv[1]))
orders = connection.recv()
def report():
    connection.send(Report(True, [], [], [], {"f": {("s", ()): 1.0}}))
def answer():
    while True:
        connection.recv_bytes()
        report()
def until_told():
    signal.signal(signal.SIGTERM, lambda *_: (report(), sys.exit(0)))
    answer()
"""
ORDERS: Any = SimpleNamespace(share=Share(2, 3, {}, {}))


def process(script: str) -> WorkerProcess:
    made = WorkerProcess(("-c", START + script))
    made.instruct(ORDERS)
    return made


def listen(made: WorkerProcess) -> tuple[list[str], list[Report], int]:
    """All that comes until its end: what its log was passed on as, its reports, and its status."""
    pieces: list[str] = []
    reports: list[Report] = []
    goes_on = True
    while goes_on:
        lines, some, goes_on = made.listen(5)
        pieces.append(lines)
        reports += some
    status, rest = made.close()
    return [piece for piece in [*pieces, rest] if piece], reports, status


# --- one process ---------------------------------------------------------------------------------------------------


def test_its_log_comes_in_whole_lines_whatever_pieces_it_was_written_in() -> None:
    script = """
for piece in ("one ", "line\\ntwo", " lines\\nh", "\\u00e4lf"):
    os.write(2, piece.encode())
    time.sleep(0.01)  # so that they are read one by one; a slow reader makes the test easier, not wrong
os.write(2, b"x" * 200_000 + b"\\n" + b"cut off")
"""
    pieces, _, status = listen(process(script))
    assert status == 0
    assert all(piece.endswith("\n") for piece in pieces)
    assert "".join(pieces).splitlines() == ["one line", "two lines", "hälf" + "x" * 200_000, "cut off"]


def test_it_reports_when_it_is_asked_and_once_more_at_its_end() -> None:
    made = process("until_told()")
    assert made.ask()
    while not (found := made.listen(5)[1]):
        pass
    assert found[0].totals == {"f": {("s", ()): 1.0}}
    made.terminate()
    _, reports, status = listen(made)
    assert (len(reports), status) == (1, 0)


def test_before_it_has_its_orders_and_after_its_end_it_is_not_asked() -> None:
    made = WorkerProcess(("-c", "import time; time.sleep(600)"))
    assert not made.ask()
    made.kill()
    made.instruct(ORDERS)
    assert listen(made)[2] == -signal.SIGKILL
    assert not made.ask()
    made.kill()


def test_it_is_not_stopped_by_ctrl_c_which_the_supervisor_hears() -> None:
    made = process("until_told()")
    assert os.getsid(made.pid) == made.pid != os.getsid(0)
    made.kill()
    listen(made)


def test_no_descriptor_is_left_of_it() -> None:
    before = descriptors()
    listen(process("sys.exit(3)"))
    assert descriptors() == before


def test_a_file_in_the_working_folder_is_no_module(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "selectors.py").write_text("raise SystemExit(9)\n")
    monkeypatch.chdir(tmp_path)
    assert listen(process("import selectors"))[2] == 0


def test_the_real_worker_ends_with_its_supervisor_even_if_it_cannot_look() -> None:
    script = (
        "import os, signal, sys\n"
        "from poller.workers.process import WorkerProcess\n"
        "made = WorkerProcess()\n"  # waits for its orders
        "print(made.pid, flush=True)\n"
        "sys.stdin.readline()\n"
    )
    paths = os.pathsep.join(path for path in sys.path if path)
    supervisor = subprocess.Popen(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": paths},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with supervisor:
        assert supervisor.stdout is not None
        pid = int(supervisor.stdout.readline())
        assert is_running(pid)
        supervisor.kill()
    wait_until_gone(pid)


@pytest.mark.parametrize("given", [None, "mine"])
def test_functions_on_another_python_do_not_find_the_libraries_of_this_one(
    given: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:  # E.2
    monkeypatch.setenv("PYTHONPATH", "the worker's")
    use_python_path(given)
    assert os.environ.get("PYTHONPATH") == given


@pytest.mark.parametrize(
    ("status", "text"), [(0, "exit status 0"), (3, "exit status 3"), (-9, "signal SIGKILL"), (-99, "signal 99")]
)
def test_how_it_ended_is_told(status: int, text: str) -> None:
    assert exit_text(status) == text


# --- keeping it running --------------------------------------------------------------------------------------------


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before = root.handlers[:]
    stream = io.StringIO()
    handler = RunningHandler(stream)
    handler.setFormatter(JsonFormatter())
    root.handlers[:] = [handler]
    yield stream
    root.handlers[:] = before


Keep = Callable[..., Keeper]


@pytest.fixture
def keep(monkeypatch: pytest.MonkeyPatch, log: io.StringIO) -> Iterator[Keep]:
    """Starts keepers of scripted workers, and stops them at the end."""
    kept: list[Keeper] = []

    def start(script: str, reports: Reports | None = None, first: float = 0.001, cap: float = 0.01) -> Keeper:
        monkeypatch.setattr(keeper, "WorkerProcess", functools.partial(WorkerProcess, ("-c", START + script)))
        made = Keeper(ORDERS, reports or Reports(Metrics()), BackOff(first=first, cap=cap))
        made.start()
        kept.append(made)
        return made

    yield start
    for one in kept:
        one.stop()
        one.kill()
        one.join(10)
        assert not one.is_alive()


def test_a_worker_that_keeps_dying_is_started_again_and_again_and_every_end_is_told(
    keep: Keep, log: io.StringIO
) -> None:
    made = keep("os.write(2, b'last words\\n'); os.kill(os.getpid(), signal.SIGSEGV)")
    eventually(lambda: made.state()["starts"] == 3)
    eventually(lambda: log.getvalue().count("ended: signal SIGSEGV; starting again in 0.0 s") >= 2)
    assert '"worker": 2' in log.getvalue()
    assert log.getvalue().count("last words\n") >= 2
    assert "worker 2 has ended (signal SIGSEGV) and is started again" in {made.trouble(), made.state()["problem"]}


def test_a_worker_that_answers_again_is_well(keep: Keep, tmp_path: Any) -> None:
    mark = tmp_path / "started"
    made = keep(f"if not os.path.exists({str(mark)!r}):\n    open({str(mark)!r}, 'w').close(); sys.exit(4)\nanswer()")
    eventually(lambda: made.state()["starts"] == 2)
    assert made.trouble() == "worker 2 has ended (exit status 4) and is started again"
    eventually(lambda: made.ask() or not made.trouble())
    assert made.state()["problem"] == ""


def test_a_report_is_waited_for_and_taken(keep: Keep) -> None:
    reports = Reports(Metrics())
    made = keep("answer()", reports)
    eventually(lambda: made.ask() or made._asked)
    made.wait_for_report(time.monotonic() + 20)
    assert set(reports.last()) == {2}


def test_a_worker_that_is_silent_is_asked_once_and_told_of_after_a_while(
    keep: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = keep("signal.pause()")
    eventually(lambda: made.ask() or made._asked)
    asked = made._asked
    made.ask()
    made.wait_for_report(time.monotonic())
    assert made._asked == asked
    assert made.trouble() == ""
    monkeypatch.setattr(keeper, "SILENCE", 0.0)
    assert made.trouble() == "worker 2 has not answered for 0 s"


def test_a_worker_that_cannot_be_started_is_tried_again(
    keep: Keep, log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OSError(11, "Resource temporarily unavailable")

    made = keep("answer()", first=30.0, cap=30.0)  # waits after its first end
    eventually(lambda: made.state()["pid"])
    monkeypatch.setattr(keeper, "WorkerProcess", fail)
    made.kill()
    eventually(lambda: "ended: signal SIGKILL" in log.getvalue())
    other = Keeper(ORDERS, Reports(Metrics()), BackOff(first=0.001, cap=0.001))
    other.start()
    eventually(lambda: "cannot be started: [Errno 11]" in log.getvalue())
    other.stop()
    other.join(10)
    assert not other.is_alive()


def test_a_worker_is_asked_now_and_then_though_nobody_else_does(keep: Keep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "LOOK", 0.01)
    reports = Reports(Metrics())
    keep("answer()", reports)
    eventually(reports.last)


def test_a_fault_in_keeping_a_worker_is_told_and_a_new_one_is_started(
    keep: Keep, log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = keep("connection.send_bytes(b'no report'); answer()")
    eventually(lambda: made.state()["starts"] == 2)
    assert "a fault in keeping it" in log.getvalue()


@pytest.mark.parametrize(
    ("script", "well"), [("until_told()", True), ("signal.signal(15, lambda *_: sys.exit(5)); answer()", False)]
)
def test_a_worker_that_is_told_to_end_is_not_started_again(keep: Keep, script: str, well: bool) -> None:
    reports = Reports(Metrics())
    made = keep(script, reports)
    eventually(lambda: made.ask() or reports.last())
    made.stop()
    made.join(10)
    assert not made.is_alive()
    assert (made.state()["starts"], made.ended_well) == (1, well)
    assert reports.last() == {}
    assert reports.totals().get("f") is not None


def test_lines_of_several_workers_stay_whole(log: io.StringIO) -> None:
    handler = logging.getLogger().handlers[0]
    assert isinstance(handler, RunningHandler)

    def speak(word: str) -> None:
        for _ in range(200):
            handler.relay(f"{word * 500}\n")

    threads = [threading.Thread(target=speak, args=(word,)) for word in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(log.getvalue().splitlines()) == {"a" * 500, "b" * 500}
