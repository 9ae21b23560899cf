"""Arroyo with its process pool: batches go to processes of `RunTaskWithMultiprocessing`, which call the handler.

A batch may span partitions; commits are made once a second. It prints `polling` when its loop begins, and ends on
SIGTERM.
"""

from __future__ import annotations

import argparse
import os
import signal
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from arroyo.backends.kafka import KafkaConsumer
from arroyo.backends.kafka.configuration import build_kafka_consumer_configuration
from arroyo.commit import ONCE_PER_SECOND
from arroyo.processing import StreamProcessor
from arroyo.processing.strategies import (
    BatchStep,
    CommitOffsets,
    ProcessingStrategy,
    ProcessingStrategyFactory,
    RunTaskWithMultiprocessing,
)
from arroyo.processing.strategies.run_task_with_multiprocessing import MultiprocessingPool
from arroyo.types import Commit, Message, Partition, Topic
from loading import build_event, load_handler

_handler: Callable[[Any, Any], Any] | None = None
"""In a process of the pool."""


def set_up(name: str) -> None:
    global _handler  # noqa: PLW0603 - multiprocessing's initializer has nowhere else to put it
    _handler = load_handler(name)


def work(address: str, topic: str, message: Message[Any]) -> int:
    """One batch, in a process of the pool."""
    assert _handler is not None
    rows = [
        (
            value.partition.index,
            value.offset,
            int(value.timestamp.timestamp() * 1000),
            bytes(value.payload.key),
            value.payload.value,
        )
        for value in message.payload
    ]
    _handler(build_event(address, topic, rows), None)
    return len(rows)


class Factory(ProcessingStrategyFactory[Any]):
    def __init__(self, given: argparse.Namespace) -> None:
        self._given = given
        self._pool = MultiprocessingPool(given.processes, partial(set_up, given.handler))

    def create_with_partitions(self, commit: Commit, partitions: Mapping[Partition, int]) -> ProcessingStrategy[Any]:
        given = self._given
        task = RunTaskWithMultiprocessing(
            partial(work, given.address, given.topic),
            CommitOffsets(commit),
            max_batch_size=1,  # batches of records, not of batches
            max_batch_time=1.0,
            pool=self._pool,
        )
        return BatchStep(max_batch_size=given.batch_size, max_batch_time=1.0, next_step=task)

    def shutdown(self) -> None:
        self._pool.close()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("handler")
    for name in ("address", "topic", "group"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--batch-size", type=int, required=True)
    parser.add_argument("--processes", type=int, default=1)
    given = parser.parse_args()
    configuration = build_kafka_consumer_configuration(
        {},
        group_id=given.group,
        bootstrap_servers=[given.address],
        auto_offset_reset="earliest",
        queued_max_messages_kbytes=64 * 1024,
        queued_min_messages=100_000,
        override_params={"fetch.queue.backoff.ms": 10},
    )
    processor = StreamProcessor(
        KafkaConsumer(configuration), Topic(given.topic), Factory(given), ONCE_PER_SECOND, join_timeout=5.0
    )
    signal.signal(signal.SIGTERM, lambda *_: processor.signal_shutdown())
    print("polling", flush=True)
    processor.run()


if __name__ == "__main__":
    main()
    os._exit(0)  # its pool may hang in Python's own shutdown
