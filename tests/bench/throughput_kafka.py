"""Kafka throughput: both clients with one and two handlers, their bare loops and the peers, in turn on one topic."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.bench import peers
from tests.bench.full_topic import clients, floor, full_topic, ours
from tests.bench.report import Goal, Row, progress
from tests.bench.throughput import OF_FLOOR, Run, in_turn, size_name, throughput_row
from tests.brokers import KafkaBroker

TWICE_BENTHOS = Goal(">=", 2.0, of=peers.BENTHOS)
"""For the faster client and one handler, as Benthos has one child."""
SIZES = {200: 480_000, 1024: 240_000}
"""Records by the size of their value. Whole batches in every partition, so that none waits for its window."""
SLOW_SHARE = 4
"""Programs of less than about 200,000 records a second get a topic of a quarter as many of the same records."""
SLOW = {"kafka-python", peers.ARROYO}


@dataclass(frozen=True, slots=True)
class _Program:
    name: tuple[str, str, int]
    """Kind (`ours`, `floor`, `peer`), client or peer's name, handlers."""
    start: peers.Start


def kafka(broker: KafkaBroker, folder: Path, *, runs: int, quick: bool) -> Iterator[Row]:
    """Values of 200 B and 1 KiB in 4 partitions, batches of 100 and 1,000, 1 and 2 handlers."""
    programs = list(_programs(peers.available()))
    for size, records in SIZES.items():
        many = records // 5 if quick else records
        with ExitStack() as stack:
            progress(f"filling topics with {many:,} and {many // SLOW_SHARE:,} values of {size_name(size)}")
            fast = stack.enter_context(full_topic(broker, folder, size=size, records=many))
            slow = stack.enter_context(full_topic(broker, folder, size=size, records=many // SLOW_SHARE))
            for topic in fast, slow:
                topic.measure(floor(clients()[0]), 1000)  # the broker's caches are warm from here on
            for batch_size in 100, 1000:
                case = f"kafka {size_name(size)}, batch {batch_size:,}"
                measured: dict[tuple[str, str, int], list[Run]] = {program.name: [] for program in programs}
                for number in range(runs):
                    for program in in_turn(programs, number):
                        progress(f"{case}, run {number + 1} of {runs}: {_label(program.name)}")
                        topic = slow if program.name[1] in SLOW else fast
                        measured[program.name].append(topic.measure(program.start, batch_size))
                yield from _rows(case, measured)


def _programs(others: Mapping[str, peers.Start]) -> Iterator[_Program]:
    """In the order of their turns: a figure and what it is compared with are close together."""
    for client in clients():
        yield _Program(("ours", client, 1), ours(client))
        yield _Program(("floor", client, 1), floor(client))
        yield _Program(("ours", client, 2), ours(client, processes=2))
        if client == clients()[0]:
            for name, start in others.items():
                yield _Program(("peer", name, 1), start)


def _label(name: tuple[str, str, int]) -> str:
    kind, who, handlers = name
    return who if kind == "peer" else f"{kind}, {who}, {handlers} handler{'s' if handlers > 1 else ''}"


def _rows(case: str, measured: Mapping[tuple[str, str, int], list[Run]]) -> Iterator[Row]:
    others = {name: runs for (kind, name, _), runs in measured.items() if kind == "peer"}
    for client in clients():
        for handlers in 1, 2:
            goals = [OF_FLOOR] if handlers == 1 else []
            if handlers == 1 and client == clients()[0]:
                goals.append(TWICE_BENTHOS)
            yield throughput_row(
                f"{case}, {handlers} handler{'s' if handlers > 1 else ''}",
                "records/s",
                measured["ours", client, handlers],
                measured["floor", client, 1],
                client=client,
                peers=others,
                goals=goals,
            )
