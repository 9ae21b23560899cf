"""Floors: the least a Python program can do for the same job, with the same client and the same handler file.

`python -m tests.bench.floor HANDLER LOOP …` polls, builds the event of D.1.1 or D.2 in the cheapest way that was found,
sends it over the same kind of pipe to the same bootstrap, takes the answers, and commits. One thread, one handler; no
retries, no order of failures, no rebalances, no logs, no metrics. It prints `polling` when it begins, and ends on
SIGTERM.
"""

from __future__ import annotations

import argparse
import json
import time

from tests.bench.bare import Handler, stop_on_sigterm


def run_round_trips(handler: Handler, *, payload: bytes, number: int) -> None:
    """Print the nanoseconds of every round trip as a JSON array."""
    times = []
    for _ in range(number):
        began = time.perf_counter_ns()
        handler(payload)
        times.append(time.perf_counter_ns() - began)
    print(json.dumps(times))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.floor", description=__doc__)
    parser.add_argument("handler")
    loops = parser.add_subparsers(dest="loop", required=True)
    for client in "kafka-python", "confluent-kafka":
        kafka = loops.add_parser(client)
        for name in ("address", "topic", "group"):
            kafka.add_argument(f"--{name}", required=True)
        kafka.add_argument("--batch-size", type=int, required=True, help="0 hands over what a poll gives")
    rabbitmq = loops.add_parser("rabbitmq")
    for name in ("url", "queue"):
        rabbitmq.add_argument(f"--{name}", required=True)
    rabbitmq.add_argument("--batch-size", type=int, required=True)
    round_trips = loops.add_parser("round-trips")
    round_trips.add_argument("--payload", type=str.encode, required=True)
    round_trips.add_argument("--number", type=int, required=True)
    given = vars(parser.parse_args())
    handler = Handler(given.pop("handler"))
    stop_on_sigterm()
    try:
        # Imported only where it runs: what a loop has loaded is part of its start and of its memory.
        match given.pop("loop"):
            case "kafka-python":
                from tests.bench.floor_kafka import run_kafka_python

                run_kafka_python(handler, **given)
            case "confluent-kafka":
                from tests.bench.floor_kafka import run_confluent_kafka

                run_confluent_kafka(handler, **given)
            case "rabbitmq":
                from tests.bench.floor_rabbitmq import run_rabbitmq

                run_rabbitmq(handler, **given)
            case _:
                run_round_trips(handler, **given)
    finally:
        handler.close()


if __name__ == "__main__":
    main()
