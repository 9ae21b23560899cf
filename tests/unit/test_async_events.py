"""What an asynchronous event meets: retries, throttles, its age, and the end (B.1)."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from builders import answer, function_error, throttled
from hypothesis import given
from hypothesis import strategies as st

from poller.model import InvocationResult
from poller.policy.async_events import Again, AsyncPolicy, Attempt, Ended, Standing
from poller.runtime.answers import error_answer

WALL = 1_764_064_800.0


@dataclass
class Life:
    """An event from its acceptance to its end."""

    end: Ended
    begun: list[float] = field(default_factory=list)
    """Seconds after the acceptance at which the function was invoked."""
    ended_at: float = 0.0


def live(policy: AsyncPolicy, answers: list[InvocationResult], *, reserved: int | None = None) -> Life:
    """Each answer comes at once; the last one is repeated without end."""
    standing, now, begun = Standing(WALL), WALL, []
    while True:
        step: Attempt | Again | Ended = policy.before(standing, now=now, reserved=reserved)
        if isinstance(step, Attempt):
            begun.append(now - WALL)
            step = policy.after(standing, answers[min(len(begun), len(answers)) - 1], now=now)
        if isinstance(step, Ended):
            return Life(step, begun, now - WALL)
        assert isinstance(step, Again)
        standing, now = step.standing, step.due


@pytest.mark.statement(19)
def test_a_function_that_always_fails_is_tried_three_times_with_pauses_of_one_and_two_minutes() -> None:
    """B.1, G 19."""
    life = live(AsyncPolicy(), [function_error()])
    assert life.begun == [0, 60, 180]
    assert life.end == Ended("RetriesExhausted", 3)


def test_a_function_that_succeeds_at_the_second_try_has_a_count_of_two() -> None:  # B.3
    assert live(AsyncPolicy(), [function_error(), answer()]).end == Ended("Success", 2)


@pytest.mark.statement(20)
@pytest.mark.parametrize(("attempts", "count"), [(0, 1), (1, 2), (2, 3)])
def test_maximum_retry_attempts_counts_the_attempts_after_the_first(attempts: int, count: int) -> None:
    """B.1, G 20."""
    policy = AsyncPolicy(maximum_retry_attempts=attempts)
    assert live(policy, [function_error()]).end == Ended("RetriesExhausted", count)


@pytest.mark.statement(22)
@pytest.mark.parametrize(
    ("age", "begun"),
    [(60, [0]), (61, [0, 60]), (90, [0, 60]), (180, [0, 60]), (181, [0, 60, 180])],
)
def test_a_retry_that_would_start_after_the_age_limit_is_not_waited_for(age: float, begun: list[float]) -> None:
    """B.1, G 22: at an age of 60 the event ends right after its first attempt."""
    life = live(AsyncPolicy(maximum_event_age=age), [function_error()])
    assert life.begun == begun
    condition = "RetriesExhausted" if len(begun) == 3 else "EventAgeExceeded"
    assert (life.end.condition, life.end.attempts) == (condition, len(begun))
    assert life.ended_at == begun[-1]


@pytest.mark.statement(23)
def test_with_a_reserved_concurrency_of_0_an_event_ends_without_an_attempt() -> None:
    """B.1, G 23."""
    life = live(AsyncPolicy(), [answer()], reserved=0)
    assert (life.begun, life.end) == ([], Ended("ZeroReservedConcurrency", 0))


@pytest.mark.parametrize("delay", [throttled(), error_answer("r", 500, "no process")], ids=["throttle", "system error"])
def test_throttles_and_system_errors_wait_from_a_second_to_five_minutes_and_use_up_no_attempt(
    delay: InvocationResult,
) -> None:  # B.1
    life = live(AsyncPolicy(), [delay] * 12 + [function_error()])
    pauses = [later - earlier for earlier, later in zip(life.begun, life.begun[1:], strict=False)]
    assert pauses == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300, 60, 120]
    assert life.end == Ended("RetriesExhausted", 3)


def test_throttles_without_end_end_with_the_event_s_age_and_a_count_of_0() -> None:  # B.1: six hours by default
    life = live(AsyncPolicy(), [throttled()])
    assert life.end == Ended("EventAgeExceeded", 0)
    assert 21_600 - 300 <= life.ended_at < 21_600


def test_after_an_attempt_throttles_begin_with_a_second_again() -> None:
    step = AsyncPolicy().after(Standing(WALL, attempts=0, delays=7), function_error(), now=WALL)
    assert step == Again(WALL + 60, Standing(WALL, attempts=1, delays=0))


def test_an_event_that_waited_past_its_age_ends_before_it_is_tried() -> None:  # B.1: a long backlog
    policy = AsyncPolicy(maximum_event_age=60)
    assert policy.before(Standing(WALL), now=WALL + 59, reserved=None) == Attempt()
    assert policy.before(Standing(WALL), now=WALL + 60, reserved=None) == Ended("EventAgeExceeded", 0)


def test_an_event_from_the_future_has_no_age() -> None:
    assert AsyncPolicy().before(Standing(WALL + 86_400), now=WALL, reserved=None) == Attempt()


def test_a_refused_payload_counts_as_an_attempt_that_failed() -> None:
    assert live(AsyncPolicy(), [error_answer("r", 413, "too large")]).end == Ended("RetriesExhausted", 3)


ANSWERS = st.lists(
    st.sampled_from([answer(), function_error(), throttled(), error_answer("r", 503, "fault")]), min_size=1, max_size=40
)
POLICIES = st.builds(
    AsyncPolicy,
    maximum_retry_attempts=st.integers(0, 2),
    maximum_event_age=st.floats(60, 21_600),
)


@given(POLICIES, ANSWERS)
def test_every_event_ends_within_its_age_and_its_number_of_attempts(
    policy: AsyncPolicy, answers: list[InvocationResult]
) -> None:
    life = live(policy, answers)
    assert life.end.attempts <= policy.maximum_retry_attempts + 1
    assert life.ended_at <= policy.maximum_event_age
    assert all(begun < policy.maximum_event_age for begun in life.begun)
    if life.end.succeeded:
        assert answer() in answers


@given(POLICIES, ANSWERS, st.sampled_from([2.0, 60.0, 3600.0]))
def test_time_scale_makes_everything_so_much_shorter_and_changes_nothing_else(
    policy: AsyncPolicy, answers: list[InvocationResult], scale: float
) -> None:
    slow = live(policy, answers)
    fast = live(AsyncPolicy(policy.maximum_retry_attempts, policy.maximum_event_age, scale), answers)
    assert fast.begun == pytest.approx([begun / scale for begun in slow.begun], abs=1e-4)
    assert fast.end == slow.end
