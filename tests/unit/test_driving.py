"""Quick invocations are driven on the poller's thread; what is not quick, or goes wrong, is the environment's as before.

One event at a time, each begun once, its time from its own beginning, errors and timeouts of its own: E.3, A.4.
"""

import errno
import json
import os
import random
import signal
import threading
from collections import Counter
from queue import SimpleQueue
from types import SimpleNamespace

import pytest
from handlers.rig import HANDLERS, Gate, descriptors, error_of, exited
from waiting import eventually

from poller import reports
from poller.model import FunctionConfiguration, Invocation
from poller.reports import Reports
from poller.runtime import driving, environment_thread
from poller.runtime.claims import SLOTS
from poller.runtime.driving import MOMENT, Driver
from poller.runtime.environment import ExecutionEnvironment
from poller.runtime.environment_thread import Job
from poller.runtime.pool import FunctionPool

PATIENCE = 60.0


class Loop:
    """Invokes, and takes the answers, as a poll loop does. Owned by the thread that makes it."""

    def __init__(self, pool):
        self.pool = pool
        self.driver = Driver()
        self.driver.own()
        self.results = []
        self.driven = []
        """Requests whose answers were taken on this thread."""
        self._reports = Reports(lambda: None, self.driver)
        self._owner = threading.get_ident()

    def submit(self, request_id, event, *, driven=True, driver=None):
        payload = event if isinstance(event, bytes) else json.dumps(event).encode()
        arn = self.pool.configuration.function_arn
        self.driver.awake = True
        driver = driver or (self.driver if driven else None)
        self.pool.submit(Invocation(request_id, payload, arn, driver=driver), self._answered, wait=True)

    def _answered(self, result):
        if threading.get_ident() == self._owner:
            self.driven.append(result.request_id)
        self._reports.report(result)

    def wait(self, number):
        """The results, when there are so many."""

        def enough():
            self.results += self._reports.wait(MOMENT)
            return len(self.results) >= number

        eventually(enough, timeout=PATIENCE, what=f"{number} answers")
        return self.results

    def of(self, request_id):
        return next(result for result in self.results if result.request_id == request_id)

    def get_driven(self, event):
        """Invoke until an answer comes on this thread, and from an environment that is idle: then the next one does.

        It takes a quick invocation, and an idle environment whose thread has come to rest.
        """

        def one_more():
            request_id = f"before-{len(self.results)}"
            self.submit(request_id, event)
            return self.wait(len(self.results) + 1) and request_id in self.driven

        eventually(one_more, timeout=PATIENCE, what="an answer on the driver's thread")
        self.results.clear()


@pytest.fixture
def begun(tmp_path):
    return tmp_path / "begun"


def noted(begun):
    return [name for name in begun.read_text().split() if not name.startswith("before")] if begun.exists() else []


@pytest.fixture
def make_loop():
    loops = []

    def make(handler, *, code=HANDLERS, log=lambda *_: None, idle_timeout=300.0, **configuration):
        configuration = {"timeout": 30.0, "reserved_concurrent_executions": 1, **configuration}
        function = FunctionConfiguration("fn", code, handler, **configuration)
        pool = FunctionPool(function, log=log, idle_timeout=idle_timeout)
        pool.start()
        loops.append(Loop(pool))
        return loops[-1]

    yield make
    for loop in loops:
        loop.driver.close()
        loop.pool.stop()


def write_handler(folder, body):
    (folder / "app.py").write_text(f"import json, os, sys, time\ndef handler(event, context):\n    {body}\n")
    return folder


def test_answers_of_a_quick_handler_are_taken_on_the_thread_that_has_the_next_event(make_loop, begun):
    loop = make_loop("ahead.note")
    loop.get_driven({"begun": str(begun)})
    requests = [str(number) for number in range(20)]
    for request_id in requests:
        loop.submit(request_id, {"begun": str(begun)})
    assert [result.request_id for result in loop.wait(20)] == requests == noted(begun)
    assert not any(result.function_error for result in loop.results)
    assert loop.pool.stats().cold_starts == 1
    assert loop.pool.stats().busy == 0


