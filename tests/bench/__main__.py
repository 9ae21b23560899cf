"""The program `python -m tests.bench`."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from tests.bench import (
    asynchronous,
    environments,
    filters,
    footprint,
    growth,
    http_invoke,
    latency,
    publish,
    report,
    round_trip,
    tables,
    workers,
)
from tests.bench.throughput_kafka import kafka
from tests.bench.throughput_rabbitmq import rabbitmq
from tests.brokers import BrokerUnavailable, KafkaBroker, RabbitMQBroker

DESCRIPTION = """\
Measure what the program does in a second and what it costs, each figure beside a floor (a bare loop on the same client,
pipe and handler) and peers, run in turn. Brokers are those of POLLER_TEST_KAFKA and POLLER_TEST_RABBITMQ, else
containers. Results go to build/bench.json and build/bench.md; cases that are not measured keep their earlier ones."""

USUAL = ("kafka", "workers", "rabbitmq", "filters", "invocation", "environments", "invoke", "async", "latency", "idle")
"""What is measured unless cases are named."""
GROWTH = ("mappings", "partitions", "batches", "values", "backlog")
"""`growth` stands for all of these."""


class Kafka(KafkaBroker):
    """With the virtual machine that Kafka comes with."""

    machine: ClassVar[Mapping[str, str]] = {}


class Bench:
    """The cases, and the brokers that they want: each started once, when the first case asks for it."""

    def __init__(self, stack: ExitStack, folder: Path, *, runs: int, quick: bool) -> None:
        options: dict[str, Any] = {"runs": runs, "quick": quick}
        streams = cache(lambda: self._start(stack, Kafka))
        queues = cache(lambda: self._start(stack, RabbitMQBroker))
        # Growth is measured in single runs: a curve shows by itself where one of its points is off.
        self.cases: dict[str, Callable[[], Iterator[report.Row]]] = {
            "kafka": lambda: kafka(streams(), folder / "kafka", **options),
            "workers": lambda: workers.kafka(streams(), folder / "workers", **options),
            "rabbitmq": lambda: rabbitmq(queues(), folder / "rabbitmq", **options),
            "filters": lambda: filters.kafka(streams(), folder / "filters", **options),
            "invocation": lambda: round_trip.round_trips(folder / "invocation", **options),
            "environments": lambda: environments.environments(folder / "environments", **options),
            "invoke": lambda: http_invoke.invocations(folder / "invoke", **options),
            "async": lambda: asynchronous.rates(folder / "async", **options),
            "latency": lambda: latency.kafka(streams(), folder / "latency", **options),
            "idle": lambda: footprint.idle(streams(), queues(), folder / "idle", **options),
            "mappings": lambda: growth.mappings(streams(), folder / "mappings", quick=quick),
            "partitions": lambda: growth.partitions(streams(), folder / "partitions", quick=quick),
            "batches": lambda: growth.batches(streams(), folder / "batches", quick=quick),
            "values": lambda: growth.values(streams(), folder / "values", quick=quick),
            "backlog": lambda: growth.backlog(streams(), folder / "backlog", quick=quick),
        }

    @staticmethod
    def _start(stack: ExitStack, kind: type[Any]) -> Any:
        report.progress(f"starting {kind.__name__}")
        broker = kind.start()
        stack.callback(broker.stop)
        return broker


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only",
        action="append",
        choices=[*USUAL, "growth", *GROWTH],
        help=f"may be repeated; {', '.join(USUAL)} by default",
    )
    parser.add_argument("--runs", type=int, metavar="N", help="of each program (3; 1 with --quick)")
    parser.add_argument("--quick", action="store_true", help="few and short runs: figures for orientation")
    parser.add_argument(
        "--publish",
        action="store_true",
        help="measure nothing: write the documentation's figures from build/bench.json",
    )
    given = parser.parse_args()
    if given.publish:
        return publish.main()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(f"{parser.prog}: told to end"))  # containers are taken away
    wanted = [name for item in given.only or USUAL for name in (GROWTH if item == "growth" else (item,))]
    return measure(wanted, runs=given.runs or (1 if given.quick else 3), quick=given.quick)


def measure(names: list[str], *, runs: int, quick: bool) -> int:
    """Run the cases, each saved as soon as it is through, the others also when one fails; the exit status."""
    path = report.FOLDER / "bench.json"
    results = report.Results.load(path)
    done: list[str] = []
    failed = False
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        bench = Bench(stack, folder, runs=runs, quick=quick)
        try:
            for name in names:
                where = {**report.machine(), **({"quick": True} if quick else {})}
                try:
                    rows = list(bench.cases[name]())
                except (RuntimeError, TimeoutError, AssertionError) as error:  # one case's figures would mean nothing
                    sys.stderr.write(f"bench: {name} has no figures, its earlier ones stay: {error}\n")
                    failed = True
                    continue
                results.replace(name, rows, where)
                results.save(path)
                done.append(name)
        except BrokerUnavailable as error:
            sys.stderr.write(f"bench: {error}\n")
            return 1
        finally:
            if done:
                (report.FOLDER / "bench.md").write_text(tables.markdown(results))
                tables.show(results, done, terminal=sys.stdout.isatty())
                sys.stdout.write(f"Written to {path} and {report.FOLDER}/bench.md\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
