"""What the brokers and the handlers say about a run. Every function asks anew; nothing is remembered or hoped."""

from __future__ import annotations

import base64
import json
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pika
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.errors import KafkaError
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError

from producers import stored
from producers.command import CommandError, ExitCode
from producers.provision import (
    DEAD_LETTER_QUEUE,
    DEAD_LETTER_TOPIC,
    close_rabbitmq,
    connect_rabbitmq,
    declared,
    kafka_unreachable,
    rabbitmq_unreachable,
)

Rows = dict[str, dict[str, dict[str, Any]]]
"""Per database, per identity: what the handler stored."""


def committed(address: str, group: str) -> dict[int, int]:
    """The group's committed offset per partition of its topic: everything below is finished."""
    with kafka_admin(address) as admin:
        offsets = admin.list_group_offsets(group).get(group, {})
    return {place.partition: found.offset for place, found in offsets.items()}


def dead_letter_offset(address: str) -> int:
    """Where the next record of the dead-letter topic will stand."""
    with kafka_consumer(address) as consumer:
        place = TopicPartition(DEAD_LETTER_TOPIC, 0)
        return int(consumer.end_offsets([place])[place])


def kafka_dead_letters(address: str, start: int) -> list[str]:
    """Traces of the records in the dead-letter topic from that offset on, as their on-failure records tell (D.1.4)."""
    place = TopicPartition(DEAD_LETTER_TOPIC, 0)
    traces: list[str] = []
    with kafka_consumer(address) as consumer:
        end = consumer.end_offsets([place])[place]
        consumer.assign([place])
        consumer.seek(place, start)
        while consumer.position(place) < end:
            for letter in consumer.poll(timeout_ms=1000).get(place, []):
                if not any(name == "poller.redriven" for name, _ in letter.headers):  # books of a redrive, no letter
                    traces.extend(original_traces(letter.value))
    return traces


def original_traces(letter: bytes) -> Iterator[str]:
    """Traces of the records in an on-failure record. Header bytes are signed there, as in the event (D.1.1)."""
    payload = json.loads(letter)["payload"]
    for record in (record for records in payload["records"].values() for record in records):
        for header in record["headers"]:
            if "trace" in header:
                yield bytes(value & 0xFF for value in header["trace"]).decode()


def ready(url: str, queue: str) -> int:
    """Messages of the queue that wait for a consumer; those a consumer has are not among them."""
    with rabbitmq_channel(url) as channel:
        return declared(channel, queue)


def unsettled(url: str, management: str, queue: str) -> int | None:
    """Messages of the queue that are ready or with a consumer, as the management page says; None if it does not answer.

    The broker refreshes this figure every five seconds only.
    """
    login = pika.URLParameters(url)
    vhost = urllib.parse.quote(login.virtual_host, safe="")
    request = urllib.request.Request(f"{management}/api/queues/{vhost}/{queue}")  # noqa: S310 - http, from an option
    if isinstance(login.credentials, pika.PlainCredentials):
        words = f"{login.credentials.username}:{login.credentials.password}"
        request.add_header("Authorization", f"Basic {base64.b64encode(words.encode()).decode()}")
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310  # nosec B310
            return int(json.load(answer).get("messages", 0))
    except (OSError, ValueError):
        return None


def rabbitmq_dead_letters(url: str) -> dict[str, list[dict[str, Any]]]:
    """Every message in the dead-letter queue, by messageId: its x-death (F.3). They are looked at and left there."""
    found: dict[str, list[dict[str, Any]]] = {}
    seen = 0

    def look(channel: object, method: object, properties: pika.BasicProperties, body: bytes) -> None:
        nonlocal seen
        del channel, method, body
        seen += 1
        if properties.message_id:
            found[properties.message_id] = (properties.headers or {}).get("x-death", [])

    with rabbitmq_channel(url) as channel:
        count = declared(channel, DEAD_LETTER_QUEUE)
        # Never acknowledged: closing the channel gives them back.
        channel.basic_consume(DEAD_LETTER_QUEUE, look)
        deadline = time.monotonic() + 30
        while seen < count and time.monotonic() < deadline:
            channel.connection.process_data_events(time_limit=1)
    return found


def handled(results: str, run: str) -> Rows:
    """What the handlers stored of the run.

    Args:
        results: their folder, or `compose:SERVICE:/FOLDER` for a folder in a compose service's container.
        run: first part of the identities that are wanted.
    """
    kind, _, place = results.partition(":")
    if kind != "compose" or not place:
        return stored.read(results, run)
    service, _, folder = place.partition(":")
    script = Path(stored.__file__)
    command = ["docker", "compose", "exec", "--no-TTY", service, "python", "-", folder, run]
    try:
        done = subprocess.run(  # noqa: S603
            command, input=script.read_bytes(), capture_output=True, timeout=60, check=True, cwd=script.parent.parent
        )
    except FileNotFoundError:
        raise CommandError(ExitCode.UNREACHABLE, "no docker command to read the results with; see --results") from None
    except subprocess.TimeoutExpired:
        raise CommandError(ExitCode.UNREACHABLE, f"{' '.join(command)} gave no answer in 60 s") from None
    except subprocess.CalledProcessError as error:
        reason = (error.stderr.decode(errors="replace").strip().splitlines() or [f"exit status {error.returncode}"])[-1]
        message = f"cannot read what the handlers stored ({results}): {reason}; is {service} up (docker compose ps)?"
        raise CommandError(ExitCode.UNREACHABLE, message) from None
    rows: Rows = json.loads(done.stdout)
    return rows


def not_rejected(letters: Mapping[str, list[dict[str, Any]]], queue: str) -> list[str]:
    """Identities of dead messages that the broker did not dead-letter because the poller rejected them."""
    expected = {"queue": queue, "reason": "rejected"}
    return [
        identity
        for identity, deaths in letters.items()
        if not any(expected.items() <= death.items() for death in deaths)
    ]


@contextmanager
def kafka_admin(address: str) -> Iterator[KafkaAdminClient]:
    """An admin client for a few questions. Raises CommandError."""
    try:
        with closing(KafkaAdminClient(bootstrap_servers=address, bootstrap_timeout_ms=5000)) as admin:
            yield admin
    except KafkaError as error:
        raise kafka_unreachable(address, error) from None


@contextmanager
def kafka_consumer(address: str) -> Iterator[KafkaConsumer]:
    """A consumer that belongs to no group. Raises CommandError."""
    try:
        with closing(KafkaConsumer(bootstrap_servers=address, group_id=None, enable_auto_commit=False)) as consumer:
            yield consumer
    except KafkaError as error:
        raise kafka_unreachable(address, error) from None


@contextmanager
def rabbitmq_channel(url: str) -> Iterator[BlockingChannel]:
    """A channel for a few questions. Raises CommandError."""
    connection = connect_rabbitmq(url)
    try:
        yield connection.channel()
    except AMQPError as error:
        raise rabbitmq_unreachable(url, error) from None
    finally:
        close_rabbitmq(connection)
