"""One synchronous invocation: from `FunctionPool.submit` to its answer, as poll loops invoke, and through a thread.

`python -m tests.bench.round_trip --payload … --number … [--driven]` is the process that is measured; it logs as the
service does.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from poller import log
from poller.log import FunctionLog
from poller.model import FunctionConfiguration, Invocation, InvocationResult
from poller.reports import Reports
from poller.runtime.driving import Driver
from poller.runtime.pool import FunctionPool
from tests.bench.processes import FUNCTIONS, Floor, Measured
from tests.bench.report import Goal, Row, progress, row

SIZE = 1024
GOAL = Goal("<=", 100.0)
WARM_UP = 200


def round_trips(folder: Path, *, runs: int, quick: bool) -> Iterator[Row]:
    """An event of 1 KiB to a handler that returns it, one after the other."""
    arguments = ["--payload", json.dumps({"text": "x" * (SIZE - 12)}), "--number", str(1000 if quick else 5000)]
    kinds: dict[str, tuple[list[str], list[list[float]]]] = {
        "invocation of 1 KiB": (["--driven"], []),
        "invocation of 1 KiB through a thread": ([], []),
    }
    floor = []
    for number in range(runs):
        progress(f"round trip, run {number + 1} of {runs}")
        for options, ours in kinds.values():
            where = folder / f"ours-{number}{''.join(options)}"
            ours.append(_times(Measured(["-m", "tests.bench.round_trip", *arguments, *options], where)))
        floor.append(_times(Floor(["round-trips", *arguments], folder / f"floor-{number}", handler="echo")))
    for name, (_, ours) in kinds.items():
        for percent in 50, 99:
            yield row(
                f"{name}, p{percent}",
                "µs",
                [_percentile(run, percent) for run in ours],
                [_percentile(run, percent) for run in floor],
                goals=[GOAL] if percent == 50 else [],
            )


def _percentile(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100)[percent - 1]


def _times(process: Measured) -> list[float]:
    """Microseconds: what the process prints as its last line, in nanoseconds."""
    process.wait_for_end(60)
    times = json.loads(process.log.read_text().splitlines()[-1])
    return [time / 1000 for time in times[WARM_UP:]]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.round_trip")
    parser.add_argument("--payload", type=str.encode, required=True)
    parser.add_argument("--number", type=int, required=True)
    parser.add_argument("--driven", action="store_true", help="take the answers on the thread that invokes")
    given = parser.parse_args()
    log.configure("json")
    runtime = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    configuration = FunctionConfiguration("Bench", FUNCTIONS, "handler.echo", runtime, timeout=30)
    pool = FunctionPool(configuration, log=FunctionLog("Bench"))
    pool.start()
    driver = Driver()
    driver.own()
    answers: Reports[InvocationResult] = Reports(lambda: None, driver)
    times = []
    for number in range(given.number):
        driven = {"driver": driver} if given.driven else {}
        began = time.perf_counter_ns()
        driver.awake = given.driven
        invocation = Invocation(str(number), given.payload, configuration.function_arn, **driven)
        pool.submit(invocation, answers.report, wait=False)
        while not (answered := answers.wait(1.0)):
            pass
        times.append(time.perf_counter_ns() - began)
        assert answered[0].payload, answered
    pool.stop()
    logging.shutdown()  # its last lines come before the result
    print(json.dumps(times))


if __name__ == "__main__":
    main()
