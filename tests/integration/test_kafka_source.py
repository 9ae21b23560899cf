"""The Kafka source against a real Kafka: what the contract suite does not ask of every source."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from aws_lambda_powertools.utilities.data_classes import KafkaEvent
from brokers import KafkaBroker, Produce, free_port, unique
from contract.source_harnesses import KAFKA_CLIENTS, Calls, settle, take
from integration.harness.group import describe
from kafka import KafkaProducer, OffsetAndMetadata, TopicPartition
from waiting import eventually

from poller.errors import SourceRejected, SourceUnavailable
from poller.model import Progress, Record
from poller.sources import Source
from poller.sources.kafka_event import KafkaSettings
from poller.sources.kafka_librdkafka import LibrdkafkaSource

pytestmark = pytest.mark.broker

Maker = Callable[[KafkaSettings], Source]
Opener = Callable[..., Source]


@pytest.fixture
def make(kafka_client: str) -> Maker:
    """Makes a source that reads with the client."""
    return KAFKA_CLIENTS[kafka_client]


@pytest.fixture
def opened(kafka: KafkaBroker, make: Maker) -> Iterator[Opener]:
    """Opens sources that are closed when the test is over."""
    sources = []

    def open_one(topic: str, calls: Calls | None = None, **settings: Any) -> Source:
        source = make(kafka.settings(topic, **settings))
        sources.append(source)
        source.open((calls or Calls()).listener())
        return source

    yield open_one
    for source in sources:
        source.close()


def join(source: Source, calls: Calls, shards: int) -> None:
    eventually(lambda: source.poll(0.1) or len(calls.owned) == shards, what=f"{shards} shards")


# --- opening -------------------------------------------------------------------------------------------------------


def test_a_missing_topic_is_told_and_not_created(kafka: KafkaBroker, make: Maker) -> None:
    # C.2: ESM_CONFIG_NOT_VALID
    topic = unique("missing")
    source = make(kafka.settings(topic))
    with pytest.raises(SourceRejected, match=f"topic {topic} does not exist on {kafka.service_address}") as refusal:
        source.open(Calls().listener())
    assert refusal.value.code == "ESM_CONFIG_NOT_VALID"
    assert not kafka.has_topic(topic)


def test_an_impossible_name_of_a_topic_is_refused(kafka: KafkaBroker, make: Maker) -> None:
    with pytest.raises(SourceRejected, match="'no topic' cannot be the name of a topic"):
        make(kafka.settings("no topic")).open(Calls().listener())


@pytest.mark.usefixtures("refused_connections")
def test_unreachable_brokers_are_named_within_seconds_and_leave_no_thread(make: Maker) -> None:
    addresses = [f"127.0.0.1:{free_port()}", "no-such-host.invalid:9092"]
    before = set(threading.enumerate())
    source = make(KafkaSettings(addresses, "orders", "group", connect_timeout=1.0))
    started = time.monotonic()
    with pytest.raises(SourceUnavailable, match=f"no Kafka broker answers at {','.join(addresses)}"):
        source.open(Calls().listener())
    assert time.monotonic() - started < 10
    assert set(threading.enumerate()) <= before


# --- where reading begins ------------------------------------------------------------------------------------------


def test_trim_horizon_begins_with_the_oldest_record(kafka: KafkaBroker, opened: Opener) -> None:
    # D.1.2
    topic = kafka.create_topic()
    kafka.produce(topic, [b"old"])
    assert [record.value for record in take(opened(topic), 1)] == [b"old"]


def test_latest_begins_with_what_comes_next(kafka: KafkaBroker, opened: Opener) -> None:
    # D.1.2
    topic, calls = kafka.create_topic(), Calls()
    kafka.produce(topic, [b"old"])
    source = opened(topic, calls, starting_position="LATEST", group_id=(group := unique("group")))
    eventually(lambda: source.poll(0.1) or kafka.committed(topic, group), what="a place to begin")
    kafka.produce(topic, [b"new"])
    assert [record.value for record in take(source, 1)] == [b"new"]


def test_latest_does_not_skip_what_its_first_reader_left_unfinished(kafka: KafkaBroker, opened: Opener) -> None:
    # D.1.2: at least once, also before the first commit
    topic, group = kafka.create_topic(partitions=2), unique("group")
    kafka.produce(topic, [Produce(b"old", partition=number) for number in range(2)])
    first = opened(topic, starting_position="LATEST", group_id=group)
    eventually(lambda: first.poll(0.1) or len(kafka.committed(topic, group)) == 2, what="places to begin")
    kafka.produce(topic, [Produce(b"new", partition=number) for number in range(2)])
    assert [record.value for record in take(first, 2)] == [b"new", b"new"]
    first.close()
    second = opened(topic, starting_position="LATEST", group_id=group)
    assert [record.value for record in take(second, 2)] == [b"new", b"new"]


def test_latest_reads_a_partition_that_is_added_from_its_first_record(kafka: KafkaBroker, opened: Opener) -> None:
    # All that is in it came after the start, also what came before the client saw the partition.
    topic, calls = kafka.create_topic(), Calls()
    kafka.produce(topic, [b"before"])
    source = opened(topic, calls, starting_position="LATEST")
    join(source, calls, 1)
    kafka.add_partitions(topic, 2)
    kafka.produce(topic, [Produce(b"first", partition=1)])
    (record,) = take(source, 1)
    assert (record.value, record.shard, record.position) == (b"first", f"{topic}-1", 0)


def test_at_timestamp_begins_with_the_first_record_as_late_and_skips_nothing_after_it(
    kafka: KafkaBroker, opened: Opener
) -> None:
    # D.1.2; in a partition without such a record, with what comes next
    topic, group = kafka.create_topic(partitions=2), unique("group")
    then = int((time.time() - 3600) * 1000)
    kafka.produce(topic, [Produce(b"%d" % late, partition=0, timestamp=then + late) for late in (-1, 0, 1)])
    kafka.produce(topic, [Produce(b"old", partition=1, timestamp=then - 1)])
    position = {"starting_position": "AT_TIMESTAMP", "starting_timestamp": then, "group_id": group}
    first = opened(topic, **position)
    assert [record.value for record in take(first, 2)] == [b"0", b"1"]
    begun = {f"{topic}-0": 1, f"{topic}-1": 1}
    eventually(lambda: first.poll(0.1) or kafka.committed(topic, group) == begun, what="places to begin")
    kafka.produce(topic, [Produce(b"new", partition=1)])
    assert [record.value for record in take(first, 1)] == [b"new"]
    first.close()
    second = opened(topic, **position)
    assert sorted(record.value or b"" for record in take(second, 3)) == [b"0", b"1", b"new"]


def test_at_timestamp_counts_in_a_partition_that_is_added_too(kafka: KafkaBroker, opened: Opener) -> None:
    topic, calls, then = kafka.create_topic(), Calls(), int((time.time() - 3600) * 1000)
    source = opened(topic, calls, starting_position="AT_TIMESTAMP", starting_timestamp=then)
    join(source, calls, 1)
    kafka.add_partitions(topic, 2)
    kafka.produce(topic, [Produce(b"%d" % late, partition=1, timestamp=then + late) for late in (-1, 0)])
    (record,) = take(source, 1)
    assert (record.value, record.shard, record.position) == (b"0", f"{topic}-1", 1)


@pytest.mark.parametrize(("position", "first"), [("TRIM_HORIZON", b"0"), ("LATEST", b"new"), ("AT_TIMESTAMP", b"1")])
def test_a_group_that_lost_its_offsets_begins_again_as_a_new_one(
    position: str, first: bytes, kafka: KafkaBroker, opened: Opener, caplog: pytest.LogCaptureFixture
) -> None:
    # D.1.2: without committed offsets StartingPosition counts
    topic, group, then = kafka.create_topic(), unique("group"), int((time.time() - 3600) * 1000)
    kafka.produce(topic, [Produce(b"%d" % late, timestamp=then + late) for late in range(3)])
    source = opened(topic, group_id=group)
    source.acknowledge(settle(source.features, take(source, 3)))
    source.close()
    with kafka.admin() as admin:
        admin.delete_groups([group])
    caplog.set_level(logging.INFO)
    again = opened(topic, group_id=group, starting_position=position, starting_timestamp=then + 1)
    eventually(lambda: again.poll(0) or "no committed offset" in caplog.text, what="a place to begin")
    begins = int(first) if first.isdigit() else 3
    assert f"{topic}-0: group {group} has no committed offset; {position} begins at offset {begins}" in caplog.text
    kafka.produce(topic, [b"new"])
    assert take(again, 1)[0].value == first


@pytest.mark.secure
@pytest.mark.parametrize("position", ["LATEST", "AT_TIMESTAMP"])
def test_a_committed_offset_wins_over_the_starting_position(position: str, kafka: KafkaBroker, opened: Opener) -> None:
    # D.1.2
    topic, group = kafka.create_topic(), unique("group")
    kafka.produce(topic, [b"0", b"1", b"2"])
    first = opened(topic, group_id=group)
    records = take(first, 3)
    first.acknowledge(settle(first.features, records[:1]))
    first.close()
    assert kafka.committed(topic, group) == {f"{topic}-0": 1}
    second = opened(topic, group_id=group, starting_position=position, starting_timestamp=4_000_000_000_000)
    assert [record.value for record in take(second, 2)] == [b"1", b"2"]


POSITIONS = ["TRIM_HORIZON", "LATEST", "AT_TIMESTAMP"]


@pytest.mark.parametrize("position", POSITIONS)
def test_after_records_that_retention_deleted_the_oldest_one_comes_whatever_the_starting_position(
    position: str, kafka: KafkaBroker, opened: Opener, caplog: pytest.LogCaptureFixture
) -> None:
    # D.1.2: records expire from the topic
    topic, group = kafka.create_topic(), unique("group")
    kafka.produce(topic, [b"0", b"1", b"2"])
    source = opened(topic, group_id=group)
    records = take(source, 3)
    source.acknowledge(settle(source.features, records[:1]))
    source.close()
    with kafka.admin() as admin:
        admin.delete_records({TopicPartition(topic, 0): 2})
    again = opened(topic, group_id=group, starting_position=position, starting_timestamp=4_000_000_000_000)
    assert [record.value for record in take(again, 1)] == [b"2"]
    assert f"{topic}-0: offset 1 is not in the log" in caplog.text
    assert "reading goes on with the oldest record, at offset 2" in caplog.text


@pytest.mark.parametrize("position", POSITIONS)
def test_a_log_that_ends_before_the_committed_offset_is_read_from_its_start(
    position: str, kafka: KafkaBroker, opened: Opener, caplog: pytest.LogCaptureFixture
) -> None:
    # Cut or made anew: what is in it may be new. And it stays so when it has grown, and another member reads on.
    topic, group = kafka.create_topic(), unique("group")
    kafka.produce(topic, [b"0", b"1"])
    with kafka.admin() as admin:
        admin.alter_group_offsets(group, {TopicPartition(topic, 0): OffsetAndMetadata(500, "", -1)})
    settings = {"group_id": group, "starting_position": position, "starting_timestamp": 4_000_000_000_000}
    source = opened(topic, **settings)
    assert [record.value for record in take(source, 2)] == [b"0", b"1"]
    assert f"{topic}-0: offset 500 is not in the log" in caplog.text
    eventually(lambda: source.poll(0.1) or kafka.committed(topic, group) == {f"{topic}-0": 0}, what="the new place")


def test_latest_reads_all_of_a_topic_that_was_made_anew(kafka: KafkaBroker, opened: Opener) -> None:
    topic, group, calls = kafka.create_topic(), unique("group"), Calls()
    kafka.produce(topic, [b"old"])
    source = opened(topic, calls, starting_position="LATEST", group_id=group)
    eventually(lambda: source.poll(0.1) or kafka.committed(topic, group), what="a place to begin")
    kafka.delete_topic(topic)
    eventually(lambda: source.poll(0.1) or not calls.owned, what="the end of the shard")
    kafka.create_topic(name=topic)
    kafka.produce(topic, [b"new 0"])
    (record,) = take(source, 1)
    assert (record.value, record.position) == (b"new 0", 0)


# --- what is read --------------------------------------------------------------------------------------------------


def test_the_event_of_real_records_is_read_by_powertools(kafka: KafkaBroker, opened: Opener) -> None:
    # D.1.1
    topic = kafka.create_topic()
    kafka.produce(
        topic,
        [
            Produce(b'{"id":1}', b"k1", [("name", "mazë".encode()), ("name", b"")], timestamp=1764064800000),
            Produce(None, b"gone"),
            Produce(b"", None),
        ],
    )
    source = opened(topic)
    event = json.loads(bytes(source.build_event(take(source, 3))))
    assert event["bootstrapServers"] == kafka.service_address
    full, tombstone, keyless = event["records"][f"{topic}-0"]
    assert full == {
        "topic": topic,
        "partition": 0,
        "offset": 0,
        "timestamp": 1764064800000,
        "timestampType": "CREATE_TIME",
        "key": "azE=",
        "value": "eyJpZCI6MX0=",
        "headers": [{"name": [109, 97, 122, -61, -85]}, {"name": []}],
    }
    assert (tombstone["value"], tombstone["key"]) == (None, "Z29uZQ==")
    assert keyless["value"] == ""
    assert "key" not in keyless
    assert next(KafkaEvent(event).records).json_value == {"id": 1}


def test_the_time_of_the_broker_is_told_apart(kafka: KafkaBroker, opened: Opener) -> None:
    # D.1.1: LOG_APPEND_TIME
    topic = kafka.create_topic(configs={"message.timestamp.type": "LogAppendTime"})
    kafka.produce(topic, [b"value"])
    source = opened(topic)
    event = json.loads(bytes(source.build_event(take(source, 1))))
    assert event["records"][f"{topic}-0"][0]["timestampType"] == "LOG_APPEND_TIME"


def test_only_records_of_committed_transactions_arrive(kafka: KafkaBroker, opened: Opener) -> None:
    topic = kafka.create_topic()
    producer = KafkaProducer(bootstrap_servers=kafka.address, transactional_id=unique("transaction"))
    try:
        producer.init_transactions()
        for value, finish in ((b"taken back", producer.abort_transaction), (b"kept", producer.commit_transaction)):
            producer.begin_transaction()
            producer.send(topic, value)
            producer.flush()
            finish()
    finally:
        producer.close()
    source = opened(topic)
    assert [record.value for record in take(source, 1)] == [b"kept"]
    # Transaction markers take offsets but are no records: nothing is behind them.
    eventually(lambda: source.poll(0.1) or source.lag() == {f"{topic}-0": 0}, what="no lag")


@pytest.mark.secure
def test_a_record_of_20_mb_arrives(kafka: KafkaBroker, opened: Opener) -> None:
    # C.4: it is for the loop to discard, not for the client to be stuck on
    topic = kafka.create_topic(configs={"max.message.bytes": str(32 << 20)})
    kafka.produce(topic, [bytes(20_000_000), b"next"])
    assert [len(record.value or b"") for record in take(opened(topic), 2)] == [20_000_000, 4]


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_compressed_records_are_read(codec: str, kafka: KafkaBroker, opened: Opener) -> None:
    if kafka.container is None:
        pytest.skip("the tools of the broker's container are needed")
    topic = kafka.create_topic()
    kafka.container.run(
        "bash",
        "-c",
        "echo squeezed | /opt/kafka/bin/kafka-console-producer.sh --bootstrap-server kafka:9092 "
        f"--topic {topic} --compression-codec {codec}",
    )
    assert [record.value for record in take(opened(topic), 1)] == [b"squeezed"]


# --- the group -----------------------------------------------------------------------------------------------------


def test_a_member_that_polls_in_slices_lets_the_group_settle(kafka: KafkaBroker, opened: Opener) -> None:
    # As the loop does while handlers run. The client alone would join for ever: see `keep_finished_joins`.
    topic, group = kafka.create_topic(partitions=2), unique("group")
    calls = [Calls(), Calls()]
    sources = [opened(topic, one, group_id=group) for one in calls]

    def settled() -> bool:
        for source in sources:
            source.poll(0)
        return [len(one.owned) for one in calls] == [1, 1]

    eventually(settled, what="one shard each")
    kafka.produce(topic, [Produce(b"%d" % number, partition=number) for number in range(2)])
    seen = []

    def all_seen() -> bool:
        for source in sources:
            seen.extend(source.poll(0))
        return len(seen) == 2

    eventually(all_seen, what="a record of each shard")
    assert [one.lost for one in calls] == [[], []]


def rebalancing(kafka: KafkaBroker, group: str, source: Source, other: Source) -> bool:
    """Whether the group of both rebalances, because the second one joins."""
    other.poll(0)
    if isinstance(source, LibrdkafkaSource):  # it rejoins by itself, and has to be polled to give anything up
        return len(describe(kafka, group)["members"]) == 2
    source.poll(0)
    return source._consumer.group_metadata().state == "<rebalancing>"


@pytest.mark.secure
def test_a_commit_during_a_rebalance_is_made_up_for(kafka: KafkaBroker, opened: Opener) -> None:
    # D.1.2: what is done is committed, though no later record of that shard comes
    topic, group = kafka.create_topic(partitions=2), unique("group")
    kafka.produce(topic, [Produce(b"value", partition=number) for number in range(2)])
    calls, others = Calls(), Calls()
    source = opened(topic, calls, group_id=group)
    done = settle(source.features, take(source, 2))
    other = opened(topic, others, group_id=group)
    eventually(lambda: rebalancing(kafka, group, source, other), what="a rebalance")
    held_up = not source.acknowledge(done)
    assert calls.commit_failures == held_up  # C.9

    def committed() -> bool:
        other.poll(0.05)
        source.poll(0.05)
        return kafka.committed(topic, group) == {f"{topic}-0": 1, f"{topic}-1": 1}

    eventually(committed, what="both offsets")
    assert other.poll(0.5) == []


def test_a_member_that_leaves_during_a_rebalance_commits_before(kafka: KafkaBroker, opened: Opener) -> None:
    # A service that is stopped in that moment has finished its work: nobody shall do it again.
    topic, group = kafka.create_topic(partitions=2), unique("group")
    kafka.produce(topic, [Produce(b"value", partition=number) for number in range(2)])
    source = opened(topic, group_id=group)
    done = settle(source.features, take(source, 2))
    other = opened(topic, group_id=group)
    eventually(lambda: rebalancing(kafka, group, source, other), what="a rebalance")
    assert not source.acknowledge(done) or isinstance(source, LibrdkafkaSource)
    leaving = threading.Thread(target=source.close)
    leaving.start()
    eventually(lambda: other.poll(0.05) or not leaving.is_alive(), what="the end of the first member")
    assert kafka.committed(topic, group) == {f"{topic}-0": 1, f"{topic}-1": 1}
    assert other.poll(0.5) == []


def test_progress_of_a_shard_that_is_not_owned_is_passed_over(kafka: KafkaBroker, opened: Opener) -> None:
    topic, group, calls = kafka.create_topic(), unique("group"), Calls()
    source = opened(topic, calls, group_id=group)
    join(source, calls, 1)
    source.acknowledge(Progress(positions={f"{topic}-7": 3, "other-0": 1}))
    source.pause([f"{topic}-7"])
    source.resume([f"{topic}-7"])
    assert kafka.committed(topic, group) == {}


def test_what_the_listener_raises_is_not_taken_for_an_error_of_the_broker(kafka: KafkaBroker, make: Maker) -> None:
    class Mistake(Exception):  # noqa: N818
        pass

    def fail(_: object) -> None:
        raise Mistake

    topic, calls = kafka.create_topic(), Calls()
    source = make(kafka.settings(topic))
    listener = calls.listener()
    source.open(type(listener)(assigned=fail, revoked=listener.revoked, lost=listener.lost))
    with pytest.raises(Mistake):
        take(source, 1)
    source.close()


# --- when things break ---------------------------------------------------------------------------------------------


def test_a_topic_deleted_while_it_is_read_is_told_and_not_created_anew(kafka: KafkaBroker, opened: Opener) -> None:
    topic, calls = kafka.create_topic(), Calls()
    source = opened(topic, calls)
    join(source, calls, 1)
    kafka.delete_topic(topic)
    with pytest.raises(SourceRejected, match=f"topic {topic} does not exist any more on"):
        take(source, 1)
    assert not kafka.has_topic(topic)


def test_a_topic_made_anew_is_read_from_its_start(kafka: KafkaBroker, opened: Opener) -> None:
    topic, calls = kafka.create_topic(), Calls()
    kafka.produce(topic, [b"0", b"1", b"2"])
    source = opened(topic, calls)
    take(source, 3)
    kafka.delete_topic(topic)
    eventually(lambda: source.poll(0.1) or not calls.owned, what="the end of the shard")
    kafka.create_topic(name=topic)
    kafka.produce(topic, [b"new 0"])
    (record,) = take(source, 1)
    assert (record.value, record.position) == (b"new 0", 0)
    assert calls.assigned == [record.shard] * 2


def test_a_log_that_was_cut_starts_its_shard_over(kafka: KafkaBroker, opened: Opener) -> None:
    # Offsets in flight name other records from then on, so the loop has to forget them.
    topic, calls = kafka.create_topic(), Calls()
    kafka.produce(topic, [b"0", b"1", b"2"])
    source = opened(topic, calls)
    take(source, 3)
    source.pause([f"{topic}-0"])
    kafka.delete_topic(topic)
    eventually(lambda: not kafka.has_topic(topic), what="the deletion")
    kafka.create_topic(name=topic)
    kafka.produce(topic, [b"new 0"])
    source.resume([f"{topic}-0"])

    seen: list[Record] = []
    eventually(lambda: seen.extend(source.poll(0.1)) or seen, what="the first record of the new log")
    kafka.produce(topic, [b"new 1"])
    seen += take(source, 2 - len(seen))
    assert [(record.value, record.position) for record in seen] == [(b"new 0", 0), (b"new 1", 1)]
    assert calls.assigned == [f"{topic}-0"] * 2
    assert calls.lost == [f"{topic}-0"]


@pytest.mark.usefixtures("refused_connections")
def test_a_broker_that_stays_away_is_told_and_found_again(kafka: KafkaBroker, opened: Opener) -> None:
    if kafka.container is None:
        pytest.skip("this broker cannot be stopped")
    topic, group, calls = kafka.create_topic(), unique("group"), Calls()
    kafka.produce(topic, [b"0", b"1"])
    source = opened(topic, calls, group_id=group, connect_timeout=1.0)
    records = take(source, 2)
    source.acknowledge(settle(source.features, records[:1]))
    kafka.container.kill()
    try:
        with pytest.raises(SourceUnavailable, match=f"no Kafka broker answers at {kafka.service_address}"):
            take(source, 1)
        source.close()
        with pytest.raises(SourceUnavailable, match=f"no Kafka broker answers at {kafka.service_address}"):
            source.open(calls.listener())
    finally:
        kafka.container.start()
        kafka.wait_until_ready()
    source.open(calls.listener())
    assert [record.value for record in take(source, 1)] == [b"1"]


class _Bytes(str):
    """A header's name that is sent as bytes that are no UTF-8, as clients other than Java's may."""

    __slots__ = ()

    def encode(self, _encoding: str = "utf-8", _errors: str = "strict") -> bytes:
        return b"\xff" * len(self)


def test_a_header_name_that_is_not_utf_8_does_not_stop_its_partition(
    kafka: KafkaBroker, opened: Opener, kafka_client: str
) -> None:
    # D.1.1: brokers take it. kafka-python alone would call the record corrupt for ever; librdkafka's client gives none
    # of its headers, and crashes if it is asked twice.
    topic = kafka.create_topic()
    odd = Produce(b"odd", headers=[(_Bytes("ab"), b"1"), ("plain", b"2")])
    kafka.produce(topic, [Produce(b"before", headers=[("h", b"1")]), odd, Produce(b"after", headers=[("h", b"1")])])
    before, record, after = take(opened(topic), 3)
    assert [before.value, record.value, after.value] == [b"before", b"odd", b"after"]
    assert list(before.headers) == list(after.headers) == [("h", b"1")]
    read = [("\ufffd\ufffd", b"1"), ("plain", b"2")] if kafka_client == "kafka-python" else []
    assert list(record.headers) == read
