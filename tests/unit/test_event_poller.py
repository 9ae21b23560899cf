"""The loop of every event source mapping, step by step (C.4, C.6, D.1.2, D.2)."""

from __future__ import annotations

import threading
from itertools import cycle
from types import SimpleNamespace
from typing import Any

import pytest
from builders import answer, function_error, positions, throttled
from scripted import ARN, Letters, Rig
from waiting import eventually

from poller.errors import SourceRejected, SourceUnavailable
from poller.event_poller import STEADY
from poller.mapping_plan import PollerState, Standing
from poller.mapping_runner import status_of
from poller.policy.batching import BatchingLimits
from poller.policy.retrying import RetryPolicy

MAPPING: Any = SimpleNamespace(name="Orders.Events", UUID="u")


def opened(rig: Rig) -> Rig:
    rig.poller.open()
    return rig


def test_a_batch_is_invoked_and_then_committed() -> None:  # D.1.2
    rig = opened(Rig())
    rig.arrive(0, 1)
    rig.step()
    assert rig.pool.running() == [[0, 1]]
    invocation, _ = rig.pool.calls[0]
    assert invocation.invoked_function_arn == ARN
    assert invocation.timeout_cap == 840  # C.4: 14 minutes
    assert rig.source.committed() == {}
    rig.pool.answer(answer())
    rig.step(1)
    assert rig.source.committed() == {"t-0": 2}
    assert rig.poller.state.last_processing_result == "OK"
    assert rig.counted("committed_event_count") == 2


@pytest.mark.statement(37)
def test_a_failing_batch_is_not_committed_and_blocks_only_its_partition() -> None:
    """D.1.2, G 37."""
    rig = opened(Rig())
    rig.arrive(0, 1, 2, 3)
    rig.arrive(7, 8, shard="t-1")
    rig.step()
    rig.pool.answer(function_error())
    rig.pool.answer(answer())
    rig.step(0.2)
    assert rig.source.committed() == {"t-1": 9}
    assert rig.pool.running() == []
    rig.step(60)
    assert rig.pool.running() == [[0, 1]], "the same batch again, before anything later of its partition"
    assert rig.poller.state.last_processing_result == "OK"
    assert rig.counted("failed_invoke_event_count") == 2


def test_the_request_id_of_every_attempt_is_its_own() -> None:
    rig = opened(Rig())
    rig.arrive(0)
    rig.step()
    first = rig.pool.calls[0][0].request_id
    rig.pool.answer(function_error())
    rig.step()
    assert rig.poller.state.last_processing_result == "PROBLEM: Function call failed"  # C.2
    rig.step(60)
    assert rig.pool.calls[0][0].request_id != first


def test_nothing_is_committed_before_its_dead_letter_is_durable() -> None:
    letters = Letters()
    rig = opened(Rig(retry=RetryPolicy(maximum_retry_attempts=0), letters=letters))
    rig.arrive(0, 1)
    rig.step()
    rig.pool.answer(function_error())
    rig.step(1)
    assert [[letter.body for letter in batch] for batch, _ in letters.waiting] == [[b"0", b"1"]]
    assert rig.source.committed() == {}
    letters.deliver()
    rig.step(1)
    assert rig.source.committed() == {"t-0": 2}
    assert rig.counted("on_failure_destination_delivered_event_count") == 2
    assert rig.counted("dropped_event_count") == 0


def test_records_given_up_without_a_destination_are_counted_as_dropped() -> None:  # C.9
    rig = opened(Rig(retry=RetryPolicy(maximum_retry_attempts=0)))
    rig.arrive(0)
    rig.step()
    rig.pool.answer(function_error())
    rig.step(1)
    assert rig.source.committed() == {"t-0": 1}
    assert rig.counted("dropped_event_count") == 1


def test_a_record_beyond_6_mb_reaches_no_handler() -> None:  # C.4
    rig = opened(Rig(limits=BatchingLimits(window=0, maximum_bytes=20)))
    rig.arrive(0, size=30)
    rig.arrive(1)
    rig.step()
    assert rig.pool.running() == []
    rig.step()
    assert rig.pool.running() == [[1]]


