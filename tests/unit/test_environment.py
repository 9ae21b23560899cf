"""An execution environment starts, is used again, resets, reports and stops as Lambda's does (A.1, A.2, E.3, E.5)."""

import json
import os
import re
import threading
from pathlib import Path

import pytest
from handlers.rig import HANDLERS, Function, descriptors, error_of, wait_until_gone

from poller.model import MAXIMUM_PAYLOAD, MAXIMUM_RESPONSE
from poller.runtime import toolchains
from poller.runtime.initialization import INIT_TIMEOUT


@pytest.fixture
def function():
    made = []

    def make(*args, **kwargs):
        made.append(Function(*args, **kwargs))
        return made[-1]

    yield make
    for one in made:
        one.environment.stop()


def test_globals_persist_and_only_the_first_report_has_the_init_duration(function):  # E.3, E.5
    fn = function("basic.count")
    first, second = fn.invoke(), fn.invoke(request_id="id-2")
    assert [json.loads(result.payload)["calls"] for result in (first, second)] == [1, 2]
    assert first.init_duration > 0
    assert second.init_duration is None
    reports = [line for line in fn.lines if line.startswith("REPORT")]
    assert re.fullmatch(
        r"REPORT RequestId: id-1\tDuration: \d+\.\d\d ms\tBilled Duration: \d+ ms\tMemory Size: 128 MB\t"
        r"Max Memory Used: [1-9]\d* MB\tInit Duration: \d+\.\d\d ms\t",
        reports[0],
    )
    assert "Init Duration" not in reports[1]
    assert fn.requests == {"id-1", "id-2"}
    assert fn.environment.cold_starts == 1


def test_the_report_tells_the_peak_memory_of_this_process(function):  # E.5
    fn = function("basic.use_memory")
    fn.invoke(60)
    used = int(re.search(r"Max Memory Used: (\d+) MB", fn.report())[1])
    assert 60 <= used < 120


def test_the_log_tail_runs_from_start_to_report_and_ends_at_4_kb(function):  # A.1, G.4
    fn = function("basic.talk")
    tail = fn.invoke().log_tail.decode().splitlines()
    assert tail[0] == "START RequestId: id-1 Version: $LATEST"
    assert tail[-1].startswith("REPORT RequestId: id-1")
    flooded = function("rude.flood").invoke(1)
    assert len(flooded.log_tail) == 4096
    assert b"\nEND RequestId: id-1\nREPORT " in flooded.log_tail


def test_a_timeout_kills_a_handler_that_ignores_sigterm(function):  # A.4, E.5, G.8
    fn = function("failing.ignores_sigterm", timeout=0.3)
    result = fn.invoke()
    assert error_of(result) == {
        "errorType": "Sandbox.Timedout",
        "errorMessage": "RequestId: id-1 Error: Task timed out after 0.30 seconds",
    }
    assert result.duration == 0.3
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z id-1 Task timed out after 0\.30 seconds", fn.lines[-3])
    assert fn.report().endswith("\tStatus: timeout")
    assert "Duration: 300.00 ms\tBilled Duration: 300 ms" in fn.report()
    wait_until_gone(int(fn.wait_for_line("started").split()[1]))


def test_the_cap_of_an_event_source_bounds_the_timeout(function):  # C.4
    error = error_of(function("failing.ignores_sigterm", timeout=60).invoke(timeout_cap=0.1))
    assert error["errorMessage"].endswith("Task timed out after 0.10 seconds")
    error = error_of(function("failing.ignores_sigterm", timeout=0.2).invoke(timeout_cap=840.0))
    assert error["errorMessage"].endswith("Task timed out after 0.20 seconds")


def test_files_and_globals_are_there_for_the_next_event(function):  # E.3
    fn = function("basic.leave_file")
    found = [json.loads(fn.invoke("stay").payload) for _ in range(2)]
    assert found == [{"found": False, "calls": 1}, {"found": True, "calls": 2}]


def test_the_working_folder_is_the_code_s_and_each_environment_has_a_temporary_folder_of_its_own(function):  # E.3
    seen = [json.loads(function("basic.environment").invoke().payload) for _ in range(2)]
    assert [one["folder"] for one in seen] == [str(HANDLERS)] * 2
    assert len({one["variables"]["TMPDIR"] for one in seen}) == 2