def test_events_of_all_sizes_that_two_processes_share_are_each_answered_whole(make_loop):
    loop = make_loop("basic.echo", reserved_concurrent_executions=2)
    loop.get_driven({})
    loop.driven.clear()
    chance = random.Random(7)
    sizes = [chance.choice((10, 5000, 20_000, 137_000)) for _ in range(90)] + [2_000_000] * 10
    events = {str(number): json.dumps([number, "x" * size]).encode() for number, size in enumerate(sizes)}
    for request_id, event in events.items():
        loop.submit(request_id, event)
    answered = {result.request_id: result.payload for result in loop.wait(len(events))}
    assert [name for name, event in events.items() if json.loads(answered[name]) != json.loads(event)] == []
    assert loop.driven, "the quick ones are taken by the loop, at first"


def test_a_slow_event_is_left_to_the_thread_of_its_environment(make_loop, tmp_path):
    gate = Gate(tmp_path)
    gate.open("quick")
    loop = make_loop("gate.handler", code=tmp_path)
    loop.get_driven(gate.event("quick"))
    loop.submit("slow", gate.event("slow"))
    gate.entered("slow")
    eventually(lambda: loop._reports.wait(MOMENT) or not loop.driver.busy, what="that it is left")
    gate.open("slow")
    loop.wait(1)
    assert "slow" not in loop.driven


def test_an_owner_that_never_comes_by_again_keeps_nobody_from_an_answer(make_loop, begun):
    loop = make_loop("ahead.note")
    loop.get_driven({"begun": str(begun)})
    for name in "abc":
        loop.submit(name, {"begun": str(begun)})
    # Not `wait`: that is the owner's. The answers come on the environment's thread.
    eventually(lambda: loop._reports._items.qsize() == 3, what="answers without the owner")
    assert not {"a", "b", "c"} & set(loop.driven)
    assert noted(begun) == ["a", "b", "c"]


def test_a_timeout_is_kept_and_takes_nothing_but_its_event(make_loop, begun):  # A.4
    loop = make_loop("ahead.note", timeout=1.0)
    loop.get_driven({"begun": str(begun)})
    loop.submit("1", {"begun": str(begun), "seconds": 60})
    loop.submit("2", {"begun": str(begun)})
    loop.wait(2)
    assert error_of(loop.of("1"))["errorType"] == "Sandbox.Timedout"
    assert loop.of("2").function_error is None
    assert noted(begun) == ["1", "2"]


def test_its_time_counts_from_when_it_was_sent_however_long_nothing_came_before(make_loop, begun):  # A.4
    loop = make_loop("ahead.note", timeout=2.0)
    loop.get_driven({"begun": str(begun)})
    worker = next(iter(loop.pool._roster.workers.values()))
    worker.environment._sandbox.dialogue._answered -= 3600
    loop.submit("1", {"begun": str(begun), "seconds": 0.3})
    assert loop.wait(1)[0].function_error is None
    assert json.loads(loop.results[0].payload)["left"] > 1000


def test_a_crash_takes_nothing_but_the_event_in_work(make_loop, begun):  # A.4, E.3
    loop = make_loop("ahead.note")
    loop.get_driven({"begun": str(begun)})
    loop.submit("1", {"begun": str(begun), "exit": True})
    loop.submit("2", {"begun": str(begun)})
    loop.wait(2)
    assert error_of(loop.of("1")) == exited("with error: exit status 3", "1")
    assert loop.of("2").function_error is None
    assert noted(begun) == ["1", "2"]
    assert loop.pool.stats().cold_starts == 2


