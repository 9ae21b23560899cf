"""Who gets an environment, who waits, who is throttled, and that everybody is answered exactly once (A.3, E.3, G.14)."""

import json
import threading
from pathlib import Path

import pytest
from handlers.rig import HANDLERS, Gate, descriptors, wait_until_gone
from waiting import eventually

from poller.model import FunctionConfiguration, Invocation
from poller.runtime.environment import ExecutionEnvironment
from poller.runtime.pool import FunctionPool

RESERVED = b'{"Reason":"ReservedFunctionConcurrentInvocationLimitExceeded","Type":"User","message":"Rate Exceeded."}'


class Answers:
    """Collects results with the thread that brought them."""

    def __init__(self):
        self.changed = threading.Condition()
        self.results = []
        self.threads = []

    def __call__(self, result):
        with self.changed:
            self.results.append(result)
            self.threads.append(threading.current_thread().name)
            self.changed.notify_all()

    def wait(self, count):
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.results) >= count, timeout=10)
            return self.results

    @property
    def statuses(self):
        return [result.status for result in self.results]


@pytest.fixture
def pool():
    made = []

    def make(
        handler="basic.count",
        *,
        lines=None,
        started=True,
        idle_timeout=300.0,
        account_concurrency=1000,
        **configuration,
    ):
        function = FunctionConfiguration("fn", HANDLERS, handler, **{"timeout": 30.0, **configuration})
        log = [] if lines is None else lines
        one = FunctionPool(
            function,
            log=lambda line, _: log.append(line),
            idle_timeout=idle_timeout,
            account_concurrency=account_concurrency,
        )
        made.append(one)
        if started:
            one.start()
        return one

    yield make
    for one in made:
        one.stop()
        assert one.stats().environments == 0


def submit(pool, answers, *, wait=True, event=None, request_id="id"):
    arn = pool.configuration.function_arn
    pool.submit(Invocation(request_id, json.dumps(event).encode(), arn), answers, wait=wait)


@pytest.fixture
def gate(tmp_path):
    return Gate(tmp_path)


def test_an_environment_is_started_lazily_and_used_again(pool):  # E.3
    one, answers = pool(), Answers()
    assert one.stats().environments == 0
    for number in range(1, 4):
        submit(one, answers)
        answers.wait(number)
    calls = [json.loads(result.payload) for result in answers.results]
    assert [call["calls"] for call in calls] == [1, 2, 3]
    assert len({call["pid"] for call in calls}) == 1
    assert set(answers.threads) == {"invoke-fn-1"}
    stats = one.stats()
    assert (stats.environments, stats.busy, stats.cold_starts, stats.invocations) == (1, 0, 1, 3)


def test_who_invokes_again_from_the_callback_finds_the_environment_free(pool):
    one, answers = pool(reserved_concurrent_executions=1), Answers()

    def again(result):
        answers(result)
        if len(answers.results) < 3:
            submit(one, again, wait=False)

    submit(one, again, wait=False)
    answers.wait(3)
    assert answers.statuses == [200, 200, 200]
    assert one.stats().environments == 1


def test_invocations_run_at_once_up_to_the_reserved_concurrency_and_the_rest_waits_in_order(pool, gate):
    one = _gated(pool, gate, 2)
    answers = Answers()
    for name in "abcd":
        submit(one, answers, event=gate.event(name), request_id=name)
    gate.entered("a", "b")
    stats = one.stats()
    assert (stats.environments, stats.busy, stats.waiting) == (2, 2, 2)
    gate.open("a")
    gate.entered("c")  # it was laid ahead, so it may begin before the answer to the one before it is read
    answers.wait(1)
    assert not (gate.folder / "d.entered").exists()
    gate.open("b", "c", "d")
    answers.wait(4)
    assert answers.results[0].request_id == "a"
    assert len({result.payload for result in answers.results}) == 2


def test_without_waiting_a_busy_function_is_throttled(pool, gate):  # G.14
    one, answers = _gated(pool, gate, 1), Answers()
    submit(one, answers, event=gate.event("a"))
    gate.entered("a")
    submit(one, answers, event=gate.event("b"), wait=False)
    throttled = answers.wait(1)[0]
    assert (throttled.status, throttled.payload, throttled.function_error) == (429, RESERVED, None)
    assert answers.threads == ["invoke-fn-0"]
    gate.open("a")
    answers.wait(2)
    assert one.stats().throttles == 1
    assert one.stats().invocations == 1