def test_a_throttle_is_retried_and_not_counted_as_an_attempt() -> None:  # C.4
    rig = opened(Rig(retry=RetryPolicy(maximum_retry_attempts=0)))
    rig.arrive(0)
    rig.step()
    rig.pool.answer(throttled())
    rig.step()
    rig.step(60)
    assert rig.pool.running() == [[0]]
    assert rig.counted("invoke_error_count") == 1
    assert rig.counted("dropped_event_count") == 0


@pytest.mark.statement(39)
def test_a_failed_message_goes_back_to_the_queue_after_its_pause() -> None:
    """D.2, G 39."""
    rig = opened(Rig(ordered=False))
    rig.arrive(1, 2)
    rig.step()
    rig.pool.answer(function_error())
    rig.step()
    assert rig.source.released == []
    rig.step(1)
    assert positions(rig.source.released) == [1, 2]
    assert rig.source.settled() == []


def test_named_messages_go_back_and_the_others_are_acknowledged() -> None:  # extension to C.6
    rig = opened(Rig(ordered=False, report=True))
    rig.arrive(1, message_id="a")
    rig.arrive(2, message_id="b")
    rig.step()
    rig.pool.answer(answer({"batchItemFailures": [{"itemIdentifier": "b"}]}))
    rig.step()
    assert rig.source.settled() == [1]
    rig.step(1)
    assert positions(rig.source.released) == [2]


def test_a_message_with_its_attempts_used_up_is_rejected_and_not_acknowledged() -> None:  # F.3
    rig = opened(Rig(ordered=False, retry=RetryPolicy(redelivers=True, maximum_retry_attempts=2)))
    rig.arrive(1, deliveries=2)
    rig.step()
    rig.pool.answer(function_error())
    rig.step()
    rig.step(60)
    assert positions(rig.source.rejected) == [1]
    assert rig.source.settled() == []
    assert rig.source.released == []
    assert rig.counted("rejected_event_count") == 1


def test_a_shard_with_a_whole_batch_waiting_is_paused_until_there_is_room() -> None:
    rig = opened(Rig())
    rig.arrive(0, 1, 2, 3)
    rig.step()
    assert rig.source.paused == {"t-0"}
    rig.pool.answer(answer())
    rig.step()
    assert rig.source.paused == set()
    assert rig.pool.running() == [[2, 3]]


def test_polls_are_short_while_a_handler_runs_and_long_when_nothing_is_to_be_waited_for() -> None:
    rig = opened(Rig())
    rig.step()
    rig.step()
    assert rig.source.waits[-1] == 0.5, "until the next look at what others read of this poller"
    rig.arrive(0, 1)
    rig.step()
    rig.step()
    assert rig.source.waits[-1] <= 0.02


def test_while_a_full_batch_stands_behind_one_in_work_the_loop_waits_for_the_answer_first_and_not_for_records() -> None:
    rig = opened(Rig(limits=BatchingLimits(batch_size=2, window=0, read_ahead=10_000)))
    rig.arrive(0, 1, 2)
    rig.step()
    rig.step()
    assert rig.source.waits[-1] > 0, "an answer would hand over nothing that waits for it"
    rig.arrive(3)
    rig.pool.answer(answer())
    rig.step()
    rig.arrive(4, 5)
    rig.step()
    before = len(rig.source.waits)
    rig.step()
    rig.step()
    assert rig.source.waits[before] == 0
    assert rig.source.waits[-1] > 0, "a slow handler keeps nobody from what comes for other lanes"
    rig.pool.answer(answer())
    rig.step()
    assert rig.pool.running() == [[4, 5]]


def test_a_poll_ends_when_the_batching_window_does() -> None:  # C.4
    rig = opened(Rig(limits=BatchingLimits(batch_size=10, window=0.3)))
    rig.arrive(0)
    rig.step()
    assert rig.pool.running() == []
    rig.step(0.1)
    assert rig.source.waits[-1] == pytest.approx(0.2)
    rig.step(0.2)
    assert rig.pool.running() == [[0]]


