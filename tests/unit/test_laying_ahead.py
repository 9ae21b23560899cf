"""The next event lies in the pipe before the last one is answered; each is still begun alone, once, with its own time.

One event at a time, an environment that is reset, a deadline from the event's own beginning: E.3, A.4.
"""

import json
import os
import random
import signal
import threading
from collections import Counter
from types import SimpleNamespace

import pytest
from handlers.rig import HANDLERS, Function, Gate, error_of, exited
from waiting import eventually

from poller.model import FunctionConfiguration, Invocation
from poller.runtime.claims import SLOTS
from poller.runtime.environment import ExecutionEnvironment
from poller.runtime.environment_thread import Job
from poller.runtime.pool import FunctionPool
from poller.runtime.roster import Roster


class Ahead(Function):
    """A function whose environment gets events laid ahead."""

    def __init__(self, *args, **keywords):
        super().__init__(*args, **keywords)
        self.log = []
        self.take_back = {}

    def _log(self, line, request_id):
        super()._log(line, request_id)
        if hasattr(self, "log"):
            self.log.append((request_id, line))

    def make(self, request_id, event):
        arn = self.configuration.function_arn
        return Invocation(request_id, json.dumps(event).encode(), arn)

    def run(self, first, *laid):
        """Invoke one with others behind it; its result."""
        waiting = list(laid)

        def feed():
            while waiting and self.environment.has_room():
                one = waiting.pop(0)
                self.take_back[one.request_id] = self.environment.lay(one)

        return self.environment.invoke(first, feed)


@pytest.fixture
def function():
    made = []

    def make(*args, **keywords):
        made.append(Ahead(*args, **{"timeout": 30.0, **keywords}))
        return made[-1]

    yield make
    for one in made:
        one.environment.stop()


@pytest.fixture
def begun(tmp_path):
    return tmp_path / "begun"


def noted(begun):
    return begun.read_text().split() if begun.exists() else []


def test_the_handler_goes_on_before_anybody_asks_for_its_answer(function, tmp_path):
    gate = Gate(tmp_path)
    fn = function("gate.handler", code=tmp_path)
    a, b = fn.make("a", gate.event("a")), fn.make("b", gate.event("b"))
    gate.open("a")
    assert fn.run(a, b).request_id == "a"
    gate.entered("b")  # nobody has invoked it yet
    gate.open("b")
    assert json.loads(fn.run(b).payload) == fn.pid


def test_events_are_begun_one_at_a_time_in_the_order_in_which_they_were_laid(function, begun):
    fn = function("ahead.note")
    events = [fn.make(str(number), {"begun": str(begun)}) for number in range(SLOTS + 1)]
    results = [fn.run(events[0], *events[1:])] + [fn.run(event) for event in events[1:]]
    assert [result.request_id for result in results] == [event.request_id for event in events] == noted(begun)
    assert fn.environment.cold_starts == 1


def test_its_time_counts_from_its_own_beginning(function, begun):  # A.4
    fn = function("ahead.note")
    first, second = fn.make("1", {"begun": str(begun), "seconds": 2}), fn.make("2", {"begun": str(begun)})
    fn.run(first, second)
    assert json.loads(fn.run(second).payload)["left"] > 28_500


def test_a_crash_takes_nothing_but_the_event_in_work(function, begun):  # A.4, E.3
    fn = function("ahead.note")
    first, second = fn.make("1", {"begun": str(begun), "exit": True}), fn.make("2", {"begun": str(begun)})
    assert error_of(fn.run(first, second)) == exited("with error: exit status 3", "1")
    assert fn.run(second).function_error is None
    assert noted(begun) == ["1", "2"]
    assert fn.environment.cold_starts == 2


def test_a_timeout_takes_nothing_but_the_event_in_work(function, begun):  # A.4, E.3
    fn = function("ahead.note", timeout=1.0)
    first, second = fn.make("1", {"begun": str(begun), "seconds": 60}), fn.make("2", {"begun": str(begun)})
    assert error_of(fn.run(first, second))["errorType"] == "Sandbox.Timedout"
    assert fn.run(second).function_error is None
    assert noted(begun) == ["1", "2"]


