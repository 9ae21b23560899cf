"""Runs the sample once and checks what became of it: the end of `make up`.

Writes readings and tasks, waits until the poller has worked them off, and prints one table per mapping. The figures
come from the brokers and from what the handlers stored, and are of this run only. Exit status 1 when a message is
lost, still waiting, or not where it belongs.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass

from rich import box
from rich.console import Console
from rich.table import Table

from producers import facts, tasks, telemetry
from producers.accounting import Account, account, complain
from producers.command import (
    CommandError,
    ExitCode,
    Stop,
    deliver,
    environment,
    kafka_address,
    main,
    new_run,
    number,
    progress,
    rabbitmq_address,
)
from producers.provision import DEAD_LETTER_QUEUE, DEAD_LETTER_TOPIC, QUEUE, TOPIC, provision_kafka, provision_rabbitmq

RESULTS = "compose:poller:/results"
LOOK_AGAIN = 0.5
"""Seconds between two looks at the brokers."""

REFRESHED = 12.0
"""Seconds after which the management page's figures, renewed every five, are certainly of now."""


@dataclass(frozen=True, slots=True)
class Produced:
    """What was written, and what the dead letters were before."""

    run: str
    readings: list[telemetry.Delivered]
    tasks: list[tasks.Task]
    dead_letter_offset: int


def produce(options: argparse.Namespace, stop: Stop) -> Produced:
    """Write both kinds of message. Raises CommandError, also when stopped."""
    provision_kafka(options.kafka)
    provision_rabbitmq(options.rabbitmq)
    name = new_run()
    offset = facts.dead_letter_offset(options.kafka)
    content = telemetry.readings(
        name, count=options.telemetry, poison=options.poison, keys=telemetry.DEVICES, seed=options.seed
    )
    written = telemetry.produce(content, address=options.kafka, topic=TOPIC, rate=0, stop=stop)
    readings = deliver(TOPIC, written, options.telemetry, stop)
    work = tasks.tasks(name, count=options.tasks, poison=options.poison, keys=tasks.CUSTOMERS, seed=options.seed)
    sent = tasks.produce(work, address=options.rabbitmq, queue=QUEUE, rate=0, stop=stop)
    invoices = deliver(QUEUE, sent, options.tasks, stop)
    if stop:
        raise CommandError(ExitCode.INTERRUPTED, "stopped before everything was written")
    return Produced(name, readings, invoices, offset)


def uncommitted(options: argparse.Namespace, produced: Produced) -> list[str]:
    """Readings that the consumer group has not finished, as its committed offsets say."""
    offsets = facts.committed(options.kafka, options.group)
    return [
        delivered.reading.trace
        for delivered in produced.readings
        if delivered.offset >= offsets.get(delivered.partition, 0)
    ]


def wait(name: str, total: int, waiting: Callable[[], int], deadline: float, stop: Stop) -> None:
    """Look again and again until nothing is waiting, the time is over, or somebody stops it."""
    with progress(f"{name}: worked off", total, Console(stderr=True)) as show:
        while (left := waiting()) and time.monotonic() < deadline:
            show(total - left)
            stop.wait(LOOK_AGAIN)
            if stop:
                raise CommandError(
                    ExitCode.INTERRUPTED, f"stopped while {left} of {total} were still waiting in {name}"
                )


def wait_for_telemetry(options: argparse.Namespace, produced: Produced, deadline: float, stop: Stop) -> list[str]:
    """Until the group has committed every reading. Returns those that still wait when the time is over."""
    left: list[str] = []

    def waiting() -> int:
        left[:] = uncommitted(options, produced)
        return len(left)

    wait(TOPIC, len(produced.readings), waiting, deadline, stop)
    return left


def wait_for_tasks(options: argparse.Namespace, produced: Produced, deadline: float, stop: Stop) -> int:
    """Until every task is stored or dead, or the queue is empty without that. Returns how many still wait.

    AMQP tells what is ready, not what a consumer has; the management page tells both, but late. So the end is what
    handlers and dead-letter queue show, and the page has the last word where they do not add up.
    """
    identities = {task.message_id for task in produced.tasks}
    unsettled: int | None = None
    empty_since = time.monotonic()

    def waiting() -> int:
        nonlocal unsettled, empty_since
        missing = identities - facts.handled(options.results, produced.run)["tasks"].keys()
        if missing and len(missing) <= facts.ready(options.rabbitmq, DEAD_LETTER_QUEUE):
            missing -= facts.rabbitmq_dead_letters(options.rabbitmq).keys()
        unsettled = facts.unsettled(options.rabbitmq, options.management, QUEUE) if missing else 0
        if facts.ready(options.rabbitmq, QUEUE) or unsettled != 0:
            empty_since = time.monotonic()
        return 0 if time.monotonic() - empty_since > REFRESHED else len(missing)

    wait(QUEUE, len(identities), waiting, deadline, stop)
    return max(facts.ready(options.rabbitmq, QUEUE), unsettled or 0)


