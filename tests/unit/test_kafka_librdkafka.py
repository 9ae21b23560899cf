"""What librdkafka tells becomes what the loop is told: errors, rebalances, commits. Without a broker, by a scripted client."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import OFFSET_END, OFFSET_INVALID, KafkaError, KafkaException, Message, TopicPartition
from contract.source_harnesses import Calls

from poller.errors import SourceError, SourceRejected, SourceUnavailable
from poller.model import Progress, Record
from poller.records import Records
from poller.sources import kafka_held_back, kafka_librdkafka, kafka_librdkafka_intake
from poller.sources.kafka_event import KafkaSettings
from poller.sources.kafka_librdkafka import LibrdkafkaSource
from poller.sources.kafka_librdkafka_commits import OffsetCommits

Step = Callable[[], Sequence[Message]]


class ScriptedConsumer:
    """Gives what a test has put into `script`, one item for each call of `consume`; a `poll` finds nothing more."""

    made: ScriptedConsumer

    def __init__(self, options: dict[str, Any], logger: object) -> None:
        ScriptedConsumer.made = self
        self.options = options
        self.script: deque[Step] = deque()
        self.calls: list[tuple[Any, ...]] = []
        self.topic_error: KafkaError | None = None
        self.unreachable: KafkaError | None = None
        self.refusal: KafkaError | None = None
        self.times: dict[int, dict[int, int]] = {}
        self.placed: dict[int, int] = {}
        self.stored: dict[int, int] = {}
        self.stores = True
        self.asked = 0
        self.send_error: KafkaError | None = None
        self.commit_error: KafkaError | None = None
        self.member: str | None = "member"
        self.end = 9

    def list_topics(self, topic: str, timeout: float) -> Any:
        if self.unreachable:
            raise KafkaException(self.unreachable)
        return SimpleNamespace(topics={topic: SimpleNamespace(error=self.topic_error, partitions={0: None, 1: None})})

    def memberid(self) -> str | None:
        return self.member

    def subscribe(self, topics: list[str], **callbacks: Callable[..., None]) -> None:
        self.calls.append(("subscribe", *topics))
        self.callbacks = callbacks

    def rebalance(self, kind: str, *numbers: int) -> None:
        self.callbacks[kind](self, [TopicPartition("orders", number) for number in numbers])

    def consume(self, most: int, timeout: float) -> Sequence[Message]:
        return self.script.popleft()() if self.script else []

    def poll(self, timeout: float) -> None:
        if self.refusal:
            self.options["error_cb"](self.refusal)

    def commit(self, *, offsets: Sequence[TopicPartition], asynchronous: bool) -> None:
        assert asynchronous  # the other kind may block without end
        if self.send_error:
            raise KafkaException(self.send_error)
        if self.stores:
            self.stored |= {one.partition: one.offset for one in offsets}

    def committed(self, partitions: Sequence[TopicPartition], timeout: float) -> list[TopicPartition]:
        self.asked += 1
        if self.commit_error:
            raise KafkaException(self.commit_error)
        return [TopicPartition("orders", one.partition, self.stored.get(one.partition, -1001)) for one in partitions]

    def offsets_for_times(self, asked: Sequence[TopicPartition], timeout: float) -> list[TopicPartition]:
        """The log of each partition begins at offset 2; the time -1 is its end."""
        if self.unreachable:
            raise KafkaException(self.unreachable)
        ends = {-2: 2, OFFSET_END: self.end}
        return [
            TopicPartition("orders", one.partition, (ends | self.times.get(one.partition, {})).get(one.offset, -1))
            for one in asked
        ]

    def incremental_assign(self, partitions: Sequence[TopicPartition]) -> None:
        self.placed |= {one.partition: one.offset for one in partitions if one.offset >= 0}

    def get_watermark_offsets(self, partition: TopicPartition, *, cached: bool) -> tuple[int, int]:
        assert cached
        return 0, 9

    def __getattr__(self, name: str) -> Callable[..., None]:
        def call(partitions: Sequence[TopicPartition] = ()) -> None:
            self.calls.append((name, *[one.partition for one in partitions]))

        return call


def record(offset: int, partition: int = 0, value: bytes = b"v") -> Message:
    return Message(topic="orders", partition=partition, offset=offset, value=value, timestamp=(1, 5))


def news(code: int, partition: int = 0, offset: int = 0, *, fatal: bool = False) -> Message:
    return Message(topic="orders", partition=partition, offset=offset, error=KafkaError(code, "told so", fatal))


def offsets(records: Sequence[Record]) -> list[tuple[str, int]]:
    return [(one.shard, one.position) for one in records]


@pytest.fixture(autouse=True)
def scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_librdkafka, "Consumer", ScriptedConsumer)


class Opened:
    """A source that owns two partitions."""

    def __init__(self, **settings: Any) -> None:
        self.calls = Calls()
        self.source = LibrdkafkaSource(KafkaSettings(["b:9092"], "orders", "group", **settings))
        self.source.open(self.calls.listener())
        self.consumer = ScriptedConsumer.made
        self.after(lambda: self.consumer.rebalance("on_assign", 0, 1))
        self.consumer.calls.clear()

    def poll(self, *messages: Message) -> list[tuple[str, int]]:
        self.consumer.script.append(lambda: messages)
        return offsets(self.source.poll(0))

    def after(self, happening: Callable[[], None], *messages: Message) -> list[tuple[str, int]]:
        """Poll while something happens that the client tells of inside of it."""

        def step() -> Sequence[Message]:
            happening()
            return messages

        self.consumer.script.append(step)
        return offsets(self.source.poll(0))


@pytest.fixture
def opened() -> Iterator[Opened]:
    made = Opened()
    yield made
    made.source.close()


def test_the_client_keeps_to_what_the_settings_bound_and_commits_nothing_by_itself() -> None:
    options = Opened(prefetch_bytes=3 << 20, session_timeout=6.0).consumer.options
    assert options["queued.max.messages.kbytes"] == 3072
    assert (options["session.timeout.ms"], options["heartbeat.interval.ms"]) == (6000, 600)
    assert not options["enable.auto.commit"]
    assert not options["enable.auto.offset.store"]
    assert not options["allow.auto.create.topics"]
    assert options["isolation.level"] == "read_committed"
    assert options["partition.assignment.strategy"] == "cooperative-sticky"
    assert options["auto.offset.reset"] == "error"


# --- errors --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (KafkaError._AUTHENTICATION, "EVENT_SOURCE_AUTHN_ERROR"),
        (KafkaError.SASL_AUTHENTICATION_FAILED, "EVENT_SOURCE_AUTHN_ERROR"),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, "EVENT_SOURCE_AUTHZ_ERROR"),
        (KafkaError.GROUP_AUTHORIZATION_FAILED, "EVENT_SOURCE_AUTHZ_ERROR"),
        (KafkaError.INCONSISTENT_GROUP_PROTOCOL, "ESM_CONFIG_NOT_VALID"),
    ],
)
def test_a_refusal_is_told_with_its_reason_however_the_client_tells_it(code: int, reason: str) -> None:
    # C.2
    ways: list[Callable[[Opened], object]] = [
        lambda opened: opened.poll(news(code)),
        lambda opened: opened.after(lambda: opened.consumer.options["error_cb"](KafkaError(code, "told so"))),
        lambda opened: opened.after(lambda: opened.consumer.options["on_commit"](KafkaError(code, "told so"), [])),
    ]
    for way in ways:
        with pytest.raises(SourceRejected, match="Kafka at b:9092 refuses: told so") as refusal:
            way(Opened())
        assert refusal.value.code == reason


def open_with(**state: KafkaError) -> SourceError:
    """What `open` raises when the cluster is like this."""

    class Cluster(ScriptedConsumer):
        def __init__(self, options: dict[str, Any], logger: object) -> None:
            super().__init__(options, logger)
            vars(self).update(state)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kafka_librdkafka, "Consumer", Cluster)
        with pytest.raises(SourceError) as caught:
            Opened()
    assert ("close",) in ScriptedConsumer.made.calls
    return caught.value


def test_a_login_that_is_refused_is_told_at_once_and_is_no_broker_that_is_away() -> None:
    # C.2
    away = KafkaError(KafkaError._TRANSPORT, "nobody")
    problem = open_with(unreachable=away, refusal=KafkaError(KafkaError._AUTHENTICATION, "wrong password"))
    assert isinstance(problem, SourceRejected)
    assert (str(problem), problem.code) == ("Kafka at b:9092 refuses: wrong password", "EVENT_SOURCE_AUTHN_ERROR")
    problem = open_with(unreachable=away)
    assert isinstance(problem, SourceUnavailable)
    assert str(problem) == "no Kafka broker answers at b:9092"


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, "Kafka at b:9092 does not allow topic orders"),
        (KafkaError.TOPIC_EXCEPTION, "'orders' cannot be the name of a topic"),
        (KafkaError.UNKNOWN_TOPIC_OR_PART, "topic orders does not exist on b:9092"),
        (KafkaError.LEADER_NOT_AVAILABLE, "Kafka at b:9092 does not answer about topic orders: not yet"),
    ],
)
def test_what_is_the_matter_with_a_topic_is_told_when_it_is_opened(code: int, text: str) -> None:
    assert str(open_with(topic_error=KafkaError(code, "not yet"))) == text


def test_an_error_that_the_client_cannot_get_over_leads_to_a_new_one(opened: Opened) -> None:
    with pytest.raises(SourceUnavailable, match="Kafka at b:9092: told so"):
        opened.poll(news(KafkaError._FATAL, fatal=True))


def test_errors_that_the_client_gets_over_take_no_record(opened: Opened) -> None:
    assert opened.poll(record(0), news(KafkaError._TRANSPORT), record(1)) == [("orders-0", 0), ("orders-0", 1)]


@pytest.mark.parametrize(
    ("state", "kind", "text"),
    [
        (
            {"unreachable": KafkaError(KafkaError._TRANSPORT, "why")},
            SourceUnavailable,
            "no Kafka broker answers at b:9092 for group group",
        ),
        ({"member": None}, SourceUnavailable, "no Kafka broker answers at b:9092 for group group"),
        (
            {"topic_error": KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART, "why")},
            SourceRejected,
            "topic orders does not exist any more on b:9092",
        ),
    ],
    ids=["no broker", "no coordinator", "no topic"],
)
def test_trouble_is_told_when_it_lasts(
    state: dict[str, Any], kind: type[SourceError], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr("poller.sources.kafka_librdkafka_watch.time.monotonic", lambda: now[0])
    opened = Opened(session_timeout=6.0)
    opened.consumer.options["error_cb"](KafkaError(KafkaError._ALL_BROKERS_DOWN, "all"))
    sound = {name: getattr(opened.consumer, name) for name in state}
    vars(opened.consumer).update(state)
    for _ in range(5):
        assert opened.poll() == []
        now[0] += 1.1
    vars(opened.consumer).update(sound)
    opened.poll()  # it was over
    opened.consumer.options["error_cb"](KafkaError(KafkaError._ALL_BROKERS_DOWN, "all"))
    vars(opened.consumer).update(state)

    def lasts() -> None:
        for _ in range(8):
            opened.poll()
            now[0] += 1.1

    with pytest.raises(kind) as caught:
        lasts()
    assert str(caught.value) == text


def test_a_topic_that_is_gone_is_given_up_and_taken_up_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("poller.sources.kafka_librdkafka_watch.time.monotonic", lambda: now[0])
    opened = Opened()
    opened.consumer.topic_error = KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART, "gone")
    for wait in (6, 3):  # twice, as a broker that starts knows no topic at first
        assert ("unsubscribe",) not in opened.consumer.calls
        now[0] += wait
        opened.poll()
    assert ("unsubscribe",) in opened.consumer.calls
    opened.consumer.topic_error = None
    now[0] += 1.1
    opened.poll()
    assert opened.consumer.calls[-1] == ("subscribe", "orders")


# --- rebalances ----------------------------------------------------------------------------------------------------


def test_what_was_fetched_of_a_partition_that_goes_in_the_same_moment_is_not_given(opened: Opened) -> None:
    assert opened.after(
        lambda: opened.consumer.rebalance("on_revoke", 0), record(4), record(7, partition=1), record(5)
    ) == [("orders-1", 7)]
    assert opened.calls.revoked == ["orders-0"]


def test_what_becomes_final_is_committed_before_a_partition_is_given_up(opened: Opened) -> None:
    # D.1.2
    opened.poll(record(0))
    opened.calls.progress = Progress(positions={"orders-0": 1})
    opened.after(lambda: opened.consumer.rebalance("on_revoke", 0))
    assert opened.consumer.stored == {0: 1}
    assert opened.consumer.calls == [("incremental_unassign", 0)]


def test_nothing_is_committed_of_a_partition_that_is_lost(opened: Opened) -> None:
    opened.poll(record(0))
    opened.consumer.stores = False
    assert opened.source.acknowledge(Progress(positions={"orders-0": 1})) is False
    assert opened.calls.commit_failures == 1  # C.9
    opened.after(lambda: opened.consumer.rebalance("on_lost", 0, 1))
    opened.consumer.stores = True
    assert opened.source.acknowledge(Progress()) is True
    assert opened.consumer.stored == {}
    assert opened.calls.lost == ["orders-0", "orders-1"]
    assert opened.source.lag() == {}


def test_close_gives_up_every_shard_once_though_the_client_tells_of_it_again(opened: Opened) -> None:
    opened.consumer.close = lambda: opened.consumer.rebalance("on_revoke", 0, 1)
    opened.source.close()
    assert opened.calls.revoked == ["orders-0", "orders-1"]
    assert opened.consumer.calls == [("incremental_unassign", 0, 1)]


# --- commits -------------------------------------------------------------------------------------------------------


def test_a_commit_counts_only_once_the_broker_has_it(opened: Opened, now: list[float]) -> None:
    opened.poll(record(0), record(0, partition=1))
    opened.consumer.stores = False  # as when the group rebalances
    assert opened.source.acknowledge(Progress(positions={"orders-0": 1})) is False
    opened.consumer.stores = True
    opened.poll()
    assert opened.consumer.stored == {}  # not yet again
    now[0] += 0.2
    opened.poll()
    assert opened.consumer.stored == {0: 1}
    assert opened.source.acknowledge(Progress()) is True


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time of commits."""
    now = [1000.0]
    monkeypatch.setattr("poller.sources.kafka_librdkafka_commits.time.monotonic", lambda: now[0])
    return now


