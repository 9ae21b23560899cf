"""A wall clock that jumps an hour, back and forth: only ages look at it, and they stay sane (C.1, C.4)."""

from __future__ import annotations

import pytest
from builders import answer, function_error
from scripted import Letters, Rig

from poller.policy.batching import BatchingLimits
from poller.policy.retrying import RetryPolicy

HOUR = 3600
JUMPS = pytest.mark.parametrize("jump", [HOUR, -HOUR, 24 * HOUR], ids=["an hour on", "an hour back", "a day on"])


def opened(rig: Rig) -> Rig:
    rig.poller.open()
    return rig


@JUMPS
def test_a_window_ends_after_its_own_seconds(jump: float) -> None:
    rig = opened(Rig(limits=BatchingLimits(batch_size=10, window=5)))
    rig.arrive(0)
    rig.step()
    rig.clock.wall += jump
    rig.step(4)
    assert rig.pool.running() == []
    rig.step(1)
    assert rig.pool.running() == [[0]]


@JUMPS
def test_a_pause_before_a_retry_lasts_its_own_seconds(jump: float) -> None:
    rig = opened(Rig())
    rig.arrive(0, 1)
    rig.step()
    rig.pool.answer(function_error())
    rig.step()
    rig.clock.wall += jump
    rig.step(0.3)
    assert rig.pool.running() == []
    rig.step(0.2)  # 0.4 s, with a tenth of jitter
    assert rig.pool.running() == [[0, 1]]


@JUMPS
def test_a_commit_is_made_in_its_time(jump: float) -> None:
    rig = opened(Rig())
    rig.arrive(0, 1)
    rig.step()
    rig.clock.wall += jump
    rig.pool.answer(answer())
    rig.step(0.1)
    assert rig.source.committed() == {"t-0": 2}


@JUMPS
def test_the_loop_never_waits_longer_for_a_clock_that_jumped(jump: float) -> None:
    rig = opened(Rig(limits=BatchingLimits(batch_size=10, window=5)))
    rig.arrive(0)
    rig.step()
    rig.clock.wall += jump
    rig.step()
    assert all(0 <= wait <= 1 for wait in rig.source.waits)


def test_a_record_from_the_future_is_no_younger_than_new() -> None:  # the clock went back, or the producer's is ahead
    rig = opened(Rig())
    rig.arrive(0, 1, timestamp=int((rig.clock.wall + HOUR) * 1000))
    rig.step()
    age = rig.metrics.registry.get_sample_value(
        "poller_iterator_age_seconds_sum", {"mapping": "m", "function": "f", "source": "t"}
    )
    assert age == 0


def test_a_clock_that_goes_back_makes_no_record_too_old() -> None:
    letters = Letters()
    retry = RetryPolicy(maximum_record_age=60)
    rig = opened(Rig(retry=retry, letters=letters, expired=retry.split_expired))
    rig.arrive(0, 1, timestamp=int(rig.clock.wall * 1000))
    rig.clock.wall -= HOUR
    rig.step()
    assert rig.pool.running() == [[0, 1]]
    assert letters.waiting == []


def test_a_clock_that_goes_on_makes_records_old_and_they_are_given_up_knowingly() -> None:
    # A record's time is its producer's: nothing tells a jump from a record that waited for an hour.
    letters = Letters()
    retry = RetryPolicy(maximum_record_age=60)
    rig = opened(Rig(retry=retry, letters=letters, expired=retry.split_expired))
    rig.arrive(0, 1, timestamp=int(rig.clock.wall * 1000))
    rig.clock.wall += HOUR
    rig.step()
    assert rig.pool.running() == []
    assert len(letters.waiting) == 1
    assert rig.source.committed() == {}
    letters.deliver()
    rig.step(1)
    assert rig.source.committed() == {"t-0": 2}
