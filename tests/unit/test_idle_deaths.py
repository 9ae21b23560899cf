"""A process that ends while nothing is in work there: nobody gets it any more, and nothing of it stays (E.3)."""

import errno
import json
import os
import select
import signal
import threading
from pathlib import Path

import pytest
from handlers.extension_rig import told
from handlers.rig import HANDLERS, Gate, descriptors, is_running, wait_until_gone
from test_pool import Answers, submit
from waiting import eventually

from poller.function_pools import FunctionPools
from poller.model import FunctionConfiguration
from poller.runtime.exit_watch import CAN_WATCH, ExitWatch
from poller.runtime.pool import FunctionPool
from poller.runtime.prewarming import LOOK, Prewarming
from poller.settings import Settings

pytestmark = pytest.mark.skipif(not CAN_WATCH, reason="this system does not tell of ends of processes")


@pytest.fixture
def watch():
    one = ExitWatch()
    yield one
    one.stop()


@pytest.fixture
def pool(watch):
    pools = []

    def make(handler="basic.count", *, provisioned=0, concurrency=10, freeze=False, **configuration):
        given = {"code": HANDLERS, "handler": handler, "timeout": 30.0, **configuration}
        one = FunctionPool(
            FunctionConfiguration("fn", **given),
            log=lambda *_: None,
            account_concurrency=concurrency,
            provisioned=provisioned,
            exits=watch,
            freeze=freeze,
        )
        pools.append(one)
        one.start()
        return one

    yield make
    for one in pools:
        one.stop()
        assert one.stats().environments == 0


def asked(pool, answers, event=None):
    before = len(answers.results)
    submit(pool, answers, event=event, wait=False)
    return json.loads(answers.wait(before + 1)[-1].payload)


@pytest.mark.parametrize("freeze", [False, True])
def test_it_goes_with_all_that_it_started_and_the_next_event_has_a_new_environment(pool, tmp_path, freeze):
    (tmp_path / "app.py").write_text(
        "import os, subprocess\n"
        "child = subprocess.Popen(['sleep', '600'], start_new_session=True)\n"
        "def handler(event, context):\n"
        "    return os.getpid(), child.pid, os.environ['TMPDIR']\n"
    )
    one, answers = pool("app.handler", code=tmp_path, freeze=freeze), Answers()
    pid, child, temporary = asked(one, answers)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: one.stats().environments == 0)
    wait_until_gone(child)
    eventually(lambda: not Path(temporary).exists())
    assert asked(one, answers)[0] != pid
    assert (one.stats().environments, one.stats().cold_starts) == (1, 2)


def test_its_extensions_are_told_and_leave_at_once(pool, extended_configuration, tmp_path):
    one, answers = pool(**extended_configuration()), Answers()
    assert asked(one, answers, ["echo", 1]) == 1
    [[extension]] = told(tmp_path, "pid")
    [worker] = one._roster.workers.values()
    os.kill(worker.environment.process.pid, signal.SIGKILL)
    eventually(lambda: not is_running(extension))
    *_, [last] = told(tmp_path, "event")
    assert (last["eventType"], last["shutdownReason"]) == ("SHUTDOWN", "failure")


def test_an_end_that_is_told_while_something_is_in_work_counts_when_that_has_its_answer(pool, tmp_path):
    gate, answers = Gate(tmp_path), Answers()
    one = pool("gate.handler", code=tmp_path)
    for number, name in enumerate("ab"):
        submit(one, answers, event=gate.event(name))
        gate.entered(name)
        if number:
            [worker] = one._roster.workers.values()
            worker._process_ended(worker.environment.process)
            assert one.stats().environments == 1
        gate.open(name)
        answers.wait(number + 1)
    eventually(lambda: one.stats().environments == 0)
    assert answers.statuses == [200, 200]


def test_the_end_of_a_process_before_it_means_nothing(pool):
    one, answers = pool(), Answers()
    pid = asked(one, answers)["pid"]
    [worker] = one._roster.workers.values()
    worker._process_ended(object())
    assert asked(one, answers)["pid"] == pid


def test_a_provisioned_one_is_replaced_at_once_unless_it_had_just_been_started(pool):
    one = pool(provisioned=1)
    eventually(lambda: one.stats().provisioned_available == 1)
    [worker] = one._roster.workers.values()
    worker.prewarming._due -= LOOK  # as if it had lived for long
    eventually(lambda: worker in one._roster.idle)
    os.kill(worker.environment.process.pid, signal.SIGKILL)
    eventually(worker.ended.is_set)
    eventually(lambda: one.stats().provisioned_available == 1)
    [other] = one._roster.workers.values()
    assert other is not worker
    eventually(lambda: other._watched is not None)
    other.prewarming._due += 1000.0
    os.kill(other.environment.process.pid, signal.SIGKILL)
    eventually(lambda: other._ended is not None)
    assert list(one._roster.workers.values()) == [other]


def test_when_it_may_be_replaced_at_once():
    one = Prewarming()
    one.ended(None, 100.0)
    assert [one.settled(now) for now in (100.0, 100.0 + LOOK - 0.1, 100.0 + LOOK)] == [False, False, True]


def test_every_end_is_told_once_also_of_what_has_ended_before_and_a_failing_callback_harms_nobody(watch, caplog):
    first, second = (os.posix_spawn("/bin/true", ["true"], {}) for _ in range(2))
    os.waitid(os.P_PID, first, os.WEXITED | os.WNOWAIT)
    ends = []
    all_told = threading.Semaphore(0)

    def fail():
        ends.append(first)
        raise RuntimeError("out of luck")

    watch.watch(first, fail)
    watch.watch(second, lambda: (ends.append(second), all_told.release()))
    assert all_told.acquire(timeout=30)
    eventually(lambda: len(ends) == 2)
    for pid in (first, second):
        os.waitpid(pid, 0)
    assert "RuntimeError: out of luck" in caplog.text


def test_after_its_stop_it_tells_nothing_and_holds_nothing():
    before = descriptors()
    watch = ExitWatch()
    pid = os.posix_spawn("/bin/sleep", ["sleep", "600"], {})
    watch.watch(pid, lambda: pytest.fail("told"))
    watch.stop()
    watch.stop()
    watch.watch(pid, lambda: pytest.fail("told"))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert descriptors() == before


@pytest.mark.parametrize("missing", ["epoll", "pidfd"])
def test_without_descriptors_a_process_is_not_watched_and_the_next_one_may_be(watch, monkeypatch, missing):
    told = threading.Event()
    pid = os.posix_spawn("/bin/true", ["true"], {})
    before = descriptors()
    with monkeypatch.context() as patched:

        def full(*_):
            raise OSError(errno.EMFILE, "too many")

        if missing == "epoll":
            patched.setattr(select, "epoll", full)
        else:
            patched.setattr(os, "pidfd_open", full)
        watch.watch(pid, told.set)
    if missing == "epoll":
        assert descriptors() == before
    watch.watch(pid, told.set)
    assert told.wait(30)
    os.waitpid(pid, 0)


def test_a_service_watches_all_its_functions(tmp_path):
    pools = FunctionPools(Settings(), tmp_path, None)
    one = pools.make(FunctionConfiguration("fn", HANDLERS, "basic.count"), 10)
    answers = Answers()
    one.start()
    try:
        os.kill(asked(one, answers)["pid"], signal.SIGKILL)
        eventually(lambda: one.stats().environments == 0)
    finally:
        one.stop()
        pools.stop()
