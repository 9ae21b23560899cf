"""The thread that sends dead letters: in order, repeated until they are durable, reported only then."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from poller.destinations.memory import MemoryDestination
from poller.destinations.worker import (
    FIRST_DELAY,
    LONGEST_DELAY,
    MAXIMUM_BYTES,
    MAXIMUM_LETTERS,
    DestinationWorker,
    jittered_delay,
)
from poller.errors import DestinationError, DestinationRefused
from poller.model import DeadLetter

WAIT = 5.0
"""Seconds a test waits for something that comes at once."""


class Ticking:
    """A clock on which every look takes a minute, so that no pause lasts."""

    def __init__(self, step: float = 60.0) -> None:
        self._now = 0.0
        self._step = step

    def monotonic(self) -> float:
        self._now += self._step
        return self._now

    def time(self) -> float:
        raise AssertionError("no wall clock is needed")


class Scripted:
    """A destination that fails when the script says so, can be held inside `send`, and keeps what it was given."""

    def __init__(self, *script: Exception | None) -> None:
        self._script = list(script)
        self.sends: list[list[bytes]] = []
        self.durable: list[bytes] = []
        self.threads: set[str] = set()
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.entered = threading.Event()
        self.closed = threading.Semaphore(0)

    def send(self, letters: Sequence[DeadLetter]) -> None:
        self.threads.add(threading.current_thread().name)
        self.sends.append([letter.body for letter in letters])
        self.entered.set()
        assert self.may_go_on.wait(WAIT)
        failure = self._script.pop(0) if self._script else None
        if failure is not None:
            raise failure
        self.durable += self.sends[-1]

    def close(self) -> None:
        self.closed.release()


class Done:
    """Callbacks that say which item is done, and a way to wait for them."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._changed = threading.Condition()

    def __call__(self, name: str) -> Callable[[], None]:
        def done() -> None:
            with self._changed:
                self.names.append(name)
                self._changed.notify_all()

        return done

    def wait(self, *names: str) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.names == list(names), WAIT), self.names


def letters(*bodies: str) -> list[DeadLetter]:
    return [DeadLetter(body.encode()) for body in bodies]


@pytest.fixture
def done() -> Done:
    return Done()


@pytest.fixture
def errors() -> list[str]:
    return []


@pytest.fixture
def worker_of(errors: list[str]) -> Iterator[Callable[..., DestinationWorker]]:
    """Makes workers that fail fast, and stops them."""
    made: list[DestinationWorker] = []

    def make(destination: Any, **changes: Any) -> DestinationWorker:
        fields: dict[str, Any] = {"clock": Ticking(), "on_error": errors.append, "delay": lambda _: 30.0}
        made.append(DestinationWorker(destination, "orders", **{**fields, **changes}))
        return made[-1]

    yield make
    for worker in made:
        worker.stop(grace=0.0)


def test_letters_are_sent_in_order_on_the_worker_s_own_thread(worker_of: Any, done: Done) -> None:
    destination = Scripted()
    worker = worker_of(destination)
    worker.start()
    for name in ("a", "b", "c"):
        worker.submit(letters(name + "1", name + "2"), done(name))
    done.wait("a", "b", "c")
    assert destination.durable == [b"a1", b"a2", b"b1", b"b2", b"c1", b"c2"]
    assert destination.threads == {"destination-orders"}


def test_submit_does_not_wait_for_the_destination(worker_of: Any, done: Done) -> None:
    destination = Scripted()
    destination.may_go_on.clear()
    worker = worker_of(destination)
    worker.start()
    worker.submit(letters("a"), done("a"))
    assert destination.entered.wait(WAIT)
    worker.submit(letters("b"), done("b"))  # returns although a `send` hangs
    assert done.names == []
    assert worker.waiting == 2
    destination.may_go_on.set()
    done.wait("a", "b")
    assert worker.waiting == 0


def test_what_waits_is_sent_together_and_reported_one_by_one(worker_of: Any, done: Done) -> None:
    destination = Scripted()
    worker = worker_of(destination)
    for name in ("a", "b", "c"):
        worker.submit(letters(name), done(name))
    worker.start()
    done.wait("a", "b", "c")
    assert destination.sends == [[b"a", b"b", b"c"]]