def test_an_event_that_was_taken_back_is_not_begun(function, begun):
    fn = function("ahead.note")
    first = fn.make("1", {"begun": str(begun), "seconds": 1})  # time enough to take the second one back
    second, third = (fn.make(name, {"begun": str(begun)}) for name in "23")
    thread = threading.Thread(target=fn.run, args=(first, second, third))
    thread.start()
    eventually(lambda: "3" in fn.take_back)
    assert fn.take_back["2"]()
    thread.join()
    assert fn.run(third).request_id == "3"
    assert not fn.take_back["3"]()
    assert noted(begun) == ["1", "3"]
    assert fn.run(second).request_id == "2"  # as if it had never been laid


def test_every_line_belongs_to_the_event_that_wrote_it(function):  # E.5
    fn = function("ahead.talk")
    events = [fn.make(f"request-{number}", {"lines": 50 * number}) for number in range(4)]
    fn.run(events[0], *events[1:])
    for event in events[1:]:
        fn.run(event)
    for request_id in (event.request_id for event in events):
        own = [line for owner, line in fn.log if owner == request_id]
        assert own[-2].startswith(f"END RequestId: {request_id}")
        said = own[own.index(f"START RequestId: {request_id} Version: $LATEST") + 1 : -2]
        lines = 50 * int(request_id[-1])
        assert said == [f"{request_id} {number}" for number in range(lines)] + [f"{request_id} last"]


# --- the pool --------------------------------------------------------------------------------------------------------


class Everybody:
    """What was answered, by request."""

    def __init__(self):
        self.changed = threading.Condition()
        self.results = []

    def __call__(self, result):
        with self.changed:
            self.results.append(result)
            self.changed.notify_all()

    def wait(self, number, timeout=60):
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.results) >= number, timeout)
        return self.results


def make_pool(handler, code=HANDLERS, *, concurrency, timeout=30.0):
    function = FunctionConfiguration("fn", code, handler, timeout=timeout, reserved_concurrent_executions=concurrency)
    pool = FunctionPool(function, log=lambda *_: None)
    pool.start()
    return pool


def submit(pool, answers, request_id, event):
    arn = pool.configuration.function_arn
    pool.submit(Invocation(request_id, json.dumps(event).encode(), arn), answers, wait=True)


def test_nothing_waits_behind_a_slow_event_while_another_environment_is_free(tmp_path):
    gate, answers = Gate(tmp_path), Everybody()
    pool = make_pool("gate.handler", tmp_path, concurrency=2)
    try:
        for name in ("slow", "quick"):
            submit(pool, answers, name, gate.event(name))
        gate.entered("slow", "quick")
        for name in "abcdef":  # some of them are laid behind the slow one
            submit(pool, answers, name, gate.event(name))
            gate.open(name)
        gate.open("quick")
        assert {result.request_id for result in answers.wait(7)} == {"quick", *"abcdef"}
        gate.open("slow")
        answers.wait(8)
    finally:
        pool.stop()
    assert pool.stats().waiting == 0


def test_an_event_that_is_too_large_is_refused_in_its_turn_and_harms_no_other(tmp_path):  # A.2
    gate, answers = Gate(tmp_path), Everybody()
    pool = make_pool("gate.handler", tmp_path, concurrency=1)
    try:
        submit(pool, answers, "running", gate.event("running"))
        gate.entered("running")
        submit(pool, answers, "large", "x" * 7_000_000)
        submit(pool, answers, "next", gate.event("next"))
        gate.open("running", "next")
        assert [(one.request_id, one.status) for one in answers.wait(3)] == [
            ("running", 200),
            ("large", 413),
            ("next", 200),
        ]
    finally:
        pool.stop()


@pytest.mark.parametrize("seed", range(4))
def test_whenever_processes_are_killed_every_event_is_begun_once_and_answered_once(begun, seed):  # E.3
    chance, answers, number = random.Random(seed), Everybody(), 150
    pool = make_pool("ahead.note", concurrency=2)
    try:
        for request in range(number):
            event = {"begun": str(begun), "exit": chance.random() < 0.05, "seconds": chance.choice((0, 0, 0.002))}
            submit(pool, answers, str(request), event)
            if chance.random() < 0.15:
                for worker in list(pool._roster.workers.values()):
                    dialogue = worker.environment._sandbox.dialogue
                    if dialogue is not None and chance.random() < 0.5:
                        dialogue.process.kill()
        results = answers.wait(number)
        assert Counter(result.request_id for result in results) == Counter(map(str, range(number)))
        assert {result.status for result in results} == {200}
        times = Counter(noted(begun))
        unbegun = {result.request_id for result in results} - set(times)
        assert set(times.values()) == {1}
        failed = {result.request_id for result in results if result.function_error}
        # Killed in the moment before its own note: begun as far as the protocol knows.
        assert unbegun <= failed
    finally:
        pool.stop()


