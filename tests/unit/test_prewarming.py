"""Provisioned concurrency: environments are initialised before anybody invokes them, and kept so (E.2, E.3)."""

import json
import os
import re
import signal
import threading
from pathlib import Path

import pytest
from handlers.rig import HANDLERS, Gate, wait_until_gone
from hypothesis import given
from hypothesis import strategies as st
from test_pool import Answers, submit
from waiting import eventually

from poller.function_pools import FunctionPools
from poller.model import FunctionConfiguration
from poller.runtime import prewarming
from poller.runtime.environment import ExecutionEnvironment
from poller.runtime.pool import FunctionPool
from poller.runtime.prewarming import LOOK, Prewarming, ProvisionedConcurrency, init_timeout
from poller.settings import Settings


@pytest.fixture
def pool():
    made = []

    def make(handler="basic.count", code=HANDLERS, *, provisioned, started=True, idle_timeout=300.0, **configuration):
        function = FunctionConfiguration("fn", code, handler, **{"timeout": 30.0, **configuration})
        lines = []
        one = FunctionPool(
            function, log=lambda *line: lines.append(line), idle_timeout=idle_timeout, provisioned=provisioned
        )
        one.lines = lines
        made.append(one)
        if started:
            one.start()
        return one

    yield make
    for one in made:
        one.stop()
        assert one.stats().environments == 0


def available(pool):
    return pool.stats().provisioned_available


def pids(pool):
    dialogues = [worker.environment._sandbox.dialogue for worker in pool._roster.workers.values()]
    return [dialogue.process.pid for dialogue in dialogues if dialogue is not None]


def answered(pool, answers, event=None):
    before = len(answers.results)
    submit(pool, answers, event=event)
    return answers.wait(before + 1)[-1]


# --- when ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("timeout", "limit"), [(3, 130), (130, 130), (131, 131), (900, 900), (1000, 900)])
def test_the_init_of_a_provisioned_environment_may_take_130_s_or_the_timeout_and_15_min_at_most(timeout, limit):  # E.3
    assert init_timeout(timeout) == limit


def test_an_init_that_fails_is_tried_again_after_growing_pauses_up_to_a_minute():
    one, now, pauses = Prewarming(), 0.0, []
    assert one.due(now)
    for _ in range(8):
        one.ended("Runtime.ImportModuleError", now)
        assert not one.due(now)
        pauses.append(one.look_in(now))
        now += pauses[-1]
        assert one.due(now)
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]
    one.ended(None, now)
    assert (one.ready, one.failure, one.due(now), one.look_in(now)) == (True, None, True, LOOK)
    one.ended("timeout", now)
    assert (one.ready, one.look_in(now)) == (False, 1)


@given(st.integers(0, 5), st.integers(0, 5), st.none() | st.just("timeout"))
def test_its_status_is_that_of_the_api(requested, ready, failure):
    status = ProvisionedConcurrency(requested, ready, failure).status
    assert status == ("READY" if ready >= requested else "FAILED" if failure else "IN_PROGRESS")


# --- the pool --------------------------------------------------------------------------------------------------------


def test_so_many_environments_are_initialised_before_anybody_invokes(pool):
    one, answers = pool("basic.environment", provisioned=2), Answers()
    eventually(lambda: available(one) == 2)
    stats = one.stats()
    assert (stats.environments, stats.busy, stats.cold_starts, stats.invocations) == (2, 0, 2, 0)
    assert (stats.provisioned, stats.provisioned_available) == (2, 2)
    result = answered(one, answers)
    variables = json.loads(result.payload)["variables"]
    assert variables["AWS_LAMBDA_INITIALIZATION_TYPE"] == "provisioned-concurrency"
    assert one.stats().cold_starts == 2
    assert result.init_duration > 0  # E.5: the first report of an environment tells it
    assert answered(one, answers).init_duration is None
    assert not result.log_tail.startswith(b"INIT")
    starts = [(request, line) for line, request in one.lines if line.startswith("INIT_START")]
    assert len(starts) == 2
    assert all(re.fullmatch("[0-9a-f-]{36}", request) for request, _ in starts)