@pytest.mark.parametrize("wait", [True, False])
def test_a_reserved_concurrency_of_zero_throttles_always(pool, wait):  # A.3
    one, answers = pool(reserved_concurrent_executions=0), Answers()
    submit(one, answers, wait=wait)
    assert answers.wait(1)[0].payload == RESERVED
    assert one.stats().environments == 0


def test_environments_stay_warm_when_the_function_reserves_something_else(pool):  # E.3
    one, answers = pool(), Answers()
    for count, concurrency in enumerate((2, None, 1), start=1):
        one.reserve(concurrency, 1000)
        submit(one, answers)
        answers.wait(count)
    assert [json.loads(result.payload)["calls"] for result in answers.results] == [1, 2, 3]
    one.reserve(0, 1000)
    submit(one, answers)
    assert answers.wait(4)[-1].payload == RESERVED
    eventually(lambda: not one.stats().environments)


def test_what_waits_begins_when_the_function_may_have_more(pool, gate):
    one, answers = _gated(pool, gate, 1), Answers()
    for name in "abc":
        submit(one, answers, event=gate.event(name), request_id=name)
    gate.entered("a")
    one.reserve(3, 1000)
    gate.entered("b", "c")
    assert one.stats().environments == 3
    gate.open("a", "b", "c")
    answers.wait(3)


def test_environments_that_are_too_many_go_when_they_are_free_and_what_waits_is_done(pool, gate):
    one, answers = _gated(pool, gate, 3), Answers()
    for name in "abcd":
        submit(one, answers, event=gate.event(name), request_id=name)
    gate.entered("a", "b", "c")
    one.reserve(1, 1000)
    submit(one, answers, event=gate.event("e"), request_id="e", wait=False)
    assert answers.wait(1)[0].payload == RESERVED
    gate.open("a", "b", "c", "d")
    answers.wait(5)
    eventually(lambda: one.stats().environments == 1)
    assert one.stats().waiting == 0


def test_what_waited_when_the_function_was_switched_off_is_still_done(pool, gate):
    one, answers = _gated(pool, gate, 1), Answers()
    for name in "ab":
        submit(one, answers, event=gate.event(name), request_id=name)
    gate.entered("a")
    one.reserve(0, 1000)
    gate.open("a", "b")
    answers.wait(2)
    assert answers.statuses == [200, 200]
    eventually(lambda: not one.stats().environments)


def test_the_accounts_concurrency_bounds_a_function_that_reserves_none(pool):  # A.3
    one, answers = pool(account_concurrency=0), Answers()
    submit(one, answers, wait=False)
    assert json.loads(answers.wait(1)[0].payload)["Reason"] == "ConcurrentInvocationLimitExceeded"


def test_the_newest_warm_environment_is_used_first(pool, gate):
    one, answers = _gated(pool, gate, 3), Answers()
    for name in "abc":
        submit(one, answers, event=gate.event(name), request_id=name)
    gate.entered("a", "b", "c")
    for count, name in enumerate("bac", start=1):  # the order in which they become free
        gate.open(name)
        answers.wait(count)
    last = answers.results[-1].payload
    submit(one, answers, event=gate.event("a"))
    assert answers.wait(4)[-1].payload == last


def test_an_idle_environment_is_stopped_and_another_started_when_needed(pool):
    one, answers = pool(idle_timeout=0.02, reserved_concurrent_executions=1), Answers()
    for count in range(1, 4):
        submit(one, answers)
        pid = json.loads(answers.wait(count)[-1].payload)["pid"]
        wait_until_gone(pid)
    assert answers.statuses == [200] * 3
    assert one.stats().cold_starts == 3


def test_function_errors_are_counted_and_the_environment_goes_on(pool):
    one, answers = pool("failing.exits"), Answers()
    for count in range(1, 3):
        submit(one, answers, event=1)
        answers.wait(count)
    assert [result.function_error for result in answers.results] == ["Unhandled"] * 2
    assert (one.stats().errors, one.stats().invocations, one.stats().faults) == (2, 2, 0)


def test_our_own_faults_are_answers_with_status_500(pool, monkeypatch):
    def fail(self, invocation, feed):
        raise RuntimeError("out of luck")

    one, answers = pool(), Answers()
    with monkeypatch.context() as patch:
        patch.setattr(ExecutionEnvironment, "invoke", fail)
        submit(one, answers)
        answers.wait(1)
    assert json.loads(answers.results[0].payload) == {"Type": "Service", "Message": "RuntimeError: out of luck"}
    submit(one, answers)
    answers.wait(2)
    assert answers.statuses == [500, 200]
    assert one.stats().faults == 1


