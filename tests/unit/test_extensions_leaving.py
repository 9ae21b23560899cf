"""Whatever ends an environment, its extensions leave in time, and what ended it is told (A.4, E.3)."""

import os
import select
import signal
import threading
from time import monotonic

import pytest
from handlers.extension_rig import children, told
from handlers.rig import HANDLERS, error_of, exited, is_running
from unit.test_pool import Answers, submit
from waiting import eventually

from poller.model import FunctionConfiguration
from poller.runtime import limits
from poller.runtime.environment import ExecutionEnvironment
from poller.runtime.extension_host import ExtensionHost
from poller.runtime.extension_processes import ExtensionProcesses
from poller.runtime.initialization import Initialization
from poller.runtime.memory import Held
from poller.runtime.pool import FunctionPool
from poller.runtime.sandbox import Sandbox


def test_too_much_memory_is_told_though_the_extension_is_seen_to_end_first(
    extended_function, tmp_path, monkeypatch
):  # A.4
    monkeypatch.setattr(limits, "held_by", lambda *_: Held(10**12, 1))
    fn = extended_function()
    assert fn.invoke(["echo", 1]).payload == b"1"
    [[pid]] = told(tmp_path, "pid")
    # As all are killed at once, but a process with much memory takes longer to end.
    fn.environment._sandbox.dialogue.kill = lambda: os.kill(pid, signal.SIGKILL)

    def look():
        fn.wait_for_line("child")
        fn.environment.look_at_memory()

    looking = threading.Thread(target=look)
    looking.start()
    result = fn.invoke(["child"])
    looking.join()
    assert error_of(result) == exited("with error: signal: killed")
    assert fn.report().endswith("\tStatus: error\tError Type: Runtime.OutOfMemory")


@pytest.mark.parametrize("end", ["dies idle", "init error"])
def test_that_extensions_of_an_environment_that_ended_leave_takes_nothing_of_the_next_event_s_time(
    extended_function, monkeypatch, end
):  # E.3
    fn = extended_function("" if end == "dies idle" else end)
    settled, deadlines = [], []
    settle, inside = Sandbox.settle, Initialization.inside_invocation

    def note_settled(self):
        settle(self)
        settled.append(monotonic())

    def note_deadline(self, deadline):
        assert self._sandbox._last is None, "an extension has still to leave"
        deadlines.append(deadline)
        inside(self, deadline)

    if end == "dies idle":
        assert fn.invoke(["echo", 1]).payload == b"1"
        os.kill(fn.pid, signal.SIGKILL)
        os.waitid(os.P_PID, fn.pid, os.WEXITED | os.WNOWAIT)
    monkeypatch.setattr(Sandbox, "settle", note_settled)
    monkeypatch.setattr(Initialization, "inside_invocation", note_deadline)
    error = fn.invoke(["echo", 2], request_id="id-2").function_error
    assert error == (None if end == "dies idle" else "Unhandled")
    [deadline] = deadlines
    before_init = settled[-2]  # the last one is init's own, with nothing to do
    assert deadline >= before_init + fn.configuration.timeout


def test_after_a_prewarming_that_failed_extensions_do_not_stay_until_the_next_try(extended_function, tmp_path):
    fn = extended_function("init error")
    assert fn.environment.prewarm(20.0) == "Extension.InitError"
    [[pid]] = told(tmp_path, "pid")
    assert not is_running(pid)


def test_when_extensions_cannot_be_let_go_the_event_that_follows_is_answered(
    extended_configuration, monkeypatch, caplog
):
    failures = [RuntimeError("out of luck")]
    shut_down = ExtensionHost.shut_down

    def fail_once(self, reason, server):
        shut_down(self, reason, server)
        if failures:
            raise failures.pop()

    monkeypatch.setattr(ExtensionHost, "shut_down", fail_once)
    pool = FunctionPool(
        FunctionConfiguration("fn", **extended_configuration()), log=lambda *_: None, account_concurrency=1
    )
    answers = Answers()
    pool.start()
    try:
        submit(pool, answers, event=["exit", 3])
        submit(pool, answers, event=["echo", 2])
        assert [result.payload[:1] for result in answers.wait(2)] == [b"{", b"2"]
    finally:
        pool.stop()
    assert "RuntimeError: out of luck" in caplog.text


@pytest.fixture
def leaving(extended_configuration, monkeypatch):
    """A pool whose environments, when they have ended, have extensions that leave only when they are let."""
    began, let, settle = threading.Semaphore(0), threading.Event(), ExecutionEnvironment.settle

    def settle_when_let(self):
        began.release()
        assert let.wait(30)
        settle(self)

    monkeypatch.setattr(ExecutionEnvironment, "settle", settle_when_let)
    pools = []

    def make(concurrency):
        configuration = FunctionConfiguration("fn", **extended_configuration())
        pool = FunctionPool(configuration, log=lambda *_: None, account_concurrency=concurrency)
        pools.append(pool)
        pool.start()
        return pool, began, let

    yield make
    let.set()
    for pool in pools:
        pool.stop()
        assert pool.stats().environments == 0