def test_with_all_shards_held_back_the_loop_waits_for_answers_but_keeps_its_membership() -> None:
    rig = opened(Rig())
    rig.arrive(0, 1, 2, 3)
    rig.arrive(5, 6, 7, 8, shard="t-1")
    rig.step()
    polls = len(rig.source.waits)
    rig.pool.answer(function_error())
    rig.step()
    assert len(rig.source.waits) == polls, "no poll: an answer is what can come next"
    rig.clock.pass_(1.0)
    rig.step()
    assert len(rig.source.waits) == polls + 1, "membership wants a poll once a second"


def test_a_record_that_is_dropped_without_an_attempt_is_committed_though_nothing_else_comes() -> None:  # C.4
    rig = opened(Rig(limits=BatchingLimits(batch_size=2, window=0, maximum_bytes=100)))
    rig.arrive(0, size=200)
    rig.step()
    rig.step(1)
    assert rig.counted("dropped_event_count") == 1
    assert rig.source.committed() == {"t-0": 1}


def test_a_commit_is_made_at_most_every_tenth_of_a_second() -> None:
    rig = opened(Rig(limits=BatchingLimits(batch_size=1, window=0)))
    rig.arrive(0, 1)
    rig.step()
    rig.pool.answer(answer())
    rig.step()
    assert rig.source.committed() == {"t-0": 1}
    rig.pool.answer(answer())
    rig.step()
    assert rig.source.committed() == {"t-0": 1}
    rig.step(0.1)
    assert rig.source.committed() == {"t-0": 2}


def test_nothing_new_is_started_while_a_commit_is_held_up() -> None:
    # What is handled meanwhile would all be repeated if the broker gave the shards to another consumer.
    rig = opened(Rig())
    rig.arrive(0, 1, 2, 3)
    rig.source.commits_held_up = True
    rig.step()
    rig.pool.answer(answer())
    rig.step()
    assert rig.pool.running() == [[2, 3]], "started before the commit was tried"
    rig.arrive(4, 5)
    rig.pool.answer(answer())
    rig.step(0.1)
    rig.step(0.05)
    assert rig.pool.running() == []
    assert rig.source.waits[-1] > 0, "no spinning"
    assert rig.counted("committed_event_count") == 0
    rig.source.commits_held_up = False
    rig.step(0.1)
    rig.step()
    assert rig.pool.running() == [[4, 5]]
    assert rig.counted("committed_event_count") == 4


def test_a_revoked_shard_ends_its_batch_within_the_grace_and_says_what_to_commit() -> None:
    rig = opened(Rig())
    rig.arrive(0, 1, 2)
    rig.arrive(5, shard="t-1")
    rig.step()
    assert rig.source.listener
    rig.pool.answer(answer())
    progress = rig.source.listener.revoked(["t-0"])
    assert progress.positions == {"t-0": 2}
    assert rig.lanes.shards() == {"t-1"}
    assert rig.pool.running() == [[5]]


def test_the_late_answer_of_a_revoked_shard_changes_nothing() -> None:
    rig = opened(Rig(retry=RetryPolicy(maximum_retry_attempts=0)))
    rig.clock.monotonic = iter(range(1000, 9999)).__next__  # type: ignore[method-assign]
    rig.arrive(0, 1)
    rig.step()
    assert rig.source.listener
    assert not rig.source.listener.revoked(["t-0"])
    rig.pool.answer(function_error())
    rig.step()
    assert rig.source.committed() == {}
    assert rig.counted("dropped_event_count") == 0


def test_attempts_of_a_stream_are_counted_anew_after_a_rebalance() -> None:
    rig = opened(Rig(retry=RetryPolicy(maximum_retry_attempts=1)))
    for _ in range(2):  # the shard goes away after the first attempt, and comes back
        rig.arrive(0)
        rig.step()
        rig.pool.answer(function_error())
        rig.step()
        assert rig.source.listener
        rig.source.listener.lost(["t-0"])
    assert rig.counted("dropped_event_count") == 0
    rig.arrive(0)
    rig.step()
    for _ in range(2):
        rig.pool.answer(function_error())
        rig.step()
        rig.step(60)
    assert rig.counted("dropped_event_count") == 1


