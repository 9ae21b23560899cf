"""Writes device readings to the Kafka topic; each one counts only when all replicas have confirmed it.

Key: the device, so that a device's readings keep their order. Header `trace`: the reading's identity, `<run>-<n>`.
A share of the readings is poison. Ctrl-C ends it with the count confirmed so far.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from kafka import KafkaAdminClient, KafkaProducer
from kafka.errors import KafkaError

from producers.command import (
    CommandError,
    ExitCode,
    Pace,
    Stop,
    add_content_options,
    deliver,
    environment,
    finished,
    kafka_address,
    main,
    new_run,
)
from producers.provision import TOPIC, kafka_unreachable

FIRST_TIME = datetime(2026, 1, 1, tzinfo=UTC)
"""Of the first reading; the others follow a second apart, so that content depends on nothing but the seed."""

IN_FLIGHT = 5000
"""Readings that may wait for their confirmation at the same time."""

COUNT = 10_000
DEVICES = 50


class Reading(NamedTuple):
    """One message as it is written."""

    trace: str
    device: str
    body: bytes
    poison: bool


class Delivered(NamedTuple):
    """A confirmed reading and where it is now."""

    reading: Reading
    partition: int
    offset: int

    @property
    def poison(self) -> bool:
        """The reading's."""
        return self.reading.poison


def readings(run: str, *, count: int, poison: float, keys: int, seed: int) -> Iterator[Reading]:
    """The messages of a run. Pure: the same arguments give the same readings. A count of 0 is endless."""
    chance = random.Random(seed)
    for n in range(count) if count else itertools.count():
        device = f"device-{chance.randrange(keys):03d}"
        reading: dict[str, Any] = {
            "device": device,
            "temperature": round(chance.gauss(21, 6), 2),
            "humidity": round(chance.uniform(20, 80), 1),
            "battery": round(chance.uniform(5, 100), 1),
            "time": (FIRST_TIME + timedelta(seconds=n)).isoformat(),
        }
        bad = chance.random() < poison
        body = spoilt(reading, chance) if bad else json.dumps(reading).encode()
        yield Reading(f"{run}-{n:06d}", device, body, bad)


def spoilt(reading: dict[str, Any], chance: random.Random) -> bytes:
    """The reading as a broken device might send it: one of five ways to be no reading."""
    match chance.randrange(5):
        case 0:
            return b"\xfe\xff no text"
        case 1:
            return json.dumps(reading).encode()[:-20]
        case 2:
            del reading["temperature"]
        case 3:
            reading["humidity"] = 180.0
        case _:
            reading["time"] = "yesterday"
    return json.dumps(reading).encode()


def produce(messages: Iterable[Reading], *, address: str, topic: str, rate: float, stop: Stop) -> Iterator[Delivered]:
    """Write the messages and yield each one, in their order, once it is confirmed (acks=all).

    Ends early when asked to stop, after what is in flight. Raises CommandError.
    """
    check_topic(address, topic)
    try:
        producer = KafkaProducer(
            bootstrap_servers=address,
            acks="all",
            linger_ms=5,
            allow_auto_create_topics=False,
            # A broker that went away is noticed in this time, not in minutes.
            request_timeout_ms=10_000,
            delivery_timeout_ms=20_000,
            max_block_ms=20_000,
        )
    except KafkaError as error:
        raise kafka_unreachable(address, error) from None
    pending: deque[tuple[Reading, Any]] = deque()
    pace = Pace(rate)
    try:
        for number, reading in enumerate(messages):
            while (pause := pace.until(number)) > 0 and not stop:
                # Confirmations are looked at while waiting, so that the count on the screen is up to date.
                stop.wait(min(pause, 0.1))
                while pending and pending[0][1].is_done:
                    yield confirmed(*pending.popleft())
            if stop:
                break
            headers = [("trace", reading.trace.encode())]
            pending.append((reading, producer.send(topic, reading.body, reading.device.encode(), headers)))
            while pending and (pending[0][1].is_done or len(pending) > IN_FLIGHT):
                yield confirmed(*pending.popleft())
        while pending:
            yield confirmed(*pending.popleft())
    except KafkaError as error:
        raise CommandError(ExitCode.UNREACHABLE, f"Kafka at {address} does not confirm: {error}") from None
    finally:
        producer.close(timeout=1)


def confirmed(reading: Reading, future: Any) -> Delivered:
    """Wait for the broker's answer. Raises KafkaError."""
    place = future.get(timeout=30)
    return Delivered(reading, place.partition, place.offset)


def check_topic(address: str, topic: str) -> None:
    """A missing topic would else be found out only after the producer's time-out."""
    try:
        admin = KafkaAdminClient(bootstrap_servers=address, bootstrap_timeout_ms=5000)
        try:
            topics = admin.list_topics()
        finally:
            admin.close()
    except KafkaError as error:
        raise kafka_unreachable(address, error) from None
    if topic not in topics:
        message = f"Kafka at {address} has no topic {topic}; to make the sample's topics: python -m producers.provision"
        raise CommandError(ExitCode.MISSING, message)


def run(arguments: argparse.Namespace, stop: Stop) -> ExitCode:
    """Write as the command line says."""
    content = readings(
        arguments.run or new_run(),
        count=arguments.count,
        poison=arguments.poison,
        keys=arguments.keys,
        seed=arguments.seed,
    )
    written = produce(content, address=arguments.address, topic=arguments.topic, rate=arguments.rate, stop=stop)
    return finished(len(deliver(arguments.topic, written, arguments.count, stop)), arguments.count, stop)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m producers.telemetry", description=__doc__)
    parser.add_argument("--address", default=kafka_address(), help="bootstrap servers (KAFKA_BOOTSTRAP_SERVERS)")
    parser.add_argument("--topic", default=environment("KAFKA_TOPIC", TOPIC), help=f"topic (KAFKA_TOPIC, else {TOPIC})")
    add_content_options(parser, count=COUNT, keys=DEVICES, of="devices")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main(run, arguments()))