def test_while_commits_arrive_the_broker_is_asked_once_a_second(opened: Opened, now: list[float]) -> None:
    opened.poll(record(0))
    for position in range(1, 11):
        assert opened.source.acknowledge(Progress(positions={"orders-0": position})) is True
        assert opened.consumer.stored == {0: position}  # sent at once
        now[0] += 0.09
    opened.poll()
    assert opened.consumer.asked == 1
    now[0] += 0.1
    opened.poll()  # also when there is no more progress
    assert opened.consumer.asked == 2
    now[0] += 5
    opened.poll()
    assert opened.consumer.asked == 2  # nothing waits


def test_a_commit_that_was_sent_and_lost_is_held_up_within_a_second_and_made_again(
    opened: Opened, now: list[float]
) -> None:
    opened.poll(record(0))
    assert opened.source.acknowledge(Progress(positions={"orders-0": 1})) is True
    opened.consumer.stores = False
    now[0] += 0.1
    assert opened.source.acknowledge(Progress(positions={"orders-0": 2})) is True
    now[0] += 0.9
    opened.poll()
    assert opened.calls.commit_failures == 1  # C.9
    assert opened.source.acknowledge(Progress(positions={"orders-0": 3})) is False
    opened.consumer.stores = True
    assert opened.source.acknowledge(Progress()) is True
    assert opened.consumer.stored == {0: 3}


