"""FastStream on confluent-kafka: a batch subscriber that calls the handler in its own process. Lighter work than ours.

Offsets are committed by the client once a second, which is the cheapest that FastStream offers; batches may span
partitions. It prints `polling` when its subscriber runs, and ends on SIGTERM.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
from typing import Any

from faststream import FastStream
from faststream.confluent import KafkaBroker
from faststream.confluent.annotations import KafkaMessage
from loading import build_event, load_handler


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("handler")
    for name in ("address", "topic", "group"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--batch-size", type=int, required=True)
    given = parser.parse_args()
    handler = load_handler(given.handler)
    # Else librdkafka waits a second whenever its queue was full.
    broker = KafkaBroker(given.address, config={"fetch.queue.backoff.ms": 10}, logger=None)

    @broker.subscriber(
        given.topic,
        group_id=given.group,
        batch=True,
        max_records=given.batch_size,
        auto_offset_reset="earliest",
        auto_commit_interval_ms=1000,
        isolation_level="read_committed",
    )
    async def work(bodies: list[Any], message: KafkaMessage) -> None:
        rows = [
            (one.partition(), one.offset(), one.timestamp()[1], one.key(), one.value()) for one in message.raw_message
        ]
        handler(build_event(given.address, given.topic, rows), None)

    async def run() -> None:
        application = FastStream(broker, logger=None)
        application.after_startup(lambda: print("polling", flush=True))
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, application.exit)
        await application.run()

    asyncio.run(run())


if __name__ == "__main__":
    main()
