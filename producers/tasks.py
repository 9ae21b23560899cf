"""Writes invoices to the RabbitMQ queue; each one counts only when the broker has confirmed it (confirms, mandatory).

The messageId is the task's identity, `<run>-<n>`. A share of the invoices is poison. Ctrl-C ends it with the count
confirmed so far.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import pika
from pika.exceptions import AMQPError, NackError, UnroutableError

from producers.command import (
    CommandError,
    ExitCode,
    Pace,
    Stop,
    add_content_options,
    deliver,
    environment,
    finished,
    main,
    new_run,
    rabbitmq_address,
)
from producers.provision import QUEUE, close_rabbitmq, connect_rabbitmq, declared, rabbitmq_unreachable

COUNT = 2_000
CUSTOMERS = 20
ARTICLES = ("bolt M6", "bracket", "cable 5 m", "gasket", "hinge", "sensor", "valve")
VAT_TENTHS = (0, 70, 81, 190)
"""Value-added tax in tenths of a per cent."""


class Task(NamedTuple):
    """One message as it is written."""

    message_id: str
    body: bytes
    poison: bool
    total: str
    """What the invoice comes to, worked out in whole cents and so another way than the handler's."""


def tasks(run: str, *, count: int, poison: float, keys: int, seed: int) -> Iterator[Task]:
    """The messages of a run. Pure: the same arguments give the same tasks. A count of 0 is endless."""
    chance = random.Random(seed)
    for n in range(count) if count else itertools.count():
        lines = [
            (chance.choice(ARTICLES), chance.randint(1, 20), chance.randint(50, 50_000))
            for _ in range(chance.randint(1, 5))
        ]
        vat = chance.choice(VAT_TENTHS)
        invoice: dict[str, Any] = {
            "invoice": f"{run}-{n:06d}",
            "customer": f"customer-{chance.randrange(keys):03d}",
            "currency": chance.choice(("EUR", "CHF", "USD")),
            "vat_percent": str(vat / 10),
            "lines": [
                {"article": article, "quantity": quantity, "price": money(cents)} for article, quantity, cents in lines
            ],
        }
        net = sum(quantity * cents for _, quantity, cents in lines)
        bad = chance.random() < poison
        body = spoilt(invoice, chance) if bad else json.dumps(invoice).encode()
        yield Task(invoice["invoice"], body, bad, money((net * (1000 + vat) + 500) // 1000))


def money(cents: int) -> str:
    """Cents as an amount with two decimals."""
    return f"{cents // 100}.{cents % 100:02d}"


def spoilt(invoice: dict[str, Any], chance: random.Random) -> bytes:
    """The invoice as a broken program might send it: one of five ways to be no invoice."""
    match chance.randrange(5):
        case 0:
            return b""
        case 1:
            return json.dumps(invoice).encode()[:-10]
        case 2:
            invoice["lines"] = []
        case 3:
            invoice["lines"][0]["quantity"] = -1
        case _:
            invoice["currency"] = "XXX"
    return json.dumps(invoice).encode()


def produce(messages: Iterable[Task], *, address: str, queue: str, rate: float, stop: Stop) -> Iterator[Task]:
    """Write the messages and yield each one once it is confirmed. Ends early when asked to. Raises CommandError."""
    connection = connect_rabbitmq(address)
    pace = Pace(rate)
    try:
        channel = connection.channel()
        declared(channel, queue)
        channel.confirm_delivery()
        for number, task in enumerate(messages):
            while (pause := pace.until(number)) > 0 and not stop:
                # In the client's own sleep heartbeats go on.
                connection.sleep(min(pause, 0.1))
            if stop:
                break
            properties = pika.BasicProperties(
                content_type="application/json",
                delivery_mode=pika.DeliveryMode.Persistent,
                message_id=task.message_id,
                timestamp=int(time.time()),
                type="invoice",
            )
            channel.basic_publish("", queue, task.body, properties, mandatory=True)
            yield task
    except UnroutableError:
        message = f"queue {queue} is gone; to make the sample's queues: python -m producers.provision"
        raise CommandError(ExitCode.MISSING, message) from None
    except NackError:
        raise CommandError(ExitCode.FAILED, f"RabbitMQ did not take a message for queue {queue}: is it full?") from None
    except (AMQPError, OSError) as error:
        raise rabbitmq_unreachable(address, error) from None
    finally:
        close_rabbitmq(connection)


def run(arguments: argparse.Namespace, stop: Stop) -> ExitCode:
    """Write as the command line says."""
    content = tasks(
        arguments.run or new_run(),
        count=arguments.count,
        poison=arguments.poison,
        keys=arguments.keys,
        seed=arguments.seed,
    )
    written = produce(content, address=arguments.address, queue=arguments.queue, rate=arguments.rate, stop=stop)
    return finished(len(deliver(arguments.queue, written, arguments.count, stop)), arguments.count, stop)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m producers.tasks", description=__doc__)
    parser.add_argument("--address", default=rabbitmq_address(), help="amqp:// address (RABBITMQ_URL)")
    parser.add_argument(
        "--queue", default=environment("RABBITMQ_QUEUE", QUEUE), help=f"queue (RABBITMQ_QUEUE, else {QUEUE})"
    )
    add_content_options(parser, count=COUNT, keys=CUSTOMERS, of="customers")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main(run, arguments()))
