"""Attempts, ages, bisection and back-off (C.1, C.4, D.1.2, D.2, D.4)."""

from __future__ import annotations

from itertools import pairwise
from typing import TypeVar

import pytest
from builders import answer, batch, function_error, positions, record, throttled
from hypothesis import given
from hypothesis import strategies as st

from poller.model import Batch, Complete, Decision, Discard, InvocationResult, Retry, Return
from poller.policy.reporting import Outcome, read_outcome
from poller.policy.retrying import BackOff, RetryPolicy

Kind = TypeVar("Kind")

WALL = 1_764_064_900.0


def decide(
    policy: RetryPolicy, item: Batch, result: InvocationResult, outcome: Outcome | None = None
) -> list[Decision]:
    ordered = not policy.redelivers
    outcome = outcome or read_outcome(item.records, result, ordered=ordered, report=False)
    return policy.decide(item, outcome, result, now=1000.0, wall=WALL)


def only(kind: type[Kind], decisions: list[Decision]) -> Kind:
    """The one decision, which is of this kind."""
    [decision] = decisions
    assert isinstance(decision, kind)
    return decision


def test_a_batch_that_succeeded_is_complete() -> None:
    item = batch(1, 2)
    assert decide(RetryPolicy(), item, answer()) == [Complete(item.records)]


def test_without_a_limit_a_failed_batch_is_retried_as_it_was_with_its_encoded_event() -> None:  # D.1.2, on demand
    item = batch(1, 2, attempt=500, event=b"{}")
    [again] = only(Retry, decide(RetryPolicy(), item, function_error())).batches
    assert positions(again.records) == [1, 2]
    assert again.attempt == 501
    assert again.event == b"{}"
    assert again.not_before > 1000


@pytest.mark.statement(38)
def test_retries_used_up_discard_the_batch_with_the_count_of_attempts() -> None:
    """C.1, G 38."""
    policy = RetryPolicy(maximum_retry_attempts=2)
    only(Retry, decide(policy, batch(1, attempt=2), function_error()))
    result = function_error()
    [discard] = decide(policy, batch(1, attempt=3), result)
    assert isinstance(discard, Discard)
    assert (discard.condition, discard.attempts, discard.result) == ("RetryAttemptsExhausted", 3, result)


def test_maximum_retry_attempts_0_means_one_attempt() -> None:  # C.1
    only(Discard, decide(RetryPolicy(maximum_retry_attempts=0), batch(1), function_error()))


def test_a_throttle_comes_again_later_and_does_not_count() -> None:  # C.4
    item = batch(1, attempt=3, throttles=4)
    [again] = only(Retry, decide(RetryPolicy(maximum_retry_attempts=0), item, throttled())).batches
    assert (again.attempt, again.throttles) == (3, 5)
    [of_queue] = only(Retry, decide(RetryPolicy(redelivers=True, maximum_retry_attempts=0), item, throttled())).batches
    assert of_queue.attempt == 3


def test_bisect_splits_in_two_halves_at_once_and_consumes_no_attempt() -> None:  # C.4
    policy = RetryPolicy(maximum_retry_attempts=0, bisect_batch_on_function_error=True)
    left, right = only(Retry, decide(policy, batch(1, 2, 3, event=b"{}"), function_error())).batches
    assert (positions(left.records), positions(right.records)) == ([1], [2, 3])
    assert left.attempt == right.attempt == 1
    assert left.not_before == 1000
    assert left.event is None, "the event of all three is not that of one"
    only(Discard, decide(policy, left, function_error()))


def test_who_is_left_of_a_failed_batch_as_its_neighbours_are_too_old_is_tried_alone() -> None:  # C.4
    policy = RetryPolicy(maximum_retry_attempts=0, maximum_record_age=60, bisect_batch_on_function_error=True)
    old, ageless = record(1, timestamp=int((WALL - 61) * 1000)), record(2, timestamp=0)
    discard, retry = decide(policy, Batch([old, ageless], 0.0), function_error())
    assert discard == Discard([old], "RecordAgeExceeded", 1, None)
    assert isinstance(retry, Retry)
    [alone] = retry.batches
    assert (positions(alone.records), alone.attempt) == ([2], 1)


def test_a_partial_response_retries_the_named_only_and_does_not_bisect() -> None:  # C.6
    item = batch(1, 2, 3, 4)
    outcome = Outcome(failed=item.records[1:3])
    policy = RetryPolicy(maximum_retry_attempts=5, bisect_batch_on_function_error=True)
    complete, retry = decide(policy, item, answer(), outcome)
    assert isinstance(complete, Complete)
    assert isinstance(retry, Retry)
    [again] = retry.batches
    assert (positions(complete.records), positions(again.records), again.attempt) == ([1, 4], [2, 3], 2)