def test_a_stop_answers_what_lies_ahead_without_having_begun_it(tmp_path, begun):
    gate, answers = Gate(tmp_path), Everybody()
    pool = make_pool("gate.handler", tmp_path, concurrency=1)
    submit(pool, answers, "running", gate.event("running"))
    gate.entered("running")
    for name in "abc":
        submit(pool, answers, name, gate.event(name))
    stopping = threading.Thread(target=pool.stop, kwargs={"grace": 30.0})
    stopping.start()
    assert {result.status for result in answers.wait(3)} == {500}
    gate.open("running", *"abc")
    stopping.join()
    by_request = {result.request_id: result.status for result in answers.results}
    assert by_request == {"running": 200, "a": 500, "b": 500, "c": 500}
    assert not any((tmp_path / f"{name}.entered").exists() for name in "abc")


def test_an_event_that_is_on_its_way_into_the_pipe_at_the_stop_is_taken_back(tmp_path, monkeypatch):
    gate, answers = Gate(tmp_path), Everybody()
    pool = make_pool("gate.handler", tmp_path, concurrency=1)
    submit(pool, answers, "running", gate.event("running"))
    gate.entered("running")
    laying, stopped = threading.Event(), threading.Event()
    lay = ExecutionEnvironment.lay

    def lay_late(environment, invocation):
        laying.set()
        assert stopped.wait(10)
        return lay(environment, invocation)

    monkeypatch.setattr(ExecutionEnvironment, "lay", lay_late)
    submit(pool, answers, "late", gate.event("late"))
    assert laying.wait(10)
    stopping = threading.Thread(target=pool.stop, kwargs={"grace": 30.0})
    stopping.start()
    eventually(lambda: not pool._roster.running)
    stopped.set()
    assert [(one.request_id, one.status) for one in answers.wait(1)] == [("late", 500)]
    gate.open("running", "late")
    stopping.join()
    assert answers.results[1].status == 200
    assert not (tmp_path / "late.entered").exists()


def test_a_process_that_is_stopped_loses_no_event_that_lies_in_its_pipe(function, begun):
    fn = function("ahead.note")
    first, second = fn.make("1", {"begun": str(begun)}), fn.make("2", {"begun": str(begun)})
    fn.run(first)
    os.kill(fn.pid, signal.SIGSTOP)
    answered = []
    thread = threading.Thread(target=lambda: answered.append(fn.run(fn.make("x", {"begun": str(begun)}), second)))
    thread.start()
    eventually(lambda: "2" in fn.take_back)
    os.kill(fn.pid, signal.SIGKILL)
    thread.join()
    assert fn.run(second).function_error is None
    assert noted(begun)[-1] == "2"
    assert Counter(noted(begun))["2"] == 1


def test_a_python_without_eventfds_of_its_own_begins_what_was_laid_ahead(function, tmp_path):
    """Python 3.9 has no `os.eventfd_read`."""
    (tmp_path / "app.py").write_text(
        "import os\n"
        "del os.eventfd, os.eventfd_read, os.eventfd_write\n"
        "calls = 0\n"
        "def handler(event, context):\n"
        "    global calls\n"
        "    calls += 1\n"
        "    return calls\n"
    )
    fn = function("app.handler", code=tmp_path)
    assert fn.invoke().payload == b"1"  # a cold start has no room
    first, second = fn.make("id-1", None), fn.make("id-2", None)
    assert fn.run(first, second).payload == b"2"
    assert fn.take_back, "it was laid ahead"
    assert fn.environment.invoke(second).payload == b"3"
    assert fn.environment.cold_starts == 1


class Idler:
    """A worker as far as the roster looks at it."""

    def __init__(self, *, room: bool, generation: int = 0) -> None:
        self.generation = generation
        self.environment = SimpleNamespace(has_room=lambda: room)


def test_an_event_that_comes_later_is_for_a_worker_whose_pipe_has_room():
    roster = Roster(provisioned=0)
    full, outdated, free = Idler(room=False), Idler(room=True, generation=-1), Idler(room=True)
    assert not any(roster.has_more(worker) for worker in (full, outdated, free)), "nothing waits"
    assert outdated not in roster.hungry
    job = Job(Invocation("1", b"{}", "arn"), lambda _: None)
    assert roster.wait(job) is free
    assert roster.wait(job) is None, "it was told once"
    assert all(roster.has_more(worker) for worker in (full, free)), "whoever has laid one looks for the next"