def test_an_error_is_logged_and_answered_as_ever(make_loop, tmp_path):  # A.4, E.5
    lines = []
    code = write_handler(tmp_path, "print('said'); return 1 if event == 'fine' else {}[event]")
    loop = make_loop("app.handler", code=code, log=lambda line, request: lines.append((request, line)))
    loop.get_driven("fine")
    loop.submit("bad", "missing")
    loop.submit("good", "fine")
    loop.wait(2)
    assert error_of(loop.of("bad"))["errorType"] == "KeyError"
    assert loop.of("good").payload == b"1"
    assert "bad" not in loop.driven
    own = [line.partition(" ")[0].partition("\n")[0] for request, line in lines if request == "bad"]
    assert own == ["START", "said", "[ERROR]", "END", "REPORT"]


def test_every_line_belongs_to_the_event_that_wrote_it(make_loop, tmp_path):  # E.5
    lines = []
    code = write_handler(tmp_path, "for number in range(event): print(context.aws_request_id, number)")
    loop = make_loop("app.handler", code=code, log=lambda line, request: lines.append((request, line)))
    loop.get_driven(1)
    requests = {f"request-{number}": number % 4 * 20 for number in range(40)}
    for request_id, event in requests.items():
        loop.submit(request_id, event)
    loop.wait(40)
    for request_id, event in requests.items():
        own = [line for owner, line in lines if owner == request_id]
        assert own[0] == f"START RequestId: {request_id} Version: $LATEST"
        assert own[1:-2] == [f"{request_id} {number}" for number in range(event)]
        assert own[-2] == f"END RequestId: {request_id}"


@pytest.mark.parametrize("size", [70_000, 3_000_000])
def test_events_and_answers_that_do_not_fit_into_the_pipe_come_whole(make_loop, tmp_path, size):  # A.2
    loop = make_loop("app.handler", code=write_handler(tmp_path, "return event"))
    loop.get_driven("x")
    events = {str(number): str(number) * size for number in range(5)}
    for request_id, event in events.items():
        loop.submit(request_id, event)
    assert {result.request_id: json.loads(result.payload) for result in loop.wait(5)} == events


def test_output_that_fills_its_pipe_is_taken_though_no_answer_comes(make_loop, tmp_path):
    lines = []
    code = write_handler(tmp_path, "return [print('x' * 999) for _ in range(event)] and None")
    loop = make_loop("app.handler", code=code, log=lambda line, _: lines.append(line))
    loop.get_driven(1)
    lines.clear()
    loop.submit("loud", 5000)
    assert loop.wait(1)[0].function_error is None
    assert lines.count("x" * 999) == 5000


def test_an_event_that_is_too_large_is_refused_in_its_turn(make_loop, tmp_path):  # A.2
    loop = make_loop("app.handler", code=write_handler(tmp_path, "return 1"))
    loop.get_driven("x")
    loop.submit("before", "x")
    loop.submit("large", b'"%b"' % (b"x" * 7_000_000))
    loop.submit("after", "x")
    assert [(one.request_id, one.status) for one in loop.wait(3)] == [("before", 200), ("large", 413), ("after", 200)]


def test_after_a_reload_what_comes_next_runs_in_a_new_environment(make_loop, tmp_path):  # E.4
    loop = make_loop("app.handler", code=write_handler(tmp_path, "return 'old'"))
    loop.get_driven(None)
    write_handler(tmp_path, "return 'new, and longer'")
    loop.pool.reload()
    for name in "abc":
        loop.submit(name, None)
    assert {json.loads(result.payload) for result in loop.wait(3)} == {"new, and longer"}


def test_a_reload_meanwhile_takes_back_what_was_not_begun(make_loop, tmp_path):  # E.4
    gate = Gate(tmp_path)
    gate.open("quick", "next")
    loop = make_loop("gate.handler", code=tmp_path)
    loop.get_driven(gate.event("quick"))
    loop.submit("running", gate.event("running"))
    loop.submit("next", gate.event("next"))
    gate.entered("running")
    loop.pool.reload()
    gate.open("running")
    old, new = (json.loads(result.payload) for result in loop.wait(2))
    assert old != new


