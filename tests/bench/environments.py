"""What environments cost: a round trip and a cold start by the way their processes are spoken to, many at once, idle ones.

`python -m tests.bench.environments trips|cold|burst …` is the process that is measured; it logs as the service does, and
prints its figures as JSON on its last line.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from poller import log
from poller.log import FunctionLog
from poller.model import FunctionConfiguration, Invocation, InvocationResult
from poller.runtime.pool import FunctionPool
from poller.runtime.runtimes import understood
from tests.bench.processes import FUNCTIONS, Measured, Service, template
from tests.bench.report import Goal, Row, progress, row

PYTHON = f"python{sys.version_info[0]}.{sys.version_info[1]}"
_PIPE = FunctionConfiguration("Bench", FUNCTIONS, "handler.echo", PYTHON, timeout=30)
AWS_CLIENT = "AWS's Python client"
GO = "Go"
_ROOT = Path(__file__).parents[2]
_GO = FunctionConfiguration("Bench", _ROOT / "build" / "languages" / "go", "bootstrap", "provided.al2023", timeout=30)
WAYS: dict[str, FunctionConfiguration] = {
    "pipe": _PIPE,
    **({AWS_CLIENT: replace(_PIPE, runtime_client="aws")} if find_spec("awslambdaric") else {}),
    **({"Node.js": replace(_PIPE, runtime="nodejs22.x")} if shutil.which("node") else {}),
    **({GO: _GO} if shutil.which("go") else {}),
}
"""Functions that answer with their event, by how their processes are spoken to, as far as this machine has what they
need. Another client or language is one more line here, and one below."""
_IMPORTS = {"python": "imports.handler", "nodejs": "handler.imports", "provided": "bootstrap"}
COLD: dict[str, FunctionConfiguration] = {
    name: replace(way, handler=_IMPORTS[understood(way.runtime).language]) for name, way in WAYS.items()
}
"""The same for functions that answer with the milliseconds of their own imports; to 0 with 0 if they have none."""

SIZE = 1024
WARM_UP = 200
AT_ONCE = 50
IDLE = 100
_GOALS = {"pipe": Goal("<=", 100.0), AWS_CLIENT: Goal("<=", 600.0)}
_COLD_GOALS = {"pipe": Goal("<=", 60.0)}
_READY = "provisioned environments are initialised"


def environments(folder: Path, *, runs: int, quick: bool) -> Iterator[Row]:
    """All of it; every figure without a broker."""
    ways = _runnable()
    for way in ways:
        yield from _trips(folder / "trips" / way, way, runs, 1000 if quick else 5000)
    for way in ways:
        yield from _cold(folder / "cold" / way, way, runs, 5 if quick else 20)
    yield from _burst(folder / "burst", runs, 1000 if quick else 10_000)
    yield from _idle(folder / "idle", runs, 3.0 if quick else 10.0)


def _runnable() -> list[str]:
    """The ways that can be measured here; tells of Go's handler if it cannot be built. Blocks for its compiler."""
    if GO in WAYS:
        command = [_ROOT / "containers" / "languages.sh", "go"]
        built = subprocess.run(command, capture_output=True, text=True, check=False)
        reason = built.stderr.strip() if built.returncode else ""
    else:
        reason = "there is no Go on this machine"
    if reason:
        progress(f"{GO} is left out: {reason}")
    return [way for way in WAYS if way != GO or not reason]


def _trips(folder: Path, way: str, runs: int, number: int) -> Iterator[Row]:
    found = []
    for run in range(runs):
        progress(f"round trips, {way}, run {run + 1} of {runs}")
        found.append(_figures(folder / str(run), "trips", way, number))
    for percent in 50, 99:
        yield row(
            f"round trip of 1 KiB, p{percent}",
            "µs",
            [one[f"p{percent}"] for one in found],
            client=way,
            goals=[_GOALS[way]] if percent == 50 and way in _GOALS else [],
            details={"cpu_us": [one["cpu"] for one in found]},
            note="CPU {cpu_us:.0f} µs of both processes",
        )
    yield row("round trip of an empty event, p50", "µs", [one["empty"] for one in found], client=way)
    yield row(
        "invocations of 1 KiB, one environment, always one waiting",
        "invocations/s",
        [one["rate"] for one in found],
        client=way,
        details={"cpu_us": [one["rate_cpu"] for one in found]},
        note="CPU {cpu_us:.0f} µs of both processes",
    )