def test_a_commit_that_was_sent_is_made_certain_before_its_partition_goes(opened: Opened, now: list[float]) -> None:
    opened.poll(record(0))
    opened.source.acknowledge(Progress(positions={"orders-0": 1}))
    opened.consumer.stores = False
    now[0] += 0.1
    assert opened.source.acknowledge(Progress(positions={"orders-0": 2})) is True
    opened.consumer.stores = True
    opened.after(lambda: opened.consumer.rebalance("on_revoke", 0))
    assert opened.consumer.stored == {0: 2}


def test_a_commit_that_cannot_be_sent_is_held_up(opened: Opened, now: list[float]) -> None:
    opened.poll(record(0))
    opened.source.acknowledge(Progress(positions={"orders-0": 1}))
    opened.consumer.send_error = KafkaError(KafkaError._STATE, "not now")
    now[0] += 0.1
    assert opened.source.acknowledge(Progress(positions={"orders-0": 2})) is False
    assert opened.calls.commit_failures == 1
    opened.consumer.send_error = None
    assert opened.source.acknowledge(Progress()) is True
    assert opened.consumer.stored == {0: 2}


def test_where_reading_begins_is_committed_at_once_also_while_commits_wait_to_be_asked_for(
    opened: Opened, now: list[float]
) -> None:
    # D.1.1, LATEST: else records that come before the first commit would be passed over after a crash.
    commits = OffsetCommits(KafkaSettings([], "orders", "group"), lambda: None)
    for position in 1, 2:
        commits.note({0: position})
        assert commits.send(opened.consumer)
        now[0] += 0.1
    assert not commits.are_due()
    commits.note_start(1, 9)
    assert commits.are_due()