def test_on_demand_says_so(pool):  # E.2
    variables = json.loads(answered(pool("basic.environment", provisioned=0), Answers()).payload)["variables"]
    assert variables["AWS_LAMBDA_INITIALIZATION_TYPE"] == "on-demand"


def test_more_come_on_demand_and_only_those_are_reaped(pool, tmp_path):
    gate, answers = Gate(tmp_path), Answers()
    one = pool("gate.handler", tmp_path, provisioned=1, idle_timeout=0.02)
    eventually(lambda: available(one) == 1)
    [kept] = pids(one)
    for name in "ab":
        submit(one, answers, event=gate.event(name), request_id=name)
    gate.entered("a", "b")
    gate.open("a", "b")
    [other] = {json.loads(result.payload) for result in answers.wait(2)} - {kept}
    wait_until_gone(other)
    eventually(lambda: one.stats().environments == 1)
    assert pids(one) == [kept]


def test_provisioned_environments_are_used_before_those_on_demand(pool, tmp_path):
    gate, answers = Gate(tmp_path), Answers()
    one = pool("gate.handler", tmp_path, provisioned=1)
    eventually(lambda: available(one) == 1)
    [kept] = pids(one)
    for name in "ab":
        submit(one, answers, event=gate.event(name), request_id=name)
        gate.entered(name)
    for count, name in enumerate("ab", 1):  # the one on demand is the last to become free
        gate.open(name)
        answers.wait(count)
    assert json.loads(answered(one, answers, gate.event("a")).payload) == kept


def test_no_more_are_provisioned_than_may_run(pool):
    one = pool(provisioned=3, reserved_concurrent_executions=1)
    eventually(lambda: available(one) == 1)
    assert one.stats().environments == 1
    assert one.provisioned_concurrency() == ProvisionedConcurrency(3, 1, None)


def test_an_invocation_that_finds_no_other_place_takes_one_that_is_being_initialised(pool, tmp_path):
    go = tmp_path / "go"
    (tmp_path / "app.py").write_text(
        "import os, time\n"
        f"while not os.path.exists({str(go)!r}):\n"
        "    time.sleep(0.001)\n"
        "def handler(event, context):\n"
        "    return event\n"
    )
    one, answers = pool("app.handler", tmp_path, provisioned=1, reserved_concurrent_executions=1), Answers()
    assert one.stats().busy == 0
    submit(one, answers, event=1, wait=False)
    assert one.stats().busy == 1
    submit(one, answers, event=2, wait=False)
    assert answers.wait(1)[0].status == 429
    go.touch()
    assert answers.wait(2)[1].payload == b"1"
    assert one.stats().cold_starts == 1


@pytest.mark.parametrize("handler", ["failing.exits", "failing.ignores_sigterm"])
def test_after_a_crash_and_a_timeout_it_is_initialised_again(pool, handler):  # E.3
    one, answers = pool(handler, provisioned=1, timeout=0.3), Answers()
    eventually(lambda: available(one) == 1)
    assert answered(one, answers, 3).function_error == "Unhandled"
    eventually(lambda: one.stats().cold_starts == 2 and available(one) == 1)
    assert answered(one, answers, 3).init_duration is None


def test_its_files_are_kept_and_its_globals_are_new_when_it_is_initialised_again(pool):  # E.3
    one, answers = pool("basic.leave_file", provisioned=1), Answers()
    eventually(lambda: available(one) == 1)
    assert json.loads(answered(one, answers, "stay").payload) == {"found": False, "calls": 1}
    answered(one, answers, "exit")
    eventually(lambda: one.stats().cold_starts == 2 and available(one) == 1)
    assert json.loads(answered(one, answers, "stay").payload) == {"found": True, "calls": 1}