@pytest.mark.parametrize(
    ("items", "sends"),
    [
        ([["x"] * MAXIMUM_LETTERS, ["y"]], [MAXIMUM_LETTERS, 1]),
        ([["x" * MAXIMUM_BYTES], ["y"]], [1, 1]),
        ([["x" * (MAXIMUM_BYTES + 1)], ["y"]], [1, 1]),
        ([["x"], ["y"] * MAXIMUM_LETTERS], [1, MAXIMUM_LETTERS]),
    ],
)
def test_one_send_is_bounded_in_letters_and_bytes(
    worker_of: Any, done: Done, items: list[list[str]], sends: list[int]
) -> None:
    destination = Scripted()
    worker = worker_of(destination)
    for number, bodies in enumerate(items):
        worker.submit(letters(*bodies), done(str(number)))
    worker.start()
    done.wait("0", "1")
    assert [len(send) for send in destination.sends] == sends


def test_a_failed_send_is_repeated_until_it_works_and_every_failure_is_told(
    worker_of: Any, done: Done, errors: list[str]
) -> None:
    destination = Scripted(DestinationError("no broker"), DestinationError("still none"))
    worker = worker_of(destination)
    worker.start()
    worker.submit(letters("a"), done("a"))
    done.wait("a")
    assert errors == ["no broker", "still none"]
    assert destination.sends == [[b"a"]] * 3
    assert destination.durable == [b"a"]


def test_after_a_failure_items_go_one_by_one_so_that_only_the_failing_one_is_repeated(
    worker_of: Any, done: Done
) -> None:
    destination = Scripted(DestinationError("too large"), DestinationError("too large"))
    worker = worker_of(destination)
    for name in ("a", "b", "c"):
        worker.submit(letters(name), done(name))
    worker.start()
    done.wait("a", "b", "c")
    assert destination.sends == [[b"a", b"b", b"c"], [b"a"], [b"a"], [b"b", b"c"]]


def test_what_is_refused_for_good_is_lost_where_it_may_be_and_holds_up_nothing(
    worker_of: Any, done: Done, errors: list[str]
) -> None:
    """Those around it are sent by themselves, so that none of them goes twice."""
    refused = DestinationRefused("too large", "Record")
    destination = Scripted(refused, None, refused)
    lost: list[str] = []
    worker = worker_of(destination, is_lost=lambda error, _: isinstance(error, DestinationRefused))
    for name in ("a", "b", "c", "d"):
        worker.submit(letters(name), done(name), lost.append)
    worker.start()
    done.wait("a", "c", "d")
    assert destination.sends == [[b"a", b"b", b"c", b"d"], [b"a"], [b"b"], [b"c"], [b"d"]]
    assert lost == ["too large"]
    assert errors == ["too large"] * 2


def test_what_may_not_be_lost_is_repeated_though_it_is_refused_for_good(worker_of: Any, done: Done) -> None:
    destination = Scripted(*[DestinationRefused("too large", "Record")] * 3)
    worker = worker_of(destination, is_lost=lambda *_: True)
    worker.submit(letters("a"), done("a"))
    worker.start()
    done.wait("a")
    assert destination.sends == [[b"a"]] * 4


def test_one_by_one_no_letter_before_one_that_fails_goes_twice(worker_of: Any, done: Done) -> None:
    destination = Scripted(None, DestinationError("no answer"))
    worker = worker_of(destination, one_by_one=True)
    for name in ("a", "b", "c"):
        worker.submit(letters(name), done(name))
    worker.start()
    done.wait("a", "b", "c")
    assert destination.sends == [[b"a"], [b"b"], [b"b"], [b"c"]]


def test_an_unexpected_error_is_repeated_as_well_and_does_not_end_the_thread(
    worker_of: Any, done: Done, errors: list[str]
) -> None:
    worker = worker_of(Scripted(RuntimeError("a bug")))
    worker.start()
    worker.submit(letters("a"), done("a"))
    done.wait("a")
    assert errors == ["unexpected error: RuntimeError('a bug')"]


def test_a_failing_callback_does_not_end_the_thread(worker_of: Any, done: Done) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a bug in a callback")

    worker = worker_of(Scripted(DestinationError("no broker")), on_error=fail)
    worker.start()
    worker.submit(letters("a"), fail)
    worker.submit(letters("b"), done("b"))
    done.wait("b")


def test_pauses_grow_with_each_failure_and_begin_again_after_a_success(worker_of: Any, done: Done) -> None:
    asked: list[int] = []

    def delay(failures: int) -> float:
        asked.append(failures)
        return 0.0

    failure = DestinationError("no broker")
    worker = worker_of(Scripted(failure, failure, failure, None, failure), delay=delay)
    worker.start()
    worker.submit(letters("a"), done("a"))
    done.wait("a")
    worker.submit(letters("b"), done("b"))
    done.wait("a", "b")
    assert asked == [1, 2, 3, 1]