def test_a_stop_answers_what_was_not_begun_and_lets_the_rest_end(make_loop, tmp_path):
    gate = Gate(tmp_path)
    gate.open("quick")
    loop = make_loop("gate.handler", code=tmp_path)
    loop.get_driven(gate.event("quick"))
    loop.submit("running", gate.event("running"))
    gate.entered("running")
    for name in "abc":
        loop.submit(name, gate.event(name))
    stopping = threading.Thread(target=loop.pool.stop, kwargs={"grace": 30.0})
    stopping.start()
    loop.wait(3)
    gate.open("running", *"abc")
    loop.wait(4)
    stopping.join(PATIENCE)
    assert not stopping.is_alive()
    assert {one.request_id: one.status for one in loop.results} == {"running": 200, "a": 500, "b": 500, "c": 500}
    assert not any((tmp_path / f"{name}.entered").exists() for name in "abc")


def test_others_get_the_environment_when_it_is_free(make_loop, begun):
    loop = make_loop("ahead.note")
    loop.get_driven({"begun": str(begun)})
    answered, answers = threading.Event(), []
    payload = json.dumps({"begun": str(begun)}).encode()
    invocation = Invocation("other", payload, loop.pool.configuration.function_arn)
    loop.pool.submit(invocation, lambda result: (answers.append(result), answered.set()), wait=False)
    assert answered.wait(PATIENCE)
    assert answers[0].status == 200
    loop.get_driven({"begun": str(begun)})  # and back


def test_an_environment_lives_on_for_the_idle_time_after_it_was_driven(make_loop, begun):  # E.3
    loop = make_loop("ahead.note", idle_timeout=0.5)
    loop.get_driven({"begun": str(begun)})
    eventually(lambda: loop.pool.stats().environments == 0, what="its end")
    loop.submit("1", {"begun": str(begun)})
    assert loop.wait(1)[0].function_error is None
    assert loop.pool.stats().cold_starts == 2


def test_a_handler_in_an_environment_of_provisioned_concurrency_is_its_threads(begun, monkeypatch):  # E.3
    monkeypatch.setattr(Driver, "look", lambda _: True)  # nobody else would leave it to its thread
    function = FunctionConfiguration("fn", HANDLERS, "ahead.note", timeout=30.0, reserved_concurrent_executions=1)
    pool = FunctionPool(function, log=lambda *_: None, provisioned=1)
    pool.start()
    loop = Loop(pool)
    try:
        loop.submit("first", {"begun": str(begun), "seconds": 0.1})  # the others come meanwhile
        for number in range(9):
            loop.submit(str(number), {"begun": str(begun)})
        eventually(lambda: loop._reports._items.qsize() == 10, what="answers without the owner")
        assert not loop.driven
        assert pool.provisioned_concurrency().status == "READY"
    finally:
        pool.stop()


