"""What a filter on the value costs: the program with and without one, and the bare loop, in turn on one topic."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from poller.policy.filtering import compile_filters
from tests.bench import load
from tests.bench.full_topic import FullTopic, clients, floor, full_topic, ours
from tests.bench.report import Row, progress, row
from tests.bench.throughput import OF_FLOOR, Run, in_turn, size_name, throughput_row
from tests.brokers import KafkaBroker

BATCH_SIZE = 100
SIZES = {200: 160_000, 1024: 80_000}
"""Records by the size of their value. Whole batches in every partition, so that none waits for its window."""
PATTERN = json.dumps({"value": {"device": [{"prefix": "sensor-"}], "temperature": [{"numeric": [">", -100]}]}})
"""Every reading passes, so that both programs do the same besides: what is left is the filter's own cost."""
BARE, WITHOUT, WITH = "bare loop", "no filter", "filter on the value"


def kafka(broker: KafkaBroker, folder: Path, *, runs: int, quick: bool) -> Iterator[Row]:
    """Values of 200 B and 1 KiB in 4 partitions, batches of 100, 1 handler, the faster client."""
    for size, records in SIZES.items():
        case = f"{size_name(size)}, batch {BATCH_SIZE}"
        with full_topic(broker, folder, size=size, records=records // 4 if quick else records) as topic:
            yield from _rows(case, clients()[0], _measured(case, topic, runs))
        yield _alone(size, runs)


def _measured(case: str, topic: FullTopic, runs: int) -> dict[str, list[Run]]:
    client = clients()[0]
    filtered = {"FilterCriteria": {"Filters": [{"Pattern": PATTERN}]}}
    programs = [(BARE, floor(client)), (WITHOUT, ours(client)), (WITH, ours(client, **filtered))]
    found: dict[str, list[Run]] = {name: [] for name, _ in programs}
    topic.measure(programs[0][1], BATCH_SIZE)  # the broker's caches are warm from here on
    for number in range(runs):
        for name, start in in_turn(programs, number):
            progress(f"{case}, {name}, run {number + 1} of {runs}")
            found[name].append(topic.measure(start, BATCH_SIZE))
    return found


def _rows(case: str, client: str, found: dict[str, list[Run]]) -> Iterator[Row]:
    """The plain path beside the bare loop, as in every other case, and the filter beside the plain path."""
    yield throughput_row(
        f"{case}, {WITHOUT}", "records/s", found[WITHOUT], found[BARE], client=client, goals=[OF_FLOOR]
    )
    costs = [run.engine - plain.engine for run, plain in zip(found[WITH], found[WITHOUT], strict=True)]
    filtered = throughput_row(
        f"{case}, {WITH}", "records/s", found[WITH], found[BARE], client=client, peers={WITHOUT: found[WITHOUT]}
    )
    cost = statistics.median(costs)
    details = {**filtered.details, "filter_us": cost}
    yield replace(filtered, details=details, note=f"filter {cost:.1f} µs a record; {filtered.note}")


def _alone(size: int, runs: int) -> Row:
    """The filter by itself, in a loop over the same values: what of the difference is matching."""
    filters, values = compile_filters([PATTERN], "value"), load.values(size)
    times = []
    for _ in range(max(runs, 3)):
        began = time.perf_counter_ns()
        passed = sum(map(filters.matches, values))
        times.append((time.perf_counter_ns() - began) / len(values) / 1000)
        assert passed == len(values)
    return row(f"{size_name(size)}, matching alone", "µs", times)
