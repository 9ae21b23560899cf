"""Records a second of one service with 1, 2, … workers: as many as there are cores, and what a record costs each way."""

from __future__ import annotations

import itertools
import os
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.bench import load
from tests.bench.ledger import Ledger
from tests.bench.processes import FUNCTIONS, Service, kafka_event, template
from tests.bench.report import Row, progress, row
from tests.brokers import KafkaBroker, unique
from tests.waiting import eventually

BATCH_SIZE = 100
TIMEOUT = 90.0
LEAST = 0.3
"""Seconds that all handlers have to be at work together: a shorter time says nothing."""
GATED = """\
import os, sys, time
open(os.environ["GATE"] + "." + str(os.getppid()), "w").close()
while not os.path.exists(os.environ["GATE"]):
    time.sleep(0.005)
sys.path.append({functions!r})
from handler import count
"""
"""A handler that is imported only once its gate is open: until then the workers share the partitions. Its worker has
some as soon as it waits there."""
_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class Run:
    """One topic, worked off once by so many workers with a handler each."""

    rate: float
    """Records a second while all handlers were at work: who joins the group first works alone at first."""
    engine: float
    """Microseconds of processor time a record, of supervisor and workers."""
    handlers: float
    """Microseconds of processor time a record, of all handlers."""
    cores: float
    """Busy with both, the broker left out."""


def kafka(broker: KafkaBroker, folder: Path, *, runs: int, quick: bool) -> Iterator[Row]:
    """Values of 200 B and 1 KiB in 4 partitions, batches of 100, a handler for each worker."""
    numbers = [1, 2, 4][: max(1, len(os.sched_getaffinity(0)).bit_length())]
    for size, records in (200, 160_000 if quick else 480_000), (1024, 120_000 if quick else 320_000):
        case = f"kafka {size} B, batch {BATCH_SIZE}" if size < 1024 else f"kafka {size // 1024} KiB, batch {BATCH_SIZE}"
        with load.topic(broker, size=size, records=records) as topic:
            found: dict[int, list[Run]] = {number: [] for number in numbers}
            for turn in range(runs):
                for number in numbers:
                    progress(f"{case}, {number} workers, run {turn + 1} of {runs}")
                    found[number].append(_work_off(broker, topic, records, folder, number))
        for number, some in found.items():
            yield _row(f"{case}, {number} {'worker' if number == 1 else 'workers'}", some, found[1])


def _row(case: str, some: list[Run], alone: list[Run]) -> Row:
    return row(
        case,
        "records/s",
        [run.rate for run in some],
        details={
            "times_one_worker": [run.rate / one.rate for run, one in zip(some, alone, strict=True)],
            "poller_us": [run.engine for run in some],
            "handlers_us": [run.handlers for run in some],
            "cores": [run.cores for run in some],
        },
        note="{times_one_worker:.2f} times one worker; CPU {poller_us:.1f} + {handlers_us:.1f}; {cores:.1f} cores busy",
    )


def _work_off(broker: KafkaBroker, topic: str, records: int, folder: Path, workers: int) -> Run:
    group, folder = unique("bench"), folder / f"run-{next(_numbers)}"
    ledger, gate = Ledger(folder / "ledger"), folder / "gate"
    (folder / "gated.py").write_text(GATED.format(functions=str(FUNCTIONS)))
    event = kafka_event(broker.address, topic, group, BatchSize=BATCH_SIZE)
    content = template({"Records": event}, processes=workers, ledger=ledger.folder)
    content["Metadata"]["Poller"]["Workers"] = workers
    function = content["Resources"]["Bench"]["Properties"]
    function |= {"CodeUri": str(folder), "Handler": "gated.count"}
    function["Environment"]["Variables"]["GATE"] = str(gate)

    def committed() -> int:
        service.require_alive()
        return sum(broker.committed(topic, group).values())

    with Service(content, folder) as service:
        eventually(lambda: len(list(folder.glob("gate.*"))) == workers, what="a batch on every worker")
        before, began = _processor_seconds(service.pid), time.monotonic()
        gate.touch()
        ledger.wait_for(records, timeout=TIMEOUT, alive=service.require_alive)
        spent, took = _processor_seconds(service.pid) - before, time.monotonic() - began
        # Batches that were handed over before their partition moved come twice, so the last ones may be missing yet.
        eventually(lambda: committed() == records, what="the commit of everything")
        ledger.read()
    handlers = ledger.processor_seconds()
    return Run(
        rate=_rate_together(ledger, workers),
        engine=spent / records * 1e6,
        handlers=handlers / records * 1e6,
        cores=(spent + handlers) / took,
    )


def _rate_together(ledger: Ledger, handlers: int) -> float:
    """Records a second from the moment when the last handler began to the one when the first had nothing more."""
    spans: dict[int, tuple[int, int]] = {}
    for entry in ledger.entries:
        first, last = spans.get(entry.process, (entry.began, entry.ended))
        spans[entry.process] = min(first, entry.began), max(last, entry.ended)
    if len(spans) != handlers:
        raise RuntimeError(f"{len(spans)} of {handlers} handlers had records: rates mean nothing")
    begin, end = max(first for first, _ in spans.values()), min(last for _, last in spans.values())
    if (end - begin) / 1e9 < LEAST:
        raise RuntimeError(f"all handlers worked together for {(end - begin) / 1e9:.2f} s only: rates mean nothing")
    return sum(entry.records for entry in ledger.entries if begin <= entry.began and entry.ended <= end) / (
        (end - begin) / 1e9
    )


def _processor_seconds(pid: int) -> float:
    """Of the process and, if it is a supervisor, of its workers; handlers are not its children then."""
    pids = [pid]
    for child in _children(pid):
        if b"poller.workers.child" in Path(f"/proc/{child}/cmdline").read_bytes():
            pids.append(child)  # noqa: PERF401 - the condition is a look at another process
    return statistics.fsum(time.clock_gettime((~one << 3) | 2) for one in pids)


def _children(pid: int) -> list[int]:
    """Of all its threads: a child belongs to the one that started it."""
    files = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for file in files for child in file.read_text().split()]