def test_one_whose_process_is_killed_while_it_waits_is_initialised_again(pool, monkeypatch):
    monkeypatch.setattr(prewarming, "LOOK", 0.01)
    one = pool(provisioned=1)
    eventually(lambda: available(one) == 1)
    [pid] = pids(one)
    os.kill(pid, signal.SIGKILL)
    wait_until_gone(pid)
    eventually(lambda: one.stats().cold_starts == 2 and available(one) == 1)
    assert pids(one) != [pid]


def test_a_failed_init_is_logged_and_told_tried_again_and_given_to_whoever_invokes(pool, tmp_path, caplog):  # E.3
    caplog.set_level("INFO")
    (tmp_path / "app.py").write_text("import nowhere\n")
    one, answers = pool("app.handler", tmp_path, provisioned=1), Answers()
    eventually(lambda: one.provisioned_concurrency().failure)
    assert one.provisioned_concurrency() == ProvisionedConcurrency(1, 0, "Runtime.ImportModuleError")
    assert any(
        re.fullmatch(r"INIT_REPORT .*\tPhase: init\tStatus: error\tError Type: Runtime.ImportModuleError", line)
        for line, _ in one.lines
    )
    told = "the init of a provisioned environment failed, next try in 1 s: Runtime.ImportModuleError"
    eventually(lambda: told in caplog.text)
    result = answered(one, answers)
    assert (result.status, result.function_error) == (200, "Unhandled")
    assert json.loads(result.payload)["errorType"] == "Runtime.ImportModuleError"
    (tmp_path / "app.py").write_text("def handler(event, context):\n    return 'mended'\n")
    eventually(lambda: available(one) == 1)
    assert answered(one, answers).payload == b'"mended"'
    assert "1 of 1 provisioned environments are initialised" in caplog.text


def test_an_init_that_failed_and_went_well_inside_an_invocation_is_over(pool, tmp_path):  # E.3
    (tmp_path / "app.py").write_text("import nowhere\n")
    one, answers = pool("app.handler", tmp_path, provisioned=1), Answers()
    eventually(lambda: one.provisioned_concurrency().failure)
    (tmp_path / "app.py").write_text("def handler(event, context):\n    return 'mended'\n")
    assert answered(one, answers).payload == b'"mended"'
    eventually(lambda: one.provisioned_concurrency() == ProvisionedConcurrency(1, 1, None))
    assert one.stats().cold_starts == 2


def test_what_is_wrong_here_is_told_as_well(pool, tmp_path, monkeypatch):
    one = pool("app.handler", tmp_path / "absent", provisioned=1)
    eventually(lambda: one.provisioned_concurrency().failure)
    assert one.provisioned_concurrency().failure == f"CodeUri {tmp_path}/absent of function fn is no folder"

    def fail(self, limit):
        raise RuntimeError("out of luck")

    monkeypatch.setattr(ExecutionEnvironment, "prewarm", fail)
    two = pool(provisioned=1)
    eventually(lambda: two.provisioned_concurrency().failure == "RuntimeError: out of luck")


def test_a_stop_does_not_wait_for_an_init(pool, tmp_path):
    (tmp_path / "app.py").write_text("print('begun', flush=True)\nimport time\ntime.sleep(60)\n")
    one = pool("app.handler", tmp_path, provisioned=1)
    eventually(lambda: any(line == "begun" for line, _ in one.lines))
    [pid] = pids(one)
    one.stop(grace=60)
    assert not Path(f"/proc/{pid}").exists()


def source(text, wait_for_file=None):
    wait = f"while not os.path.exists({str(wait_for_file)!r}):\n    time.sleep(0.001)\n" if wait_for_file else ""
    return f"import os, time\n{wait}def handler(event, context):\n    return {text!r}\n"