def test_the_init_phase_takes_10_s_at_most():  # E.3
    assert INIT_TIMEOUT == 10


@pytest.mark.parametrize("ending", ["sleep", "exit"])
def test_a_timeout_or_crash_keeps_the_files_and_renews_the_globals(function, ending):  # E.3, G.10
    fn = function("basic.leave_file", timeout=30)
    assert json.loads(fn.invoke("stay").payload) == {"found": False, "calls": 1}
    error_of(fn.invoke(ending, timeout_cap=0.2))
    again = fn.invoke("stay")
    assert json.loads(again.payload) == {"found": True, "calls": 1}
    assert again.init_duration is None  # init ran inside the invocation


def test_an_init_over_its_limit_runs_again_inside_the_invocation(function, tmp_path):  # E.3
    (tmp_path / "app.py").write_text(
        "import os, time\n"
        "mark = os.path.join(os.environ['TMPDIR'], 'mark')\n"
        "if not os.path.exists(mark):\n"
        "    open(mark, 'w').close()\n"
        "    time.sleep(60)\n"
        "def handler(event, context):\n"
        "    return 'second init'\n"
    )
    fn = function("app.handler", code=tmp_path, init_timeout=2.0, timeout=30)
    result = fn.invoke()
    assert (result.payload, result.init_duration) == (b'"second init"', None)
    assert fn.environment.cold_starts == 2
    assert re.fullmatch(r"INIT_REPORT Init Duration: \d+\.\d\d ms\tPhase: init\tStatus: timeout", fn.lines[1])


@pytest.mark.parametrize("client", ["poller", "aws"])
def test_an_init_inside_the_invocation_takes_of_its_time_and_is_in_its_duration(function, tmp_path, client):  # E.3, E.5
    if client == "aws" and not os.environ.get("CI"):
        pytest.importorskip("awslambdaric", reason="AWS's client is not installed: it has wheels for Linux only")
    (tmp_path / "app.py").write_text(
        "import os, time\n"
        "time.sleep(0.3)\n"
        "def handler(event, context):\n"
        "    if event == 'crash':\n"
        "        os._exit(1)\n"
        "    left = context.get_remaining_time_in_millis()\n"
        "    if event == 'raise':\n"
        "        raise ValueError(left)\n"
        "    return left\n"
    )
    fn = function("app.handler", code=tmp_path, timeout=30, runtime_client=client)
    fn.invoke("crash")  # the next process is started inside the next invocation
    result = fn.invoke()
    assert int(result.payload) <= 29_700
    assert result.duration >= 0.3
    fn.invoke("crash")
    result = fn.invoke("raise")
    assert int(error_of(result)["errorMessage"]) <= 29_700
    assert result.duration >= 0.3
    fn.invoke()
    assert fn.environment._init.inside == 0.0, "the process was there"


def test_an_init_that_never_ends_is_stopped_by_the_functions_timeout(function, tmp_path):  # E.3
    (tmp_path / "app.py").write_text("import time\ntime.sleep(60)\n")
    fn = function("app.handler", code=tmp_path, init_timeout=0.1, timeout=0.1)
    assert error_of(fn.invoke())["errorType"] == "Sandbox.Timedout"
    assert any("Phase: invoke\tStatus: timeout" in line for line in fn.lines)


def test_a_failed_init_is_reported_with_its_type_and_tried_anew(function, tmp_path):  # E.3
    (tmp_path / "app.py").write_text("import nowhere\n")
    fn = function("app.handler", code=tmp_path)
    assert error_of(fn.invoke())["errorType"] == "Runtime.ImportModuleError"
    phases = [re.search(r"INIT_REPORT .*\tPhase: (.*)\tStatus: error\tError Type: (.*)", line) for line in fn.lines]
    assert [phase.groups() for phase in phases if phase] == [
        ("init", "Runtime.ImportModuleError"),
        ("invoke", "Runtime.ImportModuleError"),
    ]
    assert fn.report().endswith("\tStatus: error\tError Type: Runtime.ImportModuleError")
    (tmp_path / "app.py").write_text("def handler(event, context):\n    return 'mended'\n")
    assert fn.invoke().payload == b'"mended"'


