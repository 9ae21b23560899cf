"""Records and messages a second from a full topic or queue to the handler, and the processor time of each."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench import load
from tests.bench.ledger import Ledger
from tests.bench.processes import Floor, Measured, Service, kafka_event, rabbitmq_event, template
from tests.bench.report import Goal, Row, progress, row
from tests.brokers import KafkaBroker, RabbitMQBroker, eventually, unique

GOAL = Goal(">=", 0.8, of_ratio=True)
TIMEOUT = 60.0
_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class Run:
    """One topic or queue, worked off once."""

    rate: float
    """Records a second."""
    engine: float
    """Microseconds of processor time a record: of `poller run` or of the bare loop."""
    handlers: float
    """Microseconds of processor time a record, all handlers together."""
    peak: float
    """MB resident at most, handlers apart."""


def _work_off(process: Measured, ledger: Ledger, records: int) -> Run:
    process.wait_for_log("polling")
    before = process.processor_seconds()
    ledger.wait_for(records, timeout=TIMEOUT, alive=process.require_alive)
    spent = process.processor_seconds() - before
    if ledger.records > records:
        raise RuntimeError(f"{ledger.records} records were handled, but only {records} produced: rates mean nothing")
    return Run(
        rate=records / ledger.seconds(),
        engine=spent / records * 1e6,
        handlers=ledger.processor_seconds() / records * 1e6,
        peak=process.memory("VmHWM") / 1e6,
    )


def _row(case: str, unit: str, ours: Sequence[Run], floor: Sequence[Run]) -> Row:
    return row(
        case,
        unit,
        [run.rate for run in ours],
        [run.rate for run in floor],
        goal=GOAL,
        details={
            "poller_us": [run.engine for run in ours],
            "handlers_us": [run.handlers for run in ours],
            "floor_us": [run.engine for run in floor],
            "floor_handler_us": [run.handlers for run in floor],
            "poller_peak_mb": [run.peak for run in ours],
        },
        note="CPU {poller_us:.1f} + {handlers_us:.1f}, floor {floor_us:.1f} + {floor_handler_us:.1f}; "
        "{poller_peak_mb:.0f} MB",
    )


def _folder(folder: Path) -> Path:
    return folder / f"run-{next(_numbers)}"


# --- Kafka ---------------------------------------------------------------------------------------------------------


def kafka(broker: KafkaBroker, folder: Path, *, runs: int, quick: bool) -> Iterator[Row]:
    """Values of 200 B and 1 KiB in 4 partitions, batches of 100 and 1,000, 1 and 2 handlers."""
    # Whole batches in every partition, so that none waits for its window at the end.
    for size, records in (200, 40_000 if quick else 120_000), (1024, 24_000 if quick else 80_000):
        with load.topic(broker, size=size, records=records) as topic:
            full = _FullTopic(broker, topic, records, folder)
            full.floor(1000)  # the broker's caches are warm from here on
            for batch_size in 100, 1000:
                one, two, floor = [], [], []
                for number in range(runs):
                    progress(f"kafka {_size(size)}, batch {batch_size:,}, run {number + 1} of {runs}")
                    one.append(full.ours(batch_size, processes=1))
                    floor.append(full.floor(batch_size))
                    two.append(full.ours(batch_size, processes=2))
                case = f"kafka {_size(size)}, batch {batch_size:,}"
                yield _row(f"{case}, 1 handler", "records/s", one, floor)
                yield _row(f"{case}, 2 handlers", "records/s", two, floor)


def _size(size: int) -> str:
    return f"{size} B" if size < 1024 else f"{size // 1024} KiB"


@dataclass(frozen=True, slots=True)
class _FullTopic:
    """A topic that every run reads from its beginning, in a group of its own."""

    broker: KafkaBroker
    topic: str
    records: int
    folder: Path

    def ours(self, batch_size: int, *, processes: int) -> Run:
        group, folder = unique("bench"), _folder(self.folder)
        ledger = Ledger(folder / "ledger")
        event = kafka_event(self.broker.address, self.topic, group, BatchSize=batch_size)
        content = template({"Records": event}, processes=processes, ledger=ledger.folder)
        with Service(content, folder) as service:
            run = _work_off(service, ledger, self.records)
        self._require_committed(group)
        return run

    def floor(self, batch_size: int) -> Run:
        group, folder = unique("bench-floor"), _folder(self.folder)
        ledger = Ledger(folder / "ledger")
        arguments = ["kafka", "--address", self.broker.address, "--topic", self.topic, "--group", group]
        arguments += ["--batch-size", str(batch_size)]
        with Floor(arguments, folder, handler="count", ledger=ledger.folder) as floor:
            run = _work_off(floor, ledger, self.records)
            # Once a second, as the loop does it; a signal might come between the last batch and its note.
            eventually(lambda: self._committed(group) == self.records)
        self._require_committed(group)
        return run

    def _committed(self, group: str) -> int:
        return sum(self.broker.committed(self.topic, group).values())

    def _require_committed(self, group: str) -> None:
        committed = self._committed(group)
        if committed != self.records:
            raise RuntimeError(f"{group} committed {committed} of {self.records} records: rates mean nothing")


# --- RabbitMQ ------------------------------------------------------------------------------------------------------


def rabbitmq(broker: RabbitMQBroker, folder: Path, *, runs: int, quick: bool) -> Iterator[Row]:
    """Messages of 200 B in batches of 100 to 1 handler."""
    messages, batch_size = 10_000 if quick else 30_000, 100
    ours, floor = [], []
    for number in range(runs):
        progress(f"rabbitmq 200 B, batch {batch_size}, run {number + 1} of {runs}")
        with load.queues(broker, 2) as (exchange, names):
            load.publish(broker, exchange, names, size=200, messages=messages)
            ours.append(_rabbitmq_ours(broker, names[0], _folder(folder), batch_size, messages))
            floor.append(_rabbitmq_floor(broker, names[1], _folder(folder), batch_size, messages))
    yield _row(f"rabbitmq 200 B, batch {batch_size}, 1 handler", "messages/s", ours, floor)


def _rabbitmq_ours(broker: RabbitMQBroker, queue: str, folder: Path, batch_size: int, messages: int) -> Run:
    ledger = Ledger(folder / "ledger")
    event = rabbitmq_event(queue, BatchSize=batch_size)
    content = template({"Messages": event}, ledger=ledger.folder, rabbitmq=broker.url)
    with Service(content, folder) as service:
        run = _work_off(service, ledger, messages)
    _require_empty(broker, queue)
    return run


def _rabbitmq_floor(broker: RabbitMQBroker, queue: str, folder: Path, batch_size: int, messages: int) -> Run:
    ledger = Ledger(folder / "ledger")
    arguments = ["rabbitmq", "--url", broker.url, "--queue", queue, "--batch-size", str(batch_size)]
    with Floor(arguments, folder, handler="count", ledger=ledger.folder) as floor:
        run = _work_off(floor, ledger, messages)
    _require_empty(broker, queue)
    return run


def _require_empty(broker: RabbitMQBroker, queue: str) -> None:
    if depth := broker.depth(queue):
        raise RuntimeError(f"{depth} messages came back to {queue}: rates mean nothing")
