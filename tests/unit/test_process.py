"""Whatever a handler does to its process, its caller gets a result and nothing is left behind (A.4)."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from handlers.rig import HANDLERS, Function, error_of, exited, is_running, wait_until_gone
from waiting import eventually

from poller.runtime.handler_log import MAXIMUM_EVENT
from poller.runtime.process import RuntimeProcess
from poller.runtime.process_group import exit_reason


@pytest.fixture
def function():
    made = []

    def make(*args, **kwargs):
        made.append(Function(*args, **kwargs))
        return made[-1]

    yield make
    for one in made:
        one.environment.stop()


@pytest.mark.parametrize(
    ("handler", "event", "text"),
    [
        ("failing.exits", None, "without providing a reason"),  # G.9
        ("failing.exits", 0, "without providing a reason"),
        ("failing.exits", 7, "with error: exit status 7"),
        ("failing.exits", "os", "with error: exit status 3"),
        ("failing.kills_itself", int(signal.SIGKILL), "with error: signal: killed"),
        ("failing.kills_itself", int(signal.SIGSEGV), "with error: signal: segmentation fault"),
        ("rude.closes_all_descriptors", None, "with error: exit status 1"),
        ("rude.dies_inside_an_answer", None, "with error: signal: killed"),
        ("rude.writes_garbage", None, "with error: signal: killed"),
        ("rude.answers_for_another", None, "with error: signal: killed"),
    ],
)
def test_a_process_that_ends_is_an_exit_error_and_the_next_call_works(function, handler, event, text):  # A.4
    fn = function(handler, timeout=10)
    result = fn.invoke(event)
    assert error_of(result) == exited(text)
    assert fn.report().endswith("\tStatus: error\tError Type: Runtime.ExitError")
    assert fn.environment._sandbox.dialogue is None
    assert result.log_tail.startswith(b"START ")


def test_a_handler_that_closes_the_protocol_and_stays_is_killed(function, monkeypatch):
    monkeypatch.setattr("poller.runtime.process._LAST_BREATH", 0.1)
    fn = function("rude.closes_all_and_stays", timeout=30)
    assert error_of(fn.invoke()) == exited("with error: signal: killed")


def test_a_module_that_answers_by_itself_at_import_is_killed(function, tmp_path):
    header = b'{"type":"nonsense"}'
    frame = len(header).to_bytes(4, "big") + bytes(4) + header
    (tmp_path / "app.py").write_text(f"import os, rude, time\nos.write(rude.REPLY, {frame!r})\ntime.sleep(60)\n")
    fn = function("app.handler", code=tmp_path, environment={"PYTHONPATH": str(HANDLERS)})
    assert error_of(fn.invoke()) == exited("with error: signal: killed")


def test_an_error_object_of_the_handlers_own_making_is_passed_on(function, tmp_path):
    header = b'{"type":"error","request_id":"id-1","error_type":"Custom"}'
    frame = len(header).to_bytes(4, "big") + (2).to_bytes(4, "big") + header + b"no"
    (tmp_path / "app.py").write_text(
        f"import os, rude\ndef handler(event, context):\n    os.write(rude.REPLY, {frame!r})\n"
    )
    fn = function("app.handler", code=tmp_path, environment={"PYTHONPATH": str(HANDLERS)})
    result = fn.invoke()
    assert (result.payload, result.function_error) == (b"no", "Unhandled")
    assert "no" in fn.lines


def test_garbage_on_the_protocol_is_told_in_the_log(function):
    fn = function("rude.writes_garbage")
    fn.invoke()
    assert any("broke the protocol" in line and "not a frame" in line for line in fn.lines)


def test_sys_exit_at_import_is_an_exit_error(function, tmp_path):  # A.4
    (tmp_path / "app.py").write_text("import sys\nsys.exit()\n")
    fn = function("app.handler", code=tmp_path)
    assert error_of(fn.invoke()) == exited("without providing a reason")
    assert sum("Error Type: Runtime.ExitError" in line for line in fn.lines) == 3  # both inits and REPORT


def test_killed_during_init_is_an_exit_error(function, tmp_path):  # A.4
    (tmp_path / "app.py").write_text("import os\nos.kill(os.getpid(), 9)\n")
    assert error_of(function("app.handler", code=tmp_path).invoke()) == exited("with error: signal: killed")


def test_a_segmentation_fault_during_init_takes_the_whole_timeout(function, tmp_path):  # A.4
    (tmp_path / "app.py").write_text("import os\nos.kill(os.getpid(), 11)\n")
    started = time.monotonic()
    error = error_of(function("app.handler", code=tmp_path, timeout=0.3).invoke())
    assert error["errorMessage"].endswith("Task timed out after 0.30 seconds")
    assert time.monotonic() - started > 0.3


def test_killed_between_two_invocations_costs_the_next_one_nothing_but_a_start(function):
    fn = function("basic.count")
    pid = json.loads(fn.invoke().payload)["pid"]
    os.kill(pid, signal.SIGKILL)
    wait_until_gone(pid)
    again = json.loads(fn.invoke().payload)
    assert again["calls"] == 1
    assert again["pid"] != pid


def test_a_wake_that_came_too_late_does_not_end_every_wait_of_the_next_init(function, monkeypatch):
    fn = function("basic.count")
    fn.invoke()
    served, serve = [], RuntimeProcess._serve

    def note(self, fd, on_wake):
        served.append(fd)
        serve(self, fd, on_wake)

    monkeypatch.setattr(RuntimeProcess, "_serve", note)
    fn.environment._sandbox.reset()
    fn.environment.wake()
    assert fn.invoke(request_id="id-2").function_error is None
    assert served.count(fn.environment._sandbox._woken) == 1


def test_killed_while_the_event_is_still_going_out_the_event_runs_in_a_new_process(function, monkeypatch):
    monkeypatch.delattr(os, "memfd_create")  # through shared memory it would be out at once
    fn = function("basic.count", timeout=30)
    pid = json.loads(fn.invoke().payload)["pid"]
    os.kill(pid, signal.SIGSTOP)  # it does not read, so a large event cannot be out
    results = []
    thread = threading.Thread(target=lambda: results.append(fn.invoke(b'"' + b"x" * 4_000_000 + b'"')))
    thread.start()
    eventually(lambda: fn.environment._sandbox.dialogue.process._waiting_for_room)
    os.kill(pid, signal.SIGKILL)
    thread.join(timeout=10)
    assert json.loads(results[0].payload)["calls"] == 1
    assert results[0].function_error is None


@pytest.mark.parametrize("shared", [True, False])
def test_a_process_that_does_not_read_its_event_times_out(function, monkeypatch, shared):
    if not shared:
        monkeypatch.delattr(os, "memfd_create")
    fn = function("basic.count", timeout=30)
    os.kill(json.loads(fn.invoke().payload)["pid"], signal.SIGSTOP)
    assert error_of(fn.invoke(b'"' + b"x" * 4_000_000 + b'"', timeout_cap=0.1))["errorType"] == "Sandbox.Timedout"


def test_a_process_that_dies_leaving_a_child_takes_it_along(function):
    fn = function("rude.dies_and_leaves_a_child", timeout=30)
    assert error_of(fn.invoke()) == exited("with error: signal: killed")
    wait_until_gone(int(fn.lines[2]))


def test_a_flood_of_output_neither_blocks_nor_is_kept(function):
    fn = function("rude.flood", timeout=30)
    count = 0

    def drop(line, _):
        nonlocal count
        count += line.startswith("yyy")

    fn.environment._sink = drop
    before = Path("/proc/self/statm").read_text().split()[1]
    result = fn.invoke(100)
    after = Path("/proc/self/statm").read_text().split()[1]
    assert result.payload == b'"done"'
    assert count == 100 * 1024
    assert (int(after) - int(before)) * os.sysconf("SC_PAGE_SIZE") < 16 * 1024 * 1024


def test_a_line_without_end_is_cut(function):
    fn = function("rude.endless_line")
    assert fn.invoke().payload == b'"done"'
    pieces = [line for line in fn.lines if line.startswith("z")]
    assert sum(map(len, pieces)) == 64 * 65536
    assert max(map(len, pieces)) <= MAXIMUM_EVENT


@pytest.mark.parametrize(
    ("handler", "payload"),
    [
        ("rude.reads_stdin", b'""'),
        ("rude.closes_low_descriptors", b'"still here"'),
        ("rude.closes_output", b'"quiet"'),
        ("rude.fork_that_returns", b'"from the handler"'),
        ("rude.prints_afterwards", b'"ok"'),
    ],
)
def test_the_protocol_is_out_of_the_handlers_way(function, handler, payload):
    fn = function(handler, timeout=10)
    for request_id in ("id-1", "id-2", "id-3"):
        assert fn.invoke(request_id=request_id).payload == payload
    assert "Traceback (most recent call last):" not in fn.lines


def test_a_poller_that_is_killed_takes_its_idle_environments_along(tmp_path):
    """The handler's process sees the end of its event pipe; nothing else is left to tell it."""
    script = (
        "import sys, time; from handlers.rig import Function\n"
        "fn = Function('basic.count'); print(fn.invoke().payload.decode(), flush=True); time.sleep(60)"
    )
    folders = os.pathsep.join(str(HANDLERS.parents[depth]) for depth in (0, 1))
    variables = {**os.environ, "PYTHONPATH": folders, "TMPDIR": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env=variables) as poller:
        pid = json.loads(poller.stdout.readline())["pid"]
        assert is_running(pid)
        poller.kill()
    wait_until_gone(pid)


@pytest.mark.parametrize("handler", ["rude.fork_that_stays", "rude.subprocess_that_stays"])
def test_a_daemon_that_keeps_the_output_open_holds_nobody_up_and_goes_at_the_stop(function, handler):
    fn = function(handler, timeout=10)
    pids = [int(fn.invoke().payload) for _ in range(2)]
    assert all(is_running(pid) for pid in pids)
    fn.environment.stop()
    for pid in pids:
        wait_until_gone(pid)


def test_a_daemon_that_left_the_process_group_ends_with_the_environment(function):  # E.3
    fn, other = function("rude.daemon_that_stays", timeout=30), function("rude.daemon_that_stays", timeout=30)
    daemon, others = (json.loads(one.invoke().payload) for one in (fn, other))
    assert is_running(daemon)
    fn.environment.stop()
    wait_until_gone(daemon)
    assert is_running(others)


def test_a_signal_has_lambdas_name():  # A.4
    assert exit_reason(-signal.SIGABRT) == "Runtime exited with error: signal: aborted"
    assert exit_reason(-signal.SIGTERM) == "Runtime exited with error: signal: terminated"
