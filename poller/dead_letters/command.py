"""`poller dead-letters list|show|redrive|purge`: results on stdout, everything else on stderr."""

from __future__ import annotations

import argparse
import logging
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import islice
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from poller.cli_options import ExitCode
from poller.clock import SystemClock
from poller.dead_letters import display
from poller.dead_letters.delivery import LetterDelivery, Origins
from poller.dead_letters.file import FileLetters
from poller.dead_letters.filters import Filter, moment
from poller.dead_letters.kafka_topic import KafkaLetters
from poller.dead_letters.places import Places, Queue, Topic, places
from poller.dead_letters.rabbitmq_queue import RabbitMQLetters
from poller.dead_letters.redrive import Pace, Tally, dry_run, redrive
from poller.errors import ConfigError, Problem
from poller.template import Template
from poller.validation import plural

WIDE = 400
"""Characters of a line of the table where no terminal limits it."""

Print = Callable[[Any], None]


def run(given: argparse.Namespace, load: Callable[[], Template], print_json: Print) -> int:
    """One command.

    Args:
        given: the command line.
        load: reads the template that it names.
        print_json: writes an answer for a program.

    Raises:
        PollerError: brokers; the text is for a person.
        ConfigError: the command line or the template is wrong.
    """
    found = places(given.target, load, queue=given.queue, origin=getattr(given, "origin", None))
    wanted = _filter(given)
    with _quiet_clients(), closing(_box(found)) as box:
        match given.action:
            case "list":
                return _list(given, box, wanted, print_json)
            case "show":
                return _show(given, box, print_json)
            case "redrive":
                return _redrive(given, _movable(box, "redriven"), found, wanted, print_json)
        return _purge(given, _movable(box, "purged"), print_json)


def _list(
    given: argparse.Namespace, box: KafkaLetters | RabbitMQLetters | FileLetters, wanted: Filter, print_json: Print
) -> int:
    box.survey(wanted)
    found = (letter.without_contents() for letter in box.letters(wanted, redriven=given.all))
    letters = list(islice(found, given.limit + 1))
    more = len(letters) > given.limit
    shown = letters[: given.limit]
    if given.json:
        print_json([display.letter_json(letter) for letter in shown])
    elif shown:
        console = Console(width=None if sys.stdout.isatty() else WIDE, highlight=False)
        console.print(display.letter_table(shown, time.time()))
    _say(f"{plural(len(shown), 'letter')} from {box.where}" + (", and more: see --limit" if more else ""))
    return ExitCode.OK


def _show(given: argparse.Namespace, box: KafkaLetters | RabbitMQLetters | FileLetters, print_json: Print) -> int:
    box.survey(Filter())
    letter = box.find(given.letter)
    if letter is None:
        hint = "`poller dead-letters list` tells their names"
        raise ConfigError([Problem(given.letter, f"there is no such letter in {box.where}", hint)])
    if given.json:
        print_json(display.whole_letter_json(letter))
    else:
        for line in display.whole_letter(letter, time.time()):
            print(line)  # noqa: T201
    return ExitCode.OK


def _redrive(
    given: argparse.Namespace, box: KafkaLetters | RabbitMQLetters, found: Places, wanted: Filter, print_json: Print
) -> int:
    origins = Origins(
        cluster=found.cluster,
        rabbitmq_url=found.rabbitmq_url,
        same_partition=given.same_partition,
        transactions=not given.without_transactions,
    )
    with closing(LetterDelivery(box, origins)) as delivery:
        if given.dry_run:
            box.survey(wanted)
            tally = dry_run(box, delivery, wanted, given.limit)
        else:
            delivery.open()
            total = box.survey(wanted)
            pace = Pace(SystemClock(), time.sleep, given.rate, given.limit)
            with _progress(total if given.limit is None else min(total, given.limit)) as on_progress:
                tally = redrive(box, delivery, wanted, pace, on_progress)
    if given.json:
        print_json(display.tally_json(tally, dry_run=given.dry_run))
    else:
        for line in display.tally_lines(tally, box.where, dry_run=given.dry_run):
            print(line)  # noqa: T201
    return ExitCode.OK if given.dry_run else _verdict(tally)


def _verdict(tally: Tally) -> int:
    if tally.failed:
        _say(f"poller: {tally.failed}")
    if tally.interrupted:
        _say("poller: interrupted; what is not marked comes with the next redrive")
        return ExitCode.INTERRUPTED
    if tally.sent != tally.confirmed or tally.letters != tally.marked:
        _say("poller: the sums do not agree; what is not marked comes with the next redrive")
    return ExitCode.OK if tally.is_right else ExitCode.FAILED


def _purge(given: argparse.Namespace, box: KafkaLetters | RabbitMQLetters, print_json: Print) -> int:
    count = box.survey(Filter())
    if not given.yes:
        if not sys.stdin.isatty():
            raise ConfigError([Problem("--yes", "is missing, and nobody can be asked: nothing was purged")])
        _say(f"Purge {plural(count, 'letter')} from {box.where} for ever? [y/N]")
        if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
            _say("nothing was purged")
            return ExitCode.FAILED
    purged = box.purge()
    if given.json:
        print_json({"Purged": purged})
    else:
        print(f"purged: {plural(purged, 'letter')} from {box.where}")  # noqa: T201
    return ExitCode.OK


# --- what they share ------------------------------------------------------------------------------------------------


def _box(found: Places) -> KafkaLetters | RabbitMQLetters | FileLetters:
    match found.letters:
        case Topic(cluster, topic):
            return KafkaLetters(cluster, topic, uuid.uuid4().hex[:12])
        case Queue(url, name):
            return RabbitMQLetters(url, name)
    return FileLetters(found.letters.path)


def _movable(box: KafkaLetters | RabbitMQLetters | FileLetters, what: str) -> KafkaLetters | RabbitMQLetters:
    if isinstance(box, FileLetters):
        hint = "letters that are to come back belong into a topic or a queue; a file is yours to move or delete"
        raise ConfigError([Problem("TARGET", f"letters of a file cannot be {what}: a file keeps no books", hint)])
    return box


def _filter(given: argparse.Namespace) -> Filter:
    if given.action not in {"list", "redrive"}:
        return Filter()
    now, problems, times = time.time(), [], {}
    for name in ("since", "until"):
        text = getattr(given, name)
        try:
            times[name] = None if text is None else moment(text, now)
        except ValueError as error:
            problems.append(Problem(f"--{name}", str(error)))
    if problems:
        raise ConfigError(problems)
    key = None if given.key is None else given.key.encode(errors="surrogateescape")
    return Filter(given.error or "", times["since"], times["until"], key)


@contextmanager
def _progress(total: int) -> Iterator[Callable[[Tally], None]]:
    """A bar on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    columns = TextColumn("redriving"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=total)
        yield lambda tally: progress.update(task, completed=tally.letters + len(tally.left))


@contextmanager
def _quiet_clients() -> Iterator[None]:
    """The libraries log what is raised as well, and more; here one text is enough."""
    loggers = [logging.getLogger(name) for name in ("kafka", "pika")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201
