"""The program `python -m tests.bench`."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

from tests.bench import footprint, latency, report, round_trip, throughput
from tests.brokers import BrokerUnavailable, KafkaBroker, RabbitMQBroker

DESCRIPTION = """\
Measure what the program does in a second and what it costs, each figure beside a floor: a bare loop on the same
client, pipe and handler, run in turn. Brokers are those of POLLER_TEST_KAFKA and POLLER_TEST_RABBITMQ, else containers."""


class Bench:
    """The cases, and the brokers that they want: each started once, when the first case asks for it."""

    def __init__(self, stack: ExitStack, folder: Path, *, runs: int, quick: bool) -> None:
        self._folder = folder
        self._options = {"runs": runs, "quick": quick}
        self._kafka = cache(lambda: self._start(stack, KafkaBroker))
        self._rabbitmq = cache(lambda: self._start(stack, RabbitMQBroker))
        self.cases: dict[str, Callable[[], Iterator[report.Row]]] = {
            "kafka": lambda: throughput.kafka(self._kafka(), folder / "kafka", **self._options),
            "rabbitmq": lambda: throughput.rabbitmq(self._rabbitmq(), folder / "rabbitmq", **self._options),
            "invocation": lambda: round_trip.round_trips(folder / "invocation", **self._options),
            "latency": lambda: latency.kafka(self._kafka(), folder / "latency", **self._options),
            "idle": lambda: footprint.idle(self._kafka(), self._rabbitmq(), folder / "idle", **self._options),
        }

    @staticmethod
    def _start(stack: ExitStack, kind: type[Any]) -> Any:
        report.progress(f"starting {kind.__name__}")
        broker = kind.start()
        stack.callback(broker.stop)
        return broker


CASES = ("kafka", "rabbitmq", "invocation", "latency", "idle")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", action="append", choices=CASES, help="may be repeated; all cases by default")
    parser.add_argument("--runs", type=int, default=3, metavar="N", help="of ours and of the floor each (3)")
    parser.add_argument("--quick", action="store_true", help="shorter runs: figures for orientation")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(f"{parser.prog}: told to end"))  # containers are taken away
    where = report.machine()
    rows: list[report.Row] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        bench = Bench(stack, folder, runs=given.runs, quick=given.quick)
        try:
            for name in given.only or CASES:
                rows += bench.cases[name]()
        except BrokerUnavailable as error:
            sys.stderr.write(f"bench: {error}\n")
            return 1
        finally:
            if rows:
                report.write(rows, where, terminal=sys.stdout.isatty())
    return 0


if __name__ == "__main__":
    sys.exit(main())