def test_when_the_code_is_saved_the_new_one_is_initialised(pool, tmp_path):
    code = tmp_path / "app.py"
    code.write_text(source("old"))
    one, answers = pool("app.handler", tmp_path, provisioned=1), Answers()
    eventually(lambda: available(one) == 1)
    code.write_text(source("newer code"))
    one.reload()
    eventually(lambda: one.stats().cold_starts == 2 and available(one) == 1)
    assert answered(one, answers).payload == b'"newer code"'
    assert one.stats().cold_starts == 2


@pytest.mark.parametrize("invoked", [False, True])
def test_code_that_is_saved_while_an_environment_is_initialised_runs_in_another(pool, tmp_path, invoked):
    code, go = tmp_path / "app.py", tmp_path / "go"
    code.write_text(source("old", go))
    one, answers = pool("app.handler", tmp_path, provisioned=1, reserved_concurrent_executions=1), Answers()
    eventually(lambda: pids(one))
    code.write_text(source("newer code"))
    one.reload()
    if invoked:
        submit(one, answers)
    go.touch()
    eventually(lambda: one.stats().cold_starts == 2)
    assert (answers.wait(1)[0] if invoked else answered(one, answers)).payload == b'"newer code"'
    eventually(lambda: available(one) == 1)


def test_the_number_can_be_changed_while_it_runs(pool):
    one = pool(provisioned=0, idle_timeout=0.02)
    one.provision(2)
    eventually(lambda: available(one) == 2)
    one.provision(1)
    assert one.provisioned_concurrency() == ProvisionedConcurrency(1, 1, None)
    answers = Answers()
    submit(one, answers)
    answers.wait(1)
    one.provision(0)
    assert one.provisioned_concurrency().status == "READY"


def test_those_on_demand_make_room_once_they_are_free(pool, tmp_path):  # E.3
    gate, answers = Gate(tmp_path), Answers()
    one = pool("gate.handler", tmp_path, provisioned=0, reserved_concurrent_executions=2)
    for name in "ab":
        submit(one, answers, event=gate.event(name), request_id=name)
    gate.entered("a", "b")
    gate.open("a")
    on_demand = {json.loads(answers.wait(1)[0].payload)}
    eventually(lambda: one.stats().busy == 1)
    one.provision(2)
    eventually(lambda: available(one) == 1)  # in place of the one that was idle
    gate.open("b")
    on_demand.add(json.loads(answers.wait(2)[1].payload))
    eventually(lambda: available(one) == 2)
    assert one.provisioned_concurrency() == ProvisionedConcurrency(2, 2, None)
    assert not on_demand.intersection(pids(one))
    assert one.stats().environments == 2


def test_one_that_is_not_provisioned_any_more_ends_when_it_is_idle(pool, monkeypatch):
    monkeypatch.setattr(prewarming, "LOOK", 0.01)
    one = pool(provisioned=1, idle_timeout=0.02)
    eventually(lambda: available(one) == 1)
    one.provision(0)
    eventually(lambda: one.stats().environments == 0)


def test_no_thread_left_is_told_and_tried_again_with_the_next_one_that_ends(pool, monkeypatch):
    def refuse(self):
        raise RuntimeError("can't start new thread")

    one = pool(provisioned=1, started=False)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        one.start()
    assert one.stats().environments == 0
    one.start()
    eventually(lambda: available(one) == 1)


def test_a_setting_of_a_function_is_of_its_latest_version_and_of_none_that_waits_for_a_debugger(tmp_path):
    def provisioned(settings=None, **configuration):
        pools = FunctionPools(settings or Settings(), tmp_path, None, {"fn": 2})
        return (
            pools.make(FunctionConfiguration("fn", HANDLERS, "basic.count", **configuration), 1000).stats().provisioned
        )

    assert provisioned() == 2
    assert provisioned(reserved_concurrent_executions=1) == 1
    assert provisioned(version="3") == 0
    assert provisioned(Settings(Debug="fn")) == 0
