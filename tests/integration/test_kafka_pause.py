"""Pausing and resuming partitions loses nothing, at the end of the topic either."""

from __future__ import annotations

import random
import time

import pytest
from brokers import KafkaBroker, Produce
from contract.source_harnesses import KAFKA_CLIENTS

from poller.model import Progress
from poller.sources import Listener

pytestmark = [
    pytest.mark.broker,
    pytest.mark.usefixtures("refused_connections"),
]

PARTITIONS, RECORDS = 4, 600


@pytest.mark.parametrize("max_poll_records", [50, 500])
def test_every_record_arrives_when_partitions_are_paused_and_resumed_over_the_end(
    kafka: KafkaBroker, kafka_client: str, max_poll_records: int
) -> None:
    # kafka-python 3.0.12 parks what it has fetched of a paused partition, and by itself gives it back only once others
    # get more: with nothing more to come, the end of a topic would wait for ever.
    topic = kafka.create_topic(PARTITIONS)
    values = [b"%05d" % number for number in range(PARTITIONS * RECORDS)]
    kafka.produce(topic, [Produce(value, partition=number % PARTITIONS) for number, value in enumerate(values)])
    source = KAFKA_CLIENTS[kafka_client](kafka.settings(topic, max_poll_records=max_poll_records))
    shards = [f"{topic}-{number}" for number in range(PARTITIONS)]
    chance = random.Random(5)
    arrived: list[bytes | None] = []
    source.open(Listener(assigned=lambda _: None, revoked=lambda _: Progress(), lost=lambda _: None))
    try:
        paused: list[str] = []
        deadline = time.monotonic() + 20
        while len(arrived) < len(values) and time.monotonic() < deadline:
            polled = source.poll(0.01)
            arrived += [record.value for record in polled]
            source.resume(paused)
            # As the loop does: a partition that gave a batch waits for its handler. At times all of them do.
            paused = [shard for shard in {record.shard for record in polled} if chance.random() < 0.8]
            paused = shards if chance.random() < 0.1 else paused
            source.pause(paused)
            arrived += [record.value for record in source.poll(0)]
    finally:
        source.close()
    assert sorted(value for value in arrived if value is not None) == values
