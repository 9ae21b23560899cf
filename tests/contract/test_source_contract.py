"""What every source has to do, whatever its broker: one suite for the in-memory reference and for real brokers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest
from contract.source_harnesses import (
    Calls,
    KafkaHarness,
    MemoryQueueHarness,
    MemoryTopicHarness,
    RabbitMQHarness,
    SourceHarness,
    messages,
    reopen,
    settle,
    take,
)
from secure_brokers import CERTIFICATE, SCRAM
from waiting import eventually

from poller.errors import SourceUnavailable
from poller.model import Progress
from poller.sources import Source

FIVE = [b"message %d" % number for number in range(5)]

BROKER = pytest.mark.broker
DOORS = {"SCRAM over TLS": SCRAM, "client certificate": CERTIFICATE}


SOURCES = [
    "memory topic",
    "memory queue",
    pytest.param("kafka-python", marks=BROKER),
    pytest.param("confluent-kafka", marks=BROKER),
    pytest.param("rabbitmq quorum queue", marks=BROKER),
    pytest.param("rabbitmq classic queue", marks=BROKER),
]
SECURE_SOURCES = [
    pytest.param("kafka-python, SCRAM over TLS", marks=BROKER),
    pytest.param("kafka-python, client certificate", marks=BROKER),
    pytest.param("confluent-kafka, SCRAM over TLS", marks=BROKER),
    pytest.param("confluent-kafka, client certificate", marks=BROKER),
    pytest.param("rabbitmq quorum queue, TLS", marks=BROKER),
]


@pytest.fixture(params=[*SOURCES, *SECURE_SOURCES])
def harness(request: pytest.FixtureRequest) -> SourceHarness:
    kind, _, door = request.param.partition(", ")
    broker = "secure_" if door else ""
    match kind:
        case "memory topic":
            return MemoryTopicHarness()
        case "memory queue":
            return MemoryQueueHarness()
        case "kafka-python" | "confluent-kafka":
            return KafkaHarness(request.getfixturevalue(f"{broker}kafka"), kind, DOORS.get(door, ""))
        case "rabbitmq quorum queue":
            return RabbitMQHarness(request.getfixturevalue(f"{broker}rabbitmq"), "quorum")
        case _:
            return RabbitMQHarness(request.getfixturevalue("rabbitmq"), "classic")


Opener = Callable[..., Source]


@pytest.fixture
def opened(harness: SourceHarness) -> Iterator[Opener]:
    """Opens sources that are closed when the test is over."""
    sources = []

    def open_one(calls: Calls | None = None) -> Source:
        source = harness.source()
        sources.append(source)
        source.open((calls or Calls()).listener())
        return source

    yield open_one
    for source in sources:
        source.close()


def only_if(condition: object, reason: str) -> None:
    if not condition:
        pytest.skip(reason)


# --- taking --------------------------------------------------------------------------------------------------------


def test_records_arrive_once_and_in_the_order_of_their_positions(harness: SourceHarness, opened: Opener) -> None:
    harness.produce(FIVE)
    source = opened()
    records = take(source, 5)
    assert [record.value for record in records] == FIVE
    assert [record.position for record in records] == sorted({record.position for record in records})
    assert source.poll(harness.quiet) == []


def test_poll_returns_after_max_wait_when_there_is_nothing(harness: SourceHarness, opened: Opener) -> None:
    source = opened()
    source.poll(harness.quiet)
    started = time.monotonic()
    assert source.poll(harness.quiet) == []
    assert time.monotonic() - started < 5


def test_the_event_has_every_record_under_its_shard_in_order(harness: SourceHarness, opened: Opener) -> None:
    # D.1.1, D.2
    for shard in range(harness.shards):
        harness.produce([b"%d of shard %d" % (number, shard) for number in range(3)], shard=shard)
    source = opened()
    records = take(source, 3 * harness.shards)
    by_shard: dict[str, list[bytes | None]] = {}
    for record in records:
        by_shard.setdefault(record.shard, []).append(record.value)
    assert messages(bytes(source.build_event(records))) == by_shard


def test_an_event_is_never_larger_than_its_records_and_the_overhead_say(harness: SourceHarness, opened: Opener) -> None:
    # C.4: 6 MB is enforced from this sum, with a comma for each record
    for shard in range(harness.shards):
        harness.produce(FIVE, shard=shard)
    source = opened()
    records = take(source, 5 * harness.shards)
    room = sum(len(record.encoded) + 1 for record in records) + source.overhead(harness.shards)
    assert room - 40 < len(bytes(source.build_event(records))) <= room


# --- settling ------------------------------------------------------------------------------------------------------


def test_what_is_not_acknowledged_comes_again_after_reopening(harness: SourceHarness, opened: Opener) -> None:
    # D.1.2, D.2: at least once
    harness.produce(FIVE)
    source = opened()
    take(source, 5)
    reopen(source, Calls())
    assert [record.value for record in take(source, 5)] == FIVE


def test_what_is_acknowledged_does_not_come_again(harness: SourceHarness, opened: Opener) -> None:
    harness.produce(FIVE)
    source = opened()
    records = take(source, 5)
    source.acknowledge(settle(harness.features, records[:3]))
    reopen(source, Calls())
    assert [record.value for record in take(source, 2)] == FIVE[3:]
    assert source.poll(harness.quiet) == []


def test_acknowledging_twice_or_nothing_is_harmless(harness: SourceHarness, opened: Opener) -> None:
    harness.produce(FIVE)
    source = opened()
    records = take(source, 5)
    for _ in range(2):
        source.acknowledge(settle(harness.features, records))
        source.acknowledge(Progress())
    harness.produce([b"next"])
    assert [record.value for record in take(source, 1)] == [b"next"]


def test_messages_are_acknowledged_in_any_order_and_only_those(harness: SourceHarness, opened: Opener) -> None:
    only_if(not harness.features.ordered, "a stream acknowledges positions")
    harness.produce(FIVE)
    source = opened()
    first, second, third, fourth, _ = take(source, 5)
    source.acknowledge(Progress(records=[fourth, second]))
    source.acknowledge(Progress(records=[first]))
    reopen(source, Calls())
    assert sorted(record.value or b"" for record in take(source, 2)) == [FIVE[2], FIVE[4]]
    assert third.value == FIVE[2]
    assert source.poll(harness.quiet) == []


def test_what_belongs_to_a_lost_connection_is_passed_over(harness: SourceHarness, opened: Opener) -> None:
    only_if(not harness.features.ordered, "a stream acknowledges positions, whoever read them")
    harness.produce(FIVE)
    source = opened()
    stale = take(source, 5)
    reopen(source, Calls())
    take(source, 5)
    source.acknowledge(Progress(records=stale))
    source.release(stale)
    source.reject(stale)
    reopen(source, Calls())
    assert len(take(source, 5)) == 5


def test_a_released_message_comes_again_counted_and_marked(harness: SourceHarness, opened: Opener) -> None:
    # D.2, G 39: redelivered is true the next time
    only_if(harness.features.redelivers, "a stream is retried in its lane")
    harness.produce([b"try me"])
    source = opened()
    for deliveries in range(3):
        (record,) = take(source, 1)
        assert record.value == b"try me"
        assert record.deliveries == deliveries
        redelivered = b'"redelivered":true' if deliveries else b'"redelivered":false'
        assert redelivered in bytes(source.build_event([record]))
        source.release([record])
    (record,) = take(source, 1)
    source.acknowledge(Progress(records=[record]))
    assert source.poll(harness.quiet) == []


def test_a_rejected_message_is_dead_lettered_by_the_broker(harness: SourceHarness, opened: Opener) -> None:
    # F.3
    only_if(harness.dead_letters is not None, "a stream has no dead letters of its own")
    assert harness.features.redelivers
    harness.produce([b"good", b"bad"])
    source = opened()
    good, bad = take(source, 2)
    source.reject([bad])
    source.acknowledge(Progress(records=[good]))
    assert eventually(harness.dead_letters, what="a dead letter") == [b"bad"]
    reopen(source, Calls())
    assert source.poll(harness.quiet) == []


# --- pausing, waking -----------------------------------------------------------------------------------------------


def test_a_paused_shard_gives_nothing_until_it_is_resumed(harness: SourceHarness, opened: Opener) -> None:
    only_if(harness.features.ordered, "a queue is limited by its prefetch")
    harness.produce([b"before"])
    source = opened()
    (record,) = take(source, 1)
    source.pause([record.shard])
    harness.produce([b"while paused"])
    harness.produce([b"other shard"], shard=1)
    assert [other.value for other in take(source, 1)] == [b"other shard"]
    assert source.poll(harness.quiet) == []
    source.resume([record.shard])
    assert [later.value for later in take(source, 1)] == [b"while paused"]


def test_wake_makes_a_waiting_poll_return(harness: SourceHarness, opened: Opener) -> None:
    only_if(harness.wakes, "wake is allowed to do nothing")
    source = opened()
    source.poll(0)
    woken = threading.Event()

    def wake() -> None:
        woken.set()
        source.wake()

    waker = threading.Timer(0.2, wake)
    waker.start()
    started = time.monotonic()
    while not woken.is_set():  # frames of the broker may end a poll sooner
        source.poll(20)
    assert time.monotonic() - started < 10
    waker.join()


def test_wake_is_harmless_before_open_and_after_close(harness: SourceHarness) -> None:
    source = harness.source()
    source.wake()
    source.open(Calls().listener())
    source.close()
    source.wake()


# --- opening, closing ----------------------------------------------------------------------------------------------


def test_a_login_may_be_read_anew_before_every_open(harness: SourceHarness) -> None:
    # D.1.3, D.2: as after a refusal
    source = harness.source()
    harness.produce(FIVE)
    for _ in range(2):
        source.renew_login()
        reopen(source, Calls())
        assert [record.value for record in take(source, 5)] == FIVE
    source.close()


def test_close_is_safe_before_open_and_twice(harness: SourceHarness) -> None:
    source = harness.source()
    source.close()
    source.open(Calls().listener())
    source.poll(0)
    source.close()
    source.close()


def test_a_closed_source_says_that_it_is_not_connected(harness: SourceHarness) -> None:
    source = harness.source()
    with pytest.raises(SourceUnavailable, match="not "):
        source.poll(0)
    with pytest.raises(SourceUnavailable, match="not "):
        source.acknowledge(Progress())


def test_the_listener_hears_of_every_shard(harness: SourceHarness, opened: Opener) -> None:
    calls = Calls()
    source = opened(calls)
    harness.produce([b"first"])
    (record,) = take(source, 1)
    assert len(calls.owned) == harness.shards
    assert record.shard in calls.owned


def test_lag_is_what_the_broker_holds_beyond_the_last_poll(harness: SourceHarness, opened: Opener) -> None:
    # C.9
    harness.produce(FIVE * 10)
    source = opened()
    if not harness.features.ordered:
        take(source, 20)  # the prefetch
        eventually(lambda: source.poll(0.1) or sum(source.lag().values()) == 30, what="a lag of 30")
    else:
        take(source, 50)
        eventually(lambda: source.poll(0.1) or sum(source.lag().values()) == 0, what="a lag of 0")
        assert len(source.lag()) == harness.shards


def test_the_lag_of_paused_shards_is_right_at_the_moment_of_the_call(harness: SourceHarness, opened: Opener) -> None:
    # C.9
    if not harness.features.ordered:
        pytest.skip("a queue is not paused")
    source, calls = opened(), Calls()
    source.close()
    source = opened(calls)
    harness.produce([b"first"])
    [record] = take(source, 1)
    eventually(lambda: source.poll(0.1) or sum(source.lag().values()) == 0, what="a lag of 0")
    source.pause(calls.owned)
    for turn in range(1, 4):
        harness.produce(FIVE)
        source.poll(0)
        assert source.lag()[record.shard] == 5 * turn, "whatever the client has fetched"
        assert sum(source.lag().values()) == 5 * turn, "and nothing of the others"
    source.resume(calls.owned)
    take(source, 15)
    assert sum(source.lag().values()) == 0


def test_a_source_knows_how_many_shards_there_are(harness: SourceHarness, opened: Opener) -> None:
    # C.8
    source = opened()
    source.poll(0)
    assert source.partitions() == (harness.shards if harness.features.ordered else None)
    source.close()


# --- several consumers ---------------------------------------------------------------------------------------------


def test_two_sources_share_the_work(harness: SourceHarness, opened: Opener) -> None:
    calls = [Calls(), Calls()]
    sources = [opened(one) for one in calls]

    def both_own() -> bool:
        for source in sources:
            source.poll(0.1)
        return not harness.features.rebalances or all(len(one.owned) == 1 for one in calls)

    eventually(both_own, what="a shard for each source")
    values = [b"%d" % number for number in range(40)]
    for shard in range(harness.shards):
        harness.produce(values[shard :: harness.shards], shard=shard)
    taken: list[list[bytes | None]] = [[], []]

    def all_taken() -> bool:
        for source, mine in zip(sources, taken, strict=True):
            records = source.poll(0.1)
            mine += [record.value for record in records]
            if len(taken[0]) >= 10 and len(taken[1]) >= 10:  # a queue gives the one that settles everything
                source.acknowledge(settle(harness.features, records))
        return sum(map(len, taken)) >= 40

    eventually(all_taken, what="all records")
    assert sorted(taken[0] + taken[1], key=lambda value: int(value or b"")) == values
    assert all(taken)


def test_progress_is_committed_before_a_shard_goes_to_another(harness: SourceHarness, opened: Opener) -> None:
    # D.1.2: the committed offset wins, so the new owner starts exactly there
    only_if(harness.features.rebalances, "nothing moves between the consumers of a queue")
    calls, other_calls = Calls(), Calls()
    source = opened(calls)
    for shard in range(2):
        harness.produce(FIVE, shard=shard)
    records = take(source, 10)
    done = [record for record in records if record.value in FIVE[:2]]
    calls.progress = settle(harness.features, done)
    other = opened(other_calls)
    moved: list[bytes | None] = []

    def arrived() -> bool:
        assert source.poll(0.1) == []
        moved.extend(record.value for record in other.poll(0.1))
        return len(moved) >= 3

    eventually(arrived, what="the records of the moved shard")
    assert moved == FIVE[2:]
    assert len(calls.revoked) == 1
    assert other_calls.assigned == calls.revoked
    assert calls.lost == []


def test_close_revokes_every_shard_and_commits_what_that_makes_final(harness: SourceHarness, opened: Opener) -> None:
    only_if(harness.features.rebalances, "a queue has no shards to give up")
    calls = Calls()
    source = opened(calls)
    for shard in range(2):
        harness.produce(FIVE, shard=shard)
    records = take(source, 10)
    calls.progress = settle(harness.features, records)
    source.close()
    assert sorted(calls.revoked) == sorted(calls.assigned)
    successor = opened()
    harness.produce([b"next"])
    assert [record.value for record in take(successor, 1)] == [b"next"]


@pytest.mark.usefixtures("refused_connections")
def test_nothing_is_lost_when_the_broker_restarts(harness: SourceHarness, opened: Opener) -> None:
    if harness.restart is None:
        pytest.skip("this broker cannot be restarted")
    calls = Calls()
    source = opened(calls)
    harness.produce(FIVE)
    records = take(source, 5)
    source.acknowledge(settle(harness.features, records[:3]))
    harness.restart()
    harness.produce([b"after"])
    seen: set[bytes | None] = set()

    def all_seen() -> bool:
        try:
            seen.update(record.value for record in source.poll(0.2))
        except SourceUnavailable:
            reopen(source, calls)
        return {*FIVE[3:], b"after"} <= seen or (harness.features.ordered and b"after" in seen)

    eventually(all_seen, timeout=60, what="what was not acknowledged, and what came after")
    assert not seen & {*FIVE[:3]}