def test_an_environment_that_cannot_even_be_stopped_costs_one_event_and_is_replaced(pool, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("a bug of ours")

    one, answers = pool(reserved_concurrent_executions=1), Answers()
    with monkeypatch.context() as patch:
        patch.setattr(ExecutionEnvironment, "invoke", broken)
        patch.setattr(ExecutionEnvironment, "stop", broken)
        submit(one, answers, request_id="a")
        answers.wait(1)
    submit(one, answers, request_id="b")
    assert [(result.request_id, result.status) for result in answers.wait(2)] == [("a", 500), ("b", 200)]


def test_no_thread_left_is_an_answer_too(pool, monkeypatch):
    def refuse(self):
        raise RuntimeError("can't start new thread")

    one, answers = pool(), Answers()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        submit(one, answers)
    assert answers.wait(1)[0].status == 500
    assert one.stats().environments == 0
    submit(one, answers)
    assert answers.wait(2)[1].status == 200


def test_a_callback_that_raises_does_not_stop_the_environment(pool, caplog):
    one, answers = pool(), Answers()

    def broken(result):
        answers(result)
        raise ValueError("in the callback")

    submit(one, broken)
    answers.wait(1)
    submit(one, answers)
    assert answers.wait(2)[1].status == 200
    assert "The callback of invocation id failed" in caplog.text


def test_stop_lets_what_runs_finish_and_answers_what_waits(pool, gate):
    one, answers = _gated(pool, gate, 1), Answers()
    for name in "abc":
        submit(one, answers, event=gate.event(name), request_id=name)
    gate.entered("a")
    stopper = threading.Thread(target=one.stop, args=(30.0,))
    stopper.start()
    answers.wait(2)
    assert sorted((result.request_id, result.status, result.function_error) for result in answers.results) == [
        ("b", 500, None),
        ("c", 500, None),
    ]
    gate.open("a")
    stopper.join(timeout=10)
    assert answers.wait(3)[2].status == 200
    assert not stopper.is_alive()


def test_stop_kills_what_does_not_finish_within_the_grace(pool):
    lines = []
    one, answers = pool("failing.ignores_sigterm", lines=lines), Answers()
    submit(one, answers)
    started = eventually(lambda: next((line for line in lines if line.startswith("started")), None))
    one.stop(0.05)
    assert (answers.wait(1)[0].status, answers.results[0].function_error) == (500, None)
    pid = int(started.split()[1])
    assert not Path(f"/proc/{pid}").exists()


def test_start_and_stop_may_come_in_any_order_and_twice(pool):
    one, answers = pool(started=False), Answers()
    submit(one, answers)
    assert answers.wait(1)[0].status == 500
    one.stop()
    one.start()
    one.start()
    submit(one, answers)  # a stopped pool stays stopped
    assert answers.wait(2)[1].status == 500
    one.stop()
    one.stop()


def test_nothing_is_left_after_a_stop(pool):
    before = descriptors(), threading.active_count()
    one, answers = pool(), Answers()
    for _ in range(3):
        submit(one, answers)
    answers.wait(3)
    one.stop(5)
    pids = {json.loads(result.payload)["pid"] for result in answers.results}
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    eventually(lambda: threading.active_count() <= before[1])
    assert descriptors() == before[0]


def test_every_invocation_is_answered_once_while_a_stop_comes_between(pool):
    one = pool(reserved_concurrent_executions=2)
    counts, lock, total = {}, threading.Lock(), 200

    def count(result):
        with lock:
            counts[result.request_id] = counts.get(result.request_id, 0) + 1

    def submit_many(prefix):
        for number in range(total // 2):
            submit(one, count, request_id=f"{prefix}{number}", wait=number % 3 > 0)

    threads = [threading.Thread(target=submit_many, args=(prefix,)) for prefix in "ab"]
    for thread in threads:
        thread.start()
    one.stop(5)
    for thread in threads:
        thread.join()
    eventually(lambda: len(counts) == total)
    assert set(counts.values()) == {1}


def _gated(pool, gate, concurrency):
    return pool(
        "gate.handler", reserved_concurrent_executions=concurrency, environment={"PYTHONPATH": str(gate.folder)}
    )