def test_of_a_queue_one_batch_is_in_work_and_the_next_one_waits() -> None:  # C.8
    rig = opened(Rig(ordered=False))
    rig.arrive(1, 2, 3, 4)
    rig.step()
    rig.step(60)
    assert rig.pool.running() == [[1, 2]]
    rig.pool.answer(answer())
    rig.step()
    assert rig.pool.running() == [[3, 4]]


def test_lost_shards_are_forgotten_without_a_commit() -> None:
    rig = opened(Rig())
    rig.arrive(0, 1)
    rig.step()
    assert rig.source.listener
    rig.source.listener.lost(["t-0"])
    rig.pool.answer(answer())
    rig.step(1)
    assert rig.source.committed() == {}


def run(rig: Rig) -> threading.Thread:
    rig.poller._reopening = type(rig.poller._reopening)(first=0.001, cap=0.002)
    thread = threading.Thread(target=rig.poller.run)
    thread.start()
    return thread


@pytest.mark.parametrize(
    ("problem", "reason"),
    [
        (SourceUnavailable("no broker at b:1"), "USER_INITIATED"),
        (SourceRejected("wrong password", code="EVENT_SOURCE_AUTHN_ERROR"), "EVENT_SOURCE_AUTHN_ERROR"),
    ],
)
def test_a_broker_that_fails_is_opened_again_and_its_state_tells(
    problem: SourceUnavailable, reason: str
) -> None:  # C.2
    rig = Rig()
    rig.source.failing = problem
    thread = run(rig)
    eventually(lambda: rig.source.opened > 2)
    assert not rig.poller.state.standing.polling
    assert (rig.poller.state.standing.problem, rig.poller.state.standing.reason) == (str(problem), reason)
    rig.source.failing = None
    eventually(lambda: rig.poller.state.standing.polling)
    assert rig.poller.state.standing.problem == ""
    rig.poller.stop()
    thread.join(5)
    assert not thread.is_alive()
    assert rig.counted("polling_error_count") > 2


class Pauses:
    """In place of growing pauses: of how many failures each was."""

    def __init__(self) -> None:
        self.failures: list[int] = []

    def pause(self, failures: int, _seed: str) -> float:
        self.failures.append(failures)
        return 0.001


def test_pauses_grow_also_where_a_broker_lets_itself_be_opened_and_not_be_polled() -> None:
    rig, pauses = Rig(), Pauses()
    rig.source.poll_failing = SourceUnavailable("not now")
    thread = run(rig)
    rig.poller._reopening = pauses  # type: ignore[assignment]
    eventually(lambda: len(pauses.failures) > 4)
    first = pauses.failures[0]
    assert pauses.failures[:4] == list(range(first, first + 4))
    rig.source.poll_failing = None
    eventually(lambda: rig.poller.state.standing.polling)
    before = len(rig.source.waits)
    eventually(lambda: len(rig.source.waits) > before + 1)  # it polls, no longer about to
    rig.clock.pass_(STEADY)
    told = len(pauses.failures)
    rig.source.poll_failing = SourceUnavailable("not now")
    eventually(lambda: len(pauses.failures) > told)
    assert pauses.failures[told] == 1, "it had polled for a while"
    rig.poller.stop()
    thread.join(5)