def _cold(folder: Path, way: str, runs: int, number: int) -> Iterator[Row]:
    found = []
    for run in range(runs):
        progress(f"cold starts, {way}, run {run + 1} of {runs}")
        found.append(_figures(folder / str(run), "cold", way, number))
    yield row(
        "cold start beyond the handler's own imports, p50",
        "ms",
        [one["beyond"] for one in found],
        client=way,
        goals=[_COLD_GOALS[way]] if way in _COLD_GOALS else [],
        details={"imports_ms": [one["imports"] for one in found]},
        note="the imports take {imports_ms:.0f} ms",
    )


def _burst(folder: Path, runs: int, number: int) -> Iterator[Row]:
    found = []
    for run in range(runs):
        progress(f"{AT_ONCE} environments at once, run {run + 1} of {runs}")
        found.append(_figures(folder / str(run), "burst", "pipe", number))
    yield row(f"{AT_ONCE} environments of one function, all cold", "s", [one["cold"] for one in found], client="pipe")
    yield row(
        f"{AT_ONCE} environments of one function, 1 KiB",
        "invocations/s",
        [one["rate"] for one in found],
        client="pipe",
        details={"cpu_us": [one["cpu"] for one in found]},
        note="CPU {cpu_us:.0f} µs an invocation, of all processes",
    )


def _idle(folder: Path, runs: int, seconds: float) -> Iterator[Row]:
    """A service with so many functions, an initialised environment each."""
    found: dict[str, list[float]] = {"own": [], "each": [], "cpu": [], "all_cpu": [], "threads": [], "ready": []}
    for run in range(runs):
        progress(f"{IDLE} idle environments, run {run + 1} of {runs}")
        with Service(_many(), folder / str(run)) as service:
            found["ready"].append(service.wait_for_log(_READY, times=IDLE, timeout=120))
            handlers = _children(service.pid)
            if len(handlers) != IDLE:
                raise RuntimeError(f"{len(handlers)} processes of handlers, not {IDLE}")
            before, began = (service.processor_seconds(), _processor(handlers)), time.monotonic()
            time.sleep(seconds)  # what is measured: a time in which they have nothing to do
            elapsed = time.monotonic() - began
            own, theirs = service.processor_seconds() - before[0], _processor(handlers) - before[1]
            found["own"].append(service.memory() / 1e6)
            found["each"].append(sum(map(_proportional, handlers)) / IDLE / 1e6)
            found["cpu"].append(own / elapsed * 100)
            found["all_cpu"].append((own + theirs) / elapsed * 100)
            found["threads"].append(float(service.threads()))
    yield row(
        f"memory of the service, {IDLE} idle functions",
        "MB",
        found["own"],
        details={"threads": found["threads"], "ready_s": found["ready"]},
        note="{threads:.0f} threads; all are initialised after {ready_s:.1f} s",
    )
    yield row("memory of an idle environment", "MB", found["each"], note="its share of what several have in common")
    yield row(
        f"processor of the service over {seconds:g} s, {IDLE} idle functions",
        "% of a core",
        found["cpu"],
        details={"all_percent": found["all_cpu"]},
        note="{all_percent:.2f} % with the environments",
    )


def _many() -> dict[str, Any]:
    whole = template({}, handler="echo")
    properties = whole["Resources"]["Bench"]["Properties"]
    names = [f"Bench{number}" for number in range(IDLE)]
    resource_of = {"Type": "AWS::Serverless::Function", "Properties": properties}
    return {
        **whole,
        "Metadata": {"Poller": {"Functions": {name: {"ProvisionedConcurrency": 1} for name in names}}},
        "Resources": dict.fromkeys(names, resource_of),
    }


def _children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


def _processor(pids: Sequence[int]) -> float:
    return sum(time.clock_gettime((~pid << 3) | 2) for pid in pids)


def _proportional(pid: int) -> int:
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(rollup.partition("\nPss:")[2].split(maxsplit=1)[0]) * 1024


def _figures(folder: Path, what: str, way: str, number: int) -> dict[str, float]:
    process = Measured(["-m", "tests.bench.environments", what, "--way", way, "--number", str(number)], folder)
    process.wait_for_end(300)
    found: dict[str, float] = json.loads(process.log.read_text().splitlines()[-1])
    return found


# --- what is measured ------------------------------------------------------------------------------------------------


