"""Reserved concurrency that changes while invocations run and wait (E.3, A.3)."""

from __future__ import annotations

from test_pool import RESERVED, Answers, _gated, gate, pool, submit

__all__ = ["gate", "pool"]


def test_raised_it_lets_those_in_that_wait(pool, gate):
    one, answers = _gated(pool, gate, 1), Answers()
    for name in "abc":
        submit(one, answers, event=gate.event(name), request_id=name)
    gate.entered("a")
    one.reserve(3)
    gate.entered("b", "c")
    assert one.configuration.reserved_concurrent_executions == 3
    gate.open("a", "b", "c")
    answers.wait(3)
    assert answers.statuses == [200] * 3


def test_lowered_it_lets_those_end_that_run_and_then_counts(pool, gate):
    one, answers = _gated(pool, gate, 3), Answers()
    for name in "abc":
        submit(one, answers, event=gate.event(name), request_id=name)
    gate.entered("a", "b", "c")
    one.reserve(1)
    submit(one, answers, event=gate.event("d"), request_id="d", wait=False)
    assert answers.wait(1)[0].payload == RESERVED
    gate.open("a", "b")
    answers.wait(3)
    submit(one, answers, event=gate.event("e"), request_id="e", wait=False)
    assert answers.wait(4)[3].payload == RESERVED, "c runs still, and is the one"
    gate.open("c", "f")
    answers.wait(5)
    submit(one, answers, event=gate.event("f"), request_id="f", wait=False)
    assert answers.wait(6)[5].status == 200
    assert one.stats().environments == 1


def test_idle_environments_beyond_it_end(pool, gate):
    one, answers = _gated(pool, gate, 2), Answers()
    for name in "ab":
        submit(one, answers, event=gate.event(name), request_id=name)
    gate.entered("a", "b")
    gate.open("a", "b")
    answers.wait(2)
    one.reserve(1)
    assert one.stats().environments == 1


def test_lowered_to_0_those_that_wait_are_throttled_and_what_runs_ends(pool, gate):
    one, answers = _gated(pool, gate, 1), Answers()
    for name in "abcdef":
        submit(one, answers, event=gate.event(name), request_id=name)
    gate.entered("a")
    one.reserve(0)
    gate.open(*"abcdef")
    results = answers.wait(6)
    assert {result.status for result in results} == {200, 429}
    assert sum(result.status == 200 for result in results) <= 5, "what lay in the pipe already may run"
    submit(one, answers, event=gate.event("g"), request_id="g")
    assert answers.wait(7)[6].payload == RESERVED
    one.reserve(None)
    gate.open("h")
    submit(one, answers, event=gate.event("h"), request_id="h", wait=False)
    assert answers.wait(8)[7].status == 200