def test_a_commit_that_nobody_answers_is_held_up_and_one_that_is_refused_is_told(opened: Opened) -> None:
    opened.poll(record(0))
    opened.consumer.commit_error = KafkaError(KafkaError._TIMED_OUT, "nobody")
    assert opened.source.acknowledge(Progress(positions={"orders-0": 1})) is False
    opened.consumer.commit_error = KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED, "no")
    with pytest.raises(SourceRejected, match="refuses: no"):
        opened.source.acknowledge(Progress())
    opened.consumer.commit_error = None
    asked = opened.consumer.asked
    assert opened.source.acknowledge(Progress()) is True
    assert opened.consumer.asked == asked + 1  # within the second, but not of one that had arrived


# --- positions -----------------------------------------------------------------------------------------------------

NO_OFFSET, CUT = KafkaError._AUTO_OFFSET_RESET, KafkaError._LOG_TRUNCATION


def test_latest_commits_the_place_where_it_begins_and_trim_horizon_none(opened: Opened) -> None:
    # D.1.2
    latest = Opened(starting_position="LATEST")
    latest.poll(news(NO_OFFSET, 0, offset=OFFSET_INVALID), news(NO_OFFSET, 1, offset=OFFSET_INVALID))
    latest.poll()
    assert latest.consumer.placed == {0: 9, 1: 9}
    assert latest.consumer.stored == {0: 9, 1: 9}
    opened.poll(news(NO_OFFSET, 0, offset=OFFSET_INVALID))
    opened.poll()
    assert opened.consumer.placed == {0: 2}
    assert opened.consumer.stored == {}