def test_records_past_their_age_are_discarded_and_the_younger_retried() -> None:  # C.1, D.4
    old = record(1, timestamp=int((WALL - 61) * 1000))
    young = record(2, timestamp=int((WALL - 59) * 1000))
    ageless = record(3, timestamp=0)
    policy = RetryPolicy(maximum_record_age=60)
    item = Batch([old, young, ageless], 0.0, attempt=8)
    discard, retry = decide(policy, item, function_error())
    assert discard == Discard([old], "RecordAgeExceeded", 8, None)
    assert isinstance(retry, Retry)
    assert positions(retry.batches[0].records) == [2, 3]
    assert decide(policy, Batch([old], 0.0), function_error()) == [Discard([old], "RecordAgeExceeded", 1, None)]


def test_a_retry_waits_no_longer_than_its_records_live() -> None:  # D.4
    policy = RetryPolicy(maximum_record_age=60)
    young = Batch([record(0, timestamp=int((WALL - 50) * 1000))], 0.0, attempt=8)
    [again] = only(Retry, decide(policy, young, function_error())).batches
    assert again.not_before == pytest.approx(1010.01)
    [again] = only(Retry, decide(policy, young, throttled())).batches
    assert again.not_before < 1001
    ageless = Batch([*young.records, record(1, timestamp=0)], 0.0, attempt=8)
    [again] = only(Retry, decide(policy, ageless, function_error())).batches
    assert again.not_before > 1040


@pytest.mark.statement(39)
def test_failed_messages_go_back_to_their_queue() -> None:
    """D.2, G 39."""
    [item] = decide(RetryPolicy(redelivers=True), batch(1, 2), function_error())
    assert isinstance(item, Return)
    assert positions(item.records) == [1, 2]
    assert item.not_before > 1000


def test_each_message_has_its_own_count_of_deliveries() -> None:  # extension: MaximumRetryAttempts for RabbitMQ
    mixed = Batch([record(1, deliveries=0), record(2, deliveries=2)], 0.0)
    policy = RetryPolicy(redelivers=True, maximum_retry_attempts=2)
    back, given_up = decide(policy, mixed, function_error())
    assert isinstance(back, Return)
    assert positions(back.records) == [1]
    assert isinstance(given_up, Discard)
    assert (positions(given_up.records), given_up.attempts) == ([2], 3)


def test_eight_attempts_fall_into_the_first_sixty_seconds() -> None:  # D.4
    for seed in map(str, range(50)):
        started, attempts = 0.0, [0.0]
        for failures in range(1, 12):
            started += BackOff().pause(failures, seed)
            attempts.append(started)
        assert sum(when < 60 for when in attempts) == 8


@given(st.integers(1, 10_000), st.text(max_size=5), st.sampled_from([1.0, 60.0]))
def test_pauses_grow_to_a_cap_are_repeatable_and_follow_the_time_scale(failures: int, seed: str, scale: float) -> None:
    back_off = BackOff(time_scale=scale)
    pause = back_off.pause(failures, seed)
    assert 0 < pause * scale <= back_off.cap * (1 + back_off.jitter)
    assert pause == back_off.pause(failures, seed)
    steps = [BackOff(jitter=0).pause(number, seed) for number in range(1, failures % 20 + 2)]
    assert all(shorter <= longer for shorter, longer in pairwise(steps))


@given(
    count=st.integers(1, 12),
    poison=st.sets(st.integers(0, 11)),
    retries=st.integers(0, 3),
)
def test_with_bisect_exactly_the_poison_records_are_discarded(count: int, poison: set[int], retries: int) -> None:
    policy = RetryPolicy(maximum_retry_attempts=retries, bisect_batch_on_function_error=True)
    todo = [batch(*range(count))]
    done: list[int] = []
    given_up: list[int] = []
    while todo:
        item = todo.pop(0)
        result = function_error() if poison & set(positions(item.records)) else answer()
        for decision in decide(policy, item, result):
            match decision:
                case Complete(finished):
                    done += positions(finished)
                case Retry(batches):
                    todo = [*batches, *todo]
                case Discard(lost, _, attempts, _):
                    assert attempts == retries + 1
                    given_up += positions(lost)
    assert given_up == sorted(poison & set(range(count)))
    assert done == sorted(set(range(count)) - poison)