def test_two_pollers_share_the_environments_of_a_function(make_loop, begun):
    first = make_loop("ahead.note")
    number = 200

    def run(name):
        loop = Loop(first.pool)
        for request in range(number):
            loop.submit(f"{name}{request}", {"begun": str(begun)})
            if request % 3 == 0:
                loop.wait(request)
        loop.wait(number)
        loop.driver.close()
        finished.append(loop)

    finished = []
    threads = [threading.Thread(target=run, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(finished) == 3
    for loop in finished:
        assert len({result.request_id for result in loop.results}) == len(loop.results) == number
        assert not any(result.function_error for result in loop.results)
    assert Counter(noted(begun)) == Counter(f"{name}{request}" for name in "abc" for request in range(number))


@pytest.mark.parametrize("seed", range(6))
def test_whenever_processes_are_killed_every_event_is_begun_once_and_answered_once(make_loop, begun, seed):  # E.3
    chance, number = random.Random(seed), 200
    loop = make_loop("ahead.note", reserved_concurrent_executions=1 + seed % 3)
    loop.get_driven({"begun": str(begun)})
    for request in range(number):
        event = {"begun": str(begun), "exit": chance.random() < 0.03, "seconds": chance.choice((0, 0, 0, 0.004))}
        loop.submit(str(request), event)
        if chance.random() < 0.3:
            loop.wait(request - 3)
        if chance.random() < 0.05:
            loop.driver.release()
        if chance.random() < 0.1:
            for worker in list(loop.pool._roster.workers.values()):
                dialogue = worker.environment._sandbox.dialogue
                if dialogue is not None and chance.random() < 0.5:
                    dialogue.process.kill()
    results = loop.wait(number)
    assert Counter(result.request_id for result in results) == Counter(map(str, range(number)))
    assert {result.status for result in results} == {200}
    times = Counter(noted(begun))
    failed = {result.request_id for result in results if result.function_error}
    assert set(times.values()) == {1}
    # Killed in the moment before its own note: begun as far as the protocol knows.
    assert {result.request_id for result in results} - set(times) <= failed


def test_all_that_lies_ahead_may_be_taken_back(make_loop, tmp_path):
    """What was taken back keeps its place in the pipe until the process has passed it over."""
    loop = make_loop("app.handler", code=write_handler(tmp_path, "return os.getpid()"))
    loop.get_driven(None)
    worker = next(iter(loop.pool._roster.workers.values()))
    os.kill(worker.environment.process.pid, signal.SIGSTOP)
    loop.submit("thread", None, driven=False)  # it needs no place
    eventually(lambda: worker in loop.pool._roster.hungry, what="room")
    names = [str(number) for number in range(SLOTS + 1)]
    for name in names:
        loop.submit(name, None)
    eventually(lambda: len(worker.ahead) == SLOTS, what="a full pipe")
    with loop.pool._lock:
        loop.pool._roster.wait_again(worker)  # as for a second environment
    os.kill(worker.environment.process.pid, signal.SIGCONT)
    assert {result.request_id for result in loop.wait(SLOTS + 2)} == {"thread", *names}
    assert not any(result.function_error for result in loop.results)
    assert loop.pool.stats().cold_starts == 1


def test_an_event_that_was_taken_back_may_come_to_the_same_environment_again(begun):  # E.3
    pool = FunctionPool(
        FunctionConfiguration("fn", HANDLERS, "ahead.note", timeout=30.0, reserved_concurrent_executions=1),
        log=lambda *_: None,
    )
    pool.start()
    loop = Loop(pool)
    try:
        # A thread's environment, so that it holds without anybody who drives.
        loop.submit("first", {"begun": str(begun), "seconds": 0.5})
        for name in "abcd":
            loop.submit(name, {"begun": str(begun), "seconds": 0.1})
        worker = next(iter(pool._roster.workers.values()))
        eventually(lambda: len(worker.ahead) == 4, what="four events ahead")
        pool.reserve(2, 1000)
        assert {result.request_id for result in loop.wait(5)} == {"first", *"abcd"}
        assert not any(result.function_error for result in loop.results)
        assert Counter(noted(begun)) == Counter(["first", *"abcd"])
    finally:
        pool.stop()


def test_an_answer_that_was_read_with_the_one_before_it_is_not_waited_for(make_loop, begun, monkeypatch):
    loop = make_loop("ahead.note")
    loop.get_driven({"begun": str(begun)})
    worker = next(iter(loop.pool._roster.workers.values()))
    dialogue, both = worker.environment.process, threading.Event()
    read = dialogue.process._reader.read

    def read_late(fd):
        assert both.wait(PATIENCE)
        return read(fd)

    monkeypatch.setattr(dialogue.process._reader, "read", read_late)
    os.kill(dialogue.pid, signal.SIGSTOP)
    loop.submit("1", {"begun": str(begun)})
    loop.driver.release()  # so that the thread reads
    for name in "23":
        loop.submit(name, {"begun": str(begun)})
    eventually(lambda: len(worker.ahead) == 2, what="two events behind the first")
    os.kill(dialogue.pid, signal.SIGCONT)
    eventually(lambda: noted(begun) == ["1", "2", "3"], what="the third event, and so the answers to the others")
    monkeypatch.setattr(Driver, "look", lambda _: True)  # nobody else helps
    loop.driver.awake = True
    both.set()
    # The owner does not come by, and no descriptor would tell it anything: the thread has the answer already.
    eventually(lambda: loop._reports._items.qsize() >= 2, timeout=10, what="the second answer")
    assert [result.request_id for result in loop.wait(3)] == ["1", "2", "3"]


@pytest.mark.parametrize("driven", [False, True])
def test_garbage_ends_the_process_at_once_whoever_reads_it(make_loop, tmp_path, driven):  # A.4
    (tmp_path / "app.py").write_text(
        f"import os, sys, time\nsys.path.insert(0, {str(HANDLERS)!r})\nimport rude\n"
        "def handler(event, context):\n"
        "    if event == 'garbage':\n"
        "        os.write(rude.REPLY, (9).to_bytes(4, 'big') + bytes(4) + b'{nonsense')\n"
        "        time.sleep(60)\n"
        "    return 1\n"
    )
    loop = make_loop("app.handler", code=tmp_path)
    loop.get_driven("fine")
    loop.submit("bad", "garbage")
    if not driven:
        loop.driver.release()
    loop.submit("good", "fine")
    loop.wait(2)
    assert error_of(loop.of("bad")) == exited("with error: signal: killed", "bad")
    assert loop.of("good").payload == b"1"


def test_an_answer_for_another_event_costs_no_other_its_own(make_loop, tmp_path, monkeypatch):  # A.4
    monkeypatch.setattr(environment_thread, "MOMENT", 60.0)  # so that the end of a process counts as quick, too
    (tmp_path / "app.py").write_text(
        f"import os, sys, time\nsys.path.insert(0, {str(HANDLERS)!r})\nimport rude\n"
        "def handler(event, context):\n"
        "    if event == 'wrong':\n"
        '        header = b\'{"type":"response","request_id":"another"}\'\n'
        "        os.write(rude.REPLY, len(header).to_bytes(4, 'big') + bytes(4) + header)\n"
        "        time.sleep(60)\n"
        "    return 1\n"
    )
    loop = make_loop("app.handler", code=tmp_path)
    loop.get_driven("fine")
    loop.submit("bad", "wrong")
    for name in "abcdef":
        loop.submit(name, "fine")
    loop.wait(7)
    assert error_of(loop.of("bad")) == exited("with error: signal: killed", "bad")
    assert {loop.of(name).payload for name in "abcdef"} == {b"1"}


def test_the_duration_of_a_crash_counts_from_the_beginning_of_its_event(make_loop, begun):  # E.5
    loop = make_loop("app.handler", code=write_handler(begun.parent, "event and (time.sleep(0.3), os._exit(3))"))
    loop.get_driven(False)
    loop.submit("1", True)
    eventually(loop._reports._items.qsize, what="the answer, while the owner is away")
    assert loop.wait(1)[0].duration >= 0.3


def test_without_descriptors_the_environment_is_its_threads(make_loop, begun, monkeypatch, caplog):
    loop = make_loop("ahead.note")
    loop.get_driven({"begun": str(begun)})
    loop.driver.close()
    loop.driver.own()

    def refuse(*_):
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patched:
        patched.setattr(driving.os, "eventfd", refuse)
        for name in "abc":
            loop.submit(name, {"begun": str(begun)})
        assert {result.request_id for result in loop.wait(3)} == set("abc")
    assert not {"a", "b", "c"} & set(loop.driven)
    assert "Too many open files" in caplog.text
    loop.get_driven({"begun": str(begun)})


def test_a_fault_in_one_environment_keeps_no_answer_of_another(make_loop, begun, monkeypatch, caplog):
    loop = make_loop("ahead.note", reserved_concurrent_executions=2)
    loop.get_driven({"begun": str(begun)})
    go_on = Driver._go_on
    broken = []

    def fail_once(driver, driven, answers):
        if not broken:
            broken.append(driven.job.invocation.request_id)
            raise RuntimeError("a fault of ours")
        go_on(driver, driven, answers)

    monkeypatch.setattr(Driver, "_go_on", fail_once)

    def went_wrong():
        names = [f"{len(loop.results)}-{number}" for number in range(4)]
        for name in names:
            loop.submit(name, {"begun": str(begun)})
        loop.wait(len(loop.results) + 4)
        return broken

    eventually(went_wrong)
    assert not any(result.function_error for result in loop.results)
    assert "a fault of ours" in caplog.text
    assert set(Counter(noted(begun)).values()) == {1}


def test_a_fault_of_ours_in_taking_an_answer_takes_nothing_but_its_event(make_loop, begun, monkeypatch, caplog):
    loop = make_loop("ahead.note")
    loop.get_driven({"begun": str(begun)})
    answered = ExecutionEnvironment.answered
    broken = []

    def fail_once(environment, invocation):
        if not broken:
            broken.append(invocation.request_id)
            raise OSError("a fault of ours")
        return answered(environment, invocation)

    monkeypatch.setattr(ExecutionEnvironment, "answered", fail_once)

    def went_wrong():
        for number in range(4):
            loop.submit(f"{len(loop.results)}-{number}", {"begun": str(begun)})
        loop.wait(len(loop.results) + 4)
        return broken

    eventually(went_wrong)
    failed = [result for result in loop.results if result.status != 200 or result.function_error]
    assert [(result.request_id, result.status) for result in failed] == [(broken[0], 500)]
    assert b"a fault of ours" in failed[0].payload
    assert "a fault of ours" in caplog.text
    # What was laid behind it may have been begun when its process was ended: then it is begun again.
    assert Counter(noted(begun)).keys() == {result.request_id for result in loop.results}


def test_an_owner_that_is_kept_holds_up_another_poller_for_a_moment_only(make_loop, begun, monkeypatch):
    loop = make_loop("ahead.note")
    loop.get_driven({"begun": str(begun)})
    hand_over, handed_over = Driver._hand_over, []

    def counted(driver, driven):
        handed_over.append(driven)
        hand_over(driver, driven)

    monkeypatch.setattr(Driver, "_hand_over", counted)
    for number in range(40):
        loop.submit(f"mine-{number}", {"begun": str(begun)})
    # From here on the owner is kept by its broker.
    answered, payload = threading.Event(), json.dumps({"begun": str(begun)}).encode()
    invocation = Invocation("other", payload, loop.pool.configuration.function_arn)
    loop.pool.submit(invocation, lambda _: answered.set(), wait=True)
    assert answered.wait(PATIENCE)
    assert not set(loop.driven) & {f"mine-{number}" for number in range(40)}
    assert len(handed_over) == 1, "all were left to the thread at once"


def test_one_that_hangs_is_left_to_its_thread_while_another_is_driven(make_loop, tmp_path):  # A.4
    gate = Gate(tmp_path)
    gate.open("quick")
    loop = make_loop("gate.handler", code=tmp_path, timeout=1.0, reserved_concurrent_executions=2)
    loop.get_driven(gate.event("quick"))
    loop.submit("hangs", gate.event("hangs"))

    def timed_out():
        loop.submit(f"q{len(loop.results)}", gate.event("quick"))
        loop.wait(len(loop.results) + 1)
        return any(result.request_id == "hangs" for result in loop.results)

    eventually(timed_out, what="the timeout, though the owner always has something to do")
    assert error_of(loop.of("hangs"))["errorType"] == "Sandbox.Timedout"


def test_a_driver_that_is_closed_holds_no_descriptor(begun):
    function = FunctionConfiguration("fn", HANDLERS, "ahead.note", timeout=30.0, reserved_concurrent_executions=1)
    before = descriptors()
    pool = FunctionPool(function, log=lambda *_: None)
    pool.start()
    loop = Loop(pool)
    loop.get_driven({"begun": str(begun)})
    loop.driver.close()
    pool.stop()
    assert descriptors() == before


def test_a_report_ends_the_wait_for_what_is_driven(make_loop, tmp_path, monkeypatch):
    gate = Gate(tmp_path)
    gate.open("quick")
    loop = make_loop("gate.handler", code=tmp_path)
    loop.get_driven(gate.event("quick"))
    monkeypatch.setattr(reports, "MOMENT", PATIENCE)
    # Nobody else leaves it to its thread: its answer would end the wait, too.
    monkeypatch.setattr(Driver, "look", lambda _: True)
    loop.submit("slow", gate.event("slow"))

    def report():
        eventually(lambda: loop.driver.waiting, what="the wait")
        loop._reports.report("from another thread")

    thread = threading.Thread(target=report)
    thread.start()
    assert loop._reports.wait(PATIENCE) == ["from another thread"]
    assert loop.driver.busy, "it was the report that ended the wait, not its time"
    thread.join()
    gate.open("slow")
    loop.wait(1)


def test_a_reload_is_kept_by_who_drives(make_loop, tmp_path):  # E.4
    loop = make_loop("app.handler", code=write_handler(tmp_path, "return os.getpid()"))
    loop.get_driven(None)
    pid = next(iter(loop.pool._roster.workers.values())).environment.process.pid
    os.kill(pid, signal.SIGSTOP)
    for name in "abc":
        loop.submit(name, None)
    loop.pool.reload()
    os.kill(pid, signal.SIGCONT)
    loop.wait(3)
    first, second, third = (json.loads(loop.of(name).payload) for name in "abc")
    assert first == pid
    assert second == third != pid


def test_after_a_reload_no_event_is_begun_in_the_environment_that_was_driven(make_loop, tmp_path):  # E.4
    body = "event and open(event, 'a').write(f'{os.getpid()} ')"
    loop = make_loop("app.handler", code=write_handler(tmp_path, body))
    loop.get_driven(None)
    worker = next(iter(loop.pool._roster.workers.values()))
    pid = worker.environment.process.pid
    os.kill(pid, signal.SIGSTOP)
    for name in "abc":
        loop.submit(name, str(tmp_path / name))
    loop.pool.reload()
    os.kill(pid, signal.SIGCONT)
    loop.wait(3)
    first, second, third = ((tmp_path / name).read_text().split() for name in "abc")
    assert first == [str(pid)]
    assert second == third, "each was begun once, in one process"
    assert len(second) == 1
    assert second != first


def test_an_environment_whose_pipe_has_no_room_is_left_to_its_thread():
    """All places are taken by events that were taken back, and the process has not passed them over yet."""
    full = os.eventfd(0)
    pipe = SimpleNamespace(fileno=lambda: full, lies=lambda _: False, has_room=False)
    inbox = SimpleQueue()
    worker = SimpleNamespace(environment=SimpleNamespace(pipe=pipe), inbox=inbox, driver=None)
    driver = Driver()
    driver.own()
    driver.awake = True
    job = Job(Invocation("1", b"{}", "arn"), lambda _: None)
    try:
        assert driver.offer(worker, job), "the thread finds it in its inbox"
        assert inbox.get_nowait() is job
        assert worker.driver is None
        assert not driver.busy
    finally:
        driver.close()
        os.close(full)


def test_nobody_drives_the_events_of_another_poller(make_loop, tmp_path):
    loop = make_loop("app.handler", code=write_handler(tmp_path, "return os.getpid()"))
    loop.get_driven(None)
    pid = next(iter(loop.pool._roster.workers.values())).environment.process.pid
    os.kill(pid, signal.SIGSTOP)
    loop.submit("own", None)
    for number in range(5):
        loop.submit(f"other-{number}", None, driver=Driver())
    os.kill(pid, signal.SIGCONT)
    loop.wait(6)
    assert not [name for name in loop.driven if name.startswith("other")]