def test_at_timestamp_begins_at_its_time_and_after_the_last_record_of_a_partition_without_one_as_late() -> None:
    # D.1.2
    dated = Opened(starting_position="AT_TIMESTAMP", starting_timestamp=1_000)
    dated.consumer.times = {0: {1_000: 5}}
    dated.poll(news(NO_OFFSET, 0, offset=OFFSET_INVALID), news(NO_OFFSET, 1, offset=OFFSET_INVALID))
    assert dated.consumer.placed == {0: 5, 1: 9}
    dated.poll()
    assert dated.consumer.stored == {0: 5, 1: 9}


@pytest.mark.parametrize("code", [NO_OFFSET, CUT])
@pytest.mark.parametrize("position", ["TRIM_HORIZON", "LATEST", "AT_TIMESTAMP"])
def test_an_offset_that_the_log_does_not_hold_goes_on_with_the_oldest_record(position: str, code: int) -> None:
    # D.1.2 is silent: nothing that is there is passed over.
    source = Opened(starting_position=position, starting_timestamp=1_000)
    source.poll(news(code, 0, offset=1), news(code, 1, offset=500))
    assert source.consumer.placed == {0: 2, 1: 2}
    source.poll()
    assert source.consumer.stored == {1: 2}, "what went back is overwritten, before the log grows up to it"