def test_who_invokes_while_extensions_leave_gets_another_environment(leaving):  # E.3
    pool, began, let = leaving(2)
    answers = Answers()
    submit(pool, answers, event=["exit", 3], wait=False)
    assert began.acquire(timeout=30)
    assert (pool.stats().environments, pool.stats().busy) == (1, 0)
    submit(pool, answers, event=["echo", 2], wait=False)
    assert answers.wait(2)[-1].payload == b"2"
    assert pool.stats().environments == 2
    submit(pool, answers, event=["echo", 3], wait=False)
    assert answers.wait(3)[-1].payload == b"3", "one that is warm is taken first"
    assert pool.stats().cold_starts == 2
    let.set()


def test_without_room_for_another_who_invokes_waits_for_extensions_to_leave_and_is_not_throttled(leaving):  # A.3
    pool, began, let = leaving(1)
    answers = Answers()
    submit(pool, answers, event=["exit", 3], wait=False)
    assert began.acquire(timeout=30)
    submit(pool, answers, event=["echo", 2], wait=False)
    submit(pool, answers, event=["echo", 3], wait=True)
    submit(pool, answers, event=["echo", 4], wait=False)
    assert answers.wait(2)[-1].status == 429, "one waits for it already"
    let.set()
    assert [result.payload for result in answers.wait(4)[2:]] == [b"2", b"3"]


def test_one_whose_extensions_leave_runs_code_that_was_saved_meanwhile_in_a_new_environment(leaving):
    pool, began, let = leaving(1)
    answers = Answers()
    submit(pool, answers, event=["exit", 3])
    assert began.acquire(timeout=30)
    [worker] = pool._roster.workers.values()
    before = worker.environment
    pool.reload()
    submit(pool, answers, event=["echo", 2], wait=False)
    let.set()
    assert answers.wait(2)[-1].payload == b"2"
    assert worker.environment is not before


def test_what_waits_is_taken_by_whoever_is_free_first_and_not_by_one_whose_extensions_leave(leaving, tmp_path):
    pool, began, let = leaving(2)
    answers, gate = Answers(), tmp_path / "gate"
    submit(pool, answers, event=["until", str(gate)])
    submit(pool, answers, event=["exit", 3])
    assert began.acquire(timeout=30)
    submit(pool, answers, event=["echo", 3])
    gate.touch()
    assert [result.payload for result in answers.wait(3)[1:]] == [b"null", b"3"]
    let.set()


@pytest.mark.parametrize("what", ["stop", "reload", "limit"])
def test_one_whose_extensions_leave_ends_with_the_others(leaving, what):
    pool, began, let = leaving(1)
    answers = Answers()
    submit(pool, answers, event=["exit", 3])
    assert began.acquire(timeout=30)
    if what == "stop":
        threading.Timer(0.0, let.set).start()
        pool.stop()
    elif what == "reload":
        pool.reload()
    else:
        pool.reserve(0, 1)
    let.set()
    eventually(lambda: pool.stats().environments == 0)


def test_what_extensions_have_ends_also_when_they_cannot_be_let_go():
    class Leaving:
        def leave(self, reason):
            raise RuntimeError(reason)

    sandbox = Sandbox(FunctionConfiguration("fn", HANDLERS, "a.b"))
    ended = []
    sandbox._limits.end = lambda: ended.append(True)
    sandbox._last = Leaving()
    with pytest.raises(RuntimeError, match="failure"):
        sandbox.settle()
    sandbox.settle()
    assert ended == [True]


def test_who_asks_for_the_programs_while_they_are_let_go_gets_them_or_none():
    class Programs:
        pids = (1, 2)

    class Host(ExtensionHost):
        """Lets the programs go as soon as somebody has looked at them."""

        @property
        def _processes(self):
            programs, self.programs = self.programs, None
            return programs

        @_processes.setter
        def _processes(self, programs):
            self.programs = programs

    host = Host(FunctionConfiguration("fn", HANDLERS, "a.b"), log=None, poll=None, telemetry=None)
    host._processes = Programs()
    assert (host.pids, host.pids) == ((1, 2), ())


def test_when_one_extension_cannot_be_started_none_is_left(tmp_path):
    program = tmp_path / "first"
    program.write_text("#!/bin/sh\nexec sleep 600\n")
    program.chmod(0o755)
    before = set(children())
    with pytest.raises(ValueError, match="null byte"):
        ExtensionProcesses(
            [program, tmp_path / "second\0"],
            folder=tmp_path,
            variables={"AWS_LAMBDA_LOG_STREAM_NAME": "stream"},
            output=lambda _: None,
            poll=select.poll(),
        )
    assert set(children()) == before