class _Caller:
    """Invokes, and waits for answers."""

    def __init__(self, configuration: FunctionConfiguration) -> None:
        self.pool = FunctionPool(configuration, log=FunctionLog(configuration.function_name))
        self.pool.start()
        self.answers: SimpleQueue[InvocationResult] = SimpleQueue()

    def submit(self, payload: bytes) -> None:
        arn = self.pool.configuration.function_arn
        self.pool.submit(Invocation("id", payload, arn), self.answers.put, wait=True)

    def take(self) -> bytes:
        answer = self.answers.get()
        if answer.status != 200 or answer.function_error:
            raise RuntimeError(f"no answer of the function's: {answer!r}")
        return answer.payload

    def call(self, payload: bytes) -> bytes:
        self.submit(payload)
        return self.take()

    def run(self, payload: bytes, number: int, ahead: int) -> float:
        """So many invocations, always so many of them under way; seconds."""
        began = time.perf_counter()
        for _ in range(ahead):
            self.submit(payload)
        for given in range(ahead, number + ahead):
            self.take()
            if given < number:
                self.submit(payload)
        return time.perf_counter() - began


def _spent() -> float:
    """Processor seconds of this process and of its children, also those that live."""
    return time.process_time() + _processor(_children(os.getpid()))


def trips(way: str, number: int) -> dict[str, float]:
    payload = json.dumps({"text": "x" * (SIZE - 12)}).encode()
    caller = _Caller(replace(WAYS[way], reserved_concurrent_executions=1))
    for _ in range(WARM_UP):
        caller.call(payload)
    empty = _times(caller, b"{}", number)
    before = _spent()
    times = _times(caller, payload, number)
    between = _spent()
    seconds = caller.run(payload, number, ahead=8)
    after = _spent()
    caller.pool.stop()
    cuts = statistics.quantiles(times, n=100)
    each = 1e6 / number
    cpu = {"cpu": (between - before) * each, "rate_cpu": (after - between) * each}
    return {"p50": cuts[49], "p99": cuts[98], "empty": statistics.median(empty), "rate": number / seconds, **cpu}


def _times(caller: _Caller, payload: bytes, number: int) -> list[float]:
    """Microseconds of so many invocations, one after the other."""
    times = []
    for _ in range(number):
        began = time.perf_counter_ns()
        caller.call(payload)
        times.append((time.perf_counter_ns() - began) / 1000)
    return times


def cold(way: str, number: int) -> dict[str, float]:
    beyond, imports = [], []
    for _ in range(number + 1):
        caller = _Caller(COLD[way])
        began = time.perf_counter()
        own = json.loads(caller.call(b"0"))
        beyond.append((time.perf_counter() - began) * 1000 - own)
        imports.append(own)
        caller.pool.stop()
    # The first one reads files that are in memory from then on.
    return {"beyond": statistics.median(beyond[1:]), "imports": statistics.median(imports[1:])}


def burst(way: str, number: int) -> dict[str, float]:
    configuration = replace(WAYS[way], reserved_concurrent_executions=AT_ONCE)
    resting = _Caller(replace(configuration, handler="imports.rest"))
    began = time.perf_counter()
    for _ in range(AT_ONCE):
        resting.submit(b"0.1")
    for _ in range(AT_ONCE):
        resting.take()
    seconds_cold = time.perf_counter() - began
    if (found := resting.pool.stats().environments) != AT_ONCE:
        raise RuntimeError(f"{found} environments, not {AT_ONCE}")
    resting.pool.stop()
    caller = _Caller(configuration)
    payload = json.dumps({"text": "x" * (SIZE - 12)}).encode()
    caller.run(payload, 10 * AT_ONCE, ahead=2 * AT_ONCE)
    before = _spent()
    seconds = caller.run(payload, number, ahead=2 * AT_ONCE)
    spent = _spent() - before
    caller.pool.stop()
    return {"cold": seconds_cold, "rate": number / seconds, "cpu": spent / number * 1e6}


def main() -> None:
    programs: dict[str, Callable[[str, int], dict[str, float]]] = {"trips": trips, "cold": cold, "burst": burst}
    parser = argparse.ArgumentParser(prog="python -m tests.bench.environments")
    parser.add_argument("program", choices=programs)
    parser.add_argument("--way", choices=WAYS, default="pipe")
    parser.add_argument("--number", type=int, required=True)
    given = parser.parse_args()
    log.configure("json")
    found = programs[given.program](given.way, given.number)
    logging.shutdown()  # its last lines come before the result
    print(json.dumps(found))


if __name__ == "__main__":
    main()