def accounts(options: argparse.Namespace, produced: Produced, stop: Stop) -> dict[str, Account]:
    """Wait, then add up both mappings from what brokers and handlers say."""
    deadline = time.monotonic() + options.timeout
    late = wait_for_telemetry(options, produced, deadline, stop)
    left = wait_for_tasks(options, produced, deadline, stop)
    rows = facts.handled(options.results, produced.run)
    readings = account(
        {delivered.reading.trace: delivered.poison for delivered in produced.readings},
        rows["telemetry"],
        facts.kafka_dead_letters(options.kafka, produced.dead_letter_offset),
        late,
    )
    identities = {task.message_id for task in produced.tasks}
    letters = {
        identity: deaths
        for identity, deaths in facts.rabbitmq_dead_letters(options.rabbitmq).items()
        if identity in identities
    }
    invoices = account(
        {task.message_id: task.poison for task in produced.tasks},
        rows["tasks"],
        letters,
        left,
        {task.message_id: task.total for task in produced.tasks},
    )
    odd = complain("dead-lettered, but not because the poller rejected it", facts.not_rejected(letters, QUEUE))
    return {TOPIC: readings, QUEUE: with_complaint(invoices, odd)}


def with_complaint(found: Account, complaint: str) -> Account:
    """The same account with one more complaint, if it is one."""
    return Account(**{**asdict(found), "complaints": found.complaints + ((complaint,) if complaint else ())})


def show(options: argparse.Namespace, results: dict[str, Account], console: Console) -> None:
    """The tables and where to look next."""
    titles = {
        TOPIC: f"Kafka topic {TOPIC} → functions/telemetry; dead letters: topic {DEAD_LETTER_TOPIC}",
        QUEUE: f"RabbitMQ queue {QUEUE} → functions/tasks; dead letters: queue {DEAD_LETTER_QUEUE}",
    }
    for name, found in results.items():
        table = Table(title=titles[name], title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
        figures = {
            "produced": f"{found.produced:,}",
            "handled": f"{found.handled:,}",
            "dead-lettered": f"{found.dead_lettered:,}",
            "still waiting": f"[yellow]{found.waiting:,}[/]" if found.waiting else "0",
            "lost": f"[bold red]{found.lost:,}[/]" if found.lost else "[green]0[/]",
            "records/s": f"{found.per_second:,.0f}" if found.per_second else "-",
        }
        for heading in figures:
            table.add_column(heading, justify="right", min_width=8)
        table.add_row(*figures.values())
        console.print(table)
        for complaint in found.complaints:
            console.print(f"  [red]wrong:[/] {complaint}")
        if found.repeated:
            console.print(f"  {found.repeated:,} came more than once (at least once is promised) and were stored once")
    console.print(
        f"Look next: metrics   {options.metrics}\n"
        f"           RabbitMQ  {options.management} (guest/guest)\n"
        "           logs      docker compose logs poller"
    )


def run(options: argparse.Namespace, stop: Stop) -> ExitCode:
    """The whole run."""
    produced = produce(options, stop)
    results = accounts(options, produced, stop)
    if options.json:
        json.dump({name: asdict(found) | {"good": found.good} for name, found in results.items()}, sys.stdout, indent=1)
        print()
    else:
        console = Console(highlight=False, soft_wrap=True)
        show(options, results, console)
    if all(found.good for found in results.values()):
        return ExitCode.OK
    sums = Counter[str]()
    for found in results.values():
        sums.update(lost=found.lost, waiting=found.waiting, wrong=len(found.complaints))
    reason = (
        f"{sums['lost']} lost, {sums['waiting']} still waiting after {options.timeout:g} s, {sums['wrong']} complaints"
    )
    raise CommandError(
        ExitCode.FAILED, f"the run is not as it should be: {reason}; docker compose logs poller tells more"
    )


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m producers.run_sample", description=__doc__)
    add = parser.add_argument
    add("--telemetry", type=number(1, kind=int), default=telemetry.COUNT, help=f"readings to Kafka ({telemetry.COUNT})")
    add("--tasks", type=number(1, kind=int), default=tasks.COUNT, help=f"tasks to RabbitMQ ({tasks.COUNT})")
    add("--poison", type=number(0, 1), default=0.01, help="share that no handler can handle (0.01)")
    add("--seed", type=int, default=1, help="the same seed gives the same content (1)")
    add("--timeout", type=number(1), default=120, help="seconds to wait until all is worked off (120)")
    add("--json", action="store_true", help="print the figures as JSON instead of tables")
    add("--kafka", default=kafka_address(), help="bootstrap servers (KAFKA_BOOTSTRAP_SERVERS)")
    add("--group", default="telemetry", help="the mapping's consumer group (telemetry)")
    add("--rabbitmq", default=rabbitmq_address(), help="amqp:// address (RABBITMQ_URL)")
    port = environment("POLLER_RABBITMQ_MANAGEMENT_PORT", "15672")
    add("--management", default=f"http://127.0.0.1:{port}", help="address of RabbitMQ's management page")
    port = environment("POLLER_PORT", "9001")
    add("--metrics", default=f"http://127.0.0.1:{port}/metrics", help="address of the poller's metrics, to be shown")
    add(
        "--results",
        default=environment("SAMPLE_RESULTS", RESULTS),
        help=f"where the handlers store: a folder, or compose:SERVICE:/FOLDER (SAMPLE_RESULTS, else {RESULTS})",
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main(run, arguments()))