def test_the_pause_is_exponential_with_jitter_and_capped() -> None:
    for failures, longest in [(1, FIRST_DELAY), (2, 1.0), (4, 4.0), (7, LONGEST_DELAY), (10_000, LONGEST_DELAY)]:
        delays = [jittered_delay(failures) for _ in range(100)]
        assert longest / 2 <= min(delays)
        assert max(delays) <= longest
        assert len(set(delays)) > 1


def test_stop_sends_what_is_queued(worker_of: Any, done: Done) -> None:
    destination = Scripted()
    destination.may_go_on.clear()
    worker = worker_of(destination)
    worker.start()
    for name in ("a", "b"):
        worker.submit(letters(name), done(name))
    assert destination.entered.wait(WAIT)
    stopper = threading.Thread(target=worker.stop, args=(600.0,))
    stopper.start()
    destination.may_go_on.set()
    stopper.join(WAIT)
    assert done.names == ["a", "b"]
    assert destination.closed.acquire(timeout=WAIT)


def test_stop_cuts_a_pause_short_for_a_last_try(worker_of: Any, done: Done, errors: list[str]) -> None:
    destination = Scripted(DestinationError("no broker"))
    failed = threading.Event()
    worker = worker_of(destination, clock=Ticking(step=0.0), on_error=lambda _: failed.set())
    worker.start()
    worker.submit(letters("a"), done("a"))
    assert failed.wait(WAIT)
    worker.stop(grace=WAIT)
    assert done.names == ["a"]


def test_what_is_not_durable_when_the_grace_is_over_is_never_reported(worker_of: Any, done: Done) -> None:
    destination = Scripted()
    destination.may_go_on.clear()
    worker = worker_of(destination)
    worker.start()
    worker.submit(letters("a"), done("a"))
    assert destination.entered.wait(WAIT)
    worker.submit(letters("b"), done("b"))
    worker.stop(grace=0.0)
    assert worker.waiting == 0
    destination.may_go_on.set()
    assert destination.closed.acquire(timeout=WAIT)  # the thread has ended
    assert done.names == []
    assert destination.durable == [b"a"]  # sent, but too late to be counted: its origin is read again
    worker.submit(letters("c"), done("c"))
    assert worker.waiting == 0


def test_stop_ends_a_worker_that_only_fails(worker_of: Any, done: Done) -> None:
    failed = threading.Event()
    destination = MemoryDestination()
    destination.failure = "no broker"
    worker = worker_of(destination, clock=Ticking(step=0.0), on_error=lambda _: failed.set())
    worker.start()
    worker.submit(letters("a"), done("a"))
    assert failed.wait(WAIT)
    worker.stop(grace=0.01)
    assert worker.waiting == 0
    assert done.names == []


@pytest.mark.parametrize("order", ["stop", "stop stop", "stop start", "start stop start stop", "start start stop stop"])
def test_start_and_stop_may_come_in_any_order_and_a_stopped_worker_stays_stopped(
    worker_of: Any, done: Done, order: str
) -> None:
    destination = Scripted()
    worker = worker_of(destination)
    for step in order.split():
        if step == "start":
            worker.start()
        else:
            worker.stop(grace=600.0)
    worker.submit(letters("a"), done("a"))
    worker.stop(grace=0.0)
    assert destination.sends == []


def test_a_callback_may_submit_and_stop(worker_of: Any, done: Done) -> None:
    destination = Scripted()
    worker = worker_of(destination)

    def on_done() -> None:
        worker.submit(letters("b"), done("b"))
        worker.stop(grace=600.0)
        done("a")()

    worker.submit(letters("a"), on_done)
    worker.start()
    done.wait("a")
    assert destination.closed.acquire(timeout=WAIT)
    assert destination.durable == [b"a"]


def test_an_idle_destination_is_closed_and_used_again(worker_of: Any, done: Done) -> None:
    destination = Scripted()
    worker = worker_of(destination, idle_close=0.01)
    worker.start()
    worker.submit(letters("a"), done("a"))
    done.wait("a")
    assert destination.closed.acquire(timeout=WAIT)
    worker.submit(letters("b"), done("b"))
    done.wait("a", "b")
    assert destination.durable == [b"a", b"b"]


def test_no_letters_are_done_at_once(worker_of: Any, done: Done) -> None:
    worker = worker_of(Scripted())
    worker.start()
    worker.submit([], done("nothing"))
    done.wait("nothing")
