"""RabbitMQ throughput: the program and bare pika, each with a queue of the same messages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tests.bench import load
from tests.bench.ledger import Ledger
from tests.bench.processes import Floor, Measured, Service, rabbitmq_event, template
from tests.bench.report import Row, progress
from tests.bench.throughput import OF_FLOOR, Run, in_turn, run_folder, size_name, throughput_row, work_off
from tests.brokers import RabbitMQBroker

BATCH_SIZE = 100
SIZES = {200: 40_000, 1024: 30_000}
"""Messages by the size of their body."""


def rabbitmq(broker: RabbitMQBroker, folder: Path, *, runs: int, quick: bool) -> Iterator[Row]:
    """Messages of 200 B and 1 KiB in batches of 100 to 1 handler."""
    for size, number in SIZES.items():
        messages = number // 4 if quick else number
        case = f"rabbitmq {size_name(size)}, batch {BATCH_SIZE}, 1 handler"
        measured: dict[bool, list[Run]] = {False: [], True: []}
        for run in range(runs):
            progress(f"{case}, run {run + 1} of {runs}")
            with load.queues(broker, 2) as (exchange, names):
                load.publish(broker, exchange, names, size=size, messages=messages)
                for bare in in_turn([False, True], run):
                    measured[bare].append(_work_off(broker, names[bare], run_folder(folder), messages, bare=bare))
        yield throughput_row(case, "messages/s", measured[False], measured[True], client="pika", goals=[OF_FLOOR])


def _work_off(broker: RabbitMQBroker, queue: str, folder: Path, messages: int, *, bare: bool) -> Run:
    ledger = Ledger(folder / "ledger")
    with (_floor if bare else _ours)(broker, queue, folder, ledger) as process:
        run = work_off(process, ledger, messages)
    if depth := broker.depth(queue):
        raise RuntimeError(f"{depth} messages came back to {queue}: rates mean nothing")
    return run


def _ours(broker: RabbitMQBroker, queue: str, folder: Path, ledger: Ledger) -> Measured:
    event = rabbitmq_event(queue, BatchSize=BATCH_SIZE)
    return Service(template({"Messages": event}, ledger=ledger.folder, rabbitmq=broker.url), folder)


def _floor(broker: RabbitMQBroker, queue: str, folder: Path, ledger: Ledger) -> Measured:
    arguments = ["rabbitmq", "--url", broker.url, "--queue", queue, "--batch-size", str(BATCH_SIZE)]
    return Floor(arguments, folder, handler="count", ledger=ledger.folder)