def test_a_source_that_cannot_be_closed_does_not_end_the_mapping(caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig()

    def close() -> None:
        rig.source.closed += 1
        raise RuntimeError("a bug of ours")

    rig.source.close = close  # type: ignore[method-assign]
    rig.source.failing = SourceUnavailable("gone")
    thread = run(rig)
    eventually(lambda: rig.source.closed > 1)
    rig.source.failing = None
    eventually(lambda: rig.poller.state.standing.polling)
    rig.poller.stop()
    thread.join(5)
    assert not thread.is_alive()
    assert "closing failed" in caplog.text


def test_while_a_broker_refuses_its_words_are_the_result_and_afterwards_the_one_before_counts_again() -> None:  # C.2
    rig = Rig()
    refusal = "PROBLEM: SASL authentication failed"
    rig.source.failing = SourceRejected("no", code="EVENT_SOURCE_AUTHN_ERROR", last_processing_result=refusal)
    thread = run(rig)
    eventually(lambda: rig.poller.state.standing.refusal == refusal)
    assert rig.poller.state.last_processing_result == "No records processed"
    rig.source.failing = None
    eventually(lambda: rig.poller.state.standing == Standing(polling=True))
    rig.poller.stop()
    thread.join(5)


def test_a_reason_a_result_and_a_problem_are_told_together_at_every_moment() -> None:  # C.2
    told: list[tuple[object, ...]] = []

    class Watched(PollerState):
        """As somebody sees it who asks after each change."""

        def __setattr__(self, name: str, value: object) -> None:
            super().__setattr__(name, value)
            if self is rig.poller.state:
                status = status_of(MAPPING, "Enabled", [self])
                told.append((status["StateTransitionReason"], status["LastProcessingResult"], status["Problem"]))

    rig = Rig()
    rig.poller.state = Watched()
    refusal = "PROBLEM: SASL authentication failed"
    rig.source.failing = SourceRejected("no", code="EVENT_SOURCE_AUTHN_ERROR", last_processing_result=refusal)
    thread = run(rig)
    eventually(lambda: rig.poller.state.standing.refusal == refusal)
    rig.source.failing = None
    eventually(lambda: rig.poller.state.standing.polling)
    rig.poller.stop()
    thread.join(5)
    fine, refused = ("USER_INITIATED", "No records processed", ""), ("EVENT_SOURCE_AUTHN_ERROR", refusal, "no")
    assert {fine, refused} == set(told)


def test_who_asks_while_a_poller_writes_gets_what_belongs_to_one_moment() -> None:  # C.2
    refused = Standing(reason="EVENT_SOURCE_AUTHN_ERROR", problem="no", refusal="PROBLEM: SASL authentication failed")
    standings = cycle([Standing(polling=True), refused])

    class Changing(PollerState):
        """Another one at each look."""

        def __getattribute__(self, name: str) -> object:
            return next(standings) if name == "standing" else super().__getattribute__(name)

    told = []
    for _ in range(4):
        status = status_of(MAPPING, "Enabled", [Changing()])
        told.append((status["StateTransitionReason"], status["LastProcessingResult"], status["Problem"]))
        next(standings)
        next(standings)
    assert set(told) <= {("USER_INITIATED", "No records processed", ""), (refused.reason, refused.refusal, "no")}


def test_after_a_lost_connection_everything_unacknowledged_is_forgotten_and_read_again() -> None:
    rig = Rig()
    rig.arrive(0, 1)
    thread = run(rig)
    eventually(rig.pool.running)
    rig.source.failing = SourceUnavailable("gone")
    eventually(lambda: rig.source.opened > 1)
    rig.source.failing = None
    eventually(lambda: rig.poller.state.standing.polling)
    rig.pool.answer(answer())
    rig.poller.stop()
    thread.join(5)
    assert rig.source.committed() == {}


def test_a_fault_of_ours_does_not_end_the_mapping(caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig()
    broken = rig.source.build_event
    rig.source.build_event = None  # type: ignore[assignment, method-assign]
    rig.arrive(0)
    thread = run(rig)
    eventually(lambda: rig.source.opened > 1)
    rig.source.build_event = broken  # type: ignore[method-assign]
    rig.arrive(0)
    eventually(rig.pool.running)
    rig.pool.answer(answer())
    rig.poller.stop()
    thread.join(5)
    assert not thread.is_alive()
    assert "the poll loop failed" in caplog.text


def test_nothing_is_started_any_more_once_it_is_told_to_stop() -> None:
    rig = opened(Rig())
    rig.arrive(0, 1, 2, 3)
    rig.step()
    rig.poller.stop()
    rig.pool.answer(answer())
    rig.step(1)
    assert rig.pool.running() == []
    assert rig.source.committed() == {"t-0": 2}


def test_stopping_lets_the_batch_in_work_end_and_commits_it() -> None:
    rig = Rig()
    rig.arrive(0, 1)
    thread = run(rig)
    eventually(rig.pool.running)
    rig.poller.stop()
    eventually(lambda: rig.source.paused)
    rig.pool.answer(answer())
    thread.join(5)
    assert rig.source.committed() == {"t-0": 2}
    assert rig.source.closed == 1