def test_a_place_that_nobody_tells_is_asked_for_again_and_that_of_a_revoked_shard_is_not(opened: Opened) -> None:
    opened.consumer.unreachable = KafkaError(KafkaError._TIMED_OUT, "nobody")
    assert opened.poll(news(NO_OFFSET, 0, offset=OFFSET_INVALID), news(NO_OFFSET, 1, offset=OFFSET_INVALID)) == []
    assert opened.consumer.placed == {}
    opened.consumer.unreachable = None
    opened.after(lambda: opened.consumer.rebalance("on_revoke", 1))
    assert opened.consumer.placed == {0: 2}


def test_offsets_that_went_back_start_the_shard_over(opened: Opened) -> None:
    assert opened.poll(record(5)) == [("orders-0", 5)]
    assert opened.poll(record(6, partition=1), news(CUT, 0, offset=6)) == [("orders-1", 6)]
    assert (opened.calls.lost, opened.calls.assigned[2:]) == (["orders-0"], ["orders-0"])
    assert opened.poll(record(2)) == [("orders-0", 2)]
    assert opened.calls.lost == ["orders-0"]


def test_what_a_poll_gave_of_a_shard_before_its_offsets_went_back_is_void(opened: Opened) -> None:
    assert opened.poll(record(5), record(1, partition=1), record(0)) == [("orders-1", 1), ("orders-0", 0)]
    assert opened.calls.lost == ["orders-0"]


def test_large_records_come_in_short_runs_so_that_little_stays_of_what_is_handled(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_librdkafka_intake, "RUN", 20)
    opened.consumer.script.append(lambda: [record(offset, value=b"123456789") for offset in range(5)])
    given = Records.of(opened.source.poll(0))
    assert [span.length for span in given.spans] == [2, 2, 1]
    assert offsets(given) == [("orders-0", offset) for offset in range(5)]
    assert opened.poll(record(5, value=b"x" * 100)) == [("orders-0", 5)]


def test_a_partition_that_was_stopped_is_stopped_again_where_it_goes_on(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_held_back, "EACH", 1)
    opened.source.pause(["orders-0"])
    opened.poll(record(1), news(NO_OFFSET, 0, offset=2))
    assert opened.consumer.calls.count(("pause", 0)) == 2


# --- pauses, positions ---------------------------------------------------------------------------------------------


def test_a_paused_shard_costs_the_client_nothing_and_its_records_come_first_after_it(opened: Opened) -> None:
    opened.source.pause(["orders-0", "orders-7"])
    assert opened.poll(record(0), record(0, partition=1)) == [("orders-1", 0)]
    assert opened.source.lag() == {"orders-0": 9, "orders-1": 8}  # what is held back was not given
    opened.consumer.end = 12
    assert opened.source.lag() == {"orders-0": 12, "orders-1": 11}
    opened.consumer.unreachable = KafkaError(KafkaError._TRANSPORT, "away")
    assert opened.source.lag() == {"orders-0": 9, "orders-1": 8}  # as of the last fetch
    opened.source.resume(["orders-0", "orders-7"])
    assert opened.poll(record(1), record(1, partition=1)) == [("orders-0", 0), ("orders-0", 1), ("orders-1", 1)]
    assert opened.consumer.calls == []


def test_offsets_that_go_back_start_the_shard_over_and_void_what_was_held_back(opened: Opened) -> None:
    opened.poll(record(3), record(4))
    opened.source.pause(["orders-0"])
    assert opened.poll(record(5)) == []
    assert opened.poll(record(0)) == [("orders-0", 0)]
    assert (opened.calls.lost, opened.calls.assigned[2:]) == (["orders-0"], ["orders-0"])
    assert opened.poll(news(KafkaError._PARTITION_EOF, offset=0), record(0)) == [("orders-0", 0)]
    assert opened.calls.lost == ["orders-0"] * 2
