"""What the poll loop costs a batch: its thread's processor time, with neither broker nor handler.

    python -m tests.bench.loop_cost [--batch-size 100] [--answers 2]

The client gives messages that were made before, and the pool's answers are there at once. It is not a figure of the
documentation: two versions are to be compared on one machine, in turn, by the least of several runs each.
"""

from __future__ import annotations

import argparse
import gc
import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

from confluent_kafka import Message, TopicPartition

from poller.clock import SystemClock
from poller.event_poller import EventPoller
from poller.mapping_plan import MappingPlan
from poller.metrics import MappingLabels, Metrics
from poller.model import Invocation, InvocationResult
from poller.policy.batching import BatchingLimits, WindowStart
from poller.policy.lanes import Lanes
from poller.policy.retrying import RetryPolicy
from poller.sources import kafka_librdkafka
from poller.sources.kafka_event import KafkaSettings
from poller.sources.kafka_librdkafka import LibrdkafkaSource

TOPIC = "records"
PARTITIONS = 4
FETCH = 4000
"""Records of one partition that come one after another, as of 1 MB of records of 200 B."""


class Client:
    """In place of the client's consumer."""

    def __init__(self, polls: Sequence[Sequence[Message]]) -> None:
        self._polls = iter(polls)
        self._stored: dict[int, int] = {}

    def __call__(self, _options: dict[str, Any], logger: object) -> Client:
        return self

    def list_topics(self, topic: str, timeout: float) -> Any:
        return SimpleNamespace(topics={topic: SimpleNamespace(error=None, partitions=range(PARTITIONS))})

    def subscribe(self, topics: Sequence[str], *, on_assign: Callable[..., None], **_: Callable[..., None]) -> None:
        self.assign = on_assign

    def incremental_assign(self, partitions: Sequence[TopicPartition]) -> None:
        pass

    pause = resume = incremental_assign

    def consume(self, most: int, timeout: float) -> Sequence[Message]:
        return next(self._polls, ())

    def poll(self, timeout: float) -> None:
        pass

    def commit(self, *, offsets: Sequence[TopicPartition], asynchronous: bool) -> None:
        self._stored |= {one.partition: one.offset for one in offsets}

    def committed(self, partitions: Sequence[TopicPartition], timeout: float) -> list[TopicPartition]:
        return [TopicPartition(TOPIC, one.partition, self._stored[one.partition]) for one in partitions]

    def get_watermark_offsets(self, partition: TopicPartition, *, cached: bool) -> tuple[int, int]:
        return 0, 0

    def offsets_for_times(self, asked: Sequence[TopicPartition], timeout: float) -> Sequence[TopicPartition]:
        return asked


class Pool:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.running: deque[tuple[Invocation, Callable[[InvocationResult], None]]] = deque()

    def submit(self, invocation: Invocation, on_result: Callable[[InvocationResult], None], *, wait: bool) -> None:
        if not isinstance(invocation.payload, bytes):
            invocation.payload.columns()  # as the driver of a handler's process does, on the same thread
        self.running.append((invocation, on_result))

    def answer(self, most: int) -> int:
        """Answer so many at most; how many there were."""
        number = min(most, len(self.running))
        for _ in range(number):
            invocation, on_result = self.running.popleft()
            on_result(InvocationResult(invocation.request_id, b"null", duration=1e-4))
        return number


def made_polls(records: int, of_a_poll: int) -> list[list[Message]]:
    """Messages as the client gives them: long runs of each partition in turn, cut into polls."""
    value = os.urandom(200)
    ends = [0] * PARTITIONS
    polls: list[list[Message]] = []
    while sum(ends) < records:
        for partition, end in enumerate(ends):
            ends[partition] = end + FETCH
            for first in range(end, end + FETCH, of_a_poll):
                some = range(first, min(first + of_a_poll, end + FETCH))
                polls.append([_message(partition, offset, value) for offset in some])
    return polls


def _message(partition: int, offset: int, value: bytes) -> Message:
    stamp = (1, 1_764_064_800_000 + offset)
    return Message(topic=TOPIC, partition=partition, offset=offset, key=b"sensor-0070", value=value, timestamp=stamp)


def cost(polls: Sequence[Sequence[Message]], batch_size: int, answers: int) -> float:
    """Microseconds of processor time a batch."""
    kafka_librdkafka.Consumer = client = Client(polls)
    pool = Pool()
    metrics = Metrics().of_mapping(MappingLabels("mapping", "function", TOPIC))
    plan = MappingPlan("mapping", "arn", pool, RetryPolicy(), report_batch_item_failures=False, metrics=metrics)
    limits = BatchingLimits(batch_size, window_start=WindowStart.PREVIOUS_RESULT, overhead=100, read_ahead=256 * 1024)
    source = LibrdkafkaSource(KafkaSettings(["127.0.0.1:9092"], TOPIC, "group", max_poll_records=500))
    poller = EventPoller(plan, source, Lanes(limits, ordered=True), SystemClock())
    poller.open()
    client.assign(client, [TopicPartition(TOPIC, number) for number in range(PARTITIONS)])
    left = batches = sum(map(len, polls)) // batch_size
    spent = 0.0
    while left > 0:
        began = time.thread_time()
        poller.step()
        spent += time.thread_time() - began
        left -= pool.answer(answers)
    return spent / batches * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.loop_cost", description=__doc__)
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--answers", type=int, default=2, help="that come together at most")
    parser.add_argument("--runs", type=int, default=9)
    given = parser.parse_args()
    polls = made_polls(50_000, max(200, given.batch_size))
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000)  # as the service
    found = sorted(cost(polls, given.batch_size, given.answers) for _ in range(given.runs))
    print(f"batches of {given.batch_size}: {found[0]:.1f} to {found[-1]:.1f} µs of processor time a batch")


if __name__ == "__main__":
    main()