def test_a_reply_above_the_ceiling_is_an_error_and_does_not_reset(function):  # A.2, G.11
    fn = function("basic.large")
    exact = fn.invoke(MAXIMUM_RESPONSE - 2)
    assert (len(exact.payload), exact.function_error) == (MAXIMUM_RESPONSE, None)
    pid = fn.pid
    assert error_of(fn.invoke(MAXIMUM_RESPONSE - 1)) == {
        "errorMessage": "Response payload size exceeded maximum allowed payload size (6291556 bytes).",
        "errorType": "Function.ResponseSizeTooLarge",
    }
    assert fn.invoke(3).payload == b'"xxx"'
    assert fn.pid == pid


def test_an_event_of_6_mb_goes_through_and_one_byte_more_is_refused(function):  # A.2
    fn = function("basic.nothing")
    assert fn.invoke(b'"' + b"x" * (MAXIMUM_PAYLOAD - 2) + b'"').payload == b"null"
    refused = fn.invoke(b'"' + b"x" * (MAXIMUM_PAYLOAD - 1) + b'"')
    assert (refused.status, refused.function_error) == (413, None)
    assert "6291457 byte payload is too large" in json.loads(refused.payload)["message"]


def test_stop_leaves_no_process_no_descriptor_and_no_folder(function):
    before = descriptors()
    fn = function("basic.environment")
    temporary = Path(json.loads(fn.invoke().payload)["variables"]["TMPDIR"])
    pid = fn.pid
    assert temporary.is_dir()
    for _ in range(2):
        fn.environment.stop()
    assert not Path(f"/proc/{pid}").exists()
    assert not temporary.exists()
    assert descriptors() == before


def test_what_is_invoked_after_a_stop_is_a_new_environment(function):
    fn = function("basic.leave_file")
    fn.invoke("stay")
    fn.environment.stop()
    again = fn.invoke("stay")
    assert json.loads(again.payload) == {"found": False, "calls": 1}
    assert again.init_duration > 0


def test_stop_before_the_first_invocation_is_fine(function):
    function("basic.echo").environment.stop()


def test_a_handler_may_clean_up_at_the_stop(function, tmp_path):  # E.3 Shutdown
    (tmp_path / "app.py").write_text(
        "import atexit\natexit.register(lambda: print('bye'))\ndef handler(event, context):\n    return 1\n"
    )
    fn = function("app.handler", code=tmp_path)
    fn.invoke()
    fn.environment.stop()
    assert fn.lines[-1] == "bye"


def test_a_handler_that_does_not_leave_is_killed_after_the_grace(function, tmp_path):
    (tmp_path / "app.py").write_text(
        "import threading, time\n"
        "def handler(event, context):\n"
        "    threading.Thread(target=time.sleep, args=(60,)).start()\n"
    )
    fn = function("app.handler", code=tmp_path)
    fn.invoke()
    pid = fn.pid
    fn.environment.stop(grace=0.05)
    assert not Path(f"/proc/{pid}").exists()


def test_a_kill_from_another_thread_ends_the_invocation_as_our_own_fault(function):
    fn = function("failing.ignores_sigterm", timeout=60)
    results = []
    thread = threading.Thread(target=lambda: results.append(fn.invoke()))
    thread.start()
    fn.wait_for_line("started")
    fn.environment.kill()
    fn.environment.kill()
    thread.join(timeout=10)
    assert (results[0].status, results[0].function_error) == (500, None)


def test_a_missing_code_folder_is_our_own_fault_and_told(function, tmp_path):
    result = function("app.handler", code=tmp_path / "absent").invoke()
    assert (result.status, result.function_error) == (500, None)
    body = json.loads(result.payload)
    assert body["Type"] == "Service"
    assert body["Message"] == f"CodeUri {tmp_path}/absent of function fn is no folder"


def test_a_missing_interpreter_is_our_own_fault_and_told(function, monkeypatch):
    monkeypatch.setattr(
        "poller.runtime.launch.find", lambda _: toolchains.Found(toolchains.Tool("/no/python", "3.13"), exact=True)
    )
    before = descriptors()
    result = function("basic.echo").invoke()
    assert result.status == 500
    assert "/no/python" in json.loads(result.payload)["Message"]
    assert descriptors() == before
