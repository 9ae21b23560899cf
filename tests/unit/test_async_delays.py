"""For how long a broker holds events back (B.1)."""

from __future__ import annotations

import pytest

from poller.model import InvocationResult
from poller.policy.async_delays import LONGEST, pause_of, pauses
from poller.policy.async_events import Again, AsyncPolicy, Standing

MINUTE = 60_000


def test_there_is_a_pause_for_each_delay_and_each_retry() -> None:
    """B.1: from 1 s to 5 minutes, and 1 and 2 minutes."""
    assert pauses(1.0) == (
        1000,
        2000,
        4000,
        8000,
        16_000,
        32_000,
        MINUTE,
        64_000,
        2 * MINUTE,
        128_000,
        256_000,
        300_000,
    )


def test_a_time_scale_makes_all_of_them_shorter_and_none_nothing() -> None:
    assert pauses(60.0)[0] == 17
    assert MINUTE // 60 in pauses(60.0)
    assert pauses(1e9) == (1,)
    assert pauses(1e-9) == (LONGEST,), "what a broker can hold"


@pytest.mark.parametrize("scale", [0.5, 1.0, 7.0, 60.0, 600.0, 86_400.0])
def test_what_the_policy_wants_is_waited_and_not_more(scale: float) -> None:
    """Whatever the numbers' last digits are."""
    policy = AsyncPolicy(time_scale=scale)
    at = 1_764_064_800.123
    failure, throttle = InvocationResult("id", function_error="Unhandled"), InvocationResult("id", status=429)
    for result, seconds in [(failure, [60, 120]), (throttle, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300])]:
        standing = Standing(at)
        for expected in seconds:
            step = policy.after(standing, result, now=at)
            assert isinstance(step, Again)
            pause = pause_of(step.pause, pauses(scale))
            assert expected * 1000 / scale - 0.5 <= pause <= expected * 1000 / scale + 1
            standing = step.standing


def test_another_time_is_waited_a_little_longer() -> None:
    assert pause_of(3.0, pauses(1.0)) == 4000
    assert pause_of(1000.0, pauses(1.0)) == 300_000, "but not for ever"
