"""`Freeze: true`: between two events nothing of a function runs, and all of it goes on with the next (E.3)."""

import json
import os
import signal
from pathlib import Path

import pytest
from handlers.rig import HANDLERS, Function, Gate, group_of, state_of, wait_until_gone
from test_pool import Answers, submit
from waiting import eventually

from poller.model import FunctionConfiguration
from poller.runtime.pool import FunctionPool


@pytest.fixture
def pool():
    made = []

    def make(handler, code=HANDLERS, *, freeze=True, idle_timeout=300.0, provisioned=0, **configuration):
        function = FunctionConfiguration("fn", code, handler, **{"timeout": 30.0, **configuration})
        lines = []
        one = FunctionPool(
            function,
            log=lambda line, _: lines.append(line),
            idle_timeout=idle_timeout,
            provisioned=provisioned,
            freeze=freeze,
        )
        one.lines = lines
        made.append(one)
        one.start()
        return one

    yield make
    for one in made:
        one.stop()


def wait_for_state(pid, *states):
    """Of the whole process group."""
    eventually(lambda: {state_of(member) for member in group_of(pid)} <= set(states), what=f"{states} of {pid}")


def answered(pool, answers, event=None):
    before = len(answers.results)
    submit(pool, answers, event=event)
    return json.loads(answers.wait(before + 1)[-1].payload)


def test_between_two_events_neither_threads_nor_children_run_and_both_go_on_with_the_next(pool, tmp_path):
    one, answers, event = pool("background.handler"), Answers(), str(tmp_path / "count")
    first = answered(one, answers, event)
    wait_for_state(first["pid"], "T")
    assert len(group_of(first["pid"])) == 2
    frozen = Path(f"{event}.child").stat().st_size
    second = answered(one, answers, event)
    assert second["pid"] == first["pid"]
    assert second["ticks"] >= first["ticks"] + 3
    assert Path(f"{event}.child").stat().st_size >= frozen + 3
    wait_for_state(first["pid"], "T")


def test_so_it_is_over_the_runtime_api(pool):  # E.1
    pytest.importorskip("awslambdaric", reason="AWS's client is not installed")
    one, answers = pool("basic.count", runtime_client="aws"), Answers()
    first = answered(one, answers)
    wait_for_state(first["pid"], "T")
    second = answered(one, answers)
    assert (second["pid"], second["calls"]) == (first["pid"], 2)
    wait_for_state(first["pid"], "T")


def test_without_the_setting_they_run_on(pool, tmp_path):
    one, answers, event = pool("background.handler", freeze=False), Answers(), tmp_path / "count"
    pid = answered(one, answers, str(event))["pid"]
    child = Path(f"{event}.child")
    size = child.stat().st_size
    eventually(lambda: child.stat().st_size >= size + 3)
    assert "T" not in {state_of(member) for member in group_of(pid)}


def test_a_process_that_left_the_group_runs_on(pool, tmp_path):
    (tmp_path / "app.py").write_text(
        "import os, subprocess, sys\n"
        "from background import COUNTER\n"
        "def handler(event, context):\n"
        "    subprocess.Popen([sys.executable, '-c', COUNTER, event], start_new_session=True)\n"
        "    return os.getpid()\n"
    )
    counted = tmp_path / "count"
    one, answers = pool("app.handler", tmp_path, environment={"PYTHONPATH": str(HANDLERS)}), Answers()
    wait_for_state(answered(one, answers, str(counted)), "T")
    eventually(lambda: counted.exists() and counted.stat().st_size >= 3)


def test_a_frozen_environment_is_stopped_as_gently_as_any_other(pool, tmp_path):
    (tmp_path / "app.py").write_text(
        "import atexit, os\n"
        "atexit.register(lambda: print('bye'))\n"
        "def handler(event, context):\n"
        "    return os.getpid()\n"
    )
    one, answers = pool("app.handler", tmp_path), Answers()
    pid = answered(one, answers)
    wait_for_state(pid, "T")
    one.stop()
    assert one.lines[-1] == "bye"
    assert not Path(f"/proc/{pid}").exists()


def test_a_frozen_environment_is_reaped_after_its_idle_time(pool):
    one, answers = pool("basic.count", idle_timeout=0.02), Answers()
    for _ in range(2):
        wait_until_gone(answered(one, answers)["pid"])
    assert one.stats().environments == 0


def test_a_process_that_is_killed_while_it_is_frozen_costs_no_event(pool):
    one, answers = pool("basic.count"), Answers()
    pid = answered(one, answers)["pid"]
    wait_for_state(pid, "T")
    os.kill(pid, signal.SIGKILL)
    wait_until_gone(pid)
    again = answered(one, answers)
    assert (again["calls"], again["pid"] == pid) == (1, False)
    assert answers.statuses == [200, 200]


def test_an_environment_with_events_laid_ahead_is_not_idle(pool, tmp_path):
    gate, answers = Gate(tmp_path), Answers()
    one = pool("gate.handler", tmp_path, reserved_concurrent_executions=1)
    for name in "abc":
        submit(one, answers, event=gate.event(name))
    for count, name in enumerate("abc", 1):
        gate.entered(name)
        gate.open(name)
        answers.wait(count)
    assert len({result.payload for result in answers.results}) == 1
    wait_for_state(int(answers.results[0].payload), "T")


def test_a_provisioned_environment_is_frozen_until_its_first_event(pool):
    one, answers = pool("basic.count", provisioned=1), Answers()
    eventually(lambda: one.stats().provisioned_available)
    [worker] = one._roster.workers.values()
    wait_for_state(worker.environment._sandbox.dialogue.process.pid, "T")
    assert answered(one, answers)["calls"] == 1


@pytest.mark.parametrize(("ending", "failure"), [("sleep", "Sandbox.Timedout"), ("exit", "Runtime.ExitError")])
def test_a_timeout_and_a_crash_of_a_woken_environment_are_what_they_always_are(pool, ending, failure):  # A.4, E.3
    one, answers = pool("basic.leave_file", timeout=2.0), Answers()
    assert answered(one, answers, "stay") == {"found": False, "calls": 1}
    assert answered(one, answers, ending)["errorType"] == failure
    assert answered(one, answers, "stay") == {"found": True, "calls": 1}


def test_freezing_twice_and_waking_what_is_awake_changes_nothing():
    fn = Function("basic.count")
    try:
        fn.environment.freeze()  # nothing is there yet
        fn.invoke()
        for _ in range(2):
            fn.environment.freeze()
        wait_for_state(fn.pid, "T")
        assert json.loads(fn.invoke().payload)["calls"] == 2
        assert state_of(fn.pid) != "T"
    finally:
        fn.environment.stop()
