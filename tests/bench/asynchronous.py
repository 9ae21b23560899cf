"""Asynchronous events: how many a second are accepted for good, and how many are worked off; each beside a floor.

`python -m tests.bench.asynchronous MODE FOLDER --number …` is the process that is measured; it prints events a second.
"""

from __future__ import annotations

import argparse
import json
import logging
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

from prometheus_client import CollectorRegistry

from poller import log
from poller.async_invoke.configuration import AsyncConfiguration
from poller.async_invoke.invoker import AsyncInvoker
from poller.async_invoke.lanes import MOST_RUNNING, AsyncFunction
from poller.async_metrics import AsyncMetrics
from poller.clock import SystemClock
from poller.log import FunctionLog
from poller.model import FunctionConfiguration, Invocation, InvocationResult
from poller.runtime.pool import FunctionPool
from tests.bench.processes import FUNCTIONS, Measured
from tests.bench.report import Goal, Row, progress, row
from tests.waiting import eventually

SENDERS = 32
PAYLOAD = json.dumps({"text": "x" * 188}).encode()
NUMBERS = {"accept": 20_000, "one by one": 1_000, "in groups": 20_000, "drain": 3_000, "pool": 3_000}
GOAL = Goal(">=", 2000.0)
ONE_BY_ONE, IN_GROUPS = "one by one", "in groups"


def rates(folder: Path, *, runs: int, quick: bool) -> Iterator[Row]:
    """Events of 200 B. Accepted by 32 senders at once; worked off by a function that returns at once."""
    found: dict[str, list[float]] = {mode: [] for mode in NUMBERS}
    for number in range(runs):
        for mode, count in NUMBERS.items():
            progress(f"asynchronous events, {mode}, run {number + 1} of {runs}")
            place = folder / f"{mode.replace(' ', '-')}-{number}"
            found[mode].append(_measured(mode, place, count // 4 if quick else count))
    yield row(
        f"asynchronous events accepted, {SENDERS} senders",
        "events/s",
        found["accept"],
        found[ONE_BY_ONE],
        peers={f"SQLite, {SENDERS} inserts a flush": found[IN_GROUPS]},
        goals=[GOAL],
        note="floor: bare SQLite, an insert a flush",
    )
    yield row(
        "asynchronous events worked off",
        "events/s",
        found["drain"],
        found["pool"],
        note=f"{MOST_RUNNING} at a time; floor: the pool without a store",
    )


def _measured(mode: str, folder: Path, number: int) -> float:
    process = Measured(["-m", "tests.bench.asynchronous", mode, str(folder / "work"), "--number", str(number)], folder)
    process.wait_for_end(60)
    return float(process.log.read_text().splitlines()[-1])


# --- the process that is measured -----------------------------------------------------------------------------------


def _floor(folder: Path, number: int, group: int) -> float:
    """Bare inserts into a table of two columns with the same durability, so many a transaction."""
    folder.mkdir(parents=True)
    connection = sqlite3.connect(folder / "floor.sqlite3", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE events (id INTEGER PRIMARY KEY, payload BLOB)")
    began = time.perf_counter()
    for _ in range(number // group):
        connection.execute("BEGIN IMMEDIATE")
        for _ in range(group):
            connection.execute("INSERT INTO events (payload) VALUES (?)", (PAYLOAD,))
        connection.execute("COMMIT")
    seconds = time.perf_counter() - began
    connection.close()
    return number // group * group / seconds


def _pool() -> FunctionPool:
    runtime = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    configuration = FunctionConfiguration("Bench", FUNCTIONS, "handler.echo", runtime, timeout=30)
    return FunctionPool(configuration, log=FunctionLog("Bench"))


def _invoker(folder: Path, pool: FunctionPool) -> AsyncInvoker:
    function = AsyncFunction(pool.configuration, AsyncConfiguration(), pool)
    metrics = AsyncMetrics(CollectorRegistry())
    return AsyncInvoker(
        folder, {"Bench": function}.get, required=True, time_scale=1.0, metrics=metrics, clock=SystemClock()
    )


def _accept_all(invoker: AsyncInvoker, number: int) -> None:
    with ThreadPoolExecutor(SENDERS) as senders:
        for _ in senders.map(lambda _: invoker.accept("Bench", "", PAYLOAD), range(number)):
            pass


def _accept(folder: Path, number: int) -> float:
    """Nothing is worked off meanwhile."""
    invoker = _invoker(folder, _pool())
    invoker.open()
    began = time.perf_counter()
    _accept_all(invoker, number)
    seconds = time.perf_counter() - began
    invoker.stop(0)
    return number / seconds


def _drain(folder: Path, number: int) -> float:
    """From the first attempt to the end of the last, of events that waited."""
    pool = _pool()
    invoker = _invoker(folder, pool)
    invoker.open()
    _accept_all(invoker, number)
    reader = sqlite3.connect(folder / "async.sqlite3", isolation_level=None)
    pool.start()
    began = time.perf_counter()
    invoker.start()
    eventually(
        lambda: not reader.execute("SELECT EXISTS (SELECT 1 FROM events)").fetchone()[0], timeout=600, pause=0.01
    )
    seconds = time.perf_counter() - began
    reader.close()
    pool.stop()
    invoker.stop(0)
    return number / seconds


def _bare_pool(_: Path, number: int) -> float:
    """As many at a time, each followed by the next."""
    pool = _pool()
    answers: SimpleQueue[InvocationResult] = SimpleQueue()
    pool.start()

    def submit(request: int) -> None:
        pool.submit(Invocation(str(request), PAYLOAD, pool.configuration.function_arn), answers.put, wait=False)

    began = time.perf_counter()
    for request in range(MOST_RUNNING):
        submit(request)
    for request in range(MOST_RUNNING, number + MOST_RUNNING):
        answer = answers.get()
        assert answer.status == 200, answer
        if request < number:
            submit(request)
    seconds = time.perf_counter() - began
    pool.stop()
    return number / seconds


MODES: dict[str, Callable[[Path, int], float]] = {
    "accept": _accept,
    ONE_BY_ONE: lambda folder, number: _floor(folder, number, 1),
    IN_GROUPS: lambda folder, number: _floor(folder, number, SENDERS),
    "drain": _drain,
    "pool": _bare_pool,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.asynchronous")
    parser.add_argument("mode", choices=MODES)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--number", type=int, required=True)
    given = parser.parse_args()
    log.configure("json")
    rate = MODES[given.mode](given.folder, given.number)
    logging.shutdown()  # its last lines come before the result
    print(rate)


if __name__ == "__main__":
    main()
